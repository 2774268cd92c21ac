"""Limits of the memory and time of an image, checked by its header before decoding.

A few kilobytes can claim to be gigapixels, or to have a thousand scans.
Docs: `docs/training.md`, "Images that are too large".
"""

import contextlib
import io
import math
import os
import re
import struct
import threading
import typing
from collections.abc import Iterator

from keras_resnets.errors import InvalidArgument

if typing.TYPE_CHECKING:
    import PIL.Image


# Cameras of 200 megapixels have 16,320 x 12,240.
MOST_PIXELS = 250_000_000
# Bytes that decoding may take, and as a multiple of the file. A photo of flat squares,
# far simpler than any that a camera takes, is compressed by JPEG (quality 75) to a byte
# for 24 pixels, which are 192 bytes of memory.
_ROOM, _TIMES = 256 << 20, 200
# Decoded pixels of the modes that have not four bytes, and what as RGB is made of them.
_DECODED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "RGB": 4}
_CONVERTED, _SCALED = 4, 16
# What these decoders take of their own: an animation's two canvases and a copy; planes
# and a copy; integers of four bytes for each of up to four channels; a strip.
_DECODERS = {"WEBP": 8, "AVIF": 5, "HEIF": 5, "JPEG2000": 16, "TIFF": 8}
# Pillow's pointer to a row and the row's share of a block.
_PER_ROW = 16
# Bytes that stand in front of an image: colour profiles, EXIF, metadata of editors; in
# JPEG, PNG and TIFF as much as depth maps and editing histories take. Pillow goes through
# them byte by byte, at worst.
_HEADER, _LONG_HEADER = 256 << 10, 16 << 20
_LONG = ("PNG", "TIFF")
# Their decoders read the file as a whole.
_WHOLE, _LONGEST_WHOLE = ("WEBP", "AVIF", "HEIF"), 128 << 20
# Bytes of a file besides 8 a pixel, which are 16 bits of four channels: the videos that
# phones hang onto a photo.
_BESIDES = 256 << 20
# Encoders write 1 to 18 scans. One that is empty costs 0.3 ns per pixel, so that the most
# takes a second.
_MOST_SCANS, _MOST_SCANNED = 100, 4_000_000_000
# Encoders cut a PNG into chunks of 4 KB and more.
_CHUNKS, _CHUNK = 1000, 512
_MOST_SEGMENTS = 1000
# What OpenJPEG keeps for a tile and a channel of it.
_PER_TILE, _PER_TILE_CHANNEL = 6000, 1200
_TILE_WIDTH, _TILE_HEIGHT = 322, 323

# What ends a JPEG's compressed data: a marker that is neither a restart nor a stuffed
# byte.
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_SCAN, END = 0xDA, 0xD9


class _TooLong(InvalidArgument):
    pass


class Stretch(io.RawIOBase):
    """A part of a file, as a file; to be read through an `io.BufferedReader`.

    Args:
        file: opened for reading bytes.
        start: first byte.
        length: how many bytes.
    """

    def __init__(self, file: typing.Any, start: int, length: int) -> None:
        self.file, self._start, self.length, self._at = file, start, length, 0
        self._left = math.inf

    def allow(self, most: float) -> None:
        """Limits how many bytes can be read from now on."""
        self._left = most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length}
        self._at = max(0, base[whence] + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: typing.Any) -> int:
        most = min(len(buffer), max(0, self.length - self._at))
        self._left -= most
        if self._left < 0:
            raise _TooLong("its header is too long")
        self.file.seek(self._start + self._at)
        content = self.file.read(most)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


# Brands of HEIF files whose images are coded by HEVC, and their general one.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1")


