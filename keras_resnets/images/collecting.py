"""Images that a person gives: arrays, tensors, lists, datasets, generators."""

import os
import typing
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.errors import shown

# The most images taken from a source without a length.
MOST = 500


def collect(
    source: typing.Any,
    shape: Sequence[int | None] | None,
    most: int = MOST,
    what: str = "calibration",
) -> np.ndarray:
    """Collects images as a float32 array (count, height, width, channels).

    Args:
        source: an array or tensor, a list of images, a `tf.data.Dataset`, a loader
            or generator of images or batches, with or without labels, or a function
            that returns one, such as TFLite's `representative_dataset`.
        shape: (height, width, channels), for messages; None for an open size, and for
            any shape.
        most: largest number of images to take, unless it is an array.
        what: what messages call the images.

    Raises:
        InvalidArgument: another type, or images of different shapes.
    """
    if isinstance(source, (str, bytes, os.PathLike)):
        raise InvalidArgument(
            f"{what} must be images, not the path of some; got {shown(source)}: "
            "keras_resnets.quantization.choose(path, preprocessing) reads them"
        )
    # A `CalibrationSet`.
    source = getattr(source, "images", source)
    if callable(source) and not hasattr(source, "__iter__"):
        source = source()
    try:
        if _is_stream(source):
            return _of_stream(source, most)
        return np.asarray(source, "float32")
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidArgument(
            f"{what} must be an array (count, {_words(shape)}), or a tf.data.Dataset "
            f"or generator of such images; got {type(source).__name__}: "
            f"{first_line(error)}"
        ) from None


def _is_stream(source: np.ndarray) -> bool:
    if hasattr(source, "__array__") or isinstance(source, (list, tuple)):
        return False
    return hasattr(source, "__iter__") or hasattr(source, "__getitem__")


def _of_stream(source: typing.Any, most: int) -> np.ndarray:
    if not hasattr(source, "__iter__"):
        # A keras.utils.PyDataset.
        source = (source[index] for index in range(len(source)))
    batches, count = [], 0
    for element in source:
        while isinstance(element, (tuple, list, dict)):
            # (images, labels), or a dict from the name of the input.
            parts = element.values() if isinstance(element, dict) else element
            element = next(iter(parts))
        images = np.asarray(element, "float32")
        images = images[None] if images.ndim == 3 else images
        if images.ndim != 4:
            raise ValueError(f"it yields arrays of the shape {images.shape}")
        batches.append(images[: most - count])
        count += len(batches[-1])
        if count == most:
            break
    if not batches:
        raise ValueError("it yields nothing")
    return np.concatenate(batches)


def check_images(what: str, images: typing.Any, shape: typing.Any) -> np.ndarray:
    """Returns `images` as a finite, non-empty float32 array (count, *shape).

    Args:
        what: what messages call the images.
        images: array, or anything that `collect` takes.
        shape: (height, width, channels); None for an open size.

    Raises:
        InvalidArgument: another shape, no images, or values that are not finite.
    """
    images = collect(images, shape, what=what)
    check_shape(what, images, shape, fewest=1)
    check_finite(what, images)
    return images


def check_shape(
    what: typing.Any, images: np.ndarray, shape: typing.Any, fewest: int = 0
) -> None:
    """Raises `InvalidArgument` unless the shape is (count, *shape), None for any size."""
    fits = images.ndim == 4 and all(
        want in (None, have) for have, want in zip(images.shape[1:], shape, strict=True)
    )
    if not fits or len(images) < fewest:
        raise InvalidArgument(
            f"{what} must have the shape (count, {_words(shape)}); got {images.shape}"
        )


def check_finite(what: typing.Any, images: np.ndarray) -> None:
    """Raises `InvalidArgument` if a value is NaN or infinite."""
    if not np.isfinite(images).all():
        raise InvalidArgument(f"{what} must be finite; some are NaN or infinite")


def _words(shape: typing.Any) -> str:
    if shape is None:
        return "height, width, channels"
    return ", ".join("any" if size is None else str(size) for size in shape)
