"""What the instruction-set simulator's machine remembers: on-chip memories, segments of DDR."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, Dst, Engine, FalconetError, Instruction, Program, Segment, Src
from falconet.runtime.driver import segment_sizes

__all__ = ["Access", "Found", "Machine", "Step"]

Index = NDArray[np.int64]
READ_ONLY = (Segment.CODE, Segment.INPUT)


@dataclass(frozen=True)
class Access:
    """Lane words read or written by one instruction, in the machine's order.

    ``memory`` is a Dst, Src.RECORDS, or the Segment of a DDR access; ``address`` counts lane words
    on chip and bytes in DDR, shape [N]; ``data`` is int8 [N, lanes], None for reads.
    """

    memory: Dst | Src | Segment
    address: Index
    data: NDArray[np.int8] | None = None


@dataclass
class Step:
    """What one instruction did."""

    index: int
    instruction: Instruction
    reads: list[Access] = field(default_factory=list)
    writes: list[Access] = field(default_factory=list)


@dataclass
class Found:
    """What the detect engine knows of its records besides the records.

    ``held`` of them are there, ``seen`` were found; after SUPPRESS they are those that stay, of at
    most ``limit`` (0 before). ``levels`` has the (anchors, rows, columns) of each level scanned.
    """

    held: int = 0
    seen: int = 0
    limit: int = 0
    levels: dict[int, tuple[int, int, int]] = field(default_factory=dict)


class Machine:
    """The memories of a machine, with every access checked.

    Parameters
    ----------
    program:
        Gives the Arch, segment CODE and the sizes of the other segments.
    record:
        Keep the accesses of the current instruction in ``step``.

    Attributes
    ----------
    words:
        For each Dst its lane words, int8 [depth, lanes]. Addresses in WEIGHTS and VECTOR are
        modulo the depth, in the scratchpad and the tables they must exist.
    records:
        Lane words of the detect engine's records and their row of counts, int8 [depth, lanes].
    found:
        How many of them count; None until a SCAN with ``first``.
    ddr:
        For each Segment its bytes, uint8.
    retired:
        Instructions that each engine has retired.
    """

    def __init__(self, program: Program, *, record: bool = False) -> None:
        arch = self.arch = program.arch
        depth = {
            Dst.SCRATCHPAD: arch.scratchpad_words,
            Dst.WEIGHTS: arch.weight_words * arch.rows,
            Dst.VECTOR: arch.vector_words * arch.taps,
            Dst.MAC_TABLE: 256 // arch.lanes,
            Dst.VEC_TABLE: 256 // arch.lanes,
            Dst.DETECT: arch.TABLE_ROWS * arch.row_words,
        }
        self.words = {d: np.zeros((n, arch.lanes), np.int8) for d, n in depth.items()}
        self.records = np.zeros(((arch.candidates + 1) * arch.row_words, arch.lanes), np.int8)
        self.found: Found | None = None
        self.ddr = {s: np.zeros(n, np.uint8) for s, n in segment_sizes(program).items()}
        self.ddr[Segment.CODE][: len(program.code)] = np.frombuffer(program.code, np.uint8)
        self.retired = [0] * len(Engine)
        self.record = record
        self.step: Step | None = None

    def _note(self, kind: str, access: Access) -> None:
        if self.record and self.step is not None:
            getattr(self.step, kind).append(access)

    def _memory(self, memory: Dst | Src) -> NDArray[np.int8]:
        return self.words[memory] if isinstance(memory, Dst) else self.records

    def _place(self, memory: Dst | Src, address: Index) -> Index:
        depth = len(self._memory(memory))
        if memory is Dst.WEIGHTS or memory is Dst.VECTOR:
            return address % depth
        if address.size and int(address.max()) >= depth:
            raise FalconetError(
                f"word {int(address.max())} of {memory.name} does not exist, it has {depth}"
            )
        return address

    def read(self, memory: Dst | Src, address: Index) -> NDArray[np.int8]:
        """Lane words: addresses [...] -> int8 [..., lanes]."""
        address = self._place(memory, address)
        self._note("reads", Access(memory, address.reshape(-1)))
        return self._memory(memory)[address]

    def read_padded(self, address: Index, inside: NDArray[np.bool_], pad: int
                    ) -> NDArray[np.int8]:
        """Scratchpad words where ``inside``, words of ``pad`` elsewhere."""
        if inside.all():
            return self.read(Dst.SCRATCHPAD, address)
        out = np.full((*address.shape, self.arch.lanes), pad, np.int8)
        out[inside] = self.read(Dst.SCRATCHPAD, address[inside])
        return out

    def write(self, memory: Dst | Src, address: Index, data: NDArray[np.int8]) -> None:
        """Lane words, addresses [...] and data [..., lanes], written in C order."""
        flat = self._place(memory, address).reshape(-1)
        words = data.reshape(-1, self.arch.lanes)
        self._memory(memory)[flat] = words
        self._note("writes", Access(memory, flat, words))

    def table(self, memory: Dst) -> NDArray[np.int8]:
        """The 256 entries of a table."""
        return self.read(memory, np.arange(256 // self.arch.lanes)).reshape(-1)

    def rows(self, memory: Dst | Src, first: int, count: int) -> NDArray[np.uint8]:
        """Rows of the detect table or of the records: uint8 [count, 16]."""
        per = self.arch.row_words
        words = self.read(memory, np.arange(first * per, (first + count) * per))
        return words.reshape(count, self.arch.ROW_BYTES).view(np.uint8)

    def write_rows(self, first: int, data: NDArray[np.uint8]) -> None:
        """Rows [N, 16] of the records, from row ``first`` on."""
        per = self.arch.row_words
        address = np.arange(first * per, (first + len(data)) * per)
        self.write(Src.RECORDS, address, data.view(np.int8))

    def weights(self, memory: Dst, word: Index) -> NDArray[np.uint8]:
        """Whole weight words: numbers [...] -> bytes uint8 [..., bytes per word]."""
        per = self.arch.rows if memory == Dst.WEIGHTS else self.arch.taps
        lane_words = self.read(memory, word[..., None] * per + np.arange(per))
        return lane_words.reshape(*word.shape, per * self.arch.lanes).view(np.uint8)

    def window(self, segment: int, start: Index, length: int, *, write: bool = False) -> Index:
        """Byte indices [len(start), length] of runs in a segment, checked against its window."""
        s = Segment(segment)
        size = len(self.ddr[s])
        if write and s in READ_ONLY:
            raise FalconetError(f"segment {s.name} is read-only")
        if int(start.max()) + length > size:
            raise FalconetError(
                f"byte {int(start.max()) + length - 1} is outside segment {s.name} of {size} bytes"
            )
        return start[:, None] + np.arange(length)

    def read_ddr(self, segment: int, start: Index, length: int) -> NDArray[np.int8]:
        """Runs of bytes: int8 [len(start), length]."""
        index = self.window(segment, start, length)
        self._note("reads", Access(Segment(segment), index[:, :: Arch.DATA_BYTES].reshape(-1)))
        data: NDArray[Any] = self.ddr[Segment(segment)][index]
        return data.view(np.int8)

    def write_ddr(self, segment: int, start: Index, data: NDArray[np.int8]) -> None:
        """Runs of lane words: data int8 [len(start), run, lanes]."""
        n, run, lanes = data.shape
        index = self.window(segment, start, run * lanes, write=True)
        self.ddr[Segment(segment)][index] = data.reshape(n, -1).view(np.uint8)
        self._note(
            "writes",
            Access(Segment(segment), index[:, ::lanes].reshape(-1), data.reshape(-1, lanes)),
        )
