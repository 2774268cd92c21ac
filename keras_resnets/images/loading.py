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


INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest")
# Below so many pixels, as CIFAR's, they are shown whole: there is no margin to crop.
SMALL = 100
# Pixels of a resized image over those of the crop: that of a strip 80 times as long as
# it is wide.
_STRETCHED = 100
# Darknet fills up with 0.5.
_GREY = 127.5


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
    with _upright(path) as image:
        return preprocessing(image)


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
        try:
            images[path] = load_image(path, preprocessing)
        except InvalidArgument as error:
            if not os.path.isfile(path):
                raise
            errors[path] = error
    count = count or len(paths)
    if len(errors) == count:
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


def resized_size(
    size: tuple[int, int], target: tuple[int, int], crop_fraction: float
) -> tuple[int, int]:
    """The size that an image is resized to before its centre is cropped.

    The crop is `crop_fraction` of the image's shorter side; fractions of a pixel are
    cut off, as torchvision and timm do.

    Args:
        size: (height, width) of the image.
        target: (height, width) of the crop.
        crop_fraction: in (0, 1].
    """
    # 224 / 0.875 is 256, which floating point may miss by a hair.
    sides = [int(side / crop_fraction + 1e-6) for side in target]
    scale = max(side / have for side, have in zip(sides, size, strict=True))
    height, width = (
        max(want, int(have * scale + 1e-6))
        for want, have in zip(target, size, strict=True)
    )
    return height, width


def centre(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Returns (top, left) of a centre crop of size `target`."""
    top, left = (
        round((have - want) / 2) for have, want in zip(size, target, strict=True)
    )
    return top, left


def is_strip(resized: tuple[int, int], target: tuple[int, int]) -> bool:
    """Returns whether the crop is so small that only this part should be resized."""
    return resized[0] * resized[1] > _STRETCHED * target[0] * target[1]


def resize_and_crop(
    image: "PIL.Image.Image",
    target: tuple[int, int],
    crop_fraction: float,
    interpolation: str,
) -> "np.ndarray":
    """The centre of an RGB image as uint8 array (height, width, 3)."""
    import numpy as np
    from PIL import Image

    have = (image.height, image.width)
    height, width = resized_size(have, target, crop_fraction)
    top, left = centre((height, width), target)
    resampling = getattr(Image.Resampling, interpolation.upper())
    if is_strip((height, width), target):
        # Of a strip far longer than wide the part that is kept is resized alone.
        down, across = have[0] / height, have[1] / width
        corner = left * across, top * down
        box = (*corner, (left + target[1]) * across, (top + target[0]) * down)
        return np.asarray(image.resize(target[::-1], resampling, box))
    if (height, width) != have:
        image = image.resize((width, height), resampling)
    return np.asarray(image)[top : top + target[0], left : left + target[1]]


def resize_and_crop_batch(
    images: "np.ndarray",
    target: typing.Any,
    crop_fraction: typing.Any,
    interpolation: typing.Any,
    data_format: typing.Any,
    ops: typing.Any,
) -> typing.Any:
    """The same of a float32 batch, by `ops`: `keras.ops`, or what has its names."""
    first = data_format == "channels_first"
    axes = slice(-2, None) if first else slice(-3, -1)
    have = tuple(images.shape[axes])
    size = resized_size(have, target, crop_fraction)
    if size != have:
        images = ops.image.resize(
            images,
            size,
            interpolation="lanczos3" if interpolation == "lanczos" else interpolation,
            antialias=True,
            data_format=data_format,
        )
        # Curved interpolations overshoot; files are cut off at 0 and 255 as well.
        images = ops.clip(images, 0.0, 255.0)
    top, left = centre(size, target)
    rows, columns = slice(top, top + target[0]), slice(left, left + target[1])
    if first:
        return images[..., rows, columns]
    return images[..., rows, columns, :]


def letterbox(images: "np.ndarray", target: typing.Any, ops: typing.Any) -> typing.Any:
    """The whole image, as darknet resizes it, in a box filled up with grey.

    Darknet interpolates between the four nearest pixels, the corners of the image on
    those of the result, and does not smooth before it shrinks.

    Args:
        images: float32 or uint8 (..., height, width, 3).
        target: (height, width) of the box.
        ops: NumPy, or `keras.ops`.
    """
    size = tuple(images.shape[-3:-1])
    # Compared, not divided: darknet counts in integers.
    if target[1] * size[0] < target[0] * size[1]:
        fitted = (max(1, size[0] * target[1] // size[1]), target[1])
    else:
        fitted = (target[0], max(1, size[1] * target[0] // size[0]))
    result = _between(_between(images, -3, fitted[0], ops), -2, fitted[1], ops)
    before = [(want - have) // 2 for want, have in zip(target, fitted, strict=True)]
    margins = [
        (start, want - have - start)
        for start, want, have in zip(before, target, fitted, strict=True)
    ]
    leading = [(0, 0)] * (len(images.shape) - 3)
    return ops.pad(result, [*leading, *margins, (0, 0)], constant_values=_GREY)


def _between(
    images: "np.ndarray", axis: typing.Any, want: typing.Any, ops: typing.Any
) -> typing.Any:
    """Linear interpolation along an axis, with the ends on one another."""
    import numpy as np

    have = images.shape[axis]
    position = np.arange(want) * ((have - 1) / max(want - 1, 1))
    first = np.minimum(position.astype(int), have - 1)
    second = np.minimum(first + 1, have - 1)
    share = (position - first).astype("float32").reshape((-1,) + (1,) * (-axis - 1))
    lower = ops.take(images, first, axis=axis)
    other = ops.take(images, second, axis=axis)
    return lower * (1 - share) + other * share


__getattr__ = renamed.attributes_of(
    __name__,
    {
        "list_pictures": "list_images",
        "load_picture": "load_image",
        "load_pictures": "load_images",
    },
)
