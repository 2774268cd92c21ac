"""Files that take photos of one size: checks of the options, and photos to compare on."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export.prepare import ExportOptions
from keras_resnets.export.prepare import Ready
from keras_resnets.export.tflite import metadata
from keras_resnets.export.tflite import source
from keras_resnets.export.tflite import versions
from keras_resnets.graph import binary
from keras_resnets.graph import provenance
from keras_resnets.images import labels
from keras_resnets.images import resampling
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.networks import extent


def check(options: ExportOptions, shape: Sequence[int]) -> None:
    """Raises `InvalidArgument` if a file cannot have the source or metadata."""
    for name, value in (("source", options.source), ("metadata", options.metadata)):
        if value and options.preprocessing is None:
            raise InvalidArgument(
                f"{name} requires a file that takes pixels, that is with preprocessing "
                f"(--include-preprocessing); got {name}={value!r} without it"
            )
    if options.source is None or options.preprocessing is None:
        return
    check_size(options.source)
    if tuple(options.preprocessing.size) != tuple(shape[:2]):
        raise InvalidArgument(
            "source requires a preprocessing of the network's image size, "
            f"{tuple(shape[:2])}; got {tuple(options.preprocessing.size)}"
        )
    resampling.matrices((1, 1), options.preprocessing)


def check_size(source: Any) -> None:
    """Raises `InvalidArgument` unless `source` is a (height, width) of photos, or None."""
    if source is not None:
        extent.check_size("source", source, " of the photos, one size per file")


def enlarged(
    pixels: np.ndarray, size: tuple[int, int], preprocessing: Preprocessing
) -> tuple[np.ndarray, np.ndarray]:
    """Returns photos to compare a file on, and the network's input for each.

    Args:
        pixels: uint8 images (count, height, width, 3).
        size: (height, width) of the photos.
        preprocessing: preprocessing of the network.

    Returns:
        uint8 photos, and their preprocessed float32 images.
    """
    from PIL import Image

    photos = [
        Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
        for image in pixels
    ]
    inputs = np.stack([preprocessing(photo) for photo in photos])
    return np.stack([np.asarray(photo) for photo in photos]), inputs


def behind_photos(ready: Ready) -> Ready:
    """Returns `ready`, which takes pixels, with photos as images to compare on."""
    preprocessing, size = ready.options.preprocessing, ready.options.source
    if preprocessing is None or size is None:
        return ready
    photos, images = enlarged(ready.file_inputs, size, preprocessing)
    return dataclasses.replace(ready, images=images, file_inputs=photos)


def finish(file: pathlib.Path, ready: Ready) -> None:
    """Adds the resize and the metadata that were requested to a file, in place."""
    options = ready.options
    if options.preprocessing is None or not (options.source or options.metadata):
        return
    content = file.read_bytes()
    if options.source:
        content = source.put_in_front(content, options.source, options.preprocessing)
    if options.metadata:
        content = metadata.add(content, ready.original.name, label_names(ready))
    file.write_bytes(content)
    versions.stamp(file)


def label_names(ready: Ready) -> tuple[str, ...] | None:
    """Returns the class names of a network, in order; None if they are unknown."""
    label_set: Any = provenance.of(ready.original).labels
    count = ready.reference.outputs[0].shape[-1]
    if label_set is None:
        return None
    if binary.is_binary(ready.original):
        # The probability in the file is that of the second class.
        return tuple(name for _, name in labels.class_names(2, label_set)[1:])
    return tuple(name for _, name in labels.class_names(count, label_set))
