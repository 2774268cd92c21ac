"""Reads the files beside the weights: a passport, timm's `config.json`.

`keras-resnets export keras` writes a passport beside its file; timm's `save_for_hf` and
`push_to_hub` write `config.json` beside `model.safetensors` and `pytorch_model.bin`.
"""

import hashlib
import pathlib
import typing

from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.weights import lookalikes
from keras_resnets.weights import metadata

if typing.TYPE_CHECKING:
    from keras_resnets.weights.file_source import FileSource


_TIMM = ("model.safetensors", "pytorch_model.bin")


def apply(source: "FileSource") -> None:
    """Sets what the file of `source` itself does not hold: preprocessing and labels.

    Raises:
        WeightsError: a passport of another file, or values that cannot be used.
    """
    if source.preprocessing is not None:
        return
    path = source.path
    place = _passport_of(path)
    facts = _passport(path, place)
    if facts is None and path.name in _TIMM:
        place = path.with_name("config.json")
        facts = _timm(place)
    if facts is None:
        return
    from keras_resnets.images.preprocessing import Preprocessing

    arguments, labels = facts
    try:
        preprocessing = Preprocessing(**arguments)
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


def _timm(place: pathlib.Path) -> typing.Any:
    """(arguments of `Preprocessing`, labels) in timm's configuration, or None."""
    content = _read(place) or {}
    lookalikes.check_name(content.get("architecture"), place)
    config = content.get("pretrained_cfg")
    if not isinstance(config, dict) or "mean" not in config:
        return None
    arguments = {"mode": "torch", "mean": config["mean"], "std": config.get("std")}
    size = config.get("input_size", (3, 224, 224))
    arguments["size"] = size[-2:] if isinstance(size, (list, tuple)) else size
    for theirs, ours in (("crop_pct", "crop_fraction"), ("interpolation",) * 2):
        if config.get(theirs) is not None:
            arguments[ours] = config[theirs]
    labels = content.get("label_names") or config.get("label_names")
    return arguments, labels if isinstance(labels, list) else None
