"""Attribution of cycles: by hand on small runs, by a cycle-by-cycle loop on random ones."""

from __future__ import annotations

import random
from typing import Any

import pytest

from falconet.isa import (
    Elementwise,
    End,
    Engine,
    FalconetError,
    Load,
    LoadImage,
    Mac,
    Program,
    Scan,
    Store,
    Suppress,
    preset,
)
from falconet.runtime.profile import CAUSES, layer_profiles, peak_macs, spans

ARCH = preset("tiny")
KINDS: dict[Engine, Any] = {
    Engine.LOAD: Load(run=4, n1=3, n2=2), Engine.MAC: Mac(), Engine.VEC: Elementwise(),
    Engine.STORE: Store(run=5), Engine.DETECT: Scan(),
}


def program(steps: list[tuple[Engine, int]], layers: list[tuple[str, str, int]]) -> Program:
    """A program of one instruction per ``(engine, layer)``; layers are (name, engine, macs).

    Everything that computes waits for all loads before it.
    """
    loads = 0
    instructions: list[Any] = []
    for engine, _ in steps:
        loads += engine is Engine.LOAD
        computes = engine in (Engine.MAC, Engine.VEC)
        instructions.append(KINDS[engine].replace(wait_load=loads if computes else 0))
    instructions.append(End())
    return Program(ARCH, b"".join(i.encode() for i in instructions), {
        "instructions": len(instructions),
        "layers": [{"name": n, "op": "conv", "engine": e, "macs": m} for n, e, m in layers],
        "steps": [[layer, -1, 0, 0, 0, 0] for _, layer in steps] + [[-1, -1, 0, 0, 0, 0]],
    })


def test_one_of_each_cause() -> None:
    p = program(
        [(Engine.LOAD, -1), (Engine.MAC, 0), (Engine.VEC, 1), (Engine.STORE, 1)],
        [("a", "MAC", 64 * 10), ("b", "VEC", 32 * 5), ("c", "-", 0)],
    )
    a, b, c = layer_profiles(p, [2, 12, 15, 40, 0], [10, 32, 37, 50, 0], 55)
    # a: wait 0-2, ddr 2-10, wait 10-12, mac 12-32.  b: vec 32-37, wait, ddr 40-50, wait to 55.
    assert (a.cycles, a.busy, a.bound, a.bytes) == (32, 20, "mac", 4 * 3 * 2 * ARCH.lanes)
    assert (b.cycles, b.busy, b.bound, b.bytes) == (23, 22, "ddr", 5 * ARCH.lanes)
    assert a.utilisation == pytest.approx(0.5)
    assert b.utilisation == pytest.approx(5 / 22)
    assert (c.cycles, c.busy, c.bound, c.utilisation) == (0, 0, "-", 0)


def test_transfers_of_no_layer_follow_the_waits() -> None:
    instructions = [
        Load(), Load(), Mac(wait_load=2), Load(), Elementwise(wait_load=3), Mac(wait_load=1),
        Store(wait_mac=2, wait_vec=1), Store(wait_vec=1), End(),
    ]
    layers = [-1, -1, 0, -1, 1, 2, -1, -1, -1]
    p = Program(ARCH, b"".join(i.encode() for i in instructions), {
        "instructions": 9, "layers": [], "steps": [[n, -1, 0, 0, 0, 0] for n in layers],
    })
    assert [s.layer for s in spans(p, [0] * 9, [1] * 9)] == [2, 0, 0, 1, 1, 2, 2, 1]


def test_the_detect_engine_between_vector_and_transfers() -> None:
    p = program(
        [(Engine.LOAD, -1), (Engine.VEC, 0), (Engine.DETECT, 1), (Engine.STORE, 1)],
        [("a", "VEC", 1), ("scan", "DETECT", 0)],
    )
    a, scan = layer_profiles(p, [0, 4, 6, 20, 0], [12, 10, 30, 40, 0], 40)
    # The LOAD is the layer's that waits for it: ddr 0-4, vec 4-10, detect 10-30, ddr 30-40.
    assert (a.cycles, scan.cycles, scan.busy, scan.bound) == (10, 30, 24, "detect")
    instructions = [Load(), Scan(wait_load=1), Load(), Suppress(wait_load=2, wait_detect=1),
                    Store(wait_detect=2), End()]
    p = Program(ARCH, b"".join(i.encode() for i in instructions), {
        "instructions": 6, "layers": [],
        "steps": [[n, -1, 0, 0, 0, 0] for n in (-1, 0, -1, 1, -1, -1)],
    })
    assert [s.layer for s in spans(p, [0] * 6, [1] * 6)] == [0, 0, 1, 1, 1]


