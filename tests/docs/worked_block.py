"""``python tests/docs/worked_block.py``: the worked block of docs/machine.md, run on the RTL.

An inverted residual block (MobileNetV2) with random weights on the smallest machine. The page gets
its instructions with their cycles, docs/images/block.svg their timeline.
"""

from __future__ import annotations

import sys
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from networks import Builder
from programs import random_inputs

from falconet.compiler import compile_graph
from falconet.isa import Engine, Instruction, Program, preset
from falconet.isa.machine.cycles import steps
from falconet.runtime.device import RunResult
from falconet_app.commands.charts import engine_colour
from falconet_app.commands.pages import put_section
from falconet_sim.rtl.board import RtlDevice

DOCS = Path(__file__).parents[2] / "docs"
NAMES = {"conv0": "expand", "conv1": "depthwise", "conv2": "project", "eltwise3": "add"}


@cache
def run() -> tuple[Program, RunResult]:
    """The block, 16 x 16 x 16 with an expansion of 3, and its traced run."""
    block = Builder((16, 16, 16))
    y = block.conv("x", 48)
    y = block.depthwise(y)
    y = block.conv(y, 16)
    y = block.eltwise(y, "x")
    block.graph.outputs = [y]
    program = compile_graph(block.graph, preset("tiny"), "block")
    return program, RtlDevice.for_program(program).run(random_inputs(program))


def _layer(program: Program, index: int) -> str:
    step = int(program.header["steps"][index][0])
    return NAMES[program.header["layers"][step]["name"]] if step >= 0 else ""


def _number(program: Program) -> list[str]:
    """Instructions as engine and number, as waits count them: ``MAC 3``."""
    seen = dict.fromkeys(Engine, 0)
    names = []
    for ins in program.instructions():
        if ins.engine is None:
            names.append("END")
            continue
        seen[ins.engine] += 1
        names.append(f"{ins.engine.name} {seen[ins.engine]}")
    return names


def _waits(ins: Instruction) -> str:
    found = [(e.name, getattr(ins, f"wait_{e.name.lower()}")) for e in Engine]
    return ", ".join(f"{name} {count}" for name, count in found if count)


def _what(program: Program, index: int) -> str:
    """What an instruction makes."""
    ins, layer = program.instructions()[index], _layer(program, index)
    rows = program.header["steps"][index][2:4]
    if ins.engine is Engine.LOAD:
        return {0: "the block's input", 1: f"weights of {layer}", 2: f"weights of {layer}"}[ins.dst]
    if ins.engine is Engine.STORE:
        return "the block's output"
    return f"{layer}, rows {rows[0]} to {rows[1] - 1}" if ins.engine is not None else ""


def table(program: Program, result: RunResult) -> str:
    """All instructions, with the cycles of the RTL."""
    assert result.trace is not None
    names, lines = _number(program), [
        "| | instruction | makes | waits for | steps | starts | retires |", "|" + " --- |" * 7]
    for i, ins in enumerate(program.instructions()):
        work = steps(ins, program.arch)
        lines.append("| " + " | ".join([
            names[i], ins.mnemonic, _what(program, i), _waits(ins), f"{work:,.0f}" if work else "",
            f"{result.trace.start[i]:,}", f"{result.trace.retire[i]:,}"]) + " |")
    return "\n".join(lines)


def timeline(program: Program, result: RunResult) -> str:
    """A row for each engine; a bar is an instruction, lines lead from what the dark ones read."""
    assert result.trace is not None and result.cycles is not None
    left, width, row = 70.0, 1040.0, 46.0
    scale = width / result.cycles
    instructions, names = program.instructions(), _number(program)
    engines = [e for e in Engine if any(i.engine is e for i in instructions)]
    place = {}
    for i, ins in enumerate(instructions):
        if ins.engine is not None:
            begin, end = int(result.trace.start[i]), int(result.trace.retire[i])
            place[names[i]] = (left + begin * scale, engines.index(ins.engine) * row + 8,
                               left + end * scale, engines.index(ins.engine), i)
    # The life of the first rows: from the input to the output.
    kinds = {f"{_layer(program, i)} {ins.mnemonic}": names[i]
             for i, ins in reversed(list(enumerate(instructions)))}
    life = ["LOAD 1", *(kinds[k] for k in ("expand MAC", "depthwise WINDOW", "project MAC",
                                           "add ELTW")), "STORE 1"]
    bottom = len(engines) * row
    parts = []
    for tick in range(0, result.cycles + 1, 1000):
        x = left + tick * scale
        parts.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{bottom + 4:.0f}" stroke="#999" '
                     'stroke-opacity=".4"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18:.0f}" text-anchor="middle">{tick:,}'
                     "</text>")
    for engine in engines:
        y = engines.index(engine) * row
        parts.append(f'<text x="{left - 8:.0f}" y="{y + 26:.0f}" text-anchor="end">{engine.name}'
                     "</text>")
    for name, (x1, y, x2, at, i) in place.items():
        own = engine_colour(engines[at])
        said = f"{name}: {_what(program, i)}"
        # Where one begins while the former drains, half a row lower.
        low = 15.0 if int(name.split()[1]) % 2 == 0 else 0.0
        parts.append(
            f'<rect x="{x1:.1f}" y="{y + low:.1f}" width="{x2 - x1:.1f}" height="15" fill="{own}" '
            f'fill-opacity="{1 if name in life else .35}" stroke="#fff" stroke-width=".6"><title>'
            f"{escape(said)}</title></rect>")
        if x2 - x1 > 34 and (name in life or engines[at] is not Engine.LOAD):
            label = _layer(program, i) or {"LOAD": "input", "STORE": "output"}[name.split()[0]]
            parts.append(f'<text x="{(x1 + x2) / 2:.1f}" y="{y + low + 11.5:.1f}" '
                         f'text-anchor="middle" font-size="10" fill="#000">{label}</text>')
    for a, b in pairwise(life):
        xa, ya, xb, yb = place[a][2], place[a][1] + 15, place[b][0], place[b][1] + 15
        parts.append(f'<path d="M{xa:.1f},{ya:.1f} L{xb:.1f},{yb:.1f}" stroke="#000" fill="none" '
                     'stroke-width="1.2"/>')
    parts.append(f'<text x="{left + width / 2:.0f}" y="{bottom + 36:.0f}" text-anchor="middle">'
                 "cycle</text>")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="1120" height="{bottom + 44:.0f}" '
            f'viewBox="0 0 1120 {bottom + 44:.0f}" font-family="sans-serif" font-size="12">'
            '<rect width="100%" height="100%" fill="#fff"/>' + "".join(parts) + "</svg>\n")


def write(page: Path, picture: Path) -> None:
    """Both, as they are for this compiler and this machine."""
    program, result = run()
    text = f"{table(program, result)}\n\n{result.cycles:,} cycles in all.\n"
    put_section(page, "worked block", text)
    picture.write_text(timeline(program, result), encoding="utf-8")


if __name__ == "__main__":
    write(DOCS / "machine.md", DOCS / "images/block.svg")
