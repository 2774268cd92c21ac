"""JPEG files: checks that they are complete, and decodes only the rows needed."""

import mmap
import typing
from collections.abc import Callable
from collections.abc import Iterator

from keras_resnets.images.limits import END
from keras_resnets.images.limits import markers

_HEADERS, _SCAN = (0xC0, 0xC1), 0xDA
# Markers of Huffman tables and of arithmetic coding lie among those of frames.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# Most files end with the end-of-image marker.
_TAIL = 32


def ends(file: typing.Any, start: int, length: int) -> bool:
    """Returns whether a JPEG has its end-of-image marker; any bytes may follow it.

    Usually the last bytes suffice. Otherwise the compressed data are read marker by
    marker, since a thumbnail in the header has an end-of-image marker of its own.

    Args:
        file: binary file, open for reading.
        start: offset of the JPEG.
        length: its length in bytes.
    """
    tail = min(length, _TAIL)
    file.seek(start + length - tail)
    if b"\xff\xd9" in file.read(tail):
        return True
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        segments = markers(content, start, start + length)
        return any(marker == END for marker, _ in segments)


def cut_short(content: memoryview, rows: int) -> Callable[..., typing.Any] | None:
    """Reduces the height in a JPEG header, so that decoders stop early.

    The pixels above stay the same, except in the last two rows if chroma is
    subsampled, since it is interpolated with the rows below. Progressive files and
    those without Huffman coding are not changed: each of their scans covers the whole
    image.

    Args:
        content: writable memoryview of a file of any format.
        rows: the new height, >= 1.

    Returns:
        Function without arguments that restores the height; None if nothing was
        changed.
    """
    frame = _only_frame(content)
    if frame is None:
        return None
    place = slice(frame + 1, frame + 3)
    height = bytes(content[place])
    # With a height of 0, a marker after the image states it.
    if not 0 < rows < int.from_bytes(height):
        return None
    content[place] = rows.to_bytes(2)
    return lambda: content.__setitem__(place, height)


def _only_frame(content: memoryview) -> int | None:
    """Returns the offset of the frame header's precision if there is only one scan."""
    frame = None
    for marker, start in _segments(content):
        if marker in _FRAMES:
            if frame is not None or marker not in _HEADERS:
                return None
            frame = start
        elif marker == _SCAN:
            whole = frame is not None and content[start] == content[frame + 5]
            return frame if whole else None
    return None


def _segments(content: memoryview) -> Iterator[tuple[int, int]]:
    """Yields (marker, offset behind the length) of each segment up to the first scan."""
    at, end = 2, len(content) - 16
    while at < end and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        yield marker, at + 4
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
