"""Which mutants compute the same as the original, so that no test could tell them apart.

A module is cut at its parts and memories: what they give is an input, what they get an output.
Inputs are free, reset among them. Two questions are asked of it. Do original and mutant differ in
an output or in a register's next value, for any state (a SAT solver)? And, as that state may not be
reachable: do they ever differ in an output after they have begun alike (abc's property-directed
reachability, which comes with yosys)?
"""

from __future__ import annotations

import subprocess
import tempfile
from collections import defaultdict
from copy import deepcopy
from pathlib import Path

import schemata
from mutations import Mutant, Mutation
from netlist import Module, write

__all__ = ["equal", "equal_from_reset"]

PATIENCE = 30
"""Seconds for a proof about one module."""

_MEMORY = {"$memrd_v2": ("\\DATA",), "$memwr_v2": (), "$meminit_v2": ()}
_REGISTER = {"$dff": ("\\Q",)}


def _cut(module: Module, name: str, outputs: dict[str, set[str]], registers: bool) -> Module:
    """``module`` without memories, parts and, if asked for, registers, as module ``name``."""
    cut = {**_MEMORY, **(_REGISTER if registers else {})}
    module.name = name
    module.others = [line for line in module.others if line.startswith("connect")]
    for cell in list(module.cells.values()):
        gives = cut.get(cell.kind, outputs.get(cell.kind))
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
    if registers:
        for wire in module.wires.values():
            wire.init = ""
    return module


def _pairs(modules: list[Module], m: Mutant, registers: bool) -> list[list[Module]]:
    """Original and mutant of each module that a mutant changes."""
    top = modules[0].name
    outputs = {n.name: {w.name for w in n.wires.values() if w.port.startswith("output")}
               for n in modules}
    copies: dict[str, list[Mutation]] = defaultdict(list)
    for copy in m.copies:
        copies[copy.module].append(copy)
    pairs = []
    for path, own in copies.items():
        original = next(n for n in modules if n.name.removeprefix(top).lstrip(".") == path)
        mutant = deepcopy(original)
        on = f"{schemata.WIDTH}'{1:0{schemata.WIDTH}b}"
        mutant.others.append(f"connect {mutant.wire(chr(92) + 'mutant', schemata.WIDTH)} {on}")
        schemata.edit(mutant, [(1, copy) for copy in own])
        pairs.append([_cut(deepcopy(original), "\\original", outputs, registers),
                      _cut(mutant, "\\mutant", outputs, registers)])
    return pairs


def equal(modules: list[Module], m: Mutant) -> bool:
    """Whether a mutant is proved, within PATIENCE, to differ in no state."""
    if m.first.kind == "delay":  # a register more
        return False
    return all(_combinational(pair) for pair in _pairs(modules, m, registers=True))


def equal_from_reset(modules: list[Module], m: Mutant) -> bool:
    """Whether a mutant is proved, within PATIENCE, to differ in no state that can be reached."""
    return all(_sequential(pair) for pair in _pairs(modules, m, registers=False))


def _combinational(pair: list[Module]) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.il").write_text(write(pair))
        try:
            said = schemata.yosys(
                "read_rtlil in.il; proc; miter -equiv -flatten original mutant both; "
                "sat -prove trigger 0 both", folder, PATIENCE)
        except subprocess.TimeoutExpired:
            return False
    return "no model found: SUCCESS!" in said


def _sequential(pair: list[Module]) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.il").write_text(write(pair))
        try:
            schemata.yosys(
                "read_rtlil in.il; proc; miter -equiv -flatten original mutant both; "
                "hierarchy -top both; dffunmap; opt -nodffe -nosdff; simplemap; techmap; "
                "opt -nodffe -nosdff; dffunmap; setundef -anyseq; aigmap; "
                "write_aiger -zinit both.aig",
                folder, PATIENCE)
            # abc is part of yosys and gets a script with something to map, here one gate; it ends
            # before it has written that, but not before it has written what it found.
            (folder / "gate.v").write_text(
                "module gate(input a, b, output y); assign y = a & b; endmodule")
            subprocess.run(
                [schemata.find_yosys(), "-p", "read_verilog gate.v; simplemap; abc -script "
                 "+read_aiger,both.aig;strash;scorr;write_aiger,reduced.aig;"
                 f"pdr,-T,{PATIENCE};write_status,answer.txt"],
                cwd=folder, check=False, timeout=3 * PATIENCE, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return False
        reduced, answer = folder / "reduced.aig", folder / "answer.txt"
        if reduced.exists() and _never(reduced.read_bytes()):
            return True
        return answer.exists() and answer.read_text().startswith("snl_UNSAT")


def _never(aiger: bytes) -> bool:
    """Whether nothing is left of a netlist but an output that is 0."""
    head, output = aiger.split(b"\n")[:2]
    _, _, _, latches, outputs, gates = head.split()
    return (latches, outputs, gates, output) == (b"0", b"1", b"0", b"0")
