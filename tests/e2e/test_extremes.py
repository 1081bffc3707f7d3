"""Every machine that ``Arch`` admits: what compiles for it is computed, alike on all devices."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import onnx_nets
import pytest
from devices import run_all

from falconet.compiler import compile_model
from falconet.isa import Arch, FalconetError, Program, preset
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

pytestmark = pytest.mark.timeout(900)

TINY = preset("tiny")
LIKELY = sorted({*range(70), *(2**k + d for k in range(6, 17) for d in (-1, 0, 1))})
TOO_SMALL = {"bank_words", "weight_words", "vector_words"}
"""Of these the network needs more than the least that there can be."""


def legal(field: str, value: Any) -> Arch | None:
    try:
        return dataclasses.replace(TINY, **{field: value}).validate()
    except FalconetError:
        return None


def extremes() -> list[tuple[str, Any]]:
    """Each field of a machine with its least and its largest value."""
    found: list[tuple[str, Any]] = []
    for f in dataclasses.fields(Arch):
        if f.name == "name":
            values: list[Any] = ["a", "a" * 60]
        else:
            likely = [1e-3, *LIKELY, 1e6] if f.name == "clock_mhz" else LIKELY
            values = [v for v in likely if legal(f.name, v)]
        found += [(f.name, values[0]), (f.name, values[-1])]
    return found


@cache
def network() -> Any:
    """Everything that is multiplied by 1, and one of each other operation."""
    n = onnx_nets.Net((1, 3, 16, 16))
    a = n.q(n.op("Relu", n.conv(n.q("x"), 12, 3, strides=[2, 2])), 0.05, -128)
    s = n.q(n.op("Add", a, n.q(n.conv(a, 12, 12, group=12), 0.05, 3)), 0.06, -3)
    table = n.q(n.op("Sigmoid", s), 1 / 256, -128)
    small = n.q(n.op("MaxPool", s, kernel_shape=[2, 2], strides=[2, 2]), 0.06, -3)
    large = n.q(n.op("Resize", small, None, np.array([1, 1, 2, 2], np.float32), mode="nearest",
                     coordinate_transformation_mode="asymmetric", nearest_mode="floor"), 0.06, -3)
    both = n.q(n.op("Concat", large, s, axis=1), 0.06, -3)
    twice = n.q(n.op("Add", both, n.q(n.op("Concat", s, large, axis=1), 0.06, -3)), 0.06)
    wide = n.q(n.conv(both, 20, 24, 1), 0.08, 5)
    mean = n.q(n.op("GlobalAveragePool", wide), 0.08, 5)
    return n.model(table, wide, twice, mean)


def inputs_of(program: Program) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {t["name"]: random.integers(-128, 128, t["shape"], np.int8)
            for t in program.header["inputs"]}


@pytest.mark.parametrize(("field", "value"), extremes())
def test_what_compiles_is_computed(field: str, value: Any) -> None:
    arch = legal(field, value)
    assert arch is not None
    if field in TOO_SMALL and value == 1:
        with pytest.raises(FalconetError, match=r"^(node|input) '.* of 'tiny' .*; (use|split) "):
            compile_model(network(), arch)
        return
    program = compile_model(network(), arch)
    inputs = inputs_of(program)
    expected, found = GoldenDevice(program).run(inputs), IssDevice(program).run(inputs)
    for name, output in expected.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], output, name)
        assert len(np.unique(output)) > 5, name


def test_the_machine_of_all_that_is_small() -> None:
    """The RTL too: narrow multipliers and sums, short queues, short bursts, one bank that is
    hardly larger than each of the eight of 'tiny'."""
    arch = dataclasses.replace(
        TINY, name="small", banks=1, bank_words=513, weight_words=32, vector_words=16,
        acc_bits=20, mult_bits=12, candidates=16, queue_depth=2, burst_beats=4).validate()
    program = compile_model(network(), arch)
    run_all(program, inputs_of(program))
