"""One network on trial: what it is, how it is run everywhere, and the file that keeps it.

A file holds the graph (or the ONNX model) and the inputs themselves, so that it means the same
whatever draws networks later.
"""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from devices import board
from numpy.typing import NDArray

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.importer.onnx.layerwise import compare
from falconet.compiler.passes import optimise
from falconet.compiler.passes.verify import verify
from falconet.isa import Arch, FalconetError, Program, preset
from falconet_sim.compare.lockstep import compare_golden, compare_rtl
from falconet_sim.golden.device import GoldenDevice, run_graph, run_node
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import RtlDevice

CASES = Path(__file__).with_name("cases")

Int8 = NDArray[np.int8]


class Refused(Exception):
    """The compiler says that this network is not for this machine."""


@dataclass(frozen=True)
class Ran:
    """A case that all devices agree on."""

    graph: Graph
    program: Program
    layers: int = 0  # compared with onnxruntime
    values: int = 0
    off_by_one: int = 0


@dataclass(frozen=True)
class Case:
    """A network and its inputs. ``graph`` is the integer graph, or ``model`` an ONNX file.

    ``passes``: whether the passes run on the graph (on that of a model they always do).
    """

    preset: str
    inputs: dict[str, Int8]
    graph: Graph | None = None
    model: bytes | None = None
    passes: bool = True

    @property
    def arch(self) -> Arch:
        return preset(self.preset)

    def program(self) -> tuple[Graph, Program]:
        """The graph as it was given, and the program. Raises :class:`Refused`."""
        graph = self.graph
        if graph is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    graph = import_onnx(self.proto(), arch=self.arch)
                    verify(graph, self.arch)
            except FalconetError as e:
                raise Refused(str(e)) from None
        better = optimise(graph, self.arch) if self.passes else verify(graph, self.arch)
        try:
            return graph, compile_graph(better, self.arch, "random")
        except FalconetError as e:
            raise Refused(str(e)) from None

    def proto(self) -> onnx.ModelProto:
        assert self.model is not None
        return onnx.ModelProto.FromString(self.model)

    def to_json(self) -> dict[str, Any]:
        case: dict[str, Any] = {"preset": self.preset, "passes": self.passes}
        if self.graph is not None:
            case["graph"], blob = self.graph.to_dict()
            case["constants"] = _text(blob)
        else:
            assert self.model is not None
            case["model"] = _text(self.model)
        case["inputs"] = {name: {"shape": list(a.shape), "values": _text(a.tobytes())}
                          for name, a in self.inputs.items()}
        return case

    def digest(self) -> str:
        """Names a case by all that it is."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @classmethod
    def from_json(cls, case: dict[str, Any]) -> Case:
        inputs = {name: np.frombuffer(_bytes(a["values"]), np.int8).reshape(a["shape"])
                  for name, a in case["inputs"].items()}
        graph = model = None
        if "graph" in case:
            graph = Graph.from_dict(case["graph"], _bytes(case["constants"]))
        else:
            model = _bytes(case["model"])
        return cls(case["preset"], inputs, graph, model, case["passes"])


def _text(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _bytes(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def save(case: Case, why: str, folder: Path) -> Path:
    """Keep a case as a file, named by what it is; ``why`` is for people."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.preset}-{'onnx' if case.model else 'graph'}-{case.digest()}.json"
    path.write_text(json.dumps({"why": why, **case.to_json()}, indent=1) + "\n", encoding="utf-8")
    return path


def load(path: Path) -> Case:
    return Case.from_json(json.loads(path.read_text(encoding="utf-8")))


def check(case: Case, *, rtl: bool = True) -> Ran:
    """Run a case everywhere and demand equal bytes.

    The graph as it was given (before passes and compiler), the golden model on the program, the
    instruction-set simulator and, with ``rtl``, the RTL. A model is compared with onnxruntime
    layer by layer as well, which may differ by 1 LSB.

    Raises
    ------
    Refused
        by the compiler; nothing else may raise a FalconetError.
    AssertionError
        for a difference.
    """
    graph, program = case.program()
    want = run_graph(*graph.to_dict(), dict(case.inputs))
    devices = {"golden model on the program": GoldenDevice(program),
               "instruction-set simulator": IssDevice(program)}
    if rtl:
        devices["RTL"] = board(case.arch)
        devices["RTL"].load(program)
    for name, device in devices.items():
        found = device.run(dict(case.inputs)).outputs
        assert found.keys() == want.keys(), f"{name}: outputs {list(found)}, not {list(want)}"
        for output, value in want.items():
            different = np.argwhere(found[output] != value)
            assert not len(different), (
                f"{name}: '{output}' differs in {len(different)} of {value.size} values, first at "
                f"{different[0].tolist()}: {found[output][tuple(different[0])]}, not "
                f"{value[tuple(different[0])]}")
    layers = []
    if case.model is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layers = compare(case.proto(), run_node, dict(case.inputs), arch=case.arch)
        for layer in layers:
            assert layer.max_lsb <= 1, f"onnxruntime: {layer}"
    return Ran(graph, program, len(layers), sum(v.total for v in layers),
               sum(v.different for v in layers))


def explain(case: Case) -> str:
    """Where machines part: instruction, tile, element; empty if these do not show it."""
    try:
        _, program = case.program()
        difference = compare_golden(program, case.inputs) or compare_rtl(
            program, case.inputs, RtlDevice(case.arch, log_writes=True, timeout=300))
        return "" if difference is None else str(difference)
    except Exception as e:
        return f"{type(e).__name__}: {e}"
