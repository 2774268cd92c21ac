"""`Checkpoint`, the result of every reader, and the report of damaged files."""

import collections.abc
import contextlib
import pathlib
import struct
import typing
import zipfile
import zlib
from collections.abc import Callable
from collections.abc import Iterator

from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.errors import printable

if typing.TYPE_CHECKING:
    import numpy as np


# In one file. A ResNet-1202 has 7,212; averages and teachers double that, and no
# library's names have a hundred characters.
MOST_TENSORS = 50_000
LONGEST_NAME = 500
# What damaged files make Python and NumPy raise.
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
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def damage_reported(path: pathlib.Path) -> Iterator[None]:
    """Turns the exceptions that a damaged file causes in libraries into `WeightsError`."""
    shown = printable(str(path), 1000)
    try:
        yield
    except WeightsError as error:
        if str(error).startswith(shown):
            raise
        raise WeightsError(f"{shown}: {error}") from None
    except _DAMAGE as error:
        said = first_line(error) if str(error) else ""
        raise WeightsError(
            f"{shown} is damaged: {type(error).__name__} {said}".rstrip()
        ) from None


def check_name(name: str) -> None:
    """Raises unless a tensor's name in a file is valid.

    Names are printed, and compared with those of layers: no program writes names that
    are long or not printable.

    Raises:
        WeightsError: a name that is too long, or has characters that do not print.
    """
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise WeightsError(
            f"a tensor's name has at most {LONGEST_NAME} printable characters; got "
            f"{len(name):,}: {printable(name, 60)}"
        )


def too_many() -> WeightsError:
    """Returns the `WeightsError` for more tensors than any network has."""
    return WeightsError(f"it contains more than {MOST_TENSORS:,} tensors")


class Checkpoint(collections.abc.Mapping[str, "np.ndarray"]):
    """Tensors by name, in the file's order; each is made on access.

    Args:
        path: the file.
        format: `"safetensors"`, `"torch"`, `"darknet"`, `"keras"` (Keras 2's .h5) or
            `"keras3"`.
        makers: name -> function that returns a NumPy array, of the stored type.
        metadata: strings by name that the file has beside its tensors.
        containers: name -> name of the dict that holds the tensor, and the tensor's
            name there, where a file holds dicts of tensors by name.
        kinds: layer's name -> its class in snake case, if the file records it.

    Raises:
        WeightsError: invalid names, or too many; on access, a damaged tensor.
    """

    def __init__(
        self,
        path: pathlib.Path,
        format: str,
        makers: dict[str, Callable[..., typing.Any]],
        metadata: dict[str, str] | None = None,
        containers: typing.Any = None,
        kinds: dict[str, str] | None = None,
    ) -> None:
        if len(makers) > MOST_TENSORS:
            raise too_many()
        for name in makers:
            check_name(name)
        self.path = path
        self.format = format
        self.metadata = dict(metadata or {})
        self.containers = containers or {name: ("", name) for name in makers}
        self.kinds = kinds or {}
        self._makers = dict(makers)

    def __getitem__(self, name: str) -> "np.ndarray":
        maker = self._makers[name]
        with damage_reported(self.path):
            return maker()

    def __iter__(self) -> typing.Any:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)
