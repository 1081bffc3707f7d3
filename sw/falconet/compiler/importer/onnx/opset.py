"""One form of ONNX for the importer: what other opsets and exporters write differently.

Opsets 7 to 12 are raised to 13 or more, node by node and without onnx's version converter, which
has no adapter for many operators. Opsets from 13 on stay what they are. In any opset 4-bit
constants become 8-bit ones, pools with ``ceil_mode`` get the size that runtimes give them, and what
is of onnxruntime's own domain becomes standard. Nodes keep their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from falconet.compiler.importer.onnx.contrib import STANDARD, standard
from falconet.compiler.importer.onnx.nodes import version_of
from falconet.compiler.importer.onnx.shapes import infer
from falconet.isa import FalconetError

__all__ = ["CEIL", "label", "normalise"]

CEIL = "ceil_mode averages over fewer pixels at the border; use ceil_mode = 0"
_OLDEST = 7

# Later opsets only take more types, negative axes, or attributes whose default is the old meaning.
_SAME = frozenset((
    "Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Concat Constant "
    "ConstantOfShape Conv ConvTranspose CumSum DepthToSpace DequantizeLinear Div Equal Erf Exp "
    "Expand Flatten Floor Gather GatherElements GatherND Gemm Greater GreaterOrEqual Identity "
    "IsNaN LRN LeakyRelu Less LessOrEqual Log MatMul Max MaxPool Mean Min Mod Mul Neg NonZero "
    "OneHot PRelu Pow QuantizeLinear Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
    "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare Relu Reshape ScatterElements "
    "ScatterND Shape Sigmoid Sign Size SpaceToDepth Sqrt Sub Sum Tanh Tile Transpose Where"
).split())


def label(node: onnx.NodeProto) -> str:
    """What messages call a node: by its name, or by what it makes."""
    name = node.name or f"{node.op_type}:{node.output[0] if node.output else ''}"
    return f"node '{name}' ({node.op_type})"


def normalise(model: onnx.ModelProto, least: int) -> onnx.ModelProto:
    """The model in opset ``least`` or newer; itself if there is nothing to do, else a copy.

    Raises
    ------
    FalconetError
        naming the node whose old form is not known.
    """
    version = version_of(model)
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    if version < _OLDEST:
        raise FalconetError(f"model '{model.graph.name}': it is of opset {version}; export it with "
                            "opset 13 or newer")
    if version > (newest := onnx.defs.onnx_opset_version()):
        raise FalconetError(f"model '{model.graph.name}': it is of opset {version}, and the newest "
                            f"that is known is {newest}; export it with opset 13 to 23")
    if version < least:
        _raise(fresh, version, least)
    _unpack(fresh.graph)
    standard(fresh.graph)
    _sizes(fresh)
    return fresh


class _Edit:
    """A node to be rewritten, and the graph that takes its new constants."""

    def __init__(self, node: onnx.NodeProto, graph: onnx.GraphProto, version: int) -> None:
        self.node, self.graph, self.version = node, graph, version

    def take(self, name: str, default: Any = None) -> Any:
        """The attribute's value; the node has it no longer."""
        for i, a in enumerate(self.node.attribute):
            if a.name == name:
                value = helper.get_attribute_value(a)
                del self.node.attribute[i]
                return value
        return default

    def give(self, index: int, name: str, value: Any, dtype: Any = np.int64) -> None:
        """A constant as input ``index``; none for None."""
        while len(self.node.input) <= index:
            self.node.input.append("")
        if value is not None:
            constant = f"{self.node.output[0]}/{name}"
            self.graph.initializer.append(
                numpy_helper.from_array(np.asarray(value, dtype), constant))
            self.node.input[index] = constant

    def refuse(self, why: str) -> NoReturn:
        raise FalconetError(f"{label(self.node)}: {why}")


def _raise(model: onnx.ModelProto, version: int, target: int) -> None:
    for node in model.graph.node:
        if node.domain not in STANDARD:
            continue
        edit = _Edit(node, model.graph, version)
        if (rule := _RULES.get(node.op_type)) is not None:
            rule(edit)
            while node.input and not node.input[-1]:
                del node.input[-1]
        elif node.op_type not in _SAME and _changed(node.op_type, version, target):
            edit.refuse(f"its form in opset {version} is not supported; export the network with "
                        "opset 13 or newer")
    for o in model.opset_import:
        if o.domain in STANDARD:
            o.version = target
    model.ir_version = max(model.ir_version, 4)


def _changed(op: str, version: int, target: int) -> bool:
    try:
        old, new = (onnx.defs.get_schema(op, v, "").since_version for v in (version, target))
    except onnx.defs.SchemaError:
        return True
    return bool(old != new)


def _axes(edit: _Edit) -> None:
    edit.give(1, "axes", edit.take("axes"))


def _split(edit: _Edit) -> None:
    if (sizes := edit.take("split")) is not None:
        edit.give(1, "split", sizes)


def _clip(edit: _Edit) -> None:
    if edit.version < 11:
        edit.give(1, "min", edit.take("min"), np.float32)
        edit.give(2, "max", edit.take("max"), np.float32)


def _pad(edit: _Edit) -> None:
    if edit.version < 11:
        edit.give(1, "pads", edit.take("pads"))
        edit.give(2, "value", edit.take("value", 0.0), np.float32)


def _slice(edit: _Edit) -> None:
    if edit.version < 10:
        for i, name in enumerate(("starts", "ends", "axes"), 1):
            if (value := edit.take(name)) is not None:
                edit.give(i, name, value)


