"""The QDQ file says what the machine does: structure on small networks, figures on the zoo."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from falconet.isa import FalconetError
from falconet.runtime.vision import Preprocessor, iou, postprocess
from falconet_models import zoo
from falconet_models.cache import cached_float, cached_quantised
from falconet_models.data import photograph
from falconet_models.data import test_images as images_of
from falconet_models.metadata import get_meta, set_meta
from falconet_models.onnx_session import Reference, snr_db
from falconet_models.ptq.quantize import quantize, read_folder
from falconet_models.zoo.builder import GraphBuilder


def small(seed=0):
    """Every kind of operator once: clamps, addition, movement, pooling, a linear layer."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder("small", (1, 3, 16, 16))

    def conv(name, x, o, i, k=3, **more):
        return g.conv(name, x, rng.normal(size=(o, i, k, k)) / np.sqrt(i * k * k),
                      rng.normal(size=o), **more)

    six = [g.constant("zero", np.float32(0)), g.constant("six", np.float32(6))]
    a = g.node("Clip", "a6", conv("a", "input", 8, 3), *six)
    b = g.node("Clip", "b6", conv("b", a, 8, 1, groups=8), *six)
    c = conv("c", b, 8, 8, 1)
    d = g.node("Relu", "dr", g.node("Add", "d", c, conv("e", a, 8, 8, 1)))
    p = g.node("MaxPool", "p", d, kernel_shape=[2, 2], strides=[2, 2])
    f = g.node("LeakyRelu", "fl", conv("f", p, 8, 8), alpha=0.1)
    scales = g.constant("scales", np.array([1, 1, 2, 2], np.float32))
    u = g.node("Resize", "u", f, "", scales, mode="nearest", nearest_mode="floor",
               coordinate_transformation_mode="asymmetric")
    t = g.node("Concat", "t", d, u, axis=1)
    s = g.node("HardSwish", "s", conv("h", t, 4, 16, 1))
    v = g.node("Flatten", "v", g.node("GlobalAveragePool", "pool", s), axis=1)
    g.node("Gemm", "y", v, g.constant("yw", rng.normal(size=(5, 4)).astype(np.float32)),
           g.constant("yb", rng.normal(size=5).astype(np.float32)), transB=1)
    return g.finish(["y", "u"])


def samples(count=8, shape=(1, 3, 16, 16), seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for _ in range(count)]


class Qdq:
    """A QDQ model to ask questions of."""

    def __init__(self, model):
        self.model = model
        self.maker = {o: n for n in model.graph.node for o in n.output}
        self.arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}

    def readers(self, tensor):
        return [n for n in self.model.graph.node if tensor in n.input]

    def parameters(self, tensor):
        """Scale and zero point with which ``tensor`` is quantised."""
        (q,) = (n for n in self.readers(tensor) if n.op_type == "QuantizeLinear")
        return float(self.arrays[q.input[1]]), int(self.arrays[q.input[2]])


@pytest.fixture(scope="module")
def small_qdq():
    return Qdq(quantize(small(), samples()))


def test_no_quantisation_before_a_clamp(small_qdq):
    for n in small_qdq.model.graph.node:
        if n.op_type in ("Relu", "Clip", "LeakyRelu"):
            assert small_qdq.maker[n.input[0]].op_type in ("Conv", "Add")
        elif n.op_type == "Mul":  # HardSwish as onnxruntime writes it: x * HardSigmoid(x)
            gate = small_qdq.maker[n.input[1]]
            assert gate.op_type == "HardSigmoid" and gate.input[0] == n.input[0]
        elif n.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            data = n.input if n.op_type in ("Add", "Concat") else n.input[:1]
            assert all(small_qdq.maker[x].op_type == "DequantizeLinear" for x in data), n.name


def test_every_other_result_is_quantised_once(small_qdq):
    for n in small_qdq.model.graph.node:
        if n.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        kinds = [r.op_type for r in small_qdq.readers(n.output[0])]
        clamped = len(kinds) == 1 and kinds[0] in ("Relu", "Clip", "LeakyRelu", "Mul")
        assert clamped or kinds == ["QuantizeLinear"], n.name


def test_movement_shares_scales(small_qdq):
    one = small_qdq.parameters("dr")
    for tensor in ("p", "t", "u.float", "fl"):
        assert small_qdq.parameters(tensor) == one
    assert small_qdq.parameters("v") == small_qdq.parameters("pool")


