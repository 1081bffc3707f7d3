"""The constants of an operator with weights as the machine holds them.

Weights are int8 per output channel, symmetric, in [-127, 127]; biases int32, their scale that of
the input times that of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from falconet.compiler.importer.onnx.opset import label
from falconet.compiler.importer.onnx.roles import weight_axis
from falconet.isa import FalconetError, preset
from falconet.isa.graph.tensor import HI, LO

__all__ = ["Weights", "quantise_weights"]

_ARCH = preset("pynq-z2")  # all machines have accumulators of its width

_BIAS_MAX = 1 << 22
"""Largest stored bias: a quarter of the accumulator, so that the products keep the rest."""

_TRIES, _MORE = 20, 1.01

Array = NDArray[Any]


@dataclass
class Weights:
    """The constants of one weighted node: ``weight`` int8, ``bias`` in float."""

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float64]
    axis: int


def quantise_weights(
    node: onnx.NodeProto, constants: Mapping[str, Array], input_scale: np.float32,
    zero_point: int, bias: NDArray[np.float64] | None = None,
) -> Weights:
    """Per-channel scales: the largest weight is 127, or less where a sum could be too large.

    No sum of a channel, whatever the input holds, leaves the accumulator. Groups of a transposed
    convolution share the scales of the axis that the file has.

    Parameters
    ----------
    zero_point:
        Of the input.
    bias:
        In place of the node's own.
    """
    weight = constants[node.input[1]].astype(np.float64)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    axis = weight_axis(node.op_type, attributes, weight.ndim)
    groups = attributes.get("group", 1) if axis else 1
    each = _by_output(weight, axis, groups)
    if bias is None:
        bias = _bias(node, constants, groups * each.shape[1])
    real = bias.reshape(groups, -1) / float(input_scale)
    scale = np.maximum(np.abs(each).max(axis=(0, 2)) / 127, np.abs(real).max(axis=0) / _BIAS_MAX)
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    for _ in range(_TRIES):
        share = _share(_rounded(each, scale[:, None]), real / scale, zero_point)
        if np.all(share < 1):
            break
        scale = np.where(share < 1, scale, scale * share * _MORE).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    stored = _rounded(weight, scale.reshape(shape)).astype(np.int8)
    return Weights(stored, scale, np.array(bias), axis)


def _by_output(weight: Array, axis: int, groups: int) -> Array:
    """The weights [groups, outputs of one, products of a sum]."""
    if groups > 1:  # [C, O / groups, ...]
        weight = weight.reshape(groups, -1, *weight.shape[1:])
        return np.moveaxis(weight, 2, 1).reshape(groups, weight.shape[2], -1)
    return np.moveaxis(weight, axis, 0).reshape(1, weight.shape[axis], -1)


def _bias(node: onnx.NodeProto, constants: Mapping[str, Array], count: int) -> Array:
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(count)
    given = constants[node.input[2]].astype(np.float64).reshape(-1)
    if given.size not in (1, count):
        raise FalconetError(f"{label(node)}: its bias is {given.size} numbers for {count} "
                            "channels; export it again")
    return np.array(np.broadcast_to(given, count))


def _rounded(weight: Array, scale: Array) -> Array:
    return np.clip(np.rint(weight / scale.astype(np.float64)), -127, 127)


def _share(stored: Array, bias: Array, zero_point: int) -> Array:
    """How much of the accumulator a channel may use, as the verifier counts it: [outputs].

    ``stored`` [groups, outputs, products], ``bias`` [groups, outputs] in steps of the sum.
    """
    above, below = np.maximum(stored, 0).sum(2), np.minimum(stored, 0).sum(2)
    low, high = LO * above + HI * below, HI * above + LO * below
    offset = np.abs(bias) + 1  # it is rounded
    shift = -zero_point * (above + below)
    reach = np.max([np.abs(shift) + offset, -low, high, -(low + shift) + offset,
                    high + shift + offset], axis=0)
    share: Array = reach.max(axis=0) / (1 << (_ARCH.acc_bits - 1))
    return share