def test_covered_by_another_layer_is_hidden() -> None:
    p = program([(Engine.MAC, 0), (Engine.VEC, 1)], [("a", "MAC", 1), ("b", "VEC", 1)])
    a, b = layer_profiles(p, [0, 5, 0], [20, 15, 0], 20)
    assert (a.cycles, a.bound) == (20, "mac")
    assert (b.cycles, b.busy, b.bound) == (0, 10, "hidden")


def test_the_draining_instruction_keeps_its_cycles() -> None:
    p = program([(Engine.MAC, 0), (Engine.MAC, 1)], [("a", "MAC", 1), ("b", "MAC", 1)])
    a, b = layer_profiles(p, [0, 8, 0], [10, 30, 0], 30)
    assert (a.cycles, b.cycles) == (10, 20)


def by_the_definition(run: list[Any], cycles: int) -> list[tuple[int, str]]:
    """(layer, cause) of each cycle, looked up one at a time."""
    found = []
    for t in range(cycles):
        for engine, cause in ((Engine.MAC, "mac"), (Engine.VEC, "vec"), (Engine.DETECT, "detect"),
                              (Engine.LOAD, "ddr"), (Engine.STORE, "ddr")):
            active = [s for s in run if s.engine == engine and s.start <= t < s.retire]
            if active:
                found.append((active[0].layer, cause))
                break
        else:
            later = [s for s in sorted(run, key=lambda s: s.start) if s.start > t]
            follows = later[0] if later else max(run, key=lambda s: s.retire)
            found.append((follows.layer, "wait"))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_random_runs_against_the_definition(seed: int) -> None:
    rng = random.Random(seed)
    layers = [(f"n{i}", rng.choice(("MAC", "VEC")), 100) for i in range(4)]
    steps = [(rng.choice(list(Engine)), rng.randrange(-1, 4)) for _ in range(25)]
    steps.append((Engine.MAC, 3))
    started, retired = dict.fromkeys(Engine, -1), dict.fromkeys(Engine, 0)
    start, retire = [], []
    for engine, _ in steps:
        started[engine] += rng.randrange(1, 30)
        retired[engine] = max(started[engine], retired[engine]) + rng.randrange(1, 25)
        start.append(started[engine])
        retire.append(retired[engine])
    cycles = max(retire) + rng.randrange(10)
    p = program(steps, layers)
    run = spans(p, [*start, 0], [*retire, 0])
    expected = by_the_definition(run, cycles)
    profiles = layer_profiles(p, [*start, 0], [*retire, 0], cycles)
    assert sum(q.cycles for q in profiles) == cycles
    for i, q in enumerate(profiles):
        causes = [c for layer, c in expected if layer == i]
        assert q.cycles == len(causes)
        if causes:
            assert causes.count(q.bound) == max(causes.count(c) for c in CAUSES)
        assert 0 <= q.busy <= cycles


def test_bytes_of_an_image() -> None:
    code = LoadImage(n_rows=7, row_bytes=30).encode() + End().encode()
    p = Program(ARCH, code, {
        "instructions": 2, "layers": [], "steps": [[0, -1, 0, 0, 0, 0], [-1, -1, 0, 0, 0, 0]],
    })
    assert [s.bytes for s in spans(p, [0, 0], [9, 0])] == [210]


def test_peak() -> None:
    assert peak_macs(preset("pynq-z2"), "MAC") == 256
    assert peak_macs(preset("pynq-z2"), "VEC") == 64
    assert peak_macs(preset("pynq-z2"), "STORE") == 0


def test_trace_of_another_program_is_refused() -> None:
    p = program([(Engine.MAC, 0)], [("a", "MAC", 1)])
    with pytest.raises(FalconetError, match="1 starts and 1 retirements for 2 instructions"):
        spans(p, [0], [1])
