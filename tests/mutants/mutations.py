"""What may go wrong in a netlist, one small fault at a time, and a draw of such faults.

A *site* is a construct of the source: an operator, register, memory port, condition or assignment
of a component. A fault of it is in every instance of the component, and in every assignment that a
condition decides about, as if the source had been changed. Where one instance has many copies of a
construct (lanes, say), they are one site, and one of them changes.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from netlist import Assign, Body, Cell, Module, Process, Switch

import falconet_hw

__all__ = ["Mutant", "Mutation", "draw", "mutants"]

HARDWARE = Path(falconet_hw.__file__).parent
SWAPS = {
    "$add": ("$sub",), "$sub": ("$add",), "$mul": ("$add",), "$and": ("$or",), "$or": ("$and",),
    "$xor": ("$or",), "$not": ("$pos",), "$neg": ("$pos",), "$eq": ("$ne",), "$ne": ("$eq",),
    "$lt": ("$le", "$ge"), "$le": ("$lt", "$gt"), "$gt": ("$ge", "$le"), "$ge": ("$gt", "$lt"),
    "$shl": ("$shr",), "$shr": ("$shl",), "$sshr": ("$shr", "$sshl"),
    "$reduce_or": ("$reduce_and",), "$reduce_and": ("$reduce_or",), "$reduce_xor": ("$reduce_or",),
    "$reduce_bool": ("$reduce_and",), "$divfloor": ("$mul",), "$modfloor": ("$divfloor",),
}
SIGNED = ("$add", "$sub", "$mul", "$lt", "$le", "$gt", "$ge", "$sshr")
_GROUPS = {"invert": "condition", "never": "condition", "always": "condition", "swap": "mux",
           "stuck": "mux", "kind": "operator"}
_CONSTANT = re.compile(r"(\d+)'([01]+)")


@dataclass(frozen=True)
class Mutation:
    """One fault in one place of the netlist.

    ``module`` is the part of the machine, ``item`` its cell or process, ``path`` the statement of
    a process. ``kind`` and ``argument`` say what happens to it. ``component`` is the file that
    defines the module, ``place`` the line of the construct, ``what`` a phrase for the reader.
    ``within`` are the conditions around a condition, and itself.
    """

    module: str
    item: str
    path: tuple[int, ...]
    kind: str
    argument: str
    component: str
    place: str
    what: str
    within: str = ""

    @property
    def site(self) -> tuple[str, str, str]:
        """Equal for copies of a construct, and for what may happen to it in one way."""
        group = _GROUPS.get(self.kind, self.kind)
        what = self.what.rpartition(":")[0] if group in _GROUPS.values() else self.what
        return self.component, self.place, f"{group} {re.sub(r'[0-9]+', '', what)}"

    @property
    def alike(self) -> tuple[object, ...]:
        """Equal for what happens in the same way to constructs of one site, in any netlist."""
        derived = self.kind == "result" or self.within
        return self.site, self.kind, "" if derived else self.argument


@dataclass(frozen=True)
class Mutant:
    """A fault of the source: its places in the netlist, at least one.

    ``rank`` tells constructs of one site apart.
    """

    rank: int
    copies: tuple[Mutation, ...]

    @property
    def first(self) -> Mutation:
        return self.copies[0]

    @property
    def site(self) -> tuple[str, str, str]:
        return self.first.site

    @property
    def source(self) -> str:
        """The line that makes it."""
        file, _, line = self.first.place.rpartition(":")
        return (HARDWARE / file).read_text().splitlines()[int(line) - 1].strip()

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for the same fault of the source in another netlist."""
        return self.first.alike, self.rank

    @property
    def key(self) -> str:
        """Names it in any run, as long as the source stays."""
        item = ".".join([self.first.item.strip("$"), *map(str, self.first.path)])
        return f"{self.first.module} {item}, {self.first.place}, {self.first.what}"


def _place(src: str) -> str:
    """``file.py:12`` below hw/falconet_hw; empty if it is not there."""
    path, _, line = src.rpartition(":")
    try:
        return f"{Path(path).relative_to(HARDWARE)}:{line}"
    except ValueError:
        return ""


def _plain(signal: str) -> str:
    return re.sub(r"(\S) \[", r"\1[", signal.replace("\\", ""))


