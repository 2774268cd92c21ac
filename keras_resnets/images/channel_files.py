"""Image files of any number of channels, as arrays: .npy, and TIFF with all its bands.

Pillow reads TIFF of at most four channels, and of 16 bits at most one.
"""

import math
import os
import struct
import typing
import zlib

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.images.files import NPY
from keras_resnets.images.files import TIFF
from keras_resnets.io import npz
from keras_resnets.io.untrusted import open_regular

# Bytes of an image in memory: a scene of 10,000 x 10,000 in 10 bands of 16 bits has more
# and is cut into tiles by whoever trains on it.
_MOST = 1 << 30
# Zeros deflate to a thousandth.
_TIMES = 1100
# type of a field -> (bytes, letter of `struct`); others are no numbers that count here.
_FIELDS = {3: (2, "H"), 4: (4, "I"), 16: (8, "Q")}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _OFFSETS, _SAMPLES = 256, 257, 258, 259, 273, 277
_ROWS, _COUNTS, _PLANAR, _PREDICTOR = 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_EXTRA, _SAMPLE_FORMAT = 338, 339
_COMPRESSIONS = {1: "none", 8: "deflate", 32946: "deflate"}
_NAMES = {5: "LZW", 7: "JPEG", 32773: "PackBits", 50000: "ZSTD"}
# Values of SampleFormat.
_KINDS = {1: "u", 2: "i", 3: "f"}
_MOST_PAGES = 1000


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """One image as array (height, width, channels), of the numbers in the file.

    Args:
        path: `.npy` of an array (height, width) or (height, width, channels); or TIFF of
            one page with any number of channels, or of several pages of one each.

    Raises:
        InvalidArgument: a file that is missing, or is no such image.
    """
    if not os.path.lexists(path):
        raise InvalidArgument(f"there is no image {printable(str(path))!r}")
    is_npy = os.fspath(path).lower().endswith(NPY)
    try:
        image = read_npy(path) if is_npy else _read_tiff(path)
        image = image[..., None] if image.ndim == 2 else image
        if image.ndim != 3 or not image.size:
            raise InvalidArgument(
                "an image must be an array (height, width, channels) of at least one "
                f"pixel; got {image.shape}"
            )
        check_numbers(image)
    except Exception as error:
        reason = first_line(error) if str(error) else type(error).__name__
        raise InvalidArgument(
            f"{printable(str(path))} is not a readable image: {reason}"
        ) from None
    return image


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an .npy file; its header is checked before memory is taken.

    Raises:
        InvalidArgument: another file, or one of anything but numbers.
    """
    with open_regular(path) as file:
        return npz.read_stream(file, os.fstat(file.fileno()).st_size, "biuf", _MOST)


def check_numbers(image: np.ndarray) -> None:
    """Raises `InvalidArgument` for numbers that no network can take."""
    if image.dtype.kind not in "uif":
        raise InvalidArgument(f"an image must be of numbers; got {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InvalidArgument("values must be finite; some are NaN or infinite")


def channels_of(path: str | os.PathLike[str]) -> int | None:
    """Returns the number of channels of a file that Pillow cannot read, or None.

    Args:
        path: of any file: `.npy`, or a TIFF with bands that are neither grey, colours
            nor transparency.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix == NPY:
        return int(read(path).shape[-1])
    if suffix not in TIFF:
        return None
    try:
        with open_regular(path) as file:
            pages = _pages(file, os.fstat(file.fileno()).st_size)
    except Exception:
        # Whatever is wrong with it is said where it is read.
        return None
    samples = int(pages[0].get(_SAMPLES, (1,))[0])
    is_plain = samples in (1, 3) or (
        samples in (2, 4) and pages[0].get(_EXTRA, (1,))[-1] in (1, 2)
    )
    return None if is_plain else samples


def _read_tiff(path: str | os.PathLike[str]) -> np.ndarray:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        pages = _pages(file, size)
        order = _order(file)
        images = [_page(file, size, order, page) for page in pages]
    if len(images) == 1:
        return images[0]
    shapes = {image.shape for image in images}
    if len(shapes) == 1 and images[0].shape[-1] == 1:
        return np.concatenate(images, axis=-1)
    # Overviews and masks follow the image itself.
    return images[0]


def _order(file: typing.BinaryIO) -> str:
    file.seek(0)
    head = file.read(4)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or struct.unpack(f"{order}H", head[2:4])[0] != 42:
        raise InvalidArgument("it is not a TIFF file (BigTIFF is not supported)")
    return order


def _pages(file: typing.BinaryIO, size: int) -> list[dict[int, tuple[int, ...]]]:
    """The fields of each page by their numbers."""
    order = _order(file)
    (place,) = struct.unpack(f"{order}I", _bytes(file, 4, 4))
    found: list[dict[int, tuple[int, ...]]] = []
    seen: set[int] = set()
    while place:
        if place in seen or len(seen) >= _MOST_PAGES:
            raise InvalidArgument("its pages form a cycle, or are too many")
        seen.add(place)
        (count,) = struct.unpack(f"{order}H", _bytes(file, place, 2))
        entries = _bytes(file, place + 2, 12 * count + 4)
        page = {}
        for start in range(0, 12 * count, 12):
            tag, kind, number, value = struct.unpack(
                f"{order}HHI4s", entries[start : start + 12]
            )
            if kind not in _FIELDS:
                continue
            width, letter = _FIELDS[kind]
            if number * width > size:
                raise InvalidArgument("a field of it is longer than the file")
            if number * width > 4:
                (where,) = struct.unpack(f"{order}I", value)
                value = _bytes(file, where, number * width)
            page[tag] = struct.unpack(
                f"{order}{number}{letter}", value[: number * width]
            )
        found.append(page)
        (place,) = struct.unpack(f"{order}I", entries[-4:])
    if not found:
        raise InvalidArgument("it has no image")
    return found


