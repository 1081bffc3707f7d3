"""The ``falconet`` command: every mistake ends in one sentence, never in a traceback.

Nothing of ours is imported before ``main`` runs, so that Ctrl-C is answered from the beginning.
"""

from __future__ import annotations

import sys

from falconet.ending import ended

__all__ = ["main"]


def _run(arguments: list[str] | None) -> None:
    """Run a command; what goes wrong in it is raised."""
    from falconet_app.commands import Stopped, app

    try:
        app(arguments, prog_name="falconet")
    except Stopped as e:
        assert e.__cause__ is not None
        raise e.__cause__ from None


def main(arguments: list[str] | None = None) -> int:
    """Run one command, that of the process if none is given, and return its exit code.

    As :func:`falconet.ending.ended`, and 2 for wrong usage.
    """
    return ended(lambda: _run(arguments), last=arguments is None)


if __name__ == "__main__":
    sys.exit(main())
