"""Pillow's resize and centre crop of images of one size, as two matrices.

A resize is linear in the pixels: rows of the result are sums of rows, columns sums of
columns. A file that includes the resize multiplies by these matrices, and rounds after
each as Pillow does.
"""

import math
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.images import resizing
from keras_resnets.images.preprocessing import Preprocessing

if typing.TYPE_CHECKING:
    import numpy as np

# Bits of Pillow's integer weights (`PRECISION_BITS` of its Resample.c).
_BITS = 22
# Filter -> (pixels that it reaches to either side, its function).
_LANCZOS, _BICUBIC = 3.0, -0.5


def _triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _cubic(x: float) -> float:
    x, a = abs(x), _BICUBIC
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / _LANCZOS) if abs(x) < _LANCZOS else 0.0


_FILTERS = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
    "lanczos": (_LANCZOS, _lanczos),
}


def weights(
    have: int, want: int, interpolation: str, start: float = 0.0, end: float = 0.0
) -> "np.ndarray":
    """float32 matrix (want, have): `want` pixels of a line as sums of its `have`.

    Args:
        have: pixels of the line, >= 1.
        want: pixels to make, >= 1.
        interpolation: of `Preprocessing`.
        start: of the part of the line that becomes them.
        end: of that part; 0 for the end of the line.

    Example:
        >>> weights(2, 1, "bilinear").tolist()
        [[0.5, 0.5]]
    """
    import numpy as np

    matrix = np.zeros((want, have))
    # Pillow holds the part in single precision.
    first_edge, last_edge = np.float32(start), np.float32(end or have)
    start, scale = float(first_edge), float(last_edge - first_edge) / want
    if interpolation == "nearest":
        places = np.floor(start + (np.arange(want) + 0.5) * scale).astype(int)
        matrix[np.arange(want), np.minimum(places, have - 1)] = 1
        return matrix.astype("float32")
    reach, function = _FILTERS[interpolation]
    # Where it shrinks the filter is widened: that is what smooths.
    wide = max(scale, 1.0)
    for place in range(want):
        centre = start + (place + 0.5) * scale
        first = max(int(centre - reach * wide + 0.5), 0)
        last = min(int(centre + reach * wide + 0.5), have)
        values = [function((x - centre + 0.5) / wide) for x in range(first, last)]
        matrix[place, first:last] = np.array(values) / sum(values)
    # Pillow's integers: halves go away from zero.
    fixed_point = np.trunc(matrix * 2**_BITS + np.copysign(0.5, matrix))
    return (fixed_point / 2**_BITS).astype("float32")


def matrices(
    size: tuple[int, int], preprocessing: Preprocessing
) -> "tuple[np.ndarray, np.ndarray]":
    """(rows, columns): what makes a network's pixels of an image of a size.

    Of an image x (height, width), rounded behind each product,
    `rows @ (x @ columns.T)` is what `Preprocessing` resizes and crops it to.

    Args:
        size: (height, width) of the image.
        preprocessing: of the network.

    Returns:
        float32 matrices (network's height, height) and (network's width, width).

    Raises:
        InvalidArgument: a letterbox, which Pillow does not make.
    """
    if preprocessing.letterbox:
        raise InvalidArgument(
            "source requires preprocessing with a centre crop; this network has darknet's "
            "letterbox: resize in the application"
        )
    height, width = preprocessing.size
    target = (height, width)
    resized = resizing.resized_size(size, target, preprocessing.crop_fraction)
    corner = resizing.centre(resized, target)
    is_strip = resizing.is_strip(resized, target)
    both = []
    for have, whole, first, want in zip(size, resized, corner, target, strict=True):
        if is_strip:
            scale = have / whole
            part = (first * scale, (first + want) * scale)
            both.append(weights(have, want, preprocessing.interpolation, *part))
        else:
            lines = weights(have, whole, preprocessing.interpolation)
            both.append(lines[first : first + want])
    return both[0], both[1]
