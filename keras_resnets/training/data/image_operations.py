"""Augmentations of one Pillow image: RandAugment's operations, colour jitter.

This does not use `keras.layers.RandAugment` (3.15), which applies the same operations to
all images of a batch, rotates by up to magnitude/10 of a full turn where the paper has
at most 30 degrees, and computes all eleven operations to use one of them: 50 to 170 ms of
CPU time per image of 224 pixels (TensorFlow, JAX), against 1 ms here.
"""

import functools
import random
import typing
from collections.abc import Callable

if typing.TYPE_CHECKING:
    import PIL.Image


def jitter(
    image: "PIL.Image.Image", factors: list[float], order: typing.Any
) -> "PIL.Image.Image":
    """Changes brightness, contrast, saturation and hue of an RGB image.

    Args:
        image: a Pillow image.
        factors: factors of brightness, contrast and saturation, and the shift of the hue
            as a part of the circle.
        order: order in which the four are applied.
    """
    from PIL import ImageEnhance

    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for index in order:
        factor = factors[index]
        if index == 3:
            image = _turn_hue(image, factor)
        elif factor != 1:
            image = enhancers[index](image).enhance(factor)
    return image


def _turn_hue(image: "PIL.Image.Image", part: float) -> "PIL.Image.Image":
    from PIL import Image

    steps = round(part * 255) % 256
    if not steps:
        return image
    hue, *others = image.convert("HSV").split()
    hue = hue.point([(value + steps) % 256 for value in range(256)])
    return Image.merge("HSV", (hue, *others)).convert("RGB")


def rand_augment(
    image: "PIL.Image.Image",
    operations: int,
    magnitude: int,
    seed: int,
    fill: tuple[int, int, int],
) -> "PIL.Image.Image":
    """Applies some of fourteen operations, each chosen at random (Cubuk 2020).

    The operations and their ranges are those of AutoAugment (Cubuk 2019, table 6) as
    torchvision's RandAugment has them; magnitude 10 is the end of each range. Shears,
    translations, rotations and the four enhancements have a random sign.

    Args:
        image: an RGB Pillow image.
        operations: number of operations.
        magnitude: magnitude, 0 to 10.
        seed: integer that determines the operations and their signs.
        fill: colour (3,) of pixels from outside the image.
    """
    # `random` gives the same numbers in every version of Python.
    chance = random.Random(seed)
    names = tuple(OPERATIONS)
    for _ in range(operations):
        name = names[int(chance.random() * len(names))]
        sign = 1 if chance.random() < 0.5 else -1
        image = OPERATIONS[name](image, magnitude / 10, sign, tuple(fill))
    return image


def _identity(
    image: "PIL.Image.Image", strength: float, sign: int, fill: tuple[int, int, int]
) -> "PIL.Image.Image":
    return image


def _affine(
    image: "PIL.Image.Image",
    strength: float,
    sign: int,
    fill: tuple[int, int, int],
    matrix: Callable[..., typing.Any],
) -> "PIL.Image.Image":
    from PIL import Image

    amount = sign * strength
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix(amount, *image.size),
        Image.Resampling.BILINEAR,
        fillcolor=fill,
    )


def _shear_x(
    amount: float, width: int, height: int
) -> tuple[int, float, float, int, int, int]:
    slope = 0.3 * amount
    return (1, slope, -slope * height / 2, 0, 1, 0)


def _shear_y(
    amount: float, width: int, height: int
) -> tuple[int, int, int, float, int, float]:
    slope = 0.3 * amount
    return (1, 0, 0, slope, 1, -slope * width / 2)


def _translate_x(amount: float, width: int, height: int) -> tuple[int, ...]:
    return (1, 0, round(150 / 331 * amount * width), 0, 1, 0)


def _translate_y(amount: float, width: int, height: int) -> tuple[int, ...]:
    return (1, 0, 0, 0, 1, round(150 / 331 * amount * height))


def _rotate(
    image: "PIL.Image.Image", strength: float, sign: int, fill: tuple[int, int, int]
) -> "PIL.Image.Image":
    from PIL import Image

    return image.rotate(30 * strength * sign, Image.Resampling.BILINEAR, fillcolor=fill)


def _enhance(
    image: "PIL.Image.Image",
    strength: float,
    sign: int,
    fill: tuple[int, int, int],
    name: str,
) -> "PIL.Image.Image":
    from PIL import ImageEnhance

    return getattr(ImageEnhance, name)(image).enhance(1 + 0.9 * strength * sign)


def _posterize(
    image: "PIL.Image.Image", strength: float, sign: int, fill: tuple[int, int, int]
) -> "PIL.Image.Image":
    from PIL import ImageOps

    return ImageOps.posterize(image, 8 - round(4 * strength))


def _solarize(
    image: "PIL.Image.Image", strength: float, sign: int, fill: tuple[int, int, int]
) -> "PIL.Image.Image":
    from PIL import ImageOps

    return ImageOps.solarize(image, round(255 * (1 - strength)))


def _image_operation(
    image: "PIL.Image.Image",
    strength: float,
    sign: int,
    fill: tuple[int, int, int],
    name: str,
) -> "PIL.Image.Image":
    from PIL import ImageOps

    return getattr(ImageOps, name)(image)


# Name -> function of (image, strength in [0, 1], sign, fill).
OPERATIONS: dict[str, typing.Callable[..., typing.Any]] = {
    "identity": _identity,
    "shear_x": functools.partial(_affine, matrix=_shear_x),
    "shear_y": functools.partial(_affine, matrix=_shear_y),
    "translate_x": functools.partial(_affine, matrix=_translate_x),
    "translate_y": functools.partial(_affine, matrix=_translate_y),
    "rotate": _rotate,
    "brightness": functools.partial(_enhance, name="Brightness"),
    "color": functools.partial(_enhance, name="Color"),
    "contrast": functools.partial(_enhance, name="Contrast"),
    "sharpness": functools.partial(_enhance, name="Sharpness"),
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": functools.partial(_image_operation, name="autocontrast"),
    "equalize": functools.partial(_image_operation, name="equalize"),
}
