"""Images that a network is run on: to be compared with its file, and for ranges."""

import typing
import warnings
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.images import calibration_checks
from keras_resnets.images import collecting
from keras_resnets.images import synthetic
from keras_resnets.images.collecting import check_images
from keras_resnets.images.preprocessing import Preprocessing

Shape = Sequence[int]


def gather(
    shape: Shape,
    calibration: typing.Any,
    images: typing.Any,
    ranges: str | None = None,
    trained_on: Preprocessing | None = None,
    network: keras.Model | None = None,
    preprocessing: Preprocessing | None = None,
) -> tuple[np.ndarray | None, np.ndarray]:
    """The images for ranges, and those to compare on, checked.

    Args:
        shape: (height, width, channels).
        calibration: what `collecting.collect` takes, or None.
        images: float32 (count, *shape) to compare on; None for some of the
            calibration's, or images that are made.
        ranges: the number format whose ranges come from the calibration; None without.
        trained_on: what the images of the calibration must have gone through; None
            where that is not known.
        network: the `keras.Model` that the calibration must fit.
        preprocessing: what images that are made go through.

    Returns:
        (float32 array or None, float32 array).

    Raises:
        InvalidArgument: images of another shape, that are not finite, or that ranges
            should not be taken from.
    """
    if calibration is not None:
        calibration = collecting.collect(calibration, shape)
    if ranges is not None:
        if calibration is None:
            raise InvalidArgument(
                f"{ranges} requires calibration images: calibration must be an array "
                f"(count, {', '.join(map(str, shape))}); got None"
            )
        calibration_checks.check(calibration, shape, trained_on, network, fewest=1)
        few = calibration_checks.words_for_few(len(calibration))
        if few:
            # Whoever called the exporter.
            warnings.warn(few, calibration_checks.FewImages, stacklevel=6)
    if calibration is not None:
        calibration = check_images("calibration", calibration, shape)
    if images is not None:
        return calibration, check_images("images", images, shape)
    return calibration, default_images(shape, calibration, preprocessing)


def default_images(
    shape: Shape,
    calibration: np.ndarray | None = None,
    preprocessing: Preprocessing | None = None,
    count: int = 4,
) -> np.ndarray:
    """float32 inputs (count, *shape) to compare on.

    Some of the calibration's; without one, synthetic images as the preprocessing gives
    them; noise where that is not known.
    """
    if calibration is not None:
        return calibration[:count]
    if preprocessing is None or shape[-1] != 3:
        rng = np.random.default_rng(0)
        return rng.standard_normal((count, *shape)).astype("float32")
    return preprocessing.normalize(default_pixels(shape, count), "channels_last")


def default_pixels(shape: Shape, count: int) -> np.ndarray:
    """uint8 images to compare on: synthetic ones, or noise of other channels."""
    if shape[-1] == 3:
        return synthetic.images(shape, count, 0)
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *shape)).astype("uint8")
