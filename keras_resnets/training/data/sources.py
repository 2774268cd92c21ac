"""Opens a data set by path or name."""

import hashlib
import json
import pathlib

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_range
from keras_resnets.errors import nearest
from keras_resnets.labelled import check_arrays
from keras_resnets.labelled import class_folders
from keras_resnets.labelled import read_npz
from keras_resnets.labels import class_names
from keras_resnets.pictures import list_pictures
from keras_resnets.training.data import folders
from keras_resnets.training.data import records
from keras_resnets.training.data import tfds
from keras_resnets.training.data.order import check_seed
from keras_resnets.training.data.order import held_out
from keras_resnets.training.data.split import ArrayPictures
from keras_resnets.training.data.split import Dataset
from keras_resnets.training.data.split import Split
from keras_resnets.training.data.split import check_classes
from keras_resnets.training.data.split import check_labels

# Held out where the source has no validation pictures of its own.
SHARE = 0.1
LOADERS = ("cifar10", "cifar100", "fashion_mnist", "mnist")
_TFDS = "tfds:"


def open_dataset(source, validation=None, seed=0, classes=None):
    """Opens labelled pictures for training.

    Pictures of folders and TFRecords that are not whole are left out and named in the
    part's `skipped`; which they are is settled here, by reading every header, so that
    every run on these files sees the same pictures.

    Args:
        source: an .npz file with uint8 `x_train` (count, height, width, 3), integer
            `y_train`, and `x_test`, `y_test` where there are test pictures; a folder
            with a sub-folder a class, or with such folders as train, val and test; a
            folder of TFRecord files train-00000-of-01024, validation-..., with the
            features of the official ImageNet files, image/encoded and
            image/class/label (which count from 1 where no picture to train on has
            label 0), or image and label (from 0); `"tfds:NAME"` for TensorFlow
            Datasets; or `"cifar10"`, `"cifar100"`, `"fashion_mnist"` or `"mnist"` by
            Keras' own loaders, grey pictures as RGB.
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
    check_seed(seed)
    given = _given(classes)
    path, name = pathlib.Path(source), str(source)
    if name in LOADERS:
        opened = _loaded(name)
    elif name.startswith(_TFDS):
        opened = _tfds(name.removeprefix(_TFDS))
    elif path.is_dir():
        opened = _records(path) if records.shards(path) else _folder(path, given)
    elif path.suffix == ".npz" and path.is_file():
        opened = _npz(path)
    else:
        raise InvalidArgument(_unknown(name))
    opened.names = given or _names(opened, classes)
    return _finish(opened, validation, seed)


def _given(classes):
    """(id, name) of each class where the caller names them."""
    if classes is None:
        return None
    if isinstance(classes, int):
        check_positive_int("classes", classes)
        return None
    pairs = [(name, name) if isinstance(name, str) else name for name in classes]
    return tuple((str(identity), str(name)) for identity, name in pairs)


def _unknown(source):
    near = nearest(source, LOADERS, count=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        "data must be an .npz file, a folder with a sub-folder a class, a folder of "
        f"TFRecord files, tfds:NAME, {', '.join(LOADERS[:-1])} or {LOADERS[-1]}; got "
        f"{source!r}{hint}"
    )


class _Opened:
    """What a source holds, before anything is held out."""

    def __init__(self, name, names=None):
        self.name, self.names, self.parts = name, names, {}
        self._digest = hashlib.sha256()

    def add(self, part, split, *content):
        """Adds a part; text and arrays that determine it go into the fingerprint."""
        self.parts[part] = split
        for piece in (part, *content):
            words = piece.encode() if isinstance(piece, str) else piece.data
            self._digest.update(words)

    def fingerprint(self, *values):
        self._digest.update(json.dumps(values).encode())
        return self._digest.hexdigest()


def _npz(path):
    parts = {"train": read_npz(path, "train")}
    with np.load(path) as file:
        if "x_test" in file:
            parts["test"] = read_npz(path, "test")
    return _arrays(path.name, parts)


def _loaded(name):
    import keras

    loaded = getattr(keras.datasets, name).load_data()
    parts = {}
    for part, (pixels, labels) in zip(("train", "test"), loaded, strict=True):
        if pixels.ndim == 4 and pixels.shape[1] == 3:
            # Keras' loaders follow its image data format.
            pixels = np.moveaxis(pixels, 1, -1)
        if pixels.ndim == 3:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        parts[part] = (pixels, np.ravel(labels))
    names = class_names(10, "cifar10") if name == "cifar10" else None
    return _arrays(name, parts, names)


def _arrays(name, parts, names=None):
    opened = _Opened(name, names)
    for part, (pixels, labels) in parts.items():
        check_arrays(pixels, labels, f"x_{part}", f"y_{part}")
        pixels, labels = np.ascontiguousarray(pixels), labels.astype("int64")
        split = Split(labels, ArrayPictures(pixels), np.arange(len(labels)))
        opened.add(part, split, json.dumps(pixels.shape), pixels, labels)
    return opened


def _folder(path, given):
    parts = folders.parts_of(path)
    names = given or folders.names_of(parts["train"])
    opened = _Opened(path.name, names)
    for part, folder in parts.items():
        folders.check_classes(folder, names, part)
        split = folders.open_folder(folder, names)
        listed = [
            f"{file.relative_to(folder)} {file.stat().st_size}"
            for name in class_folders(folder)
            for file in list_pictures(folder / name)
        ]
        opened.add(part, split, "\n".join(listed))
    return opened


def _records(path):
    return _sharded(path.name, records.shards(path), None, None)


def _tfds(name):
    return _sharded(_TFDS + name, *tfds.prepared(name))


def _sharded(name, parts, keys, names):
    if "train" not in parts:
        raise InvalidArgument(
            f"a folder of TFRecord files must hold train-00000-of-...; {name} has "
            f"{', '.join(sorted(parts))} alone"
        )
    splits = {}
    for part in ("train", *sorted(set(parts) - {"train"})):
        splits[part], keys = records.open_records(parts[part], keys)
    splits = records.from_zero(splits, keys)
    if names is None and keys == records.IMAGENET:
        count = int(splits["train"].labels.max()) + 1
        names = class_names(count, "imagenet" if count == 1000 else None)
    opened = _Opened(name, names and _given(names))
    for part, split in splits.items():
        listed = [f"{path.name} {path.stat().st_size}" for path in parts[part]]
        opened.add(part, split, "\n".join(listed))
    return opened


def _names(opened, count):
    """(id, name) of each class of a source; `count` is None or how many there are."""
    names, most = opened.names, int(opened.parts["train"].labels.max()) + 1
    if names is None:
        return class_names(max(count or most, 1))
    if count not in (None, len(names)):
        raise InvalidArgument(
            f"classes must be {len(names)}, which {opened.name} has; got {count}"
        )
    return names


def _finish(opened, validation, seed):
    """Checks the labels, holds out the validation pictures."""
    train, held = opened.parts["train"], opened.parts.get("validation")
    check_classes(train.labels, opened.name)
    for split in opened.parts.values():
        check_labels(split.labels, len(opened.names), opened.name)
    if validation is None and held is None:
        validation = SHARE
    if validation is not None:
        held = None
    if validation:
        chosen = held_out(train.labels, validation, seed)
        train, held = train.part(~chosen), train.part(chosen)
    if held is not None and not held.count:
        raise InvalidArgument(
            f"{opened.name}: no class has a picture to spare for validation; give "
            "validation=0"
        )
    return Dataset(
        name=opened.name,
        classes=opened.names,
        train=train,
        validation=held,
        test=opened.parts.get("test"),
        fingerprint=opened.fingerprint(validation, seed if validation else 0),
    )
