"""Reads the files beside the weights: a passport, the hub's `config.json`.

`keras-resnets export keras` writes a passport beside its file; timm's `save_for_hf` and
transformers' `save_pretrained` write `config.json` beside `model.safetensors` and
`pytorch_model.bin`.
"""

import hashlib
import pathlib
import typing

from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.weights import hub_config
from keras_resnets.weights import metadata

if typing.TYPE_CHECKING:
    from keras_resnets.weights.file_source import FileSource


def apply(source: "FileSource") -> None:
    """Sets what the file of `source` itself does not hold: preprocessing and labels.

    Raises:
        WeightsError: a passport of another file, or values that cannot be used.
    """
    if source.preprocessing is not None:
        return
    from keras_resnets.weights.readers import HUB_FILES

    path = source.path
    place = _passport_of(path)
    facts = None if path.is_dir() else _passport(path, place)
    if facts is None and (path.is_dir() or path.name in HUB_FILES):
        place, *facts = _hub(source)
    if facts is None:
        return
    from keras_resnets.images.preprocessing import Preprocessing

    arguments, labels = facts
    try:
        preprocessing = None if arguments is None else Preprocessing(**arguments)
        labels = metadata.checked_labels(labels)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{place}: its preprocessing is damaged: {first_line(error)}"
        ) from None
    source.preprocessing = preprocessing
    if labels is not None:
        source.labels = labels


def remove_passport(path: pathlib.Path) -> None:
    """Removes the passport of a file that is about to be replaced by weights."""
    place = _passport_of(path)
    if "sha256" in (_read(place) or {}):
        place.unlink(missing_ok=True)


def _passport_of(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.json")


def _read(place: pathlib.Path) -> typing.Any:
    """Returns the dict in a JSON file; None if there is no file."""
    try:
        with open(place, encoding="utf-8") as file:
            return metadata.checked_json(file.read(metadata.LONGEST + 1))
    except (OSError, ValueError):
        return None


def _passport(path: pathlib.Path, place: pathlib.Path) -> typing.Any:
    """(arguments of `Preprocessing`, labels) in a passport, or None."""
    content = _read(place)
    if content is None or not content.get("preprocessing") or "sha256" not in content:
        return None
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != content["sha256"]:
            raise WeightsError(
                f"{place} is the passport of another file: the sha256 differs; delete "
                f"it if {path.name} is the file that you want"
            )
    return content["preprocessing"], content.get("labels")


def _hub(source: "FileSource") -> typing.Any:
    """(file, arguments of `Preprocessing` or None, labels or None) of the hub's files.

    Sets the axes of `source` that they tell.
    """
    folder = source.path if source.path.is_dir() else source.path.parent
    place = folder / "config.json"
    content = _read(place) or {}
    if content.get("model_type") == "resnet":
        processor = _read(folder / "preprocessor_config.json") or {}
        facts = hub_config.of_transformers(content, processor, place)
    else:
        facts = hub_config.of_timm(content, place)
    source.axes = {**source.axes, **facts.axes}
    return place, facts.preprocessing, facts.labels
