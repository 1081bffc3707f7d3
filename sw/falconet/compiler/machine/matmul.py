"""Products of two tensors on the MAC array: the second one is loaded as weights.

With zero points ``za`` and ``zb`` a sum is ``ab - zb * a - za * b``, and a constant in the bias. So
a pixel is multiplied by the weights ``b`` and by as many weights ``-zb``, and the weights ``b`` are
loaded once more to multiply what the array reads outside the image, which is the number ``-za``:
three rows of a kernel. 128, which neither a weight nor padding on its own should be, is twice 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from falconet.compiler.machine import pack
from falconet.compiler.machine.bring import Brought
from falconet.compiler.machine.mac import MacOp
from falconet.compiler.machine.op import Tile
from falconet.compiler.machine.place import Array, DdrTensor, Slot

__all__ = ["MatMulOp", "halves"]


def halves(value: int) -> tuple[int, ...]:
    """What is added up to ``value``, each of it a number that can be a weight; none for 0."""
    return (value,) if 0 < abs(value) < 128 else (value // 2,) * 2 if value else ()


@dataclass(frozen=True, eq=False)
class MatMulOp(MacOp):
    """``b``: the second operand in DDR, one row of ``pixels`` pixels with zeros in all lanes that
    hold no channel; ``channels``: the lanes of the first operand that hold one; ``zeros`` as in the
    graph. The bias holds what the zero points make together."""

    b: DdrTensor = None  # type: ignore[assignment]
    pixels: int = 0
    channels: Array = None  # type: ignore[assignment]
    zeros: tuple[int, int] = (0, 0)

    @property
    def stored(self) -> DdrTensor | None:
        return self.b

    @property
    def _constants(self) -> tuple[int, ...]:
        """Weights that are constant, of each row of the kernel that has some."""
        return halves(-self.zeros[1])

    @property
    def _outside(self) -> tuple[int, ...]:
        return halves(-self.zeros[0])

    @staticmethod
    def rows_of(zeros: tuple[int, int]) -> int:
        """Of the kernel: constants, activations, activations for what is outside."""
        return 1 + sum(len(halves(-z)) for z in zeros)

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        return [(y0, y1)]

    def _window_fields(self, tile: Tile) -> dict[str, int]:
        view: Slot = self.inputs[0]
        high = tile.y1 - tile.y0
        return {
            **view.view("in", tile.y0, y_step=int(high > 1)), "in_ky_step": 0, "iy0": 0,
            "in_h": len(self._constants) + 1, "stride_y": 0, "dil_y": 1,
            "pad": self._outside[0] if self._outside else 0, "n_y": high, "n_ky": self.kernel[0],
            **self.stage.fields(),
        }

    @property
    def _set_words(self) -> int:
        """Weight words of a row of the kernel."""
        return self.inputs[0].blocks * self.arch.word_steps

    def weights(self, b0: int, b1: int) -> bytes:
        """Of each block the parameters and the constant weights."""
        n, parts = self.arch.lanes, []
        for b in range(b0, b1):
            lanes = slice(b * n, (b + 1) * n)
            parts.append(self.stage.params(lanes))
            parts += [self._constant(b, v) for v in self._constants]
        return b"".join(parts)

    def _constant(self, block: int, value: int) -> bytes:
        n = self.arch.lanes
        weight = np.zeros((n, self.inputs[0].blocks * n, 1, 1), np.int8)
        weight[:self.pixels - block * n, self.channels] = value
        return pack.mac_block(self.arch, weight, b"")

    def brought(self, b0: int, b1: int) -> list[Brought]:
        arch, words = self.arch, self._set_words
        own = arch.weight_param_words + len(self._constants) * words
        per_block, run = self.block_words(b0), own * arch.rows
        made = [Brought(i * per_block, own, run, i * run * arch.lanes, pair=False)
                for i in range(b1 - b0)]
        for k in range(1 + len(self._outside)):
            made += self._pairs(b0, b1, own + k * words)
        return made

    def _pairs(self, b0: int, b1: int, at: int) -> Sequence[Brought]:
        """The loads of ``b`` for the words from word ``at`` of each block on."""
        lanes, steps = self.arch.lanes, self.arch.word_steps
        return [Brought((b - b0) * self.block_words(b) + at + i * steps, steps,
                        min(lanes, self.pixels - b * lanes),
                        (i * self.pixels + b * lanes) * lanes, pair=True)
                for b in range(b0, b1) for i in range(self.inputs[0].blocks)]