def test_constants_are_what_the_machine_stores(small_qdq):
    weights = 0
    for n in small_qdq.model.graph.node:
        if n.op_type not in ("Conv", "Gemm"):
            continue
        x, w, b = (small_qdq.maker[i] for i in n.input)
        stored, scale, zero = (small_qdq.arrays[i] for i in w.input)
        assert stored.dtype == np.int8 and stored.min() >= -127 and not zero.any()
        assert scale.shape == (stored.shape[0],)
        bias, bias_scale, _ = (small_qdq.arrays[i] for i in b.input)
        assert bias.dtype == np.int32 and np.abs(bias).max() <= 2**22 + 128
        np.testing.assert_array_equal(bias_scale, scale * small_qdq.arrays[x.input[1]])
        assert small_qdq.arrays[x.input[2]].shape == ()
        weights += 1
    assert weights == 7


def test_it_computes_nearly_the_same(small_qdq):
    exact, rounded = Reference(small()), Reference(small_qdq.model)
    for x in samples(4, seed=2):
        a, b = exact(x), rounded(x)
        assert snr_db(a["y"], b["y"]) > 25 and snr_db(a["u"], b["u"]) > 25


def test_a_dead_channel_with_a_large_bias_keeps_its_bias():
    g = GraphBuilder("dead", (1, 3, 4, 4))
    weight = np.ones((2, 3, 1, 1))
    weight[1] = 1e-12
    g.conv("y", "input", weight, np.array([0.5, 3.0]))
    model = quantize(g.finish(["y"]), samples(shape=(1, 3, 4, 4)), bias_correction=False)
    y = Reference(model)(np.zeros((1, 3, 4, 4), np.float32))["y"]
    assert y[0, 1].mean() == pytest.approx(3.0, abs=0.05)
    assert max(np.abs(a).max() for a in Qdq(model).arrays.values() if a.dtype == np.int32) <= 2**22


def test_bias_correction_removes_the_mean_error():
    exact = Reference(small())
    errors = {}
    for correct in (False, True):
        model = Reference(quantize(small(), samples(), bias_correction=correct))
        errors[correct] = np.mean([model(x)["y"] - exact(x)["y"] for x in samples()], axis=0)
    assert np.abs(errors[True]).mean() < np.abs(errors[False]).mean()


@pytest.mark.parametrize("method", ["mse", "percentile", "entropy", "minmax"])
def test_methods(method):
    model = Reference(quantize(small(), samples(), method=method))
    x = samples(1, seed=3)[0]
    assert snr_db(Reference(small())(x)["y"], model(x)["y"]) > 15


def test_metadata_and_file(tmp_path):
    model = small()
    set_meta(model, {"model": "small", "postprocess": {"kind": "none"}})
    out = tmp_path / "deep" / "small.onnx"
    stages = []
    quantize(model, samples(), out, progress=lambda stage, share: stages.append((stage, share)))
    assert get_meta(onnx.load(out)) == get_meta(model)
    assert {s for s, _ in stages} == {"calibrate", "bias correction", "done"}
    assert all(0 <= share <= 1 for _, share in stages)


def test_a_users_model_and_folder(tmp_path):
    model = small()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("not a picture")
    images = read_folder(folder)
    assert list(images) == ["0.png", "1.png", "2.png"]
    result = quantize(tmp_path / "m.onnx", images, preprocess={"mean": [99], "fit": "crop"})
    assert get_meta(result)["preprocess"] == {
        "fit": "crop", "colour": "RGB", "mean": [99.0] * 3, "std": [255.0] * 3,
        "size": [16, 16], "resize": 18}
    Preprocessor(get_meta(result))


def with_node(op, **attributes):
    model = small()
    model.graph.node.append(helper.make_node(op, ["y"], ["z"], "tail", **attributes))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", 1, None))
    return model


def dynamic():
    model = small()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    return model


def nameless(model):
    for node in model.graph.node:
        node.name = ""
    return model


