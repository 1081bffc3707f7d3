"""The output stage of an operation: its constants, lane by lane."""

from __future__ import annotations

from dataclasses import dataclass

from falconet.compiler.machine import pack
from falconet.compiler.machine.place import Array

__all__ = ["OutputStage"]


@dataclass(frozen=True, eq=False)
class OutputStage:
    """Constants of the output stage, per lane position of the output tensor."""

    zp: int
    lo: int
    hi: int
    bias: Array
    mult: Array
    mult_neg: Array
    shift: Array
    table: bytes | None = None

    def fields(self) -> dict[str, int]:
        return {"zp": self.zp, "lo": self.lo, "hi": self.hi, "table": self.table is not None}

    def params(self, lanes: slice) -> bytes:
        return pack.parameters(self.bias[lanes], self.mult[lanes], self.mult_neg[lanes],
                               self.shift[lanes])
