"""What ``falconet inspect --map`` says of DDR is what a run touches."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from demo_programs import detector_program
from networks import retinaface, zoo_of_operators
from programs import random_inputs

from falconet.compiler import compile_graph
from falconet.isa import Segment, preset
from falconet_app.cli import main
from falconet_app.commands.ddr_map import memory_map
from falconet_sim.iss.machine import Step
from falconet_sim.iss.simulator import IssDevice

TINY = preset("tiny")


PROGRAMS = {
    "on chip": lambda: compile_graph(zoo_of_operators(), TINY),
    "spilled": lambda: compile_graph(retinaface(size=128), TINY),
    "boxes": lambda: detector_program(nms="soft_gaussian", sigma=0.4),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_run_touches_what_the_map_shows(name: str) -> None:
    program = PROGRAMS[name]()
    parts, inputs = memory_map(program), random_inputs(program)
    assert any(p.segment == "WORK" for p in parts) == (name == "spilled")
    touched = {s: np.zeros(1 << 21, np.bool_) for s in Segment}

    def observe(step: Step) -> None:
        for access in (*step.reads, *step.writes):
            if isinstance(access.memory, Segment):
                touched[access.memory][access.address[:, None] + np.arange(TINY.lanes)] = True

    IssDevice(program, observer=observe).run(inputs)
    touched[Segment.CODE][: program.n_instructions * 64] = True  # what fetch reads
    for segment in Segment:
        shown = np.zeros_like(touched[segment])
        for part in (p for p in parts if p.segment == segment.name):
            own = slice(part.offset, part.offset + part.bytes)
            assert not shown[own].any(), f"{part} overlaps another"
            shown[own] = True
            assert touched[segment][own].any() != part.what.startswith("constants"), part
        assert not np.flatnonzero(touched[segment] & ~shown).size, segment


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = compile_graph(zoo_of_operators(size=12), TINY, "net")
    program.save(tmp_path / "net.flc")
    assert main(["inspect", str(tmp_path / "net.flc"), "--map", "--json"]) == 0
    parts = [asdict(p) for p in memory_map(program)]
    assert json.loads(capsys.readouterr().out)["map"] == parts
    assert main(["inspect", str(tmp_path / "net.flc"), "--map"]) == 0
    said = capsys.readouterr().out
    assert all(f"{p['offset']:#x}" in said and p["what"] in said for p in parts)
