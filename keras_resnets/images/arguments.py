"""Checks of arguments that several functions of this room have."""

import pathlib

from keras_resnets.errors import check_path
from keras_resnets.errors import check_type
from keras_resnets.images.preprocessing import Preprocessing

_SOURCE = (
    "the path or the name of a data set (an array of images is a calibration set itself: "
    "calibration=array)"
)


def check_source(data: object) -> pathlib.Path:
    """Returns the path or name of a data set as a path.

    Raises:
        InvalidArgument: something else, such as an array.
    """
    return check_path("data", data, _SOURCE)


def check_preprocessing(preprocessing: object) -> None:
    """Raises `InvalidArgument` unless it is a `Preprocessing`."""
    rule = "a Preprocessing, such as model.preprocessing"
    check_type("preprocessing", preprocessing, Preprocessing, rule)
