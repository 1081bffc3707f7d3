"""What the importer refuses: one sentence with the node's name and a way out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import truth
from onnx import TensorProto, helper
from onnx_nets import Net

from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.isa import FalconetError

F = np.float32
Body = Callable[[Net, str], str]


def _weight(values: object, zero: object, dtype: type = np.int8, axis: int = 0) -> Body:
    def body(n: Net, x: str) -> str:
        array = np.broadcast_to(np.asarray(values, dtype), (8, 8, 1, 1))
        w = n.op("DequantizeLinear", n.constant(array, dtype), n.constant([0.01] * 8),
                 n.constant([zero] * 8, dtype), axis=axis)
        return n.op("Conv", x, w)
    return body


def _float_weights(n: Net, x: str) -> str:
    return n.op("Conv", x, np.ones((8, 8, 1, 1), F))


def _per_channel_activation(n: Net, x: str) -> str:
    s, z = n.constant([0.1] * 8), n.constant([0] * 8, np.int8)
    return n.op("DequantizeLinear", n.op("QuantizeLinear", x, s, z, axis=1), s, z, axis=1)


def _int16(n: Net, x: str) -> str:
    s, z = n.constant(0.1), n.constant(0, np.int16)
    return n.op("DequantizeLinear", n.op("QuantizeLinear", x, s, z), s, z)


def _other_scale(n: Net, x: str) -> str:
    z = n.constant(0, np.int8)
    return n.op("DequantizeLinear", n.op("QuantizeLinear", x, n.constant(0.1), z),
                n.constant(0.2), z)


CASES: dict[str, tuple[Body, str]] = {
    "operator": (lambda n, x: n.op("Softmax", x), "not supported"),
    "softmax": (lambda n, x: n.op("Softmax", x, axis=1), "not supported"),
    "slopes after a table": (
        lambda n, x: n.op("PRelu", n.op("Tanh", x), np.geomspace(1e-3, 99, 8, dtype=F)
                          .reshape(8, 1, 1)),
        "slopes per channel behind a function of one tensor"),
    "negative slopes": (
        lambda n, x: n.op("PRelu", n.op("MaxPool", n.conv(x, 8), kernel_shape=[2, 2]),
                          np.full((8, 1, 1), -0.1, F)), "negative slope"),
    "maximum of padding": (
        lambda n, x: n.op("MaxPool", n.q(n.op("GlobalAveragePool", x)), kernel_shape=[1, 2],
                          dilations=[1, 2], pads=[0, 1, 0, 1]), "nothing but padding"),
    "float-weights": (_float_weights, "not quantised; run 'falconet quantize'"),
    "int16 weights": (_weight(3, 0, np.int16), "int16; quantise them as int8"),
    "scale of inputs": (_weight(3, 0, axis=1), "per output channel"),
    "unquantised": (lambda n, x: n.conv(n.conv(x, 8), 8), "no quantisation parameters"),
    "silu after conv": (lambda n, x: n.op("Sigmoid", n.conv(x, 8)), "put QuantizeLinear"),
    "add of conv": (lambda n, x: n.op("Add", n.conv(x, 8), x), "no quantisation parameters"),
    "three addends": (lambda n, x: n.op("Add", n.op("Add", n.q(n.conv(x, 8)), n.q(n.conv(x, 8))),
                                        n.q(n.conv(x, 8))), "more than two addends"),
    "full constant": (lambda n, x: n.op("Add", x, np.ones((1, 8, 12, 10), F)),
                      "nor one per channel"),
    "cubic": (lambda n, x: n.op("Resize", x, None, np.array([1, 1, 2, 2], F), mode="cubic"),
              "mode 'cubic'"),
    "factor 1.0005": (lambda n, x: n.op("Resize", x, None, np.array([1, 1, 1.0005, 2], F),
                                        mode="nearest"), "no fraction of small numbers"),
    "divisor": (lambda n, x: n.op("AveragePool", x, kernel_shape=[34, 3], pads=[17, 1, 17, 1]),
                "count_include_pad"),
    "pads of three axes": (lambda n, x: n.op("Pad", x, n.op("Tile", np.array([0, 0, 1]),
                                                            np.array([2]))),
                           "its pads have the shape [6]; write one before and one after each axis"),
    "pads that are no integers": (lambda n, x: n.op("Pad", x, n.weight(8)), "must be integers"),
    "mean of a vector": (lambda n, x: n.op("ReduceMean", n.op("Flatten", x), axes=[1]),
                         "2 dimensions"),
    "regrouped": (lambda n, x: n.op("MaxPool", n.op("Reshape", x, np.array([1, 5, 24, 8])),
                                    kernel_shape=[2, 2]), "it moves data, [8, 12, 10] to [5, 24"),
    "concat of rank 3": (lambda n, x: n.op("Concat", *[n.op("Reshape", x, np.array([1, 8, 120]))]
                                           * 2, axis=2), "regroups channels"),
    "batch of two": (lambda n, x: n.op("Tile", x, np.array([2, 1, 1, 1])), "batch 1"),
    "indices in a square": (lambda n, x: n.op("Gather", x, np.zeros((2, 2), np.int64), axis=1),
                            "the shape [2, 2]"),
    "dynamic second operand": (lambda n, x: n.op("MatMul", n.op("Flatten", x), n.op(
        "Reshape", x, np.array([960, 1]))), "must be constant"),
    "per-channel activation": (_per_channel_activation, "use one scale"),
    "int16": (_int16, "use int8 or uint8"),
    "other scale": (_other_scale, "use the same"),
    "log of negative": (lambda n, x: n.op("Log", x), "clamp the input"),
    "huge scale": (lambda n, x: n.op("Conv", n.q(n.conv(x, 8), 1e9), n.weight(8, 8, 1, 1)),
                   "requantisation scale"),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_refused(name: str) -> None:
    body, why = CASES[name]
    n = Net()
    y = n.q(body(n, n.q("x")), 0.0001 if name == "huge scale" else 0.04)
    model = n.model(y)
    with pytest.raises(FalconetError) as caught:
        import_onnx(model)
    text = str(caught.value)
    assert not truth.check(text, model)  # these files are in order, and onnxruntime is not blamed
    assert (text.startswith("node '") and why in text and ";" in text) or why in text
    assert "\n" not in text and len(text) < 300


def test_all_findings_are_listed() -> None:
    """In the order of the file; what follows from another finding is not one."""
    n = Net()
    a = n.q(n.op("Softmax", n.q(n.conv(n.q("x"), 8))))
    b = n.q(n.op("Resize", a, None, np.array([1, 1, 2, 2], F), mode="cubic"))
    c = n.q(n.op("Relu", n.op("LRN", n.op("Softmax", b), size=3)))
    model = n.model(n.q(n.op("AveragePool", c, kernel_shape=[34, 3],
                               pads=[17, 1, 17, 1])))
    names = {x.op_type: x.name for x in model.graph.node[::-1]}
    with pytest.raises(FalconetError) as caught:
        import_onnx(model)
    first, *lines = str(caught.value).split("\n")
    assert first == "the network cannot be compiled for 4 reasons:"
    for line, op in zip(lines, ("Softmax", "Resize", "Softmax", "AveragePool"), strict=True):
        assert f"({op}): " in line and line.startswith("  node '")
    assert names["Resize"] in lines[1] and names["AveragePool"] in lines[3]
    truth.check(str(caught.value), model)


def test_a_list_has_an_end() -> None:
    n = Net()
    x = n.q("x")
    for _ in range(60):
        x = n.q(n.op("Softmax", x))
    with pytest.raises(FalconetError) as caught:
        import_onnx(n.model(x))
    lines = str(caught.value).split("\n")
    assert len(lines) == 22 and "60 reasons" in lines[0] and lines[-1] == "  and 40 more"


def test_output_without_quantisation() -> None:
    n = Net()
    y = n.conv(n.q("x"), 8)
    with pytest.raises(FalconetError, match=f"output '{y}': node 'conv.*falconet quantize"):
        import_onnx(n.model(y))


def test_float_network() -> None:
    n = Net()
    with pytest.raises(FalconetError, match="'x' has no quantisation parameters; run 'falconet q"):
        import_onnx(n.model(n.op("Conv", "x", np.ones((8, 8, 1, 1), F))))


def test_what_a_false_refusal_would_be() -> None:
    """The harness itself: claims and names that are not so are found."""
    n = Net()
    model = n.model(n.q(n.op("Relu", n.q("x"))))
    name = next(x.name for x in model.graph.node if x.op_type == "Relu")
    truth.check(f"node '{name}' (Relu): it is there", model)
    for lie in ("model: onnxruntime refuses the model; export it again",
                "model: not a valid ONNX model; export it again",
                "model: its shapes do not fit together, says onnx; export it again",
                "node 'load images': does not fit", f"node '{name}' (Elu): no", "input 'y': no"):
        with pytest.raises(AssertionError):
            truth.check(lie, model)


@pytest.mark.parametrize("shape", [(2, 8, 4, 4), ("batch", 8, 4, 4), (1, 8, "h", "w"), (1, 8, 4)])
def test_shapes(shape: tuple[object, ...]) -> None:
    n = Net()
    n.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    with pytest.raises(FalconetError, match=r"input 'x': .*fixed.*batch 1"):
        import_onnx(n.model(n.q(n.op("Relu", n.q("x")))))


def test_input_quantised_twice() -> None:
    n = Net()
    y = n.op("Add", n.q("x", 0.1), n.q("x", 0.2))
    with pytest.raises(FalconetError, match="input 'x': it is quantised in two ways"):
        import_onnx(n.model(n.q(y)))


def test_files(tmp_path: object) -> None:
    path = tmp_path / "no.onnx"  # type: ignore[operator]
    with pytest.raises(FalconetError, match=r"no\.onnx: .*give the path"):
        import_onnx(path)
    path.write_bytes(b"no network")
    with pytest.raises(FalconetError, match=r"not an ONNX file|not a valid ONNX"):
        import_onnx(path)


def test_foreign_domain() -> None:
    n = Net()
    model = n.model(n.q(n.op("Relu", n.q("x"))))
    model.graph.node[-3].domain = "org.example"
    model.opset_import.append(helper.make_opsetid("org.example", 1))
    with pytest.raises(FalconetError, match=r"domain 'org\.example'"):
        import_onnx(model)


def test_metadata_must_be_an_object() -> None:
    n = Net()
    model = n.model(n.q(n.op("Relu", n.q("x"))))
    onnx.helper.set_model_props(model, {"falconet": "[1]"})
    with pytest.raises(FalconetError, match="metadata 'falconet'"):
        import_onnx(model)
