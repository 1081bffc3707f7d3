"""Which mutants compute the same as the original, whatever the inputs and the registers are.

A module is cut at its registers, memories and parts: what they give is an input, what they get an
output. If a solver finds no inputs for which original and mutant differ in an output, no test
could tell them apart. The converse does not hold: a state that tells them apart may not be
reachable.
"""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path

import schemata
from mutations import Mutation
from netlist import Module, write

__all__ = ["equal"]

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


def equal(modules: list[Module], chosen: list[Mutation]) -> list[bool]:
    """For each mutation of the netlist whether it is proved to change nothing."""
    top = modules[0].name
    by_path = {m.name.removeprefix(top).lstrip("."): m for m in modules}
    outputs = {m.name: {w.name for w in m.wires.values() if w.port.startswith("output")}
               for m in modules}
    design, script = [], "read_rtlil in.il; proc; "
    originals: dict[str, str] = {}
    for number, m in enumerate(chosen):
        if m.kind == "delay":
            continue
        mutant = deepcopy(by_path[m.module])
        if m.module not in originals:
            originals[m.module] = f"\\original{number}"
            design.append(_cut(deepcopy(mutant), originals[m.module], outputs))
        on = f"{schemata.WIDTH}'{1:0{schemata.WIDTH}b}"
        mutant.others.append(f"connect {mutant.wire(chr(92) + 'mutant', schemata.WIDTH)} {on}")
        schemata.edit(mutant, [(1, m)])
        design.append(_cut(mutant, f"\\mutant{number}", outputs))
        script += (f"miter -equiv -flatten {originals[m.module][1:]} mutant{number} both{number}; "
                   f"log begin {number}; sat -prove trigger 0 both{number}; delete both{number}; ")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.il").write_text(write(design))
        (folder / "script.ys").write_text(script.replace("; ", "\n"))
        said = schemata.yosys("script script.ys", folder)
    proved = [False] * len(chosen)
    for part in said.split("\nbegin ")[1:]:
        proved[int(part.split("\n", 1)[0])] = "no model found: SUCCESS!" in part
    return proved
