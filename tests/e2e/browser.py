"""Debian's Chromium, driven over WebDriver: a dozen HTTP calls, so the tests need no browser library."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from servers import NoServer, free_port

#: WebDriver's name for "this object is an element".
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

# Loopback only, and nothing of its own to fetch or to keep.
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=ko-KR",
)

SECONDS = 30.0


class Browser:
    """One window."""

    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver = driver
        self._session = session

    def _do(self, method: str, path: str, **body: Any) -> Any:
        answer = self._driver.request(
            method, f"/session/{self._session}{path}", json=body if method == "POST" else None
        )
        value = answer.json()["value"]
        assert answer.is_success, f"{path}: {value}"
        return value

    def open(self, url: str) -> None:
        self._do("POST", "/url", url=url)

    def script(self, code: str, *args: object) -> Any:
        """The value that `return …` gives."""
        return self._do("POST", "/execute/sync", script=code, args=args)

    def wait(self, code: str, *args: object, what: str = "") -> Any:
        """The first true value of an expression."""
        deadline = time.monotonic() + SECONDS
        while not (value := self.script(f"return {code}", *args)):
            assert time.monotonic() < deadline, f"never true: {what or code}\n{self.text('body')}"
            time.sleep(0.05)
        return value

    def _element(self, selector: str) -> str:
        found: str = self._do("POST", "/element", using="css selector", value=selector)[_ELEMENT]
        return found

    def click(self, selector: str) -> None:
        self._do("POST", f"/element/{self._element(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        self._do("POST", f"/element/{self._element(selector)}/clear")
        self._do("POST", f"/element/{self._element(selector)}/value", text=text)

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus, all down and then all up."""
        down = [{"type": "keyDown", "value": key} for key in keys]
        up = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._do("POST", "/actions", actions=[{"type": "key", "id": "keyboard", "actions": [*down, *up]}])

    def text(self, selector: str) -> str:
        """What a person sees of it."""
        return str(self.script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def visible(self, selector: str) -> bool:
        return bool(self.script("return Boolean(document.querySelector(arguments[0])?.checkVisibility())", selector))

    def size(self, width: int, height: int) -> None:
        """The page's own size, as of a device: a window cannot be made as narrow as a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._do("POST", "/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=metrics)

    def complaints(self) -> list[str]:
        """What the console said since the last look: errors of scripts, refused loads, broken policies."""
        return [entry["message"] for entry in self._do("POST", "/se/log", type="browser") if entry["level"] == "SEVERE"]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._do("GET", "/screenshot")))


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A new window with a profile of its own; it ends with the test process."""
    program = shutil.which("chromedriver")
    if program is None or shutil.which("chromium") is None:
        raise NoServer("Chromium is not installed; run `make test`, which installs it (chromium, chromium-driver)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="haechi-chromium-", ignore_cleanup_errors=True) as folder:
        tied = ["setpriv", "--pdeathsig", "TERM", "--", program, f"--port={port}"]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(tied, stdout=log, stderr=log, env={**os.environ, "HOME": folder})
        driver = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        session = ""
        try:
            _until_ready(driver, process)
            options = {"args": [*_ARGUMENTS, f"--user-data-dir={folder}/profile"]}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = driver.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
            assert "sessionId" in made, made
            session = made["sessionId"]
            yield Browser(driver, session)
        finally:
            if session:
                with contextlib.suppress(httpx.HTTPError):
                    driver.delete(f"/session/{session}")
            driver.close()
            process.terminate()
            process.wait(timeout=20)


def _until_ready(driver: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(httpx.TransportError):
            if driver.get("/status").json()["value"]["ready"]:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoServer("chromedriver did not start")
        time.sleep(0.05)
