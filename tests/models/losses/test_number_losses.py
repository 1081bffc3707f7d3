"""L1 and smooth L1 against PyTorch's own, by hand and by differences."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from falconet.isa import FalconetError
from falconet_models.losses import l1, smooth_l1

torch.set_num_threads(1)
LOSSES = {"l1": l1, "smooth_l1": smooth_l1}


def test_by_hand() -> None:
    """Differences 0.5, 2 and 0; with beta 1: 0.125 + 1.5."""
    a, b = torch.tensor([[0.5, 1.0, 3.0]]), torch.tensor([[0.0, 3.0, 3.0]])
    assert l1(a, b).tolist() == [2.5]
    assert smooth_l1(a, b).tolist() == [1.625]
    assert smooth_l1(a, b, beta=2.0).tolist() == [0.0625 + 1.0]
    assert smooth_l1(a, b, beta=0.0).tolist() == [2.5]


@pytest.mark.parametrize("beta", [1 / 9, 1.0, 3.0])
def test_is_pytorchs(beta: float) -> None:
    a, b = torch.randn(2, 32, 4, generator=torch.Generator().manual_seed(0))
    expected = F.smooth_l1_loss(a, b, beta=beta, reduction="none").sum(1)
    assert torch.allclose(smooth_l1(a, b, beta=beta), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_by_differences(name: str) -> None:
    gen = torch.Generator().manual_seed(1)
    a, b = 2 * torch.randn(2, 16, 4, generator=gen, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, b), (a.requires_grad_(),))


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_samples_add_nothing(name: str) -> None:
    a, b = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(2))
    ignored = torch.tensor([True, False, False, True, False, False])
    plain = LOSSES[name](a, b)
    a[ignored] = float("nan")
    a.requires_grad_()
    loss = LOSSES[name](a, b, ignored=ignored)
    loss.sum().backward()
    assert torch.equal(loss, plain.masked_fill(ignored, 0.0))
    assert (a.grad[ignored] == 0).all() and (a.grad[~ignored] != 0).all()


def test_refusal() -> None:
    with pytest.raises(FalconetError, match=r"predictions \[3, 4\] and targets \[3, 1\]"):
        l1(torch.zeros(3, 4), torch.zeros(3, 1))
