"""What every reader returns, and how damage to a file is told."""

import collections.abc
import contextlib
import pickle
import struct
import zipfile
import zlib

from keras_resnets.errors import WeightsError

# What damaged files make Python, NumPy and pyfive raise.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.PickleError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def damage_told(path):
    """Turns what a damaged file makes libraries raise into one `WeightsError`."""
    try:
        yield
    except WeightsError as error:
        if str(error).startswith(str(path)):
            raise
        raise WeightsError(f"{path}: {error}") from None
    except _DAMAGE as error:
        lines = str(error).split("\n")
        raise WeightsError(
            f"{path} is damaged: {type(error).__name__} {lines[0][:200]}".rstrip()
        ) from None


class Checkpoint(collections.abc.Mapping):
    """Tensors by name, in the file's order; each is made when it is asked for.

    Args:
        path: the file.
        format: `"safetensors"`, `"torch"`, `"darknet"`, `"keras"` (Keras 2's .h5) or
            `"keras3"`.
        makers: name -> function that returns a NumPy array, of the type that is stored.
        metadata: strings by name that the file has beside its tensors.
        containers: name -> name of the dict that the tensor lies in, and the tensor's
            name there, where a file holds dicts of tensors by name.
        kinds: layer's name -> its class in snake case, where a file tells it.

    Raises:
        WeightsError: when a tensor is asked for that is damaged.
    """

    def __init__(
        self, path, format, makers, metadata=None, containers=None, kinds=None
    ):
        self.path = path
        self.format = format
        self.metadata = dict(metadata or {})
        self.containers = containers or {name: ("", name) for name in makers}
        self.kinds = kinds or {}
        self._makers = dict(makers)

    def __getitem__(self, name):
        maker = self._makers[name]
        with damage_told(self.path):
            return maker()

    def __iter__(self):
        return iter(self._makers)

    def __len__(self):
        return len(self._makers)
