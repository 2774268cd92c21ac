"""Keras' files: the .h5 of Keras 2, the .weights.h5 and .keras of Keras 3.

Tensors are called `layer/variable`, preceded by the models that contain the layer.
`hdf5` reads them, since the HDF5 library hangs on some damaged files and cannot be
stopped there. The description of a model in a .keras file is text here, never built.
"""

import functools
import mmap
import pathlib
import re
import typing

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.weights.readers import hdf5
from keras_resnets.weights.readers.checkpoint import Checkpoint
from keras_resnets.weights.readers.keras_zip import CONFIG
from keras_resnets.weights.readers.keras_zip import MOST_COMPRESSION
from keras_resnets.weights.readers.keras_zip import WEIGHTS
from keras_resnets.weights.readers.keras_zip import KerasZip
from keras_resnets.weights.readers.keras_zip import parsed

if typing.TYPE_CHECKING:
    from keras_resnets.weights.readers.hdf5 import Group


# The metadata entry of this package's files.
METADATA = "keras_resnets"
_ENTRY = f"{METADATA}.json"
# Layers that other programs put in front of a network, as Keras names them.
SCALINGS = ("rescaling", "normalization", "lambda", "resizing")
# A nested model's weights lie some groups down.
_DEEPEST = 8
# ResNet-1202 has 5,000.
_MOST_LAYERS = 20_000
# Keras 3 numbers the variables of a layer; these are its classes and their variables.
_VARIABLES = {
    ("conv2d", 1): ("kernel",),
    ("conv2d", 2): ("kernel", "bias"),
    ("dense", 1): ("kernel",),
    ("dense", 2): ("kernel", "bias"),
    ("batch_normalization", 4): ("gamma", "beta", "moving_mean", "moving_variance"),
}


