"""What the columns of a tail's table are: scores of which kind, logits as they are, or else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.tails.probing import Level
from falconet.compiler.importer.tails.sampling import Samples
from falconet.compiler.importer.tails.tail_graph import NotATail

__all__ = ["Column", "Scores", "columns", "scores", "sigmoid"]

Floats = NDArray[np.float64]
_NEAR = 2e-5


@dataclass(frozen=True)
class Column:
    """``kind`` is sigmoid, product, root, softmax, logit, one or other; ``channels`` it is of."""

    kind: str
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Scores:
    """Of one anchor: the rule of a description, and channels; ``background`` is a place among them.

    ``columns`` are those of a row that hold the classes without the background, ``partner`` the
    one that is still to be multiplied with them. ``assumed``: that the background is the first was
    not to be seen in the file.
    """

    rule: str
    classes: tuple[int, ...]
    columns: tuple[int, ...]
    objectness: int | None = None
    partner: int | None = None
    background: int | None = None
    assumed: bool = False


def sigmoid(r: Floats) -> Floats:
    """1 / (1 + exp(-r))."""
    y: Floats = 0.5 * (1 + np.tanh(0.5 * r))
    return y


def columns(level: Level, samples: Samples, anchor: int) -> list[Column]:
    """What each column of an anchor's rows is."""
    return [_column(np.flatnonzero(depends), samples.channels, samples.table[anchor, :, k])
            for k, depends in enumerate(level.depends[anchor])]


def _column(channels: NDArray[np.int64], x: Floats, y: Floats) -> Column:
    names = tuple(int(c) for c in channels)
    given = x[:, channels]
    kind = "other"
    if not names and np.all(y == 1):
        kind = "one"
    elif len(names) == 1 and np.allclose(sigmoid(given[:, 0]), y, 0, _NEAR):
        kind = "sigmoid"
    elif len(names) == 1 and np.allclose(given[:, 0], y, _NEAR, _NEAR):
        kind = "logit"
    elif len(names) == 2 and np.allclose(p := np.prod(sigmoid(given), axis=1), y, 0, _NEAR):
        kind = "product"
    elif len(names) == 2 and np.allclose(p, y**2, 0, _NEAR):
        kind = "root"
    elif len(names) >= 2 and _place(given, y) is not None:
        kind = "softmax"
    return Column(kind, names)


def _place(given: Floats, y: Floats) -> int | None:
    """Which of the logits ``y`` is the softmax of, over all of them."""
    exponent = np.exp(given - given.max(axis=1, keepdims=True))
    share = exponent / exponent.sum(axis=1, keepdims=True)
    near = np.flatnonzero(np.all(np.abs(share - y[:, None]) < _NEAR, axis=0))
    return int(near[0]) if near.size else None


def scores(found: dict[int, Column], samples: Samples, anchor: int, *, first: bool) -> Scores:
    """The scores of an anchor.

    Parameters
    ----------
    found:
        The columns of a row that are scores, by their numbers.
    first:
        Whether the first of several sigmoids is the objectness.
    """
    kinds = {c.kind for c in found.values()}
    if kinds == {"softmax"}:
        return _softmax(found, samples, anchor)
    paired = {k: c for k, c in found.items() if c.kind in ("product", "root")}
    if paired:
        rule = {c.kind for c in paired.values()}
        common = set.intersection(*(set(c.channels) for c in paired.values()))
        if len(rule) > 1 or not common or kinds - rule - {"sigmoid"}:
            raise NotATail("its scores are products of different kinds")
        shared = max(common)
        classes = tuple(next(c for c in p.channels if c != shared) for p in paired.values())
        return Scores("sigmoid" if rule == {"product"} else "geometric", classes, tuple(paired),
                      shared)
    if kinds != {"sigmoid"}:
        raise NotATail("its scores are neither sigmoids, nor products of two, nor a softmax"
                       + " (they are logits)" * (kinds == {"logit"}))
    channels = tuple(c.channels[0] for c in found.values())
    if first and len(channels) > 1:
        partner, *rest = found
        return Scores("sigmoid", channels[1:], tuple(rest), channels[0], partner)
    return Scores("sigmoid", channels, tuple(found))


def _softmax(found: dict[int, Column], samples: Samples, anchor: int) -> Scores:
    """All logits of the softmax in the order of the columns, the background's among them."""
    channels = next(iter(found.values())).channels
    if any(c.channels != channels for c in found.values()):
        raise NotATail("its scores are softmaxes over different channels")
    given = samples.channels[:, list(channels)]
    places = [_place(given, samples.table[anchor, :, k]) for k in found]
    order = [channels[p] for p in places if p is not None]
    left = sorted(set(channels) - set(order))
    if len(left) > 1 or len(set(order)) < len(order):
        raise NotATail(f"of the {len(channels)} classes of its softmax {len(left)} have no column")
    if not left:
        return Scores("softmax", tuple(order), tuple(found)[1:], background=0, assumed=True)
    if channels[-1] == left[0]:
        return Scores("softmax", (*order, left[0]), tuple(found), background=len(order))
    return Scores("softmax", (left[0], *order), tuple(found), background=0)
