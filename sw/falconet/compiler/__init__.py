"""QDQ ONNX to program file: import, passes, lowering, plan, schedule, allocation, emission."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from falconet.isa import Arch, FalconetError, Program

if TYPE_CHECKING:
    from falconet.compiler.graph import Graph
    from falconet.compiler.plan import Plan
    from falconet.compiler.schedule import Task

__all__ = ["compile_graph", "compile_model"]

# What is tried, and the fastest that fits is taken: tiles of slack in rings, groups that may start
# before the first is finished.
_TRIES = [(slack, ahead) for slack in (2, 1) for ahead in (2, 1, 0)]
_SPILLS = (math.inf, 1 / 4, 1 / 8, 1 / 16)  # of the scratchpad: larger tensors may go through DDR


def compile_model(model: Any, arch: Arch, name: str | None = None,
                  progress: Callable[[float], None] | None = None) -> Program:
    """Compile a QDQ ONNX file (path or ModelProto) for ``arch``.

    ``progress`` is called with the finished share in [0, 1]. Raises FalconetError naming the node
    that does not map.
    """
    from falconet.compiler.onnx_import import import_onnx
    from falconet.compiler.passes import optimise

    graph = optimise(import_onnx(model, arch=arch), arch)
    return compile_graph(graph, arch, name, progress)


def compile_graph(graph: Graph, arch: Arch, name: str | None = None,
                  progress: Callable[[float], None] | None = None) -> Program:
    """Compile an integer graph."""
    from falconet.compiler.allocate import allocate
    from falconet.compiler.emit import emit_program
    from falconet.compiler.lower import lower
    from falconet.compiler.plan import make_plan
    from falconet.compiler.schedule import make_schedule

    failure: FalconetError | None = None
    missing = None
    best: tuple[int, Plan, list[Task]] | None = None
    for share in _SPILLS:
        for at, (slack, ahead) in enumerate(_TRIES):
            if progress is not None:
                progress(at / len(_TRIES))
            try:
                plan = make_plan(lower(graph, arch), slack=slack,
                                 spill=share * arch.scratchpad_words)
            except FalconetError as e:
                failure = failure or e
                continue
            tasks = make_schedule(plan, ahead)
            missing = allocate(plan, tasks)
            if missing is None and (best is None or tasks[-1].start < best[0]):
                best = tasks[-1].start, plan, tasks
        if best is not None:
            break
    if best is None:
        raise failure or FalconetError(
            f"tensor '{missing.name if missing else '?'}': no room in the scratchpad of "
            f"'{arch.name}' ({arch.scratchpad_words} words); use a smaller input or a larger preset"
        )
    _, plan, tasks = best
    allocate(plan, tasks)
    return emit_program(plan, tasks, name or graph.name)
