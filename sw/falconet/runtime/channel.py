"""From one thread to the next, in order, with an end, an error or a stop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Channel", "Stopped"]

T = TypeVar("T")


class Stopped(Exception):
    """Nobody takes from the channel any more."""


class Channel(Generic[T]):
    """A queue between two threads.

    Parameters
    ----------
    room:
        So many things may lie in it when :meth:`put` returns, which waits until then.
    newest:
        :meth:`put` never waits: what nobody has taken gives way to what comes.
    """

    def __init__(self, room: int = 1, *, newest: bool = False) -> None:
        self._room, self._newest = room, newest
        self._things: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None

    def put(self, thing: T) -> None:
        with self._changed:
            if self._ended or self._stopped:
                raise Stopped
            if self._newest:
                self._things.clear()
            self._things.append(thing)
            self._changed.notify_all()
            while not self._newest and len(self._things) > self._room:
                self._changed.wait()
                if self._stopped:
                    raise Stopped

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes; ``error`` is raised where the last thing has been taken."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """Who puts or takes gets :class:`Stopped`, now and later."""
        with self._changed:
            self._stopped = True
            self._things.clear()
            self._changed.notify_all()

    @property
    def is_empty(self) -> bool:
        return not self._things

    @property
    def has_room(self) -> bool:
        """Whether :meth:`put` would not wait."""
        return self._newest or len(self._things) < self._room

    def __iter__(self) -> Iterator[T]:
        """What was put, as it comes, up to the end."""
        while True:
            with self._changed:
                while not self._things and not self._ended and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    raise Stopped
                if not self._things:
                    if self._error is not None:
                        raise self._error
                    return
                thing = self._things.popleft()
                self._changed.notify_all()
            yield thing
            del thing  # a photograph is not kept until the next one comes
