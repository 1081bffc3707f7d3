"""The background of a softmax in files that others have quantised."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from detectors import detector, random_input

from falconet.compiler import compile_graph
from falconet.compiler.detection.background import without_background
from falconet.isa import FalconetError, preset
from falconet_sim.golden.device import GoldenDevice, run_graph

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("background", [0, 2, 3])
@pytest.mark.parametrize("scale", [0.02, 0.06, 0.0866, 0.3])
def test_a_background_is_taken_away(background: int, scale: float) -> None:
    """The scores of a file with a channel for the background, against the softmax of its logits."""
    graph = detector(3, classes=3, score="softmax", background=background, nms_threshold=1,
                     score_threshold=0.02, maximum=400)
    for level in graph.meta["postprocess"]["levels"]:
        name = level["class"]
        graph.tensors[name] = networks.Tensor(name, graph.tensors[name].shape, scale, 9)
    inputs = random_input(graph)
    found = GoldenDevice(compile_graph(graph, preset("pynq-z2"))).run(inputs).detections
    assert found is not None and len(found.records) > 100
    stored = run_graph(*graph.to_dict(), inputs)
    wide = scale * max(1.0, min(255, 11 / scale) / 127)
    for r in found.records:
        level = graph.meta["postprocess"]["levels"][int(r["anchor"]) >> 4]
        first = 4 * (int(r["anchor"]) & 15)
        logits = stored[level["class"]][first : first + 4, r["y"], r["x"]].astype(float) * scale
        less = np.round((logits - logits[background]) / wide, 9)
        e = np.exp(np.rint(less).clip(-128, 127) * wide)
        share = np.delete(e / e.sum(), background)[r["label"]]
        assert abs(r["score"] / 65536 - share) < 1e-4


def test_other_graphs_stay() -> None:
    for graph in (detector(), detector(score="softmax", background="zero"), detector(classes=1)):
        assert without_background(graph, preset("tiny")) is graph


def test_the_given_graph_stays() -> None:
    graph = detector(score="softmax", classes=3)
    before = graph.to_dict()[0]
    less = without_background(graph, preset("tiny"))
    assert graph.to_dict()[0] == before
    assert [n.op for n in less.nodes[len(graph.nodes):]] == ["conv", "conv"]
    assert {less.tensors[level["class"]].shape[0]
            for level in less.meta["postprocess"]["levels"]} == {6}


def test_channels_that_do_not_fit() -> None:
    graph = detector(score="softmax", background="zero", classes=3)
    del graph.meta["postprocess"]["background"]
    with pytest.raises(FalconetError, match=r"class: .* 6 channels where 2 anchors x 3 labels and "
                                            "the background make 8; name another tensor"):
        compile_graph(graph, preset("tiny"))