@pytest.mark.parametrize("model, calibration, more, message", [
    (small, [], {}, "calibration: there are no images"),
    (small, [np.zeros((1, 3, 8, 8), np.float32)], {}, r"image 0: its shape \[1, 3, 8, 8\]"),
    (small, samples(1), {"method": "magic"}, "method 'magic' is unknown"),
    (small, samples(1), {"preprocess": {"mean": [1, 2]}}, r"preprocess\.mean is unusable"),
    (small, samples(1), {"preprocess": {"colour": "PINK"}}, r"preprocess\.colour=.PINK. is un"),
    (dynamic, samples(1), {}, r"input 'input' has the shape \[1, 3, 'H', 16\]"),
    (lambda: with_node("Softmax"), samples(1), {}, r"node .tail. \(Softmax\): this op"),
    (lambda: nameless(quantize(small(), samples(1))), samples(1), {},
     r"node 'QuantizeLinear:.+' \(QuantizeLinear\): the model is quantised already"),
    (small, [np.full((1, 3, 16, 16), np.nan, np.float32)], {}, "not finite"),
    (small, [np.zeros((4, 4), np.float32)], {}, "image 0: its shape"),
])
def test_what_is_refused(model, calibration, more, message):
    with pytest.raises(FalconetError, match=message):
        quantize(model(), calibration, **more)


def test_files_that_are_no_models(tmp_path):
    for name, content in (("empty.onnx", b""), ("text.onnx", b"hello, world\n" * 9)):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(FalconetError, match=rf"{name}: not an ONNX model"):
            quantize(path, samples(1))
    with pytest.raises(FalconetError, match=r"none\.onnx: No such file"):
        quantize(tmp_path / "none.onnx", samples(1))
    with pytest.raises(FalconetError, match="no such folder"):
        read_folder(tmp_path / "none")
    with pytest.raises(FalconetError, match="no pictures in this folder"):
        read_folder(tmp_path)


def test_mobilenetv2_reaches_its_figure():
    exact = Reference(cached_float("mobilenetv2"))
    rounded = Reference(cached_quantised("mobilenetv2"))
    sure = 0
    for name, image in images_of("mobilenetv2").items():
        a, b = exact(image)["logits"], rounded(image)["logits"]
        assert snr_db(a, b) >= 12, name
        probability = np.exp(a - a.max()) / np.exp(a - a.max()).sum()
        if probability.max() > 0.5:
            sure += 1
            assert a.argmax() == b.argmax(), name
    assert sure >= 3


def corners(found):
    return np.array([[d.x, d.y, d.w, d.h] for d in found]).reshape(-1, 4)


def unmatched(some, others):
    """The sure ones (score above 0.6) among ``some`` that have no equal among ``others``."""
    return [d for d in some if d.score > 0.6
            and iou(corners([d])[0], corners(others)).max(initial=0) < 0.85]


@pytest.fixture(scope="module")
def faces():
    """float network, int8 network: a photograph -> detections"""
    models = Reference(cached_float("retinaface")), Reference(cached_quantised("retinaface"))
    prepare = Preprocessor(models[0].meta)

    def look(image):
        x, frame = prepare.tensor(image)
        return [postprocess(m.meta, m(x), frame) for m in models]

    return look


def test_retinaface_reaches_its_figure(faces):
    sure = 0
    for name, image in images_of("retinaface").items():
        truth, found = faces(image)
        sure += sum(d.score > 0.6 for d in truth)
        assert not unmatched(truth, found) and not unmatched(found, truth), name
        if name == "astronaut":
            assert len(truth) == len(found) == 1 and found[0].score > 0.999
        if name == "coffee":
            assert not truth and not found
    assert sure >= 38


@pytest.mark.parametrize("margin", [10, 20, 40, 90])
def test_a_face_that_fills_the_photograph_is_found(faces, margin):
    """Larger than any that the quantiser saw."""
    image = photograph("astronaut")[max(0, 56 - margin) : 176 + margin, 177 - margin : 272 + margin]
    (truth,), (found,) = faces(image)
    assert found.score == pytest.approx(truth.score, abs=0.01)
    assert not unmatched([truth], [found])


def test_the_cache_answers_at_once_and_keeps_metadata():
    path = cached_quantised("retinaface")
    before = path.stat().st_mtime_ns
    assert cached_quantised("retinaface") == path and path.stat().st_mtime_ns == before
    kept, given = get_meta(onnx.load(path)), get_meta(zoo.build("retinaface"))
    assert kept["postprocess"] == {**given["postprocess"], "score": "sigmoid"}
    assert kept["preprocess"] == given["preprocess"]
