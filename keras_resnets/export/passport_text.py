"""Parses the untrusted text of a passport: required keys and their types."""

import json
import math
import numbers
import pathlib
from typing import Any
from typing import NoReturn

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.export.formats import FORMATS
from keras_resnets.export.number_formats import NUMBER_FORMATS
from keras_resnets.images import labels
from keras_resnets.images.preprocessing import Preprocessing

# Largest passport in bytes. The names of ImageNet's 21,841 classes take half of it.
_LARGEST = 4 << 20
# This package's passports have three levels: parity, its outputs, its figures.
_DEPTH = 16
# The largest side in pixels, as in `preprocessing`.
_SIDE = 16_384
# The largest mean or deviation; usual ones are up to 255.
_VALUE = 1_000_000


def parse(place: pathlib.Path) -> dict[str, Any]:
    """Parses the passport at `place` and checks the keys that its readers use.

    Args:
        place: a `pathlib.Path`.

    Raises:
        InvalidArgument: the file is not a passport, or keys are missing or have wrong
            types.
    """
    content = loaded(place)
    if not isinstance(content, dict):
        raise InvalidArgument(
            f"{place} is not a passport: it is a list, text or number"
        )
    missing = [key for key in _KINDS if key not in content]
    if missing:
        raise InvalidArgument(
            f"{place} is not a passport: it lacks {', '.join(missing)}"
        )
    for key, (kind, is_fine) in _KINDS.items():
        if not is_fine(content[key]):
            shown = printable(json.dumps(content[key]), 60)
            raise InvalidArgument(
                f"{place} is not a passport: {key} must be {kind}; it is {shown}"
            )
    try:
        if content["preprocessing"] is not None:
            Preprocessing(**content["preprocessing"])
    except (InvalidArgument, TypeError, ValueError) as error:
        raise InvalidArgument(
            f"{place} is not a passport: preprocessing: {printable(str(error), 150)}"
        ) from None
    return content


def loaded(place: pathlib.Path) -> Any:
    """Parses a JSON file with any content.

    Args:
        place: a `pathlib.Path`.

    Raises:
        InvalidArgument: a file that is not JSON, or larger than a passport may be.
    """
    size = place.stat().st_size
    if size > _LARGEST:
        raise InvalidArgument(
            f"{place} is not a passport: one has {_LARGEST:,} bytes at most; this has "
            f"{size:,}"
        )
    try:
        text = place.read_bytes().decode("utf-8")
        if _depth(text) > _DEPTH:
            raise ValueError(f"it is nested more than {_DEPTH} deep")
        return json.loads(text, object_pairs_hook=_only_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"{place} is not a passport: {printable(str(error), 150)}"
        ) from None


def _depth(text: str) -> int:
    """Returns an upper bound of the nesting depth, since brackets in strings count."""
    deepest = depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _only_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("it has a duplicate key")
    return entries


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: Any) -> bool:
    return (
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
    )


def _is_figure(value: Any) -> bool:
    """A number, or an infinity as a string, since JSON has none."""
    return value in ("inf", "-inf", "nan") or _is_number(value)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_format(value: Any) -> bool:
    return isinstance(value, str) and value in FORMATS


def _is_quantize(value: Any) -> bool:
    return isinstance(value, str) and value in NUMBER_FORMATS


def _are_labels(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_text, value))
    return value is None or (isinstance(value, str) and value in labels.NAMES)


def _is_recipe(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(
        value.get("include_preprocessing", False), bool
    )


def _is_preprocessing(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not isinstance(
        value.get("letterbox", False), bool
    ):
        return False
    sides, means, deviations = (value.get(key) for key in ("size", "mean", "std"))
    return (
        _are_numbers(sides, 1, _SIDE)
        and all(isinstance(side, int) for side in sides or ())
        and _are_numbers(means, -_VALUE, _VALUE)
        and _are_numbers(deviations, 1 / _VALUE, _VALUE)
    )


def _are_numbers(value: Any, low: float, high: float) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and all(
        _is_number(number) and low <= number <= high for number in value
    )


def _is_parity(value: Any) -> bool:
    """Checks the figures that are printed."""
    if not isinstance(value, dict) or not _is_count(value.get("compared")):
        return False
    outputs, logits = value.get("outputs"), value.get("logits")
    if not isinstance(outputs, dict) or not _is_figure(outputs.get("max_error")):
        return False
    return logits is None or (
        isinstance(logits, dict) and _is_figure(logits.get("relative_error"))
    )


# The keys that readers of a passport use: the expected value, and its check.
_KINDS = {
    "format": (f"one of {', '.join(FORMATS)}", _is_format),
    "quantize": (f"one of {', '.join(NUMBER_FORMATS)}", _is_quantize),
    "recipe": ("an object, include_preprocessing true or false", _is_recipe),
    "preprocessing": (
        f"null or an object: sides of 1 to {_SIDE:,}, mean and std as numbers up to "
        f"{_VALUE:,}, std above 0, letterbox true or false",
        _is_preprocessing,
    ),
    "labels": ("null, the name of a label set, or a list of names", _are_labels),
    "model": ("a text", _is_text),
    "parameters": ("a whole number", _is_count),
    "weights": ("null or a text", _is_text_or_none),
    "parity": ("an object with compared, outputs and logits", _is_parity),
    "versions": ("an object", _is_dict),
    "sha256": ("a text", _is_text),
}
