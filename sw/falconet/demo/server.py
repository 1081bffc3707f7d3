"""The page's server: one machine, one picture at a time, and no path or name from outside opened.

It answers GET for the page, ``/state`` and ``/samples/NAME``, and POST for ``/see`` (a picture's
bytes) and ``/camera`` (the next frame of the server's own camera). Both take the query fields
``score``, ``iou``, ``sigma``, ``maximum``, ``trace`` (a timeline is wanted), ``picture`` (send the
picture back as JPEG) and ``name`` (what a sentence calls the picture). What goes wrong is
``{"error": sentence}``: 400 for a picture or an option, 403 for a request of another site, 413 for
too many bytes, 500 for the machine.
"""

from __future__ import annotations

import base64
import functools
import io
import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from falconet.demo.camera import Camera
from falconet.demo.looking import Machine, Times
from falconet.isa import FalconetError
from falconet.runtime.detections import Options
from falconet.runtime.photographs import read_photograph

if TYPE_CHECKING:
    from flask import Flask, Response

__all__ = ["LIMIT", "Samples", "is_local", "make_app"]

LIMIT = 64 << 20
"""Bytes of an upload."""

Samples = Mapping[str, Callable[[], bytes]]
"""Sample photographs: the PNG file of each name."""

_PAGE = Path(__file__).parent / "page"
_FILES = {"/": ("index.html", "text/html"), "/style.css": ("style.css", "text/css"),
          "/script.js": ("script.js", "text/javascript"),
          "/icon.svg": ("icon.svg", "image/svg+xml")}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
                               "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_local(host: str) -> bool:
    """Whether only this computer can reach a server that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _number(arguments: Mapping[str, str], field: str, kind: type[Any]) -> Any:
    text = arguments.get(field, "")
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise FalconetError(f"options: {field}={text[:20]!r} is not {what}") from None


def _options(arguments: Mapping[str, str], limit: int | None) -> Options:
    """Of a request; refuses what the program has no room for."""
    score, iou, sigma = (_number(arguments, k, float) for k in ("score", "iou", "sigma"))
    options = Options(score, iou, sigma, _number(arguments, "maximum", int))
    if limit is not None and (options.maximum or 0) > limit:
        raise FalconetError(f"options: maximum={options.maximum}; the program has room for {limit}")
    return options


def _jpeg(photograph: NDArray[np.uint8]) -> str:
    """As base64."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(photograph).save(file, "JPEG", quality=90)
    return base64.b64encode(file.getvalue()).decode()


def _host(header: str) -> str:
    """``host:port`` without the port; empty if it is no such thing."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _refuse(sentence: str, status: int) -> Response:
    from flask import jsonify

    response = jsonify(error=sentence)
    response.status_code = status
    return response


def _guard(app: Flask, local: bool) -> None:
    """Who may ask, what a browser may do with the answers, and errors as sentences."""
    from flask import request
    from werkzeug.exceptions import HTTPException

    @app.before_request
    def ours() -> Response | None:
        if local and not is_local(_host(request.host)):
            return _refuse("this page is for this computer only; open it as http://127.0.0.1, or "
                           "start the demo with --host", 403)
        own = {None, f"http://{request.host}", f"https://{request.host}"}
        if request.headers.get("Origin") not in own:
            return _refuse("the request comes from the page of another site", 403)
        return None

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.errorhandler(FalconetError)
    def sentence(error: FalconetError) -> Response:
        return _refuse(str(error), 400)

    @app.errorhandler(HTTPException)
    def known(error: HTTPException) -> Response:
        text = (f"the picture is larger than {LIMIT >> 20} MB; send a smaller one"
                if error.code == 413 else f"{error.name}: {error.description}")
        return _refuse(text, error.code or 500)


def _add_page(app: Flask) -> None:
    """The files of the page, read once, under the paths that they have."""
    from flask import Response

    for path, (file, kind) in _FILES.items():
        data = (_PAGE / file).read_bytes()
        app.add_url_rule(path, file, functools.partial(Response, data, mimetype=kind))


def make_app(machine: Machine, samples: Samples, camera: Camera | None = None,
             *, local: bool = True) -> Flask:
    """The application.

    Parameters
    ----------
    local:
        It listens on this computer only: then a request that calls the computer by another name
        comes from a page of somewhere else (DNS rebinding), and is refused.
    """
    from flask import Flask, Response, jsonify, request

    app = Flask(__name__, static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LIMIT
    app.json.sort_keys = False  # type: ignore[attr-defined]
    _guard(app, local)
    state = {**machine.described(), "samples": list(samples), "limit": LIMIT,
             "camera": None if camera is None else camera.number}
    _add_page(app)

    @app.get("/state")
    def described() -> Response:
        return jsonify(state)

    @app.get("/samples/<name>")
    def sample(name: str) -> Response:
        if name not in samples:
            return _refuse("there is no such sample photograph", 404)
        return Response(samples[name](), mimetype="image/png")

    def seen(take: Callable[[], NDArray[np.uint8]]) -> Response:
        asked, times = request.args, Times()
        options = _options(asked, (state["options"] or {}).get("limit"))
        with machine.turn:
            with times.of("decode"):
                photograph = take()
            try:
                found = machine.look(photograph, options, trace="trace" in asked, times=times)
            except FalconetError as e:
                return _refuse(str(e), 500)
        if "picture" in asked:
            found["picture"] = _jpeg(photograph)
        return jsonify(found)

    @app.post("/see")
    def see() -> Response:
        data = request.get_data(cache=False)
        if not data:
            raise FalconetError("the file is empty; send the bytes of a picture")
        name = request.args.get("name", "")[:80] or "the picture"
        return seen(lambda: read_photograph(data, name))

    @app.post("/camera")
    def look() -> Response:
        if camera is None:
            return _refuse("this server has no camera; start it with --camera 0", 404)
        return seen(camera.frame)

    return app
