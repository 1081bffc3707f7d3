"""Is a refusal of a model true? Its claims, asked of onnx and onnxruntime, and the names in it."""

from __future__ import annotations

import re
from collections.abc import Callable

import onnx
import onnxruntime as ort

__all__ = ["check", "fails"]


def fails(what: Callable[[], object]) -> bool:
    try:
        what()
    except Exception:  # onnx and onnxruntime raise classes of their own
        return True
    return False


def _run(model: onnx.ModelProto) -> object:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options)


CLAIMS: dict[str, Callable[[onnx.ModelProto], object]] = {
    r"onnxruntime (refuses|cannot)": _run,
    r"not a valid ONNX model|not an ONNX (file|model)": onnx.checker.check_model,
    r"do not fit together, says onnx": lambda m: onnx.shape_inference.infer_shapes(
        m, strict_mode=True, data_prop=True),
}


def check(refusal: str, model: onnx.ModelProto) -> list[str]:
    """Assert that everything that ``refusal`` says of ``model`` is so; the claims that it makes."""
    made = [c for c in CLAIMS if re.search(c, refusal)]
    for claim in made:
        assert fails(lambda claim=claim: CLAIMS[claim](model)), f"not so: {refusal}"
    assert "Assertion" not in refusal and "Traceback" not in refusal
    nodes = {n.name or f"{n.op_type}:{n.output[0]}": n.op_type for n in model.graph.node}
    values = {*(v for n in model.graph.node for v in (*n.input, *n.output)),
              *(v.name for v in (*model.graph.input, *model.graph.output))}
    for kind, name, op in re.findall(r"\b(node|input|output|value) '([^']*)'(?: \((\w+)\))?",
                                     refusal):
        if kind == "node":
            assert name in nodes, f"there is no such node: {refusal}"
            assert op in ("", nodes[name]) or op.islower(), refusal  # lower: of the machine
        else:
            assert name in values, f"there is no such {kind}: {refusal}"
    assert re.search(r"\b(node|input|output|value|metadata|model|tensor|constant|postprocess)\b",
                     refusal), f"it names nothing: {refusal}"
    return made
