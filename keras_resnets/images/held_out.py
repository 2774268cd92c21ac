"""Labelled training images that a calibration set has not: to choose by."""

import os
import pathlib
import typing
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_type
from keras_resnets.images import evaluation
from keras_resnets.images import folders
from keras_resnets.images import loading
from keras_resnets.images.arguments import check_preprocessing
from keras_resnets.images.arguments import check_source
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.calibration import training_listing
from keras_resnets.images.datasets import arrays
from keras_resnets.images.datasets import class_folders
from keras_resnets.images.datasets import named

if typing.TYPE_CHECKING:
    from keras_resnets.images.evaluation import Labelled
    from keras_resnets.images.preprocessing import Preprocessing


# The standard error of a difference of 0.2 points is a third of it.
COUNT = 5000


def hold_out(
    data: str | os.PathLike[str],
    preprocessing: "Preprocessing",
    calibration: CalibrationSet,
    count: int = COUNT,
    names: Sequence[tuple[str, str]] = (),
) -> "Labelled":
    """`evaluation.Labelled` images of the training data, none of the calibration's.

    Args:
        data: what `calibration.choose` took its images from: an .npz file with
            `x_train` and `y_train`, a folder with one sub-folder per class, or a name.
        preprocessing: a `Preprocessing`, such as `model.preprocessing`.
        calibration: the `CalibrationSet` of `choose`.
        count: most images to take; the seed of the calibration chooses.
        names: (id, name) of each class of the model, see `evaluation.open_data`.

    Raises:
        InvalidArgument: data without labels, or none left.
    """
    check_positive_int("count", count)
    path = check_source(data)
    check_preprocessing(preprocessing)
    check_type(
        "calibration", calibration, CalibrationSet, "the CalibrationSet of choose"
    )
    if calibration.taken is None:
        raise InvalidArgument(
            "calibration must be a set of calibration.choose, so that other images can be "
            "held out; got one of an array"
        )
    if named.is_named(data):
        listing = training_listing(data, preprocessing.channels)
        rest = _rest(calibration, len(listing.labels), count, path)
        split = listing.split(rest, thorough=True)
        return evaluation.of_split(split, preprocessing, tuple(listing.notes))
    if path.is_dir():
        return _of_folder(path, preprocessing, calibration, count, names)
    x, y = arrays.read_npz(path, "train")
    rest = _rest(calibration, len(x), count, path)
    return evaluation.of_arrays(x[rest], y[rest], preprocessing)


def _rest(
    calibration: CalibrationSet, available: int, count: int, path: pathlib.Path
) -> np.ndarray:
    """Indices that the calibration has not, in the order of its seed."""
    order = np.random.default_rng(calibration.seed).permutation(available)
    rest = order[calibration.taken :][:count]
    if not len(rest):
        raise InvalidArgument(
            f"all {available} images of {path.name} are in the calibration set, so none "
            "can be held out: calibrate with fewer"
        )
    return rest


def _of_folder(
    folder: pathlib.Path,
    preprocessing: "Preprocessing",
    calibration: CalibrationSet,
    count: int,
    names: Sequence[tuple[str, str]],
) -> "Labelled":
    folder = folders.to_train_on(folder)
    try:
        channels = preprocessing.channels
        listing = class_folders.list_folder(folder, names, channels=channels)
    except InvalidArgument as error:
        raise InvalidArgument(f"held-out images must have labels: {error}") from None
    paths = loading.list_images(folder, preprocessing.channels)
    rest = _rest(calibration, len(paths), len(paths), folder)
    # What lies outside the sub-folders has no label.
    place = {folder / name: index for index, name in enumerate(listing.names)}
    chosen = [place[paths[index]] for index in rest if paths[index] in place][:count]
    split = listing.split(np.array(chosen, int), thorough=True)
    return evaluation.of_split(split, preprocessing, listing.notes)
