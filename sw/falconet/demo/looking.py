"""One photograph through a machine, and all that the page says about it, as plain data."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Engine, FalconetError, Program
from falconet.runtime.detections import Options
from falconet.runtime.device import Device, RunResult
from falconet.runtime.driver import Driver
from falconet.runtime.preprocess import Frame, Preprocessor
from falconet.runtime.profile import layer_profiles, spans
from falconet.runtime.vision import detections_of, postprocess, real_outputs
from falconet.runtime.watch import watch

__all__ = ["Machine", "Ran", "Run", "Times", "by_inputs", "by_steps", "kind_of", "timeline"]

Photograph = NDArray[np.uint8]
BARS = 2000
"""The timeline is this wide: gaps that are narrower than one of these are not drawn."""
TOP = 5
"""Classes that are named."""


class Times(dict[str, float]):
    """Milliseconds of each step."""

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self[step] = self.get(step, 0.0) + 1e3 * (time.perf_counter() - began)


@dataclass
class Ran:
    """What the machine gave, and where the photograph lies in the network's input."""

    result: RunResult
    frame: Frame


Run = Callable[[Photograph, Options, bool, Times], Ran]
"""Runs a photograph; the flag asks for a trace, and the times get ``prepare``, ``machine`` and
``read``."""


def by_inputs(device: Device, program: Program) -> Run:
    """A device that takes tensors; a trace comes if it can watch its instructions."""
    tensors = program.header["inputs"]
    if len(tensors) != 1:
        raise FalconetError(
            f"program '{program.header['model']}' has {len(tensors)} inputs, so a photograph is "
            "not enough for it; use 'falconet run'")
    t = tensors[0]
    prepare = Preprocessor(
        program.header.get("meta", {}), float(t["scale"]), int(t["zero_point"]))

    def run(photograph: Photograph, options: Options, trace: bool, times: Times) -> Ran:
        with times.of("prepare"):
            stored, frame = prepare(photograph)
            tensor = np.ascontiguousarray(stored.transpose(2, 0, 1))
        with times.of("machine"):
            return Ran(device.run({t["name"]: tensor}, options), frame)

    return run


def by_steps(driver: Driver, patience: float = 60.0) -> Run:
    """A board: photographs go straight into its memory; a trace is read off its counters."""
    def run(photograph: Photograph, options: Options, trace: bool, times: Times) -> Ran:
        slot = driver.slot(0)
        with times.of("prepare"):
            frame = driver.stage_photograph(slot, photograph, options)
        with times.of("machine"):
            driver.start(slot)
            seen = watch(driver, patience) if trace else None
            driver.wait()
        with times.of("read"):
            result = driver.collect(slot)
        if seen is not None:
            result.trace = seen(slot.cycles)
        return Ran(result, frame)

    return run


def kind_of(program: Program) -> str:
    """``detection`` or ``classification``; others give tensors, which no page shows."""
    kind = (program.header.get("meta", {}).get("postprocess") or {}).get("kind")
    if kind not in ("detection", "classification"):
        raise FalconetError(
            f"program '{program.header['model']}': its outputs are "
            f"{f'a {kind}' if kind else 'not described'}, so there is nothing to draw; use "
            "'falconet run'")
    return str(kind)


