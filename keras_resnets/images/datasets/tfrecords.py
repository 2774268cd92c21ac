"""TFRecord files of labelled images, read without TensorFlow.

Each file is scanned once for the offsets of its images, without reading their bytes.
Then images can be read in any order, so that an epoch is shuffled as a whole and a run
can resume at any step.
"""

import dataclasses
import mmap
import os
import pathlib
import re
import typing
from collections.abc import Iterator

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images.datasets.listing import FileListing
from keras_resnets.images.files import is_hidden
from keras_resnets.images.files import refuse_unreadable
from keras_resnets.images.folders import class_folders
from keras_resnets.io.untrusted import open_regular
from keras_resnets.system.progress import ProgressBar

# The features of the official ImageNet files, and of TensorFlow Datasets.
IMAGENET = ("image/encoded", "image/class/label")
PLAIN = ("image", "label")
# Others of one image and one class, as tutorials and Kaggle's data sets call them.
_IMAGES = ("image", "image/encoded", "image_raw", "image_bytes", "img", "jpeg")
_LABELS = ("label", "image/class/label", "class", "target")
_SHARD = re.compile(r"(.+?)(\.tfrecord)?-\d{5}-of-\d{5}")
SUFFIXES = (".tfrecord", ".tfrecords", ".tfrec")
# The first bytes of a file that gzip compressed.
_GZIP = b"\x1f\x8b"
_PARTS = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
# The most fields of a message, and the most bytes of a feature's name. Those of ImageNet
# have 15 features with names of up to 30 bytes.
_MOST_FIELDS, _LONGEST_NAME = 1000, 200
# Length and its checksum before a record, its checksum after it.
_BEFORE, _AFTER = 12, 4


def shards(folder: pathlib.Path, alone: str = "train") -> dict[str, list[pathlib.Path]]:
    """Returns the sorted TFRecord files of each part of a folder; {} without any.

    Args:
        folder: a folder of files such as train-00000-of-01024 or train.tfrecord.
        alone: the part of files such as data.tfrecord, if no name tells a part and the
            folder has no sub-folders.
    """
    try:
        paths = sorted(pathlib.Path(folder).iterdir())
    except OSError as error:
        refuse_unreadable(error)
        return {}
    parts: dict[str, list[pathlib.Path]] = {}
    rest = []
    for path in paths:
        match = _SHARD.fullmatch(path.name)
        is_record = match or path.suffix.lower() in SUFFIXES
        if not is_record or is_hidden(path.name) or not os.path.isfile(path):
            continue
        # Of train-00000-of-01024 the last word, of train00-192x192-798.tfrec any.
        words = re.split(r"[-_.]", match[1])[-1:] if match else _words(path.stem)
        called = [part for part, names in _PARTS.items() if set(words) & set(names)]
        if len(called) == 1:
            parts.setdefault(called[0], []).append(path)
        elif not match:
            rest.append(path)
    if parts or not rest or class_folders(folder):
        return parts
    return {alone: rest}


def _words(stem: str) -> list[str]:
    return re.findall("[a-z]+", stem.casefold())


def list_records(
    paths: list[pathlib.Path], keys: typing.Any = None
) -> tuple[FileListing, tuple[str, ...]]:
    """Returns the `FileListing` of TFRecord files.

    Args:
        paths: the files, all in one folder.
        keys: names of the features with the encoded image and the class; None to use
            `IMAGENET` or `PLAIN`, whichever the first record has, or other usual names.

    Returns:
        (`FileListing`, keys); the labels are those of the files.

    Raises:
        InvalidArgument: a file is truncated or is not a TFRecord file, or its records
            lack these features.
    """
    root, names, places, labels = str(paths[0].parent), [], [], []
    bar = ProgressBar(len(paths), "files")
    for index, path in enumerate(paths):
        for features, content in _examples(path):
            keys = keys or _keys(features, path)
            start, length, label = _image(content, features, keys, path)
            places.append((index, start, length))
            labels.append(label)
            names.append(f"{path.name} at byte {start}")
        bar(index + 1)
    bar.close()
    if not places:
        raise InvalidArgument(
            f"the TFRecord files in {printable(root)} contain no records"
        )
    files = [path.name for path in paths]
    listing = FileListing(
        "records",
        root,
        files,
        np.array(places, "int64"),
        names,
        np.array(labels, "int64"),
    )
    return listing, keys


def has_labels(path: pathlib.Path, keys: tuple[str, ...]) -> bool:
    """Returns whether the first record of a file has a class beside its image.

    Args:
        path: a TFRecord file, such as one of a competition's test images.
        keys: see `list_records`.
    """
    features = next((features for features, _ in _examples(path)), {})
    image, label = keys
    return label in features or image not in features


