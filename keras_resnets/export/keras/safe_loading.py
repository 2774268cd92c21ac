"""Safe loading of untrusted `.keras` files.

`keras.saving.load_model` builds models of any size, and reads weights with the HDF5
library, which hangs and crashes on crafted files. This module first checks the
configuration, builds the model symbolically, checks that the file contains all values,
and reads them with `weights.readers`. Keras' own traversal of the layers assigns them, so
that the result is the same as Keras'.
"""

import collections.abc
import math
import pathlib
import typing
from collections.abc import Iterator

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.saving import saving_lib
from keras.src.saving import serialization_lib

from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.export import signature
from keras_resnets.export.keras import config_check
from keras_resnets.export.prepare import all_layers
from keras_resnets.system import shared
from keras_resnets.weights.readers import hdf5
from keras_resnets.weights.readers.checkpoint import damage_reported
from keras_resnets.weights.readers.keras_zip import CONFIG
from keras_resnets.weights.readers.keras_zip import MOST_COMPRESSION
from keras_resnets.weights.readers.keras_zip import WEIGHTS
from keras_resnets.weights.readers.keras_zip import KerasZip
from keras_resnets.weights.readers.keras_zip import parsed

_DEEPEST = 16
# Values of one tensor between layers: 1 GB in float32, as the stem outputs for an image
# of 4,096 x 4,096.
_LARGEST_OUTPUT = 2**28
# Values of layers beside their weights: random states, which not all files have.
_TO_SPARE = 100_000
_METADATA = "metadata.json"
_UNINITIALIZED = "uninitialized_variables"


def load_model(path: pathlib.Path) -> keras.Model:
    """Loads the model in a `.keras` file; nothing in the file is executed.

    Args:
        path: the file.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        WeightsError: a file that is damaged, describes a model that must not be built,
            or whose weights do not fit its model.
    """
    with damage_reported(path):
        archive = KerasZip(path)
        for name in (CONFIG, WEIGHTS):
            if name not in archive:
                raise WeightsError(f"it has no {name}")
        try:
            return _loaded(archive)
        except WeightsError as error:
            raise WeightsError(_with_remedy(error, archive)) from None


def _loaded(archive: KerasZip) -> keras.Model:
    config = parsed(archive.text(CONFIG) or "", CONFIG)
    store = _Store(archive)
    config_check.check(config, store.weighted)
    _rename(config)
    model = _built(config, store)
    _check_outputs(model)
    _fill(model, store)
    return model


def _with_remedy(error: WeightsError, archive: KerasZip) -> str:
    """The message of an error; for a file of Keras 2, that and what to do instead."""
    facts = parsed(archive.text(_METADATA) or "{}", _METADATA)
    version = printable(str(facts.get("keras_version")), 20)
    if not version.startswith("2."):
        return str(error)
    return (
        f"it is of Keras {version}, which Keras 3 cannot load: build the network of Keras "
        "3's keras.layers, give the get_weights() of the old one to its set_weights(), and "
        "save it; if it is a variant of this package: create_model(name, weights=file)"
    )


def _rename(config: dict[str, typing.Any]) -> None:
    """Replaces the characters of a model's name that TensorFlow refuses in names."""
    fields = config.get("config")
    if isinstance(fields, dict) and isinstance(name := fields.get("name"), str):
        fields["name"] = signature.plain_name(name)


def _built(config: typing.Any, store: typing.Any) -> keras.Model:
    """Builds the model with zeros; it must not have more values than the file."""
    before = global_state.get_global_attribute(_UNINITIALIZED)
    global_state.set_global_attribute(_UNINITIALIZED, [])
    try:
        with (
            keras.StatelessScope(initialize_variables=False),
            serialization_lib.ObjectSharingScope(),
            serialization_lib.SafeModeScope(True),
            shared.warnings_ignored(),
        ):
            model = _deserialized(config)
        variables = global_state.get_global_attribute(_UNINITIALIZED)
        count = sum(math.prod(variable.shape) for variable in variables)
        if count > store.count + _TO_SPARE:
            raise WeightsError(
                f"its model has {count:,} values, its weights {store.count:,}"
            )
        # The remaining variables are set to zeros at the end of such a scope.
        with keras.StatelessScope():
            pass
    finally:
        global_state.set_global_attribute(_UNINITIALIZED, before or [])
    return model


