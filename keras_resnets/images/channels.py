"""Images of any number of channels as arrays: resized, cropped, measured, shown."""

import typing

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.images import resizing

# Deviations from the mean that an image to look at shows, from black to white.
_SHOWN = 2.5

if typing.TYPE_CHECKING:
    import PIL.Image


def resize_and_crop(
    image: np.ndarray,
    target: tuple[int, int],
    crop_fraction: float,
    interpolation: str,
) -> np.ndarray:
    """The centre of an array, as `resizing.resize_and_crop` takes it of a Pillow image.

    Args:
        image: (height, width, channels) of any numbers.
        target: (height, width) of the result.
        crop_fraction: in (0, 1].
        interpolation: one of `resizing.INTERPOLATIONS`.

    Returns:
        Array (*target, channels): float32, or as it came where nothing is resized.
    """
    have = (image.shape[0], image.shape[1])
    height, width = resizing.resized_size(have, target, crop_fraction)
    top, left = resizing.centre((height, width), target)
    if (height, width) == have:
        return image[top : top + target[0], left : left + target[1]]
    # Only the part that is kept is resized.
    down, across = have[0] / height, have[1] / width
    box = (top * down, left * across, target[0] * down, target[1] * across)
    return resize_part(image, target, interpolation, box)


def as_image(image: np.ndarray) -> "PIL.Image.Image | np.ndarray":
    """uint8 colours as a Pillow image, which is resized faster; other arrays as is."""
    from PIL import Image

    return Image.fromarray(image) if image.shape[-1] == 3 else image


def fitted(images: np.ndarray, channels: int) -> np.ndarray:
    """Arrays (..., channels) for a network: grey ones as colours where it takes those."""
    if channels == 3 and images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    return images


def resize_part(
    image: np.ndarray,
    target: tuple[int, int],
    interpolation: str,
    box: tuple[float, float, float, float],
) -> np.ndarray:
    """A part of an array as float32 (*target, channels), each channel by Pillow.

    Args:
        image: (height, width, channels) of any numbers.
        target: (height, width) of the result.
        interpolation: one of `resizing.INTERPOLATIONS`.
        box: top, left, height and width of the part, in pixels.
    """
    from PIL import Image

    top, left, rows, columns = box
    corners = (left, top, left + columns, top + rows)
    resampling = getattr(Image.Resampling, interpolation.upper())
    result = np.empty((*target, image.shape[-1]), "float32")
    for index in range(image.shape[-1]):
        plane = Image.fromarray(np.ascontiguousarray(image[..., index], "float32"))
        result[..., index] = plane.resize(target[::-1], resampling, corners)
    return result


def false_colours(x: np.ndarray) -> np.ndarray:
    """uint8 RGB to look at: the first three channels of network inputs.

    Args:
        x: float32 (..., channels) of mean 0 and deviation 1; of one or two channels the
            first is grey.
    """
    values = np.asarray(x, "float32")[..., :3]
    if values.shape[-1] < 3:
        values = np.repeat(values[..., :1], 3, axis=-1)
    return np.clip(np.rint(127.5 * (1 + values / _SHOWN)), 0, 255).astype("uint8")


def picture(
    image: np.ndarray, bands: typing.Sequence[int] | None = None
) -> "PIL.Image.Image":
    """A Pillow image to look at, of three channels as colours or of one as grey.

    Each channel is stretched from its 2nd percentile (black) to its 98th (white), as
    programs for satellite images do; uint8 images of one or three channels are shown as
    they are.

    Args:
        image: (height, width, channels) of any numbers.
        bands: numbers of one or three channels, from 1 on; None for the first three, or
            the first of fewer.

    Raises:
        InvalidArgument: another number of bands, or one that the image does not have.

    Example:
        >>> picture(np.zeros((4, 6, 13), "uint16"), (4, 3, 2)).size
        (6, 4)
    """
    from PIL import Image

    count = image.shape[-1]
    if bands is None:
        bands = (1, 2, 3) if count > 2 else (1,)
    if len(bands) not in (1, 3) or not all(1 <= band <= count for band in bands):
        raise InvalidArgument(
            f"bands must be one or three numbers in 1..{count}; got "
            f"{','.join(map(str, bands))}"
        )
    values = image[..., [band - 1 for band in bands]]
    if image.dtype != np.uint8 or count not in (1, 3):
        low, high = np.percentile(values.astype("float64"), (2, 98), axis=(0, 1))
        values = 255 * (values - low) / np.maximum(high - low, 1e-12)
    pixels = np.clip(np.rint(values), 0, 255).astype("uint8")
    return Image.fromarray(pixels[..., 0] if len(bands) == 1 else pixels)


class Sums:
    """Mean and deviation of each channel, of images that come one after the other.

    Example:
        >>> sums = Sums()
        >>> sums.add(np.array([[[0, 2], [4, 2]]]))
        >>> [round(float(x), 6) for pair in sums.statistics() for x in pair]
        [2.0, 2.0, 2.0, 1e-06]
    """

    def __init__(self) -> None:
        self._count = 0
        self._first: typing.Any = 0.0
        self._sum: typing.Any = 0.0
        self._squares: typing.Any = 0.0

    def add(self, images: np.ndarray) -> None:
        """Takes the numbers of an array (..., channels)."""
        values = np.asarray(images, "float64").reshape(-1, images.shape[-1])
        if not self._count:
            # Differences to some number of theirs: squares of large ones lose digits.
            self._first = values.mean(axis=0)
        values = values - self._first
        self._count += len(values)
        self._sum = self._sum + values.sum(axis=0)
        self._squares = self._squares + (values**2).sum(axis=0)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(means, deviations) with six digits; a channel of one number has 1e-6."""
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - mean**2, 0.0)
        found = self._first + mean, np.maximum(np.sqrt(variance), 1e-6)
        means, stds = (tuple(float(f"{x:.6g}") for x in values) for values in found)
        return means, stds