def open_within(stream: typing.Any, formats: tuple[str, ...]) -> "PIL.Image.Image":
    """A Pillow image, not decoded yet, that is within the limits.

    Args:
        stream: an `io.BytesIO`, or an `io.BufferedReader` of a `Stretch`.
        formats: names of Pillow's formats that are tried.

    Raises:
        InvalidArgument: an image beyond the limits, or none of these formats.
    """
    from PIL import Image

    raw: typing.Any = getattr(stream, "raw", None)
    length = raw.length if raw else len(stream.getbuffer())
    if not length:
        raise InvalidArgument("it is empty (0 bytes)")
    stream.seek(0)
    beginning = stream.read(16)
    for name in formats:
        factory, accepts = Image.OPEN[name]
        try:
            accepted = accepts(beginning) if accepts else True
            # A string says which library is missing.
            if not accepted or isinstance(accepted, str):
                continue
            image = _begun(factory, name, stream, length)
        # It only begins as this format does.
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
        _check(image, stream, length)
        return image
    is_heic = beginning[4:8] == b"ftyp" and beginning[8:12] in _HEIC
    hint = " (pip install pillow-heif reads .heic)" * is_heic
    raise InvalidArgument(f"its image format is not supported{hint}")


def _begun(
    factory: typing.Any, name: str, stream: typing.Any, length: int
) -> "PIL.Image.Image":
    """The image, after no more of the file was read than a header may have."""
    raw: typing.Any = getattr(stream, "raw", None)
    try:
        if raw:
            raw.allow(_header_of(name, stream, length))
        stream.seek(0)
        return factory(stream, "")
    except _TooLong:
        raw.allow(math.inf)
        if name != "JPEG" or not _has_few_segments(stream):
            raise
        raw.allow(_LONG_HEADER)
        stream.seek(0)
        return factory(stream, "")
    finally:
        if raw:
            raw.allow(math.inf)


def _header_of(name: str, stream: typing.Any, length: int) -> float:
    """Returns the number of bytes that may be read to open a format."""
    if name in _WHOLE:
        if length > _LONGEST_WHOLE:
            raise InvalidArgument(
                f"a {name} file may have at most {_LONGEST_WHOLE >> 20} MB; got "
                f"{length / 2**20:,.0f} MB"
            )
        return math.inf
    if length <= _HEADER:
        return math.inf
    if name == "PNG":
        _check_chunks(stream, length)
    return _LONG_HEADER if name in _LONG else _HEADER


def _check(image: "PIL.Image.Image", stream: typing.Any, length: int) -> None:
    """Raises `InvalidArgument` for an image beyond the limits."""
    width, height = image.size
    pixels = width * height
    if min(image.size) < 1:
        raise InvalidArgument(
            f"an image must have at least one pixel; got {width} x {height}"
        )
    if pixels > MOST_PIXELS:
        raise InvalidArgument(
            f"an image may have at most {MOST_PIXELS:,} pixels; got {width:,} x "
            f"{height:,}"
        )
    if length > _BESIDES + 8 * pixels:
        raise InvalidArgument(
            f"a file may have at most 8 bytes per pixel and {_BESIDES >> 20} MB more; got "
            f"{length:,} bytes for {width:,} x {height:,}"
        )
    cost = _cost(image, stream)
    if cost > max(_ROOM, _TIMES * length):
        raise InvalidArgument(
            f"decoding an image may take at most {_TIMES} times the size of its file, or "
            f"{_ROOM >> 20} MB; {width:,} x {height:,} pixels from {length:,} bytes take "
            f"{cost / 2**20:,.0f} MB"
        )


def cost(image: "PIL.Image.Image") -> int:
    """Bytes that decoding a Pillow image, turning it upright and making it RGB takes."""
    width, height = image.size
    decoded = _DECODED.get(image.mode, 4)
    more = max(decoded, 0 if image.mode == "RGB" else _CONVERTED)
    if image.mode.startswith(("I", "F")):
        more = _SCALED
    each = decoded + more + _DECODERS.get(image.format or "", 0)
    return width * height * each + height * _PER_ROW


def _cost(image: typing.Any, stream: typing.Any) -> int:
    """The same with what the stream says besides."""
    pixels, total = image.width * image.height, cost(image)
    if image.format in ("JPEG", "MPO"):
        if image.info.get("progressive") or not _is_one_scan(image, stream):
            _check_scans(stream, pixels)
            total += int(pixels * _coefficients(image))
    elif image.format == "TIFF":
        total += 8 * math.prod(
            _whole_number(image.tag_v2.get(tag)) for tag in (_TILE_WIDTH, _TILE_HEIGHT)
        )
    elif image.format == "JPEG2000":
        total += _tiles(stream)
    return total


