"""Opens a data set by path or name."""

import json
import os
import pathlib
import typing
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_range
from keras_resnets.errors import check_type
from keras_resnets.errors import check_whole
from keras_resnets.errors import nearest
from keras_resnets.errors import printable
from keras_resnets.images import file_names
from keras_resnets.images import folders
from keras_resnets.images.datasets import class_folders
from keras_resnets.images.datasets import duplicates
from keras_resnets.images.datasets import label_tables
from keras_resnets.images.datasets import labelled_files
from keras_resnets.images.datasets import named
from keras_resnets.images.datasets import table_files
from keras_resnets.images.datasets import tfds
from keras_resnets.images.datasets import tfrecords
from keras_resnets.images.datasets.arrays import check_arrays
from keras_resnets.images.datasets.arrays import check_no_gaps
from keras_resnets.images.datasets.arrays import notes_of_pixels
from keras_resnets.images.datasets.arrays import npz_parts
from keras_resnets.images.datasets.arrays import read_parts
from keras_resnets.images.datasets.arrays import spread
from keras_resnets.images.datasets.listing import ArrayListing
from keras_resnets.images.datasets.opened import Opened
from keras_resnets.images.datasets.seeded import held_out
from keras_resnets.images.datasets.split import Dataset
from keras_resnets.images.datasets.split import check_channels
from keras_resnets.images.datasets.split import check_classes
from keras_resnets.images.datasets.split import check_labels
from keras_resnets.images.datasets.split import notes_of_labels
from keras_resnets.images.labels import class_names
from keras_resnets.images.multi_label import strata

if typing.TYPE_CHECKING:
    from keras_resnets.images.datasets.split import Split


# The share held out if the source has no validation images of its own.
SHARE = 0.1
# The order of the parts in fingerprints.
_ORDER = ("train", "validation", "test")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def open_dataset(
    source: str | os.PathLike[str],
    validation: float | None = None,
    seed: int = 0,
    classes: int | Sequence[typing.Any] | None = None,
    multi_label: bool = False,
    channels: int | None = None,
) -> Dataset:
    """Opens labelled images for training.

    Incomplete images in folders and TFRecord files are skipped and listed in the
    part's `skipped`. All headers are read here to find them, so every run on the same
    files sees the same images.

    Args:
        source: one of
            - an .npz file with uint8 `x_train` (count, height, width, 3) and integer
              `y_train`, and optionally the same for `val` and `test` (see
              `arrays.npz_parts`);
            - a folder with one sub-folder per class, or with one such folder per part:
              train, val, test (see `images.folders.parts_of`);
            - a CSV file of file names and classes beside its images, or a folder with
              one, or with train.csv, val.csv and test.csv (see `label_tables.read`);
            - a folder of TFRecord files train-00000-of-01024, validation-..., with the
              features `image/encoded` and `image/class/label` of the official ImageNet
              files (labels count from 1 unless a training image has label 0), or
              `image` and `label` (from 0);
            - `"tfds:NAME"` for TensorFlow Datasets;
            - `"cifar10"`, `"cifar100"`, `"fashion_mnist"` or `"mnist"`, loaded by
              Keras, grey images as RGB.
        validation: share of the training images to hold out, of every class, in
            [0, 1); 0 for none. None uses the source's own validation images, or holds
            out a tenth if it has none. Test images are never used for validation.
        seed: seed of the hold-out.
        classes: number of classes, or their names or (id, name) in the order of the
            network's outputs; None for those of the source.
        multi_label: whether an image may have none, one or several labels. The source
            is then such a CSV file or folder, or an .npz file whose `y_*` are 0 and 1,
            of shape (count, labels).
        channels: channels of the network; None for those of the images. Other numbers
            than 1 and 3 need an .npz file, or a folder of .npy or TIFF files (see
            `channel_files.read`).

    Returns:
        A `Dataset`.

    Raises:
        InvalidArgument: the source is missing or unknown; it is unclear whether its
            sub-folders are classes or parts; its labels have gaps and no names; or too
            many images are broken.

    Example:
        >>> data = open_dataset("cifar10.npz", validation=0.1)  # doctest: +SKIP
        >>> data.train.count, data.validation.count, data.test.count  # doctest: +SKIP
        (45000, 5000, 10000)
    """
    if validation is not None:
        check_range("validation", validation, 0.0, 1.0, inclusive=False)
    check_whole("seed", seed)
    pairs = _class_names_of(classes)
    opened = _find(source, pairs, None, multi_label, channels)
    if "train" not in opened.listings:
        raise InvalidArgument(
            f"{opened.name} must contain a train split; it only has "
            f"{', '.join(opened.listings)}"
        )
    names = pairs or _names(opened, classes)
    dataset = _finish(opened, names, validation, seed)
    check_channels(dataset.train.images, channels, dataset.name)
    return dataset


