"""A detector's heads in a float ONNX model: their description checked, the rest cut off.

The description is ``postprocess`` of kind ``"detection"`` (:mod:`falconet_models.metadata`). What
follows the tensors that it names (Softmax, Reshape, Concat, non-maximum suppression ...) is done by
the machine's detect engine, so the graph ends there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from falconet.isa import FalconetError
from falconet.isa.metadata.head import ROLES, fault, parse

__all__ = ["check_description", "cut", "fold", "load_heads", "score_tensors"]


def load_heads(path: str | Path) -> dict[str, Any]:
    """The description in a JSON file, checked as far as it goes without the model.

    Raises
    ------
    FalconetError
        Names the file and the field.
    """
    try:
        description = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise FalconetError(
            f"{path}: {e.strerror or e}; give a JSON file that describes the heads"
        ) from None
    except ValueError as e:
        raise FalconetError(f"{path}: not a JSON file ({e}); correct it") from None
    if not isinstance(description, dict):
        raise FalconetError(f"{path}: not a JSON object; put the fields of postprocess into one")
    description = {"kind": "detection", **description}
    check_description(description, name=str(path))
    return description


def check_description(
    description: Mapping[str, Any], model: onnx.ModelProto | None = None, *, name: str | None = None
) -> None:
    """Refuse a description with a fault; with ``model``, one that does not fit it.

    Channels are compared where the model has shapes (as ``load_float`` leaves it).

    Parameters
    ----------
    name:
        What errors call it; the model if not given.

    Raises
    ------
    FalconetError
        Names the field.
    """
    name = name or (f"model '{model.graph.name}'" if model is not None else "description")
    if parse(dict(description), f"{name}: postprocess") is None:
        fault(f"{name}: postprocess.kind", f"{description.get('kind')!r} is unknown; use detection")
    tensors = [t for _, _, t in _heads(description)]
    if len(set(tensors)) < len(tensors):
        fault(f"{name}: postprocess.levels", "a tensor stands there twice; name each once")
    if model is not None:
        _check_tensors(description, model, name)


def _heads(description: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """Level, part and tensor of each head, in the order of the description."""
    for i, level in enumerate(description["levels"]):
        yield from ((i, part, level[part]) for part in level if part in ROLES)


def score_tensors(description: Mapping[str, Any]) -> list[str]:
    """The tensors that go through a sigmoid."""
    return [t for _, part, t in _heads(description) if part in ("class", "objectness")]


def _check_tensors(description: Mapping[str, Any], model: onnx.ModelProto, name: str) -> None:
    graph = model.graph
    makers = {o: n for n in graph.node for o in n.output}
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.value_info, *graph.output) if v.type.tensor_type.HasField("shape")
    }
    head = parse(dict(description), f"{name}: postprocess")
    assert head is not None
    unit = {"landmark": 2} | {r: head.channels(r) for r in ("class", "box", "objectness")}
    for i, part, tensor in _heads(description):
        level = description["levels"][i]
        where = f"{name}: postprocess.levels[{i}].{part}"
        if tensor not in makers:
            near = get_close_matches(tensor, [
                *dict.fromkeys([*(o.name for o in graph.output), *(
                    n.output[0] for n in graph.node if n.op_type == "Conv")])], 9, 0)
            raise FalconetError(f"{where}: there is no tensor '{tensor}'; there are "
                                f"{', '.join(near)}")
        if part in ("class", "objectness") and makers[tensor].op_type in ("Sigmoid", "Softmax"):
            raise FalconetError(
                f"{where}: '{tensor}' is the result of a {makers[tensor].op_type}; name its input "
                f"'{makers[tensor].input[0]}'"
            )
        shape, first = shapes.get(tensor), shapes.get(level["class"])
        if not shape or not first or 0 in shape:
            continue
        channels = len(level.get("anchors", [0])) * unit[part]
        if len(shape) != 4 or shape[2:] != first[2:] or (
                shape[1] % channels if part == "landmark" else shape[1] != channels):
            raise FalconetError(
                f"{where}: '{tensor}' is {shape} where the description says [1, {channels}"
                f"{' * points' if part == 'landmark' else ''}, {', '.join(map(str, first[2:]))}]; "
                "correct anchors or labels, or name a convolution's output"
            )


def _reads(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, those that its subgraphs take from outside included."""
    graphs = [g for a in node.attribute for g in (a.g, *a.graphs)]
    return set(node.input).union(*(_reads(n) for g in graphs for n in g.node))


