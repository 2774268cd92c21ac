"""The geometry of preprocessing: resizing, cropping and letterboxing of pixels 0 to 255."""

import typing

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
