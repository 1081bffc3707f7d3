"""Which mutants compute the same as the original, whatever the inputs and the registers are.

A module is cut at its registers, memories and parts: what they give is an input, what they get an
output. If a solver finds no inputs for which original and mutant differ in an output, no test
could tell them apart. The converse does not hold: a state that tells them apart may not be
reachable.
"""

from __future__ import annotations

import subprocess
import tempfile
from copy import deepcopy
from pathlib import Path

import schemata
from mutations import Mutation
from netlist import Module, write

__all__ = ["equal"]

PATIENCE = 30
"""Seconds for a proof."""

_CUT = {"$dff": ("\\Q",), "$memrd_v2": ("\\DATA",), "$memwr_v2": (), "$meminit_v2": ()}


def _cut(module: Module, name: str, outputs: dict[str, set[str]]) -> Module:
    """``module`` without registers, memories and parts, as module ``name``."""
    module.name = name
    module.others = [line for line in module.others if line.startswith("connect")]
    for cell in list(module.cells.values()):
        gives = _CUT.get(cell.kind, outputs.get(cell.kind))
        if gives is None:
            continue
        del module.cells[cell.name]
        for port, signal in cell.ports.items():
            if not (width := module.width(signal)) or port == "\\mutant":
                continue
            new = module.wire(f"\\cut.{cell.name[1:]}.{port[1:]}", width)
            out = port not in gives
            module.wires[new].port = "output" if out else "input"
            module.others.append(f"connect {new} {signal}" if out else f"connect {signal} {new}")
    ports = [w for w in module.wires.values() if w.port]
    for i, wire in enumerate(ports):
        wire.port = f"{wire.port.split(' ')[0]} {i}"
    for wire in module.wires.values():
        wire.init = ""
    return module


def equal(modules: list[Module], m: Mutation) -> bool:
    """Whether a mutation of the netlist is proved, within PATIENCE, to change nothing."""
    if m.kind == "delay":  # a register more
        return False
    top = modules[0].name
    original = next(n for n in modules if n.name.removeprefix(top).lstrip(".") == m.module)
    outputs = {n.name: {w.name for w in n.wires.values() if w.port.startswith("output")}
               for n in modules}
    mutant = deepcopy(original)
    on = f"{schemata.WIDTH}'{1:0{schemata.WIDTH}b}"
    mutant.others.append(f"connect {mutant.wire(chr(92) + 'mutant', schemata.WIDTH)} {on}")
    schemata.edit(mutant, [(1, m)])
    design = [_cut(deepcopy(original), "\\original", outputs), _cut(mutant, "\\mutant", outputs)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.il").write_text(write(design))
        try:
            said = schemata.yosys(
                "read_rtlil in.il; proc; miter -equiv -flatten original mutant both; "
                "sat -prove trigger 0 both", folder, PATIENCE)
        except subprocess.TimeoutExpired:
            return False
    return "no model found: SUCCESS!" in said