def _deserialized(config: typing.Any) -> keras.Model:
    try:
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:
        # Keras repeats the whole description around the first error.
        cause: BaseException = error
        while cause.__context__ is not None:
            cause = cause.__context__
        reason = printable(first_line(cause), 160)
        raise WeightsError(f"its model cannot be built: {reason}") from None
    if not isinstance(model, keras.Model):
        raise WeightsError("its config.json describes no model")
    return model


def _check_outputs(model: keras.Model) -> None:
    """Raises `WeightsError` if a tensor between layers is too large for a machine."""
    for layer in (model, *all_layers(model)):
        for node in layer._inbound_nodes:
            for tensor in node.output_tensors:
                sides = [side for side in tensor.shape if side is not None]
                if math.prod(sides) > _LARGEST_OUTPUT:
                    raise WeightsError(
                        f"{printable(layer.name)} outputs {tuple(tensor.shape)}: more "
                        f"than {_LARGEST_OUTPUT:,} values at once"
                    )


def _fill(model: keras.Model, store: typing.Any) -> None:
    failed: set[str] = set()
    messages: dict[int, tuple[typing.Any, Exception]] = {}
    with shared.warnings_ignored():
        saving_lib._load_state(
            model,
            weights_store=store,
            assets_store=None,
            inner_path="",
            visited_saveables=set(),
            failed_saveables=failed,
            error_msgs=messages,
        )
    if failed:
        layer, error = next(iter(messages.values()))
        raise WeightsError(
            f"its weights do not fit its {printable(layer.name)}: {first_line(error)}"
        )


class _Store(saving_lib.H5IOStore):
    """The weights in a `.keras` file, with the interface that Keras expects.

    Attributes:
        weighted: the number of layers with weights.
        count: the total number of values.
    """

    def __init__(self, archive: KerasZip) -> None:
        root = hdf5.open_root(archive.read(WEIGHTS))
        self._groups: dict[str, typing.Any] = {}
        self._left = MOST_COMPRESSION * archive.size
        self.count = 0
        self._walk(root, "", 0)
        self.weighted = sum(bool(entry) for entry in self._groups.values())

    def __bool__(self) -> bool:
        return True

    def get(self, path: str) -> typing.Any:
        """Returns the variables of the object at `path`, by number."""
        return self._groups.get(path, {})

    def has_path(self, path: str) -> bool:
        """Whether there is a group at `path`."""
        return path in self._groups

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

    def _walk(self, group: typing.Any, path: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise WeightsError(f"its groups are more than {_DEEPEST} deep")
        self._groups.setdefault(path, {})
        for name in group.links:
            if not depth and name.startswith("optimizer"):
                continue
            item = group.open(name)
            if not isinstance(item, hdf5.Group):
                raise WeightsError(f"{item.path} is not a group")
            if name == "vars":
                self._groups[path] = self._entry(item)
            else:
                self._walk(item, f"{path}/{name}" if path else name, depth + 1)

    def _entry(self, group: typing.Any) -> typing.Any:
        datasets = {}
        for name in group.links:
            item = group.open(name)
            if not isinstance(item, hdf5.Dataset):
                raise WeightsError(f"{item.name} is a group, not values")
            self._left -= item.cost
            if self._left < 0:
                raise WeightsError(
                    f"{item.path} of shape {item.shape} is not in the file"
                )
            self.count += math.prod(item.shape)
            datasets[name] = item
        return _Entry(datasets)


class _Entry(collections.abc.Mapping[str, np.ndarray]):
    """The variables of one layer; each is read on access."""

    def __init__(self, datasets: dict[str, typing.Any]) -> None:
        self._datasets = datasets

    def __getitem__(self, name: str) -> np.ndarray:
        dataset = self._datasets[name]
        values = dataset.values()
        if values.dtype.kind not in "iu" and not np.isfinite(values).all():
            raise WeightsError(f"{dataset.path} contains NaN or infinite numbers")
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)
