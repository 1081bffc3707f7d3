"""Attention from PyTorch to integers: quantised, and layer by layer like onnxruntime."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_nets import Net, agree, quantise_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from torch_export import exported

from falconet.compiler import compile_model
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.isa import preset
from falconet_models.ptq.quantize import quantize
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

T, C, HEADS = 10, 32, 2


class SelfAttention(nn.Module):
    """PyTorch's own: with weights asked for, the heads are three-dimensional."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(C, HEADS, batch_first=True), weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.attention(x, x, x, need_weights=self.weights)[0]
        return y


class Layer(nn.Module):
    def __init__(self, mask: torch.Tensor | None, **options: object) -> None:
        super().__init__()
        self.mask = mask
        self.layer = nn.TransformerEncoderLayer(
            C, HEADS, 2 * C, batch_first=True, **options)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x, src_mask=self.mask)
        return y


class Filled(nn.Module):
    """A mask by ``masked_fill``, padding, which hides whole columns."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.qkv, self.value = nn.Linear(C, 3 * C), value
        self.register_buffer("padding", torch.arange(T) >= T - 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (y.view(1, T, HEADS, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        scores = (q @ k.transpose(-2, -1) / 4).masked_fill(self.padding, self.value)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(1, T, C)


class Patches(nn.Module):
    """Patches and a class token with positions, a block, and the class token's head."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, C, 8, 8)
        self.token, self.positions = (
            nn.Parameter(torch.randn(1, n, C) * 0.5) for n in (1, 17))
        self.block = nn.TransformerEncoderLayer(C, HEADS, 2 * C, batch_first=True,
                                                activation="gelu", norm_first=True)
        self.norm, self.head, self.mean = nn.LayerNorm(C), nn.Linear(C, 12), mean

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(len(y), -1, -1), y], 1) + self.positions
        y = self.norm(self.block(y))
        found: torch.Tensor = self.head(y.mean(1) if self.mean else y[:, 0])
        return found


class Norm(nn.Module):
    """A norm in small operators, between two layers."""

    def __init__(self, rms: bool) -> None:
        super().__init__()
        self.first, self.last, self.rms = nn.Linear(C, 48), nn.Linear(48, 16), rms
        self.gamma, self.beta = nn.Parameter(torch.rand(48) + 0.5), nn.Parameter(torch.randn(48))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        if not self.rms:
            x = x - x.mean(-1, keepdim=True)
        x = x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.gamma
        y: torch.Tensor = self.last(x if self.rms else x + self.beta)
        return y


