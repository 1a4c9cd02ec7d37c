"""A small client of the DevTools protocol: opens pages in a headless Chromium, clicks, types, takes screenshots and reads the console.

Messages are JSON terminated by a NUL byte, through two pipes that are file descriptors 3 and 4 of the browser: no port, no library.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
LOCAL = ("file:", "data:", "blob:", "about:")
"""What a self-contained page may load."""
KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Backspace": ("Backspace", 8, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "Tab": ("Tab", 9, ""),
    "Home": ("Home", 36, ""),
    "End": ("End", 35, ""),
}
"""Code, virtual key number and text of the keys that are not characters."""


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A running browser; close it, or use it in a `with`."""

    def __init__(self, path: str, folder: Path, timeout: float = 60.0) -> None:
        self.timeout, self.downloads = timeout, folder / "downloads"
        self.downloads.mkdir(parents=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        words = [path, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        script = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, *words], pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers = itertools.count(1)
        self._rest = b""
        self.events: list[dict[str, Any]] = []
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads), eventsEnabled=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        """The next message, or None if there is none before the deadline."""
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            chunk = os.read(self._in, 1 << 16)
            if not chunk:
                raise RuntimeError("the browser has gone")
            self._rest += chunk
        message, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(message))

    def send(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Call a method and return its result; events that arrive meanwhile are kept in `events`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        deadline = time.monotonic() + self.timeout
        while (answer := self._receive(deadline)) is not None:
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)
        raise TimeoutError(f"{method} was not answered in {self.timeout:g} s")

    def wait(self, method: str, session: str = "") -> dict[str, Any]:
        """The parameters of the first event with this name, past or future."""
        deadline = time.monotonic() + self.timeout
        while True:
            for event in self.events:
                if event.get("method") == method and (not session or event.get("sessionId") == session):
                    self.events.remove(event)
                    return dict(event["params"])
            event = self._receive(deadline)
            if event is None:
                raise TimeoutError(f"no {method} in {self.timeout:g} s")
            self.events.append(event)

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """A tab with a local file, loaded."""
        return Page(self, path.resolve().as_uri(), width, height, dark)


class Page:
    """One tab."""

    def __init__(self, browser: Browser, address: str, width: int, height: int, dark: bool) -> None:
        self.browser = browser
        target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.look(width, height, dark)
        self.send("Page.navigate", url=address)
        browser.wait("Page.loadEventFired", self.session)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.send(method, self.session, **params)

    def look(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Change the window and the preferred color scheme."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def reload(self) -> None:
        self.send("Page.reload")
        self.browser.wait("Page.loadEventFired", self.session)

    def value(self, script: str) -> Any:
        """The value of a JavaScript expression (as JSON)."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click with the mouse on a visible element, at a fraction of its width and height."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(selector, x, y, kind)

    def mouse(self, selector: str, x: float = 0.5, y: float = 0.5, kind: str = "mouseMoved") -> None:
        script = f"""(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView({{block: "center"}});
            const box = one.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; }})()"""
        left, top, width, height = self.value(script)
        assert width and height, f"{selector} cannot be seen"
        button = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
        self.send("Input.dispatchMouseEvent", type=kind, x=left + x * width, y=top + y * height, **button)

    def press(self, *keys: str) -> None:
        """Press keys one after another, as on a keyboard."""
        for key in keys:
            code, number, text = KEYS.get(key, (f"Digit{key}" if key.isdigit() else "", ord(key[0].upper()), key))
            facts = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **facts)
            self.send("Input.dispatchKeyEvent", type="keyUp", **facts)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the whole page, or of the window."""
        data = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(data["data"]))

    def problems(self) -> list[str]:
        """Errors and warnings on the console, exceptions, and everything that was loaded from outside the page."""
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        found = []
        for event in self.browser.events:
            method, params = event.get("method"), event.get("params", {})
            if event.get("sessionId") != self.session:
                continue
            if method == "Runtime.exceptionThrown":
                found.append(f"exception: {params['exceptionDetails']}")
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(f"console: {params['args']}")
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(f"log: {params['entry']}")
            elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(LOCAL):
                found.append(f"request: {params['request']['url']}")
        return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for the tests of one file; they are skipped where none is installed."""
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser is installed (none of {', '.join(NAMES)})")
    with Browser(path, tmp_path_factory.mktemp("browser")) as running:
        yield running
