"""Networks whose file goes on behind the heads: the tail is cut off, the heads stay exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_nets import Net, quantise_static

from falconet.compiler import compile_model
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.importer.onnx.cut import cut
from falconet.compiler.importer.onnx.layerwise import compare
from falconet.compiler.importer.onnx.model import describe_heads
from falconet.isa import FalconetError, preset
from falconet_sim.golden.device import GoldenDevice, run_graph, run_node
from falconet_sim.iss.simulator import IssDevice

TINY = preset("tiny")


def described(**tensors: str) -> dict[str, Any]:
    return {"kind": "detection", "labels": ["a", "b"], "box": {"kind": "ssd"},
            "levels": [{"stride": 1, "anchors": [[6, 9], [12, 8]], **tensors}],
            "score_threshold": 0.5, "maximum": 40}


def pixels(n: Net, x: str, values: int) -> str:
    """[1, C, H, W] as [1, H * W * A, values], as detectors do before they join levels."""
    y = n.op("Transpose", x, perm=[0, 2, 3, 1])
    return str(n.op("Reshape", y, np.array([1, -1, values])))


def network(style: str, tail: str) -> tuple[onnx.ModelProto, dict[str, str]]:
    """A network of two heads with a tail; the names are those of the convolutions."""
    n = Net(style=style, seed=4)
    x = n.q(n.op("Relu", n.conv(n.q("x"), 12)))
    scores, boxes = n.conv(x, 4, 12, 1), n.conv(x, 8, 12, 1)
    names = {"class": scores, "box": boxes}
    if tail == "none":
        return n.model(n.q(scores), n.q(boxes)), names
    scores, boxes = n.q(scores, 0.03, 5), n.q(boxes, 0.02)
    names |= {"class/stored": scores, "box/stored": boxes}
    y = n.op("Softmax", pixels(n, scores, 2), axis=-1)
    if tail == "concat":
        return n.model(n.op("Concat", pixels(n, boxes, 4), y, axis=2)), names
    return n.model(y, n.op("Sigmoid", pixels(n, boxes, 4))), names


@pytest.mark.parametrize("style", ["qdq", "qcdq"])
@pytest.mark.parametrize("tail", ["none", "concat", "two"])
@pytest.mark.parametrize("which", ["", "/stored"])
def test_tails(style: str, tail: str, which: str) -> None:
    """Named by the convolution or behind its DequantizeLinear, as outputs or inside."""
    model, names = network(style, tail)
    if tail == "none" and which:
        names |= {f"{k}/stored": o.name for k, o in zip(("class", "box"), model.graph.output)}
    given = {k: names[k + which] for k in ("class", "box")}
    program = compile_model(model, TINY, heads=described(**given))
    assert program.header["outputs"] == []
    assert program.header["graph"]["outputs"] == list(given.values())
    level = program.header["detect"]["levels"][0]
    assert [level["scores"], level["boxes"]] == list(given.values())
    host = compile_model(model, TINY, heads=described(**given), post="host")
    inputs = {"x": np.random.default_rng(0).integers(-128, 128, (8, 12, 10)).astype(np.int8)}
    golden, iss = (d(program).run(inputs).detections for d in (GoldenDevice, IssDevice))
    assert golden is not None and golden == iss and len(golden.records) > 3
    stored = GoldenDevice(host).run(inputs).outputs
    assert list(stored) == list(given.values())
    if tail != "none":  # what onnxruntime stores, to 1 LSB
        layers = compare(describe_heads(model, described(**given)), run_node, inputs)
        assert {d.tensor for d in layers} >= set(given.values())
        assert max(d.max_lsb for d in layers) <= 1


def test_onnxruntimes_own_file(tmp_path: Any) -> None:
    """It puts the pair between convolution and tail, and another one behind the tail."""
    n = Net(seed=2)
    n.inputs[0].type.tensor_type.shape.dim[1].dim_value = 3
    x = n.op("Relu", n.op("Conv", "x", n.random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
                          pads=[1, 1, 1, 1]))
    scores, boxes = (n.op("Conv", x, n.random.normal(0, 0.3, (c, 8, 1, 1)).astype(np.float32))
                     for c in (4, 8))
    model = n.model(n.op("Sigmoid", pixels(n, scores, 2)), pixels(n, boxes, 4))
    model = quantise_static(model, tmp_path, unsigned=True)
    graph = import_onnx(describe_heads(model, described(**{"class": scores, "box": boxes})))
    assert graph.outputs == [scores, boxes]
    assert {node.op for node in graph.nodes} == {"conv"}
    assert compile_model(model, TINY, heads=described(**{"class": scores, "box": boxes}))


def test_other_outputs_stay() -> None:
    n = Net(seed=1)
    x = n.q(n.conv(n.q("x"), 8))
    scores, boxes, other = n.conv(x, 4, 8, 1), n.conv(x, 8, 8, 1), n.q(n.conv(x, 5, 8, 1))
    tail = n.op("Concat", n.q(scores), n.q(boxes), axis=1)
    heads = described(**{"class": scores, "box": boxes})
    program = compile_model(n.model(n.op("Softmax", tail), other), TINY, heads=heads)
    assert [o["name"] for o in program.header["outputs"]] == [other]
    assert program.header["graph"]["outputs"] == [other, scores, boxes]


def test_the_description_in_the_file_counts() -> None:
    model, names = network("qdq", "concat")
    heads = described(**{"class": names["class"], "box": names["box"]})
    given = describe_heads(model, heads)
    by_file, by_hand = compile_model(given, TINY), compile_model(model, TINY, heads=heads)
    assert by_file.code == by_hand.code and "detect" in by_file.header
    assert by_file.header["meta"]["postprocess"] == heads
    assert not model.metadata_props  # what was given is left alone
    graph = import_onnx(given)
    x = {"x": np.zeros((8, 12, 10), np.int8)}
    assert list(run_graph(*graph.to_dict(), x)) == graph.outputs == list(names.values())[:2]


def test_heads_that_are_outputs_change_nothing() -> None:
    n = Net()
    x = n.q(n.conv(n.q("x"), 8))
    model = n.model(n.q(n.conv(x, 4, 8, 1)), n.q(n.conv(x, 8, 8, 1)))
    heads = [(f"field {i}", o.name) for i, o in enumerate(model.graph.output)]
    after = cut(model, heads)
    assert list(after.graph.output) == list(model.graph.output)
    assert list(after.graph.node) == list(model.graph.node)


def test_a_tensor_that_is_not_there() -> None:
    model, names = network("qdq", "two")
    outputs = ", ".join(o.name for o in model.graph.output)
    heads = described(**{"class": "cls", "box": names["box"]})
    for post in ("machine", "host"):
        with pytest.raises(FalconetError, match=(
                r"postprocess\.levels\[0\]\.class: the network has no tensor 'cls'; its outputs "
                f"are {outputs}")):
            compile_model(model, TINY, heads=heads, post=post)


def test_heads_of_another_kind_are_refused() -> None:
    with pytest.raises(FalconetError, match="heads: kind must be 'detection'"):
        compile_model(network("qdq", "none")[0], TINY, heads={"kind": "classification"})


def test_a_head_without_quantisation() -> None:
    n = Net()
    x = n.q(n.conv(n.q("x"), 8))
    scores, boxes = n.conv(x, 4, 8, 1), n.conv(x, 8, 8, 1)
    model = n.model(n.op("Softmax", scores), n.q(boxes))
    with pytest.raises(FalconetError, match=f"output '{scores}': .*no QuantizeLinear after it"):
        compile_model(model, TINY, heads=described(**{"class": scores, "box": boxes}))
