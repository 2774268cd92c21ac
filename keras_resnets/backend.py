"""Which backend Keras is asked for: a name that it knows, with its library installed."""

import importlib.util
import os

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice

VARIABLE = "KERAS_BACKEND"
# Those of Keras 3; the library of each has the same name.
BACKENDS = ("tensorflow", "jax", "torch", "numpy", "openvino")


def check_backend():
    """Raises `InvalidArgument` where `$KERAS_BACKEND` names what cannot be imported.

    Keras itself says it by a traceback out of the middle of its import. Nothing is
    imported here; without the variable, `keras.json` or Keras' default decides.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        return
    check_choice(f"the environment variable {VARIABLE}", name, BACKENDS)
    if importlib.util.find_spec(name) is None:
        raise InvalidArgument(
            f"{VARIABLE}={name} needs the library {name}, which is not installed"
        )
