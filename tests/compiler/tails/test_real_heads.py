"""RetinaFace with its tail in the file: what is recognised is what stands in the zoo by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import compose
from tail_networks import traced
from torch import Tensor, nn

from falconet.compiler.importer.tails.recogniser import recognise
from falconet_models.cache import cached_float
from falconet_models.metadata import get_meta
from falconet_models.ptq.head_cut import cut
from falconet_models.ptq.prepare import load_float

pytestmark = pytest.mark.timeout(300)
ROLES = {"box": 4, "class": 2, "landmark": 10}


class Tail(nn.Module):
    """Heads of all levels to boxes as corners in shares of the input, scores, and landmarks."""

    def __init__(self, post: dict[str, Any], sizes: list[tuple[int, int]], side: int) -> None:
        super().__init__()
        rows = [((x + 0.5) * level["stride"], (y + 0.5) * level["stride"], w, h)
                for level, (height, width) in zip(post["levels"], sizes)
                for y in range(height) for x in range(width) for w, h in level["anchors"]]
        self.register_buffer("priors", torch.tensor(np.array(rows) / side).float())
        self.v = post["box"]["variances"]

    def forward(self, *heads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loc, conf, marks = (
            torch.cat([h.permute(0, 2, 3, 1).reshape(1, -1, n) for h in heads[i::3]], 1)
            for i, n in enumerate(ROLES.values()))
        p = self.priors
        centre = p[:, :2] + loc[..., :2] * self.v[0] * p[:, 2:]
        size = p[:, 2:] * torch.exp(loc[..., 2:] * self.v[1])
        points = torch.cat([p[:, :2] + marks[..., i:i + 2] * self.v[0] * p[:, 2:]
                            for i in range(0, 10, 2)], -1)
        first = centre - size / 2
        return torch.cat((first, first + size), -1), conf.softmax(-1), points


def with_tail(model: onnx.ModelProto, post: dict[str, Any]) -> onnx.ModelProto:
    """The model ended by a tail as its exporter would write it, without its description."""
    names = [level[role] for level in post["levels"] for role in ROLES]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*model.graph.value_info, *model.graph.output)}
    sizes = [(shapes[level["box"]][2], shapes[level["box"]][3]) for level in post["levels"]]
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    tail = traced(Tail(post, sizes, side), tuple(torch.zeros(shapes[n]) for n in names),
                  [f"in{i}" for i in range(len(names))])
    tail.ir_version = model.ir_version
    tail = compose.add_prefix(tail, "tail/")
    return compose.merge_models(
        onnx.helper.make_model(model.graph, opset_imports=tail.opset_import,
                               ir_version=model.ir_version),
        tail, io_map=[(n, f"tail/in{i}") for i, n in enumerate(names)])


def test_what_is_recognised_of_retinaface_is_what_was_written_by_hand() -> None:
    model = onnx.load(cached_float("retinaface"))
    by_hand = get_meta(model)["postprocess"]
    model = load_float(cut(model, by_hand))
    found = recognise(load_float(with_tail(model, by_hand))).description
    assert found["box"] == by_hand["box"] and found["score"] == by_hand["score"]
    assert found["offset"] == by_hand.get("offset", 0.5)
    for mine, theirs in zip(found["levels"], by_hand["levels"], strict=True):
        assert mine["stride"] == theirs["stride"]
        np.testing.assert_allclose(mine["anchors"], theirs["anchors"], atol=1e-3)
        assert {r: mine[r] for r in ROLES} == {r: theirs[r] for r in ROLES}
