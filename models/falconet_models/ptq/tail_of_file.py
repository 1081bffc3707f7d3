"""A float file with a detector's tail, as it was exported: cut at its heads and described."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from falconet.compiler.importer.tails.raw_heads import complete, is_partial
from falconet.compiler.importer.tails.recogniser import recognise
from falconet.compiler.importer.tails.tail_graph import NoTail, NotATail, without_suppression
from falconet.isa import FalconetError
from falconet_models.metadata import get_meta, set_meta
from falconet_models.ptq.head_cut import check_description, cut, fold, load_heads
from falconet_models.ptq.prepare import load_float

__all__ = ["cut_at_heads", "heads_by_hand"]

_ULTRALYTICS = {"names", "stride", "task", "imgsz"}
_LETTERBOX = {"fit": "letterbox", "colour": "RGB", "mean": [0.0], "std": [255.0],
              "pad": [114, 114, 114]}


def heads_by_hand(heads: Mapping[str, Any] | str | Path | None) -> dict[str, Any] | None:
    """A description, or the JSON file of one; it may leave out tensors, strides and labels."""
    if heads is None or isinstance(heads, Mapping):
        return None if heads is None else {"kind": "detection", **heads}
    try:
        found = json.loads(Path(heads).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if is_partial(found):
        return {"kind": "detection", **found}
    return load_heads(heads)


def cut_at_heads(
    model: onnx.ModelProto, name: str, partial: Mapping[str, Any] | None = None
) -> tuple[onnx.ModelProto | None, str]:
    """The float model that ends at its heads, with their description in its metadata.

    Thresholds of a suppression at the end are the description's, labels those of the file's
    metadata, pre-processing that of Ultralytics where its metadata are theirs.

    ``partial`` is a description without tensors, for a file that decodes no boxes.

    Returns
    -------
    The model and a line that says what was recognised; or None and why nothing was, empty if there
    is no tail at all.
    """
    short, thresholds = without_suppression(model)
    whole = load_float(short, name, sides=False)
    props = {p.key: p.value for p in model.metadata_props}
    try:
        found = complete(whole, partial, props) if partial else recognise(whole, props)
    except NotATail as e:
        if partial:
            raise FalconetError(f"{name}: {e}; name the heads' tensors in the description"
                                ) from None
        return None, "" if isinstance(e, NoTail) else str(e)
    description = {**found.description, **thresholds}
    ended = load_float(cut(found.model, description), name)
    check_description(description, ended, name=name)
    meta = get_meta(model)
    if _ULTRALYTICS <= props.keys():
        meta = {"preprocess": _LETTERBOX, **meta}
    set_meta(ended, {**meta, "postprocess": fold(ended, description)})
    return ended, found.line()
