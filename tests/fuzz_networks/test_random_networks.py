"""200 random networks on every device, every one that ever failed, and the hunt itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from netcase import CASES, Case, Ran, Refused, check, load, save
from netfeatures import EXPECTED, ONNX
from nethunt import Record, hunt

from falconet.isa import Window
from falconet_sim.iss import simulator as iss
from falconet_sim.iss.machine import Machine

COUNT, SEED = 200, 2026
REFUSED = 0.08
"""Share of the networks that may be too large for a machine."""


@pytest.fixture(scope="module")
def found() -> Record:
    """One run for all tests of this module."""
    return hunt(COUNT, SEED, Path("build/failures/networks"))


def test_all_devices_agree(found: Record) -> None:
    print(f"{len(found.cases)} networks, {dict(found.presets)}, {len(found.refused)} refused, "
          f"{found.layers} layers against onnxruntime")
    assert not [f"{f.path}: {f.why}" for f in found.failures]
    assert len(found.cases) == COUNT
    assert len(found.refused) <= REFUSED * COUNT, found.refused
    assert sum(found.presets.values()) == COUNT - len(found.refused)
    assert min(found.presets["tiny"], found.presets["pynq-z2"]) >= COUNT // 8


@pytest.mark.parametrize("name", [*EXPECTED, *(f"ONNX {op}" for op in ONNX)])
def test_is_drawn(found: Record, name: str) -> None:
    assert found.seen[name], f"no network of {COUNT} has it"


def test_onnxruntime_is_asked(found: Record) -> None:
    assert found.layers >= COUNT // 4
    assert found.off_by_one <= 0.01 * found.values


@pytest.mark.parametrize("path", sorted(CASES.glob("*.json")), ids=lambda p: p.stem)
def test_found_before(path: Path) -> None:
    try:
        check(load(path))
    except Refused as e:
        assert "node '" in str(e)


def test_a_run_is_repeated_by_its_seed(tmp_path: Path) -> None:
    seen: list[list[str]] = [[], [], []]

    def runs(seed: int, into: list[str]) -> None:
        def look(case: Case) -> Ran:
            into.append(case.digest())
            raise Refused("not run")

        hunt(25, seed, tmp_path, run=look)

    for seed, into in zip((5, 5, 6), seen):
        runs(seed, into)
    assert seen[0] == seen[1] and len(set(seen[0])) == 25
    assert len(set(seen[0]) & set(seen[2])) <= 2  # the least network begins every run


def test_a_run_may_be_cut_short(tmp_path: Path) -> None:
    def look(case: Case) -> Ran:
        if next(left) == 0:
            raise KeyboardInterrupt
        raise Refused("not run")

    left = iter(range(3, -1, -1))
    assert len(hunt(25, 5, tmp_path, run=look).refused) == 3


def test_a_file_keeps_a_case(tmp_path: Path) -> None:
    kept: list[Case] = []

    def look(case: Case) -> Ran:
        kept.append(case)
        raise Refused("not run")

    hunt(40, 7, tmp_path, run=look)
    assert {c.model is None for c in kept} == {True, False}
    for case in kept:
        again = load(save(case, "because", tmp_path))
        assert again.digest() == case.digest() and again.passes == case.passes
        if case.graph is not None:
            assert again.graph is not None and again.graph.to_dict() == case.graph.to_dict()
        for name, value in case.inputs.items():
            np.testing.assert_array_equal(again.inputs[name], value)


def test_a_fault_is_found_shrunk_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                         ) -> None:
    """The simulator's maximum forgets its last row of windows where there are three or more."""
    def wrong(machine: Machine, ins: Window) -> None:
        iss.window(machine, ins.replace(n_ky=ins.n_ky - (bool(ins.op) and ins.n_ky >= 3)))

    monkeypatch.setitem(iss.EXECUTORS, Window, wrong)
    record = hunt(60, 1, tmp_path, failures=1, run=lambda case: check(case, rtl=False))
    (first,) = record.failures
    assert first.why.startswith("AssertionError: instruction-set simulator: ")
    case = load(first.path)
    assert case.graph is not None and case.digest() == first.case.digest()
    assert "maxpool" in [n.op for n in case.graph.nodes] and len(case.graph.nodes) <= 2
    with pytest.raises(AssertionError, match="instruction-set simulator"):
        check(case, rtl=False)
    monkeypatch.undo()
    check(case, rtl=False)
