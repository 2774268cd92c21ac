"""Headless Chromium, controlled over the DevTools protocol.

The protocol uses two pipes (`--remote-debugging-pipe`), so that the standard library
suffices.
"""

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from keras_resnets.errors import ExportError
from keras_resnets.errors import printable

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Time limit in seconds; on a busy machine Chromium takes half a minute to start.
_SECONDS = 120.0
# Chromium expects the pipes as file descriptors 3 and 4.
_LAUNCHER = """
import os, sys
read, write = (os.dup(os.dup(os.dup(int(x)))) for x in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    """Returns the path of Chromium or Chrome, or None if neither is on the PATH."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def opened(binary: str, address: str) -> Iterator["Page"]:
    """Starts a browser and opens a page in it; the browser exits with the block.

    Args:
        binary: path of Chromium.
        address: URL of the page.
    """
    into, to_browser = os.pipe()
    from_browser, outof = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [
            *("--headless", "--remote-debugging-pipe", "--no-first-run"),
            *("--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            f"--user-data-dir={profile}",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # The sandbox does not start as root.
            options.append("--no-sandbox")
        launch = [sys.executable, "-c", _LAUNCHER, str(into), str(outof)]
        process = subprocess.Popen(
            [*launch, binary, *options],
            pass_fds=(into, outof),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(into)
        os.close(outof)
        try:
            yield Page(from_browser, to_browser, address)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            os.close(from_browser)
            os.close(to_browser)


class Page:
    """A page in a browser.

    Args:
        from_browser: file descriptor of messages from the browser.
        to_browser: file descriptor of messages to the browser.
        address: URL of the page.
    """

    def __init__(self, from_browser: int, to_browser: int, address: str) -> None:
        self._from_browser, self._to_browser, self._rest = from_browser, to_browser, b""
        self._number = 0
        # Events from the browser, such as console messages if Log is enabled.
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        self.browser = str(self.call("Browser.getVersion")["product"])
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Page.navigate", url=address)

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Sends a command of the protocol and returns the browser's answer.

        Raises:
            ExportError: the browser refuses the command, exits, or does not answer.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to_browser, data) :]
        end = time.monotonic() + _SECONDS
        while True:
            answer = self._next(end)
            if answer.get("id") == self._number:
                break
            if "method" in answer:
                self.events.append(answer)
        if "error" in answer:
            words = printable(str(answer["error"].get("message")), 200)
            raise ExportError(f"Chromium refused {method}: {words}")
        return dict(answer["result"])

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select(
                [self._from_browser], [], [], end - time.monotonic()
            )
            data = os.read(self._from_browser, 1 << 20) if ready else b""
            if not data:
                raise ExportError(
                    f"Chromium exited or did not answer within {_SECONDS:g} seconds"
                )
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def evaluate(self, script: str) -> Any:
        """Evaluates a JavaScript expression in the page; a promise is awaited.

        Raises:
            ExportError: the expression throws.
        """
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            words = details.get("exception", {}).get("description") or details["text"]
            raise ExportError(f"the web page failed: {printable(str(words), 300)}")
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = _SECONDS) -> Any:
        """Evaluates an expression until its value is true, and returns the value.

        Raises:
            ExportError: it is not true within `seconds`.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.evaluate(script)
            if value:
                return value
            time.sleep(0.05)
        raise ExportError(
            f"the web page did not reach this state in {seconds:g} seconds: {script}"
        )

    def choose_file(self, selector: str, path: pathlib.Path) -> None:
        """Selects a file in a file input of the page, as a user would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node["nodeId"])

    def screenshot(self, width: int, height: int, dark: bool = False) -> bytes:
        """Returns a PNG of the page in a window of width x height pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])
