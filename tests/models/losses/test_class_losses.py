"""Losses of classes: cases by hand, PyTorch's own, gradients, and samples that are ignored."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from falconet_models.losses import CLASS_LOSSES, balance, cross_entropy, focal, hinge, soften

torch.set_num_threads(1)


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


def test_balance() -> None:
    """Every class that occurs adds as much as any other, and all together what they did before."""
    counts = torch.tensor([90, 9, 0, 1])
    weights = balance(counts)
    assert (weights * counts).tolist() == pytest.approx([100 / 3, 100 / 3, 0, 100 / 3])


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
    assert torch.allclose(CLASS_LOSSES["binary"](logits, classes), expected, atol=1e-6)
    sides = torch.where(shares > 0, 0.25, 0.75)
    expected = F.binary_cross_entropy_with_logits(logits, shares, sides, reduction="none").sum(1)
    assert torch.allclose(CLASS_LOSSES["balanced_binary"](logits, classes), expected, atol=1e-6)


def test_focal_forgets_what_is_easy() -> None:
    """gamma 0 to 2: an easy sample's share of the loss falls from about 1/25 to below 1/10,000."""
    logits = torch.tensor([[3.0], [-3.0]])
    shares = [(loss := focal(logits, torch.zeros(2, dtype=torch.int64), gamma=g))[0] / loss[1]
              for g in (0.0, 2.0)]
    assert shares[0] == pytest.approx(0.0159, rel=0.01) and shares[1] < 1e-4


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_finite_where_the_sigmoid_is_full(gamma: float) -> None:
    logits = torch.tensor([[100.0, -100.0], [-100.0, 100.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([0, 0]), gamma=gamma)
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all() and loss[0] < 1e-6 < loss[1]


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "binary"])
def test_soft_targets_are_mixed(name: str) -> None:
    """At the targets' own shares the loss has no slope; classes as shares give the same loss."""
    logits, classes = sample(5)
    hot = F.one_hot(classes, 5).double()
    assert torch.allclose(CLASS_LOSSES[name](logits, hot), CLASS_LOSSES[name](logits, classes))
    calm = (logits / 4).requires_grad_()
    own = calm.detach().softmax(1) if name == "cross_entropy" else calm.detach().sigmoid()
    CLASS_LOSSES[name](calm, own, **({"alpha": None} if name == "focal" else {})).sum().backward()
    assert calm.grad.abs().max() < 1e-5


def test_hinge_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.5, 1.0, 0.0], [0.0, 2.0, 1.5]])
    assert hinge(logits, torch.tensor([0, 0, 1])).tolist() == [0.0, 1.5, 0.5]


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_gradient_by_differences(name: str) -> None:
    logits, classes = sample(3, 8)
    assert torch.autograd.gradcheck(
        lambda x: CLASS_LOSSES[name](x, classes), (logits.requires_grad_(),), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_ignored_samples_add_nothing(name: str) -> None:
    """Not even when they are not finite."""
    logits, classes = sample(4)
    ignored = torch.arange(len(classes)) % 3 == 0
    wild, unknown = logits.clone(), classes.masked_fill(ignored, -1)
    wild[ignored] = float("inf")
    wild.requires_grad_()
    loss = CLASS_LOSSES[name](wild, unknown, ignored=ignored)
    assert (loss[ignored] == 0).all()
    assert torch.equal(loss[~ignored], CLASS_LOSSES[name](logits, classes)[~ignored])
    loss.sum().backward()
    assert (wild.grad[ignored] == 0).all() and wild.grad.isfinite().all()
    assert (wild.grad[~ignored] != 0).any()