def cut(model: onnx.ModelProto, description: Mapping[str, Any]) -> onnx.ModelProto:
    """A copy whose outputs are the heads, in the order of the description.

    Further outputs stay if they are not computed from a head.
    """
    heads = [t for _, _, t in _heads(description)]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    behind = set(heads)
    for node in graph.node:
        if behind & _reads(node):
            behind.update(node.output)
    declared = {o.name: o for o in model.graph.output}
    outputs = [
        declared.get(h) or helper.make_tensor_value_info(h, TensorProto.FLOAT, None) for h in heads
    ] + [o for o in declared.values() if o.name not in behind]
    needed = {o.name for o in outputs}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= _reads(node)
            nodes.append(node)
    values = [v for v in model.graph.value_info if v.name in needed - set(heads)]
    for field, items in ((graph.node, nodes[::-1]), (graph.output, outputs),
                         (graph.value_info, values)):
        del field[:]
        field.extend(items)
    return copy


def fold(model: onnx.ModelProto, description: Mapping[str, Any]) -> dict[str, Any]:
    """Take the background's logit away from those of the classes, in place; the new description.

    A softmax knows only differences of logits, so the convolution that makes them gets the
    differences of its weights, and no channel for the background. With one class left the softmax
    is a sigmoid. ``model`` is one of :func:`cut` and ``load_float``.
    """
    head = parse(dict(description))
    assert head is not None
    if head.background is None:
        return dict(description)
    graph = model.graph
    for i, part, tensor in _heads(description):
        if part == "class":
            _fold_one(graph, tensor, head.channels("class"), head.background,
                      f"model '{graph.name}': postprocess.levels[{i}].class: '{tensor}'")
    used = {x for n in graph.node for x in n.input}
    kept = [c for c in graph.initializer if c.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    rest = {k: v for k, v in description.items() if k != "background"}
    if len(head.labels) == 1:
        return {**rest, "score": "sigmoid"}
    return {**rest, "background": "zero"}


def _fold_one(graph: onnx.GraphProto, tensor: str, logits: int, background: int, where: str
              ) -> None:
    constants = {c.name: c for c in graph.initializer}
    node = next(n for n in graph.node if tensor in n.output)
    if node.op_type != "Conv" or not set(node.input[1:]) <= constants.keys():
        raise FalconetError(
            f"{where} is the result of a {node.op_type}; only a convolution with constant weights "
            "makes logits that the background's can be taken away from"
        )
    if any(tensor in n.input for n in graph.node):
        raise FalconetError(f"{where} is read by the network itself; its logits cannot become "
                            "differences")
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    for j, name in enumerate(node.input[1:], 1):
        rows = numpy_helper.to_array(constants[name]).astype(np.float64)
        if len(rows) // logits % group:
            raise FalconetError(f"{where}: its convolution has {group} groups that part the "
                                "logits of an anchor; export it with one")
        rows = rows.reshape(-1, logits, *rows.shape[1:])
        less = np.delete(rows, background, axis=1) - rows[:, background, None]
        folded = f"{tensor}.folded{j}"
        graph.initializer.append(numpy_helper.from_array(
            less.reshape(-1, *rows.shape[2:]).astype(np.float32), folded))
        node.input[j] = folded
    (output,) = (o for o in graph.output if o.name == tensor)
    channels = output.type.tensor_type.shape.dim[1]
    channels.dim_value -= channels.dim_value // logits
