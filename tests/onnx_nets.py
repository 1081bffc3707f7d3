"""Small quantised ONNX networks for tests, node by node, and their comparison with onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.importer.onnx.layerwise import LayerDifference, compare
from falconet.compiler.passes import optimise
from falconet.isa import preset
from falconet_sim.golden.device import run_graph, run_node

Array = NDArray[Any]
ARCH = preset("pynq-z2")


class Net:
    """Adds ONNX nodes one by one; every call returns the name of the new value.

    ``style`` is "qdq" (as onnxruntime writes it: stored weights) or "qcdq" (as Brevitas does:
    float weights quantised and clipped in the graph, Constant nodes, scales as scalars).
    """

    def __init__(self, shape: tuple[int, ...] = (1, 8, 12, 10), *, style: str = "qdq",
                 unsigned: bool = False, seed: int = 0, opset: int = 17) -> None:
        self.random = np.random.default_rng(seed)
        self.style, self.unsigned, self.opset = style, unsigned, opset
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        self.shape = shape
        self.count = 0

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        array = np.asarray(value, dtype)
        self.count += 1
        name = f"k{self.count}"
        if self.style == "qcdq":
            self.nodes.append(helper.make_node("Constant", [], [name],
                                               value=numpy_helper.from_array(array)))
        else:
            self.initialisers.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str | Array | None, outputs: int = 0, **attrs: Any) -> Any:
        """One node; arrays become float constants. A list of names if ``outputs`` is given."""
        names = ["" if i is None else i if isinstance(i, str) else self.constant(i, i.dtype)
                 for i in inputs]
        self.count += 1
        out = [f"v{self.count}_{i}" for i in range(outputs or 1)]
        self.nodes.append(helper.make_node(kind, names, out, name=f"{kind.lower()}{self.count}",
                                           **attrs))
        return out if outputs else out[0]

    def q(self, x: str, scale: float = 0.04, zero_point: int = 0, *,
          clip: tuple[int, int] | None = None) -> str:
        """QuantizeLinear, Clip if asked for, DequantizeLinear; zero point and clip for int8."""
        shift, dtype = (128, np.uint8) if self.unsigned else (0, np.int8)
        s = self.constant(scale)
        z = self.constant(zero_point + shift, dtype)
        stored = self.op("QuantizeLinear", x, s, z)
        if clip is not None:
            lo, hi = (self.constant(v + shift, dtype) for v in clip)
            stored = self.op("Clip", stored, lo, hi)
        return str(self.op("DequantizeLinear", stored, s, z))

    def weight(self, *shape: int, axis: int = 0, per_channel: bool = True) -> str:
        """Random weights, quantised per channel along ``axis``."""
        fan_in = np.prod(shape) / shape[axis]
        values = self.random.normal(0, fan_in**-0.5, shape).astype(np.float32)
        others = tuple(i for i in range(len(shape)) if i != axis)
        top = np.abs(values).max(others) if per_channel else np.abs(values).max()
        scale = np.asarray(top / 127, np.float32)
        spread = scale.reshape([-1 if i == axis else 1 for i in range(len(shape))]) \
            if per_channel else scale
        attrs = {"axis": axis} if per_channel else {}
        s = self.constant(scale)
        z = self.constant(np.zeros(scale.shape), np.int8)
        if self.style == "qdq":
            stored = self.constant(np.rint(values / spread), np.int8)
        else:
            stored = self.op("Clip", self.op("QuantizeLinear", values, s, z, **attrs),
                             self.constant(-127, np.int8), self.constant(127, np.int8))
        return str(self.op("DequantizeLinear", stored, s, z, **attrs))

    def bias(self, n: int) -> str:
        values = self.random.normal(0, 0.5, n).astype(np.float32)
        if self.style == "qcdq":
            return self.constant(values)
        scale = self.constant(np.full(n, 1e-4))
        return str(self.op("DequantizeLinear", self.constant(np.rint(values * 1e4), np.int32),
                           scale, axis=0))

    def conv(self, x: str, out: int, channels: int = 8, k: int = 3, group: int = 1,
             **attrs: Any) -> str:
        attrs.setdefault("pads", [k // 2] * 4) if "auto_pad" not in attrs else None
        return str(self.op("Conv", x, self.weight(out, channels // group, k, k), self.bias(out),
                           group=group, **attrs))

    def model(self, *outputs: str, types: tuple[int, ...] = ()) -> onnx.ModelProto:
        infos = [helper.make_tensor_value_info(o, t, None) for o, t in
                 zip(outputs, types or (TensorProto.FLOAT,) * len(outputs))]
        graph = helper.make_graph(self.nodes, "net", self.inputs, infos, self.initialisers)
        domains = {n.domain for n in self.nodes if n.domain}
        model = helper.make_model(graph, opset_imports=[
            helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in domains)],
            ir_version=9)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)


def quantise_static(model: onnx.ModelProto, folder: Path, *, unsigned: bool) -> onnx.ModelProto:
    """QDQ by onnxruntime: per-channel int8 weights, asymmetric activations."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    random = np.random.default_rng(1)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        left = 3

        def get_next(self) -> dict[str, Array] | None:
            self.left -= 1
            return {"x": random.normal(0, 1, shape).astype(np.float32)} if self.left >= 0 else None

    path = folder / "quantised.onnx"
    quantize_static(
        model, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    return onnx.load(path)


def agree(model: onnx.ModelProto, *, rate: float = 0.01) -> list[LayerDifference]:
    """Assert at most 1 LSB per layer, and that the passes change no output; print the rate."""
    graph = import_onnx(model)
    better = optimise(graph, ARCH)
    random = np.random.default_rng(7)
    inputs = {i: random.integers(-128, 128, graph.tensors[i].shape).astype(np.int8)
              for i in graph.inputs}
    layers = compare(model, run_node, inputs)
    assert layers
    for layer in layers:
        print(f"{layer.op:9} {layer.node:20} {layer.max_lsb} LSB, "
              f"{layer.different} of {layer.total}")
        assert layer.max_lsb <= 1, layer
        assert layer.different <= max(2, rate * layer.total), layer
    plain, fast = (run_graph(*g.to_dict(), inputs) for g in (graph, better))
    for name in graph.outputs:
        assert np.array_equal(plain[name], fast[name]), name
        assert len(np.unique(plain[name])) > 2, f"'{name}' is degenerate"
        assert graph.tensors[name] == better.tensors[name]
    return layers