def _resize(edit: _Edit) -> None:
    """Upsample, and Resize of opset 10: pixel ``floor(i / scale)``."""
    if edit.node.op_type == "Resize" and edit.version > 10:
        return
    scales = edit.take("scales")
    given = edit.node.input[1] if len(edit.node.input) > 1 else ""
    del edit.node.input[1:]
    edit.give(2, "scales", scales, np.float32)
    if given:
        edit.node.input[2] = given
    edit.node.op_type = "Resize"
    edit.node.attribute.extend([
        helper.make_attribute("coordinate_transformation_mode", "asymmetric"),
        helper.make_attribute("nearest_mode", "floor")])


def _dropout(edit: _Edit) -> None:
    if edit.version < 12:
        edit.take("ratio")


def _batch_norm(edit: _Edit) -> None:
    if not edit.take("spatial", 1):
        edit.refuse("it has statistics for every pixel (spatial = 0); export it per channel")
    if len(edit.node.output) > 1:
        edit.refuse("it is in training mode; export the network for inference")


_RULES: dict[str, Callable[[_Edit], None]] = {
    "Squeeze": _axes, "Unsqueeze": _axes, "ReduceSum": _axes, "Split": _split, "Clip": _clip,
    "Pad": _pad, "Slice": _slice, "Upsample": _resize, "Resize": _resize, "Dropout": _dropout,
    "BatchNormalization": _batch_norm,
}


def _unpack(graph: onnx.GraphProto) -> None:
    """4-bit constants of DequantizeLinear as 8-bit ones, values the same."""
    wider: dict[int, Any] = {TensorProto.INT4: np.int8, TensorProto.UINT4: np.uint8}
    other = {i for n in graph.node if n.op_type != "DequantizeLinear" for i in n.input}
    for tensor in graph.initializer:
        if tensor.data_type in wider and tensor.name not in other:
            values = numpy_helper.to_array(tensor).astype(wider[tensor.data_type])
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _sizes(model: onnx.ModelProto) -> None:
    """Give pools with ``ceil_mode`` the size that onnxruntime and PyTorch compute.

    A window that would begin behind the image and its first pads does not count, which onnx's
    shape inference does not know. Where rounding up adds no window, ``ceil_mode`` goes; else the
    pads say what it means.
    """
    pools = [n for n in model.graph.node if _ceil(n)]
    while pools:
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        del bare.graph.value_info[:]
        for o in bare.graph.output:
            o.type.tensor_type.ClearField("shape")
        inferred = infer(bare).graph
        shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
                  for v in (*inferred.value_info, *inferred.input, *inferred.output)}
        behind: set[str] = set()
        left = []
        for node in model.graph.node:
            if behind.intersection(node.input):
                behind.update(node.output)
                left += [node] if any(node is p for p in pools) else []
            elif any(node is p for p in pools) and _resized(node, shapes):
                behind.update(node.output)
        pools = left


def _ceil(node: onnx.NodeProto) -> bool:
    return node.op_type in ("MaxPool", "AveragePool") and any(
        a.name == "ceil_mode" and a.i for a in node.attribute)


def _extents(node: onnx.NodeProto, shape: list[int]) -> Iterator[tuple[int, int, int, int, int]]:
    """size, reach of a window, stride, pads before and after, for each axis."""
    a = {x.name: helper.get_attribute_value(x) for x in node.attribute}
    kernel = a["kernel_shape"]
    n = len(kernel)
    pads, strides = a.get("pads", [0] * 2 * n), a.get("strides", [1] * n)
    dilations = a.get("dilations", [1] * n)
    for i, size in enumerate(shape[2:]):
        yield (size, dilations[i] * (kernel[i] - 1) + 1, strides[i], pads[i], pads[n + i])


def _resized(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> bool:
    """Write the pool without ``ceil_mode`` if the size that onnx infers is wrong."""
    shape, out = shapes.get(node.input[0], []), shapes.get(node.output[0], [])
    auto = next((a.s for a in node.attribute if a.name == "auto_pad"), b"NOTSET")
    if len(shape) < 3 or len(out) != len(shape) or not all(shape[2:]) or auto not in (b"NOTSET",
                                                                                     b""):
        return False
    counts, floors, ends = [], [], []
    for size, reach, stride, before, after in _extents(node, shape):
        room = size + before + after - reach
        count = -(-room // stride) + 1
        if (count - 1) * stride >= size + before:
            count -= 1
        counts.append(count)
        floors.append(room // stride + 1)
        ends.append(max(0, (count - 1) * stride + reach - size - before))
    if counts == out[2:]:
        return False
    edit = _Edit(node, onnx.GraphProto(), 0)
    included = any(a.name == "count_include_pad" and a.i for a in node.attribute)
    if node.op_type == "AveragePool" and counts != floors and included:
        edit.refuse(CEIL)
    edit.take("ceil_mode")
    if counts != floors:
        n = len(counts)
        kernel = next(list(a.ints) for a in node.attribute if a.name == "kernel_shape")
        if any(end >= k for end, k in zip(ends, kernel)):
            edit.refuse("ceil_mode, with dilation, adds more than a kernel at the end; write pads "
                        "and no ceil_mode")
        begins = list(edit.take("pads", [0] * 2 * n))[:n]
        node.attribute.append(helper.make_attribute("pads", [*begins, *ends]))
    return True
