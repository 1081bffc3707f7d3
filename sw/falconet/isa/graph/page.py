"""docs/operators.md, from what the operators say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from falconet.isa.graph.attribute import Attribute
from falconet.isa.graph.operator import NAMES, Constant, Operator
from falconet.isa.graph.ops import OPERATORS
from falconet.isa.graph.stage import STAGE, Staged
from falconet.isa.machine.instructions import Mac
from falconet.isa.markdown import prose, table

__all__ = ["NO_NODE", "operators_page"]

NO_NODE = {
    "QuantizeLinear": "ends an operator: what its output stage is to store",
    "DequantizeLinear": "begins one",
    "Identity": "nothing", "Dropout": "nothing",
    "Flatten": "nothing, or what moves the values if the next operator needs them elsewhere",
    "Reshape": "as Flatten", "Squeeze": "as Flatten", "Unsqueeze": "as Flatten",
}
"""What of ONNX becomes no operator."""

_INTRODUCTION = f"""\
What an imported network is made of (`falconet.isa.graph.ops`, one file an operator). A tensor is
int8 [C, H, W], batch 1. The check of a program file, the compiler's verifier and the random
networks of the tests derive from what stands here; what the operators compute is written in
`falconet_sim.golden.ops`, one file each, by hand. An attribute or a constant beyond its range is
refused, and so are sides of more than {Mac.field("n_y").hi} pixels and tensors of more than
{Mac.field("n_ob").hi} blocks of channels."""


def _range(lo: int, hi: int) -> str:
    return f"{lo:,} .. {hi:,}"


def _attribute(name: str, a: Attribute) -> tuple[object, ...]:
    ranges = list(dict.fromkeys(_range(*r) for r in a.ranges))
    many = {"numbers": f" ({len(a.ranges)})", "many": f" (1 to {a.most:,})"}.get(a.kind, "")
    return f"`{name}`{many}", "; ".join(ranges) or "true, false", a.doc


def _attributes(kind: type[Operator], but: type[Operator] | None = None) -> str:
    hidden = but.attributes() if but is not None else {}
    rows = [_attribute(name, a) for name, a in kind.attributes().items() if name not in hidden]
    return table(("attribute", "range", "meaning"), rows) if rows else ""


def _constants(constants: Iterable[Constant]) -> str:
    rows = [(f"`{c.name}`" + (" (if any)" if c.optional else ""),
             f"{c.dtype} [{', '.join(map(str, c.shape))}]", _range(c.least, c.most), c.doc)
            for c in constants]
    return table(("constant", "type", "range", "meaning"), rows) if rows else ""


def _engines(kind: type[Operator]) -> str:
    return ", ".join(dict.fromkeys(
        c.instruction.engine.name for c in kind.costs if c.instruction.engine is not None))


def _inputs(kind: type[Operator]) -> str:
    least, most = kind.arity
    return f"{least}" if least == most else f"{least} to {most:,}"


def _costs(kind: type[Operator]) -> str:
    if not kind.costs:
        return "No cycles: it is a place in memory."
    return table(("instruction", "where", "cycles without stalls"), [
        (f"[{c.instruction.mnemonic}](isa.md#{c.instruction.mnemonic.lower()})", c.when,
         f"`{c.cycles}`") for c in kind.costs])


def _operator(kind: type[Operator]) -> Iterator[str]:
    yield f"## {kind.op}"
    yield prose(kind.__doc__)
    yield f"Inputs: {_inputs(kind)}. " + (
        "Ends in the [output stage](#output-stage)." if kind.staged
        else "Scale and zero point of the inputs are those of the output.")
    yield _attributes(kind, Staged if kind.staged else None)
    yield _constants(c for c in kind.constants if c not in STAGE)
    yield _costs(kind)
    yield "\n".join(f"* {limit}" for limit in kind.limits)
    yield "From ONNX: " + ", ".join(kind.onnx) + "."


def operators_page() -> str:
    """The text below the page's first note."""
    kinds = list(OPERATORS.values())
    parts = [
        _INTRODUCTION,
        table(("operator", "does", "inputs", "engine"), [
            (f"[{k.op}](#{k.op})", prose(k.__doc__).partition("\n\n")[0].replace("\n", " "),
             _inputs(k), _engines(k)) for k in kinds]),
        "## Output stage",
        prose(Staged.__doc__),
        _attributes(Staged), _constants(STAGE),
        *(part for k in kinds for part in _operator(k)),
        "## Cycles", "What the formulas name, beside attributes (`ky`, `kx`: kernel; `sx`: stride "
        "along x). A block of MAC and an instruction have a least time: see "
        "[instructions](isa.md).",
        table(("name", "is"), [(f"`{name}`", what) for name, what in NAMES.items()]),
        "## Of ONNX without an operator",
        table(("ONNX", "becomes"), list(NO_NODE.items())),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"