def read_keras(path: pathlib.Path) -> Checkpoint:
    """Returns the `Checkpoint` of an HDF5 file: weights, or a whole Keras 2 model."""
    with open(path, "rb") as file:
        # A map, so that tensors are views of the file.
        return _checkpoint(path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_archive(path: pathlib.Path) -> Checkpoint:
    """Returns the `Checkpoint` of a .keras file; its metadata describe the model."""
    archive = KerasZip(path)
    if WEIGHTS not in archive:
        raise WeightsError(f"it has a {CONFIG}, but no {WEIGHTS}")
    contents = {
        key: archive.text(name)
        for key, name in (("config", CONFIG), (METADATA, _ENTRY))
    }
    names = None
    texts = {key: text for key, text in contents.items() if text is not None}
    if "config" in texts:
        names = _Names(parsed(texts["config"], CONFIG))
    content = archive.read(WEIGHTS)
    if not content.startswith(hdf5.SIGNATURE):
        raise WeightsError(f"its {WEIGHTS} is not HDF5")
    return _checkpoint(path, content, texts, names, archive.size)


def _checkpoint(
    path: pathlib.Path,
    data: typing.Any,
    texts: dict[str, str] | None = None,
    names: "_Names | None" = None,
    size: int | None = None,
) -> Checkpoint:
    root = hdf5.open_root(data)
    tensors = _Tensors(size or len(data))
    if "vars" not in root:
        _read_keras_2(root, tensors)
        return Checkpoint(path, "keras", tensors.makers, kinds=tensors.kinds)
    _read_keras_3(root, "", names or _Names(None), tensors)
    text = root.text(METADATA)
    metadata = {**({METADATA: text} if text else {}), **(texts or {})}
    if not tensors.makers:
        raise WeightsError("it contains no layers with weights")
    return Checkpoint(path, "keras3", tensors.makers, metadata, kinds=tensors.kinds)


class _Tensors:
    """The tensors of a file.

    Args:
        size: the size of the file, in bytes.

    Attributes:
        makers: name -> function that returns the array.
        kinds: layer's name -> its class in snake case.
    """

    def __init__(self, size: int) -> None:
        self.makers: dict[str, typing.Any] = {}
        self.kinds: dict[str, str] = {}
        self._size, self._left = size, MOST_COMPRESSION * size

    def add(self, name: str, data: typing.Any) -> None:
        """Adds a dataset.

        Raises:
            WeightsError: a duplicate name, a group, or more than the file can hold.
        """
        if not isinstance(data, hdf5.Dataset):
            raise WeightsError(f"{printable(name)} is a group, not values")
        if name in self.makers:
            raise WeightsError(f"it contains {printable(name)} twice")
        self._left -= data.cost
        if self._left < 0:
            raise WeightsError(
                f"{printable(name)} of shape {data.shape} is not in the file: its values "
                f"are more than {MOST_COMPRESSION} times its {self._size:,} bytes"
            )
        self.makers[name] = data.values


def _read_keras_2(root: "Group", tensors: _Tensors) -> None:
    """Collects the arrays of the layers' groups of a file of Keras 2.

    Only the groups are read: damaged attributes, which list them, could ask for the most.
    """
    if "model_weights" in root:
        root = _group(root, "model_weights")
    for layer in root.links:
        if layer not in ("optimizer_weights", "top_level_model_weights"):
            item = root.open(layer)
            if isinstance(item, hdf5.Group):
                kind = re.sub(r"_\d+$", "", layer)
                if kind in SCALINGS:
                    # The file has no classes: Keras' own names tell them.
                    tensors.kinds[layer] = kind
                _read_layer(item, (layer,), tensors)
    if not tensors.makers:
        raise WeightsError("it is HDF5, but contains no layers of Keras 2")


def _read_layer(group: "Group", place: tuple[str, ...], tensors: _Tensors) -> None:
    """The datasets in a layer's group: `model/layer/kernel:0`."""
    if len(place) > _DEEPEST:
        raise WeightsError(f"its groups are more than {_DEEPEST} deep")
    for name in group.links:
        item = group.open(name)
        if isinstance(item, hdf5.Group):
            # Most writers repeat the layer's name as the group inside its own.
            inner = place if name == place[-1] else (*place, name)
            _read_layer(item, inner, tensors)
        else:
            tensors.add("/".join((*place, name)), item)


def _group(parent: "Group", name: str) -> "Group":
    item = parent.open(name)
    if not isinstance(item, hdf5.Group):
        raise WeightsError(f"{item.path} is not a group")
    return item


class _Names:
    """Maps the names that Keras 3 stores layers under to the users' names.

    Stored names are numbered by class: `conv2d_3`. Newer files also hold the users' names;
    the description in a .keras file always does.

    Args:
        config: of a model, as Keras writes it, or None.

    Raises:
        WeightsError: a description that is not of a model.
    """

    def __init__(self, config: typing.Any) -> None:
        self._inner = {}
        inner = (config or {}).get("config") or {}
        layers = inner.get("layers") if isinstance(inner, dict) else None
        counts: dict[str, int] = {}
        if isinstance(layers, list) and len(layers) > _MOST_LAYERS:
            raise WeightsError(
                f"its {CONFIG} has {len(layers):,} layers: at most {_MOST_LAYERS:,}"
            )
        for layer in layers or []:
            if not is_layer(layer):
                raise WeightsError(f"its {CONFIG} has a layer without class or config")
            stem = snake_case(layer["class_name"])
            count = counts[stem] = counts.get(stem, -1) + 1
            stored = f"{stem}_{count}" if count else stem
            name = layer["config"].get("name")
            self._inner[stored] = (name if isinstance(name, str) else None, layer)

    def of(self, stored: str) -> "tuple[str | None, _Names]":
        """Returns (the user's name or None, `_Names` of the layers inside)."""
        name, layer = self._inner.get(stored, (None, None))
        return name, _Names(layer)


def is_layer(item: dict[str, str | dict[str, list[int | None]]]) -> bool:
    """Whether a part of a model's description describes a layer, as Keras writes it."""
    return (
        isinstance(item, dict)
        and isinstance(item.get("class_name"), str)
        and isinstance(item.get("config"), dict)
    )


@functools.lru_cache(1000)
def snake_case(name: str) -> str:
    """Does what `keras.src.utils.naming.to_snake_case` does: batch_normalization."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _read_keras_3(
    group: "Group", place: str, names: _Names, tensors: _Tensors, depth: int = 0
) -> None:
    """Collects the layers under `group`, whose name is `place`."""
    if depth > 2 * _DEEPEST:
        raise WeightsError(f"its groups are more than {2 * _DEEPEST} deep")
    for stored in group.links:
        skipped = stored in ("vars", "seed_generator", "_metrics")
        if skipped or (not depth and stored.startswith("optimizer")):
            continue
        item = group.open(stored)
        if not isinstance(item, hdf5.Group):
            continue
        if "vars" not in item:
            # The list of a model's layers, or an attribute that holds some.
            _read_keras_3(item, place, names, tensors, depth + 1)
            continue
        own_name, inside = names.of(stored)
        variables = _group(item, "vars")
        name = own_name or _told_name(variables) or stored
        name = f"{place}/{name}" if place else name
        _read_variables(name, re.sub(r"_\d+$", "", stored), variables, tensors)
        _read_keras_3(item, name, inside, tensors, depth + 1)


def _read_variables(
    name: str, kind: str, variables: "Group", tensors: _Tensors
) -> None:
    tensors.kinds[name.replace("/", ".")] = kind
    fields = _VARIABLES.get((kind, len(variables.links)))
    for number in variables.links:
        field = number
        if fields:
            if number not in map(str, range(len(fields))):
                raise WeightsError(
                    f"{printable(name)} has a variable {printable(number)}; those of Keras "
                    "are numbered"
                )
            field = fields[int(number)]
        tensors.add(f"{name}/{field}", variables.open(number))


def _told_name(variables: "Group") -> str | None:
    name = variables.text("name")
    return name if name and "/" not in name else None
