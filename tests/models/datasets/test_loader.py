"""Batches: the same whatever the workers, the processes and the interruptions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from falconet.isa import FalconetError
from falconet_models.datasets import Digits, Sample
from falconet_models.datasets.loader import Batch, Key, Order, augmented, loader
from falconet_models.datasets.transforms import Augment

DIGITS = Digits("val", 50)
AUGMENT = Augment(flip=0.5, flip_vertical=0.5)


def all_batches(epoch: int = 0, done: int = 0, **options: object) -> list[Batch]:
    made = loader(DIGITS, (96, 96), 8, **{"augment": AUGMENT, "shuffle": True, **options})
    made.start(epoch, done)
    found = list(made)
    assert len(found) == len(made)
    return found


def equal(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(torch.nan_to_num(x, -1), torch.nan_to_num(y, -1))
        for p, q in zip(a, b) for x, y in zip(p, q))


@pytest.fixture(scope="module")
def unbroken() -> list[Batch]:
    return all_batches(epoch=3, seed=7)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_interruptions_change_nothing(workers: int, unbroken: list[Batch]) -> None:
    assert equal(all_batches(3, seed=7, workers=workers), unbroken)
    assert equal(all_batches(3, done=4, seed=7, workers=workers), unbroken[4:])
    several = {"seed": 7, "workers": workers, "scales": (0.66, 1.34)}
    assert equal(all_batches(3, done=2, **several), all_batches(3, **several)[2:])
    again = loader(DIGITS, (96, 96), 8, augment=AUGMENT, shuffle=True, seed=7, workers=workers)
    for epoch in (2, 3):  # one loader through its epochs
        again.start(epoch)
        last = list(again)
    assert equal(last, unbroken)


def test_seeds_and_epochs_change_everything(unbroken: list[Batch]) -> None:
    others = [all_batches(3, seed=8), all_batches(2, seed=7)]
    for other in others:
        assert len(other) == len(unbroken) == 6
        assert not any(torch.equal(a.images, b.images) for a, b in zip(other, unbroken))
        assert not torch.equal(other[0].numbers, unbroken[0].numbers)
    assert not equal(*others)


def test_torchs_own_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    all_batches()
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_has_every_image_once_and_whole_batches(unbroken: list[Batch]) -> None:
    numbers = torch.cat([b.numbers for b in unbroken]).tolist()
    assert len(set(numbers)) == len(numbers) == 48 and set(numbers) <= set(range(50))
    assert numbers != sorted(numbers)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batches_of_one(world: int, unbroken: list[Batch]) -> None:
    shares = [all_batches(3, seed=7, rank=r, world=world) for r in range(world)]
    for n, batch in enumerate(unbroken):
        for r in range(world):
            mine = shares[r][n]
            assert torch.equal(mine.images, batch.images[r::world])
            assert torch.equal(mine.numbers, batch.numbers[r::world])


@pytest.mark.parametrize("world", [1, 3])
def test_judging_sees_every_image_once_in_order(world: int) -> None:
    found = []
    for rank in range(world):
        made = loader(DIGITS, (96, 96), 6 * world, rank=rank, world=world)
        batches = list(made)
        assert len(batches) == len(made)
        assert all(len(b.numbers) == 6 for b in batches[:-1])
        numbers = torch.cat([b.numbers for b in batches]).tolist()
        assert numbers == list(range(rank, 50, world))
        found += numbers
    assert sorted(found) == list(range(50))


@dataclass
class Photos:
    """Five images of several shapes with up to four boxes."""

    labels: tuple[str, ...] = ("a", "b", "c")

    def __len__(self) -> int:
        return 5

    def load(self, i: int) -> Sample:
        rng = np.random.default_rng(i)
        shape = (60 + 30 * i, 150 - 20 * i)
        boxes = np.sort(rng.random((i, 2, 2)), 1) * shape[::-1]
        return Sample(rng.integers(0, 256, (*shape, 3), np.uint8),
                      boxes.reshape(-1, 4).astype(np.float32), rng.integers(0, 3, i),
                      rng.random(i) < 0.3, f"{i}.png")


def test_a_batch_is_padded_and_goes_back_to_its_images() -> None:
    (batch,) = loader(Photos(), (64, 96), 5)
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (5, 3, 64, 96) and batch.images.is_contiguous()
    assert batch.images.max() > 200
    assert torch.equal(batch.images.byte(), next(iter(loader(Photos(), (64, 96), 5))).images)
    assert batch.boxes.shape == (5, 4, 4) and batch.boxes.dtype == torch.float32
    assert batch.classes.dtype == batch.numbers.dtype == torch.int64
    for i in range(5):
        s = Photos().load(i)
        assert (batch.classes[i, i:] == -1).all() and (batch.boxes[i, i:] == 0).all()
        assert not batch.ignored[i, i:].any()
        assert batch.classes[i, :i].tolist() == s.classes.tolist()
        assert batch.ignored[i, :i].tolist() == s.ignored.tolist()
        back = batch.frame(i).back(batch.boxes[i, :i].numpy())
        assert np.allclose(back, s.boxes, atol=1e-3)
    moved = batch.to("cpu")
    assert isinstance(moved, Batch) and torch.equal(moved.images, batch.images)


def test_digits_come_as_they_are() -> None:
    batch = next(iter(loader(DIGITS, (96, 96), 4)))
    for i in range(4):
        assert np.array_equal(batch.images[i].permute(1, 2, 0).numpy(), DIGITS.load(i).image)
        assert np.array_equal(batch.boxes[i, : len(DIGITS.load(i).boxes)].numpy(),
                              DIGITS.load(i).boxes)


def test_batches_of_several_sizes() -> None:
    seen: dict[tuple[int, ...], int] = {}
    for epoch in range(4):
        for b in all_batches(epoch, scales=(0.66, 1.34)):
            size = tuple(b.images.shape[2:])
            seen[size] = seen.get(size, 0) + 1
            assert (b.boxes <= size[0]).all() and b.boxes.max() > 0.8 * size[0]
            assert torch.isnan(b.frames).all()
    assert set(seen) == {(64, 64), (96, 96), (128, 128)} and min(seen.values()) >= 4


def test_mosaics_come_as_often_as_asked_and_end() -> None:
    class Counted(Photos):
        loads = 0

        def load(self, i: int) -> Sample:
            self.loads += 1
            return super().load(i)

    def share(often: float, ends: int | None, epoch: int) -> float:
        photos = Counted()
        for n in range(200):
            augmented(photos, n % 5, (32, 32), np.random.default_rng(n),
                      Augment(mosaic=often, mosaic_epochs=ends), epoch)
        return (photos.loads - 200) / 600

    assert share(0, None, 0) == 0 and share(1, None, 0) == 1
    assert 0.4 < share(0.5, 3, 2) < 0.6 and share(0.5, 3, 3) == 0


@pytest.mark.parametrize(("field", "axis"), [("flip", 3), ("flip_vertical", 2)])
def test_flips_come_as_often_as_asked(field: str, axis: int) -> None:
    plain = dict(mosaic=0.0, scale=(1.0, 1.0), translate=0.0, hue=0.0, saturation=0.0, value=0.0)
    found = []
    for often in (0.0, 0.5, 1.0):
        batches = all_batches(augment=Augment(**plain, **{field: often}))
        images = torch.cat([b.images for b in batches])
        numbers = torch.cat([b.numbers for b in batches])
        real = torch.from_numpy(np.stack([DIGITS.load(n).image for n in numbers.tolist()]))
        turned = real.permute(0, 3, 1, 2).flip(axis)
        found.append(sum(map(torch.equal, images, turned)))
    assert found[0] == 0 and 12 < found[1] < 36 and found[2] == 48


def test_order_by_hand() -> None:
    order = Order(7, 4, ((8, 8),), rank=1, world=2, shuffle=False)
    assert [[k.number for k in keys] for keys in order] == [[1, 3], [5]] and len(order) == 2
    order.start(5, done=1)
    assert list(order) == [[Key(5, 5, 5, (8, 8))]] and len(order) == 1


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(FalconetError, match="batch of 6 images cannot be shared by 4 processes"):
        Order(100, 6, ((8, 8),), world=4)
    with pytest.raises(FalconetError, match="5 images do not fill a batch of 8; make it smaller"):
        loader(Photos(), (8, 8), 8, shuffle=True)
