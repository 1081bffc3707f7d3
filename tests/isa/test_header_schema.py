"""docs/program.schema.json and the reader of program files say the same of a header."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detect_program import detection_program
from detectors import detector as described
from heads import random_head
from jsonschema import Draft202012Validator
from programs import random_program

from falconet.compiler import compile_graph
from falconet.isa import FalconetError, Program, preset
from falconet.isa.program.forms import Header
from falconet.isa.schema import as_json, read

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/program.schema.json").read_text())
ODD = (-1, -(1 << 40), 1 << 40, 0.5, True, None, "", "x" * 301, "none", [], [1], {}, [[]])
"""Wrong somewhere; a whole float, and a text with a line in it, JSON Schema cannot refuse."""


def header_of(program: Program) -> dict[str, Any]:
    data = program.to_bytes()
    header: dict[str, Any] = json.loads(data[24 : 24 + int.from_bytes(data[12:16], "little")])
    return header


@pytest.fixture(scope="module")
def detector() -> Program:
    arch = preset("tiny")
    program, _ = detection_program(arch, *random_head(
        np.random.default_rng(3), arch, levels=1, points=2, objectness=True, classes=2))
    return Program.from_bytes(program.to_bytes())


def test_programs_meet_it(detector: Program) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    of = Draft202012Validator(SCHEMA)
    for program in (detector, *(random_program(preset("tiny"), seed) for seed in range(3))):
        of.validate(header_of(Program.from_bytes(program.to_bytes())))


def test_what_is_read_is_written_again() -> None:
    program = compile_graph(described(points=2, objectness=True), preset("tiny"))
    header = header_of(program)
    again = as_json(read(Header, header, "header"))
    assert again == {k: v for k, v in header.items() if k in again}
    assert set(header) - set(again) == {"code_bytes"}
    assert program.header["detect"] == header["detect"] == as_json(program.detect)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all that the schema describes; of a list, to its first two entries."""
    if at:
        yield at
    if at[:1] in (("arch",), ("graph",), ("meta",)):  # described elsewhere
        return
    keys = list(value if isinstance(value, dict) else range(min(len(value), 2))
                if isinstance(value, list) else ())
    for key in keys:
        yield from places(value[key], (*at, key))


def test_they_refuse_the_same(detector: Program) -> None:
    """Every place of a header, each with something odd in it, or without it."""
    of, rng = Draft202012Validator(SCHEMA), random.Random(4)
    header, refused = header_of(detector), 0
    for at in places(header):
        if at[0] in ("arch", "arch_hash", "isa_version", "graph", "meta"):
            continue
        for odd in (rng.choice(ODD), KeyError):
            broken = copy.deepcopy(header)
            above = broken
            for key in at[:-1]:
                above = above[key]
            if odd is KeyError:
                del above[at[-1]]
            else:
                above[at[-1]] = odd
            try:
                Program.from_bytes(Program(detector.arch, detector.code, broken).to_bytes())
                said = ""
            except FalconetError as e:
                said = str(e)
            meets = of.is_valid(broken)
            refused += not meets
            assert said or meets, (at, odd)
            # What the reader says of a value by itself names the header's place.
            assert ("(header." in said) == (not meets), (at, odd, said)
    assert refused > 150
