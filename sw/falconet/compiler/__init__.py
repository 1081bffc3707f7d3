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
                  progress: Callable[[float], None] | None = None, *, post: str = "machine",
                  heads: dict[str, Any] | None = None) -> Program:
    """Compile a QDQ ONNX file (path or ModelProto) for ``arch``.

    Parameters
    ----------
    progress:
        Is called with the finished share in [0, 1].
    post:
        Who decodes and suppresses the boxes of a network with a described detection head:
        ``"machine"``, or ``"host"``: the head's tensors are outputs like any other.
    heads:
        A description (``falconet_models.metadata``, kind ``"detection"``) in place of the model's.

    Raises
    ------
    FalconetError
        naming the node that does not map, or the field of the description.
    """
    from falconet.compiler.onnx_import import import_onnx
    from falconet.compiler.passes import optimise

    if heads is not None:
        from falconet.compiler.importer.model import describe_heads

        model = describe_heads(model, heads)
    graph = optimise(import_onnx(model, arch=arch), arch)
    return compile_graph(graph, arch, name, progress, post=post)


def compile_graph(graph: Graph, arch: Arch, name: str | None = None,
                  progress: Callable[[float], None] | None = None, *, post: str = "machine"
                  ) -> Program:
    """Compile an integer graph; ``post`` as in :func:`compile_model`."""
    from falconet.compiler.allocate import allocate
    from falconet.compiler.boxes import describe
    from falconet.compiler.emit import emit_program
    from falconet.compiler.lower import lower
    from falconet.compiler.plan import make_plan
    from falconet.compiler.schedule import make_schedule

    if post not in ("machine", "host"):
        raise FalconetError(f"post='{post}' is unknown; choose machine or host")
    detect = describe(graph, arch) if post == "machine" else None
    failure: FalconetError | None = None
    missing = None
    best: tuple[int, Plan, list[Task]] | None = None
    for share in _SPILLS:
        for at, (slack, ahead) in enumerate(_TRIES):
            if progress is not None:
                progress(at / len(_TRIES))
            try:
                plan = make_plan(lower(graph, arch, detect), slack=slack,
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
        failure = failure or FalconetError(
            f"tensor '{missing.name if missing else '?'}': no room in the scratchpad of "
            f"'{arch.name}' ({arch.scratchpad_words} words); use a smaller input or a larger preset"
        )
        if detect is not None:
            failure = FalconetError(f"{failure}, or compile with '--post host'")
        raise failure
    _, plan, tasks = best
    allocate(plan, tasks)
    return emit_program(plan, tasks, name or graph.name)
