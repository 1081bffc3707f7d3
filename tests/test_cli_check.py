"""``falconet check``: everything that does not map at once, or what the network takes where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_nets import Net

from falconet.compiler import compile_model
from falconet.isa import preset
from falconet.isa.machine.arch import PRESETS
from falconet_app.cli import main
from falconet_models.ptq.quantize import quantize
from falconet_sim.timing.estimate import estimate

F = np.float32
Capture = pytest.CaptureFixture[str]


def floating(*kinds: str, size: int = 24) -> tuple[Net, str]:
    """A convolution, each of ``kinds`` behind the last, a convolution; in float."""
    n = Net((1, 3, size, size))
    x = n.op("Conv", "x", n.random.normal(0, 0.3, (16, 3, 3, 3)).astype(F), pads=[1, 1, 1, 1])
    for kind in kinds:
        attrs = {"axis": 1} if kind in ("Softmax", "LpNormalization") else {}
        x = n.op(kind, x, **attrs)
    return n, n.op("Conv", x, n.random.normal(0, 0.1, (24, 16, 3, 3)).astype(F), strides=[2, 2])


def said(path: Path, capsys: Capture, *options: str, code: int = 0) -> dict:
    assert main(["check", str(path), "--json", *options]) == code
    out, err = capsys.readouterr()
    assert out, err
    found: dict = json.loads(out)
    return found


def test_all_that_does_not_map_is_listed_by_the_names_of_the_file(
        tmp_path: Path, capsys: Capture) -> None:
    n, y = floating("Softmax", "Relu", "LRN", "Det")
    for node in n.nodes:
        if node.op_type == "LRN":
            node.attribute.append(onnx.helper.make_attribute("size", 3))
    del n.nodes[-2]  # Det was only the last one's place
    n.nodes[-1].input[0] = n.nodes[-2].output[0]
    wrong = [x for x in n.nodes if x.op_type in ("Softmax", "LRN")]
    path = tmp_path / "net.onnx"
    onnx.save(n.model(y), path)
    found = said(path, capsys, code=1)
    assert [(r["node"], r["operator"]) for r in found["reasons"]] == [
        (x.name, x.op_type) for x in wrong]
    assert all(r["why"] == "this operator is not supported" and r["mend"]
               for r in found["reasons"])
    assert found["machines"] == [] and found["operators"]["Softmax"] == 1
    assert main(["check", str(path)]) == 1
    out, err = capsys.readouterr()
    assert all(x.name in out for x in wrong) and "this operator is not supported" in out
    assert f"{path}: 2 nodes do not map" in err


def test_more_reasons_than_a_message_has(tmp_path: Path, capsys: Capture) -> None:
    n, y = floating(*["LpNormalization"] * 25)
    onnx.save(n.model(y), tmp_path / "net.onnx")
    assert len(said(tmp_path / "net.onnx", capsys, code=1)["reasons"]) == 25


def test_operators_of_other_domains_are_all_named(tmp_path: Path, capsys: Capture) -> None:
    n, y = floating("Relu", "Relu")
    for node in n.nodes[1:3]:
        node.domain, node.op_type = "my.own", "Mine"
    model = onnx.helper.make_model(
        onnx.helper.make_graph(n.nodes, "net", n.inputs, [onnx.helper.make_tensor_value_info(
            y, onnx.TensorProto.FLOAT, (1, 24, 11, 11))], n.initialisers),
        opset_imports=[onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("my.own", 1)],
        ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    reasons = said(tmp_path / "net.onnx", capsys, code=1)["reasons"]
    assert [r["node"] for r in reasons] == [x.name for x in n.nodes[1:3]]
    assert all("my.own" in r["why"] for r in reasons)


def test_a_float_network_is_estimated_as_if_it_were_quantised(
        tmp_path: Path, capsys: Capture) -> None:
    n, y = floating("Relu", "Sigmoid")
    model = n.model(y)
    onnx.save(model, tmp_path / "net.onnx")
    found = said(tmp_path / "net.onnx", capsys)
    assert [m["preset"] for m in found["machines"]] == list(PRESETS)
    samples = [n.random.normal(0, 1, (1, 3, 24, 24)).astype(F) for _ in range(3)]
    quantised = quantize(model, samples)
    for m in found["machines"]:
        program = compile_model(quantised, preset(m["preset"]))
        assert m["cycles"] == pytest.approx(estimate(program).cycles, rel=0.01)
        assert m["fps"] == pytest.approx(m["clock_mhz"] * 1e6 / m["cycles"], abs=0.01)
    assert main(["check", str(tmp_path / "net.onnx")]) == 0
    out = capsys.readouterr().out
    assert all(f"{m['cycles']:,}" in out and m["preset"] in out for m in found["machines"])


def test_a_quantised_network_is_estimated_as_it_is(tmp_path: Path, capsys: Capture) -> None:
    n = Net()
    onnx.save(n.model(n.q(n.conv(n.q("x"), 12))), tmp_path / "int8.onnx")
    (m,) = said(tmp_path / "int8.onnx", capsys, "-p", "tiny")["machines"]
    program = compile_model(str(tmp_path / "int8.onnx"), preset("tiny"))
    assert m["cycles"] == estimate(program).cycles
    assert m["macs"] == sum(int(layer["macs"]) for layer in program.header["layers"])


def test_what_fits_one_machine_and_not_another(tmp_path: Path, capsys: Capture) -> None:
    n = Net((1, 1024, 1, 1))
    w = n.random.normal(0, 0.1, (16, 1024, 1, 1)).astype(F)
    small = json.dumps({"lanes": 8, "bank_words": 32, "weight_words": 64, "vector_words": 64})
    (tmp_path / "small.json").write_text(small)
    onnx.save(n.model(n.op("Conv", "x", w)), tmp_path / "net.onnx")
    found = said(tmp_path / "net.onnx", capsys, "-p", str(tmp_path / "small.json"), code=1)
    assert "refused" in found["machines"][0] and not found["reasons"]
    assert main(["check", str(tmp_path / "net.onnx")]) == 0
