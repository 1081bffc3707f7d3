"""Every kind of Device that there is without a board, with photographs whose answers are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from demo_programs import PREPROCESS, noise
from detectors import detector
from paced import PacedBoard, look, plain, plain_program
from uart_peer import MachineLine

from falconet.compiler import compile_graph
from falconet.isa import Program, board, preset
from falconet.runtime.detections import Detections
from falconet.runtime.device import Device, RunResult
from falconet.runtime.driver import Driver
from falconet.runtime.preprocess import Preprocessor
from falconet.runtime.uart import UartBoard
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.hosts.zynq import ZynqDevice
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import RtlDevice, SimBoard
from falconet_sim.rtl.ddr import DdrModel
from falconet_sim.rtl.library import machine_library

Inputs = dict[str, np.ndarray]
PHOTOGRAPHS = 4
MEMORY = 1 << 20


@dataclasses.dataclass
class Case:
    """A program of ``tiny`` and photographs; of each what is given to run(), and what comes."""

    program: Program
    photographs: list[np.ndarray]
    inputs: list[Inputs]
    outputs: list[Inputs]
    detections: list[Detections | None]

    def right(self, i: int, result: RunResult) -> bool:
        outputs = self.outputs[i]
        return (result.detections == self.detections[i] and result.outputs.keys() == outputs.keys()
                and all(np.array_equal(result.outputs[k], v) for k, v in outputs.items()))


def _different(case: Case) -> Case:
    """No answer is that of another photograph, or none that is wrong would show."""
    for i in range(PHOTOGRAPHS):
        found = RunResult(case.outputs[i], detections=case.detections[i])
        assert [case.right(k, found) for k in range(PHOTOGRAPHS)] == [
            k == i for k in range(PHOTOGRAPHS)]
    return case


def _prepared(program: Program, reference: Device) -> Case:
    t = program.header["inputs"][0]
    prepare = Preprocessor(program.header["meta"], t["scale"], t["zero_point"])
    photographs = [noise(seed=i) for i in range(PHOTOGRAPHS)]
    inputs = [{t["name"]: prepare(p)[0].transpose(2, 0, 1).copy()} for p in photographs]
    results = [reference.run(dict(x)) for x in inputs]
    return _different(Case(program, photographs, inputs, [r.outputs for r in results],
                           [r.detections for r in results]))


@cache
def boxes() -> Case:
    """A detector of two classes, of 16 x 16 pixels."""
    graph = detector(3, size=(16, 16), levels=1, classes=2, points=1, maximum=8,
                     score_threshold=0.5, nms_threshold=0.4)
    graph.meta["preprocess"] = {**PREPROCESS, "size": [16, 16]}
    program = compile_graph(graph, preset("tiny"), "spots")
    return _prepared(program, GoldenDevice(program))


@cache
def values() -> Case:
    """What paced.py's stand-in says of photographs that are all of one value."""
    photographs = [plain(50 * i) for i in range(PHOTOGRAPHS)]
    inputs = [{"x": (p.transpose(2, 0, 1).astype(np.int16) - 128).astype(np.int8)}
              for p in photographs]
    outputs = [{"y": look(x["x"].view(np.uint8).reshape(-1)).view(np.int8).reshape(8, 1, 1)}
               for x in inputs]
    return _different(Case(plain_program(), photographs, inputs, outputs,
                           [None] * PHOTOGRAPHS))


def _paced(program: Program, timeout: float) -> Driver:
    bus = PacedBoard(program, 0.002)
    bus.hang = {5, 9}  # numbers of runs
    return Driver(bus, bus, name="paced", arch=program.arch, timeout=min(timeout, 0.2))


def _serial(program: Program, timeout: float) -> Driver:
    there = board("ecp5")
    machine = SimBoard(machine_library(program.arch), DdrModel(clock_mhz=there.clock_mhz),
                       lanes=program.arch.lanes, memory_bytes=there.memory_bytes)
    machine.PAUSE = 6_000  # cycles; the driver sleeps each time
    bus = UartBoard(there, MachineLine(there, machine))
    return Driver(bus, bus, name="serial", arch=program.arch, timeout=timeout)


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a Device is made (of a program and the seconds that a run may take), and for what.

    ``actions``: of each thread in one run at most. ``hasty``: a time-out that some runs exceed.
    """

    make: Callable[[Program, float], Device]
    case: Callable[[], Case] = boxes
    actions: int = 5
    hasty: float = 0.02


KINDS: dict[str, Kind] = {
    "golden": Kind(lambda p, _: GoldenDevice(p), actions=8),
    "iss": Kind(lambda p, _: IssDevice(p), actions=5),
    "rtl": Kind(lambda p, t: RtlDevice(p.arch, timeout=t, memory_bytes=MEMORY)),
    "board": Kind(lambda p, t: ZynqDevice(
        dataclasses.replace(board("aup-zu3"), preset="tiny"), timeout=t, memory_bytes=MEMORY)),
    "serial": Kind(_serial),
    "paced": Kind(_paced, values, 8, 0.01),
}


def calm(device: Any) -> None:
    """No run takes too long any more."""
    if isinstance(device, Driver):
        device._timeout = 60.0
        if isinstance(device._memory, PacedBoard):
            device._memory.hang.clear()


def left_behind(device: Any) -> int:
    """Buffers that a closed driver has not given back."""
    return len(device._memory.buffers) if isinstance(device, Driver) else 0
