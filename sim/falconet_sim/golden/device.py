"""The golden model: what the answer is, in exact integers, and nothing about how.

It reads the graph section of a program (``header["graph"]``, constants from
``header["graph_offset"]`` of the code; the form is described in ``falconet.compiler.graph``) and
evaluates it layer by layer with numpy (:mod:`falconet_sim.golden.ops`).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, FalconetError, Program
from falconet.runtime.detections import Options
from falconet.runtime.device import Int8, RunResult, check_inputs
from falconet_sim.golden.detect import detect_all
from falconet_sim.golden.ops import INTEGERS

__all__ = ["GoldenDevice", "run_graph", "run_node"]


def constants(node: dict[str, Any], blob: bytes) -> dict[str, NDArray[Any]]:
    """The constants of a node as arrays."""
    return {
        key: np.frombuffer(
            blob, np.dtype(c["dtype"]).newbyteorder("<"), int(np.prod(c["shape"])), c["offset"]
        ).astype(c["dtype"]).reshape(c["shape"])
        for key, c in node["consts"].items()
    }


def run_node(node: dict[str, Any], blob: bytes, inputs: list[Int8]) -> Int8:
    """The output of one node of the graph section, given its inputs."""
    if node["op"] not in INTEGERS:
        raise FalconetError(f"{node['name']}: the golden model has no operation '{node['op']}'; "
                            "recompile")
    return INTEGERS[node["op"]](inputs, node["attrs"], constants(node, blob))


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
        detect, names = program.detect, header["graph"]["outputs"]
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