def timeline(program: Program, result: RunResult) -> dict[str, Any] | None:
    """Which engine worked for which layer when, and each layer's share; None without a trace.

    ``bars`` are [engine, layer, start, end] in cycles: instructions of one layer that follow each
    other on their engine are one bar. ``layers`` are in order, with their profiles.
    """
    trace, cycles = result.trace, result.cycles
    if trace is None or not cycles:
        return None
    start, retire = trace.start.tolist(), trace.retire.tolist()
    run = spans(program, start, retire)
    bars: list[list[int]] = []
    gap = max(1, cycles // BARS)
    for engine in Engine:
        last: list[int] = []
        for s in (s for s in run if s.engine is engine):
            if last and last[1] == s.layer and s.start - last[3] <= gap:
                last[3] = max(last[3], s.retire)
                continue
            last = [int(engine), s.layer, s.start, s.retire]
            bars.append(last)
    profiles = layer_profiles(program, start, retire, cycles)
    return {
        "engines": [e.name for e in Engine], "bars": bars,
        "layers": [{"name": p.name, "op": p.op, "engine": p.engine, "cycles": p.cycles,
                    "bytes": p.bytes, "bound": p.bound,
                    "utilisation": p.utilisation if p.macs else None} for p in profiles],
    }


@dataclass
class Machine:
    """A program on something that runs it.

    Parameters
    ----------
    run:
        Of :func:`by_inputs` or :func:`by_steps`.
    device:
        What it is, in words ("golden model").
    note:
        What its cycles and rates are worth ("simulated, not silicon").
    give_back:
        What has to happen at the end, once no run is under way.
    turn:
        Whoever holds it may run the machine.
    """

    program: Program
    run: Run
    device: str
    note: str
    give_back: Callable[[], None] | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.kind = kind_of(self.program)
        self.macs = sum(int(layer["macs"]) for layer in self.program.header["layers"])

    def close(self) -> None:
        """After the run that is under way, if there is one."""
        if self.give_back is not None:
            with self.turn:
                self.give_back()

    def described(self) -> dict[str, Any]:
        """What the page says before it has seen anything."""
        header, arch = self.program.header, self.program.arch
        post, detect = header["meta"]["postprocess"], self.program.detect
        options = None
        if detect:
            options = {"score": detect.score, "iou": detect.iou, "sigma": detect.sigma,
                       "mode": detect.mode, "limit": detect.limit, "maximum": detect.limit}
        elif self.kind == "detection":
            options = {"score": post.get("score_threshold", 0.5),
                       "iou": post.get("nms_threshold", 0.45), "sigma": post.get("sigma", 0.5),
                       "maximum": post.get("maximum", 100), "limit": None,
                       "mode": post.get("nms", "greedy")}
        return {
            "model": header["model"], "preset": arch.name, "clock_mhz": arch.clock_mhz,
            "macs_per_cycle": arch.macs_per_cycle, "macs": self.macs, "device": self.device,
            "note": self.note, "kind": self.kind, "options": options,
        }

    def look(self, photograph: Photograph, options: Options, *, trace: bool, times: Times
             ) -> dict[str, Any]:
        """What is in a photograph (uint8 [h, w, 3], R, G, B): boxes in its pixels, or classes."""
        ran = self.run(photograph, options, trace, times)
        with times.of("read"):
            found = self._found(ran, options)
        result, arch = ran.result, self.program.arch
        cycles = result.cycles
        return {
            "width": photograph.shape[1], "height": photograph.shape[0], **found,
            "cycles": cycles, "busy": result.busy, "times": dict(times),
            "fps": arch.clock_mhz * 1e6 / cycles if cycles else None,
            "utilisation": self.macs / (cycles * arch.macs_per_cycle) if cycles else None,
            "timeline": timeline(self.program, result) if trace else None,
        }

    def _found(self, ran: Ran, options: Options) -> dict[str, Any]:
        meta, made = self.program.header["meta"], ran.result.detections
        if made is not None:
            boxes = detections_of(meta, made, ran.frame)
            return {"boxes": [asdict(b) for b in boxes], "candidates": made.candidates,
                    "room": self.program.arch.candidates}
        outputs = real_outputs(self.program, ran.result.outputs)
        if options.sigma is not None:
            meta = {**meta, "postprocess": {**meta["postprocess"], "sigma": options.sigma}}
        found = [asdict(f) for f in postprocess(
            meta, outputs, ran.frame, score_threshold=options.score, nms_threshold=options.iou,
            maximum=options.maximum, top=TOP)]
        return {"boxes" if self.kind == "detection" else "classes": found}
