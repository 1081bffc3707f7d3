"""What a machine is: one frozen description with named presets.

Everything that depends on the size of the machine (compiler, simulators, hardware, driver)
takes an :class:`Arch`; nothing keeps a second copy of its numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from falconet.isa.errors import FalconetError, near, shown

__all__ = ["ISA_VERSION", "PRESETS", "Arch", "preset"]

ISA_VERSION = 2
"""Raised with every change of an instruction, a register or the meaning of either."""


@dataclass(frozen=True)
class Arch:
    """One machine.

    Parameters
    ----------
    lanes:
        Channels in a block; the MAC array is ``lanes`` x ``lanes``, so it does ``lanes**2`` MACs
        a cycle. A *word* of the scratchpad is one pixel of one block: ``lanes`` bytes.
    banks, bank_words:
        The scratchpad: ``banks`` memories of ``bank_words`` words, one read and one write port
        each.
    weight_words:
        Depth of the weight memory; one weight word is ``lanes**2`` bytes.
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

    @property
    def macs_per_cycle(self) -> int:
        return self.lanes * self.lanes

    @property
    def scratchpad_words(self) -> int:
        return self.banks * self.bank_words

    @property
    def weight_param_words(self) -> int:
        """Weight words that hold the parameters of one output block (``lanes`` x 16 bytes)."""
        return self.PARAM_BYTES // self.lanes

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
        identity = {
            k: v for k, v in dataclasses.asdict(self).items() if k not in ("name", "clock_mhz")
        }
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

        need(self.lanes in (8, 16), "lanes", "it must be 8 or 16")
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
        return self

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Arch:
        """Inverse of ``dataclasses.asdict``; a FalconetError for what is no Arch."""
        known = {f.name for f in dataclasses.fields(cls)}
        for key in data:
            if key not in known:
                raise FalconetError(f"arch description: {shown(key)} is unknown; recompile the "
                                    "program")
        try:
            return cls(**data).validate()
        except TypeError as e:
            raise FalconetError(f"arch description: {e}; recompile the program") from None


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
    """The preset called ``name``; an unknown name is refused with the list of known ones."""
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise FalconetError(f"preset '{name}' is unknown; {near(name, PRESETS)}choose one of: "
                            f"{known}") from None
