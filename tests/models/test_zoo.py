import numpy as np
import onnx
import pytest

from falconet.isa import FalconetError
from falconet_models import zoo
from falconet_models.data import photograph
from falconet_models.metadata import get_meta
from falconet_models.onnx_session import Reference


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("height, width", [(320, 320), (96, 160)])
def test_retinaface_equals_the_published_graph(height, width):
    import onnxruntime

    from falconet_models.zoo.retinaface import published

    model = zoo.build("retinaface", height=height, width=width)
    x = np.random.default_rng(0).normal(0, 60, (1, 3, height, width)).astype(np.float32)
    loc, conf, marks = onnxruntime.InferenceSession(published().SerializeToString()).run(
        None, {"input": x})
    outputs = Reference(model)(x)
    rows = {
        head: np.concatenate([
            outputs[f"{head}_{s}"].transpose(0, 2, 3, 1).reshape(1, -1, n) for s in (8, 16, 32)
        ], axis=1)
        for head, n in (("bbox", 4), ("class", 2), ("landmark", 10))
    }
    np.testing.assert_allclose(rows["bbox"], loc, atol=1e-4)
    np.testing.assert_allclose(rows["landmark"], marks, atol=1e-4)
    np.testing.assert_allclose(softmax(rows["class"]), conf, atol=1e-5)


def test_retinaface_has_one_copy_of_each_convolution():
    model = zoo.build("retinaface")
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert len(convolutions) == 27 + 3 + 2 + 3 * 5 + 9
    assert {n.op_type for n in model.graph.node} == {
        "Conv", "LeakyRelu", "Relu", "Add", "Concat", "Resize"}
    assert [o.name for o in model.graph.output] == [
        f"{head}_{s}" for s in (8, 16, 32) for head in ("bbox", "class", "landmark")]


@pytest.mark.parametrize("name, size", [("retinaface", 320), ("mobilenetv2", 224)])
def test_metadata_and_shapes(name, size):
    model = zoo.build(name)
    onnx.checker.check_model(model, full_check=True)
    meta = get_meta(model)
    assert meta["preprocess"]["size"] == [size, size]
    names = [n.name for n in model.graph.node]
    assert all(names) and len(set(names)) == len(names)


def test_mobilenetv2_sees_what_is_there():
    reference = Reference(zoo.build("mobilenetv2"))
    labels = reference.meta["postprocess"]["labels"]
    assert len(labels) == 1000
    cat = softmax(reference(photograph("cat"))["logits"][0])
    coffee = softmax(reference(photograph("coffee"))["logits"][0])
    assert 281 <= cat.argmax() <= 285 and cat.max() > 0.5
    assert labels[coffee.argmax()] == "espresso" and coffee.max() > 0.9


def test_unknown_names_and_sizes():
    with pytest.raises(FalconetError, match="'yolo' is not in the zoo; use one of mobilenetv2, re"):
        zoo.build("yolo")
    with pytest.raises(FalconetError, match="height=100 is impossible"):
        zoo.build("retinaface", height=100)
    with pytest.raises(FalconetError, match="options height and width"):
        zoo.build("retinaface", depth=3)
