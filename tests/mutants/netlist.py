"""RTLIL as Amaranth writes it: read, changed and written again.

Only what Amaranth emits is understood: one item a line, cells and processes between their first
line and ``end``. Signals stay text (``\\count [5:0]``, ``{ 1'0 $3 }``); RTLIL lets any of them be
sliced again. That a wire is signed is left out: with wires that are, yosys writes an unsigned
operator as a signed one of Verilog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Assign", "Cell", "Module", "Process", "Switch", "Wire", "bits", "read", "write"]

_TOKEN = re.compile(r"[{}]|\[\d+(?::\d+)?\]|\d+'[01xz-]+|[\\$][^\s\[\]]+")
_SLICE = re.compile(r"\[(\d+)(?::(\d+))?\]")
Body = list["Assign | Switch"]


@dataclass
class Wire:
    name: str
    width: int
    port: str = ""
    """"input 3", "output 5" or empty."""
    init: str = ""
    src: str = ""


@dataclass
class Cell:
    kind: str
    name: str
    parameters: dict[str, str]
    ports: dict[str, str]
    src: str = ""

    def width(self, port: str) -> int:
        """From the parameters; of a multiplexer or a register that of its data."""
        return int(self.parameters.get(f"\\{port}_WIDTH", self.parameters.get("\\WIDTH", "1")))


@dataclass
class Assign:
    target: str
    value: str
    unless: list[str] = field(default_factory=list)
    """One-bit signals; the assignment is left out while one of them is 1."""


@dataclass
class Switch:
    test: str
    cases: list[tuple[str, Body]]


@dataclass
class Process:
    name: str
    body: Body
    src: str = ""


@dataclass
class Module:
    name: str
    src: str = ""
    wires: dict[str, Wire] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    """Memories and connections."""

    def width(self, signal: str) -> int:
        """Bits of any signal of this module."""
        return _width(self, _TOKEN.findall(signal))

    def wire(self, name: str, width: int = 1) -> str:
        """A new wire."""
        assert name not in self.wires
        self.wires[name] = Wire(name, width)
        return name

    def cell(self, kind: str, name: str, parameters: dict[str, int], **ports: str) -> None:
        """A new cell."""
        self.cells[name] = Cell(kind, name, {f"\\{k}": str(v) for k, v in parameters.items()},
                                {f"\\{k}": v for k, v in ports.items()})


def _one(tokens: list[str], at: int) -> int:
    """Behind the signal that begins at ``at``."""
    if tokens[at] == "{":
        at += 1
        while tokens[at] != "}":
            at = _one(tokens, at)
    at += 1
    while at < len(tokens) and tokens[at].startswith("["):
        at += 1
    return at


def _width(module: Module, tokens: list[str]) -> int:
    if not tokens:
        return 0
    end = _one(tokens, 0)
    if end < len(tokens):
        return _width(module, tokens[:end]) + _width(module, tokens[end:])
    if tokens[-1].startswith("["):
        high, low = _SLICE.fullmatch(tokens[-1]).groups()
        return int(high) - int(low or high) + 1
    if tokens[0] == "{":
        return _width(module, tokens[1:-1])
    if "'" in tokens[0]:
        return int(tokens[0].partition("'")[0])
    return module.wires[tokens[0]].width


def bits(signal: str, high: int, low: int) -> str:
    """Part of a signal; nothing where ``high`` is below ``low``."""
    return f"{signal} [{high}:{low}]" if high >= low else ""


def _two(text: str) -> tuple[str, str]:
    tokens = _TOKEN.findall(text)
    end = _one(tokens, 0)
    return " ".join(tokens[:end]), " ".join(tokens[end:])


def _body(lines: Iterator[str], ends: tuple[str, ...]) -> tuple[Body, str]:
    """Statements up to a line that begins with one of ``ends``, and that line."""
    body: Body = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word in ends:
            return body, line
        if word == "assign":
            body.append(Assign(*_two(rest)))
        else:
            assert word == "switch", line
            cases, line = [], next(lines)
            while line != "end":
                inner, after = _body(lines, ("case", "end"))
                cases.append((line, inner))
                line = after
            body.append(Switch(rest, cases))
    raise AssertionError("a process does not end")


def read(text: str) -> list[Module]:
    """The modules of a design, the top first."""
    lines = (line for raw in text.splitlines() if (line := raw.strip()))
    modules: list[Module] = []
    attributes: dict[str, str] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "attribute":
            name, _, value = rest.partition(" ")
            attributes[name] = value.strip('"')
            continue
        src, init = attributes.get("\\src", ""), attributes.get("\\init", "")
        attributes = {}
        if word == "module":
            modules.append(Module(rest, src))
            continue
        if word == "end":
            continue
        module = modules[-1]
        if word == "wire":
            _, width, *port, name = rest.split()
            module.wires[name] = Wire(
                name, int(width), " ".join(p for p in port if p != "signed"), init, src)
        elif word == "cell":
            kind, name = rest.split()
            cell = module.cells[name] = Cell(kind, name, {}, {}, src)
            while (inner := next(lines)) != "end":
                what, name, value = inner.split(" ", 2)
                (cell.parameters if what == "parameter" else cell.ports)[name] = value
        elif word == "process":
            module.processes[rest] = Process(rest, _body(lines, ("end",))[0], src)
        else:
            assert word in ("memory", "connect"), line
            module.others.append(line)
    return modules


def _write_body(body: Body, indent: str) -> Iterator[str]:
    switched = False
    for item in body:
        if isinstance(item, Switch):
            switched = True
            yield f"{indent}switch {item.test}"
            for case, inner in item.cases:
                yield f"{indent}  {case}"
                yield from _write_body(inner, indent + "    ")
            yield f"{indent}end"
            continue
        # An assignment behind a switch must be in a switch: yosys takes assignments first.
        switched = switched or bool(item.unless)
        depth = indent
        for test in item.unless or ([""] if switched else []):
            yield f"{depth}switch {test or '{}'}"
            if test:
                yield f"{depth}  case 1'1"
            yield f"{depth}  case"
            depth += "    "
        yield f"{depth}assign {item.target} {item.value}"
        while depth != indent:
            depth = depth[:-4]
            yield f"{depth}end"


def _write_module(module: Module) -> Iterator[str]:
    yield f"module {module.name}"
    for wire in module.wires.values():
        if wire.init:
            yield f"  attribute \\init {wire.init}"
        yield f"  wire width {wire.width} {wire.port} {wire.name}"
    yield from (f"  {line}" for line in module.others if line.startswith("memory"))
    for cell in module.cells.values():
        yield f"  cell {cell.kind} {cell.name}"
        yield from (f"    parameter {k} {v}" for k, v in cell.parameters.items())
        yield from (f"    connect {k} {v}" for k, v in cell.ports.items())
        yield "  end"
    for process in module.processes.values():
        yield f"  process {process.name}"
        yield from _write_body(process.body, "    ")
        yield "  end"
    yield from (f"  {line}" for line in module.others if line.startswith("connect"))
    yield "end"


def write(modules: list[Module]) -> str:
    """As text; of the attributes only initial values remain, and the first module is the top."""
    lines = ["attribute \\top 1"]
    for module in modules:
        lines += _write_module(module)
    return "\n".join(lines) + "\n"
