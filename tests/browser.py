"""A headless Chromium, driven through chromedriver by the requests of the W3C's WebDriver."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["MISSING", "Browser", "browser"]

MISSING = [p for p in ("chromium", "chromedriver") if shutil.which(p) is None]
"""Programs that are needed and not there."""

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the standard's name of a reference
_FLAGS = [
    "headless", "no-sandbox", "hide-scrollbars", "disable-gpu", "disable-dev-shm-usage",
    "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync",
    "use-fake-device-for-media-stream", "use-fake-ui-for-media-stream",
    "host-resolver-rules=MAP pynq 127.0.0.1",
]


class Browser:
    """One window."""

    def __init__(self, driver: str, folder: Path, width: int, height: int) -> None:
        self._session = driver
        options = {"binary": shutil.which("chromium"),
                   "args": [*_FLAGS, f"user-data-dir={folder}", f"window-size={width},{height}"]}
        always = {"browserName": "chrome", "goog:chromeOptions": options,
                  "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("/session", capabilities={"alwaysMatch": always})
        self._session += f"/session/{session['sessionId']}"

    def _call(self, path: str, method: str = "POST", **body: Any) -> Any:
        request = urllib.request.Request(
            self._session + path, json.dumps(body).encode() if method == "POST" else None,
            {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as e:
            raise AssertionError(json.load(e)["value"]["message"]) from None

    def open(self, url: str) -> None:
        self._call("/url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns in the page."""
        return self._call("/execute/sync", script=script, args=list(arguments))

    def until(self, condition: str, seconds: float = 30) -> Any:
        """The value of an expression once it is true."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(f"return {condition}")):
            assert time.monotonic() < deadline, (
                condition, self.run("return document.body.innerText"), self.log())
            time.sleep(0.05)
        return value

    def _find(self, css: str) -> str:
        found = self._call("/element", using="css selector", value=css)
        return f"/element/{found[_ELEMENT]}"

    def click(self, css: str) -> None:
        self._call(f"{self._find(css)}/click")

    def type(self, css: str, text: str) -> None:
        """Keys into an element; a file's path into one that takes files."""
        self._call(f"{self._find(css)}/value", text=text)

    def tab(self) -> str:
        """The id of the element that the key of that name leads to."""
        key = {"type": "key", "id": "keys", "actions": [
            {"type": kind, "value": "\ue004"} for kind in ("keyDown", "keyUp")]}
        self._call("/actions", actions=[key])
        return str(self.run("return document.activeElement.id"))

    def size(self, width: int, height: int) -> None:
        """Of the page, whatever the window's edges are."""
        self._call("/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params={
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def dark(self, yes: bool = True) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if yes else "light"}
        self._call("/goog/cdp/execute", cmd="Emulation.setEmulatedMedia",
                   params={"features": [feature]})

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self._call(
            "/goog/cdp/execute", cmd="Page.captureScreenshot",
            params={"captureBeyondViewport": True})["data"])

    def log(self) -> list[str]:
        """What the page wrote to its console since the last look, errors of the browser too."""
        return [entry["message"] for entry in self._call("/se/log", type="browser")]

    def close(self) -> None:
        self._call("", "DELETE")


@contextmanager
def browser(folder: Path, width: int = 1200, height: int = 900) -> Iterator[Browser]:
    """A browser with an empty profile in ``folder``."""
    command = ["chromedriver", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            lines = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)
            port = next(m[1] for m in lines if m)
            window = Browser(f"http://127.0.0.1:{port}", folder, width, height)
            try:
                yield window
            finally:
                window.close()
        finally:
            driver.terminate()
