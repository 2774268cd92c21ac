"""Parsing of `--input-size` and `--set`."""

import typing
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import shown
from keras_resnets.fields import read_settings
from keras_resnets.networks.architecture import AXES

# Axes that have an option of their own.
_ELSEWHERE = {
    "classes": "use --classes N",
    "input_size": "use --input-size PIXELS",
}


def size_of(text: str) -> tuple[int, int]:
    """Returns the (height, width) of `--input-size`."""
    words = text.lower().split("x")
    try:
        sides = [AXES["input_size"].read("", word) for word in words[:3]]
    except InvalidArgument:
        sides = []
    if len(sides) not in (1, 2):
        raise InvalidArgument(
            "--input-size must be a number of pixels from 1 to 65,535, or HEIGHTxWIDTH; "
            f"got {shown(text)}"
        )
    return (sides[0], sides[-1])


def axes_of(settings: Sequence[str]) -> dict[str, typing.Any]:
    """Returns the values of `--set` by axis."""
    return read_settings(settings, AXES, "--set", "AXIS=VALUE", _ELSEWHERE)