class _Finder:
    """All mutations of a module."""

    def __init__(self, module: Module, top: str) -> None:
        self.module = module
        self.home = _place(module.src)
        self.path = module.name.removeprefix(top).lstrip(".")
        self.driver = {c.ports["\\Y"]: c for c in module.cells.values() if "\\Y" in c.ports}
        self.registered = {c.ports["\\D"].split(" ")[0]: c.ports["\\Q"]
                           for c in module.cells.values() if c.kind == "$dff"}
        self.memories = {c.parameters["\\MEMID"]: c.src for c in module.cells.values()
                         if c.kind == "$meminit_v2"}
        self.driven = {a.target.split(" ")[0] for p in module.processes.values()
                       for _, _, a in _statements(p.body) if isinstance(a, Assign)}
        text = [v for c in module.cells.values() for k, v in c.ports.items()
                if k not in ("\\Y", "\\Q")]
        text += [t for p in module.processes.values() for _, _, a in _statements(p.body)
                 for t in ([a.value] if isinstance(a, Assign) else [a.test])]
        text += [line.split(" ", 2)[2] for line in module.others if line.startswith("connect")]
        self.used: dict[str, int] = {}  # highest bit of each wire that something reads
        for name, high in re.findall(
                r"([\\$][^\s\[\]]+)(?: \[(\d+)(?::\d+)?\])?", "\n".join(text)):
            top = int(high) if high else module.wires[name].width - 1
            self.used[name] = max(self.used.get(name, -1), top)

    def make(self, item: str, path: tuple[int, ...], kind: str, argument: str, src: str, what: str,
             within: str = "") -> Mutation:
        return Mutation(self.path, item, path, kind, argument, self.home.partition(":")[0],
                        _place(src) or self.home, what, within)

    def cell(self, c: Cell) -> Iterator[Mutation]:
        def of(kind: str, argument: str, what: str) -> Mutation:
            return self.make(c.name, (), kind, argument, c.src, f"{c.kind[1:]}: {what}")

        if c.kind.startswith("$mem"):
            yield from self.memory(c)
        if c.kind == "$dff":
            if c.ports["\\D"].split(" ")[0] not in self.driven:
                yield of("delay", "", f"{_plain(c.ports[chr(92) + 'Q'])} one cycle later")
            return
        y = c.ports.get("\\Y", "")
        top = self.used.get(y, -1)
        if top < 0 or not c.kind.startswith("$"):
            return
        for other in SWAPS.get(c.kind, ()):
            if c.kind.startswith("$reduce") and c.width("A") == 1:
                continue
            yield of("kind", other, f"is now {other[1:]}")
        if c.kind in SIGNED and max(c.width("A"), c.width("B")) > 1:
            signed = c.parameters["\\A_SIGNED"] == "1"
            yield of("signed", str(int(not signed)), "unsigned" if signed else "signed")
        if c.kind == "$mux":
            yield of("swap", "", "inputs swapped")
            yield of("stuck", "0", "always the first")
            yield of("stuck", "1", "always the second")
        for port in ("A", "B"):
            value = c.ports.get(f"\\{port}", "")
            if value == "{  }":
                yield of("constant", f"{port} 0", f"0 of {port} is now 1")
            elif m := _CONSTANT.fullmatch(value):
                for bit in range(int(m[1])):
                    was = int(m[2], 2)
                    yield of("constant", f"{port} {bit}",
                             f"{was} of {port} is now {was ^ 1 << bit}")
            elif value and c.width(port) > 1 and c.kind not in ("$mux", "$shift"):
                yield of("narrow", port, f"operand {port} a bit narrower")
        if top > 0:
            yield of("result", str(top), "result a bit narrower")

    def memory(self, c: Cell) -> Iterator[Mutation]:
        src = self.memories.get(c.parameters["\\MEMID"], "")
        name = c.parameters["\\MEMID"].strip('"').replace("\\", "")
        if c.kind == "$memwr_v2":
            yield self.make(c.name, (), "unwritten", "", src, f"{name} is not written")
        if c.kind in ("$memwr_v2", "$memrd_v2"):
            for bit in range(int(c.parameters["\\ABITS"])):
                yield self.make(c.name, (), "address", str(bit), src,
                                f"{name}, {c.kind[1:6]}: bit {bit} of the address flipped")

    def process(self, p: Process) -> Iterator[Mutation]:
        for path, test, s in _statements(p.body):
            if isinstance(s, Switch):
                if _is_reset(s):
                    continue
                for bit, signal in _conditions(s):
                    src = self.driver[signal].src if signal in self.driver else self.source(signal)
                    which = f"condition {bit}" if bit else "condition"
                    if signal[0] == "\\":
                        which += f", {_plain(signal)}"
                    within = " ".join([*_around(p, path), signal])
                    for kind, says in (("invert", "inverted"), ("never", "never true"),
                                       ("always", "always true")):
                        yield self.make(p.name, path, kind, str(bit), src, f"{which}: {says}",
                                        within)
                continue
            name = self.name(s.target)
            if m := _CONSTANT.fullmatch(s.value):
                was, width = int(m[2], 2), int(m[1])
                for bit in range(width):
                    yield self.make(p.name, path, "value", str(bit), p.src,
                                    f"{name} given {was ^ 1 << bit}, not {was}")
            if len(path) > 1 and not (test is not None and _is_reset(test)):
                src = self.near(test) or p.src
                yield self.make(p.name, path, "drop", "", src,
                                f"{name} not given {_plain(s.value)}")

    def near(self, test: Switch | None) -> str:
        if test is None or self.module.width(test.test) != 1:
            return ""
        signal = test.test.removesuffix(" [0]")
        return self.driver[signal].src if signal in self.driver else ""

    def name(self, target: str) -> str:
        wire, _, part = target.partition(" ")
        return _plain(f"{self.registered.get(wire, wire)} {part}".strip())

    def source(self, signal: str) -> str:
        """Where a signal without an operator is declared."""
        return self.module.wires[signal].src if signal in self.module.wires else ""


