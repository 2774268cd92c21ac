"""What proves a page: Chromium, and the runtime's package from npm; and a static server."""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

from keras_resnets.deploy import chromium

# Of npm, pinned to what the page was proven with.
PACKAGES = {
    "browser-litert": {"@litertjs/core": "2.5.3", "@litertjs/wasm-utils": "2.5.3"},
    "browser-onnx": {"onnxruntime-web": "1.30.0"},
}
_VARIABLE = "KERAS_RESNETS_NODE_MODULES"


def modules() -> pathlib.Path:
    """The folder that npm installs into: `$KERAS_RESNETS_NODE_MODULES` or ours."""
    return pathlib.Path(os.environ.get(_VARIABLE, "node_modules"))


def version(package: str) -> str | None:
    """The release of an installed package of npm; None where it is not there."""
    try:
        text = (modules() / package / "package.json").read_text("utf-8")
        return str(json.loads(text)["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def missing(target: str) -> str | None:
    """What lacks to prove the page of a target, and what to do; None where all is there."""
    if chromium.find() is None:
        return "Chromium, which is not on the PATH (Debian: apt install chromium)"
    packages = PACKAGES[target]
    if all(version(name) == release for name, release in packages.items()):
        return None
    names = " ".join(f"{name}@{release}" for name, release in packages.items())
    return (
        f"{names}, which is not in {modules()}: npm install {names}, in this folder or "
        f"in the one that ${_VARIABLE} names"
    )


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def translate_path(self, path: str) -> str:
        """Of the runtime's files where npm put them."""
        local = super().translate_path(path)
        inside = os.path.relpath(local, self.directory)
        head, _, rest = inside.replace(os.sep, "/").partition("/")
        return str(modules().resolve() / rest) if head == "node_modules" else local

    def log_message(self, *words: Any) -> None:
        """Nothing: who deploys waits for one answer."""


@contextlib.contextmanager
def served(folder: pathlib.Path) -> Iterator[str]:
    """The address of a folder on this machine, as long as the block lasts."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
        finally:
            server.shutdown()
            thread.join()
