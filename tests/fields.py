"""Functional coverage: which values the fields of the instructions have had."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from falconet.isa import Field, Instruction, instruction_classes

__all__ = ["Seen", "bins"]


def bins(field: Field) -> list[tuple[int, int]]:
    """Ranges of values, both ends included, each of which ought to be seen.

    Every value of a field of up to 8; of a wider one both ends, -1, 0 and 1, its highest bit alone,
    and what lies between.
    """
    lo, hi = field.lo, field.hi
    highest = 1 << max(hi, 1).bit_length() - 1
    if hi - lo < 8:
        return [(v, v) for v in range(lo, hi + 1)]
    single = sorted(v for v in {lo, -1, 0, 1, highest, hi} if lo <= v <= hi)
    between = [(a + 1, b - 1) for a, b in pairwise(single) if b - a > 1]
    return sorted([(v, v) for v in single] + between)


class Seen:
    """The values that instructions have had, by class and field."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], set[int]] = defaultdict(set)

    def add(self, instructions: Iterable[Instruction]) -> None:
        for ins in instructions:
            for field, value in ins.values():
                self.values[ins.mnemonic, field.name].add(value)

    def missed(self, mnemonic: str, field: Field) -> list[tuple[int, int]]:
        had = self.values[mnemonic, field.name]
        return [(a, b) for a, b in bins(field) if not any(a <= v <= b for v in had)]

    def rows(self) -> list[dict[str, str]]:
        """A row an instruction: fields, bins, and the fields of which most is missing."""
        rows = []
        for cls in instruction_classes():
            fields = [f for f in cls.layout if f.name != "opcode"]
            total = sum(len(bins(f)) for f in fields)
            missed = {f.name: self.missed(cls.mnemonic, f) for f in fields}
            left = sum(len(v) for v in missed.values())
            worst = sorted((n for n in missed if missed[n]), key=lambda n: -len(missed[n]))[:4]
            rows.append({
                "instruction": cls.mnemonic, "fields": str(len(fields)),
                "bins": f"{total - left} of {total}", "share": f"{1 - left / total:.0%}",
                "most missing": ", ".join(worst) or "-"})
        return rows
