"""QDQ ONNX to program file: import, passes, lowering, plan, schedule, allocation, emission."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from falconet.isa import Arch, FalconetError, Program

if TYPE_CHECKING:
    from falconet.compiler.graph import Graph

__all__ = ["compile_graph", "compile_model"]

_FILLS = (0.9, 0.75, 0.6, 0.45)  # shares of the scratchpad that planning may count on


def compile_model(model: Any, arch: Arch, name: str | None = None,
                  progress: Callable[[float], None] | None = None) -> Program:
    """Compile a QDQ ONNX file (path or ModelProto) for ``arch``.

    ``progress`` is called with the finished share in [0, 1]. Raises FalconetError naming the node
    that does not map.
    """
    from falconet.compiler.onnx_import import import_onnx
    from falconet.compiler.passes import optimise

    graph = optimise(import_onnx(model), arch)
    return compile_graph(graph, arch, name, progress)


def compile_graph(graph: Graph, arch: Arch, name: str | None = None,
                  progress: Callable[[float], None] | None = None) -> Program:
    """Compile an integer graph."""
    from falconet.compiler.allocate import allocate
    from falconet.compiler.emit import emit_program
    from falconet.compiler.lower import lower
    from falconet.compiler.plan import make_plan
    from falconet.compiler.schedule import make_schedule

    for fill in _FILLS:
        plan = make_plan(lower(graph, arch), fill)
        tasks = make_schedule(plan, progress)
        missing = allocate(plan, tasks)
        if missing is None:
            return emit_program(plan, tasks, name or graph.name)
    raise FalconetError(
        f"tensor '{missing.name}': no room in the scratchpad of '{arch.name}' "
        f"({arch.scratchpad_words} words); use a smaller input or a larger preset"
    )
