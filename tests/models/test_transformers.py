"""The layers of "Attention is all you need" as PyTorch counts them, and narrow ones as integers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_nets import agree
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch_export import exported

from falconet.compiler import compile_model
from falconet.isa import FalconetError, preset
from falconet_app.cli import main
from falconet_models.ptq.quantize import quantize
from falconet_models.ptq.tensor_files import read_tensors
from falconet_models.zoo.papers.transformers import Decoder, Encoder, positions
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

NARROW = {"channels": 32, "heads": 2, "hidden": 64, "tokens": 12}
INPUTS = {"encoder": {"x": (1, 12, 32)}, "decoder": {"x": (1, 12, 32), "memory": (1, 7, 32)}}


def narrow(name: str) -> nn.Module:
    torch.manual_seed(5)
    return Encoder(**NARROW) if name == "encoder" else Decoder(**NARROW, words=20)


def samples(name: str, count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(count)
    return [{k: random.normal(0, 1, s).astype(np.float32) for k, s in INPUTS[name].items()}
            for _ in range(count)]


@cache
def quantised(name: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    model = exported(narrow(name), *INPUTS[name].values(), names=list(INPUTS[name]))
    return model, quantize(model, samples(name, 6))


@pytest.mark.parametrize("network, theirs, inputs, macs", [
    (Encoder(), nn.TransformerEncoderLayer(512, 8), (64,), 64 * 6 * 512**2 * 2 + 2 * 64**2 * 512),
    (Decoder(), nn.TransformerDecoderLayer(512, 8), (64, 48),
     (64 * (4 + 8 + 2) + 48 * 2) * 512**2 + 2 * 64 * (64 + 48) * 512 + 64 * 512 * 1000),
])
def test_parameters_and_macs(
    network: nn.Module, theirs: nn.Module, inputs: tuple[int, ...], macs: int
) -> None:
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    words = count(network.words) if isinstance(network, Decoder) else 0
    assert count(network) - words == count(theirs)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*(torch.zeros(1, n, 512) for n in inputs))
    assert counter.get_total_flops() / 2 == macs


def test_positions_by_hand() -> None:
    found = positions(3, 4)[0]
    for t in range(3):
        wanted = [np.sin(t), np.cos(t), np.sin(t / 100), np.cos(t / 100)]
        np.testing.assert_allclose(found[t], wanted, atol=1e-6)


def test_attention_is_pytorchs() -> None:
    own, theirs = narrow("decoder").layer.own.eval(), nn.MultiheadAttention(32, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([x.weight for x in (own.query, own.key, own.value)]))
        theirs.in_proj_bias.copy_(torch.cat([x.bias for x in (own.query, own.key, own.value)]))
        theirs.out_proj.load_state_dict(own.project.state_dict())
        x, y = torch.randn(1, 9, 32), torch.randn(1, 5, 32)
        torch.testing.assert_close(own(x, y), theirs(x, y, y)[0])


@pytest.mark.parametrize("name", INPUTS)
def test_no_layer_differs_by_more_than_one(name: str) -> None:
    agree(quantised(name)[1], rate=0.02)


@pytest.mark.parametrize("name", INPUTS)
def test_golden_and_simulator_are_close_to_float(name: str) -> None:
    program = compile_model(quantised(name)[1], preset("tiny"), name)
    entries = {e["name"]: e for e in program.header["inputs"]}
    (given,) = samples(name, 1)
    stored = {}
    for key, x in given.items():
        e = entries[key]
        q = np.clip(np.rint(x / e["scale"]) + e["zero_point"], -128, 127).astype(np.int8)
        stored[key] = np.ascontiguousarray(q[0].T[:, None])
        assert list(stored[key].shape) == e["shape"]
    found, expected = (d(program).run(stored).outputs for d in (IssDevice, GoldenDevice))
    (out,) = program.header["outputs"]
    assert np.array_equal(found[out["name"]], expected[out["name"]])
    real = (found[out["name"]].astype(np.float64) - out["zero_point"]) * out["scale"]
    with torch.no_grad():
        wanted = narrow(name).eval()(*map(torch.from_numpy, given.values()))[0].numpy().T[:, None]
    error = np.sqrt(np.square(real - wanted).mean() / np.square(wanted).mean())
    assert error < 0.08, error


def test_inputs_are_calibrated_by_name() -> None:
    model = quantised("decoder")[0]
    with pytest.raises(FalconetError, match=r"image 0: it is given for x, .*x, memory; give a"):
        quantize(model, [{"x": samples("decoder", 1)[0]["x"]}])
    with pytest.raises(FalconetError, match=r"the shape \[1, 12, 32\] and is no picture"):
        quantize(model, [np.zeros((40, 40, 3), np.uint8)])


def test_calibration_from_files(tmp_path: Path) -> None:
    for i, sample in enumerate(samples("decoder", 2)):
        np.savez(tmp_path / f"{i}.npz", **sample)
    np.save(tmp_path / "x.npy", np.ones((12, 32), np.float32))
    (tmp_path / "notes.txt").touch()
    found = read_tensors(tmp_path)
    assert list(found) == ["0.npz", "1.npz", "x.npy"] and found["x.npy"].shape == (12, 32)
    assert list(found["0.npz"]) == ["x", "memory"]
    for name, array, said in (("y.npy", np.array(["a"]), "holds no numbers"),
                              ("z.npz", None, "not a readable .npz file")):
        if array is None:
            (tmp_path / name).write_bytes(b"1")
        else:
            np.save(tmp_path / name, array)
        with pytest.raises(FalconetError, match=f"{name}: .*{said}"):
            read_tensors(tmp_path)
        (tmp_path / name).unlink()
    with pytest.raises(FalconetError, match="no such folder"):
        read_tensors(tmp_path / "none")


def test_the_command_takes_them(tmp_path: Path) -> None:
    model = tmp_path / "decoder.onnx"
    onnx.save(quantised("decoder")[0], str(model))
    folder = tmp_path / "calibration"
    folder.mkdir()
    for i, sample in enumerate(samples("decoder", 4)):
        np.savez(folder / f"{i}.npz", **sample)
    arguments = ["--calibration", str(folder), "-o", str(tmp_path / "int8.onnx")]
    assert main(["quantize", str(model), *arguments, "--method", "mse"]) == 0
    program = compile_model(tmp_path / "int8.onnx", preset("tiny"))
    assert [e["name"] for e in program.header["inputs"]] == ["x", "memory"]
