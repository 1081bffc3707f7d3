"""Batches of tensors. What a batch holds depends on the seed, the epoch and its number alone.

So a run that is resumed, or has other workers, sees the batches of the unbroken run; one of several
processes sees its share of the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from falconet.isa import FalconetError
from falconet_models.datasets import transforms
from falconet_models.datasets.sample import Dataset, Sample
from falconet_models.datasets.transforms import PAD, Augment, Frame, Grey, Size

__all__ = ["Batch", "Batches", "Images", "Key", "Order", "augmented", "collate", "loader"]

_ORDER, _SIZES, _IMAGE = range(3)  # streams of one seed


class Key(NamedTuple):
    """One image of one epoch: its number, its place in the epoch, and the size that it gets."""

    number: int
    epoch: int
    place: int
    size: Size


class Item(NamedTuple):
    sample: Sample
    frame: Frame
    number: int


class Batch(NamedTuple):
    """Some images and their ground truth.

    Parameters
    ----------
    images:
        uint8 [B, 3, H, W], R, G, B.
    boxes:
        float32 [B, M, 4], x1, y1, x2, y2 in pixels of ``images``; M is the most of an image, zeros
        fill up.
    classes:
        int64 [B, M]; -1 where there is no box.
    ignored:
        bool [B, M].
    numbers:
        int64 [B], numbers in the data set (with mosaics, of the first of the four).
    frames:
        float32 [B, 4], the fields of :class:`transforms.Frame` in order; of augmented images NaN.
    """

    images: Tensor
    boxes: Tensor
    classes: Tensor
    ignored: Tensor
    numbers: Tensor
    frames: Tensor

    def to(self, device: torch.device | str) -> Batch:
        return Batch(*(t.to(device, non_blocking=True) for t in self))

    def frame(self, b: int) -> Frame:
        """Where image ``b`` lies in the input."""
        return Frame(*self.frames[b].tolist())


def augmented(
    dataset: Dataset, index: int, size: Size, rng: np.random.Generator, augment: Augment,
    epoch: int = 0, pad: Grey = PAD,
) -> Sample:
    """Image ``index`` changed at random, in a mosaic of it and three others perhaps."""
    ends = augment.mosaic_epochs
    some = rng.random() < augment.mosaic and (ends is None or epoch < ends)
    if some:
        others = rng.integers(0, len(dataset), 3).tolist()
        sample = transforms.mosaic(
            [dataset.load(i) for i in (index, *others)], size, rng, scale=augment.scale, pad=pad,
            keep=augment.keep)
    else:
        sample = transforms.shift(
            dataset.load(index), size, rng, scale=augment.scale, translate=augment.translate,
            pad=pad, keep=augment.keep)
    if augment.hue or augment.saturation or augment.value:
        sample = transforms.jitter(sample, rng, hue=augment.hue, saturation=augment.saturation,
                                   value=augment.value)
    if rng.random() < augment.flip:
        sample = transforms.flip(sample)
    if rng.random() < augment.flip_vertical:
        sample = transforms.flip(sample, vertical=True)
    return sample


class Images(TorchDataset[Item]):
    """A data set for a torch DataLoader, asked by :class:`Key`; letterboxed without ``augment``."""

    def __init__(
        self, dataset: Dataset, augment: Augment | None, seed: int, pad: Grey = PAD,
    ) -> None:
        self.dataset, self.augment, self.seed, self.pad = dataset, augment, seed, pad

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Item:
        if self.augment is None:
            sample = self.dataset.load(key.number)
            return Item(*transforms.letterbox(sample, key.size, self.pad), key.number)
        rng = np.random.default_rng([self.seed, _IMAGE, key.epoch, key.place])
        sample = augmented(
            self.dataset, key.number, key.size, rng, self.augment, key.epoch, self.pad)
        return Item(sample, Frame(*[float("nan")] * 4), key.number)


class Order(Sampler[list[Key]]):
    """Which images are in which batch.

    Parameters
    ----------
    count:
        Images in the data set.
    batch:
        Images in a batch, all processes together.
    sizes:
        That of a batch is one of them, drawn for each batch.
    shuffle:
        For training: another order every epoch, whole batches alone. Otherwise all images in
        their order, one of ``world`` after the other.
    """

    def __init__(
        self, count: int, batch: int, sizes: tuple[Size, ...], *, seed: int = 0, rank: int = 0,
        world: int = 1, shuffle: bool = True,
    ) -> None:
        if batch < 1 or batch % world:
            raise FalconetError(f"a batch of {batch} images cannot be shared by {world} processes; "
                                f"make it a multiple of {world}")
        if shuffle and count < batch:
            raise FalconetError(f"{count} images do not fill a batch of {batch}; make it smaller")
        self.count, self.batch, self.sizes, self.seed = count, batch, sizes, seed
        self.rank, self.world, self.shuffle = rank, world, shuffle
        self.epoch = self.done = 0

    def start(self, epoch: int, done: int = 0) -> None:
        """What comes next is ``epoch``, without its first ``done`` batches."""
        self.epoch, self.done = epoch, done

    def __len__(self) -> int:
        """Batches to come."""
        if self.shuffle:
            return self.count // self.batch - self.done
        mine = len(range(self.rank, self.count, self.world))
        return -(-mine // (self.batch // self.world)) - self.done

    def __iter__(self) -> Iterator[list[Key]]:
        share = self.batch // self.world
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng([self.seed, _ORDER, self.epoch]).permutation(self.count)
        for n in range(self.done, self.done + len(self)):
            rng = np.random.default_rng([self.seed, _SIZES, self.epoch, n])
            size = self.sizes[rng.integers(len(self.sizes))]
            first = n * self.batch + self.rank
            places = range(first, min(first + share * self.world, self.count), self.world)
            yield [Key(int(order[p]), self.epoch, p, size) for p in places]


def collate(items: list[Item]) -> Batch:
    """Items of one size as a batch; images uint8."""
    most = max(len(item.sample.boxes) for item in items)
    boxes = torch.zeros(len(items), most, 4)
    classes = torch.full((len(items), most), -1, dtype=torch.int64)
    ignored = torch.zeros(len(items), most, dtype=torch.bool)
    for b, (sample, _, _) in enumerate(items):
        n = len(sample.boxes)
        boxes[b, :n] = torch.from_numpy(sample.boxes)
        classes[b, :n] = torch.from_numpy(sample.classes)
        ignored[b, :n] = torch.from_numpy(sample.ignored)
    images = np.stack([item.sample.image for item in items])
    return Batch(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), boxes, classes, ignored,
        torch.tensor([item.number for item in items]),
        torch.tensor([[f.left, f.top, f.x, f.y] for _, f, _ in items], dtype=torch.float32))


class Batches:
    """The batches of an epoch, whenever it is gone through; call :meth:`start` before each."""

    def __init__(self, source: DataLoader[Item], order: Order) -> None:
        self._source, self._order = source, order
        self.images = order.count

    def start(self, epoch: int, done: int = 0) -> None:
        """What comes next is ``epoch``, without its first ``done`` batches."""
        self._order.start(epoch, done)

    def __len__(self) -> int:
        """Batches to come."""
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._source)


def _alone(worker: int) -> None:
    cv2.setNumThreads(0)  # a worker is one of many; OpenCV's threads also hang after a fork


def loader(
    dataset: Dataset, size: Size, batch: int, *, augment: Augment | None = None, seed: int = 0,
    shuffle: bool = False, scales: tuple[float, float] = (1.0, 1.0), stride: int = 32,
    workers: int = 0, rank: int = 0, world: int = 1, pad: Grey = PAD,
) -> Batches:
    """Batches of ``dataset``: for training with ``augment`` and ``shuffle``, else to judge.

    It draws nothing from torch's own generator.

    Parameters
    ----------
    size:
        (height, width) of the network's input.
    batch:
        Images in a batch, all processes together.
    scales:
        Least and greatest size of a batch, of ``size``; multiples of ``stride``.
    workers:
        Processes that prepare images; 0: this one.
    rank, world:
        This process among those that train together.
    """
    images = Images(dataset, augment, seed, pad)
    every = transforms.sizes(size, *scales, stride) if scales != (1.0, 1.0) else (size,)
    order = Order(len(dataset), batch, every, seed=seed, rank=rank, world=world, shuffle=shuffle)
    return Batches(DataLoader(
        images, batch_sampler=order, collate_fn=collate,
        num_workers=workers, worker_init_fn=_alone, persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(), generator=torch.Generator().manual_seed(seed)), order)
