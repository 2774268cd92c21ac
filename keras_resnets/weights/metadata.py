"""The metadata of this package's files: how the network was built, what images it takes.

Keras' own files keep values alone. A network that differs from its variant in an axis
(`identity_pad_position="both"`) would load without a warning and compute something
else, and the preprocessing of its images would be unknown.
"""

import dataclasses
import json
import pathlib
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.graph.provenance import Provenance
from keras_resnets.images import confidence
from keras_resnets.images.labels import MULTI_LABEL
from keras_resnets.io import keras_archive
from keras_resnets.networks.architecture import Architecture
from keras_resnets.weights.source import Source

if typing.TYPE_CHECKING:
    import keras


# Attribute of an HDF5 file, key of the metadata of a safetensors file.
KEY = "keras_resnets"
ENTRY = f"{KEY}.json"
# The names of ImageNet-21k take a megabyte, with all their synonyms.
LONGEST = 4_000_000
_LONGEST_LABEL = 1000


def write_weights(model: "keras.Model", path: pathlib.Path, record: Provenance) -> None:
    """Writes the weights of a model as a `.weights.h5` file, with a `Provenance`."""
    keras_archive.write_weights(model, path, _entries(KEY, record))


def write_model(model: "keras.Model", path: pathlib.Path, record: Provenance) -> None:
    """Writes a model as a `.keras` file, with a `Provenance`."""
    keras_archive.write_model(model, path, _entries(ENTRY, record))


def of_safetensors(record: Provenance) -> dict[str, str]:
    """The metadata of a safetensors file with a `Provenance`."""
    return {"format": "pt", **_entries(KEY, record)}


def _entries(key: str, record: Provenance) -> dict[str, str]:
    """The entries of a file: none for a model without recorded preprocessing."""
    if record.preprocessing is None:
        return {}
    facts = dataclasses.asdict(record)
    if record.confidence is None:
        del facts["confidence"]
    if record.task is None:
        del facts["task"]
    return {key: json.dumps(facts)}


def apply(source: Source, text: str | None) -> None:
    """Applies the metadata in a file to `source`; None changes nothing.

    Raises:
        WeightsError: metadata that are damaged.
    """
    if text is None:
        return
    record = parsed(text, source.path)
    source.axes, source.preprocessing = dict(record.axes), record.preprocessing
    source.labels = record.labels
    source.confidence, source.task = record.confidence, record.task


def parsed(text: str, path: pathlib.Path) -> Provenance:
    """Returns the `Provenance` in the metadata of a file.

    Raises:
        WeightsError: metadata that are damaged.
    """
    from keras_resnets.images.preprocessing import Preprocessing

    try:
        content = checked_json(text)
        origin = content.get("weights_origin")
        return Provenance(
            architecture=_architecture(content.get("architecture")),
            axes=_with_tuples(_dict(content, "axes")),
            preprocessing=Preprocessing(**_dict(content, "preprocessing")),
            labels=checked_labels(content["labels"]),
            weights_origin=printable(origin, 1000) if isinstance(origin, str) else None,
            random_weights=content.get("random_weights") is True,
            confidence=confidence.of_record(content.get("confidence")),
            task=MULTI_LABEL if content.get("task") == MULTI_LABEL else None,
        )
    except (ValueError, KeyError, TypeError, InvalidArgument) as error:
        raise WeightsError(
            f"{path}: its metadata are damaged: {first_line(error)}"
        ) from None


def _architecture(axes: object) -> Architecture | None:
    """Returns the `Architecture` of a file; None if it has axes of a later release."""
    try:
        return Architecture(**_with_tuples(axes)) if isinstance(axes, dict) else None
    except (TypeError, ValueError):
        return None


def _with_tuples(axes: dict[str, typing.Any]) -> dict[str, typing.Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in axes.items()
    }


def checked_json(text: str) -> dict[str, typing.Any]:
    """Parses the JSON text in or beside a file of weights.

    Args:
        text: of any length and content.

    Raises:
        ValueError: no JSON object, or one that no program writes beside weights: too
            long, nested too deeply, or with NaN or infinite numbers.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{len(text):,} characters, of at most {LONGEST:,}")
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"it must be a JSON object; it is a {type(content).__name__}")
    return content


def checked_labels(labels: typing.Any) -> str | tuple[str, ...] | None:
    """Returns the name of a label set, or a printable name for each class.

    Labels are printed wherever classes are shown: control characters are escaped here,
    once.

    Raises:
        ValueError: something else, or names of more than 1,000 characters.
    """
    from keras_resnets.images.labels import NAMES

    if isinstance(labels, list) and all(isinstance(name, str) for name in labels):
        if any(len(name) > _LONGEST_LABEL for name in labels):
            raise InvalidArgument(
                f"a label has more than {_LONGEST_LABEL:,} characters"
            )
        return tuple(printable(name, _LONGEST_LABEL) for name in labels)
    if labels is not None and labels not in NAMES:
        shown = printable(repr(labels)[:100], 60)
        raise InvalidArgument(
            f"labels must be null, one of {', '.join(NAMES)}, or a list of names; got "
            f"{shown}"
        )
    return labels


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it contains the number {name}")


def _dict(content: dict[str, typing.Any], key: str) -> dict[str, typing.Any]:
    if not isinstance(content[key], dict):
        raise TypeError(
            f"{key} must be a JSON object; it is a {type(content[key]).__name__}"
        )
    return content[key]
