"""Lock-step comparison: agreement stays silent, a planted fault is found where it is."""

from __future__ import annotations

import re

import numpy as np
import pytest
from heads import random_head
from networks import zoo_of_operators
from programs import detection_program, random_inputs

from falconet.compiler import compile_graph
from falconet.isa import (
    Dst,
    Engine,
    FalconetError,
    Instruction,
    Load,
    Mac,
    Mark,
    Program,
    Scan,
    Store,
    Suppress,
    Window,
    preset,
)
from falconet.runtime.detections import Options
from falconet_sim.compare.differences import Extent
from falconet_sim.compare.lockstep import compare_golden, compare_writes
from falconet_sim.compare.tiles import parts
from falconet_sim.iss.machine import Step
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import write_dtype

TINY = preset("tiny")


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_graph(zoo_of_operators(), TINY)


def recorded(program: Program, inputs: dict[str, np.ndarray] | None = None
             ) -> tuple[list[Step], np.ndarray]:
    """Steps of a run, and the log that a perfect machine would give, engine by engine."""
    steps: list[Step] = []
    IssDevice(program, observer=steps.append).run(inputs or random_inputs(program))
    rows = [
        (0, address, step.instruction.engine, access.memory, data)
        for step in steps for access in step.writes if isinstance(access.memory, Dst)
        for address, data in zip(access.address, access.data)
    ]
    writes = np.array(rows, write_dtype(TINY.lanes))
    return steps, writes[np.argsort(writes["writer"], kind="stable")]


def changed(program: Program, index: int, **fields: int) -> Program:
    code = bytearray(program.code)
    ins = program.instructions()[index].replace(**fields)
    code[index * 64 : index * 64 + 64] = ins.encode()
    return Program(program.arch, bytes(code), program.header)


def nth(program: Program, cls: type, n: int) -> int:
    return [i for i, x in enumerate(program.instructions()) if isinstance(x, cls)][n]


def test_parts_cover_every_tensor(program: Program) -> None:
    seen: dict[str, np.ndarray] = {}
    for part in parts(program).values():
        t = part.tensor
        count = seen.setdefault(t["name"], np.zeros((t["height"], t["blocks"], t["width"]), int))
        count[np.ix_(part.rows, part.blocks, part.columns)] += 1
    assert len(seen) >= 8
    for name, count in seen.items():
        assert (count == 1).all(), name
    upsampled = [p for p in parts(program).values() if p.columns.step == 2]
    assert upsampled


def test_golden_agrees(program: Program) -> None:
    assert compare_golden(program, random_inputs(program)) is None


@pytest.mark.parametrize("cls, n, fields", [(Mac, 3, {"zp": 40}), (Window, 1, {"pad": 77}),
                                            (Mac, -1, {"hi": 0})])
def test_golden_finds_the_instruction(program: Program, cls: type, n: int, fields: dict[str, int]
                                      ) -> None:
    index = nth(program, cls, n)
    difference = compare_golden(changed(program, index, **fields), random_inputs(program))
    assert difference is not None and difference.index == index
    part = parts(program)[index]
    assert part.layer in difference.tile and part.tensor["name"] in difference.tile
    text = str(difference)
    assert f"instruction {index} ({cls.mnemonic}" in text and "channel" in text
    assert difference.expected != difference.found


