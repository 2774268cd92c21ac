"""The images of `predict`: files, folders of files, and data sets."""

import os
import pathlib
import typing
from collections.abc import Iterator
from collections.abc import Sequence

from keras_resnets.cli.arguments import network
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.images.files import NPY
from keras_resnets.images.files import decoding

if typing.TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_resnets.export.compare.classifier import FileClassifier


# Default number of images of a data set.
COUNT = 10


def is_data_set(word: str) -> bool:
    """Whether a word names a data set, not image files or a folder of them."""
    from keras_resnets.images.datasets import named

    path = pathlib.Path(word)
    return named.is_named(word) or path.suffix.lower() == ".npz" or _holds_several(path)


def _holds_several(path: pathlib.Path) -> bool:
    """Whether a file is an array of images, and not one image."""
    from keras_resnets.images import channel_files

    if path.suffix != NPY or not os.path.isfile(path):
        return False
    with decoding(f"{printable(str(path))} is not a readable image"):
        return channel_files.read_npy(path).ndim == 4


def paths_of(word: str, count: int | None = None, channels: int = 3) -> list[str]:
    """Returns the image files that a word names.

    Args:
        word: an image file, or a folder with images at any depth. If the folder has
            parts such as train and test, only those that `evaluate` uses are listed.
        count: number of images of a folder, evenly spaced; None for all.
        channels: channels of the network, see `images.loading.list_images`.

    Raises:
        InvalidArgument: the folder contains no images.
    """
    from keras_resnets.images import files as image_files
    from keras_resnets.images import folders as image_folders
    from keras_resnets.images import loading

    if not os.path.isdir(word):
        return [word]
    try:
        folder, notes = image_folders.to_evaluate(pathlib.Path(word), "test")
    except InvalidArgument:
        # Images without labels may be anywhere in the folder.
        folder, notes = pathlib.Path(word), ()
    paths = loading.list_images(folder, channels)
    others = image_files.scan(folder)[1]
    if not paths:
        raise InvalidArgument(image_folders.no_images(folder, others))
    left = image_files.others_note(others)
    network.say_notes([*notes, left] if left else notes)
    if count is not None and count < len(paths):
        import numpy as np

        chosen = np.linspace(0, len(paths) - 1, count).astype(int)
        paths = [paths[index] for index in chosen]
    return [str(path) for path in paths]


def of_data_set(
    word: str, model: "keras.Model | FileClassifier", count: int | None = None
) -> "Iterator[tuple[str, np.ndarray]]":
    """Yields (title, image) of the test part of a data set.

    Args:
        word: a data set, as `evaluate --data` takes it.
        model: classifier with `preprocessing`, `labels` and `output_shape`.
        count: number of images; None for `COUNT`.

    Raises:
        InvalidArgument: the data set cannot be opened.
    """
    from keras_resnets.images import labels

    if word.endswith(".npy"):
        yield from _of_array(word, model, count or COUNT)
        return
    names = labels.class_names(model.output_shape[-1], model.labels)
    data = network.open_labelled(word, model, count or COUNT)
    total, done = len(data.labels), 0
    for images in data.batches(COUNT):
        for image in images:
            name = _name(data.labels[done], names)
            done += 1
            yield f"{word}  {done} of {total}: {name}", image


def _name(label: "np.ndarray", names: "Sequence[tuple[str, ...]]") -> str:
    """The name of an image's class, or those of all its labels."""
    if label.ndim:
        places = label.nonzero()[0].tolist()
        return ", ".join(names[place][1] for place in places) or "no label"
    return names[int(label)][1] if label < len(names) else str(label)


def _of_array(
    word: str, model: "keras.Model | FileClassifier", count: int
) -> "Iterator[tuple[str, np.ndarray]]":
    """Yields (title, image) of the first images in an .npy file, which has no labels."""
    from keras_resnets.images import channel_files
    from keras_resnets.images.datasets import arrays

    images = channel_files.read_npy(word)
    arrays.check_images(images, word)
    for index, image in enumerate(images[:count]):
        yield f"{word}  {index + 1} of {len(images)}", model.preprocessing(image)
