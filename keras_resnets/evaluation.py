"""Accuracy of a model on labelled pictures."""

import collections.abc
import dataclasses
import pathlib

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.labelled import labelled_files
from keras_resnets.labelled import read_npz
from keras_resnets.pictures import load_picture


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Shares of `count` pictures whose class was the likeliest, or among five."""

    count: int
    top1: float
    top5: float


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Pictures with labels, in batches.

    Attributes:
        labels: int array (count,).
        batches: function of a batch size that yields pre-processed float32 arrays.
    """

    labels: np.ndarray
    batches: collections.abc.Callable


def open_data(path, preprocessing, count=None, names=(), part="test"):
    """Labelled pictures from an .npz file or a folder with one sub-folder a class.

    Args:
        path: .npz with uint8 pictures `x_test` (count, height, width, 3) and integer
            `y_test`; or a folder with a sub-folder a class.
        preprocessing: a `Preprocessing`. Pictures of an .npz that have its size
            already are not resized.
        count: the first so many; None for all.
        names: (id, name) of each class of the model. Sub-folders are the classes of
            their names where all are among these, and else classes by sorting.
        part: `"test"`, or `"train"` for `x_train` and `y_train` of an .npz.

    Raises:
        InvalidArgument: data that are missing, or are not as above.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return of_files(labelled_files(path, names)[:count], preprocessing)
    if path.suffix != ".npz" or not path.is_file():
        raise InvalidArgument(
            f"data must be an .npz file or a folder with a sub-folder a class; got {path}"
        )
    pictures, labels = read_npz(path, part)
    return of_arrays(pictures[:count], labels[:count], preprocessing)


def of_arrays(pictures, labels, preprocessing):
    """`Labelled` of uint8 pictures (count, height, width, 3) and labels (count,)."""

    def batches(size):
        for start in range(0, len(pictures), size):
            yield _prepared(pictures[start : start + size], preprocessing)

    return Labelled(labels, batches)


def of_files(found, preprocessing):
    """`Labelled` of (path, label) pairs."""

    def batches(size):
        for start in range(0, len(found), size):
            chunk = found[start : start + size]
            yield np.stack([load_picture(path, preprocessing) for path, _ in chunk])

    return Labelled(np.array([label for _, label in found]), batches)


def _prepared(pictures, preprocessing):
    """Pictures of one size as a network takes them; resized where needed."""
    if pictures.shape[1:3] == tuple(preprocessing.size):
        return preprocessing.normalize(pictures, "channels_last")
    from PIL import Image

    return np.stack([preprocessing(Image.fromarray(picture)) for picture in pictures])


def evaluate(model, data, batch_size=64, progress=None):
    """`Accuracy` of `model` on `data`.

    Args:
        model: a `keras.Model` with outputs (batch, classes).
        data: a `Labelled`.
        batch_size: pictures at a time, >= 1.
        progress: called with the number of pictures done after every batch.

    Raises:
        InvalidArgument: a label that the model has no class for.
    """
    classes = model.output_shape[-1]
    if data.labels.min() < 0 or data.labels.max() >= classes:
        raise InvalidArgument(
            f"labels must lie in 0..{classes - 1}, the classes of {model.name}; got "
            f"{data.labels.min()}..{data.labels.max()}"
        )
    first, five, done = 0, 0, 0
    for pictures in data.batches(batch_size):
        wanted = data.labels[done : done + len(pictures), None]
        order = np.argsort(-model.predict_on_batch(pictures), axis=-1, kind="stable")
        first += int((order[:, :1] == wanted).sum())
        five += int((order[:, :5] == wanted).any(axis=-1).sum())
        done += len(pictures)
        if progress:
            progress(done)
    return Accuracy(done, first / done, five / done)
