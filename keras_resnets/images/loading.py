"""Images from files and folders, brought to a network's size; pixels stay 0 to 255."""

import contextlib
import os
import pathlib
import typing
from collections.abc import Iterator

from keras_resnets import renamed
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.images import folders
from keras_resnets.images.files import ARRAYS
from keras_resnets.images.files import NPY
from keras_resnets.images.files import as_rgb
from keras_resnets.images.files import check_broken
from keras_resnets.images.files import decoding
from keras_resnets.images.files import open_image
from keras_resnets.images.files import opened
from keras_resnets.images.files import scan
from keras_resnets.images.files import upright

if typing.TYPE_CHECKING:
    import numpy as np
    import PIL.Image


def load_image(path: str | os.PathLike[str], preprocessing: typing.Any) -> "np.ndarray":
    """Reads one image file.

    Args:
        path: any format and mode that Pillow reads; EXIF rotation is applied.
        preprocessing: a `Preprocessing`.

    Returns:
        float32 array of shape (height, width, channels).

    Raises:
        InvalidArgument: a file that is missing or is no whole image.
    """
    if is_of_channels(path, preprocessing.channels):
        from keras_resnets.images import channel_files

        array = channel_files.read(path)
        with decoding(f"{printable(str(path))} does not fit the network"):
            return preprocessing(array)
    _check_takes_photos(path, preprocessing)
    with _upright(path) as image:
        return preprocessing(image)


def _check_takes_photos(
    path: str | os.PathLike[str], preprocessing: typing.Any
) -> None:
    """Raises `InvalidArgument` for a photo whose numbers the network does not take.

    Apart from reading the file, which is not at fault.
    """
    if not is_of_channels(path, preprocessing.channels):
        preprocessing.check_numbers("uint8")


def is_of_channels(path: str | os.PathLike[str], channels: int) -> bool:
    """Whether a file is read as an array, and not by Pillow.

    Args:
        path: of an image.
        channels: of the network.
    """
    suffix = os.path.splitext(path)[1].lower()
    return channels not in (1, 3) or suffix == NPY


def open_photo(path: str | os.PathLike[str]) -> "PIL.Image.Image":
    """One image file as an upright RGB Pillow image; see `load_image`."""
    with _upright(path) as image:
        return as_rgb(image)


@contextlib.contextmanager
def _upright(path: str | os.PathLike[str]) -> "Iterator[PIL.Image.Image]":
    """Yields the image in a file, turned as its EXIF data say."""
    if not os.path.lexists(path):
        raise InvalidArgument(f"there is no image {printable(str(path))!r}")
    with decoding(f"{printable(str(path))} is not a readable image"):
        with opened(path) as stream, open_image(stream) as image:
            yield upright(image)


def load_images(
    paths: typing.Any,
    preprocessing: typing.Any,
    count: int | None = None,
    earlier: typing.Sequence[typing.Any] = (),
) -> "tuple[dict[typing.Any, np.ndarray], list[typing.Any]]":
    """Reads the image files that somebody names.

    Args:
        paths: of the files.
        preprocessing: a `Preprocessing`.
        count: number of all files, of which `paths` are one part; None if they are all.
        earlier: the paths of earlier parts that cannot be read.

    Returns:
        (images, skipped): float32 arrays of shape (height, width, 3) by path, and the
        paths of the files that cannot be read.

    Raises:
        InvalidArgument: a file that is missing, none that can be read, or more broken
            ones than `images.files.tolerated`.
    """
    images, errors = {}, {}
    for path in paths:
        _check_takes_photos(path, preprocessing)
        try:
            images[path] = load_image(path, preprocessing)
        except InvalidArgument as error:
            if not os.path.isfile(path):
                raise
            errors[path] = error
    count = count or len(paths)
    if errors and not images and count == len(paths):
        raise next(iter(errors.values()))
    broken = tuple(map(str, (*earlier, *errors)))
    check_broken(broken, count, "those that were named")
    return images, list(errors)


def list_images(
    folder: str | os.PathLike[str], channels: int = 3
) -> list[pathlib.Path]:
    """The images in a folder and its sub-folders, sorted; see `images.files.scan`.

    Args:
        folder: searched.
        channels: of the network; of other than 1 and 3 the files that are arrays, and
            of those too where there are no others.
    """
    found = scan(folder)[0] if channels in (1, 3) else []
    return found or scan(folder, ARRAYS)[0]


def load_folder(
    folder: str | os.PathLike[str],
    preprocessing: typing.Any,
    limit: int = 500,
    seed: int = 0,
) -> "tuple[np.ndarray, list[typing.Any]]":
    """Reads up to `limit` images of a folder and its sub-folders, chosen by `seed`.

    Args:
        folder: searched for files ending as images do. Of a folder with parts, such as
            train and test, those to train on are taken.
        preprocessing: a `Preprocessing`.
        limit: most images to take, >= 1.
        seed: of the choice, where there are more.

    Returns:
        (images, skipped): float32 array (count, height, width, 3), and the names of
        the files that could not be read.

    Raises:
        InvalidArgument: a folder that is missing or empty, or holds no readable
            image.
    """
    import numpy as np

    check_folder(folder)
    folder = folders.to_train_on(folder)
    paths, others = list_images(folder, preprocessing.channels), scan(folder)[1]
    if not paths:
        raise InvalidArgument(folders.no_images(folder, others))
    _check_takes_photos(paths[0], preprocessing)
    order = np.random.default_rng(seed).permutation(len(paths))
    images: list[np.ndarray] = []
    skipped: list[str] = []
    for index in order:
        if len(images) == limit:
            break
        try:
            images.append(load_image(paths[index], preprocessing))
        except InvalidArgument:
            skipped.append(paths[index].name)
    if not images:
        raise InvalidArgument(
            f"none of the {len(skipped)} images in {printable(str(folder))} can be read"
        )
    return np.stack(images), sorted(skipped)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raises `InvalidArgument` unless the folder exists."""
    if not os.path.isdir(folder):
        raise InvalidArgument(
            f"there is no folder of images {printable(str(folder))!r}"
        )


__getattr__ = renamed.attributes_of(
    __name__,
    {
        "list_pictures": "list_images",
        "load_picture": "load_image",
        "load_pictures": "load_images",
    },
)
