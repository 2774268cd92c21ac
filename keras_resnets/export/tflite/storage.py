"""The storage of 4-bit and 2-bit weights in an int8 TFLite file."""

import dataclasses
import warnings
from typing import Any

from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.export import number_formats

# FULLY_CONNECTED with int4 weights, where that is not much slower; CONV_2D with int4
# weights, for microcontrollers; int8 values from -7 to 7, which every runtime supports.
STORAGES = ("fully_connected", "conv_int4", "int8")
# What `fully_connected` optimizes: bytes at no more than 5 % over the int8 file's latency,
# or bytes alone, for which names of inner tensors are removed too.
PREFERENCES = ("latency", "size")
# Which storage has which of them: `conv_int4` has no other latency to choose.
_PREFERRING = {"fully_connected": PREFERENCES, "conv_int4": ("size",)}


@dataclasses.dataclass(frozen=True)
class Storage:
    """A way to store 4-bit weights.

    Attributes:
        kind: one of `STORAGES`.
        prefer: one of `PREFERENCES`; "size" removes the names of inner tensors too.
        is_explicit: whether the user asked for it: then a file without 4-bit weights is
            an error.
        fewest_bits: 4, or 2 for a recipe of 2 bits: FULLY_CONNECTED has int2 weights
            then where bytes are preferred, since XNNPACK takes twice as long for them.
            Elsewhere such weights are stored as those of 4 bits are.
    """

    kind: str = STORAGES[0]
    prefer: str = PREFERENCES[0]
    is_explicit: bool = False
    fewest_bits: int = 4

    def store(self, content: Any) -> tuple[Any, dict[str, str]]:
        """Stores the 4-bit weights of a file.

        Args:
            content: bytes of an int8 file.

        Returns:
            (bytes, layer name -> how its 4-bit weights are stored).

        Raises:
            ExportError: the file has no 4-bit weights, and `is_explicit`.
        """
        # Commands import this module, and must not import NumPy.
        from keras_resnets.export.tflite import file_editor
        from keras_resnets.export.tflite import fully_connected
        from keras_resnets.export.tflite import int4 as conv_int4

        if self.kind == "conv_int4":
            stored, layers = conv_int4.store(content)
        elif self.kind == "fully_connected":
            bits = self.fewest_bits
            stored, layers = fully_connected.store(content, self.prefer, bits)
        else:
            stored, layers = content, {}
        if self.is_explicit and not layers:
            raise ExportError(
                f"no kernel of the file has weights of 4 bits: storage {self.kind!r} "
                "stores those of a 4-bit recipe; nothing was written"
            )
        if self.prefer == "size":
            stored = file_editor.without_names(stored)
        return stored, layers

    def record(self, layers: dict[str, str]) -> dict[str, Any]:
        """The record of `store` for the passport; `layers` is what it returned."""
        has_choice = self.kind == STORAGES[0] or self.prefer != PREFERENCES[0]
        prefer = {"prefer": self.prefer} if has_choice else {}
        return {"kind": self.kind, **prefer, "layers": layers}

    def threads(self, threads: int) -> int:
        """Returns the threads to run a file with; see `open_runner.steady_threads`."""
        return 1 if self.kind == "conv_int4" else threads

    def check_numbers(self, numbers: number_formats.NumberFormat) -> None:
        """Raises `InvalidArgument` if it is explicit and the file is not int8."""
        if self.is_explicit and numbers.name != "int8":
            raise InvalidArgument(
                "storage and prefer apply to 4-bit weights of an int8 file; got "
                f"{numbers.title}"
            )


DEFAULT = Storage()
AS_INT8 = Storage("int8")


def choose(
    storage: str | None = None, prefer: str | None = None, int4: bool | None = None
) -> Storage:
    """The `Storage` for the arguments of an export.

    Args:
        storage: one of `STORAGES`; None for the first.
        prefer: one of `PREFERENCES`; None for the first.
        int4: the old name of `storage`: True is `"conv_int4"`, False `"int8"`.

    Raises:
        InvalidArgument: a value that is not allowed, or a `prefer` that does not apply
            to the storage.

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
                f"prefer goes with the storage {STORAGES[0]!r}, and prefer 'size' with "
                f"'conv_int4' too; got prefer {prefer!r} and storage {storage!r}"
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
