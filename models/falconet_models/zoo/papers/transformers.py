"""Attention (Vaswani et al., 2017): encoder, decoder, and the vision transformers made of it.

Tokens are [B, T, C]. A product of queries and keys, its softmax over the keys, and a product with
the values: written as such, one matrix a head.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from falconet_models.zoo.papers.units import Size

__all__ = ["Attention", "Block", "Decoder", "Encoder", "VisionTransformer", "deit_tiny",
           "positions", "vit_tiny"]

_HIDDEN = -1e9  # what a score is lowered by where a key does not count


def positions(count: int, channels: int) -> torch.Tensor:
    """[1, count, channels]: sines and cosines of wavelengths from 2 pi to 20,000 pi."""
    rate = torch.exp(torch.arange(0, channels, 2) * (-math.log(10_000) / channels))
    angle = torch.arange(count)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[None]


class Attention(nn.Module):
    """Queries of ``x`` over keys and values of ``memory``, which may be ``x`` itself.

    ``mask`` [T, S] or [1, S] is added to the scores.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (channels // heads) ** -0.5
        self.query, self.key, self.value, self.project = (
            nn.Linear(channels, channels) for _ in range(4))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """[B, heads, T, C / heads]"""
        b, t, c = x.shape
        return x.view(b, t, self.heads, c // self.heads).transpose(1, 2)

    def forward(self, x: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None = None
                ) -> torch.Tensor:
        q, k, v = (self._split(y) for y in (self.query(x), self.key(memory), self.value(memory)))
        scores = q @ k.transpose(-2, -1) * self.scale
        if mask is not None:
            scores = scores + mask
        y: torch.Tensor = self.project((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return y


def _forward(channels: int, hidden: int, act: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, hidden), act(), nn.Linear(hidden, channels))


class _Layer(nn.Module):
    """Encoder or decoder layer, with a norm behind each sum, as the paper has it."""

    def __init__(self, channels: int, heads: int, hidden: int, *, crossed: bool) -> None:
        super().__init__()
        self.own = Attention(channels, heads)
        self.cross = Attention(channels, heads) if crossed else None
        self.dense = _forward(channels, hidden, nn.ReLU)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2 + crossed))

    def forward(self, x: torch.Tensor, mask: torch.Tensor, memory: torch.Tensor | None = None
                ) -> torch.Tensor:
        first, *norms = self.norms
        x = first(x + self.own(x, x, mask))
        if self.cross is not None:
            assert memory is not None
            x = norms.pop(0)(x + self.cross(x, memory))
        y: torch.Tensor = norms[0](x + self.dense(x))
        return y


class Encoder(nn.Module):
    """One layer of the base model over [B, T, C] with positions; the last tokens are padding."""

    positions: torch.Tensor
    mask: torch.Tensor

    def __init__(self, *, channels: int = 512, heads: int = 8, hidden: int = 2048,
                 tokens: int = 64, padding: int = 4) -> None:
        super().__init__()
        mask = torch.zeros(1, tokens)
        mask[:, tokens - padding:] = _HIDDEN
        self.register_buffer("positions", positions(tokens, channels))
        self.register_buffer("mask", mask)
        self.layer = _Layer(channels, heads, hidden, crossed=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x + self.positions, self.mask)
        return y


class Decoder(nn.Module):
    """One layer over [B, T, C], each token seeing those up to itself, and all of a memory
    [B, S, C]; shares of the words [B, T, words]."""

    positions: torch.Tensor
    mask: torch.Tensor

    def __init__(self, *, channels: int = 512, heads: int = 8, hidden: int = 2048,
                 tokens: int = 64, words: int = 1000) -> None:
        super().__init__()
        self.register_buffer("positions", positions(tokens, channels))
        self.register_buffer("mask", torch.full((tokens, tokens), _HIDDEN).triu(1))
        self.layer = _Layer(channels, heads, hidden, crossed=True)
        self.words = nn.Linear(channels, words)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.words(self.layer(x + self.positions, self.mask, memory))
        return logits.softmax(-1)


class Block(nn.Module):
    """Attention and two dense layers, each behind a norm and added to what it reads."""

    def __init__(self, channels: int, heads: int, hidden: int,
                 act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.heads, self.scale = heads, (channels // heads) ** -0.5
        self.before = nn.LayerNorm(channels)
        self.qkv, self.project = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.between = nn.LayerNorm(channels)
        self.dense = _forward(channels, hidden, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        qkv = self.qkv(self.before(x)).view(b, t, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        x = x + self.project((shares @ v).transpose(1, 2).flatten(2))
        y: torch.Tensor = x + self.dense(self.between(x))
        return y


class VisionTransformer(nn.Module):
    """Classifier of patches (Dosovitskiy et al., 2021); with ``distilled`` a second token has a
    head of its own, and the mean of both counts (Touvron et al., 2021)."""

    def __init__(self, *, size: Size, width: float = 1, classes: int = 1000, patch: int = 16,
                 depth: int = 12, distilled: bool = False) -> None:
        super().__init__()
        heads = max(1, round(3 * width))
        channels, count = 64 * heads, size[0] // patch * (size[1] // patch)
        self.patches = nn.Conv2d(3, channels, patch, patch)
        self.tokens = nn.Parameter(torch.zeros(1, 1 + distilled, channels))
        self.positions = nn.Parameter(torch.zeros(1, 1 + distilled + count, channels))
        self.blocks = nn.Sequential(*(Block(channels, heads, 4 * channels) for _ in range(depth)))
        self.norm = nn.LayerNorm(channels)
        self.heads = nn.ModuleList(nn.Linear(channels, classes) for _ in range(1 + distilled))
        for drawn in (self.tokens, self.positions):
            nn.init.normal_(drawn, std=0.3, generator=torch.Generator().manual_seed(0)
                            if drawn.device.type == "cpu" else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.tokens.expand(x.shape[0], -1, -1), x], 1) + self.positions
        x = self.norm(self.blocks(x))
        found: list[torch.Tensor] = [head(x[:, i]) for i, head in enumerate(self.heads)]
        return found[0] if len(found) == 1 else (found[0] + found[1]) / 2


vit_tiny = partial(VisionTransformer, distilled=False)
deit_tiny = partial(VisionTransformer, distilled=True)
