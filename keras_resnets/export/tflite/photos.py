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
    if not isinstance(wanted.source, Sequence) or len(wanted.source) != 2:
        raise InvalidArgument(
            f"source must be (height, width) of the photos; got {wanted.source!r}"
        )
    for side in wanted.source:
        check_positive_int("source", side)
    extent.check_pixels(wanted.source, argument="source")
    if tuple(wanted.preprocessing.size) != tuple(shape[:2]):
        raise InvalidArgument(
            "source is resized to the size of the pre-processing, which must be the "
            f"network's: it is {tuple(wanted.preprocessing.size)}, the network takes "
            f"{tuple(shape[:2])}"
        )
    resampling.matrices((1, 1), wanted.preprocessing)


def behind_photos(ready: Ready) -> Ready:
    """`ready`, which takes pixels, with photos for the file to compare on.

    The photos are those pixels, enlarged.
    """
    from PIL import Image

    wanted, size = ready.wanted.preprocessing, ready.wanted.source
    if wanted is None or size is None:
        return ready
    enlarged = [
        Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC)
        for pixels in ready.given
    ]
    images = np.stack([wanted(photo) for photo in enlarged])
    photos = np.stack([np.asarray(photo) for photo in enlarged])
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
