"""Distillation: cases by hand, PyTorch's own, gradients, and teachers that stay as they are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from falconet.isa import FalconetError
from falconet_models.losses import Features, attention_transfer, soft_targets

torch.set_num_threads(1)


def logits(seed: int, n: int = 2, rows: int = 8, classes: int = 5) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, rows, classes, generator=gen, dtype=torch.float64)


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_soft_targets_by_hand() -> None:
    """At T = 2 the teacher's 2 ln 3 : 0 is 3/4 : 1/4, the student's is 1/2 each."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[2 * math.log(3.0), 0.0]])
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert soft_targets(student, teacher, temperature=2.0).item() == pytest.approx(expected)
    first = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert soft_targets(student, teacher, temperature=2.0, binary=True).item() == pytest.approx(
        4 * first)  # the second class is 1/2 in both


def test_binary_is_a_softmax_of_yes_and_no() -> None:
    s, t = logits(0)
    pairs = [torch.stack([x, torch.zeros_like(x)], 2).flatten(0, 1) for x in (s, t)]
    assert torch.allclose(soft_targets(s, t, binary=True),
                          soft_targets(*pairs).reshape(s.shape).sum(1))


def test_several_teachers_are_averaged() -> None:
    s, *teachers = logits(1, 4)
    mean = torch.stack([(t / 3).softmax(1) for t in teachers]).mean(0)
    assert torch.allclose(soft_targets(s, teachers, temperature=3.0),
                          soft_targets(s, 3 * mean.log(), temperature=3.0))
    assert not torch.allclose(soft_targets(s, teachers), soft_targets(s, sum(teachers) / 3))


@pytest.mark.parametrize("binary", [False, True])
def test_soft_targets_gradient(binary: bool) -> None:
    s, t = logits(2)
    assert torch.autograd.gradcheck(
        lambda x: soft_targets(x, t, binary=binary), (s.requires_grad_(),))
    loss = soft_targets(s, t, binary=binary)
    assert (loss > 0).all() and soft_targets(t, t, binary=binary).abs().max() < 1e-12


def test_weight_keeps_the_gradient_at_high_temperature() -> None:
    """Hinton et al., equation 4: T^2 times the gradient tends to (student - teacher) / classes."""
    s, t = [x - x.mean(1, keepdim=True) for x in logits(3)]
    s.requires_grad_()
    soft_targets(s, t, temperature=1e4).sum().backward()
    assert torch.allclose(s.grad, (s.detach() - t) / 5, atol=1e-3)


@pytest.mark.parametrize("binary", [False, True])
def test_ignored_samples_add_nothing(binary: bool) -> None:
    s, t = logits(4)
    plain = soft_targets(s, t, binary=binary)
    ignored = torch.arange(8) % 2 == 0
    s[ignored], t[ignored] = float("inf"), float("nan")
    s.requires_grad_()
    loss = soft_targets(s, t, binary=binary, ignored=ignored)
    loss.sum().backward()
    assert torch.equal(loss, plain.masked_fill(ignored, 0.0))
    assert (s.grad[ignored] == 0).all() and s.grad.isfinite().all()


def test_features_by_hand() -> None:
    """The adapter doubles and adds 1: 2 * 3 + 1 - 4 = 3, so 9 / 2."""
    loss = Features(1, 2)
    torch.nn.init.constant_(loss.adapter.weight, 2.0)
    torch.nn.init.constant_(loss.adapter.bias, 1.0)
    found = loss(torch.full((3, 1, 2, 2), 3.0), torch.full((3, 2, 2, 2), 4.0))
    assert found.tolist() == [4.5] * 3


def test_a_larger_teacher_is_pooled() -> None:
    loss, s, t = Features(3, 4).double(), maps(5, 2, 3, 4, 4), maps(6, 2, 4, 8, 8)
    assert torch.allclose(loss(s, t), loss(s, F.avg_pool2d(t, 2)))
    look = (t**2).mean(1, keepdim=True)
    assert torch.allclose(attention_transfer(s, t),
                          attention_transfer(s, F.avg_pool2d(look, 2).sqrt()))


def test_adapter_learns_a_linear_teacher() -> None:
    s = maps(7, 4, 3, 4, 4)
    t = torch.einsum("tc,bchw->bthw", maps(8, 5, 3), s) + 1
    loss = Features(3, 5).double()
    optimiser = torch.optim.LBFGS(loss.parameters(), max_iter=60)

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(s, t).sum()
        value.backward()
        return value

    before = closure().item()
    optimiser.step(closure)
    assert closure().item() < 1e-6 < before


def test_attention_by_hand() -> None:
    """(3, 4) / 5 against (1, 0): 0.16 + 0.64; elsewhere at all: 2; the same up to a factor: 0."""
    s = torch.tensor([3.0, 4.0]).sqrt().reshape(1, 1, 1, 2)
    one, other = torch.tensor([5.0, 0]).reshape(1, 1, 1, 2), torch.tensor([0, 7.0])
    assert attention_transfer(s, one).item() == pytest.approx(0.8)
    assert attention_transfer(other.reshape(1, 1, 1, 2), one).item() == pytest.approx(2)
    assert attention_transfer(s, -9 * s.repeat(1, 6, 1, 1)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["features", "attention"])
def test_gradients_of_maps(name: str) -> None:
    s, t = maps(9, 2, 3, 3, 3).requires_grad_(), maps(10, 2, 4, 3, 3).requires_grad_()
    loss = Features(3, 4).double() if name == "features" else attention_transfer
    assert torch.autograd.gradcheck(lambda x: loss(x, t), (s,))
    loss(s, t).sum().backward()
    assert t.grad is None and s.grad.abs().max() > 0


def test_nothing_to_look_at_is_finite() -> None:
    s = torch.zeros(1, 3, 4, 4, requires_grad=True)
    attention_transfer(s, torch.ones(1, 3, 4, 4)).sum().backward()
    assert s.grad.isfinite().all()


def test_soft_teacher_gets_no_gradient() -> None:
    s, t = (x.clone().requires_grad_() for x in logits(11))
    soft_targets(s, t).sum().backward()
    assert t.grad is None and s.grad.abs().max() > 0


def test_refusals() -> None:
    with pytest.raises(FalconetError, match=r"logits \[2, 3\] of the student and \[\[2, 4\]\]"):
        soft_targets(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(FalconetError, match=r"and \[\] of its teachers"):
        soft_targets(torch.zeros(2, 3), [])
    with pytest.raises(FalconetError, match=r"features \[2, 3, 4, 4\] and \[1, 3, 4, 4\]"):
        Features(3, 3)(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))