class Turns:
    """Lets threads decode as many images at a time as fit into memory, at least one.

    Args:
        room: bytes; None for as many as decoding an image may always take on a machine
            of two cores, and more on larger ones.
    """

    def __init__(self, room: typing.Any = None) -> None:
        self._room = room or _ROOM // 2 * (os.cpu_count() or 1)
        self._taken, self._change = 0, threading.Condition()

    @contextlib.contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Waits until this many bytes are free, and reserves them."""
        with self._change:
            self._change.wait_for(
                lambda: not self._taken or self._taken + size <= self._room
            )
            self._taken += size
        try:
            yield
        finally:
            with self._change:
                self._taken -= size
                self._change.notify_all()


def _whole_number(value: typing.Any) -> int:
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else 0


def _is_one_scan(image: typing.Any, stream: typing.Any) -> bool:
    """Whether the scan at which the header ends has all channels."""
    at, size = stream.tell(), 8 + 2 * image.layers
    stream.seek(max(0, at - size))
    begins = stream.read(5)
    stream.seek(at)
    return begins == bytes([0xFF, _SCAN, 0, size - 2, image.layers])


def _coefficients(image: typing.Any) -> typing.Any:
    """Returns the bytes per pixel of what is kept between scans: two for each sample."""
    sampled = [(across, down) for _, down, across, _ in image.layer]
    across, down = (max(1, *sides) for sides in zip((1, 1), *sampled, strict=True))
    return 2 * sum(a * d for a, d in sampled) / (across * down)


def _check_scans(stream: typing.Any, pixels: typing.Any) -> None:
    at = stream.tell()
    length = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    # Without its length it would be read in pieces of 8 KB.
    content = stream.read(length)
    stream.seek(at)
    count = 0
    for number, (marker, _) in enumerate(markers(content, 0, len(content))):
        count += marker == _SCAN
        if count > _MOST_SCANS or number > 100 * _MOST_SCANS:
            raise InvalidArgument(f"a JPEG may have at most {_MOST_SCANS} scans")
        if marker == END:
            break
    if count * pixels > _MOST_SCANNED:
        raise InvalidArgument(
            f"the scans of a JPEG may have at most {_MOST_SCANNED:,} pixels together; "
            f"{count} scans have {pixels:,} each"
        )


def markers(
    content: typing.Any, at: typing.Any, stop: typing.Any
) -> Iterator[typing.Any]:
    """Yields (marker, offset behind it) of a JPEG, up to the end-of-image marker.

    Segments are stepped over, so that a thumbnail's are not taken for the image's; what
    follows a scan's is searched.

    Args:
        content: bytes, or what has them.
        at: where the JPEG begins.
        stop: where it ends at the latest.
    """
    at += 2
    while at + 4 <= stop:
        match = _MARKER.search(content, at, stop)
        if match is None:
            return
        marker, at = content[match.end() - 1], match.end()
        yield marker, at
        if marker == END:
            return
        at += int.from_bytes(content[at : at + 2])


def _has_few_segments(stream: typing.Any) -> bool:
    """Whether a JPEG's header is a chain of segments, and of not too many."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        stream.seek(at)
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return False
        if head[1] == _SCAN:
            return True
        at += 2 + int.from_bytes(head[2:])
    return False


def _check_chunks(stream: typing.Any, length: int) -> None:
    at, most = 8, _CHUNKS + length // _CHUNK
    for _ in range(most):
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        at += 12 + int.from_bytes(head[:4])
    raise InvalidArgument(f"a PNG of {length:,} bytes may have at most {most:,} chunks")


def _tiles(stream: typing.Any) -> int:
    """Bytes of the tiles of a JPEG 2000, by the first segment of its codestream."""
    at = stream.tell()
    stream.seek(0)
    head = stream.read(_HEADER)
    stream.seek(at)
    start = head.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(head) < start + 42:
        return 0
    sides = struct.unpack(">8I", head[start + 8 : start + 40])
    channels = int.from_bytes(head[start + 40 : start + 42])
    count = math.prod(
        -(-max(0, end - begin) // max(1, side))
        for end, side, begin in zip(sides[:2], sides[4:6], sides[6:8], strict=True)
    )
    return count * (_PER_TILE + channels * _PER_TILE_CHANNEL)
