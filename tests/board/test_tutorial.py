"""The tutorial's lines for a board, as they stand, under PYNQ on the simulated board."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from environments import environment
from snippets import ROOT, snippets

from falconet.isa import BOARDS
from falconet.runtime.vision import detections_of
from falconet_app.commands.sources import network_input, program_of
from falconet_models.data import SCENES, photograph
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.hosts.bitfile import write_bitfile
from falconet_sim.hosts.zynq import board_library


@pytest.mark.timeout(900)
def test_the_lines_for_a_board(tmp_path: Path) -> None:
    """With the digits of the zoo in the place of those that the tutorial trains."""
    block = snippets(ROOT / "docs/tutorial.md")[-1]
    assert block.kind == "python" and block.reason == "tests/board runs it under PYNQ"
    program = program_of("digits", "pynq-z2")
    program.save(tmp_path / "digit.flc")
    (tmp_path / "0000.png").write_bytes(SCENES["digits"].read_bytes())
    write_bitfile(BOARDS["pynq-z2"], tmp_path)
    board_library(BOARDS["pynq-z2"])
    python, variables = environment("3.1.2")
    done = subprocess.run([python, "-c", block.text], cwd=tmp_path, env=variables, timeout=600,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    entry = network_input(program, photograph("digits"))
    found = GoldenDevice(program).run(dict(entry.as_dict())).detections
    objects = detections_of(program.header["meta"], found, entry.frame)
    assert objects
    scores = re.findall(r"score=([\d.]+)", done.stdout)
    assert [float(s) for s in scores] == [pytest.approx(o.score) for o in objects]
