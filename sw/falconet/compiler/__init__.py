"""QDQ ONNX to program file: import, passes, lowering, plan, schedule, allocation, emission."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from falconet.isa import Arch, FalconetError, Program

if TYPE_CHECKING:
    from falconet.compiler.graph import Graph
    from falconet.compiler.schedule.search import Try

__all__ = ["compile_graph", "compile_model"]

def compile_model(model: Any, arch: Arch, name: str | None = None,
                  progress: Callable[[float], None] | None = None, *, post: str = "machine",
                  heads: dict[str, Any] | None = None,
                  tried: Callable[[Try], None] | None = None) -> Program:
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
    tried:
        Is called with every policy that was tried and its estimate.

    Raises
    ------
    FalconetError
        naming the node that does not map, or the field of the description.
    """
    from falconet.compiler.importer.onnx.convert import import_onnx
    from falconet.compiler.passes import optimise

    if heads is not None:
        from falconet.compiler.importer.onnx.model import describe_heads

        model = describe_heads(model, heads)
    graph = optimise(import_onnx(model, arch=arch), arch)
    return compile_graph(graph, arch, name, progress, post=post, tried=tried)


def compile_graph(graph: Graph, arch: Arch, name: str | None = None,
                  progress: Callable[[float], None] | None = None, *, post: str = "machine",
                  tried: Callable[[Try], None] | None = None) -> Program:
    """Compile an integer graph; ``post`` and ``tried`` as in :func:`compile_model`."""
    from falconet.compiler import check
    from falconet.compiler.detection.background import without_background
    from falconet.compiler.detection.tables import describe
    from falconet.compiler.emit.code import emit_code
    from falconet.compiler.emit.program import emit_program
    from falconet.compiler.lower.network import lower
    from falconet.compiler.lower.share import shares
    from falconet.compiler.schedule.search import leading, search

    if post not in ("machine", "host"):
        raise FalconetError(f"post='{post}' is unknown; choose machine or host")
    if post == "machine":
        graph = without_background(graph, arch)
    detect = describe(graph, arch) if post == "machine" else None
    net = lower(graph, arch, detect)
    check.check_network(net)
    tries: list[Try] = []

    def seen(found: Try) -> None:
        tries.append(found)
        if tried is not None:
            tried(found)

    try:
        schedule = search(net, progress, seen)
    except FalconetError as e:
        if detect is None:
            raise
        raise FalconetError(f"{e}, or compile with '--post host'") from None
    rounds = [leading(tries)]
    for other in shares(graph, arch):
        net = lower(other, arch, detect)
        check.check_network(net)
        with suppress(FalconetError):  # what does not fit is not taken
            schedule = min(schedule, search(net, progress, tried, rounds), key=lambda s: s.cycles)
    check.check_plan(schedule.plan, schedule.rings)
    check.check_schedule(schedule)
    check.check_places(schedule)
    code = emit_code(schedule)
    check.check_waits(schedule, code)
    return emit_program(schedule, code, name or graph.name)
