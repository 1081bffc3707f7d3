"""The loss: every choice learns, and what is ignored adds nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_training import TRAIN, recipe

from falconet.isa import FalconetError
from falconet_models.datasets.loader import loader
from falconet_models.losses import BOX_LOSSES
from falconet_models.networks.detector import Detector
from falconet_models.train.criterion import Criterion
from falconet_models.train.loop import average
from falconet_models.train.predict import normalise, predict, suppress

pytestmark = pytest.mark.timeout(120)
COUNTS = torch.full((10,), 10)
ANCHORED = {"box": "ssd", "scales": [1.5, 3.0], "ratios": [1.0]}


def learner(**changes):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    r = recipe(**changes)
    detector = Detector(r.config(TRAIN.labels)).to(memory_format=torch.channels_last)
    return detector, Criterion(r, detector.config.objectness, COUNTS, 3)


def one_batch():
    return next(iter(loader(TRAIN, (32, 32), 16)))


@pytest.mark.parametrize("changes", [
    {}, {"assign": {"kind": "atss"}},
    {"fields": {"size": [32, 32], "neck": 16, **ANCHORED}, "assign": {"kind": "iou"}},
    {"fields": {"size": [32, 32], "neck": 16, **ANCHORED}, "assign": {"kind": "atss"}},
    {"classes": {"kind": "binary", "quality": True}},
    {"classes": {"kind": "balanced_binary", "smoothing": 0.1}},
    {"fields": {"size": [32, 32], "neck": 16, "objectness": True},
     "classes": {"kind": "cross_entropy", "balanced": True}},
    {"fields": {"size": [32, 32], "neck": 16, "objectness": True, "box": "grid"},
     "classes": {"kind": "hinge"}},
    *({"boxes": {"kind": kind}} for kind in BOX_LOSSES),
], ids=lambda c: str(next(iter(c.values()), "default"))[:40])
def test_every_choice_learns_a_batch(changes):
    detector, criterion = learner(**changes)
    batch, losses = one_batch(), []
    optimiser = torch.optim.AdamW(detector.parameters(), lr=4e-3)
    x = normalise(batch.images, detector.config)
    for _ in range(20):
        terms = criterion(detector.train(), detector(x), batch)
        loss = sum(terms.values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        # as boxes get better, quality asks for more of the classes
        losses.append(terms["loss_box"].item() if criterion.recipe.classes.quality
                      else loss.item())
    assert np.isfinite(losses).all()
    assert min(losses[-4:]) < 0.95 * losses[0]


@pytest.mark.parametrize("kind", ["simota", "atss"])
def test_ignored_objects_add_nothing(kind):
    detector, criterion = learner(assign={"kind": kind})
    batch = one_batch()
    batch = batch._replace(ignored=torch.zeros_like(batch.ignored))
    with torch.no_grad():
        maps = detector.eval()(normalise(batch.images, detector.config))
    everything = batch._replace(
        boxes=torch.tensor([0.0, 0, 32, 32]).expand(16, 1, 4),
        classes=torch.zeros(16, 1, dtype=torch.int64), ignored=torch.ones(16, 1, dtype=bool))
    for level in maps:
        for key in level:
            level[key] = level[key].clone().requires_grad_()
    sum(criterion(detector, maps, everything).values()).backward()
    assert all(m.grad is None or not m.grad.any() for level in maps for m in level.values())
    terms = criterion(detector, maps, batch)
    sum(terms.values()).backward()
    assert all(m.grad.any() for level in maps for m in level.values())


def test_classes_against_each_other_need_objectness():
    with pytest.raises(FalconetError, match="objectness"):
        learner(classes={"kind": "hinge"})
    with pytest.raises(FalconetError, match=r"assign\.options"):
        detector, criterion = learner(assign={"kind": "simota", "options": {"topp": 3}})
        batch = one_batch()
        criterion(detector, detector(normalise(batch.images, detector.config)), batch)
    with pytest.raises(FalconetError, match=r"boxes\.options"):
        learner(boxes={"kind": "ciou", "options": {"alpha": 3}})


def test_wise_iou_remembers():
    detector, criterion = learner(boxes={"kind": "wiou_v3"})
    batch = one_batch()
    criterion.train()(detector, detector(normalise(batch.images, detector.config)), batch)
    assert 0 < criterion.state_dict()["box.mean"] < 1


def test_the_average_is_the_mean_of_the_past():
    kept, steps = [torch.zeros(3), torch.tensor(0)], 200
    update = average(0.9)
    for n in range(1, steps):
        update(kept, [torch.full((3,), float(n)), torch.tensor(n)], n)
    assert kept[0].tolist() == pytest.approx([steps - 1 - 9] * 3, abs=0.05)  # lag: d / (1 - d)
    assert kept[1] == steps - 1


def test_suppression_within_classes():
    boxes = torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60.0]])
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.0], [0.0, 0.7], [0.6, 0.005]])
    found = suppress(boxes, scores, threshold=0.5)
    assert found.classes.tolist() == [0, 1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert found.boxes.tolist() == boxes[[0, 2, 3]].tolist()
    assert len(suppress(boxes, scores, threshold=0.9).scores) == 4
    assert len(suppress(boxes, torch.zeros(4, 2), threshold=0.5).scores) == 0


def test_boxes_return_to_the_image():
    """Images of 64 pixels seen at 32: boxes come back twice as large."""
    detector, _ = learner()
    for level in detector.heads:
        torch.nn.init.zeros_(level.class_logits.conv.bias)
        torch.nn.init.zeros_(level.box_numbers.conv.weight)
    found = dict(predict(detector, loader(TRAIN, (32, 32), 16)))
    assert sorted(found) == list(range(48))
    width = found[5].boxes[:, 2] - found[5].boxes[:, 0]
    assert width.max() == pytest.approx(2 * 16, abs=0.5)  # two strides of 8, in the image 32
