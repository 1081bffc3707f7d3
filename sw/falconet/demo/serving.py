"""The page's server at work: where it listens, what it says, how it ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from falconet.demo.camera import Camera
from falconet.demo.looking import Machine
from falconet.demo.server import Samples, is_local, make_app
from falconet.isa import FalconetError

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["serve", "show"]


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; one sentence if the port or the address cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.create_server(address[:2], family=family) as listener:
            yield listener
    except socket.gaierror as e:
        raise FalconetError(f"--host {host}: no such address ({e.strerror})") from None
    except (OSError, OverflowError) as e:
        reason = e if isinstance(e, OverflowError) or not e.errno else os.strerror(e.errno)
        raise FalconetError(f"--port {port}: {host} cannot be listened on there ({reason}); give "
                            "another --port") from None


def serve(app: Flask, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until the keyboard interrupts. ``ready`` gets the page's address once it listens.

    Port 0 takes a free one.
    """
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None: ...

    with _listening(host, port) as listener:
        port = int(listener.getsockname()[1])
        server = make_server(host, port, app, threaded=True, request_handler=Quiet,
                             fd=listener.fileno())
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{port}")
        server.serve_forever()


def show(machine: Machine, samples: Samples, camera: int | None, host: str, port: int,
         say: Callable[[str], None], *, browser: bool = False) -> None:
    """The page of ``machine`` until the keyboard interrupts, with the server's camera if given."""
    def ready(address: str) -> None:
        say(f"{machine.program.header['model']} on the {machine.device}: {address} (Ctrl-C ends)")
        if not is_local(host):
            say("everybody on this network can use this page and its machine"
                + (", and look through its camera" if camera is not None else ""))
        if browser:
            import webbrowser

            webbrowser.open(address)

    with contextlib.ExitStack() as stack:
        own = None
        if camera is not None:
            own = Camera(camera)
            stack.callback(own.close)
        serve(make_app(machine, samples, own, local=is_local(host)), host, port, ready)
