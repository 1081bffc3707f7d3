"""One netlist with many mutations in it, of which an input of the machine chooses one, or none.

Every module gets the input ``mutant``, a number. Mutation ``k`` (from 1) is at work where it is
``k``; with 0 the netlist computes what the original does. So one build serves all mutants.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

from amaranth.back import rtlil
from amaranth.lib.wiring import Component
from mutations import Mutant, Mutation
from netlist import Assign, Cell, Module, Process, Switch, bits, read, write

from falconet.isa import Arch, FalconetError
from falconet_hw.build.verilog import find_yosys, without_zeros
from falconet_hw.top import Falconet
from falconet_sim.rtl.library import build_library, cached_verilog, source_key

__all__ = [
    "WIDTH", "apply", "choose", "edit", "library", "machine", "netlist_of", "to_verilog", "yosys",
]

WIDTH = 16
T = TypeVar("T")


def netlist_of(component: Component, name: str) -> list[Module]:
    """The netlist that Verilog is written from, with places in the source."""
    return read(rtlil.convert(component, name=name, emit_src=True))


def machine(arch: Arch) -> list[Module]:
    """The machine with its trace port, as the simulator has it."""
    return netlist_of(Falconet(arch=arch, trace=True), "falconet")


def apply(modules: list[Module], chosen: list[tuple[int, Mutant]], constant: int | None = None
          ) -> list[Module]:
    """The netlist with numbered mutants in it.

    Each copy's ``module`` is the name of a module here, but for the top's name in front. With
    ``constant`` there is no input: that mutation is always at work.
    """
    modules = deepcopy(modules)
    top = modules[0].name
    by_path = {m.name.removeprefix(top).lstrip("."): m for m in modules}
    for module in modules:
        ports = sum(bool(w.port) for w in module.wires.values())
        select = module.wires[module.wire("\\mutant", WIDTH)]
        if constant is None:
            select.port = f"input {ports}"
        else:
            module.others.append(f"connect \\mutant {WIDTH}'{constant:0{WIDTH}b}")
        for cell in module.cells.values():
            if cell.kind.startswith("\\") and constant is None:
                cell.ports["\\mutant"] = "\\mutant"
    for path, own in _grouped((c.module, (number, c)) for number, m in chosen for c in m.copies
                              ).items():
        edit(by_path[path], own)
    return modules


def _grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def edit(module: Module, chosen: list[tuple[int, Mutation]]) -> None:
    """Put numbered mutations into their module, which has the signal ``mutant``."""
    ons = {}
    for number in dict.fromkeys(number for number, _ in chosen):
        ons[number] = on = module.wire(f"$mutant{number}")
        module.cell("$eq", f"{on}$is", {"A_SIGNED": 0, "B_SIGNED": 0, "A_WIDTH": WIDTH,
                                        "B_WIDTH": WIDTH, "Y_WIDTH": 1},
                    A="\\mutant", B=f"{WIDTH}'{number:0{WIDTH}b}", Y=on)
    named = [(m.item, (ons[number], m)) for number, m in chosen]
    for item, own in _grouped(named).items():
        if item in module.processes:
            _change_process(module, module.processes[item], own)
        elif own[0][1].kind in ("delay", "unwritten", "address"):
            for on, m in own:
                _change_state(module, module.cells[item], on, m)
        else:
            _change_cell(module, module.cells[item], own)


def _gate(module: Module, kind: str, a: str, b: str, name: str, width: int = 1) -> str:
    wire = module.wire(name, width)
    module.cell(kind, f"{name}$cell", {"A_SIGNED": 0, "B_SIGNED": 0, "A_WIDTH": width,
                                       "B_WIDTH": width, "Y_WIDTH": width}, A=a, B=b, Y=wire)
    return wire


def _either(module: Module, on: str, name: str, usual: str, mutated: str, to: str, width: int
            ) -> None:
    module.cell("$mux", name, {"WIDTH": width}, S=on, A=usual, B=mutated, Y=to)


def _change_cell(module: Module, cell: Cell, own: list[tuple[str, Mutation]]) -> None:
    """A copy of the cell for each mutation, and a choice behind."""
    result, width = cell.ports["\\Y"], module.width(cell.ports["\\Y"])
    usual, original = module.wire(f"{own[0][0]}$usual", width), deepcopy(cell)
    cell.ports["\\Y"] = usual
    for i, (on, m) in enumerate(own):
        copy = deepcopy(original)
        copy.name, copy.ports["\\Y"] = f"{on}$copy", module.wire(f"{on}$mutated", width)
        module.cells[copy.name] = copy
        mutated = _mutate(module, copy, on, m)
        last = i == len(own) - 1
        to = result if last else module.wire(f"{on}$chosen", width)
        _either(module, on, f"{on}$choice", usual, mutated, to, width)
        usual = to


def _mutate(module: Module, cell: Cell, on: str, m: Mutation) -> str:
    """Change a copy; the signal that is its result."""
    result, kind, argument = cell.ports["\\Y"], m.kind, m.argument
    if kind == "kind":
        cell.kind = argument
    elif kind == "signed":
        for port in ("A", "B"):
            cell.parameters[f"\\{port}_SIGNED"] = argument
        if cell.kind == "$sshr":  # how far is never negative
            cell.parameters["\\B_SIGNED"] = "0"
    elif kind == "swap":
        cell.ports["\\A"], cell.ports["\\B"] = cell.ports["\\B"], cell.ports["\\A"]
    elif kind == "stuck":
        cell.ports["\\S"] = f"1'{argument}"
    elif kind == "constant":
        port, bit = argument.split(" ")
        value = cell.ports[f"\\{port}"].partition("'")[2] or "0"
        if cell.width(port) == 0:
            cell.parameters[f"\\{port}_WIDTH"] = "1"
        cell.ports[f"\\{port}"] = f"{len(value)}'{int(value, 2) ^ 1 << int(bit):0{len(value)}b}"
    elif kind == "narrow":
        value, width = cell.ports[f"\\{argument}"], cell.width(argument)
        # A signed operand keeps its sign, one bit further down.
        fill = (f"{value} [{width - 2}]" if cell.parameters[f"\\{argument}_SIGNED"] == "1"
                else "1'0")
        cell.ports[f"\\{argument}"] = f"{{ {fill} {bits(value, width - 2, 0)} }}"
    elif kind == "result":
        width, top = module.width(result), int(m.argument)
        return f"{{ {bits(result, width - 1, top + 1)} 1'0 {bits(result, top - 1, 0)} }}"
    else:
        raise AssertionError(kind)
    return result


def _change_state(module: Module, cell: Cell, on: str, m: Mutation) -> None:
    """Registers and memories: their inputs change."""
    if m.kind == "delay":
        data = cell.ports["\\D"]
        width = module.width(data)
        late, to = module.wire(f"{on}$late", width), module.wire(f"{on}$chosen", width)
        name = f"{late}$cell"
        module.cells[name] = Cell("$dff", name, dict(cell.parameters), {
            "\\D": data, "\\CLK": cell.ports["\\CLK"], "\\Q": late})
        _either(module, on, f"{on}$choice", data, late, to, width)
        cell.ports["\\D"] = to
    elif m.kind == "unwritten":
        enable, width = cell.ports["\\EN"], cell.width("DATA")
        to = module.wire(f"{on}$chosen", width)
        _either(module, on, f"{on}$choice", enable, f"{width}'{'0' * width}", to, width)
        cell.ports["\\EN"] = to
    else:
        assert m.kind == "address", m.kind
        address, bit = cell.ports["\\ADDR"], int(m.argument)
        width = int(cell.parameters["\\ABITS"])
        flip = _gate(module, "$xor", f"{address} [{bit}]", on, f"{on}$flip")
        cell.ports["\\ADDR"] = (f"{{ {bits(address, width - 1, bit + 1)} {flip} "
                                f"{bits(address, bit - 1, 0)} }}")


def _statement(process: Process, path: tuple[int, ...]) -> Assign | Switch:
    statement: Assign | Switch = process.body[path[0]]
    for case, i in zip(path[1::2], path[2::2]):
        assert isinstance(statement, Switch)
        statement = statement.cases[case][1][i]
    return statement


def _change_process(module: Module, process: Process, own: list[tuple[str, Mutation]]) -> None:
    for on, m in own:
        statement = _statement(process, m.path)
        name = f"{on}{process.name}_{'_'.join(map(str, m.path))}"
        if m.kind == "drop":
            assert isinstance(statement, Assign)
            statement.unless.append(on)
            continue
        bit = int(m.argument)
        if m.kind == "value":
            assert isinstance(statement, Assign)
            value, width = statement.value, module.width(statement.value)
        else:
            assert isinstance(statement, Switch)
            value, width = statement.test, module.width(statement.test)
        gate = {"value": "$xor", "invert": "$xor", "always": "$or", "never": "$and"}[m.kind]
        other = on
        if m.kind == "never":
            other = _gate(module, "$xor", on, "1'1", f"{name}$off")
        new = _gate(module, gate, f"{value} [{bit}]", other, f"{name}$bit")
        changed = f"{{ {bits(value, width - 1, bit + 1)} {new} {bits(value, bit - 1, 0)} }}"
        if isinstance(statement, Assign):
            statement.value = changed
        else:
            statement.test = changed


def yosys(script: str, folder: Path, seconds: float | None = None) -> str:
    """What yosys says; it sees only files in ``folder``. subprocess.TimeoutExpired after that."""
    done = subprocess.run([find_yosys(), "-p", script], cwd=folder, check=False, timeout=seconds,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise FalconetError(f"yosys refuses a mutated netlist: {done.stdout[-300:]}")
    return done.stdout


def to_verilog(modules: list[Module], path: Path) -> None:
    """As falconet_hw.build.verilog writes the machine, of this netlist."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.il").write_text(write(modules))
        yosys("read_rtlil in.il; proc -nomux -norom; memory_collect; "
              "write_verilog -noattr -norename out.v", folder)
        path.write_text(without_zeros((folder / "out.v").read_text()))


def library(arch: Arch, chosen: list[Mutant]) -> Path:
    """The simulated machine with mutation 1 of ``chosen``, 2 and so on; built if need be."""
    own = [Path(__file__).with_name(f"{name}.py").read_text() for name in ("netlist", "schemata")]
    key = source_key(" ".join([f"{arch.hash:08x}", *(repr(m) for m in chosen), *own]))

    def build(path: Path) -> None:
        to_verilog(apply(machine(arch), list(enumerate(chosen, 1))), path)

    verilog = cached_verilog(f"{arch.name}-mutants", key, build)
    return build_library(verilog, arch.name, lanes=arch.lanes, trace=True, kind="mutants")


def choose(library: Path, number: int) -> None:
    """The mutant of all machines that are made from this library from now on; 0 is none."""
    ctypes.CDLL(str(library.resolve())).falconet_mutant(number)
