"""What our files say beside the values: how the network was built, what it is shown.

Keras' own files keep values alone. A network that needs another axis than its variant
has (`identity_pad_position="both"`) would load without a word and compute something
else, and nobody would know what its pictures must look like.
"""

import dataclasses
import json

from keras_resnets import keras_archive
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import check_choice

# Attribute of an HDF5 file, key of the metadata of a safetensors file.
KEY = "keras_resnets"
_ENTRY = f"{KEY}.json"


def of(model):
    """The notes for a file of the weights of `model`, made by `create_model`."""
    return {
        "axes": model.axes,
        "preprocessing": dataclasses.asdict(model.preprocessing),
        "labels": model.labels,
    }


def write_weights(model, path, notes):
    """Writes the weights of a model as a `.weights.h5` file with its `notes`."""
    keras_archive.write_weights(model, path, {KEY: json.dumps(notes)})


def write_model(model, path, notes):
    """Writes a model as a `.keras` file with its `notes`."""
    keras_archive.write_model(model, path, {_ENTRY: json.dumps(notes)})


def metadata(notes):
    """`notes` as the metadata of a safetensors file."""
    return {"format": "pt", KEY: json.dumps(notes)}


def apply(source, text):
    """Gives `source` what the notes in a file say; None says nothing.

    Raises:
        WeightsError: notes that are damaged.
    """
    if text is None:
        return
    from keras_resnets.preprocessing import Preprocessing

    try:
        notes = json.loads(text)
        axes, wanted = dict(notes["axes"]), dict(notes["preprocessing"])
        source.axes = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in axes.items()
        }
        source.preprocessing = Preprocessing(**wanted)
        source.labels = _labels(notes["labels"])
    except (ValueError, KeyError, TypeError, InvalidArgument) as error:
        raise WeightsError(f"{source.path}: its notes are damaged: {error}") from None


def _labels(known):
    """The name of a label set, or a name for each class."""
    from keras_resnets.labels import NAMES

    if isinstance(known, list) and all(isinstance(name, str) for name in known):
        return tuple(known)
    check_choice("labels", known, (None, *NAMES))
    return known
