"""JPEG files: whether they are whole, and decoded no further down than needed."""

import mmap
import typing
from collections.abc import Callable
from collections.abc import Iterator

from keras_resnets.images.limits import END
from keras_resnets.images.limits import markers

_HEADERS, _SCAN = (0xC0, 0xC1), 0xDA
# Huffman tables and arithmetic coding's settings have numbers like frames of images.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# Most files end with the marker of their end.
_TAIL = 32


def ends(file: typing.Any, start: int, length: int) -> bool:
    """Whether a JPEG has its end: bytes behind it, as phones write them, may be any.

    Only the last bytes are read where the end stands there, else all of the file: a
    thumbnail in its header has an end of its own, so that the compressed data are
    gone through marker by marker.

    Args:
        file: opened for reading bytes.
        start: where in it the JPEG begins.
        length: how many bytes it may have.
    """
    tail = min(length, _TAIL)
    file.seek(start + length - tail)
    if b"\xff\xd9" in file.read(tail):
        return True
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        segments = markers(content, start, start + length)
        return any(marker == END for marker, _ in segments)


def cut_short(content: memoryview, rows: int) -> Callable[..., typing.Any] | None:
    """Makes a JPEG file's header say that the image ends earlier.

    Decoders then stop there: what lies below costs nothing. The pixels above are the
    same, but for the last two rows, whose colours are interpolated with the rows below
    where these are stored in halves. Files that hold the image in several passes
    (progressive ones) or without Huffman's code stay as they are: every pass goes
    through the whole image.

    Args:
        content: writable memoryview of the file, of any format.
        rows: the new height, >= 1.

    Returns:
        Function of no arguments that makes the image whole again; None where nothing
        was changed.
    """
    frame = _only_frame(content)
    if frame is None:
        return None
    place = slice(frame + 1, frame + 3)
    height = bytes(content[place])
    # A height of 0 is stated behind the image.
    if not 0 < rows < int.from_bytes(height):
        return None
    content[place] = rows.to_bytes(2)
    return lambda: content.__setitem__(place, height)


def _only_frame(content: memoryview) -> int | None:
    """Where the frame's header is (at its precision), if one scan holds all of it."""
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
    """(marker, first byte behind the length) of each segment, up to the first scan."""
    at, end = 2, len(content) - 16
    while at < end and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        yield marker, at + 4
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
