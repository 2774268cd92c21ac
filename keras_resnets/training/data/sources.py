"""Opens a data set by path or name."""

import hashlib
import json
import pathlib

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_range
from keras_resnets.errors import nearest
from keras_resnets.labelled import check_arrays
from keras_resnets.labelled import read_npz
from keras_resnets.labels import class_names
from keras_resnets.training.data.order import held_out
from keras_resnets.training.data.split import ArrayPictures
from keras_resnets.training.data.split import Dataset
from keras_resnets.training.data.split import Split
from keras_resnets.training.data.split import check_classes
from keras_resnets.training.data.split import check_labels

# Held out where the source has no validation pictures of its own.
SHARE = 0.1
LOADERS = ("cifar10", "cifar100", "fashion_mnist", "mnist")


def open_dataset(source, validation=None, seed=0, classes=None):
    """Opens labelled pictures for training.

    Args:
        source: an .npz file with uint8 `x_train` (count, height, width, 3), integer
            `y_train`, and `x_test`, `y_test` where there are test pictures; or
            `"cifar10"`, `"cifar100"`, `"fashion_mnist"` or `"mnist"`, by Keras' own
            loaders, grey pictures as RGB.
        validation: share of the training pictures to hold out, of every class, in
            [0, 1); 0 for none. None takes the source's own validation pictures, or
            holds out a tenth where it has none. Test pictures never serve for that.
        seed: of the choice of what is held out.
        classes: how many classes there are, or their names or (id, name) in the order
            of the network's outputs; None for what the source says.

    Returns:
        A `Dataset`.

    Raises:
        InvalidArgument: a source that is missing or unknown, or whose pictures or
            labels cannot be used.

    Example:
        >>> data = open_dataset("cifar10.npz", validation=0.1)  # doctest: +SKIP
        >>> data.train.count, data.validation.count, data.test.count  # doctest: +SKIP
        (45000, 5000, 10000)
    """
    if validation is not None:
        check_range("validation", validation, 0.0, 1.0, inclusive=False)
    path = pathlib.Path(source)
    if str(source) in LOADERS:
        opened = _loaded(str(source))
    elif path.suffix == ".npz" and path.is_file():
        opened = _npz(path)
    else:
        raise InvalidArgument(_unknown(source))
    return _finish(opened, validation, seed, classes)


def _unknown(source):
    near = nearest(source, LOADERS, count=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        "data must be an .npz file, a folder with a sub-folder a class, a folder of "
        f"TFRecords, tfds:NAME, {', '.join(LOADERS[:-1])} or {LOADERS[-1]}; got "
        f"{str(source)!r}{hint}"
    )


class Opened:
    """What a source holds: its parts before anything is held out, and its digest."""

    def __init__(self, name, train, validation=None, test=None, names=None):
        self.name, self.names = name, names
        self.train, self.validation, self.test = train, validation, test
        self.digest = hashlib.sha256()


def _npz(path):
    with np.load(path) as file:
        parts = [part for part in ("train", "test") if f"x_{part}" in file]
    parts = {part: read_npz(path, part) for part in {"train", *parts}}
    return arrays(path.name, parts)


def _loaded(name):
    import keras

    loaded = getattr(keras.datasets, name).load_data()
    parts = dict(zip(("train", "test"), loaded, strict=True))
    for part, (pictures, labels) in parts.items():
        if keras.config.image_data_format() == "channels_first" and pictures.ndim == 4:
            pictures = np.moveaxis(pictures, 1, -1)
        parts[part] = as_rgb_arrays(pictures), np.ravel(labels)
    return arrays(name, parts, "cifar10" if name == "cifar10" else None)


def as_rgb_arrays(pictures):
    """(count, height, width, 3) from grey pictures with or without a channel axis."""
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    if pictures.shape[-1] == 1:
        pictures = np.repeat(pictures, 3, axis=-1)
    return pictures


def arrays(name, parts, names=None):
    """`Opened` from (pictures, labels) by `"train"` and `"test"`."""
    found = Opened(name, None, names=names)
    for part in sorted(parts):
        pictures, labels = parts[part]
        check_arrays(pictures, labels, f"x_{part}", f"y_{part}")
        found.digest.update(json.dumps([part, pictures.shape]).encode())
        found.digest.update(np.ascontiguousarray(pictures).data)
        found.digest.update(labels.astype("<i8").data)
        split = Split(
            labels.astype("int64"), ArrayPictures(pictures), np.arange(len(labels))
        )
        setattr(found, part, split)
    return found


def _finish(opened, validation, seed, classes):
    """Checks the labels, holds out the validation pictures."""
    check_classes(opened.train.labels, opened.name)
    names = _names(opened, classes)
    for split in (opened.train, opened.validation, opened.test):
        if split is not None:
            check_labels(split.labels, len(names), opened.name)
    train, held = opened.train, opened.validation
    if validation is None and held is None:
        validation = SHARE
    if validation is not None:
        held = None
    if validation:
        chosen = held_out(train.labels, validation, seed)
        train, held = train.part(~chosen), train.part(chosen)
    opened.digest.update(json.dumps([validation, seed if validation else 0]).encode())
    return Dataset(
        opened.name, names, train, held, opened.test, opened.digest.hexdigest()
    )


def _names(opened, classes):
    """(id, name) of each class."""
    count = int(opened.train.labels.max()) + 1
    if classes is None:
        names = opened.names
        return class_names(count, names) if not isinstance(names, tuple) else names
    if isinstance(classes, int):
        return class_names(classes)
    pairs = [(name, name) if isinstance(name, str) else name for name in classes]
    return tuple((str(identity), str(name)) for identity, name in pairs)
