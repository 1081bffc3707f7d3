"""The blocks of all networks here, float or quantised as the machine computes them.

One definition in three styles, with the same names of parameters:

``"float"``      convolution, batch norm, activation: what is trained first
``"folded"``     the batch norm is in the convolution's weight and bias; float
``"quantised"``  as folded, in Brevitas layers: weights int8 per output channel in [-127, 127],
                 biases int32, activations per tensor, uint8 where they are never negative, else
                 int8; rounding is half to even (docs/arithmetic.md)

Activations that the machine does by table (h-swish, hard sigmoid) are quantised before and behind:
a table has 256 entries. In the quantised style blocks take and give Brevitas's ``QuantTensor``,
because a bias needs its input's scale; :func:`real` is what it stands for.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import brevitas.nn as qnn
import torch
from brevitas.inject.enum import ScalingImplType
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int32Bias,
    Uint8ActPerTensorFloat,
)
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from falconet_models.architecture import divisible

__all__ = [
    "ACTIVATIONS", "STYLES", "Act", "Activation", "Add", "Classify", "Input", "Pool",
    "SqueezeExcite", "Style", "Unit", "Upsample", "divisible", "laid_out", "limit", "quantiser",
    "real",
]

Style = Literal["float", "folded", "quantised"]
Act = Literal["", "relu", "relu6", "hswish", "hsigmoid"]
Module = TypeVar("Module", bound=nn.Module)
STYLES: tuple[Style, ...] = ("float", "folded", "quantised")

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "": nn.Identity, "relu": nn.ReLU, "relu6": nn.ReLU6, "hswish": nn.Hardswish,
    "hsigmoid": nn.Hardsigmoid,
}
_BY_TABLE = ("hswish", "hsigmoid")
_SIGNED = ("", "hswish")


def real(x: Any) -> torch.Tensor:
    """The float tensor that ``x``, quantised or not, stands for."""
    value: torch.Tensor = x if isinstance(x, torch.Tensor) else x.value
    return value


def laid_out(module: Module, form: torch.memory_format) -> Module:
    """``module`` itself, its weights in that order of memory (an argument torch has no type of)."""
    untyped: Any = module
    untyped.to(memory_format=form)
    return module


def quantiser(style: Style, *, signed: bool) -> nn.Module:
    """What stores a tensor in 8 bits with a learned scale; nothing in the float styles."""
    if style != "quantised":
        return nn.Identity()
    kind = Int8ActPerTensorFloat if signed else Uint8ActPerTensorFloat
    found: nn.Module = qnn.QuantIdentity(act_quant=kind, return_quant_tensor=True)
    return found


def limit(quant: nn.Module) -> torch.Tensor:
    """The learned parameter of a :func:`quantiser`: 128 (signed) or 255 times its scale."""
    assert isinstance(quant, qnn.QuantIdentity)
    found: torch.Tensor = quant.act_quant.fused_activation_quant_proxy.tensor_quant \
        .scaling_impl.value
    return found


class Input(nn.Module):
    """The image as the host stores it: int8 with the fixed scale ``step``."""

    def __init__(self, style: Style, step: float) -> None:
        super().__init__()
        self.quant: nn.Module = nn.Identity()
        if style == "quantised":
            kind = Int8ActPerTensorFloat.let(
                scaling_impl_type=ScalingImplType.CONST, scaling_init=128 * step)
            self.quant = qnn.QuantIdentity(act_quant=kind, return_quant_tensor=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.quant(x)


class Activation(nn.Module):
    """A function, and how its result is stored; one by table is stored before it too."""

    def __init__(self, style: Style, kind: Act) -> None:
        super().__init__()
        self.kind = kind
        self.before = quantiser(style, signed=True) if kind in _BY_TABLE else nn.Identity()
        self.function = ACTIVATIONS[kind]()
        self.after = quantiser(style, signed=kind in _SIGNED)

    def forward(self, x: Any) -> Any:
        return self.after(self.function(real(self.before(real(x)))))


class Unit(nn.Module):
    """Convolution, batch norm (unless ``norm`` is false) and activation.

    Pads keep the size: ``kernel // 2`` all round.
    """

    def __init__(
        self, style: Style, inp: int, out: int, kernel: int = 1, *, stride: int = 1,
        groups: int = 1, act: Act = "", norm: bool = True,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"stride": stride, "padding": kernel // 2, "groups": groups}
        if style == "quantised":
            self.conv: nn.Conv2d = qnn.QuantConv2d(
                inp, out, kernel, bias=True, weight_quant=Int8WeightPerChannelFloat,
                bias_quant=Int32Bias, return_quant_tensor=False, **options)
        else:
            self.conv = nn.Conv2d(inp, out, kernel, bias=style == "folded" or not norm, **options)
        self.norm = nn.BatchNorm2d(out) if norm and style == "float" else nn.Identity()
        self.act = Activation(style, act)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Any) -> Any:
        return self.act(self.norm(self.conv(x)))

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias with the batch norm in them."""
        conv, norm = self.conv, self.norm
        weight: torch.Tensor
        bias: torch.Tensor
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            weight, bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps,
                norm.weight, norm.bias)
        else:
            assert conv.bias is not None
            weight, bias = conv.weight, conv.bias
        return weight.detach().clone(), bias.detach().clone()


class Add(nn.Module):
    """The sum of two tensors."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.after = quantiser(style, signed=True)

    def forward(self, a: Any, b: Any) -> Any:
        return self.after(real(a) + real(b))


class Upsample(nn.Module):
    """Every pixel twice in both directions: no new numbers, no quantiser."""

    def forward(self, x: Any) -> torch.Tensor:
        return nn.functional.interpolate(real(x), scale_factor=2, mode="nearest")


class Pool(nn.Module):
    """The mean over the image, [B, C, 1, 1], of what ``act`` left behind."""

    def __init__(self, style: Style, act: Act) -> None:
        super().__init__()
        self.after = quantiser(style, signed=act in _SIGNED)

    def forward(self, x: Any) -> Any:
        return self.after(nn.functional.adaptive_avg_pool2d(real(x), 1))


class SqueezeExcite(nn.Module):
    """Channels weighted by a function of their means (Hu et al., 2018; as in MobileNetV3)."""

    def __init__(self, style: Style, channels: int, act: Act) -> None:
        super().__init__()
        hidden = divisible(channels / 4)
        self.pool = Pool(style, act)
        self.reduce = Unit(style, channels, hidden, act="relu", norm=False)
        self.expand = Unit(style, hidden, channels, act="hsigmoid", norm=False)
        self.after = quantiser(style, signed=act in _SIGNED)

    def forward(self, x: Any) -> Any:
        return self.after(real(x) * real(self.expand(self.reduce(self.pool(x)))))


class Classify(nn.Module):
    """Mean, an optional hidden layer with h-swish, and one logit a class, [B, classes]."""

    def __init__(
        self, style: Style, inp: int, classes: int, *, act: Act, hidden: int = 0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.pool = Pool(style, act)
        self.hidden = (Unit(style, inp, hidden, act="hswish", norm=False) if hidden
                       else nn.Identity())
        self.dropout = nn.Dropout(dropout if style != "quantised" else 0.0)
        self.logits = Unit(style, hidden or inp, classes, norm=False)
        nn.init.normal_(self.logits.conv.weight, std=0.01)

    def forward(self, x: Any) -> torch.Tensor:
        return torch.flatten(real(self.logits(self.dropout(self.hidden(self.pool(x))))), 1)
