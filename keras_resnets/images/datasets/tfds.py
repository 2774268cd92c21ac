"""TensorFlow Datasets: prepares a data set, whose TFRecord files are then read."""

import pathlib
import re
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.errors import some

_PARTS = ("train", "validation", "test")
# Name, configuration and version. A path or an address would read from anywhere.
_NAME = re.compile(r"[A-Za-z]\w*(/[\w+.-]*\w)?(:(\d+|\*)(\.(\d+|\*)){2})?")


def prepared(name: str) -> tuple[typing.Any, ...]:
    """Downloads and prepares a data set, unless that is done, and returns its files.

    Args:
        name: name in TensorFlow Datasets, such as `"imagenette/160px"`.

    Returns:
        (files by part, names of the image and label features, names of the classes).

    Raises:
        InvalidArgument: TensorFlow Datasets is not installed, does not know the name,
            or the examples do not have one image and one class each.
    """
    if not _NAME.fullmatch(name) or ".." in name or len(name) > 200:
        raise InvalidArgument(
            "tfds: must be followed by a name of TensorFlow Datasets, such as mnist, "
            f"imagenette/160px or mnist:3.0.1; got {printable(name)!r}"
        )
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InvalidArgument(
            f"tfds:{name} requires TensorFlow Datasets: pip install tensorflow-datasets"
        ) from None
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
    # Its errors have no common base class.
    except Exception as error:
        raise InvalidArgument(
            f"TensorFlow Datasets cannot open {name!r}: {first_line(error)}"
        ) from None
    info = builder.info
    keys = info.supervised_keys
    if not keys or not hasattr(info.features[keys[1]], "names"):
        raise InvalidArgument(
            f"tfds:{name} must have one image and one class per example; it has "
            f"{some(sorted(info.features), 12)}"
        )
    files = {part: _files(info.splits[part], name) for part in _parts(info)}
    return files, tuple(keys[:2]), tuple(info.features[keys[1]].names)


def _parts(info: typing.Any) -> list[str]:
    parts = [part for part in _PARTS if part in info.splits]
    if "train" not in parts:
        raise InvalidArgument(
            f"tfds:{info.name} must have a train split; it has "
            f"{some(sorted(info.splits), 12)}"
        )
    return parts


def _files(split: typing.Any, name: str) -> list[pathlib.Path]:
    paths = [pathlib.Path(path) for path in split.filepaths]
    if not paths or any("tfrecord" not in path.name for path in paths):
        raise InvalidArgument(
            f"tfds:{name} must be prepared as TFRecord files; got "
            f"{some([path.name for path in paths]) or 'none'}"
        )
    return paths
