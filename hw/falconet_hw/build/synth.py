"""Synthesis with yosys: what the machine costs, and which nets are too heavy.

``python -m falconet_hw.build.synth --preset pynq-z2`` writes build/synth/PRESET.json and prints a
table; ``--board aup-zu3`` takes the whole design of a board, for its chip. No place and route: the
figures say whether the machine fits, and the fan-out whether it has a chance to be fast.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.lib.wiring import Component

from falconet.ending import ended
from falconet.isa import Board, FalconetError, board, preset
from falconet.isa.files import written
from falconet_hw.board import TOP, board_top, host_of
from falconet_hw.board.zynq7 import ZYNQ7
from falconet_hw.build.verilog import find_yosys, to_verilog, yosys_version
from falconet_hw.top import Falconet

__all__ = [
    "Design", "board_design", "count_blocks", "count_cells", "count_fanout", "design",
    "find_blocks", "netlist", "synthesise",
]

_LUTS = {
    **{f"LUT{i}": 1 for i in range(1, 7)},
    "SRL16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2,
    "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4, "RAM32M": 4, "RAM64M": 4,
}
_FFS = ("FDRE", "FDSE", "FDCE", "FDPE")
_CLOCK_PINS = ("C", "CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK")
_PASS = re.compile(r"^\d+\.\d+\. Executing (\w+) pass")


def count_cells(cells: Mapping[str, int]) -> dict[str, float]:
    """Resources from numbers of cells by type. Two small LUTs are counted as two."""
    return {
        "dsp": cells.get("DSP48E1", 0) + cells.get("DSP48E2", 0),
        "lut": sum(n * cells.get(t, 0) for t, n in _LUTS.items()),
        "ff": sum(cells.get(t, 0) for t in _FFS),
        "bram36": sum(cells.get(f"RAMB36E{v}", 0) + cells.get(f"RAMB18E{v}", 0) / 2
                      for v in (1, 2)),
    }


def count_fanout(module: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Nets of a netlist (a module of yosys' JSON) with their input pins, the heaviest first.

    Clock nets are left out.
    """
    sinks: Counter[int] = Counter()
    clocks: set[int] = set()
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] == "input":
                wires = [b for b in bits if isinstance(b, int)]
                sinks.update(wires)
                if pin in _CLOCK_PINS:
                    clocks.update(wires)
    names: dict[int, str] = {}
    for name, net in module["netnames"].items():
        for i, bit in enumerate(net["bits"]):
            label = name if len(net["bits"]) == 1 else f"{name}[{i}]"
            old = names.get(bit)
            if old is None or (label.startswith("$"), len(label)) < (old.startswith("$"), len(old)):
                names[bit] = label
    return [
        (names.get(bit, f"net {bit}"), n) for bit, n in sinks.most_common() if bit not in clocks
    ]


def find_blocks(module: Mapping[str, Any], top: str = "machine") -> dict[str, str]:
    """The block directly below instance ``top`` (a path) of each cell of a flattened netlist.

    A good guess: a cell belongs to the block that it or its output is named after (one of them,
    where the same net has names in several); one without a name, as most LUTs are, to the block of
    a cell that it drives. What is left is ``other``.
    """
    above = top.split(".")

    def block_of(name: str) -> str | None:
        path = [part.split("$")[0] for part in name.split(".")]
        below = path[: len(above)] == above and len(path) > len(above) + 1
        return path[len(above)] if below else None

    block_of_bit: dict[int, str] = {}
    for name, net in module["netnames"].items():
        block = block_of(name)
        if block:
            block_of_bit.update(dict.fromkeys(net["bits"], block))
    pending, sinks = dict(module["cells"]), defaultdict(list)
    blocks: dict[str, str] = {}
    for name, cell in pending.items():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] == "input":
                for bit in bits:
                    sinks[bit].append(name)
    found = 1
    while found:
        found = 0
        for name, cell in list(pending.items()):
            outputs = [b for pin, bits in cell["connections"].items() for b in bits
                       if cell["port_directions"][pin] == "output"]
            own = block_of(name)
            known = [own] if own else []
            known += [block_of_bit[b] for b in outputs if b in block_of_bit]
            known += [blocks[s] for b in outputs for s in sinks[b] if s in blocks]
            if known:
                blocks[name] = known[0]
                del pending[name]
                found += 1
    return blocks | dict.fromkeys(pending, "other")


def count_blocks(module: Mapping[str, Any], *tops: str) -> dict[str, dict[str, float]]:
    """Resources of each block directly below instance ``machine``, and below it of those blocks
    that ``tops`` names (``detect.scan`` is a part of ``detect``)."""
    names = find_blocks(module)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, cell in module["cells"].items():
        counts[names[name]][cell["type"]] += 1
    for top in tops:
        cells = {n: c for n, c in module["cells"].items() if names[n] == top}
        parts = find_blocks({**module, "cells": cells}, f"machine.{top}")
        for name, cell in cells.items():
            counts[f"{top}.{parts[name]}"][cell["type"]] += 1
    return {block: count_cells(cells) for block, cells in sorted(counts.items())}