def _bytes(file: typing.BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    content = file.read(count)
    if len(content) != count:
        raise InvalidArgument("it is truncated")
    return content


def _page(
    file: typing.BinaryIO, size: int, order: str, page: dict[int, tuple[int, ...]]
) -> np.ndarray:
    """The pixels of a page as array (height, width, samples)."""
    height, width = page[_HEIGHT][0], page[_WIDTH][0]
    samples = page.get(_SAMPLES, (1,))[0]
    dtype = _dtype(order, page)
    total = height * width * samples * dtype.itemsize
    if not total or total > min(_MOST, _TIMES * size):
        raise InvalidArgument(
            f"an image may take at most {_MOST / 2**20:,.0f} MB in memory and {_TIMES} "
            f"times its file; got {height} x {width} x {samples} of {dtype}"
        )
    is_planar = page.get(_PLANAR, (1,))[0] == 2
    depth = 1 if is_planar else samples
    tiled = _TILE_OFFSETS in page
    rows = page[_TILE_HEIGHT][0] if tiled else page.get(_ROWS, (height,))[0]
    columns = page[_TILE_WIDTH][0] if tiled else width
    rows = min(rows, 2**16) if tiled else min(rows, height)
    if not rows or not columns or columns > 2**16 + width:
        raise InvalidArgument("its strips or tiles are empty")
    offsets = page[_TILE_OFFSETS if tiled else _OFFSETS]
    counts = page[_TILE_COUNTS if tiled else _COUNTS]
    corners = [
        (plane, top, left)
        for plane in range(samples if is_planar else 1)
        for top in range(0, height, rows)
        for left in range(0, width, columns)
    ]
    if len(corners) != len(offsets) or len(counts) != len(offsets):
        raise InvalidArgument("it has too few strips or tiles, or too many")
    image = np.empty((height, width, samples), dtype.newbyteorder("="))
    for (plane, top, left), place, count in zip(corners, offsets, counts, strict=True):
        full = rows if tiled else min(rows, height - top)
        shape = (full, columns, depth)
        part = _part(_bytes(file, place, count), page, shape, dtype)
        part = part[: height - top, : width - left]
        end, right = top + part.shape[0], left + part.shape[1]
        bands = slice(plane, plane + 1) if is_planar else slice(None)
        image[top:end, left:right, bands] = part
    return image


def _dtype(order: str, page: dict[int, tuple[int, ...]]) -> np.dtype:
    bits, kinds = set(page.get(_BITS, (1,))), set(page.get(_SAMPLE_FORMAT, (1,)))
    kind = _KINDS.get(next(iter(kinds)))
    width = next(iter(bits))
    if len(bits) > 1 or len(kinds) > 1 or kind is None or width not in (8, 16, 32, 64):
        raise InvalidArgument(
            "all bands must have the same type, of 8, 16, 32 or 64 bits; got "
            f"{sorted(bits)} bits: write the image as .npy"
        )
    return np.dtype(f"{order}{kind}{width // 8}")


def _part(
    content: bytes,
    page: dict[int, tuple[int, ...]],
    shape: tuple[int, int, int],
    dtype: np.dtype,
) -> np.ndarray:
    """The pixels of a strip or tile."""
    how = page.get(_COMPRESSION, (1,))[0]
    if how not in _COMPRESSIONS:
        raise InvalidArgument(
            "images of several bands must be uncompressed or compressed with deflate; "
            f"got {_NAMES.get(how, how)}: write the image with deflate (gdal_translate "
            "-co COMPRESS=DEFLATE), or as .npy"
        )
    need = math.prod(shape) * dtype.itemsize
    if _COMPRESSIONS[how] == "deflate":
        if need > _MOST:
            raise InvalidArgument("one of its strips or tiles is too large")
        content = zlib.decompressobj().decompress(content, need)
    if len(content) < need:
        raise InvalidArgument("it is truncated")
    part = np.frombuffer(content, dtype, math.prod(shape)).reshape(shape)
    predictor = page.get(_PREDICTOR, (1,))[0]
    if predictor == 2:
        # Each number is the difference to the one on its left, round the end.
        unsigned = part.astype(f"u{dtype.itemsize}")
        total = np.cumsum(unsigned, axis=1, dtype=unsigned.dtype)
        part = total.astype(dtype.newbyteorder("="))
    elif predictor != 1:
        raise InvalidArgument(
            f"images of several bands must have predictor 1 or 2; got {predictor}: "
            "write the image with -co PREDICTOR=2, or as .npy"
        )
    return part
