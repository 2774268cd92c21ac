"""Data sets other than .npz files and folders of images: Keras, TFDS, TFRecords."""

import os
import pathlib
import typing

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.images.datasets import tfrecords
from keras_resnets.images.labels import class_names
from keras_resnets.system import shared

KERAS = ("cifar10", "cifar100", "fashion_mnist", "mnist")
TFDS = "tfds:"
# For messages.
ALLOWED = f"TFRecord files, {TFDS}NAME, {', '.join(KERAS[:-1])} or {KERAS[-1]}"


def is_named(source: str | os.PathLike[str]) -> bool:
    """Returns whether a source is a name, `tfds:NAME`, or a folder of TFRecord files."""
    word = str(source)
    if word in KERAS or word.startswith(TFDS):
        return True
    return os.path.isdir(word) and bool(tfrecords.shards(pathlib.Path(word)))


def load_keras(
    name: str,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], typing.Any]:
    """Loads a data set of `keras.datasets`, which downloads it if it is not cached.

    Args:
        name: one of `KERAS`.

    Returns:
        ({"train": (uint8 images (count, height, width, 3), labels (count,)), "test":
        ...}, (id, name) of each class or None). Grey images are repeated for RGB.

    Raises:
        InvalidArgument: the download fails.
    """
    import keras

    try:
        # Keras prints its progress to stdout, where a command prints its result.
        with shared.stdout_to_stderr:
            loaded = getattr(keras.datasets, name).load_data()
    # Keras raises a bare Exception if a download fails.
    except Exception as error:
        raise InvalidArgument(
            f"{name} must be in Keras' cache or be downloadable; got "
            f"{first_line(error)}: an .npz file with x_train and y_train also works"
        ) from None
    parts = {}
    for part, (pixels, labels) in zip(("train", "test"), loaded, strict=True):
        if pixels.ndim == 4 and pixels.shape[1] == 3:
            # The loaders follow Keras' image data format.
            pixels = np.moveaxis(pixels, 1, -1)
        if pixels.ndim == 3:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        parts[part] = (pixels, np.ravel(labels))
    counts = {"cifar10": 10, "cifar100": 100}
    names = class_names(counts[name], name) if name in counts else None
    return parts, names
