"""What files beside the weights tell of them: a passport, timm's `config.json`.

`keras-resnets export keras` writes a passport beside its file; timm's `save_for_hf` and
`push_to_hub` write `config.json` beside `model.safetensors` and `pytorch_model.bin`.
"""

import hashlib
import pathlib
import typing

from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.weights import metadata

if typing.TYPE_CHECKING:
    from keras_resnets.weights.file_source import FileSource


_TIMM = ("model.safetensors", "pytorch_model.bin")


def apply(source: "FileSource") -> None:
    """Gives `source` what is not in its file itself: pre-processing and labels.

    Raises:
        WeightsError: a passport of another file, or values that cannot be used.
    """
    if source.preprocessing is not None:
        return
    path = source.path
    place = path.with_name(f"{path.name}.json")
    found = _passport(path, place)
    if found is None and path.name in _TIMM:
        place = path.with_name("config.json")
        found = _timm(place)
    if found is None:
        return
    from keras_resnets.images.preprocessing import Preprocessing

    wanted, labels = found
    try:
        preprocessing = Preprocessing(**wanted)
        labels = metadata.checked_labels(labels)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{place}: its pre-processing is damaged: {first_line(error)}"
        ) from None
    source.preprocessing = preprocessing
    if labels is not None:
        source.labels = labels


def _read(place: pathlib.Path) -> typing.Any:
    """The dict in a JSON file; None where there is none."""
    try:
        with open(place, encoding="utf-8") as file:
            return metadata.checked_json(file.read(metadata.LONGEST + 1))
    except (OSError, ValueError):
        return None


def _passport(path: pathlib.Path, place: pathlib.Path) -> typing.Any:
    """(arguments of `Preprocessing`, labels) that a passport tells, or None."""
    content = _read(place)
    if content is None or not content.get("preprocessing") or "sha256" not in content:
        return None
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != content["sha256"]:
            raise WeightsError(
                f"{place} is the passport of another file: the sha256 differs"
            )
    return content["preprocessing"], content.get("labels")


def _timm(place: pathlib.Path) -> typing.Any:
    """The same of timm's configuration."""
    content = _read(place) or {}
    known = content.get("pretrained_cfg")
    if not isinstance(known, dict) or "mean" not in known:
        return None
    wanted = {"mode": "torch", "mean": known["mean"], "std": known.get("std")}
    size = known.get("input_size", (3, 224, 224))
    wanted["size"] = size[-2:] if isinstance(size, (list, tuple)) else size
    for theirs, ours in (("crop_pct", "crop_fraction"), ("interpolation",) * 2):
        if known.get(theirs) is not None:
            wanted[ours] = known[theirs]
    labels = content.get("label_names") or known.get("label_names")
    return wanted, labels if isinstance(labels, list) else None
