"""Losses of classes: cases by hand, PyTorch's own, gradients, and samples that are ignored."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from falconet_models.losses import cross_entropy, focal, hinge, soften

torch.set_num_threads(1)
LOSSES = {"cross_entropy": cross_entropy, "focal": focal, "hinge": hinge}


def sample(seed: int = 0, count: int = 32, classes: int = 5) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(count, classes, generator=gen, dtype=torch.float64),
            torch.randint(0, classes, (count,), generator=gen))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_pytorchs(smoothing: float) -> None:
    logits, classes = sample()
    expected = F.cross_entropy(logits, classes, label_smoothing=smoothing, reduction="none")
    found = cross_entropy(logits, classes, smoothing=smoothing)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(
        cross_entropy(logits, soften(classes, 5), smoothing=smoothing), expected, atol=1e-6)


def test_balanced_weights() -> None:
    logits, classes = sample(1)
    weights = torch.tensor([0.2, 1.0, 3.0, 0.5, 2.0], dtype=torch.float64)
    assert torch.allclose(cross_entropy(logits, classes, weights=weights),
                          F.cross_entropy(logits, classes, weights, reduction="none"), atol=1e-6)


def test_smoothing_by_hand() -> None:
    shares = soften(torch.tensor([1]), 4, 0.2)[0].tolist()
    assert shares == pytest.approx([0.05, 0.85, 0.05, 0.05])


def test_focal_by_hand() -> None:
    """p = 0.9 of the class: 0.25 · 0.1² · -ln 0.9; p = 0.2 of another: 0.75 · 0.2² · -ln 0.8."""
    logits = torch.tensor([[math.log(9.0), math.log(0.25)]])
    expected = -0.25 * 0.01 * math.log(0.9) - 0.75 * 0.04 * math.log(0.8)
    assert focal(logits, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)
    background = focal(logits, torch.zeros(1, 2)).item()
    assert background == pytest.approx(
        -0.75 * 0.81 * math.log(0.1) - 0.75 * 0.04 * math.log(0.8), rel=1e-5)


def test_focal_without_focus_is_binary_cross_entropy() -> None:
    logits, classes = sample(2)
    shares = soften(classes, 5).double()
    expected = F.binary_cross_entropy_with_logits(logits, shares, reduction="none").sum(1)
    assert torch.allclose(focal(logits, classes, gamma=0, alpha=None), expected, atol=1e-6)


def test_hinge_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.5, 1.0, 0.0], [0.0, 2.0, 1.5]])
    assert hinge(logits, torch.tensor([0, 0, 1])).tolist() == [0.0, 1.5, 0.5]


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_by_differences(name: str) -> None:
    logits, classes = sample(3, 8)
    assert torch.autograd.gradcheck(
        lambda x: LOSSES[name](x, classes), (logits.requires_grad_(),), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_samples_add_nothing(name: str) -> None:
    """Not even when they are not finite."""
    logits, classes = sample(4)
    ignored = torch.arange(len(classes)) % 3 == 0
    wild = logits.clone()
    wild[ignored] = float("inf")
    wild.requires_grad_()
    loss = LOSSES[name](wild, classes, ignored=ignored)
    assert (loss[ignored] == 0).all()
    assert torch.equal(loss[~ignored], LOSSES[name](logits, classes)[~ignored])
    loss.sum().backward()
    assert (wild.grad[ignored] == 0).all() and wild.grad.isfinite().all()
    assert (wild.grad[~ignored] != 0).any()