def from_zero(
    listings: dict[str, FileListing], keys: tuple[str, ...]
) -> dict[str, FileListing]:
    """Makes labels start at 0.

    The official ImageNet files number classes from 1 and reserve 0 for a background
    that no image has. So 1 is subtracted from `image/class/label` unless a training
    image (any image, if there are none to train on) has label 0. Other features are
    taken to start at 0.

    Args:
        listings: `FileListing`s by part.
        keys: the features that they were read from.
    """
    judged = listings.get("train") or next(iter(listings.values()))
    first = int(keys == IMAGENET and judged.labels.min() >= 1)
    return {
        part: dataclasses.replace(listing, labels=listing.labels - first)
        for part, listing in listings.items()
    }


def _examples(path: pathlib.Path) -> Iterator[tuple[dict[str, list[int]], typing.Any]]:
    """Yields (offsets of the features by name, content of the file) of each record."""
    try:
        opened = open_regular(path)
    except OSError as error:
        raise InvalidArgument(
            f"{printable(str(path))} cannot be read: {first_line(error)}"
        ) from None
    with opened as file:
        if not os.fstat(file.fileno()).st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for start, end in _records(content, path):
                try:
                    features = dict(_features(content, start, end))
                except (IndexError, KeyError, ValueError):
                    raise InvalidArgument(
                        f"the records of {printable(str(path))} must be "
                        f"tf.train.Example; the one at byte {start} is not"
                    ) from None
                yield features, content


def _records(content: typing.Any, path: pathlib.Path) -> Iterator[tuple[int, int]]:
    """Yields (start, end) of each record."""
    at = 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 8], "little")
        start, end = at + _BEFORE, at + _BEFORE + length
        if end + _AFTER > len(content) and content[:2] == _GZIP:
            raise InvalidArgument(
                f"{printable(str(path))} must be a TFRecord file that is not compressed: "
                "unpack it with gzip -dc"
            )
        if end + _AFTER > len(content):
            raise InvalidArgument(
                f"{printable(str(path))} is truncated or not a TFRecord file: its record "
                f"at byte {at} ends at byte {end}, the file at {len(content)}"
            )
        yield start, end
        at = end + _AFTER


def _keys(features: dict[str, list[int]], path: pathlib.Path) -> tuple[str, ...]:
    for keys in (IMAGENET, PLAIN):
        if all(key in features for key in keys):
            return keys
    images = [key for key in _IMAGES if key in features]
    labels = [key for key in _LABELS if key in features]
    if len(images) == len(labels) == 1:
        return images[0], labels[0]
    raise InvalidArgument(
        f"records must contain {' and '.join(IMAGENET)}, or one of {', '.join(_IMAGES)} "
        f"and one of {', '.join(_LABELS)}; "
        f"{printable(str(path))} has {some(sorted(features), 12) or 'none'}"
    )


def _image(
    content: typing.Any,
    features: dict[str, list[int]],
    keys: tuple[str, ...],
    path: pathlib.Path,
) -> tuple[int, int, int]:
    """Returns (start, length, label) from the offsets of a record's features."""
    try:
        image, label = (features[key] for key in keys)
        start, end = _only(content, image[0], image[1], number=1)
        label_start, label_end = _only(content, label[0], label[1], number=3)
        return start, end - start, _integer(content, label_start, label_end)
    except (KeyError, IndexError, ValueError):
        raise InvalidArgument(
            f"each record must contain one image in {keys[0]} and one integer in "
            f"{keys[1]}; one of {printable(str(path))} does not"
        ) from None


def _features(
    content: typing.Any, start: int, end: int
) -> Iterator[tuple[str, list[int]]]:
    """Yields (name, (start, end)) of each `Feature` of a serialized tf.train.Example."""
    for number, *features in _fields(content, start, end):
        if number == 1:
            for _, *entry in _fields(content, *features):
                (name, place) = _map_entry(content, *entry)
                start, end = name
                if end - start > _LONGEST_NAME:
                    raise ValueError(end)
                yield content[start:end].decode(), place


def _map_entry(
    content: typing.Any, start: int, end: int
) -> tuple[list[int], list[int]]:
    fields = {number: place for number, *place in _fields(content, start, end)}
    return fields[1], fields[2]


def _only(content: typing.Any, start: int, end: int, number: int) -> list[int]:
    """Returns (start, end) of the only value in a `Feature`."""
    ((kind, *values),) = _fields(content, start, end)
    ((_, *value),) = _fields(content, *values)
    if kind != number:
        raise ValueError(kind)
    return value


def _integer(content: typing.Any, start: int, end: int) -> int:
    """Returns the only integer in a field, packed or not."""
    value, after = _varint(content, start)
    if after != end:
        raise ValueError(end)
    return value if value < 2**63 else value - 2**64


def _fields(content: typing.Any, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (number, start, end) of each field of a protocol buffer message."""
    for _ in range(_MOST_FIELDS):
        if at >= end:
            return
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            length, at = _varint(content, at)
            stop = at + length
        elif wire == 0:
            stop = _varint(content, at)[1]
        else:
            stop = at + {1: 8, 5: 4}.get(wire, end)
        if stop > end:
            raise ValueError(stop)
        yield number, at, stop
        at = stop
    raise ValueError(at)


def _varint(content: typing.Any, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(shift)
