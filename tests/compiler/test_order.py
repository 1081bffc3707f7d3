"""Values in another order, symbolically, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_nets import Net

from falconet.compiler.importer.onnx import limits
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.importer.order import flat, indexed, natural, reshaped, shape_of, whole
from falconet.isa import FalconetError


def offsets(dims: Any) -> np.ndarray:
    """Of every value, in its place."""
    found = flat([v for d in dims for v in d])
    assert found is not None
    return found.reshape(shape_of(dims))


def separable(a: np.ndarray) -> bool:
    """Whether each index adds something of its own."""
    first = a[(0,) * a.ndim]
    total = np.full(a.shape, first)
    for axis in range(a.ndim):
        along = a[tuple(slice(None) if i == axis else 0 for i in range(a.ndim))] - first
        total = total + along.reshape([-1 if i == axis else 1 for i in range(a.ndim)])
    return bool(np.array_equal(total, a))


@pytest.mark.parametrize("seed", range(60))
def test_any_chain_is_what_numpy_makes(seed: int) -> None:
    random = np.random.default_rng(seed)
    c, h, w = (int(random.choice([1, 2, 3, 4, 6, 12])) for _ in "chw")
    dims, want = whole((c, h, w)), np.arange(c * h * w).reshape(1, c, h, w)
    for _ in range(6):
        kind = random.choice(["transpose", "reshape", "index"])
        if kind == "transpose":
            perm = random.permutation(want.ndim)
            dims, want = tuple(dims[p] for p in perm), want.transpose(perm)
        elif kind == "reshape":
            shape, left = [], want.size
            while left > 1 and len(shape) < 5:
                shape.append(int(random.choice([d for d in range(1, left + 1) if left % d == 0])))
                left //= shape[-1]
            shape.insert(int(random.integers(len(shape) + 1)), left)
            found = reshaped(dims, shape)
            if found is None:
                assert not separable(want.reshape(shape))
                continue
            dims, want = found, want.reshape(shape)
        else:
            axis = int(random.integers(want.ndim))
            size = want.shape[axis]
            index = random.integers(0, size, random.choice([0, 1, 3])) if random.random() < 0.5 \
                else np.arange(size)[::-1]
            index = index if index.size else np.array(random.integers(size))
            found = indexed(dims, axis, index)
            assert found is not None
            dims, want = found, np.take(want, index, axis).reshape(shape_of(found))
        np.testing.assert_array_equal(offsets(dims), want)
    assert natural(dims, c * h * w) == np.array_equal(want.reshape(-1), np.arange(c * h * w))


def test_no_list_is_as_long_as_the_tensor() -> None:
    dims = reshaped(whole((64, 640, 640)), [64 * 640 * 640])
    assert dims is not None and sum(map(len, dims[0])) < 1400


def test_places_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that cuts the same values again and again."""
    monkeypatch.setattr(limits, "CONSTANT_BYTES", 1 << 16)
    n = Net((1, 8, 64, 64))
    x = n.op("Reshape", n.q("x"), np.array([1, 8 * 64 * 64]))
    for _ in range(30):
        x = n.op("Slice", x, np.array([1]), np.array([1 << 20]), np.array([1]))
    model = n.model(n.q(x))
    with pytest.raises(FalconetError, match=r"\(Slice\): the places of values"):
        import_onnx(model)