def written(program: Program, index: int, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What instruction ``index`` writes, as words."""
    return next(s.writes[0].data for s in recorded(program, inputs)[0] if s.index == index)


@pytest.mark.parametrize("cls, n, fields", [(Mac, 3, {"zp": 40}), (Window, 1, {"lo": 1})])
def test_all_that_differs_is_counted(program: Program, cls: type, n: int, fields: dict[str, int]
                                     ) -> None:
    index, inputs = nth(program, cls, n), random_inputs(program)
    wrong = changed(program, index, **fields)
    difference, part = compare_golden(wrong, inputs), parts(program)[index]
    differs = written(program, index, inputs) != written(wrong, index, inputs)
    words = len(part.rows) * len(part.columns)
    for channel in range(TINY.lanes * part.tensor["blocks"]):  # lanes without a channel are free
        block, lane = divmod(channel, TINY.lanes)
        if channel not in part.tensor["lane_of"] and block in part.blocks:
            at = part.blocks.index(block) * words
            differs[at : at + words, lane] = False
    assert difference is not None and 1 < difference.extent.different == differs.sum()
    assert difference.extent.lanes == tuple(np.flatnonzero(differs.any(0)))
    assert f"{differs.sum():,} of {difference.extent.of:,} elements differ" in str(difference)


def test_lanes_in_words() -> None:
    assert str(Extent(5, 16, (0, 1, 2, 5, 7))) == "5 of 16 elements differ, in lanes 0 to 2, 5, 7"
    assert str(Extent(2, 1200, boxes=True)) == "2 of 1,200 boxes differ"


def test_golden_finds_a_lost_store(program: Program) -> None:
    index = nth(program, Store, -1)
    source = program.instructions()[index].base
    difference = compare_golden(changed(program, index, base=source + 1), random_inputs(program))
    assert difference is not None and difference.index == index
    assert "output '" in difference.tile
    output = next(t for t in program.header["outputs"] if f"'{t['name']}'" in difference.tile)
    inputs = random_inputs(program)
    right, wrong = (IssDevice(p).run(inputs).outputs[output["name"]]
                    for p in (program, changed(program, index, base=source + 1)))
    assert difference.extent.different == (right != wrong).sum()
    assert difference.extent.of == right.size
    channels = np.flatnonzero((right != wrong).any((1, 2)))
    assert difference.extent.lanes == tuple(sorted({output["lane_of"][c] % TINY.lanes
                                                    for c in channels}))


def test_equal_writes(program: Program) -> None:
    steps, writes = recorded(program)
    assert compare_writes(program, steps, writes) is None


@pytest.mark.parametrize("cls, word, lane", [(Mac, 5, 3), (Window, 0, 0)])
def test_wrong_word_is_located(program: Program, cls: type, word: int, lane: int) -> None:
    steps, writes = recorded(program)
    index = nth(program, cls, 2)
    before = sum(len(a.address) for s in steps[:index] for a in s.writes
                 if s.instruction.engine is cls.engine)
    at = np.flatnonzero(writes["writer"] == cls.engine)[before + word]
    was = int(writes["data"][at, lane])
    writes["data"][at, lane] ^= 1
    for later, other in ((1, lane), (2, lane + 2), (2, lane + 4)):
        writes["data"][at + later, other] ^= 1
    difference = compare_writes(program, steps, writes)
    assert difference is not None and difference.index == index
    assert (difference.expected, difference.found) == (str(was), str(was ^ 1))
    assert (difference.extent.different, difference.extent.lanes) == (4, (lane, lane + 2, lane + 4))
    own = [a for s in steps if s.index == index for a in s.writes]
    assert difference.extent.of == sum(a.data.size for a in own)
    part = parts(program)[index]
    assert difference.element == part.element(word, lane, TINY.lanes)
    b, rest = divmod(word, len(part.rows) * len(part.columns))
    y, x = divmod(rest, len(part.columns))
    channel = part.tensor["lane_of"].index(part.blocks[b] * TINY.lanes + lane)
    assert difference.element == (
        f"row {part.rows[y]}, column {part.columns[x]}, channel {channel}"
    )


def test_wrong_address_and_missing_word(program: Program) -> None:
    steps, writes = recorded(program)
    load = np.flatnonzero(writes["writer"] == 0)
    writes["addr"][load[3]] += 1
    difference = compare_writes(program, steps, writes)
    assert (difference is not None and "at SCRATCHPAD" in difference.found + difference.expected) \
        or "at WEIGHTS" in difference.found
    steps, writes = recorded(program)
    vec = np.flatnonzero(writes["writer"] == 2)
    difference = compare_writes(program, steps, np.delete(writes, vec[-1]))
    assert difference is not None and difference.found == "nothing"
    assert difference.extent.different == TINY.lanes
    assert difference.index == max(
        i for i, x in enumerate(program.instructions()) if x.engine is Engine.VEC
    )
    with pytest.raises(FalconetError, match="fault of the machine"):
        compare_writes(program, steps, np.append(writes, writes[vec[-1:]]))


def test_earliest_instruction_wins(program: Program) -> None:
    steps, writes = recorded(program)
    for engine in (0, 1, 2):
        at = np.flatnonzero(writes["writer"] == engine)[-1]
        writes["data"][at, 0] ^= 1
    last = {s.instruction.engine: s.index for s in steps if s.instruction.engine < 3}
    difference = compare_writes(program, steps, writes)
    assert difference is not None and difference.index == min(last.values())


@pytest.fixture(scope="module")
def head() -> tuple[Program, dict[str, np.ndarray]]:
    detect, tensors = random_head(np.random.default_rng(0), TINY, points=5, hits=0.3)
    return detection_program(TINY, {**detect, "iou": 0.3, "limit": 20, "agnostic": False}, tensors)


def test_equal_boxes(head: tuple[Program, dict[str, np.ndarray]]) -> None:
    program, inputs = head
    assert compare_golden(program, inputs) is None
    assert compare_golden(program, inputs, Options(score=0.9, maximum=2)) is None


@pytest.mark.parametrize("cls, fields, element", [
    (Scan, {"n_channels": 1}, "candidates"),
    (Scan, {"x_hi": 5, "x_lo": 5}, "box [0-9]*, x1"),
    (Suppress, {"limit": 20, "agnostic": 1}, "box [1-9]*, "),
    (Mark, {"stride_x": 1}, "box [0-9]*, landmark 0, x"),
])
def test_the_store_of_wrong_boxes_is_named(
    head: tuple[Program, dict[str, np.ndarray]], cls: type[Instruction], fields: dict[str, int],
    element: str,
) -> None:
    program, inputs = head
    difference = compare_golden(changed(program, nth(program, cls, 0), **fields), inputs)
    assert difference is not None and difference.tile == "the boxes"
    assert re.match(element, difference.element)
    assert difference.expected != difference.found
    which = {"candidates": 0, "landmark": 2}
    store = next((n for word, n in which.items() if word in difference.element), 1)
    assert difference.index == nth(program, Store, store)
    right, wrong = (IssDevice(p).run(inputs).detections
                    for p in (program, changed(program, nth(program, cls, 0), **fields)))
    most, least = (f(len(right.records), len(wrong.records)) for f in (max, min))
    same = sum(right.records[i] == wrong.records[i]
               and right.landmarks[i].tolist() == wrong.landmarks[i].tolist() for i in range(least))
    assert (difference.extent.different, difference.extent.of) == (most - same, most)


def test_a_wrong_table_entry_is_located(head: tuple[Program, dict[str, np.ndarray]]) -> None:
    program, inputs = head
    steps, writes = recorded(program, inputs)
    writes = writes[writes["writer"] != Engine.DETECT]
    assert compare_writes(program, steps, writes) is None
    at = np.flatnonzero(writes["dst"] == Dst.DETECT)[7]
    writes["data"][at, 3] ^= 1
    difference = compare_writes(program, steps, writes)
    index = next(i for i, ins in enumerate(program.instructions())
                 if isinstance(ins, Load) and ins.dst == Dst.DETECT)
    assert difference is not None and difference.index == index
    assert difference.element == "word 7, lane 3"
