"""How an int8 TFLite file stores the weights that have 4 bits."""

import dataclasses
import warnings
from typing import Any

from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.export import number_formats

# FULLY_CONNECTED with int4 weights, where that is not much slower; CONV_2D with int4
# weights, for microcontrollers; int8 values from -7 to 7, which every runtime knows.
STORAGES = ("fully_connected", "conv_int4", "int8")
# What `fully_connected` weighs: at most 5 % over the int8 file's latency, or bytes alone.
# For bytes, names of inner tensors go too.
PREFERENCES = ("latency", "size")
# What knows which of them: `conv_int4` has no other latency to choose.
_PREFERRING = {"fully_connected": PREFERENCES, "conv_int4": ("size",)}


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where weights of 4 bits are put.

    Attributes:
        kind: one of `STORAGES`.
        prefer: one of `PREFERENCES`; "size" leaves out the names of inner tensors too.
        is_asked: whether somebody asked for fewer bytes: then a file without such weights
            is an error.
    """

    kind: str = STORAGES[0]
    prefer: str = PREFERENCES[0]
    is_asked: bool = False

    def store(self, content: Any) -> tuple[Any, dict[str, str]]:
        """(bytes of the file, what its layers of 4 bits became by their name).

        Args:
            content: the bytes of an int8 file.

        Raises:
            ExportError: no weights of 4 bits in a file that was asked to store them.
        """
        # Commands read what may be asked for without NumPy.
        from keras_resnets.export.tflite import file_editor
        from keras_resnets.export.tflite import fully_connected
        from keras_resnets.export.tflite import int4 as conv_int4

        if self.kind == "conv_int4":
            made, layers = conv_int4.store(content)
        elif self.kind == "fully_connected":
            made, layers = fully_connected.store(content, self.prefer)
        else:
            made, layers = content, {}
        if self.is_asked and not layers:
            raise ExportError(
                f"no kernel of the file has weights of 4 bits: storage={self.kind!r} "
                "stores those of a 4-bit recipe; nothing was written"
            )
        if self.prefer == "size":
            made = file_editor.without_names(made)
        return made, layers

    def record(self, layers: dict[str, str]) -> dict[str, Any]:
        """What a passport says of what `store` did."""
        is_told = self.kind == STORAGES[0] or self.prefer != PREFERENCES[0]
        prefer = {"prefer": self.prefer} if is_told else {}
        return {"kind": self.kind, **prefer, "layers": layers}

    def check_numbers(self, numbers: number_formats.NumberFormat) -> None:
        """Raises `InvalidArgument` where it is asked for in a file that is not int8."""
        if self.is_asked and numbers.name != "int8":
            raise InvalidArgument(
                "storage and prefer are of weights of 4 bits in an int8 file; got "
                f"{numbers.title}"
            )


DEFAULT = Storage()


def choose(
    storage: str | None = None, prefer: str | None = None, int4: bool | None = None
) -> Storage:
    """The `Storage` that arguments ask for.

    Args:
        storage: one of `STORAGES`; None for the first.
        prefer: one of `PREFERENCES`; None for the first.
        int4: what `storage` was called: True is `"conv_int4"`, False `"int8"`.

    Raises:
        InvalidArgument: a word that is not allowed, or a `prefer` that the storage does
            not know.

    Example:
        >>> choose(prefer="size").kind
        'fully_connected'
    """
    if int4 is not None:
        storage = _from_int4(storage, int4)
    if storage is not None:
        check_choice("storage", storage, STORAGES)
    if prefer is not None:
        check_choice("prefer", prefer, PREFERENCES)
        if prefer not in _PREFERRING.get(storage or STORAGES[0], ()):
            raise InvalidArgument(
                f"prefer goes with storage='{STORAGES[0]}', and prefer='size' with "
                f"'conv_int4' too; got prefer={prefer!r} and storage={storage!r}"
            )
    return Storage(
        storage or STORAGES[0],
        prefer or PREFERENCES[0],
        storage not in (None, "int8") or prefer is not None,
    )


def _from_int4(storage: str | None, int4: bool) -> str:
    word = "conv_int4" if int4 else "int8"
    if storage not in (None, word):
        raise InvalidArgument(
            f"int4={int4} is storage={word!r} now; got storage={storage!r} as well"
        )
    warnings.warn(
        f"int4={int4} is storage={word!r} now", DeprecationWarning, stacklevel=4
    )
    return word
