"""What our files say beside the values: how the network was built, what it is shown.

Keras' own files keep values alone. A network that needs another axis than its variant
has (`identity_pad_position="both"`) would load without a word and compute something
else, and nobody would know what its pictures must look like.
"""

import dataclasses
import json

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.io import keras_archive

# Attribute of an HDF5 file, key of the metadata of a safetensors file.
KEY = "keras_resnets"
_ENTRY = f"{KEY}.json"
# A megabyte is what the names of ImageNet-21k take, with all their synonyms.
LONGEST = 4_000_000
_LONGEST_LABEL = 1000


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
    from keras_resnets.images.preprocessing import Preprocessing

    try:
        notes = checked_json(text)
        axes, wanted = _dict(notes, "axes"), _dict(notes, "preprocessing")
        axes = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in axes.items()
        }
        preprocessing = Preprocessing(**wanted)
        labels = checked_labels(notes["labels"])
    except (ValueError, KeyError, TypeError, InvalidArgument) as error:
        raise WeightsError(
            f"{source.path}: its notes are damaged: {first_line(error)}"
        ) from None
    source.axes, source.preprocessing, source.labels = axes, preprocessing, labels


def checked_json(text):
    """The JSON in a text that stands in or beside a file of weights.

    Args:
        text: of any length and content.

    Raises:
        ValueError: no JSON object, or one that no program writes beside weights: too
            long, nested deeply, or with numbers that are none.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{len(text):,} characters, of at most {LONGEST:,}")
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"it is no JSON object, but a {type(content).__name__}")
    return content


def checked_labels(known):
    """The name of a label set, or a printable name for each class.

    Labels are shown wherever classes are: what a terminal would obey is escaped here,
    once.

    Raises:
        ValueError: something else, or names of more than 1,000 characters.
    """
    from keras_resnets.images.labels import NAMES

    if isinstance(known, list) and all(isinstance(name, str) for name in known):
        if any(len(name) > _LONGEST_LABEL for name in known):
            raise InvalidArgument(
                f"a label has more than {_LONGEST_LABEL:,} characters"
            )
        return tuple(printable(name, _LONGEST_LABEL) for name in known)
    if known is not None and known not in NAMES:
        shown = printable(repr(known)[:100], 60)
        raise InvalidArgument(
            f"labels must be null, one of {', '.join(NAMES)}, or a list of names; got "
            f"{shown}"
        )
    return known


def _refuse_constant(name):
    raise ValueError(f"it holds the number {name}")


def _dict(notes, key):
    if not isinstance(notes[key], dict):
        raise TypeError(f"{key} is no JSON object, but a {type(notes[key]).__name__}")
    return notes[key]
