"""Everything that is wrong with a network, in one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from falconet.isa import FalconetError

__all__ = ["Findings"]

_MOST = 20


class Findings:
    """Collects refusals, each in one sentence, so that the whole network is looked at first."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """A refusal within is kept instead of raised."""
        try:
            yield
        except FalconetError as e:
            self._found[str(e)] = None

    def check(self) -> None:
        """Raise what was collected: one sentence as it is, several as a list, a line each."""
        found = list(self._found)
        if len(found) > 1:
            more = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
            first = f"the network cannot be compiled for {len(found)} reasons:"
            raise FalconetError("\n  ".join([first, *found[:_MOST], *more]))
        if found:
            raise FalconetError(found[0])
