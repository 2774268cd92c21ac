"""Keras' files: the .h5 of Keras 2, the .weights.h5 and .keras of Keras 3.

Tensors are called `layer/variable`, with the models that a layer lies in before it.
Read in pure Python: the HDF5 library itself hangs on some damaged files, where nothing
can stop it. The description of a model in a .keras file is text here, never built.
"""

import contextlib
import functools
import io
import json
import math
import mmap
import re
import struct
import zipfile

import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.arrays import MappedFile
from keras_resnets.weights.readers.checkpoint import Checkpoint

# What our own files say beside the values.
NOTES = "keras_resnets"
# Compressed data may be this many times as long as the file.
_MOST_COMPRESSION = 20
# A nested model's weights lie some groups down; a loop of links has no bottom.
_DEEPEST = 8
# Keras 3 numbers the variables of a layer; these are its classes and their variables.
_VARIABLES = {
    ("conv2d", 1): ("kernel",),
    ("conv2d", 2): ("kernel", "bias"),
    ("dense", 1): ("kernel",),
    ("dense", 2): ("kernel", "bias"),
    ("batch_normalization", 4): ("gamma", "beta", "moving_mean", "moving_variance"),
}
_WEIGHTS, _CONFIG, _NOTES_ENTRY = "model.weights.h5", "config.json", f"{NOTES}.json"
# A description of ResNet-1202 has 3 MB.
_LONGEST_TEXT = 50_000_000


def read_keras(path):
    """The `Checkpoint` of an HDF5 file: of weights, or of a whole model of Keras 2."""
    with open(path, "rb") as file:
        # A map, since a file allocates what a damaged length asks it to read.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _checkpoint(path, mapped, mapped[:48], len(mapped))


def read_archive(path):
    """The `Checkpoint` of a .keras file; its metadata has the model's description."""
    size = len(MappedFile(path))
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if _WEIGHTS not in entries:
            raise WeightsError(f"it has a {_CONFIG}, but no {_WEIGHTS}")
        if entries[_WEIGHTS].file_size > _MOST_COMPRESSION * size:
            raise WeightsError(f"its {_WEIGHTS} is compressed beyond measure")
        content = archive.read(_WEIGHTS)
        texts = {
            key: archive.read(name).decode()
            for key, name in (("config", _CONFIG), (NOTES, _NOTES_ENTRY))
            if name in entries and entries[name].file_size <= _LONGEST_TEXT
        }
    if not content.startswith(b"\x89HDF\r\n\x1a\n"):
        raise WeightsError(f"its {_WEIGHTS} is no HDF5")
    names = _Names(json.loads(texts["config"])) if "config" in texts else None
    return _checkpoint(
        path, io.BytesIO(content), content[:48], len(content), texts, names
    )


def _checkpoint(path, file, head, size, texts=None, names=None):
    import pyfive

    _check_whole(head, size)
    with _told():
        root = pyfive.File(file)
        if "vars" not in root:
            return Checkpoint(path, "keras", _makers(root, size))
        found = _Keras3(size)
        found.walk(root, "", names or _Names(None))
        notes = _text(root.attrs.get(NOTES))
    metadata = {**({NOTES: notes} if notes else {}), **(texts or {})}
    if not found.makers:
        raise WeightsError("it holds no layers with weights")
    return Checkpoint(path, "keras3", found.makers, metadata, kinds=found.kinds)


def _check_whole(head, size):
    """HDF5 says at its start where it ends."""
    place = 40 if head[8] < 2 else 28
    (end,) = struct.unpack_from("<Q", head, place)
    if end > size:
        raise WeightsError(f"it was cut off: {size:,} of {end:,} bytes")


def _makers(file, size):
    """A function for each array of a layer's group.

    By the groups alone: the attributes that list them are where damage asks for most.
    """
    root = file["model_weights"] if "model_weights" in file else file
    makers = {}
    for layer in root:
        if layer in ("optimizer_weights", "top_level_model_weights"):
            continue
        for name, data in _datasets(root[layer], (layer,)):
            _add(makers, name, data, size)
    if not makers:
        raise WeightsError("it is HDF5, but holds no layers of Keras 2")
    return makers


