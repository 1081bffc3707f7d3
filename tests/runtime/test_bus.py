"""Memory is shared out at the first place that fits, as a search of all places says."""

from __future__ import annotations

import random

import pytest

from falconet.runtime.bus import first_fit


def search(taken: list[tuple[int, int]], nbytes: int, begin: int, end: int, align: int
           ) -> int | None:
    places = (at for at in range(begin, end - nbytes + 1) if at == begin or at % align == 0)
    return next((at for at in places
                 if all(at + nbytes <= s or s + n <= at for s, n in taken)), None)


@pytest.mark.parametrize("seed", range(20))
def test_first_place_that_fits(seed: int) -> None:
    rng = random.Random(seed)
    begin, end, align = rng.choice((0, 64)), 256, rng.choice((1, 4, 16))
    taken: list[tuple[int, int]] = []
    refused = 0
    for _ in range(200):
        if taken and rng.random() < 0.4:
            taken.remove(rng.choice(taken))
        nbytes = rng.randint(1, 48)
        at = first_fit(taken, nbytes, begin=begin, end=end, align=align)
        assert at == search(taken, nbytes, begin, end, align)
        if at is None:
            refused += 1
        else:
            taken.append((at, nbytes))
    assert 0 < refused < 200
