"""``python tests/coverage``: coverage of the RTL and of the instructions' fields, as tables.

Random programs, networks and detection heads run on the RTL of ``tiny``, built for coverage, and
must give the bytes of the instruction-set simulator; then programs with values of fields that these
lack, and each way to be stopped. Statements of Python are those that ``make check COVERAGE=1`` has
counted of this commit, if it has.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from devices import same_as_simulator
from fields import Seen
from heads import random_head
from networks import retinaface, zoo_of_operators
from programs import Assembler, detection_program, random_inputs, random_program
from sweep import LONGEST, swept, zeros

from falconet.compiler import compile_graph
from falconet.isa import (
    FalconetError,
    Load,
    Program,
    Segment,
    Store,
    Suppression,
    preset,
)
from falconet_app.commands.console import working
from falconet_app.commands.pages import revision, show
from falconet_sim.compare.hazards import required_waits
from falconet_sim.rtl.board import RtlDevice
from falconet_sim.rtl.coverage import by_component, read_points
from falconet_sim.rtl.library import machine_library

TINY = preset("tiny")
MODES = [mode.name.lower() for mode in Suppression]
FILE = Path("build/coverage/tiny.dat")
PYTHON = Path(f"build/coverage/python-{revision()}.json")
STEPS = 8_000
"""Steps that an instruction of the sweep may take: this RTL makes 30,000 cycles a second."""
Case = tuple[Program, dict[str, np.ndarray]]


def groups(rng: np.random.Generator, seed: int) -> dict[str, int]:
    """Bins with form 1, and a softmax, for some heads."""
    bins = int(rng.integers(1, 32)) if seed // 2 % 2 and seed % 3 else 0
    return {"bins": bins, "softmax": seed % 5 < 2}


def good(programs: int) -> Iterator[Case]:
    """Programs that end, each engine running as far ahead as it may."""
    for seed in range(programs):
        serial = random_program(TINY, seed, 20)
        inputs = random_inputs(serial, seed)
        yield random_program(TINY, seed, 20, waits=required_waits(serial, inputs)), inputs
    for seed in range(programs // 4):
        rng = np.random.default_rng(seed)
        detect, tensors = random_head(
            rng, TINY, levels=1 + seed % 8, points=5 * (seed % 2), objectness=bool(seed & 2),
            form=seed // 2 % 2, grid=seed // 4 % 2, classes=1 + seed % 3, size=(64, 128),
            mode=MODES[seed % len(MODES)], **groups(rng, seed))
        yield detection_program(TINY, detect, tensors)
    for graph in (zoo_of_operators(), zoo_of_operators(3, 28), retinaface(size=32)):
        program = compile_graph(graph, TINY)
        yield program, random_inputs(program)


def bad() -> Iterator[tuple[Program, str]]:
    """Programs that are stopped, and by what."""
    def of(*instructions: Load | Store) -> Program:
        asm = Assembler(TINY, serial=False)
        asm.segments.update(input=256, output=256)
        for ins in instructions:
            asm.add(ins)
        return asm.program()

    load = Load(segment=Segment.INPUT, run=4)
    yield of(load, Load(segment=Segment.WORK)), "WINDOW"
    yield of(load, Store(segment=Segment.INPUT)), "WINDOW"
    endless = of(load)
    endless.header["instructions"] = 1
    yield endless, "NO_END"
    unknown = of(load, load)
    unknown.code = unknown.code[:64] + b"\xfe" + unknown.code[65:]
    yield unknown, "OPCODE"
    yield of(load, Store(segment=Segment.OUTPUT, wait_load=2)), "did not end in time"


def run(programs: int) -> tuple[RtlDevice, Seen]:
    library, seen = machine_library(TINY, "coverage"), Seen()
    device = RtlDevice(TINY, library=library, memory_bytes=8 << 20, stall_cycles=LONGEST)
    cases = list(good(programs))
    with working(f"{len(cases)} programs") as step:
        for i, case in enumerate(cases):
            step.share(i / len(cases))
            same_as_simulator(device, *case)
            seen.add(case[0].instructions())
    with working("values of fields that none of them has"):
        for case in swept(TINY, seen, most=STEPS):
            device.load(zeros(TINY))
            device.run({})
            same_as_simulator(device, *case)
            seen.add(case[0].instructions())
    for program, why in bad():
        device.load(program)
        try:
            device.run({})
        except FalconetError as e:
            if why not in str(e):
                raise
        else:
            raise FalconetError(f"a program that {why} should have stopped has ended well")
    return device, seen


def python_rows() -> list[dict[str, str]]:
    """A row for each package and subpackage."""
    used, total = Counter[str](), Counter[str]()
    for file, found in json.loads(PYTHON.read_text())["files"].items():
        for name in (".".join(Path(file).parts[1:-1][:2]), "all"):
            used[name] += found["summary"]["covered_lines"]
            total[name] += found["summary"]["num_statements"]
    return [{"package": name, "statements": f"{total[name]:,}", "used": f"{used[name]:,}",
             "share": f"{used[name] / total[name]:.1%}"}
            for name in sorted(total, key=lambda n: (n == "all", n)) if total[name]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--markdown", type=Path, help="put the tables into this page")
    parser.add_argument("--missed", metavar="COMPONENT",
                        help="list the points of a component that nothing used")
    options = parser.parse_args()
    device, seen = run(options.programs)
    device.board.save_coverage(FILE)
    counts = by_component(read_points(FILE))
    everything = by_component(read_points(FILE), 0)["top"]
    rows = [
        {"component": name, **{
            heading: f"{c.used[kind]:,} of {c.total[kind]:,}, {c.share(kind):.1%}"
            for kind, heading in (("lines", "lines and branches"), ("toggles", "toggles"))}}
        for name, c in {**counts, "all": everything}.items()]
    show(rows, options.markdown, "coverage rtl", "Coverage of the RTL, tiny",
         "make coverage", False)
    show(seen.rows(), options.markdown, "coverage fields",
         "Coverage of the instructions' fields", "make coverage", False)
    if PYTHON.exists():
        show(python_rows(), options.markdown, "coverage python", "Coverage of Python's statements",
             "make check COVERAGE=1, then make coverage", False)
    if options.missed:
        for p in read_points(FILE):
            if not p.count and p.component.removeprefix("machine.").startswith(options.missed):
                print(f"{p.component}: {p.name} (line {p.line} of the Verilog)")


if __name__ == "__main__":
    try:
        main()
    except (FalconetError, AssertionError) as e:
        sys.exit(f"coverage: {e}")
