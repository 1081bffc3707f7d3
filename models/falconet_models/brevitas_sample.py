"""A small network from Brevitas, as its users export theirs: digits on coloured ground.

It is what the importer of QCDQ files is tested on: a strided first convolution, inverted
residuals with ReLU6 and with ReLU, a residual addition, global average pooling, a linear layer.
Pictures are drawn with the fonts that matplotlib ships. To make the files anew (a few minutes)::

    pip install -e '.[train]' matplotlib pillow
    python -m falconet_models.brevitas_sample tests/data

This writes ``brevitas_digits.onnx`` and ``brevitas_digits.npz``: ``images`` uint8 [N, 32, 32, 3],
``labels``, and of the float network ``float_top1`` [N] and ``float_logits`` [N, 10], of the
quantised one in PyTorch ``quant_logits`` [N, 10].
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import matplotlib
import numpy as np
import onnx
import torch
from brevitas.export import export_onnx_qcdq
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int32Bias,
    Uint8ActPerTensorFloat,
)
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from falconet_models.metadata import set_meta
from falconet_models.networks.layers import laid_out

SIZE = 32
MEAN, STD = 127.5, 63.75
_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol",
)

Pictures = NDArray[np.uint8]


def draw(count: int, seed: int) -> tuple[Pictures, NDArray[np.int64]]:
    """Digits of random font, size, place, slant and colours; [count, 32, 32, 3] and labels."""
    rng = np.random.default_rng(seed)
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    labels = rng.integers(0, 10, count)
    ramp = np.linspace(0, 1, SIZE)
    for i, label in enumerate(labels):
        font = ImageFont.truetype(str(folder / f"{rng.choice(_FONTS)}.ttf"),
                                  int(rng.integers(15, 31)))
        mask = Image.new("L", (SIZE, SIZE))
        place = tuple(SIZE / 2 + rng.uniform(-4, 4, 2))
        ImageDraw.Draw(mask).text(place, str(label), fill=255, font=font, anchor="mm")
        mask = mask.rotate(float(rng.uniform(-20, 20)), Image.Resampling.BILINEAR)
        ink, first, second = rng.uniform(0, 255, (3, 3))
        while np.abs(ink - (first + second) / 2).max() < 70:
            ink = rng.uniform(0, 255, 3)
        mix = rng.uniform(-1, 1, 2) @ np.stack([a.ravel() for a in np.meshgrid(ramp, ramp)])
        ground = first + mix.reshape(SIZE, SIZE, 1) * (second - first) / 2
        alpha = np.asarray(mask, np.float64)[..., None] / 255
        images[i] = np.clip(np.round(ground + alpha * (ink - ground)), 0, 255)
    return images, labels


def tensor(images: Pictures) -> torch.Tensor:
    return torch.from_numpy(((images.astype(np.float32) - MEAN) / STD).transpose(0, 3, 1, 2))


# name, output channels, input channels, kernel, stride, groups, activation
LAYERS = (
    ("stem", 16, 3, 3, 2, 1, "relu6"),
    ("expand1", 48, 16, 1, 1, 1, "relu6"),
    ("depthwise1", 48, 48, 3, 1, 48, "relu6"),
    ("project1", 16, 48, 1, 1, 1, ""),
    ("expand2", 48, 16, 1, 1, 1, "relu"),
    ("depthwise2", 48, 48, 3, 2, 48, "relu"),
    ("project2", 32, 48, 1, 1, 1, ""),
    ("expand3", 96, 32, 1, 1, 1, "relu"),
    ("depthwise3", 96, 96, 3, 1, 96, "relu6"),
    ("project3", 32, 96, 1, 1, 1, ""),
    ("head", 64, 32, 1, 1, 1, "relu6"),
)
RESIDUALS = {"project1": "stem", "project3": "project2"}
"""Behind the layer, the result of the other is added."""


class Float(nn.Module):
    """The network with batch norm, as it is trained."""

    def __init__(self) -> None:
        super().__init__()
        for name, out, inp, k, stride, groups, _ in LAYERS:
            setattr(self, name, nn.Conv2d(inp, out, k, stride, k // 2, groups=groups, bias=False))
            setattr(self, f"{name}_norm", nn.BatchNorm2d(out))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen: dict[str, torch.Tensor] = {}
        for name, *_, act in LAYERS:
            x = getattr(self, f"{name}_norm")(getattr(self, name)(x))
            x = {"relu6": nn.ReLU6(), "relu": nn.ReLU(), "": nn.Identity()}[act](x)
            x = x + seen[RESIDUALS[name]] if name in RESIDUALS else x
            seen[name] = x
        logits: torch.Tensor = self.linear(x.mean((2, 3)))
        return logits


class Quantised(nn.Module):
    """The same with Brevitas layers and the batch norm folded."""

    def __init__(self, source: Float) -> None:
        super().__init__()
        source = copy.deepcopy(source).eval()
        options: dict[str, Any] = {
            "bias": True, "weight_quant": Int8WeightPerChannelFloat, "bias_quant": Int32Bias,
            "return_quant_tensor": False,
        }

        def identity(kind: Any) -> qnn.QuantIdentity:
            return qnn.QuantIdentity(act_quant=kind, return_quant_tensor=True)

        self.input_quant = identity(Int8ActPerTensorFloat)
        for name, out, inp, k, stride, groups, act in LAYERS:
            layer = qnn.QuantConv2d(inp, out, k, stride, k // 2, groups=groups, **options)
            folded = fuse_conv_bn_eval(getattr(source, name), getattr(source, f"{name}_norm"))
            layer.weight.data.copy_(folded.weight.data)
            layer.bias.data.copy_(folded.bias.data)
            setattr(self, name, layer)
            if act == "relu":
                after: nn.Module = qnn.QuantReLU(
                    act_quant=Uint8ActPerTensorFloat, return_quant_tensor=True)
            elif act == "relu6":
                after = nn.Sequential(nn.ReLU6(), identity(Uint8ActPerTensorFloat))
            else:
                after = identity(Int8ActPerTensorFloat)
            setattr(self, f"{name}_act", after)
            if name in RESIDUALS:
                setattr(self, f"{name}_add", identity(Int8ActPerTensorFloat))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pool_quant = identity(Uint8ActPerTensorFloat)
        self.linear = qnn.QuantLinear(64, 10, **options)
        self.linear.weight.data.copy_(source.linear.weight.data)
        self.linear.bias.data.copy_(source.linear.bias.data)
        self.output_quant = qnn.QuantIdentity(
            act_quant=Int8ActPerTensorFloat, return_quant_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stored: Any = self.input_quant(x)  # Brevitas's QuantTensor
        seen: dict[str, Any] = {}
        for name, *_ in LAYERS:
            stored = getattr(self, f"{name}_act")(getattr(self, name)(stored))
            if name in RESIDUALS:
                stored = getattr(self, f"{name}_add")(stored.value + seen[RESIDUALS[name]].value)
            seen[name] = stored
        stored = self.pool_quant(self.pool(stored.value))
        logits: torch.Tensor = self.output_quant(self.linear(torch.flatten(stored, 1)))
        return logits


def train(model: nn.Module, steps: int, rate: float, seed: int) -> None:
    """Cross entropy on freshly drawn batches."""
    images, labels = draw(20_000, seed)
    x, y = tensor(images).to(memory_format=torch.channels_last), torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    model.train()
    for step in range(steps):
        pick = torch.randint(0, len(x), (96,))
        loss = nn.functional.cross_entropy(model(x[pick]), y[pick])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"  step {step}: loss {loss.item():.3f}", flush=True)
    model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    model = laid_out(Float(), torch.channels_last)
    train(model, 600, 1e-2, 1)
    quantised = Quantised(model)
    train(quantised, 150, 5e-4, 2)

    images, labels = draw(2000, 3)
    with torch.no_grad():
        exact = model(tensor(images)).numpy()
        stored = quantised(tensor(images)).numpy()
    for name, logits in (("float", exact), ("int8", stored)):
        print(f"{name}: top-1 {np.mean(logits.argmax(1) == labels):.2%} of {len(labels)}")

    path = folder / "brevitas_digits.onnx"
    export_onnx_qcdq(
        quantised, args=torch.zeros(1, 3, SIZE, SIZE), export_path=str(path), dynamo=False,
        opset_version=17, keep_initializers_as_inputs=False, input_names=["input"],
        output_names=["logits"],
    )
    onnx_model = onnx.load(path)
    set_meta(onnx_model, {
        "model": "brevitas-digits",
        "preprocess": {"fit": "stretch", "size": [SIZE, SIZE], "colour": "RGB",
                       "mean": [MEAN] * 3, "std": [STD] * 3},
        "postprocess": {"kind": "classification", "output": "logits", "labels": list("0123456789")},
    })
    onnx.save(onnx_model, path)
    n = 20
    np.savez_compressed(
        folder / "brevitas_digits.npz", images=images[:n], labels=labels[:n],
        float_top1=exact[:n].argmax(1), float_logits=exact[:n].astype(np.float32),
        quant_logits=stored[:n].astype(np.float32),
    )
    for file in sorted(folder.glob("brevitas_digits.*")):
        print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
