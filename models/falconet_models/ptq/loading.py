"""A float file as it will be quantised: a detector ends at its heads, whoever describes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from falconet.compiler.importer.tails.raw_heads import is_partial
from falconet.isa import FalconetError
from falconet_models.metadata import get_meta, set_meta
from falconet_models.ptq.head_cut import check_description, cut, fold
from falconet_models.ptq.prepare import load_float, read_model
from falconet_models.ptq.tail_of_file import cut_at_heads, heads_by_hand

__all__ = ["explained", "load_network", "loaded"]


def load_network(
    source: str | Path | onnx.ModelProto, heads: Mapping[str, Any] | str | Path | None,
    *, detect: bool = True,
) -> onnx.ModelProto:
    """The float model, simplified; a detector ends at its heads, one logit a class."""
    return loaded(source, heads, detect)[0]


def loaded(
    source: str | Path | onnx.ModelProto, heads: Mapping[str, Any] | str | Path | None,
    detect: bool,
) -> tuple[onnx.ModelProto, bool, str]:
    """The model; whether a detector's tail was recognised, and which, or why none."""
    model, name = read_model(source)
    meta = get_meta(model)
    description = heads_by_hand(heads) or meta.get("postprocess") or {}
    if is_partial(description):
        found, line = cut_at_heads(model, name, description)
        assert found is not None
        return found, True, line
    if description.get("kind") != "detection":
        found, line = cut_at_heads(model, name) if detect and not description else (None, "")
        if found is not None:
            return found, True, line
        with explained(line):
            return load_float(model, name), False, line
    check_description(description, model, name=name)
    model = load_float(cut(model, description), name)
    check_description(description, model, name=name)
    set_meta(model, {**meta, "postprocess": fold(model, description)})
    return model, False, ""


@contextmanager
def explained(why: str) -> Iterator[None]:
    """Adds to a refusal why the end of the network was not taken for a detector's tail."""
    try:
        yield
    except FalconetError as e:
        if not why:
            raise
        raise FalconetError(f"{e}\nas a detector's tail it was not recognised: {why}; describe "
                            "the heads (--heads)") from None
