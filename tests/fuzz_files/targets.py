"""What is fed with bad files. A target makes a case (bytes) of a seed, and takes it in.

``take`` returns if the file is good, raises FalconetError if it is bad; all else is a failure.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import random
import struct
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import onnx
from constants_target import make_constants, take_constants
from data_targets import DATA_TARGETS
from detectors import BOXES, detector
from handoff_target import make_hwh, take_hwh
from mutate import change_bytes, change_value
from networks import Builder
from onnx import TensorProto
from onnx_nets import Net

from falconet.compiler import compile_graph, compile_model
from falconet.isa import FalconetError, Program, preset, register
from falconet.isa.machine.arch import ISA_VERSION
from falconet.isa.machine.registers import MAGIC
from falconet.isa.metadata.head import parse
from falconet.isa.program.container import FORMAT_VERSION
from falconet.runtime.bus import Wake
from falconet.runtime.driver import Driver
from falconet.runtime.vision import Frame, detections_of, postprocess
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.machine import Machine

TINY = preset("tiny")
Target = tuple[Callable[[random.Random], bytes], Callable[[bytes], None]]


# ---------------------------------------------------------------------- program files

class _Buffer:
    def __init__(self, nbytes: int) -> None:
        self.physical_address, self.array = 0x1000_0000, np.zeros(nbytes, np.uint8)

    def flush(self) -> None: ...
    def invalidate(self) -> None: ...
    def free(self) -> None: ...


class _Board:
    """A machine that is done at once, and whose memory holds zeros."""

    has_interrupt = False
    _values: ClassVar[dict[int, int]] = {register(k).offset: v for k, v in {
        "ID": MAGIC, "ISA_VERSION": ISA_VERSION, "ARCH_HASH": TINY.hash, "STATUS": 2}.items()}

    def read_register(self, offset: int) -> int:
        return self._values.get(offset, 0)

    def write_register(self, offset: int, value: int) -> None: ...

    def pause(self) -> Wake:
        return Wake.TIMEOUT

    def allocate(self, nbytes: int, align: int = 4096) -> _Buffer:
        return _Buffer(nbytes)


@functools.cache
def programs() -> list[tuple[dict[str, Any], bytes]]:
    """Headers and code of small programs: classifier, detectors, both kinds of input."""
    b = Builder((3, 8, 8))
    x = b.conv("x", 8, 3, 2, table=True)
    y = b.add("maxpool", [x], {"kernel": [3, 3], "stride": [1, 1], "pads": [1] * 4,
                               "dilation": [1, 1], "pad": -128,
                               **b.stage(8, 40)[0]}, b.stage(8, 40)[1])
    small = b.done(b.eltwise(x, y))
    small.meta = {
        "preprocess": {"fit": "crop", "colour": "RGB", "size": [8, 8], "mean": [1, 2, 3],
                       "std": [1.0, 2.0, 3.0], "resize": 9, "pad": 0},
        "postprocess": {"kind": "classification", "output": small.outputs[0], "labels": []},
    }
    graphs = [small, detector(levels=1, points=2, objectness=True, size=(8, 8)),
              detector(levels=2, nms="soft_gaussian", box="yolo", size=(16, 16))]
    for graph in graphs[1:]:
        graph.meta["preprocess"] = {
            "fit": "letterbox", "colour": "BGR", "size": list(graph.tensors["x"].shape[1:]),
            "mean": [0, 0, 0], "std": [1, 1, 1], "pad": [1, 2, 3]}
    made = [compile_graph(graph, TINY) for graph in graphs]
    made.append(compile_graph(graphs[1], TINY, post="host"))
    return [(json.loads(p.to_bytes()[24 : 24 + struct.unpack_from("<I", p.to_bytes(), 12)[0]]),
             p.code) for p in made]


def seal(text: bytes, code: bytes) -> bytes:
    """A program file of this header, well signed."""
    body = struct.pack("<8sIIQ", b"FALCONET", FORMAT_VERSION, len(text), len(code)) + text + code
    return body + hashlib.sha256(body).digest()


def make_program(rng: random.Random) -> bytes:
    header, code = rng.choice(programs())
    kind = rng.randrange(20)
    if kind == 0:
        return change_bytes(rng, seal(json.dumps(header).encode(), code))
    if kind == 1:
        return seal(change_bytes(rng, json.dumps(header).encode()), code)
    part = rng.choice((None, None, *header))  # every part as often as another
    header = dict(header)
    if part is None:
        header = change_value(rng, header)
    else:
        header[part] = change_value(rng, header[part], 2)
    text = json.dumps(header).encode()
    if kind == 3:
        deep = rng.choice((500, 990, 100_000))
        text = text.replace(b"null", b"[" * deep + b"]" * deep)
    return seal(text, change_bytes(rng, code) if kind == 2 else code)


def take_program(data: bytes) -> None:
    program = Program.from_bytes(data, "net.flc")
    with contextlib.suppress(FalconetError):
        program.instructions()
    header = program.header
    inputs = {t["name"]: np.zeros(t["shape"], np.int8) for t in header["inputs"]}
    Machine(program)
    problems = []
    for step in (lambda: _drive(program, inputs), lambda: _golden(program, inputs)):
        try:
            step()
        except FalconetError as e:
            problems.append(e)
    if problems:
        raise problems[0]

def _drive(program: Program, inputs: dict[str, Any]) -> None:
    driver = Driver(_Board(), _Board(), arch=TINY)
    driver.load(program)
    driver.run(inputs)
    driver.see(np.zeros((6, 9, 3), np.uint8))


def _golden(program: Program, inputs: dict[str, Any]) -> None:
    found = GoldenDevice(program).run(inputs)
    if found.detections is None:
        postprocess(program.header["meta"], found.outputs, Frame(9, 6))
    else:
        detections_of(program.header["meta"], found.detections, Frame(9, 6))


# ---------------------------------------------------------------------- ONNX

@functools.cache
def models() -> list[bytes]:
    made = []
    for style in ("qdq", "qcdq"):
        for unsigned in (False, True):
            n = Net((1, 8, 6, 6), style=style, unsigned=unsigned)
            x = n.q("x")
            y = n.q(n.op("Relu", n.conv(x, 8)))
            z = n.q(n.op("Add", y, x))
            w = n.q(n.op("MaxPool", z, kernel_shape=[2, 2], strides=[2, 2]), 0.04)
            model = n.model(n.q(n.op("Concat", w, w, axis=1)))
            made.append(model)
    n = Net((1, 8, 6, 6))
    x = n.q(n.op("Sigmoid", n.q(n.conv(n.q("x"), 8, k=1, group=8))))
    flat = n.op("Flatten", x)
    gemm = n.op("Gemm", flat, n.weight(4, 288), n.bias(4), transB=1)
    made.append(n.model(n.q(gemm)))
    n = Net((1, 8, 8, 8))
    stem = n.q(n.op("LeakyRelu", n.conv(n.q("x"), 8, strides=[2, 2]), alpha=0.1))
    heads = [n.q(n.conv(stem, c, k=1)) for c in (3, 4)]
    model = n.model(*heads)
    onnx.helper.set_model_props(model, {"falconet": json.dumps({"postprocess": {
        "kind": "detection", "labels": ["a", "b", "c"], "box": {"kind": "grid"},
        "levels": [{"stride": 2, "class": heads[0], "box": heads[1]}]}})})
    made.append(model)
    return [m.SerializeToString() for m in made]


def make_onnx(rng: random.Random) -> bytes:
    data = rng.choice(models())
    if rng.randrange(4) == 0:
        return change_bytes(rng, data)
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.randint(1, 2)):
        _change_model(rng, model)
    return model.SerializeToString()


SIZES = (0, -1, 1, 2, 3, 7, 8, 255, 4096, 2**31 - 1, 2**40, 2**62, -(2**63))


def _change_model(rng: random.Random, model: onnx.ModelProto) -> None:
    graph = model.graph
    node = rng.choice(graph.node) if graph.node else None
    tensor = rng.choice(graph.initializer) if graph.initializer else None
    kind = rng.randrange(15)
    if kind == 0 and node is not None and node.attribute:
        a = rng.choice(node.attribute)
        if rng.randrange(5) == 0:
            node.attribute.remove(a)
        elif a.ints:
            a.ints[rng.randrange(len(a.ints))] = rng.choice(SIZES)
        else:
            a.i, a.f = rng.choice(SIZES), rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
    elif kind == 1 and node is not None and node.input:
        others = [o for n in graph.node for o in n.output] + [t.name for t in graph.initializer]
        node.input[rng.randrange(len(node.input))] = rng.choice([*others, "", "none", "x"])
    elif kind == 2 and node is not None:
        node.op_type = rng.choice([n.op_type for n in graph.node] + [
            "Conv", "Softmax", "Reshape", "Resize", "Nothing", "If", "Loop", "Constant", "Expand",
            "Tile", "Range", "ConstantOfShape", "ConvTranspose", "AveragePool", "Slice", "Pad",
            "GlobalAveragePool", "Transpose", "Split", "Clip", "PRelu", "HardSwish", "Mul"])
    elif kind == 3 and tensor is not None:
        graph.initializer.remove(tensor)
    elif kind == 4 and tensor is not None and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(SIZES)
    elif kind == 5 and tensor is not None:
        tensor.data_type = rng.randrange(25)
    elif kind == 6 and tensor is not None and tensor.raw_data:
        special = np.array([rng.choice((np.nan, np.inf, -np.inf, 0, -1, 1e-45, 1e38))], "<f4")
        raw = special.tobytes() * (len(tensor.raw_data) // 4)
        tensor.raw_data = raw if raw and rng.randrange(3) else change_bytes(rng, tensor.raw_data)
    elif kind == 7 and tensor is not None:
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", rng.choice(("w.bin", "/etc/passwd", "../x", "", "/dev/zero"
                                                    ))),
                           ("length", str(rng.choice(SIZES))), ("offset", str(rng.choice(SIZES)))):
            tensor.external_data.add(key=key, value=value)
    elif kind == 8:
        v = rng.choice([*graph.input, *graph.output, *graph.value_info])
        t = v.type.tensor_type
        if rng.randrange(2) or not t.shape.dim:
            t.elem_type = rng.randrange(25)
        else:
            t.shape.dim[rng.randrange(len(t.shape.dim))].dim_value = rng.choice(SIZES)
    elif kind == 9 and node is not None:
        graph.node.remove(node)
        if rng.randrange(2):
            graph.node.add().CopyFrom(node)  # last: what it makes comes too late
    elif kind == 10 and node is not None:
        graph.node.add().CopyFrom(node)
    elif kind == 11 and node is not None:
        del (node.input if rng.randrange(2) else node.output)[-1:]
    elif kind == 12:
        for o in model.opset_import:
            o.version = rng.choice((0, 1, 9, 13, 21, 1000, -1))
    elif kind == 13:
        p = model.metadata_props.add() if not model.metadata_props else model.metadata_props[0]
        old = {} if p.value[:1] != "{" else json.loads(p.value)
        p.key, p.value = "falconet", json.dumps(change_value(rng, old))
        if rng.randrange(10) == 0:
            p.value = "[" * 10_000
    elif node is not None:
        node.name = rng.choice(("", "a\nb", node.name * 100))
        node.output[:] = [f"{o}\n" for o in node.output]


def take_onnx(data: bytes) -> None:
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception:  # of protobuf; a file takes another way to the same sentence
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile_model(model, TINY)


# ---------------------------------------------------------------------- detection heads

@functools.cache
def heads() -> list[dict[str, Any]]:
    return [detector(levels=2, points=p, objectness=bool(p), box=kind, size=(16, 16)).meta[
        "postprocess"] for p in (0, 2) for kind in BOXES]


def make_heads(rng: random.Random) -> bytes:
    found = change_value(rng, rng.choice(heads()), 4)
    return json.dumps(found).encode()


def take_heads(data: bytes) -> None:
    parse(json.loads(data))


TARGETS: dict[str, Target] = {
    "program": (make_program, take_program), "onnx": (make_onnx, take_onnx),
    "heads": (make_heads, take_heads), "constants": (make_constants, take_constants),
    **DATA_TARGETS, "hwh": (make_hwh, take_hwh),
}
