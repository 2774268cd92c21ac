"""Files that take photos of one size: what may be asked, and photos to compare on."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.export.prepare import Ready
from keras_resnets.export.prepare import Wanted
from keras_resnets.export.tflite import metadata
from keras_resnets.export.tflite import source
from keras_resnets.export.tflite import versions
from keras_resnets.graph import provenance
from keras_resnets.images import labels
from keras_resnets.images import resampling
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.networks import extent


def check(wanted: Wanted, shape: Sequence[int]) -> None:
    """Raises `InvalidArgument` for photos or metadata that a file cannot have."""
    for name, value in (("source", wanted.source), ("metadata", wanted.metadata)):
        if value and wanted.preprocessing is None:
            raise InvalidArgument(
                f"{name} is of a file that takes pixels: it goes with preprocessing "
                f"(--include-preprocessing); got {name}={value!r} without"
            )
    if wanted.source is None or wanted.preprocessing is None:
        return
    check_size(wanted.source)
    if tuple(wanted.preprocessing.size) != tuple(shape[:2]):
        raise InvalidArgument(
            "source is resized to the size of the preprocessing, which must be the "
            f"network's: it is {tuple(wanted.preprocessing.size)}, the network takes "
            f"{tuple(shape[:2])}"
        )
    resampling.matrices((1, 1), wanted.preprocessing)


def check_size(source: Any) -> None:
    """Raises `InvalidArgument` for what is no size of photos."""
    if isinstance(source, str) or not isinstance(source, Sequence) or len(source) != 2:
        raise InvalidArgument(
            "source must be (height, width) of the photos, one size a file; got "
            f"{source!r}"
        )
    for side in source:
        check_positive_int("source", side)
    extent.check_pixels(source, argument="source")


def enlarged(
    pixels: np.ndarray, size: tuple[int, int], wanted: Preprocessing
) -> tuple[np.ndarray, np.ndarray]:
    """Photos for a file to compare on, and the network's input of each.

    Args:
        pixels: uint8 (count, height, width, 3).
        size: (height, width) that they are enlarged to.
        wanted: what the network expects of them.

    Returns:
        uint8 photos, and their float32 inputs.
    """
    from PIL import Image

    photos = [
        Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
        for image in pixels
    ]
    inputs = np.stack([wanted(photo) for photo in photos])
    return np.stack([np.asarray(photo) for photo in photos]), inputs


def behind_photos(ready: Ready) -> Ready:
    """`ready`, which takes pixels, with photos for the file to compare on.

    The photos are those pixels, enlarged.
    """
    wanted, size = ready.wanted.preprocessing, ready.wanted.source
    if wanted is None or size is None:
        return ready
    photos, images = enlarged(ready.given, size, wanted)
    return dataclasses.replace(ready, images=images, given=photos)


def finish(file: pathlib.Path, ready: Ready) -> None:
    """Puts resize and metadata, where they are asked for, into a file, in place."""
    wanted = ready.wanted
    if wanted.preprocessing is None or not (wanted.source or wanted.metadata):
        return
    content = file.read_bytes()
    if wanted.source:
        content = source.put_in_front(content, wanted.source, wanted.preprocessing)
    if wanted.metadata:
        content = metadata.add(content, ready.original.name, label_names(ready))
    file.write_bytes(content)
    versions.stamp(file)


def label_names(ready: Ready) -> tuple[str, ...] | None:
    """Name of each class of a network, in order; None where they are not known."""
    known: Any = provenance.of(ready.original).labels
    count = ready.reference.outputs[0].shape[-1]
    if known is None:
        return None
    return tuple(name for _, name in labels.class_names(count, known))
