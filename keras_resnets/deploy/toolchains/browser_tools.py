"""Tools that test a web page: Chromium, the runtime's npm package, a static server."""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

from keras_resnets.deploy.toolchains import chromium

# npm packages, pinned to the versions with which the page was tested.
PACKAGES = {
    "browser-litert": {"@litertjs/core": "2.5.3", "@litertjs/wasm-utils": "2.5.3"},
    "browser-onnx": {"onnxruntime-web": "1.30.0"},
}
_VARIABLE = "KERAS_RESNETS_NODE_MODULES"


def modules() -> pathlib.Path:
    """Returns npm's folder: `$KERAS_RESNETS_NODE_MODULES` or ./node_modules."""
    return pathlib.Path(os.environ.get(_VARIABLE, "node_modules"))


def version(package: str) -> str | None:
    """Returns the version of an installed npm package, or None."""
    try:
        text = (modules() / package / "package.json").read_text("utf-8")
        return str(json.loads(text)["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def missing(target: str) -> str | None:
    """Returns what is missing to test the page and how to install it, or None."""
    if chromium.find() is None:
        return "Chromium, which is not on the PATH (Debian: apt install chromium)"
    packages = PACKAGES[target]
    if all(version(name) == release for name, release in packages.items()):
        return None
    names = " ".join(f"{name}@{release}" for name, release in packages.items())
    return (
        f"{names}, which is not in {modules()}: run npm install {names} in this folder, "
        f"or set {_VARIABLE} to the node_modules folder that contains it"
    )


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def translate_path(self, path: str) -> str:
        """Maps node_modules/ to npm's folder, and other paths to the page's folder."""
        local = super().translate_path(path)
        inside = os.path.relpath(local, self.directory)
        head, _, rest = inside.replace(os.sep, "/").partition("/")
        return str(modules().resolve() / rest) if head == "node_modules" else local

    def log_message(self, *words: Any) -> None:
        """Logs nothing: requests are of no interest to the user of `deploy`."""


@contextlib.contextmanager
def served(folder: pathlib.Path) -> Iterator[str]:
    """Serves a folder on localhost while the block runs; yields the page's address."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
        finally:
            server.shutdown()
            thread.join()
