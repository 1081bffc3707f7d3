"""Everything that is wrong with a network, in one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from falconet.isa import FalconetError

__all__ = ["Findings", "Refused"]

_MOST = 20


class Refused(FalconetError):
    """What is wrong with a network: ``reasons``, each a sentence; the message has some of them."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        more = [f"and {len(reasons) - _MOST} more"] if len(reasons) > _MOST else []
        first = f"the network cannot be compiled for {len(reasons)} reasons:"
        super().__init__(reasons[0] if len(reasons) == 1 else
                         "\n  ".join([first, *reasons[:_MOST], *more]))


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
        except Refused as e:
            self._found.update(dict.fromkeys(e.reasons))
        except FalconetError as e:
            self._found[str(e)] = None

    def check(self) -> None:
        """Raise what was collected: one sentence as it is, several as a list, a line each."""
        if self._found:
            raise Refused(list(self._found))
