"""``python -m falconet``, and the program ``falconet``."""

import _signal  # what ``signal`` is made of: that takes longer to import than Ctrl-C to press
import os
import sys


def _interrupted(*_: object) -> None:
    """Answers Ctrl-C until the command can."""
    if sys.stderr is not None:
        os.write(2, b"falconet: interrupted\n")
    os._exit(130)


if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _interrupted)


def main() -> int:
    from falconet_app.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