def _is_reset(s: Switch) -> bool:
    return bool(re.fullmatch(r"\\\w*rst(\$\d+)? \[0\]", s.test))


def _conditions(s: Switch) -> list[tuple[int, str]]:
    """Bits of If, Elif ... with the signal of each; none of a choice by value."""
    tokens = s.test.strip("{} ").split(" ")
    parts = [f"{a} {b}" for a, b in zip(tokens[::2], tokens[1::2])]
    if not all(re.fullmatch(r"\S+ \[\d+\]", p) for p in parts) or len(tokens) % 2:
        return []
    if not any(body for _, body in s.cases):
        return []
    return [(i, p.removesuffix(" [0]")) for i, p in enumerate(reversed(parts))]


def _statements(body: Body, path: tuple[int, ...] = (), test: Switch | None = None
                ) -> Iterator[tuple[tuple[int, ...], Switch | None, Assign | Switch]]:
    """Every statement with the way to it and the switch around it."""
    for i, s in enumerate(body):
        yield (*path, i), test, s
        if isinstance(s, Switch):
            for k, (_, inner) in enumerate(s.cases):
                yield from _statements(inner, (*path, i, k), s)


def _around(process: Process, path: tuple[int, ...]) -> Iterator[str]:
    """Tests of the switches around a statement, each with the number of the case."""
    body = process.body
    for at, case in zip(path[::2], path[1::2]):
        around = body[at]
        assert isinstance(around, Switch)
        yield f"{around.test} {around.cases[case][0]}"
        body = around.cases[case][1]


def mutants(modules: list[Module]) -> list[Mutant]:
    """Every fault known here, in the order of the netlist."""
    found: dict[tuple[object, int], list[Mutation]] = defaultdict(list)
    for module in modules:
        finder = _Finder(module, modules[0].name)
        every = [m for cell in module.cells.values() for m in finder.cell(cell)]
        every += [m for process in module.processes.values() for m in finder.process(process)]
        ranks: Counter[object] = Counter()
        conditions: dict[tuple[object, str], int] = {}
        for m in every:
            at = m.alike, m.within
            if not m.within or at not in conditions:
                conditions[at] = ranks[m.alike]
                ranks[m.alike] += 1
            found[m.alike, conditions[at]].append(m)
    return [Mutant(rank, tuple(copies)) for (_, rank), copies in found.items()]


def draw(every: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """About ``count`` of them: from each component by its number of sites, at least three.

    Sites are drawn, then one of a site's mutations. The same seed gives the same draw, and a
    larger count one that holds the smaller.
    """
    sites: dict[str, dict[tuple[str, str, str], list[Mutant]]] = defaultdict(
        lambda: defaultdict(list))
    for m in every:
        sites[m.first.component][m.site].append(m)
    total = sum(len(s) for s in sites.values())
    drawn = []
    for component in sorted(sites):
        own = sites[component]
        rng = random.Random(f"{seed} {component}")
        order = sorted(own)
        rng.shuffle(order)
        chosen = [rng.choice(own[site]) for site in order]
        drawn += chosen[: max(3, round(count * len(own) / total))]
    return drawn
