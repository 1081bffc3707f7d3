"""What a machine is: one frozen description with named presets.

Everything that depends on the size of the machine (compiler, simulators, hardware, driver)
takes an :class:`Arch`; nothing keeps a second copy of its numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from falconet.isa.checks import Fields, fault, read_json
from falconet.isa.errors import FalconetError, near, shown

__all__ = ["ISA_VERSION", "PRESETS", "Arch", "preset"]

ISA_VERSION = 3
"""Raised with every change of an instruction, a register or the meaning of either."""


@dataclass(frozen=True)
class Arch:
    """One machine.

    Parameters
    ----------
    lanes:
        Channels in a block. A *word* of the scratchpad is one pixel of one block: ``lanes`` bytes.
        They are also the columns of the MAC array, its output channels.
    rows:
        Input channels that the MAC array multiplies in a cycle, so that it does ``rows * columns``
        MACs; a word keeps it busy for ``word_steps``. 0: as many as lanes.
    banks, bank_words:
        The scratchpad: ``banks`` memories of ``bank_words`` words, one read and one write port
        each.
    weight_words:
        Depth of the weight memory; one weight word is ``rows * columns`` bytes.
    vector_words:
        Depth of the vector engine's weight memory; one word is ``taps * lanes`` bytes.
    taps:
        Products per lane and cycle in the vector engine.
    acc_bits:
        Width of every accumulator, sign included. The compiler proves that nothing overflows.
    mult_bits:
        Width of the unsigned requantisation multiplier.
    candidates:
        Boxes that the detect engine keeps while it searches: the best by score.
    queue_depth:
        Instructions that an engine's queue holds.
    masters:
        64-bit AXI master ports.
    burst_beats:
        Longest AXI burst (16 on the AXI3 ports of a Zynq-7000).
    clock_mhz:
        The clock that figures are quoted at. Not part of the machine's identity.
    """

    name: str
    lanes: int = 16
    rows: int = 0
    banks: int = 8
    bank_words: int = 3072
    weight_words: int = 512
    vector_words: int = 512
    taps: int = 4
    acc_bits: int = 25
    mult_bits: int = 17
    candidates: int = 512
    queue_depth: int = 16
    masters: int = 2
    burst_beats: int = 16
    clock_mhz: float = 125.0

    DATA_BYTES = 8  # one beat of an AXI master
    PARAM_BYTES = 16  # requantisation parameters of one lane
    SHIFT_MAX = 47  # largest requantisation shift
    INSTRUCTION_BYTES = 64
    BOX_BITS = 16  # a coordinate of a box, signed
    BOX_STEPS = 16  # of a coordinate in a pixel
    CENTRE_BITS = 18  # of a centre and of an offset from it, signed
    SCORE_BITS = 16  # a score, unsigned, in units of 2**-16
    ROW_BYTES = 16  # a row of the detect engine's table and of its records
    ANCHORS = 16  # anchors per cell
    TABLE_ANCHORS = 256 * 8 // ROW_BYTES  # row of the detect table: 256 entries before, anchors on
    TABLE_OPTIONS = TABLE_ANCHORS + ANCHORS  # the options of the run
    TABLE_ROWS = TABLE_OPTIONS + 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.rows or self.lanes)

    @property
    def columns(self) -> int:
        """Output channels of the MAC array."""
        return self.lanes

    @property
    def macs_per_cycle(self) -> int:
        return self.rows * self.columns

    @property
    def word_steps(self) -> int:
        """Cycles, and weight words, in which the MAC array multiplies one word."""
        return self.lanes // self.rows

    @property
    def scratchpad_words(self) -> int:
        return self.banks * self.bank_words

    @property
    def weight_param_words(self) -> int:
        """Weight words that hold the parameters of one output block (``columns`` x 16 bytes)."""
        return self.PARAM_BYTES // self.rows

    @property
    def vector_param_words(self) -> int:
        """Vector weight words that hold the parameters of one channel block."""
        return self.PARAM_BYTES // self.taps

    @property
    def row_words(self) -> int:
        """Lane words in a row of the detect engine's table and of its records."""
        return self.ROW_BYTES // self.lanes

    @property
    def hash(self) -> int:
        """32 bits that name this machine; register ``ARCH_HASH`` and every program carry them."""
        identity = {k: v for k, v in self.to_dict().items() if k not in ("name", "clock_mhz")}
        text = json.dumps({"isa": ISA_VERSION, **identity}, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    def validate(self) -> Arch:
        """Return self, or raise :class:`FalconetError` naming the first inconsistent field."""

        def need(ok: bool, field: str, rule: str) -> None:
            if not ok:
                raise FalconetError(
                    f"preset '{self.name}': {field}={getattr(self, field)} is impossible; {rule}"
                )

        def power_of_two(v: int) -> bool:
            return v > 0 and v & (v - 1) == 0

        need(re.fullmatch(r"\w[\w.-]{,59}", self.name, re.ASCII) is not None, "name",
             "use at most 60 letters, digits, '-', '_' and '.'; files are called so")
        need(self.lanes in (8, 16), "lanes", "it must be 8 or 16")
        need(self.rows in (8, self.lanes), "rows", "it must be 8 or as many as lanes")
        need(power_of_two(self.banks) and self.banks <= 16, "banks", "use 1, 2, 4, 8 or 16")
        need(self.bank_words > 0, "bank_words", "it must be positive")
        need(self.scratchpad_words <= 1 << 15, "bank_words", "all banks together hold 32768 words")
        need(power_of_two(self.weight_words), "weight_words", "it must be a power of two")
        need(self.weight_words <= 2048, "weight_words", "it must be at most 2048")
        need(power_of_two(self.vector_words), "vector_words", "it must be a power of two")
        need(self.vector_words <= 2048, "vector_words", "it must be at most 2048")
        need(self.taps == 4, "taps", "it must be 4")
        need(20 <= self.acc_bits <= 32, "acc_bits", "it must be 20 to 32")
        need(12 <= self.mult_bits <= 17, "mult_bits", "it must be 12 to 17")
        need(
            power_of_two(self.candidates) and 16 <= self.candidates <= 1024,
            "candidates",
            "use a power of two from 16 to 1024",
        )
        need(
            power_of_two(self.queue_depth) and 2 <= self.queue_depth <= 64,
            "queue_depth",
            "use a power of two from 2 to 64",
        )
        need(self.masters == 2, "masters", "the machine has two AXI masters")
        need(self.burst_beats in (4, 8, 16), "burst_beats", "use 4, 8 or 16")
        need(1e-3 <= self.clock_mhz <= 1e6, "clock_mhz", "it must be 0.001 to 1,000,000")
        return self

    def to_dict(self) -> dict[str, Any]:
        """All fields; ``rows`` only where the array is not square, as of old."""
        fields = dataclasses.asdict(self)
        if self.rows == self.lanes:
            del fields["rows"]
        return fields

    @classmethod
    def from_dict(cls, data: Any, field: str = "arch") -> Arch:
        """Inverse of :meth:`to_dict`; what is missing has its default, but for ``name``.

        Raises
        ------
        FalconetError
            Of what is no Arch; names the member of ``field``, as which ``data`` is known.
        """
        arch, known = Fields(data, field), [f.name for f in dataclasses.fields(cls)]
        for key in data:
            if key not in known:
                fault(field, f"{shown(key)} is unknown; {near(key, known)}choose from "
                             f"{', '.join(known)}")
            if key == "clock_mhz":
                arch.number(key, 1e-3, 1e6)
            elif key != "name":
                arch.whole(key, 0, 1 << 16)
        return cls(**{**data, "name": arch.text("name")}).validate()

    @classmethod
    def load(cls, path: str | Path) -> Arch:
        """The machine that a JSON file describes: members as here; ``name``, if it is missing, is
        the file's. A FalconetError names the file and what is wrong in it."""
        path = Path(path)
        try:
            data = read_json(path.read_bytes())
            if isinstance(data, dict):
                data = {"name": path.stem, **data}
            arch = cls.from_dict(data, "machine")
            if PRESETS.get(arch.name, arch) != arch:
                fault("machine.name", f"'{arch.name}' is a preset of Falconet; choose another")
        except OSError as e:
            raise FalconetError(f"{path}: {e.strerror or e}; give a JSON file that describes a "
                                "machine") from None
        except (ValueError, FalconetError) as e:
            raise FalconetError(f"{path}: {e}; mend the description") from None
        return arch


PRESETS: dict[str, Arch] = {
    a.name: a.validate()
    for a in (
        Arch("pynq-z2"),
        Arch(
            "tiny", lanes=8, bank_words=512, weight_words=256, vector_words=256, candidates=64,
            queue_depth=8, clock_mhz=100.0,
        ),
        Arch("aup-zu3", bank_words=4096, weight_words=1024, clock_mhz=150.0),
    )
}


def preset(name: str) -> Arch:
    """The preset called ``name``, or the machine of file ``name`` if that ends in ``.json``.

    An unknown name is refused with the list of known ones.
    """
    if name.lower().endswith(".json"):
        return Arch.load(name)
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise FalconetError(f"preset '{name}' is unknown; {near(name, PRESETS)}choose one of: "
                            f"{known}, or give a JSON file") from None