def open_part(
    source: str | os.PathLike[str],
    part: str = "test",
    classes: tuple[typing.Any, ...] = (),
    count: int | None = None,
    seed: int = 0,
    multi_label: bool = False,
    channels: int | None = None,
) -> "tuple[Split, tuple[str, ...]]":
    """Opens one part of a data set, for evaluation or for training without validation.

    Each image is decoded once. Broken images are skipped and listed in the `Split`'s
    `skipped`.

    Args:
        source: see `open_dataset`; an .npz file or a folder may hold only this part.
        part: `"train"`, or `"test"`, which falls back to the validation part.
        classes: (id, name) of each class of the network, see `labels.indices`; () if
            they are not known.
        count: number of images, the same share of every class; None for all.
        seed: seed of the sample; the same seed gives the same images.
        multi_label: see `open_dataset`.
        channels: see `open_dataset`.

    Returns:
        (`Split`, notes); the notes are lines about what was skipped or assumed.

    Raises:
        InvalidArgument: see `open_dataset`; or the source does not have this part.
    """
    if count is not None:
        check_positive_int("count", count)
    check_whole("seed", seed)
    listing, notes = list_part(source, part, classes, multi_label, channels)
    chosen = None if count is None else spread(strata(listing.labels), count, seed)
    split = listing.split(chosen, thorough=True)
    check_channels(split.images, channels, str(source))
    return split, (*notes, *listing.notes)


def list_part(
    source: str | os.PathLike[str],
    part: str = "test",
    classes: tuple[typing.Any, ...] = (),
    multi_label: bool = False,
    channels: int | None = None,
) -> tuple[typing.Any, list[str]]:
    """Returns (listing of one part, notes), see `open_part`; decodes no image."""
    check_type("names of classes", classes, (tuple, list), "pairs (id, name)")
    check_choice("part", part, ("train", "validation", "test"))
    opened = _find(source, tuple(classes), part, multi_label, channels)
    chosen_part = part if part in opened.listings or part == "train" else "validation"
    if chosen_part not in opened.listings:
        raise InvalidArgument(
            f"{opened.name} must contain a {part} split; it only has "
            f"{', '.join(opened.listings)}"
        )
    notes = list(opened.notes)
    if chosen_part != part:
        notes.append(f"{opened.name} has no {part} split: {chosen_part} is used")
    return opened.listings[chosen_part], notes


def _find(
    source: str | os.PathLike[str],
    classes: tuple[typing.Any, ...] | None,
    part: str | None,
    multi_label: bool = False,
    channels: int | None = None,
) -> Opened:
    """Opens a source.

    Args:
        source: path or name.
        classes: (id, name) of each class; None or () if they are not known.
        part: the part to open, see `open_part`; None for all.
        multi_label: see `open_dataset`.
        channels: see `open_dataset`.
    """
    if not isinstance(source, str | os.PathLike):
        raise InvalidArgument(_no_path(source))
    path, name = pathlib.Path(source), str(source)
    is_npz = path.suffix.lower() == ".npz" and os.path.isfile(path)
    if multi_label and not is_npz:
        return labelled_files.open_tables(path, classes, part, True)
    if path.suffix.lower() in label_tables.SUFFIXES and os.path.isfile(path):
        return labelled_files.open_tables(path, classes, part, False)
    if name in named.KERAS:
        return _loaded(name)
    if name.startswith(named.TFDS):
        return _tfds(name.removeprefix(named.TFDS), part)
    if os.path.isdir(path):
        if tfrecords.shards(path):
            return _records(path, part)
        ignored = table_files.beside_classes(path)
        if ignored is None:
            return labelled_files.open_tables(path, classes, part, False)
        return _folder(path, classes, part, channels, ignored)
    if is_npz:
        return _npz(path, part, multi_label, channels)
    raise InvalidArgument(_unknown(name))


