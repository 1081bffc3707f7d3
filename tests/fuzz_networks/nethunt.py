"""Networks by the hundred: drawn by hypothesis, a failing one shrunk and kept."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from netcase import Case, Ran, Refused, check, save
from netdraw import Draw
from netfeatures import features
from netgraphs import random_graph
from netonnx import random_model

from falconet.isa import preset

ROUND = 10
"""Networks that hypothesis draws from one seed; later ones would mostly be copies of parts."""

Check = Callable[[Case], Ran]


@st.composite
def cases(draw: Any) -> Case:
    """A case: three in four for ``tiny``, one in five an ONNX file."""
    d = Draw(draw)
    name = d.pick(("tiny", "tiny", "tiny", "pynq-z2"))
    arch = preset(name)
    if d.chance(20):
        model, shape = random_model(d, arch)
        return Case(name, {"x": d.picture(shape)}, model=model.SerializeToString())
    passes = d.chance(70)
    graph = random_graph(d, arch)
    inputs = {i: d.picture(graph.tensors[i].shape) for i in graph.inputs}
    return Case(name, inputs, graph=graph, passes=passes)


@dataclass
class Failure:
    """A difference, or an exception: the smallest network that shows it."""

    why: str
    path: Path
    case: Case


@dataclass
class Record:
    """What a run has seen: different cases by their hashes, those that were refused included."""

    cases: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    presets: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    layers: int = 0
    values: int = 0
    off_by_one: int = 0

    def add(self, case: Case, ran: Ran) -> None:
        self.presets[case.preset] += 1
        self.seen.update(features(case, ran))
        self.layers += ran.layers
        self.values += ran.values
        self.off_by_one += ran.off_by_one


def hunt(count: int, seed: int, folder: Path, *, seconds: float = float("inf"),
         failures: int = 20, run: Check = check,
         step: Callable[[float], None] = lambda _: None) -> Record:
    """Run ``count`` networks, or as many as begin within ``seconds``; failures go to ``folder``.

    Round ``n`` of ROUND networks is drawn from (``seed``, n), so that a run can be repeated. After
    a failure the rest of its round is passed over, after ``failures`` of them the rest of the run.
    Ctrl-C ends a run early.
    """
    record, began, number = Record(), time.monotonic(), 0

    def spent() -> float:
        return max((time.monotonic() - began) / seconds, len(record.cases) / count)

    with contextlib.suppress(KeyboardInterrupt):
        while spent() < 1 and len(record.failures) < failures:
            _round(record, count, seed << 32 | number, folder, run, lambda: step(min(1.0, spent())))
            number += 1
    return record


def _round(record: Record, count: int, seed: int, folder: Path, run: Check,
           tick: Callable[[], None]) -> None:
    failing: list[Case] = []

    @hypothesis.seed(seed)
    @settings(max_examples=ROUND, database=None, deadline=None, print_blob=False,
              phases=(Phase.generate, Phase.shrink), report_multiple_bugs=False,
              suppress_health_check=list(HealthCheck))
    @hypothesis.given(cases())
    def look(case: Case) -> None:
        if not failing:
            tick()
            if len(record.cases) == count or case.digest() in record.cases:
                return
            record.cases.add(case.digest())
        try:
            ran = run(case)
        except Refused as e:
            if not failing:
                record.refused.append(str(e))
            return
        except Exception:
            failing.append(case)
            raise
        if not failing:
            record.add(case, ran)

    try:
        look()
    except Exception as e:
        if not failing:
            raise
        why = f"{type(e).__name__}: {e}"
        # hypothesis ends with the smallest one
        record.failures.append(Failure(why, save(failing[-1], why, folder), failing[-1]))
