"""The golden model: what the answer is, in exact integers, and nothing about how.

It reads the graph section of a program (``header["graph"]``, constants from
``header["graph_offset"]`` of the code; the form is described in ``falconet.compiler.graph``) and
evaluates it layer by layer with numpy. Convolutions are matrix products in floating point, which
are exact here: every partial sum is an integer of at most ``128 * sum |w|``, and the type is chosen
so that it holds such integers without rounding.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from falconet.isa import Arch, FalconetError, Program
from falconet.runtime.detections import Options
from falconet.runtime.device import Int8, RunResult, check_inputs
from falconet_sim.arithmetic import Params, output_stage
from falconet_sim.golden_detect import detect_all

__all__ = ["GoldenDevice", "run_graph", "run_node"]



def constants(node: dict[str, Any], blob: bytes) -> dict[str, NDArray[Any]]:
    """The constants of a node as arrays."""
    return {
        key: np.frombuffer(
            blob, np.dtype(c["dtype"]).newbyteorder("<"), int(np.prod(c["shape"])), c["offset"]
        ).astype(c["dtype"]).reshape(c["shape"])
        for key, c in node["consts"].items()
    }


def finish(acc: NDArray[Any], attrs: dict[str, Any], consts: dict[str, NDArray[Any]]) -> Int8:
    """The output stage on accumulators [C, H, W]."""
    params = Params(*(consts[k].astype(np.int64)[:, None, None]
                      for k in ("bias", "mult", "mult_neg", "shift")))
    return output_stage(acc, params, zp=attrs["zp"], lo=attrs["lo"], hi=attrs["hi"],
                        table=consts.get("table"))


def windows(x: Int8, attrs: dict[str, Any], pad: int) -> Int8:
    """A view ``[C, H, W, ky, kx]`` of what every output pixel sees."""
    top, left, bottom, right = attrs["pads"]
    (ky, kx), (sy, sx), (dy, dx) = attrs["kernel"], attrs["stride"], attrs["dilation"]
    if any(attrs["pads"]):
        x = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=pad)
    view = sliding_window_view(x, (dy * (ky - 1) + 1, dx * (kx - 1) + 1), (1, 2))
    return view[:, ::sy, ::sx, ::dy, ::dx]


def conv(x: Int8, attrs: dict[str, Any], weight: Int8) -> NDArray[Any]:
    """Accumulators ``[O, H, W]`` of a convolution."""
    view = windows(x, attrs, attrs["pad"])
    groups, (c, h, w) = attrs["groups"], view.shape[:3]
    ky, kx = attrs["kernel"]
    out = weight.shape[0]
    if groups == c == out:
        acc = np.zeros((c, h, w), np.int32)
        for y in range(ky):
            for z in range(kx):
                acc += np.multiply(view[..., y, z], weight[:, :1, y, z, None], dtype=np.int32)
        return acc
    bound = 128 * int(np.abs(weight.astype(np.int64)).reshape(out, -1).sum(1).max())
    if bound >= 1 << 53:
        raise FalconetError("a convolution's accumulator exceeds 53 bits; use a smaller layer")
    exact = np.float32 if bound <= 1 << 24 else np.float64
    acc = np.empty((groups, out // groups, h * w), np.int64)
    for g in range(groups):
        part = slice(g * c // groups, (g + 1) * c // groups)
        matrix = weight[g * out // groups : (g + 1) * out // groups].astype(exact)
        columns = view[part].transpose(0, 3, 4, 1, 2).astype(exact, order="C")
        acc[g] = matrix.reshape(out // groups, -1) @ columns.reshape(-1, h * w)
    return acc.reshape(out, h, w)


def run_node(node: dict[str, Any], blob: bytes, inputs: list[Int8]) -> Int8:
    """The output of one node of the graph section, given its inputs."""
    op, attrs, consts, x = node["op"], node["attrs"], constants(node, blob), inputs[0]
    if op == "conv":
        return finish(conv(x, attrs, consts["weight"]), attrs, consts)
    if op == "maxpool":
        largest = windows(x, attrs, attrs["pad"]).max((3, 4))
        return finish(largest, attrs, consts)
    if op == "eltwise":
        acc = np.zeros(x.shape, np.int64)
        for operand, coef in zip(inputs, consts["coef"].astype(np.int64)):
            acc += operand * coef[:, None, None]
        return finish(acc, attrs, consts)
    if op == "concat":
        return np.concatenate(inputs)
    if op == "slice":
        return x[attrs["begin"] : attrs["end"]]
    if op == "upsample":
        return x.repeat(attrs["fy"], 1).repeat(attrs["fx"], 2)
    raise FalconetError(f"{node['name']}: the golden model has no operation '{op}'; recompile")


def run_graph(
    graph: dict[str, Any], blob: bytes, inputs: dict[str, Int8], *, keep: bool = False
) -> dict[str, Int8]:
    """Evaluate a graph section: its outputs by name, with ``keep`` every tensor.

    Raises
    ------
    FalconetError
        for an input that is missing, is not int8, or has another shape than the graph's.
    """
    tensors = {t["name"]: t for t in graph["tensors"]}
    check_inputs([tensors[name] for name in graph["inputs"]], inputs)
    values = dict(inputs)
    last = {name: i for i, node in enumerate(graph["nodes"]) for name in node["inputs"]}
    for i, node in enumerate(graph["nodes"]):
        values[node["output"]] = run_node(node, blob, [values[n] for n in node["inputs"]])
        if not keep:
            for name in node["inputs"]:
                if last[name] == i and name not in graph["outputs"]:
                    values.pop(name, None)
    return values if keep else {name: values[name] for name in graph["outputs"]}


class GoldenDevice:
    """A :class:`~falconet.runtime.device.Device` without a clock: it only knows the answer.

    Parameters
    ----------
    program:
        Loaded at once, if given.
    keep:
        Keep every tensor of the last run for :meth:`tensor`.
    """

    name = "golden"

    def __init__(self, program: Program | None = None, *, keep: bool = False) -> None:
        self._program: Program | None = None
        self._keep = keep
        self._values: dict[str, Int8] = {}
        if program is not None:
            self.load(program)

    @property
    def program(self) -> Program:
        if self._program is None:
            raise FalconetError("golden: no program is loaded; call load first")
        return self._program

    @property
    def arch(self) -> Arch:
        return self.program.arch

    def load(self, program: Program) -> None:
        for key in ("graph", "graph_offset"):
            if key not in program.header:
                raise FalconetError(f"program: it has no '{key}'; recompile the network")
        self._program = program

    def run(self, inputs: dict[str, Int8], options: Options | None = None) -> RunResult:
        start, program = time.perf_counter(), self.program
        header = program.header
        blob = program.code[header["graph_offset"] :]
        # Another thread may run meanwhile, so all that follows is of this run's own values.
        values = self._values = run_graph(header["graph"], blob, inputs, keep=self._keep)
        detect, names = header.get("detect"), header["graph"]["outputs"]
        found = None
        if detect:  # the heads are outputs of the graph, not of the program
            names = [t["name"] for t in header["outputs"]]
            found = detect_all(values, detect, options, program.arch)
        outputs = {name: values[name] for name in names}
        return RunResult(outputs, seconds=time.perf_counter() - start, detections=found)

    def tensor(self, name: str) -> Int8:
        """A tensor of the last run, int8 [C, H, W]."""
        try:
            return self._values[name]
        except KeyError:
            raise FalconetError(
                f"tensor '{name}' was not kept; use GoldenDevice(program, keep=True) and run it"
            ) from None