@dataclass(frozen=True)
class Design:
    """What yosys is given, and what it may cost."""

    name: str
    title: str
    top: str
    family: str
    options: str
    bars: Mapping[str, int]
    component: Callable[[], Component]

    def files(self, directory: str | Path) -> tuple[Path, Path, Path]:
        """Its Verilog, the script for yosys, the netlist."""
        folder = Path(directory)
        return tuple(folder / f"{self.name}.{end}"  # type: ignore[return-value]
                     for end in ("v", "ys", "netlist.json"))


def design(preset_name: str) -> Design:
    """A preset's machine alone, for the 7-series."""
    arch, chip = preset(preset_name), ZYNQ7.system
    assert chip is not None
    return Design(arch.name, f"{arch.name} on XC7Z020", "falconet", chip.family,
                  "-noiopad -noclkbuf", chip.bars, lambda: Falconet(arch=arch))


def board_design(described: Board) -> Design:
    """Everything that is on a board's chip."""
    chip = host_of(described).system
    if chip is None:
        raise FalconetError(f"board '{described.name}' is not of Xilinx; run make bitstream "
                            f"BOARD={described.name}")
    return Design(f"board-{described.name}", f"{described.title}, {described.part}", TOP,
                  chip.family, "-noiopad", chip.bars, lambda: board_top(described))


def _run_yosys(script: Path, log: Path) -> None:
    start = time.monotonic()
    with log.open("w") as out, subprocess.Popen(
        [find_yosys(), "-s", script.name], cwd=script.parent,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            out.write(line)
            found = _PASS.match(line)
            if found and found[1] != last:
                last = found[1]
                seconds = time.monotonic() - start
                end = "\r" if sys.stderr.isatty() else "\n"
                print(f"{seconds:6.0f} s  {last:<24}", end=end, file=sys.stderr, flush=True)
    print(f"{time.monotonic() - start:6.0f} s  {'done':<24}", file=sys.stderr)
    if process.returncode:
        raise FalconetError(f"yosys failed; the last lines of {log} say why")


def netlist(of: Design, directory: str | Path = "build/synth") -> dict[str, Any]:
    """The module of yosys' JSON that a design becomes, flat, with Python files as its sources.

    Kept in ``directory`` for as long as the design, the script and yosys are the same.
    """
    source, script, made = of.files(directory)
    source.parent.mkdir(parents=True, exist_ok=True)
    text = to_verilog(of.component(), of.top, sources=True)
    part = made.with_name(f"{made.name}.part")
    commands = (
        f"# yosys {yosys_version(find_yosys())}\nread_verilog {source.name}\n"
        f"synth_xilinx -family {of.family} -top {of.top} -flatten {of.options}\n"
        f"write_json {part.name}\n"
    )
    wanted = ((source, text), (script, commands))
    if not (made.exists() and all(p.exists() and p.read_text() == t for p, t in wanted)):
        made.unlink(missing_ok=True)
        for path, content in wanted:
            path.write_text(content)
        _run_yosys(script, source.with_name(f"{of.name}.log"))
        part.rename(made)
    module: dict[str, Any] = json.loads(made.read_text())["modules"][of.top]
    return module


def synthesise(of: Design, directory: str | Path = "build/synth") -> dict[str, Any]:
    """Synthesise a design; write and return the report."""
    module = netlist(of, directory)
    cells = Counter(cell["type"] for cell in module["cells"].values())
    fanout = count_fanout(module)
    report = {
        "preset": of.name, "title": of.title, "bars": dict(of.bars), **count_cells(cells),
        "max_fanout": fanout[0][1], "fanout_top10": fanout[:10],
        "blocks": count_blocks(module, "detect") if of.top == "falconet" else {},
        "cells": dict(sorted(cells.items())),
    }
    with written(Path(directory) / f"{of.name}.json") as part:
        part.write_text(json.dumps(report, indent=1) + "\n")
    return report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m falconet_hw.build.synth", description=__doc__)
    parser.add_argument("--preset", default="pynq-z2",
                        help="machine, or a JSON file that describes it (default: %(default)s)")
    parser.add_argument("--board", help="the whole design of a board instead")
    args = parser.parse_args(argv)
    report = synthesise(board_design(board(args.board)) if args.board else design(args.preset))
    _print_report(report)
    return 1 if _failed(report) else 0


def _failed(report: Mapping[str, Any]) -> list[str]:
    return [k for k, bar in report["bars"].items() if report[k] > bar]


def _print_report(report: Mapping[str, Any]) -> None:
    failed = _failed(report)
    bars = report["bars"]
    print(f"{report['title']:<44}{'used':>10}{'bar':>8}")
    for key in ("dsp", "bram36", "lut", "ff", "max_fanout"):
        bar = bars.get(key, "")
        print(f"  {key:<42}{report[key]:>10g}{bar:>8}{'  too many' if key in failed else ''}")
    print(f"{'block':<20}{'dsp':>8}{'bram36':>8}{'lut':>8}{'ff':>8}")
    for block, used in report["blocks"].items():
        print(f"  {block:<18}" + "".join(f"{used[k]:>8g}" for k in ("dsp", "bram36", "lut", "ff")))
    print("heaviest nets")
    for net, n in report["fanout_top10"]:
        print(f"  {n:>6}  {net}")


if __name__ == "__main__":
    sys.exit(ended(main, last=True))