class Graph(nn.Module):
    """A constant matrix by tokens by weights: a graph convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("near", torch.rand(T, T).softmax(-1))
        self.layer = nn.Linear(C, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.near @ self.layer(x)).relu()


class Unfolded(nn.Module):
    """MobileViT's: of each place in the patches of 2 x 2 pixels, attention over all patches."""

    def __init__(self) -> None:
        super().__init__()
        self.local, self.fold = nn.Conv2d(3, C, 3, 4, 1), nn.Conv2d(C, 8, 1)
        self.block = nn.TransformerEncoderLayer(C, HEADS, 2 * C, batch_first=True,
                                                activation="gelu", norm_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.local(x)
        _, c, h, w = x.shape
        y = x.reshape(c * h // 2, 2, w // 2, 2).transpose(1, 2)
        y = y.reshape(1, c, h * w // 4, 4).transpose(1, 3).reshape(4, h * w // 4, c)
        y = self.block(y).reshape(1, 4, h * w // 4, c).transpose(1, 3)
        y = y.reshape(c * h // 2, w // 2, 2, 2).transpose(1, 2).reshape(1, c, h, w)
        found: torch.Tensor = self.fold(y)
        return found


class NonLocal(nn.Module):
    """Pixels over pixels of an image (Wang et al., 2018), channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, C, 4, 4)
        self.query, self.key, self.value = (nn.Conv2d(C, 16, 1) for _ in range(3))
        self.last = nn.Conv2d(16, C, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        q, k, v = (f(x).flatten(2) for f in (self.query, self.key, self.value))
        shares = (q.transpose(1, 2) @ k).softmax(-1)
        y = (shares @ v.transpose(1, 2)).transpose(1, 2).reshape(1, 16, *x.shape[2:])
        found: torch.Tensor = x + self.last(y)
        return found


class Learnt(nn.Module):
    """Scores with a learnt bias, as relative positions have it, and a second input's length."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.bias = nn.Linear(C, 3 * C), nn.Parameter(torch.randn(HEADS, T, T))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).view(1, T, 3, HEADS, C // HEADS).permute(2, 0, 3, 1, 4)
        scores = q * 0.25 @ k.transpose(-2, -1) + self.bias
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(1, T, C)


CAUSAL = nn.Transformer.generate_square_subsequent_mask(T)
CASES: dict[str, tuple[Callable[[], nn.Module], Counter[str]]] = {
    "self-attention": (lambda: SelfAttention(False),
                       Counter(matmul=4, softmax=2, transpose=2, conv=2, slice=6, concat=1)),
    "heads without batch": (lambda: SelfAttention(True),
                            Counter(matmul=4, softmax=2, transpose=2, conv=2, slice=6, concat=1)),
    "encoder layer": (lambda: Layer(None), Counter(matmul=4, softmax=2, norm=2)),
    "norm first, GELU": (lambda: Layer(None, norm_first=True, activation="gelu"),
                         Counter(matmul=4, softmax=2, norm=2)),
    "causal": (lambda: Layer(CAUSAL), Counter(matmul=4, softmax=2, norm=2, constant=1)),
    "padding of -inf": (lambda: Filled(-torch.inf), Counter(matmul=4, softmax=2, constant=1)),
    "padding of -1e9": (lambda: Filled(-1e9), Counter(matmul=4, softmax=2, constant=1)),
    "class token": (lambda: Patches(False), Counter(norm=3, constant=2)),
    "mean of tokens": (lambda: Patches(True), Counter(norm=3, constant=2)),
    "layer norm": (lambda: Norm(False), Counter(norm=1, conv=2)),
    "RMS norm": (lambda: Norm(True), Counter(norm=1, conv=2)),
    "unfolded": (Unfolded, Counter(matmul=16, softmax=8, norm=2)),
    "non-local": (NonLocal, Counter(matmul=2, softmax=1)),
    "learnt bias": (Learnt, Counter(matmul=4, softmax=2, constant=2)),
    "graph": (Graph, Counter(matmul=1, constant=1, transpose=1, conv=1)),
}


@cache
def network(name: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Float and quantised."""
    torch.manual_seed(len(name))
    made = CASES[name][0]()
    shape = (1, 3, 32, 32) if isinstance(made, Patches | Unfolded | NonLocal) else (1, T, C)
    model = exported(made, shape)
    random = np.random.default_rng(0)
    return model, quantize(model, [random.normal(0, 1, shape).astype(np.float32)
                                   for _ in range(4)])


@pytest.mark.parametrize("name", CASES)
def test_no_layer_differs_by_more_than_one(name: str) -> None:
    quantised = network(name)[1]
    found = Counter(n.op for n in import_onnx(quantised).nodes)
    for op, count in CASES[name][1].items():
        assert found[op] == count, found
    agree(quantised, rate=0.02)


@pytest.mark.parametrize("name", CASES)
def test_the_simulator_gives_the_same(name: str) -> None:
    program = compile_model(network(name)[1], preset("tiny"), "attention")
    entry = program.header["inputs"][0]
    random = np.random.default_rng(3)
    x = {entry["name"]: random.integers(-128, 128, entry["shape"]).astype(np.int8)}
    expected, found = GoldenDevice(program).run(x).outputs, IssDevice(program).run(x).outputs
    assert expected.keys() == found.keys()
    for key in expected:
        assert np.array_equal(expected[key], found[key])


@pytest.mark.parametrize("name", ["heads without batch", "encoder layer", "class token"])
def test_files_of_onnxruntimes_quantiser(name: str, tmp_path: Path) -> None:
    """Operands have any zero point, and hold -128."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quant_pre_process(network(name)[0], tmp_path / "whole.onnx", skip_symbolic_shape=True)
        model = quantise_static(onnx.load(tmp_path / "whole.onnx"), tmp_path, unsigned=True)
    agree(model, rate=0.02)


@pytest.mark.parametrize("zero_point", [-128, -127, -3, 126, 127])
@pytest.mark.parametrize("turned", [False, True])
def test_second_operands_with_any_zero_point(zero_point: int, turned: bool) -> None:
    n = Net((1, T, C))
    x = n.q("x", 0.03, 5)
    a, b = (n.q(n.op("MatMul", x, n.weight(C, 16, axis=1)), 0.011, z) for z in (7, zero_point))
    if turned:
        y = n.q(n.op("MatMul", a, n.op("Transpose", b, perm=[0, 2, 1])), 0.013, -20)
    else:
        y = n.q(n.op("MatMul", n.op("Transpose", a, perm=[0, 2, 1]), b), 0.0137, -20)
    agree(n.model(y), rate=0.03)


@pytest.mark.parametrize("least", [-128, -127])
def test_a_constant_as_second_operand(least: int) -> None:
    """Of a product with a constant the operand that varies comes first or second."""
    n = Net((1, T, C))
    values = np.clip(n.random.integers(-140, 128, (1, 6, T)), least, 127)
    near = n.op("DequantizeLinear", n.constant(values, np.int8), n.constant(0.01),
                n.constant(-3, np.int8))
    agree(n.model(n.q(n.op("MatMul", near, n.q("x", 0.03, 5)), 0.0517)), rate=0.03)


def test_what_the_quantiser_chooses() -> None:
    graph = import_onnx(network("causal")[1])
    for node in graph.nodes:
        inputs = [graph.tensors[i] for i in node.inputs]
        if node.op == "matmul":
            assert inputs[1].zero_point == 0 and inputs[0].zero_point in (0, -127)
        if node.op == "softmax":
            out = graph.tensors[node.output]
            assert out.scale == pytest.approx(1 / 256) and out.zero_point == -127
            assert "above" not in node.inputs[0]
    assert not any("half" in t for t in graph.tensors)
