"""Counting in a netlist, and the Verilog that goes into it."""

from __future__ import annotations

import re

from falconet.isa import preset
from falconet_hw.build.synth import count_blocks, count_cells, count_fanout, find_blocks
from falconet_hw.build.verilog import to_verilog
from falconet_hw.control.registers import Registers
from falconet_hw.scratchpad.banks import Scratchpad


def cell(kind: str, inputs: dict[str, list[int | str]], out: int) -> dict[str, object]:
    return {
        "type": kind, "connections": {**inputs, "O": [out]},
        "port_directions": {**dict.fromkeys(inputs, "input"), "O": "output"},
    }


def test_fanout_counts_input_pins_but_clocks() -> None:
    module = {
        "cells": {
            "a": cell("LUT2", {"I0": [2], "I1": [2]}, 4),
            "b": cell("LUT2", {"I0": [2], "I1": ["1"]}, 5),
            "c": cell("FDRE", {"C": [3], "CE": [4], "D": [5], "R": ["0"]}, 6),
            "d": cell("FDRE", {"C": [3], "CE": [4], "D": [6], "R": ["0"]}, 7),
        },
        "netnames": {
            "clk": {"bits": [3]}, "$long$name": {"bits": [2, 9]}, "top.word": {"bits": [9, 2]},
            "$1": {"bits": [4]},
        },
    }
    fanout = count_fanout(module)
    assert fanout[:2] == [("top.word[1]", 3), ("$1", 2)]
    assert dict(fanout).get("clk") is None


def test_unnamed_cells_belong_to_what_they_drive() -> None:
    module = {
        "cells": {
            "far": cell("LUT1", {"I0": [2]}, 3),
            "near": cell("LUT1", {"I0": [3]}, 4),
            "ff": cell("FDRE", {"C": [9], "D": [4]}, 5),
            "loose": cell("LUT1", {"I0": [5]}, 6),
        },
        "netnames": {"machine.mac$7.sum": {"bits": [5]}, "machine.quiet": {"bits": [6]}},
    }
    blocks = count_blocks(module)
    assert blocks["mac"] == {"dsp": 0, "lut": 2, "ff": 1, "bram36": 0}
    assert blocks["other"]["lut"] == 1


def test_parts_of_a_block_add_up_to_it() -> None:
    module = {
        "cells": {
            "near": cell("LUT1", {"I0": [3]}, 4),
            "ff": cell("FDRE", {"C": [9], "D": [4]}, 5),
            "machine.mac.weights.column0": cell("RAM64M", {"ADDRA": [5]}, 6),
            "state": cell("FDRE", {"C": [9], "D": [6]}, 7),
            "upstream": cell("FDRE", {"C": [9], "D": [8]}, 3),
        },
        "netnames": {
            "machine.mac.array.sum": {"bits": [5]}, "machine.mac.state": {"bits": [7]},
            "machine.vec.first": {"bits": [3]},
        },
    }
    assert find_blocks(module) == {
        "near": "mac", "ff": "mac", "machine.mac.weights.column0": "mac", "state": "mac",
        "upstream": "vec",
    }
    blocks = count_blocks(module, "mac")
    assert {name: (of["lut"], of["ff"]) for name, of in blocks.items()} == {
        "mac": (5, 2), "mac.array": (1, 1), "mac.weights": (4, 0), "mac.other": (0, 1),
        "vec": (0, 1),
    }


def test_cells_become_resources() -> None:
    cells = {"LUT6": 5, "LUT1": 1, "RAM32M": 2, "SRL16E": 3, "FDRE": 7, "FDSE": 1, "DSP48E1": 2,
             "RAMB36E1": 4, "RAMB18E1": 3, "CARRY4": 9}
    assert count_cells(cells) == {"dsp": 2, "lut": 17, "ff": 8, "bram36": 5.5}


def test_verilog_is_the_same_every_time() -> None:
    texts = {to_verilog(Registers(arch=preset("tiny")), "registers") for _ in range(2)}
    assert len(texts) == 1
    (text,) = texts
    assert "module registers(" in text and "axil__awaddr" in text and ".py" not in text


def test_verilog_has_no_zero_words() -> None:
    text = to_verilog(Scratchpad(arch=preset("tiny")), "scratchpad")
    assert re.search(r"reg \[63:0\] bank7_0 +\[511:0\];", text)
    assert not re.search(r"\w\[\d+\] = ", text) and "initial begin\n  end" not in text
