"""Checks of Keras' configuration: `$KERAS_BACKEND` and `keras.json`."""

import importlib.util
import json
import os
import pathlib
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import printable

VARIABLE = "KERAS_BACKEND"
# The backends of Keras 3; the library of each has the same name.
BACKENDS = ("tensorflow", "jax", "torch", "numpy", "openvino")


# Values that Keras 3 allows in keras.json.
_ALLOWED = {
    "floatx": ("float16", "float32", "float64"),
    "image_data_format": ("channels_last", "channels_first"),
    "backend": BACKENDS,
}


def check_backend() -> None:
    """Raises `InvalidArgument` if the selected backend is not installed.

    It also checks `keras.json` for values that Keras refuses. Keras itself would fail with
    a traceback on import. This function imports nothing.
    """
    name, asked = os.environ.get(VARIABLE), f"the environment variable {VARIABLE}"
    place, content = _configuration()
    for key, allowed in _ALLOWED.items():
        if key in content and not (name and key == "backend"):
            check_choice(f"{key} in {place}", content[key], allowed)
    if not isinstance(content.get("epsilon", 0.0), float):
        raise InvalidArgument(
            f"epsilon in {place} must be a number with a point, such as 1e-07; got "
            f"{printable(repr(content['epsilon']))}"
        )
    if name:
        check_choice(asked, name, BACKENDS)
    elif "backend" in content:
        name, asked = content["backend"], f"backend in {place}"
    if name and importlib.util.find_spec(name) is None:
        raise InvalidArgument(
            f"{asked} is {name}: it requires the library {name}, which is not installed"
        )


def _configuration() -> tuple[pathlib.Path, dict[str, typing.Any]]:
    """Returns the path of Keras' configuration, and its content.

    Raises:
        InvalidArgument: the file cannot be read, or is not a JSON object.
    """
    folder = os.environ.get("KERAS_HOME")
    if folder is None:
        home = os.path.expanduser("~")
        folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    place = pathlib.Path(os.path.expanduser(os.path.join(folder, "keras.json")))
    try:
        # Keras treats a file that is not JSON as empty.
        content = json.loads(place.read_bytes()) if place.exists() else {}
    except (ValueError, RecursionError):
        content = {}
    except OSError as error:
        raise InvalidArgument(
            f"{place}, the configuration of Keras, cannot be read: {error.strerror}"
        ) from None
    if not isinstance(content, dict):
        raise InvalidArgument(
            f"{place}, the configuration of Keras, must be a JSON object; got "
            f"{printable(repr(content))}"
        )
    return place, content
