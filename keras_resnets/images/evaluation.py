"""Accuracy of a model on labelled images."""

import collections.abc
import dataclasses
import os
import sys
import typing
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np

from keras_resnets import renamed
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.images import channels
from keras_resnets.images import collecting
from keras_resnets.images import multi_label as several
from keras_resnets.images.arguments import check_preprocessing
from keras_resnets.images.datasets import arrays
from keras_resnets.images.datasets.split import ArrayImages
from keras_resnets.images.datasets.split import check_channels
from keras_resnets.images.files import skipped_note

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.images.datasets.split import Split
    from keras_resnets.images.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Shares of `count` images whose class was the likeliest, or among five."""

    count: int
    top1: float
    top5: float


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Images with labels, in batches.

    Attributes:
        labels: int array (count,); of several labels an image (count, labels) of 0
            and 1.
        batches: function of a batch size that yields preprocessed float32 arrays.
        notes: lines about what was left out or taken for granted: whoever opens data
            for a person says them.
    """

    labels: np.ndarray
    batches: collections.abc.Callable[..., typing.Any]
    notes: tuple[str, ...] = ()


def open_data(
    source: str | os.PathLike[str],
    preprocessing: "Preprocessing",
    count: int | None = None,
    names: tuple[typing.Any, ...] = (),
    part: str = "test",
    seed: int = 0,
    multi_label: bool = False,
) -> Labelled:
    """Labelled images to measure a network by.

    Args:
        source: as `training.open_dataset` takes it: an .npz file, a folder with a
            sub-folder a class or with such folders as train and test, TFRecords,
            `tfds:NAME`, or `cifar10` and the like. The part alone is needed.
        preprocessing: a `Preprocessing`. Images of an .npz that have its size already
            are not resized.
        count: how many to take, of every class the same share; None for all.
        names: (id, name) of each class of the network: sub-folders must be called so,
            see `labels.indices`. () or `labels.class_names(count)` where the names are
            not known: then sub-folders are classes in sorted order.
        part: `"test"`, which is the validation part where there is no other; or
            `"train"`.
        seed: of the choice of `count`: the same seed takes the same images.
        multi_label: whether an image may have several labels: the source is then what
            `training.open_dataset` takes with `multi_label=True`.

    Returns:
        A `Labelled`. Images that are not whole are left out, and named in its notes.

    Raises:
        InvalidArgument: data that are missing, or are not as above; more broken images
            than one in a hundred (of less than 300, two).

    Example:
        >>> data = open_data("cifar10.npz", model.preprocessing)  # doctest: +SKIP
        >>> data.labels.shape  # doctest: +SKIP
        (10000,)
    """
    # Heavy: its batches come with Keras.
    from keras_resnets.images.datasets.sources import open_part

    check_preprocessing(preprocessing)
    split, notes = open_part(
        source, part, names, count, seed, multi_label, preprocessing.channels
    )
    return of_split(split, preprocessing, notes)


def of_split(
    split: "Split", preprocessing: "Preprocessing", notes: tuple[str, ...] = ()
) -> Labelled:
    """`Labelled` of a `training.data.Split`, in its order."""
    check_channels(split.images, preprocessing.channels, "the data")
    if isinstance(split.images, ArrayImages):
        preprocessing.check_numbers(split.images.pixels.dtype)

    def batches(size: int) -> Iterator[np.ndarray]:
        for start in range(0, split.count, size):
            indices = split.indices[start : start + size]
            if isinstance(split.images, ArrayImages):
                yield _prepared(split.images.pixels[indices], preprocessing)
            else:
                opened = map(split.images.open, indices)
                yield np.stack([preprocessing(image) for image in opened])

    if split.skipped:
        notes = (*notes, skipped_note(split.skipped))
    return Labelled(split.labels, batches, notes)


@renamed.arguments(pictures="images")
def of_arrays(
    images: np.ndarray, labels: np.ndarray, preprocessing: "Preprocessing"
) -> Labelled:
    """`Labelled` of uint8 images (count, height, width, 3) and labels (count,).

    Images of another size than the network's are resized, grey ones may be without an
    axis of channels, and labels may be one-hot rows.

    Raises:
        InvalidArgument: other images, or another number of labels.
    """
    check_preprocessing(preprocessing)
    images, labels = arrays.with_channels(np.asarray(images)), _integers(labels)
    arrays.check_arrays(images, labels, "images", "labels", labels.ndim == 2)
    preprocessing.check_numbers(images.dtype)

    def batches(size: int) -> Iterator[typing.Any]:
        for start in range(0, len(images), size):
            yield _prepared(images[start : start + size], preprocessing)

    return Labelled(labels, batches)


def _prepared(images: np.ndarray, preprocessing: "Preprocessing") -> np.ndarray:
    """Images of one size as a network takes them; resized where needed."""
    images = channels.fitted(images, preprocessing.channels)
    if images.shape[1:3] == tuple(preprocessing.size):
        return preprocessing.normalize(images, "channels_last")
    return np.stack([preprocessing(channels.as_image(image)) for image in images])


