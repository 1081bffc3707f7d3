"""Servers of the page: in a process of its own, or in a thread; and a camera for one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
from flask import Flask
from werkzeug.serving import make_server


@contextlib.contextmanager
def server(arguments: list[str], program: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process of its own; its address."""
    code = f"import sys; from {program} import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert "http://" in first, process.communicate()
            yield first.split("http://")[1].split()[0], process
        finally:
            process.kill()


@contextlib.contextmanager
def inside(app: Flask) -> Iterator[str]:
    """A server in a thread; its address."""
    http = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{http.port}"
    finally:
        http.shutdown()
        thread.join()


class Capture:
    """A camera whose driver holds frames back; a new one comes every 20 ms."""

    def __init__(self, number: int) -> None:
        self.queue, self.at, self.released, self.gone = 3, 0, False, number == 7
        self.there = number != 9

    def isOpened(self) -> bool:
        return self.there

    def grab(self) -> bool:
        self.at += 1
        self.queue -= 1
        if self.queue < 0:
            time.sleep(0.02)
        return not self.gone

    def retrieve(self) -> tuple[bool, np.ndarray]:
        bgr = np.empty((40, 60, 3), np.uint8)
        bgr[:] = self.at, 100, 200
        return True, bgr

    def release(self) -> None:
        self.released = True
