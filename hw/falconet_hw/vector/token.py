"""What the vector engine's loops hand to its datapath."""

from __future__ import annotations

from amaranth import signed
from amaranth.lib import data

from falconet.isa import Arch
from falconet_hw.layout import WORD_ADDRESS

__all__ = ["Token"]


class Token(data.StructLayout):
    """What the datapath does in one cycle: one word read from vector weight memory, and

    * ``param``: those are parameters, number ``index`` of their block; or
    * ``read``: the word at ``addr`` of the scratchpad is multiplied by them; or
    * neither: ``pad`` is.

    Or it is a ``row`` token, and the row unit takes the word at ``addr`` apart: it is of pass
    ``index``, the ``first`` or the last (``tail``) of its pixel. Where it pushes, the parameters
    behind ``weight`` follow it; ``shared``: those of the row unit, for all lanes.

    ``first`` starts a column. ``push`` ends the column with a result: a word for ``out_addr`` if
    ``write``; ``last`` is the instruction's last token and pushes in any case. ``product``: the
    word is multiplied by that of the column's first token too.
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "addr": WORD_ADDRESS, "read": 1, "param": 1,
            "first": 1, "push": 1, "write": 1, "last": 1,
            "index": range(arch.vector_param_words),
            "weight": range(arch.vector_words),
            "out_addr": WORD_ADDRESS,
            "fresh": arch.taps, "max": 1, "digits": 1, "product": 1,
            "row": 1, "tail": 1, "shared": 1,
            "pad": signed(8), "zp": signed(8), "lo": signed(8), "hi": signed(8), "table": 1,
        })