def _add(makers, name, data, size):
    if name in makers:
        raise WeightsError(f"it holds {name} twice")
    if math.prod(data.shape) * data.dtype.itemsize > _MOST_COMPRESSION * size:
        raise WeightsError(f"{name} of shape {data.shape} is not in the file")
    makers[name] = functools.partial(_values, data)


def _datasets(item, place):
    """(name, dataset) of every dataset in a layer's group: `model/layer/kernel:0`."""
    from pyfive import Group

    if not isinstance(item, Group):
        return
    if len(place) > _DEEPEST:
        raise WeightsError(f"its groups are more than {_DEEPEST} deep")
    for name in item:
        if isinstance(item[name], Group):
            # Most writers repeat the layer's name as the group inside its own.
            inner = place if name == place[-1] else (*place, name)
            yield from _datasets(item[name], inner)
        else:
            yield "/".join((*place, name)), item[name]


class _Names:
    """The users' names of layers, by the names that Keras 3 stores them under.

    Those are numbered by class: `conv2d_3`. Newer files have the users' names beside;
    the description in a .keras file has them always.

    Args:
        config: of a model, as Keras writes it, or None.
    """

    def __init__(self, config):
        self._inner = {}
        layers = ((config or {}).get("config") or {}).get("layers") or []
        counts = {}
        for layer in layers:
            stem = snake_case(layer["class_name"])
            count = counts[stem] = counts.get(stem, -1) + 1
            stored = f"{stem}_{count}" if count else stem
            self._inner[stored] = (layer["config"].get("name"), layer)

    def of(self, stored):
        """(the user's name or None, `_Names` of what is inside)."""
        name, layer = self._inner.get(stored, (None, None))
        return name, _Names(layer)


def snake_case(name):
    """As `keras.src.utils.naming.tosnake_case`: GlobalMaxPooling2D, BatchNormalization."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class _Keras3:
    """What lies in the groups of a file of Keras 3.

    Attributes:
        makers: name -> function that returns the array.
        kinds: layer's name -> its class in snake case.
    """

    def __init__(self, size):
        self.makers, self.kinds = {}, {}
        self._size = size

    def walk(self, group, place, names, depth=0):
        """Collects the layers under `group`, which `place` is the name of."""
        from pyfive import Group

        if depth > 2 * _DEEPEST:
            raise WeightsError(f"its groups are more than {2 * _DEEPEST} deep")
        for stored in group:
            item = group[stored]
            skipped = stored in ("vars", "seed_generator", "_metrics")
            skipped = skipped or (not depth and stored.startswith("optimizer"))
            if skipped or not isinstance(item, Group):
                continue
            if "vars" not in item:
                # The list of a model's layers, or an attribute that holds some.
                self.walk(item, place, names, depth + 1)
                continue
            told, inside = names.of(stored)
            name = told or _told_name(item["vars"]) or stored
            name = f"{place}/{name}" if place else name
            self._take(name, re.sub(r"_\d+$", "", stored), item["vars"])
            self.walk(item, name, inside, depth + 1)

    def _take(self, name, kind, variables):
        self.kinds[name.replace("/", ".")] = kind
        stored = list(variables)
        fields = _VARIABLES.get((kind, len(stored)))
        for number in stored:
            field = fields[int(number)] if fields else number
            _add(self.makers, f"{name}/{field}", variables[number], self._size)


def _told_name(variables):
    name = _text(variables.attrs.get("name"))
    return name if name and "/" not in name else None


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _values(data):
    with _told():
        return np.asarray(data[()])


@contextlib.contextmanager
def _told():
    from pyfive.core import InvalidHDF5File

    try:
        yield
    except InvalidHDF5File as error:
        raise WeightsError(f"it is damaged HDF5: {error}") from None