def labelled(data: typing.Any) -> Labelled:
    """Returns data to measure a network by as a `Labelled`.

    Args:
        data: a `Labelled`, or (images, labels): preprocessed images, as
            `collecting.collect` takes them, and an int array (count,), or (count, labels)
            of 0 and 1.

    Raises:
        InvalidArgument: something else, or another number of labels than of images.
    """
    if isinstance(data, Labelled):
        return data
    if not isinstance(data, (tuple, list)) or len(data) != 2 or data[1] is None:
        is_path = isinstance(data, (str, os.PathLike))
        hint = ": evaluation.open_data(path, preprocessing) opens a data set"
        raise InvalidArgument(
            "data must be (images, labels) or an evaluation.Labelled; got "
            f"{type(data).__name__}{hint if is_path else ''}"
        )
    images = collecting.collect(data[0], None, sys.maxsize, "the images of data")
    labels = _integers(data[1])
    if images.ndim != 4:
        raise InvalidArgument(
            "the images of data must have the shape (count, height, width, channels); got "
            f"{images.shape}"
        )
    if len(images) != len(labels) or labels.dtype.kind not in "iu":
        raise InvalidArgument(
            f"labels must be one integer per image; got {labels.dtype} {labels.shape} "
            f"for {len(images):,} images"
        )

    def batches(size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(images), size):
            yield images[start : start + size]

    return Labelled(labels, batches)


def _integers(labels: typing.Any) -> np.ndarray:
    """Labels of one or several per image as an array."""
    try:
        return arrays.integers_of(labels)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"labels must be one integer per image; got {type(labels).__name__}: "
            f"{first_line(error)}"
        ) from None


def check_labels(labels: np.ndarray, model: "keras.Model") -> None:
    """Raises `InvalidArgument` for a label that the model has no class for."""
    classes = model.output_shape[-1]
    if labels.min() < 0 or labels.max() >= classes:
        raise InvalidArgument(
            f"labels must lie in 0..{classes - 1}, the classes of {model.name}; got "
            f"{labels.min()}..{labels.max()}"
        )


def evaluate(
    model: "keras.Model",
    data: Labelled | tuple[typing.Any, typing.Any],
    batch_size: int = 64,
    progress: Callable[[int], typing.Any] | None = None,
    watch: Callable[[np.ndarray, np.ndarray], object] | None = None,
) -> Accuracy:
    """`Accuracy` of `model` on `data`.

    Args:
        model: a `keras.Model` with outputs (batch, classes).
        data: a `Labelled`, or (images, labels) as `labelled` takes them.
        batch_size: images at a time, >= 1.
        progress: called with the number of images done after every batch.
        watch: called with outputs and labels of every batch, as
            `confidence.Reliability.add` takes them.

    Raises:
        InvalidArgument: a label that the model has no class for.
    """
    data = labelled(data)
    if data.labels.ndim == 2:
        raise InvalidArgument(
            "data must have one class per image; got several labels, which "
            "evaluate_labels supports"
        )
    check_labels(data.labels, model)
    first, five, done = 0, 0, 0
    for images in data.batches(batch_size):
        expected = data.labels[done : done + len(images), None]
        outputs = np.asarray(model.predict_on_batch(images))
        if watch is not None:
            watch(outputs, expected[:, 0])
        order = np.argsort(-outputs, axis=-1, kind="stable")
        first += int((order[:, :1] == expected).sum())
        five += int((order[:, :5] == expected).any(axis=-1).sum())
        done += len(images)
        if progress:
            progress(done)
    return Accuracy(done, first / done, five / done)


def evaluate_labels(
    model: "keras.Model",
    data: Labelled | tuple[typing.Any, typing.Any],
    batch_size: int = 64,
    progress: Callable[[int], typing.Any] | None = None,
    threshold: float | tuple[float, ...] = several.THRESHOLD,
) -> several.MultiLabelFigures:
    """Evaluates a multi-label `model`: mAP, F1 and other metrics.

    Args:
        model: a `keras.Model` with outputs (batch, labels), a sigmoid each, or an
            exported file of one, an `open_classifier`.
        data: a `Labelled` of such images, or (images, labels).
        batch_size: images at a time, >= 1.
        progress: called with the number of images done after every batch.
        threshold: probability from which on a label is said, in [0, 1]; or that of each
            label, see `multi_label.thresholds`.

    Raises:
        InvalidArgument: data of one class per image, or of another number of labels.
    """
    data, classes = labelled(data), model.output_shape[-1]
    if data.labels.ndim != 2 or data.labels.shape[1] != classes:
        raise InvalidArgument(
            f"labels must be 0 and 1, with a column for each of the {classes} of "
            f"{model.name}; got {data.labels.shape}"
        )
    judge = getattr(model, "probabilities", model.predict_on_batch)
    scores: list[np.ndarray] = []
    for images in data.batches(batch_size):
        scores.append(np.asarray(judge(images)))
        if progress:
            progress(sum(map(len, scores)))
    return several.measure(data.labels, np.concatenate(scores), threshold)