def _class_names_of(classes: typing.Any) -> tuple[typing.Any, ...] | None:
    """Returns (id, name) of each class if the caller names them; otherwise None."""
    if classes is None:
        return None
    if isinstance(classes, int):
        check_positive_int("classes", classes)
        return None
    kinds = (tuple, list, np.ndarray)
    check_type("classes", classes, kinds, "a number, or one name per class")
    pairs = [(name, name) if isinstance(name, str) else name for name in classes]
    return tuple((str(identity), str(name)) for identity, name in pairs)


def _no_path(source: object) -> str:
    return (
        "data must be the path or the name of a data set; got "
        f"{type(source).__name__}: write arrays to an .npz file with x_train and y_train, "
        "images to a folder with one sub-folder per class; or train with Keras' compile "
        "and fit, which take your data (training.compiling.options)"
    )


def _unknown(source: str) -> str:
    if source.endswith(".npy"):
        return (
            "data must have labels, which an .npy file does not; got "
            f"{printable(source)!r}: write an .npz file with x_train and y_train"
        )
    near = nearest(source[:100], named.KERAS, count=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if (pathlib.Path(source).suffix or not near) and not os.path.exists(source):
        hint = ", which does not exist"
    elif source.lower().endswith(_ARCHIVES):
        hint = ": unpack it first"
    elif source.lower().endswith(tfrecords.SUFFIXES):
        hint = ": give its folder"
    elif os.path.isfile(source):
        hint = ": write its images to one of these"
    return (
        "data must be an .npz file, a folder with one sub-folder per class, a CSV file of "
        f"names and classes beside its images, a folder of {named.ALLOWED}; got "
        f"{printable(source)!r}{hint}"
    )


def _npz(
    path: pathlib.Path,
    part: str | None,
    multi_label: bool = False,
    channels: int | None = None,
) -> Opened:
    there = set(npz_parts(path))
    if part is not None:
        only = part if part in there or part == "train" else "validation"
        there = {only if only in there else part}
    elif "train" not in there:
        there = {"train"}
    part_names = [name for name in _ORDER if name in there]
    return _arrays(path.name, read_parts(path, part_names, multi_label, channels))


def _loaded(name: str) -> Opened:
    parts, names = named.load_keras(name)
    return _arrays(name, parts, names)


def _arrays(
    name: str, parts: dict[str, tuple[np.ndarray, np.ndarray]], names: typing.Any = None
) -> Opened:
    opened = Opened(name, names)
    for part, (pixels, labels) in parts.items():
        # The reader has already told multi-label rows from one-hot ones.
        check_arrays(pixels, labels, f"x_{part}", f"y_{part}", labels.ndim == 2)
        pixels = np.ascontiguousarray(pixels)
        labels = np.ascontiguousarray(labels, "int64" if labels.ndim == 1 else "uint8")
        notes = notes_of_pixels(pixels, f"x_{part}")
        listing = ArrayListing(pixels, labels, notes)
        opened.add(part, listing, json.dumps(pixels.shape), pixels, labels)
    return opened


def _folder(
    path: pathlib.Path,
    classes: tuple[typing.Any, ...] | None,
    part: str | None,
    channels: int | None,
    ignored: tuple[str, ...],
) -> Opened:
    names: typing.Any
    if part is None:
        file_names.refuse_names_as_classes(path)
        parts, notes = folders.parts_of(path, classes or ())
        parts = parts or {"train": path}
        if "train" not in parts:
            folders.to_evaluate(path, "train", classes or ())
        names = classes or class_folders.names_of(parts["train"])
    else:
        only, notes = folders.to_evaluate(path, part, classes)
        parts, names = {part: only}, classes
    opened = Opened(path.name, names, (*notes, *ignored), is_by_folder=True)
    for name in (name for name in _ORDER if name in parts):
        listing = class_folders.list_folder(
            parts[name], names, name if len(parts) > 1 else "", channels
        )
        sizes = listing.places[:, 2]
        listed = [
            f"{file} {size}" for file, size in zip(listing.files, sizes, strict=True)
        ]
        opened.add(name, listing, "\n".join(listed))
    return opened


def _records(path: pathlib.Path, part: str | None) -> Opened:
    shards = tfrecords.shards(path, part or "train")
    return _sharded(path.name, shards, None, None, part)


def _tfds(name: str, part: str | None) -> Opened:
    files, keys, names = tfds.prepared(name)
    return _sharded(named.TFDS + name, files, keys, names, part)


def _sharded(
    name: str,
    parts: dict[str, list[pathlib.Path]],
    keys: typing.Any,
    names: typing.Any,
    part: str | None,
) -> Opened:
    if part is None and "train" not in parts:
        raise InvalidArgument(
            f"a folder of TFRecord files must contain train-00000-of-...; {name} only "
            f"has {', '.join(sorted(parts))}"
        )
    listings, notes = {}, []
    needed = part == "test" and "validation" not in parts
    for name_of_part in sorted(parts, key=lambda x: (x != "train", x)):
        files = parts[name_of_part]
        is_test = name_of_part == "test" and keys and not needed
        if is_test and not tfrecords.has_labels(files[0], keys):
            notes.append(f"the test split of {name} is ignored: it has no labels")
            continue
        listings[name_of_part], keys = tfrecords.list_records(files, keys)
    listings = tfrecords.from_zero(listings, keys)
    if names is None and keys == tfrecords.IMAGENET and "train" in listings:
        count = int(listings["train"].labels.max()) + 1
        names = class_names(count, "imagenet") if count == 1000 else None
    opened = Opened(name, names and _class_names_of(names), tuple(notes))
    for name_of_part, listing in listings.items():
        files = parts[name_of_part]
        listed = [f"{path.name} {path.stat().st_size}" for path in files]
        opened.add(name_of_part, listing, "\n".join(listed))
    return opened


def _names(opened: Opened, count: typing.Any) -> tuple[typing.Any, ...]:
    """Returns (id, name) of each class of a source; `count`: their number, or None."""
    labels = opened.listings["train"].labels
    names, most = opened.names, _count_of(labels)
    if names is None and count is None:
        # Checked first, since so many names would be made.
        check_classes(labels, opened.name)
        check_labels(labels, max(most, 1), opened.name)
        check_no_gaps(labels, opened.name)
    if names is None:
        return class_names(max(count or most, 1))
    if count not in (None, len(names)):
        raise InvalidArgument(
            f"classes must be {len(names)}, as in {opened.name}; got {count}"
        )
    return names


def _count_of(labels: np.ndarray) -> int:
    """Returns the number of classes in labels."""
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1


def _finish(
    opened: Opened, names: tuple[typing.Any, ...], validation: float | None, seed: int
) -> Dataset:
    """Checks the labels, reads the images and holds out those for validation."""
    listings = opened.listings
    check_classes(listings["train"].labels, opened.name, names)
    for listing in listings.values():
        check_labels(listing.labels, len(names), opened.name)
    parts = {part: listing.split() for part, listing in listings.items()}
    if opened.is_by_folder:
        class_folders.check_no_class_is_empty(listings["train"].root, parts["train"])
    train, held = parts["train"], parts.get("validation")
    if validation is None and held is None:
        validation = SHARE
    if validation is not None:
        held = None
    if validation:
        chosen = held_out(strata(train.labels), validation, seed)
        train, held = train.part(~chosen), train.part(chosen)
    if held is not None and not held.count:
        raise InvalidArgument(
            f"{opened.name} has too few images per class to hold some out: give "
            "--validation 0 (validation=0)"
        )
    notes = [line for listing in listings.values() for line in listing.notes]
    notes += notes_of_labels(train.labels, held, names)
    pairs = ((held, "held-out"), (parts.get("test"), "test"))
    notes += filter(None, (duplicates.note(train, *pair) for pair in pairs))
    return Dataset(
        name=opened.name,
        classes=names,
        train=train,
        validation=held,
        test=parts.get("test"),
        fingerprint=opened.fingerprint(validation, seed if validation else 0),
        notes=tuple(dict.fromkeys([*opened.notes, *notes])),
    )
