"""How a value is to be stored, in terms of the file that is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa.graph.tensor import HI, LO

__all__ = ["Stage"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Stage:
    """How a value is to be stored: the output stage in terms of the ONNX file."""

    scale: float
    zero_point: int
    lo: int = LO
    hi: int = HI
    alpha: Array | None = None

    def key(self) -> tuple[Any, ...]:
        alpha = None if self.alpha is None else self.alpha.tobytes()
        return self.scale, self.zero_point, self.lo, self.hi, alpha

    def clamp(self) -> dict[str, Any]:
        """Attributes of an output stage."""
        return {"zp": self.zero_point, "lo": self.lo, "hi": self.hi}

    def to_int(self, real: float | Array) -> Array:
        """QuantizeLinear in float32, as onnxruntime computes it, limited to lo and hi."""
        with np.errstate(over="ignore"):
            steps = np.rint(np.asarray(real, np.float32) / np.float32(self.scale))
        stored: Array = np.clip(steps + self.zero_point, self.lo, self.hi).astype(np.int8)
        return stored
