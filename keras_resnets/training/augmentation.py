"""Image augmentation as data, and the random numbers that determine it."""

import dataclasses

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.fields import Choice
from keras_resnets.fields import Flag
from keras_resnets.fields import Maybe
from keras_resnets.fields import Number
from keras_resnets.fields import Together
from keras_resnets.fields import Whole
from keras_resnets.images.resizing import SMALL

CROPS = ("centre", "pad", "inception", "fit")
_FACTOR = Number(0, 10)
# The allowed values of each field, for Python and `--change`.
FIELDS = {
    "crop": Choice(CROPS),
    "padding": Whole(0, 65_535),
    "area": Together((Number(1e-6, 1),) * 2),
    "aspect": Together((Number(1e-6, 100),) * 2),
    "flip": Flag(),
    "jitter": Together(
        (_FACTOR, _FACTOR, _FACTOR, Number(0, 0.5)),
        ("brightness", "contrast", "saturation", "hue"),
    ),
    "lighting": _FACTOR,
    # Every operation costs time, for every image.
    "rand_augment": Maybe(
        Together((Whole(1, 100), _FACTOR), ("operations", "magnitude"))
    ),
    "mixup": Number(0, 100),
    "cutmix": Number(0, 1),
    "erase": Number(0, 1),
}
# The use of each of an image's random numbers in [0, 1). Appended to, never rearranged:
# a resumed run must draw the same numbers.
_AREA, _ASPECT, _CORNER = slice(0, 10), slice(10, 20), slice(20, 22)
_FLIP, _JITTER, _ORDER = 22, slice(23, 27), slice(27, 31)
_LIGHTING, _OPERATIONS = slice(31, 35), 35
NUMBERS = 36
# Principal components of ImageNet's RGB values in [0, 1]: standard deviations, and
# directions in rows of red, green, blue; as fb.resnet.torch publishes them.
_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])
_DIRECTIONS = np.array(
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The random augmentation of training images.

    Attributes:
        crop: `"centre"` takes the part that evaluation uses; `"pad"` adds `padding`
            pixels of the mean colour (zero, once normalized) on every side and takes a
            random part of the input's size (He 2015, section 4.2, for CIFAR);
            `"inception"` takes a random part of random `area` and `aspect` and resizes
            it (Szegedy 2015, section 6, as fb.resnet.torch and torchvision do it: ten
            tries, then the largest centre whose aspect is allowed). `"fit"` chooses by
            the input's size, see `at`.
        padding: pixels that `"pad"` adds on each side, >= 0; 4 in He 2015.
        area: (least, most) share of the image that `"inception"` keeps, in (0, 1];
            the published 8 % to 100 %.
        aspect: (least, most) width over height of that part; the published 3/4 to 4/3.
        flip: mirror images with probability 1/2 (Krizhevsky 2012, section 4.1).
        jitter: ranges of brightness, contrast, saturation (>= 0) and hue (0 to 0.5),
            applied in random order (Howard 2013; fb.resnet.torch). As in torchvision's
            ColorJitter, 0.4 multiplies by 0.6 to 1.4, and hue turns by this share of
            the circle.
        lighting: standard deviation of AlexNet's noise along the principal components
            of ImageNet's colours (Krizhevsky 2012, section 4.1, who uses 0.1).
        rand_augment: (operations, magnitude from 0 to 10) of RandAugment (Cubuk 2020),
            or None.
        mixup: alpha of mixup (Zhang 2018): images and targets are mixed in pairs by
            lambda ~ Beta(alpha, alpha); 0 for none.
        cutmix: alpha of CutMix (Yun 2019), at most 1; 0 for none. With both, each batch
            takes one or the other, by a fair coin, as timm does.
        erase: probability that a random part is erased (Zhong 2020).

    Raises:
        InvalidArgument: a value outside these ranges.

    Example:
        >>> Augmentation(crop="pad", flip=True).padding
        4
    """

    crop: str = "centre"
    padding: int = 4
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    lighting: float = 0.0
    rand_augment: tuple[int, float] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for name, rule in FIELDS.items():
            object.__setattr__(self, name, rule.check(name, getattr(self, name)))
        for name in ("area", "aspect"):
            least, most = getattr(self, name)
            if least > most:
                raise InvalidArgument(
                    f"{name} must be (least, most); got {getattr(self, name)!r}"
                )

    def at(self, size: tuple[int, int]) -> "Augmentation":
        """Returns the augmentation for an input size: replaces `crop="fit"`.

        Images below 100 pixels are used whole and not resized: `"pad"` by an eighth of
        the side (4 pixels of CIFAR's 32, He 2015); larger ones use `"inception"`. Resizing
        CIFAR's images to 77 to 100 % of their area costs the networks of docs/training
        7 to 10 points before they have learned anything.

        Args:
            size: (height, width) in pixels.

        Example:
            >>> Augmentation(crop="fit").at((64, 48)).padding
            6
        """
        if self.crop != "fit":
            return self
        side = min(size)
        if side >= SMALL:
            return dataclasses.replace(self, crop="inception")
        return dataclasses.replace(self, crop="pad", padding=side // 8)

    @property
    def mixes(self) -> bool:
        """Whether targets are mixed as well."""
        return self.mixup > 0 or self.cutmix > 0

    def plan(self, numbers: np.ndarray, sizes: np.ndarray) -> "Plan":
        """Returns the changes of each image of a batch.

        Args:
            numbers: float64 array (batch, `NUMBERS`) of uniform numbers in [0, 1).
            sizes: int array (batch, 2) of heights and widths.

        Returns:
            A `Plan`.
        """
        inception = self.crop == "inception"
        return Plan(
            boxes=self._boxes(numbers, sizes) if inception else None,
            shifts=self._shifts(numbers) if self.crop == "pad" else None,
            flips=(numbers[:, _FLIP] < 0.5) & self.flip,
            factors=self._factors(numbers) if any(self.jitter) else None,
            order=np.argsort(numbers[:, _ORDER], axis=1, kind="stable"),
            light=_light(numbers, self.lighting) if self.lighting else None,
            seeds=(numbers[:, _OPERATIONS] * 2**31).astype("int32"),
        )

    def _boxes(self, numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Returns (top, left, height, width) of random parts, drawn as in torchvision."""
        height, width = (np.asarray(sizes, "int64")[:, side, None] for side in (0, 1))
        low, high = self.area
        area = height * width * (low + (high - low) * numbers[:, _AREA])
        low, high = np.log(self.aspect)
        aspect = np.exp(low + (high - low) * numbers[:, _ASPECT])
        columns = np.rint(np.sqrt(area * aspect)).astype("int64")
        rows = np.rint(np.sqrt(area / aspect)).astype("int64")
        fits = (columns > 0) & (columns <= width) & (rows > 0) & (rows <= height)
        first = np.argmax(fits, axis=1)[:, None]
        sides = [np.take_along_axis(side, first, axis=1) for side in (rows, columns)]
        size = np.concatenate(sides, axis=1)
        space = np.asarray(sizes) - size
        corner = np.floor(numbers[:, _CORNER] * (space + 1)).astype("int64")
        boxes = np.concatenate([corner, size], axis=1)
        return np.where(fits.any(axis=1, keepdims=True), boxes, self._centres(sizes))

    def _centres(self, sizes: np.ndarray) -> np.ndarray:
        """Returns (top, left, height, width) of the largest centre of allowed aspect."""
        height, width = np.asarray(sizes, "int64").T
        least, most = self.aspect
        rows = np.minimum(height, np.rint(width / least).astype("int64"))
        columns = np.minimum(width, np.rint(height * most).astype("int64"))
        return np.stack(
            [(height - rows) // 2, (width - columns) // 2, rows, columns], axis=1
        )

    def _shifts(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the shifts (down, right) of the images, within the padding."""
        steps = 2 * self.padding + 1
        return np.floor(numbers[:, _CORNER] * steps).astype("int64") - self.padding

    def _factors(self, numbers: np.ndarray) -> np.ndarray:
        ranges = np.array(self.jitter)
        low = np.maximum(0.0, 1 - ranges)
        low[3], high = -ranges[3], 1 + ranges
        high[3] = ranges[3]
        return (low + (high - low) * numbers[:, _JITTER]).astype("float32")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The changes of each image of a batch; arrays with one row per image.

    Attributes:
        boxes: int (batch, 4) top, left, height, width to cut out and resize, or None.
        shifts: int (batch, 2) down and right, or None.
        flips: bool (batch,).
        factors: float32 (batch, 4) of brightness, contrast, saturation, hue, or None.
        order: int (batch, 4), the order in which the factors are applied.
        light: float32 (batch, 3) added to RGB in [0, 255], or None.
        seeds: int32 (batch,) of RandAugment's choices.
    """

    boxes: np.ndarray | None
    shifts: np.ndarray | None
    flips: np.ndarray
    factors: np.ndarray | None
    order: np.ndarray
    light: np.ndarray | None
    seeds: np.ndarray


def _light(numbers: np.ndarray, deviation: float) -> np.ndarray:
    """Returns AlexNet's noise: normal numbers times the deviation of each component."""
    first, second, third, fourth = numbers[:, _LIGHTING].T
    radius = np.sqrt(-2 * np.log(1 - np.stack([first, first, third])))
    angle = 2 * np.pi * np.stack([second, second, fourth])
    angle[1] -= np.pi / 2
    normal = (radius * np.cos(angle)).T
    colours = (deviation * normal * _DEVIATIONS) @ _DIRECTIONS.T
    return (255 * colours).astype("float32")


def shift(images: np.ndarray, shifts: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Shifts images within a margin of one colour: the crop of padded images.

    Args:
        images: uint8 array (batch, height, width, 3).
        shifts: int array (batch, 2), down and right.
        fill: uint8 colour (3,) of the margin.
    """
    moved = np.empty_like(images)
    moved[:] = fill
    height, width = images.shape[1:3]
    for index, (down, right) in enumerate(shifts.tolist()):
        top, left = max(down, 0), max(right, 0)
        bottom, end = height + min(down, 0), width + min(right, 0)
        if top < bottom and left < end:
            moved[index, top:bottom, left:end] = images[
                index, top - down : bottom - down, left - right : end - right
            ]
    return moved
