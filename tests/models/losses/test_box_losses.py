"""Box losses: cases by hand, gradients by differences, what their papers claim."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from falconet.isa import FalconetError
from falconet_models.losses import BOX_LOSSES, box_loss

torch.set_num_threads(1)
NAMES = list(BOX_LOSSES)
DETACHED = {"ciou", "alpha_ciou", "focal_eiou", "wiou_v1", "wiou_v2", "wiou_v3"}


def boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def loss_of(name: str, b: Tensor, g: Tensor) -> Tensor:
    return box_loss(name).eval()(b, g)


# Two squares that share a corner square; a lying and a standing box with one corner in common;
# two unit squares side by side with a gap.
SHIFTED = ((0, 0, 2, 2), (1, 1, 3, 3))
TURNED = ((0, 0, 4, 2), (0, 0, 2, 4))
APART = ((0, 0, 1, 1), (3, 0, 4, 1))
V = 4 / math.pi**2 * (math.atan(0.5) - math.atan(2.0))**2
A = V / (2 / 3 + V)
E9 = math.exp(1 / 9)
HAND = [
    ("iou", SHIFTED, 6 / 7), ("iou", TURNED, 2 / 3), ("iou", APART, 1.0),
    ("iou_log", SHIFTED, math.log(7)), ("iou_log", TURNED, math.log(3)),
    ("giou", SHIFTED, 6 / 7 + 2 / 9), ("giou", TURNED, 2 / 3 + 1 / 4), ("giou", APART, 1 + 2 / 4),
    ("diou", SHIFTED, 6 / 7 + 2 / 18), ("diou", TURNED, 2 / 3 + 2 / 32),
    ("diou", APART, 1 + 9 / 17),
    ("ciou", SHIFTED, 6 / 7 + 2 / 18), ("ciou", TURNED, 2 / 3 + 2 / 32 + A * V),
    ("eiou", SHIFTED, 6 / 7 + 2 / 18), ("eiou", TURNED, 2 / 3 + 2 / 32 + 4 / 16 + 4 / 16),
    ("focal_eiou", SHIFTED, (1 / 7)**0.5 * (6 / 7 + 2 / 18)), ("focal_eiou", APART, 0.0),
    ("siou", SHIFTED, 6 / 7 + (1 - math.exp(-1 / 9))),
    ("siou", TURNED, 2 / 3 + (1 - math.exp(-1 / 16)) + (1 - math.exp(-0.5))**4),
    ("siou", APART, 1 + (1 - math.exp(-2 * 9 / 16)) / 2),
    ("alpha_iou", SHIFTED, 1 - (1 / 7)**3),
    ("alpha_giou", SHIFTED, 1 - (1 / 7)**3 + (2 / 9)**3),
    ("alpha_diou", APART, 1 + (9 / 17)**3),
    ("alpha_ciou", TURNED, 1 - (1 / 3)**3 + (2 / 32)**3 + (A * V)**3),
    ("wiou_v1", SHIFTED, E9 * 6 / 7),
    ("wiou_v2", SHIFTED, E9 * 6 / 7 * (6 / 7)**0.5),
    ("wiou_v3", SHIFTED, E9 * 6 / 7 * (6 / 7) / (3 * 1.9 ** (6 / 7 - 3))),
]


@pytest.mark.parametrize(("name", "pair", "expected"), HAND)
def test_by_hand(name: str, pair: tuple, expected: float) -> None:
    b, g = boxes(pair[0]), boxes(pair[1])
    assert loss_of(name, b, g).item() == pytest.approx(expected, abs=1e-6)


def test_every_loss_has_a_case_by_hand() -> None:
    assert {name for name, _, _ in HAND} == set(NAMES)


def random_pairs(seed: int, count: int = 64) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    corners = 10 * torch.rand(2, count, 2, generator=gen, dtype=torch.float64)
    sizes = 1 + 9 * torch.rand(2, count, 2, generator=gen, dtype=torch.float64)
    b, g = torch.cat([corners, corners + sizes], 2)
    return b, g


def frozen(name: str, b0: Tensor, g: Tensor):
    """The loss with what carries no gradient held at ``b0``: a function of b [N, 4]."""
    from falconet_models.losses.iou import Pair

    p0 = Pair.of(b0, g)
    v0 = 4 / math.pi**2 * ((p0.wg / p0.hg).atan() - (p0.w / p0.h).atan())**2
    a0 = v0 / (1 - p0.iou + v0)
    beta = 1 - p0.iou
    gain = {"wiou_v1": 1.0, "wiou_v2": beta**0.5, "wiou_v3": beta / (3 * 1.9 ** (beta - 3))}

    def value(b: Tensor) -> Tensor:
        p = Pair.of(b, g)
        v = 4 / math.pi**2 * ((p.wg / p.hg).atan() - (p.w / p.h).atan())**2
        d = (p.dx**2 + p.dy**2) / (p.cw**2 + p.ch**2)
        if name == "ciou":
            return 1 - p.iou + d + a0 * v
        if name == "alpha_ciou":
            return 1 - p.iou.clamp(min=1e-6)**3 + d**3 + (a0 * v)**3
        if name == "focal_eiou":
            return p0.iou**0.5 * (1 - p.iou + d + (p.w - p.wg)**2 / p.cw**2
                                  + (p.h - p.hg)**2 / p.ch**2)
        return gain[name] * (1 - p.iou) * torch.exp(
            (p.dx**2 + p.dy**2) / (p0.cw**2 + p0.ch**2))

    return value


@pytest.mark.parametrize("name", NAMES)
def test_gradient_by_differences(name: str) -> None:
    b, g = random_pairs(1)
    x = b.clone().requires_grad_()
    loss_of(name, x, g).sum().backward()
    value = frozen(name, b, g) if name in DETACHED else lambda t: loss_of(name, t, g)
    step = 1e-6
    for i in range(4):
        e = torch.zeros(4, dtype=torch.float64)
        e[i] = step
        slope = (value(b + e) - value(b - e)) / (2 * step)
        assert torch.allclose(x.grad[:, i], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(DETACHED))
def test_detached_parts_would_show(name: str) -> None:
    """The true slope of the value differs, so the test above tells whether a part is detached."""
    b, g = random_pairs(1)
    x = b.clone().requires_grad_()
    loss_of(name, x, g).sum().backward()
    e = torch.tensor([1e-6, 0, 0, 0], dtype=torch.float64)
    slope = (loss_of(name, b + e, g) - loss_of(name, b - e, g)) / 2e-6
    assert not torch.allclose(x.grad[:, 0], slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_zero_at_the_truth_and_positive_elsewhere(name: str) -> None:
    b, g = random_pairs(2, 500)
    assert loss_of(name, g, g).abs().max() < 1e-5
    found = loss_of(name, b, g)
    touching = loss_of("iou", b, g) < 1
    assert (found[touching] > 0).all() and (found >= 0).all()


@pytest.mark.parametrize(("name", "low", "high"), [
    ("iou", 0, 1), ("giou", 0, 2), ("diou", 0, 2), ("ciou", 0, 3), ("eiou", 0, 4), ("siou", 0, 3),
    ("alpha_iou", 0, 1), ("alpha_giou", 0, 2), ("alpha_diou", 0, 2), ("wiou_v1", 0, math.e),
])
def test_range_and_its_end_at_distance(name: str, low: float, high: float) -> None:
    b, g = random_pairs(3, 2000)
    found = loss_of(name, b, g)
    assert found.min() >= low and found.max() <= high
    far = loss_of(name, boxes((0, 0, 1, 1)), boxes((1e6, 1e6, 1e6 + 1, 1e6 + 1))).item()
    limit = {"iou": 1, "alpha_iou": 1, "giou": 2, "diou": 2, "ciou": 2, "eiou": 2,
             "alpha_giou": 2, "alpha_diou": 2, "wiou_v1": math.e,
             "siou": 1 + (1 - math.exp(-1))}[name]
    assert far == pytest.approx(limit, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_boxes_apart_are_drawn_together_or_not(name: str) -> None:
    """What does not overlap moves by all but the losses made of the IoU alone or weighted by it."""
    x = boxes(APART[0]).requires_grad_()
    loss_of(name, x, boxes(APART[1])).sum().backward()
    still = name in {"iou", "iou_log", "alpha_iou", "focal_eiou"}
    pull = -(x.grad[0, 0] + x.grad[0, 2]).item()
    assert pull == 0 if still else pull > 0


@pytest.mark.parametrize("name", NAMES)
def test_descent_reaches_the_truth(name: str) -> None:
    x = boxes((0, 0, 6, 3), (2, 2, 9, 9)).requires_grad_()
    g = boxes((2, 1, 7, 6), (1, 3, 6, 8))
    optimiser = torch.optim.Adam([x], lr=0.2)
    loss = box_loss(name).eval()
    for i in range(200):
        optimiser.param_groups[0]["lr"] = 0.2 * (1 - i / 200)
        optimiser.zero_grad()
        loss(x, g).sum().backward()
        optimiser.step()
    assert loss_of("iou", x, g).max() < 0.03


@pytest.mark.parametrize(("name", "options"), [
    *[(name, {}) for name in NAMES], ("alpha_ciou", {"alpha": 0.5}), ("alpha_giou", {"alpha": 0.5}),
    ("focal_eiou", {"gamma": 2.0})])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_boxes_are_finite(name: str, options: dict, dtype: torch.dtype) -> None:
    b = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 5], [5, 5, 2, 2], [0, 0, 4, 4], [0, 0, 1, 1],
                      [2, 2, 2, 2]], dtype=dtype, requires_grad=True)
    g = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 5], [2, 2, 5, 5], [0, 0, 4, 4], [1e6, 0, 1e6, 0],
                      [0, 0, 4, 4]], dtype=dtype)
    loss = box_loss(name, **options).eval()(b, g)
    loss.sum().backward()
    assert loss.isfinite().all() and b.grad.isfinite().all()
    assert b.grad.abs().max() < 1e6


def test_wise_mean_moves_in_training_only_and_is_saved() -> None:
    loss = box_loss("wiou_v3", epochs=3, batches=7)
    momentum = 1 - 0.05 ** (1 / 21)
    b, g = boxes(SHIFTED[0]), boxes(SHIFTED[1])
    loss.eval()(b, g)
    assert loss.mean.item() == 1
    loss.train()(b, g)
    expected = (1 - momentum) + momentum * 6 / 7
    assert loss.mean.item() == pytest.approx(expected)
    for _ in range(20):
        loss(b, g)
    assert loss.mean.item() == pytest.approx(0.05 + 0.95 * 6 / 7, abs=1e-5)
    other = box_loss("wiou_v3")
    other.load_state_dict(loss.state_dict())
    assert other.mean == loss.mean
    loss(b[:0], g[:0])
    assert loss.mean.isfinite()


def test_wise_v3_favours_ordinary_boxes() -> None:
    """The gain beta / (delta alpha^(beta - delta)) is greatest at 1 / ln alpha, and 1 at delta."""
    loss = box_loss("wiou_v3").eval()
    loss.mean.fill_(0.1)
    overlap = torch.linspace(0.05, 0.95, 181, dtype=torch.float64)
    g = boxes((0, 0, 1, 1)).repeat(len(overlap), 1)
    b = g.clone()
    b[:, 2] = overlap  # inside g: IoU is the share
    plain = box_loss("wiou_v1").eval()(b, g)
    beta, gain = (1 - overlap) / 0.1, loss(b, g) / plain
    assert beta[gain.argmax()].item() == pytest.approx(1 / math.log(1.9), abs=0.05)
    assert gain[(beta - 3).abs().argmin()].item() == pytest.approx(1, abs=1e-6)


def test_options_reach_the_formula() -> None:
    b, g = boxes(SHIFTED[0]), boxes(SHIFTED[1])
    assert box_loss("alpha_iou", alpha=2.0)(b, g).item() == pytest.approx(1 - 1 / 49)
    assert box_loss("focal_eiou", gamma=2.0)(b, g).item() == pytest.approx(
        (6 / 7 + 2 / 18) / 49)


def test_refusals() -> None:
    with pytest.raises(FalconetError, match="box loss 'goiu' is unknown; did you mean 'giou'"):
        box_loss("goiu")
    with pytest.raises(FalconetError, match=r"boxes \[1, 4\] and ground truth \[2, 4\]"):
        box_loss("iou")(torch.zeros(1, 4), torch.zeros(2, 4))
