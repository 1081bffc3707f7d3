"""``falconet check``: all of a network that does not map, or what it would take on each machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from falconet.isa import Arch, FalconetError, preset
from falconet.isa.machine.arch import PRESETS
from falconet_app.commands.compile import Heads
from falconet_app.commands.console import print_json, results, working
from falconet_app.commands.figures import PresetName, figures
from falconet_app.commands.pages import Json

if TYPE_CHECKING:
    import onnx

    from falconet.compiler.graph import Graph

__all__ = ["register"]

_REASON = re.compile(r"node '(?P<node>.*?)' \((?P<operator>[^)]*)\): (?P<why>.*)")


@dataclass(frozen=True)
class Reason:
    """Why a node does not map, and what to do about it."""

    node: str
    operator: str
    why: str
    mend: str


def _reason(sentence: str) -> Reason:
    """The parts of a refusal; one that names no node has a reason alone."""
    found = _REASON.search(sentence)
    node, operator, why = found.group("node", "operator", "why") if found else ("", "", sentence)
    why, _, mend = why.rpartition("; ")
    return Reason(node, operator, why or mend, mend if why else "")


def _source(model: str) -> str | onnx.ModelProto:
    """A file, or a network of the zoo."""
    from falconet_models.zoo import TRAINED, build, trained

    path = Path(model)
    if path.is_file():
        return model
    if path.suffix or "/" in model:
        raise FalconetError(f"{model}: no such file; give an ONNX file or a zoo name")
    return str(trained(model)) if model in TRAINED else build(model)


def _opened(source: str | onnx.ModelProto, heads: Path | None
            ) -> tuple[Counter[str], Callable[[Arch], Graph]]:
    """How often the file has each operator, and what makes the graph for a machine."""
    from falconet.compiler.importer.onnx.convert import import_onnx, import_structure
    from falconet.compiler.importer.onnx.model import describe_heads
    from falconet.compiler.importer.onnx.roles import Role, having
    from falconet_models.ptq.head_cut import load_heads
    from falconet_models.ptq.prepare import read_model
    from falconet_models.ptq.quantize import unmeasured

    model, _ = read_model(source)
    stored = having(Role.QUANTISE)
    counted = Counter(n.op_type for n in model.graph.node if n.op_type not in stored)
    if any(n.op_type in stored for n in model.graph.node):
        given: str | onnx.ModelProto = source if heads is None else describe_heads(
            source, load_heads(heads))
        return counted, lambda arch: import_onnx(given, arch=arch)
    _, quantised = unmeasured(source, heads)
    return counted, lambda arch: import_structure(quantised, arch=arch)


def _on(arch: Arch, graph: Callable[[Arch], Graph], name: str) -> dict[str, Any]:
    """The figures of one machine, without layers, or ``refused`` and why."""
    from falconet.compiler import compile_graph
    from falconet.compiler.passes import optimise
    from falconet_sim.timing.estimate import estimate

    with working(f"check {name} for {arch.name}") as step:
        try:
            program = compile_graph(optimise(graph(arch), arch), arch, name, step.share)
        except FalconetError as e:
            return {"preset": arch.name, "refused": str(e)}
        found = figures(program, estimate(program))
    kept = ("preset", "clock_mhz", "ddr", "macs", "cycles", "utilisation", "fps", "bytes")
    return {key: found[key] for key in kept}


def _looked_at(model: str, presets: list[Arch], heads: Path | None
               ) -> dict[str, Any]:
    """``operators`` by name, ``reasons`` and, if there are none, ``machines``."""
    from falconet.compiler.findings import Refused

    source, name = _source(model), Path(model).stem if Path(model).is_file() else model
    counted: Counter[str] = Counter()
    try:
        counted, graph = _opened(source, heads)
        graph(presets[0])
    except FalconetError as e:
        sentences = e.reasons if isinstance(e, Refused) else [str(e)]
        if not any(_REASON.search(s) for s in sentences):
            raise
        return {"model": name, "operators": dict(counted), "machines": [],
                "reasons": [asdict(_reason(s)) for s in sentences]}
    return {"model": name, "operators": dict(counted), "reasons": [],
            "machines": [_on(arch, graph, name) for arch in presets]}


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None)
    for title in columns:
        table.add_column(title, justify="right" if title in right else "left")
    return table


def _show(found: dict[str, Any]) -> None:
    """On the screen: what does not map; else the operators and the machines."""
    from falconet.isa.graph.ops import OPERATORS
    from falconet.isa.graph.page import NO_NODE

    if found["reasons"]:
        table = _table("node", "operator", "why", "what to do")
        for r in found["reasons"]:
            table.add_row(r["node"], r["operator"], r["why"], r["mend"])
        results.print(table)
        return
    becomes = {name: kind.op for kind in OPERATORS.values() for name in kind.onnx}
    table = _table("ONNX", "nodes", "becomes", right=("nodes",))
    for op, count in sorted(found["operators"].items(), key=lambda item: (-item[1], item[0])):
        table.add_row(op, f"{count:,}", becomes.get(op) or ("-" if op in NO_NODE else "a constant"))
    results.print(table)
    results.print()
    fits = [m for m in found["machines"] if "refused" not in m]
    table = _table("preset", "cycles", "of peak", "frames/s", "MHz", "DDR bytes",
                   right=("cycles", "of peak", "frames/s", "MHz", "DDR bytes"))
    for m in fits:
        table.add_row(m["preset"], f"{m['cycles']:,}", f"{m['utilisation']:.1%}",
                      f"{m['fps']:.1f}", f"{m['clock_mhz']:g}", f"{m['bytes']:,}")
    if fits:
        results.print(table)
        results.print(f"{fits[0]['macs'] / 1e6:.1f} M MACs; estimates, not the machine's own "
                      f"cycles; {fits[0]['ddr']}")
    for m in found["machines"]:
        if "refused" in m:
            results.print(f"not on {m['preset']}: {m['refused']}")


def check(
    model: Annotated[str, typer.Argument(help="A float or QDQ ONNX file, or a zoo name.")],
    preset_name: PresetName = None,
    heads: Heads = None,
    as_json: Json = False,
) -> None:
    """List all of a network that does not map, or what it takes on each machine if all does.

    Nothing is run or written. A float network is looked at as it would be quantised, without
    photographs; without --preset all presets are tried.

    Example: falconet check mobilenetv2
    """
    presets = [preset(preset_name)] if preset_name else [*PRESETS.values()]
    found = _looked_at(model, presets, heads)
    if as_json:
        print_json(found)
    else:
        _show(found)
    if count := len(found["reasons"]):
        raise FalconetError(f"{model}: {count} node{'s do' if count > 1 else ' does'} not map; "
                            "change what is listed, or end the network before it")
    if all("refused" in m for m in found["machines"]):
        where = f"on {preset_name}" if preset_name else "on any preset"
        raise FalconetError(f"{model}: all operators map, but it does not fit {where}; see above")


def register(app: typer.Typer) -> None:
    app.command("check")(check)
