"""Files of images: which files are some, how they are opened, what their values mean."""

import contextlib
import functools
import io
import os
import pathlib
import typing
import warnings
from collections.abc import Iterator
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import counted
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images import limits
from keras_resnets.io.untrusted import open_regular

if typing.TYPE_CHECKING:
    import numpy as np
    import PIL.Image


# Format of Pillow -> suffixes of its files. Only these are opened, whatever a file is
# called: Pillow hands an EPS file named .jpg to Ghostscript, which runs it.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "MPO": (".mpo",),
    "PNG": (".png", ".apng"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf"),
    "TGA": (".tga",),
    "QOI": (".qoi",),
}
# Images that are read as arrays where they have other than 1 or 3 channels.
NPY = ".npy"
TIFF = (".tif", ".tiff")
ARRAYS = (NPY, *TIFF)
# What cameras and other programs call images, and Pillow does not open.
_OTHERS = (
    *(".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
    *(".svg", ".eps", ".psd", ".exr", ".hdr", ".dcm", ".nii", ".fits"),
)
# What operating systems, disk stations and archives put into folders; names that begin
# with a dot are hidden and need not stand here.
_SYSTEM = {
    *("__macosx", "__pycache__", "lost+found", "system volume information"),
    *("$recycle.bin", "recycler", "found.000", "#recycle", "#snapshot", "@eadir"),
    *("@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@__thumb"),
}
# How files begin that are images though their names have no suffix: JPEG, PNG, GIF, BMP,
# TIFF, WEBP.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
# Formats of which Pillow may have been built without the library.
_FEATURES = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
# An image of 16 bits, or of 0 to 255 as floats, that has nothing as bright as a
# quarter of that holds 10, 12 or 14 bits, or another scale: seen as it stands it would
# be nearly black.
_BRIGHT = 0.25
# TIFF's MaxSampleValue and BitsPerSample.
_MAX_SAMPLE_VALUE, _BITS_PER_SAMPLE = 281, 258
_TOLERATED = 2


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's and not the user's, by its name."""
    return name.startswith(".") or name.casefold() in _SYSTEM


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats that may be opened here, as Pillow calls them."""
    from PIL import Image
    from PIL import features

    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    Image.init()
    # What it finds odd in an image is no line of ours: it is read, or refused in one.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return tuple(
        name
        for name in _SUFFIXES
        if name in Image.OPEN
        and (name not in _FEATURES or features.check(_FEATURES[name]))
    )


@functools.cache
def suffixes() -> tuple[str, ...]:
    """The suffixes of images that can be opened here, in lower case."""
    return tuple(suffix for name in formats() for suffix in _SUFFIXES[name])


def scan(
    folder: str | os.PathLike[str], kinds: Sequence[str] = ()
) -> tuple[list[pathlib.Path], list[typing.Any]]:
    """The images in a folder and its sub-folders.

    Files are images by their suffix, those without any by how they begin. Hidden files
    and folders and those of the system are passed over.

    Args:
        folder: searched.
        kinds: suffixes that files must have, in lower case; () for all of images.

    Returns:
        (paths, others): sorted paths of the images that can be opened here, and of
        those that end as images do and cannot.
    """
    image_suffixes = tuple(kinds) or suffixes()
    images: list[pathlib.Path] = []
    others: list[pathlib.Path] = []
    unknown = set(kinds) or {
        *_OTHERS,
        *(s for group in _SUFFIXES.values() for s in group),
    }
    for root, folders, names in os.walk(folder, onerror=refuse_unreadable):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            suffix, path = os.path.splitext(name)[1].lower(), pathlib.Path(root, name)
            if is_hidden(name) or (suffix or kinds) and suffix not in unknown:
                continue
            if os.path.isfile(path) and (suffix or _begins_as_image(path)):
                (images if suffix in image_suffixes or not suffix else others).append(
                    path
                )
    return sorted(images), sorted(others)


def refuse_unreadable(error: typing.Any) -> None:
    """Raises `InvalidArgument` for a folder that cannot be listed, and is still there."""
    if not isinstance(error, FileNotFoundError):
        raise InvalidArgument(
            f"{printable(str(error.filename))} cannot be listed: {error.strerror}"
        ) from None


def _begins_as_image(path: pathlib.Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4).startswith(_BEGINNINGS)
    except OSError:
        return False


def others_note(others: Sequence[pathlib.Path]) -> str | None:
    """Returns a line about images that cannot be opened here; None if there are none.

    Args:
        others: their paths, as `scan` returns them.
    """
    if not others:
        return None
    kinds = sorted({path.suffix.lower() for path in others})
    hint = ""
    if set(kinds) & set(_SUFFIXES["HEIF"]):
        hint = " (pip install pillow-heif reads .heic)"
    verb = "ends" if len(others) == 1 else "end"
    return (
        f"{counted(len(others), 'image')} {verb} in {some(kinds, 12)}, which this Pillow "
        f"does not support{hint}: ignored"
    )


def tolerated(count: int) -> int:
    """Returns the tolerated number of unreadable images: 1 %, but at least two."""
    return max(_TOLERATED, count // 100)


def check_broken(
    broken: Sequence[str], count: int, where: str | pathlib.Path, reason: str = ""
) -> None:
    """Raises `InvalidArgument` where more images are unreadable than are tolerated.

    Args:
        broken: names of those that cannot be read.
        count: how many were looked at.
        where: what holds them.
        reason: why the first one cannot be read.
    """
    if len(broken) > tolerated(count) or (broken and len(broken) == count):
        why = f" ({some(broken[:1])}: {reason})" if reason else ""
        raise InvalidArgument(
            "at most 1 % of the images may be unreadable (of less than 300, two); "
            f"{len(broken)} of {count} in {printable(str(where))} are: {some(broken)}"
            f"{why}"
        )


def skipped_note(names: tuple[str, ...]) -> str:
    """A line about images that cannot be read and were left out."""
    are = "is" if len(names) == 1 else "are"
    images = counted(len(names), "image")
    return f"{images} cannot be read and {are} ignored: {some(names)}"


def replaced_note(names: typing.Any) -> str:
    """A line about images that could not be decoded while a network was trained."""
    are, classes = ("is", "its class") if len(names) == 1 else ("are", "their classes")
    return (
        f"{counted(len(names), 'image')} cannot be decoded and {are} replaced by others "
        f"of {classes}: {some(names)}"
    )


def open_image(stream: typing.Any) -> "PIL.Image.Image":
    """A Pillow image, not decoded yet, of the formats above and within the limits.

    Args:
        stream: an `io.BytesIO`, or what `opened` makes.

    Raises:
        InvalidArgument: another format, or what would take too much to decode.
    """
    return limits.open_within(stream, formats())


@contextlib.contextmanager
def opened(
    path: str | os.PathLike[str], start: int = 0, length: int | None = None
) -> Iterator[typing.Any]:
    """An image in a file, or in a part of one, as a stream for `open_image`.

    Args:
        path: of the file.
        start: first byte of the image.
        length: its bytes; None for all that there are.
    """
    with open_regular(path) as file:
        if length is None:
            length = os.fstat(file.fileno()).st_size - start
        stretch = limits.Stretch(file, start, length)
        with io.BufferedReader(stretch) as stream:
            yield stream


@contextlib.contextmanager
def decoding(words: str) -> Iterator[None]:
    """Makes one error of whatever Pillow raises at files that are no whole images.

    Args:
        words: what is said of the image, in front of the reason.

    Raises:
        InvalidArgument: within.
    """
    try:
        yield
    # Its decoders raise nearly anything at damaged files.
    except Exception as error:
        reason = first_line(error) if str(error) else type(error).__name__
        raise InvalidArgument(f"{printable(words, 400)}: {reason}") from None


def upright(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """A Pillow image, decoded and turned as its EXIF data say."""
    from PIL import ImageOps

    deep = _holds_16_bits(image)
    ImageOps.exif_transpose(image, in_place=True)
    if deep and image.mode in ("L", "LA", "RGB", "RGBA", "RGBX"):
        # Pillow keeps the upper 8 bits of colours.
        colours = image.split()[: 1 if image.mode in ("L", "LA") else 3]
        most: typing.Any = max(colour.getextrema()[1] for colour in colours)
        _check_bright(most / 255 * 65535, 65535.0, "16 bits")
    return image


def _holds_16_bits(image: "PIL.Image.Image") -> bool:
    """Whether the samples of an image that is not decoded yet have 16 bits."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())
    modes = [str(tile[3]) for tile in getattr(image, "tile", ())]
    return 16 in (bits if isinstance(bits, tuple) else (bits,)) or any(
        ";16" in mode for mode in modes
    )


def as_rgb(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """Converts a Pillow image of any mode to RGB; returns RGB images unchanged.

    Grey of more than 8 bits is scaled by its range: 16 bits by 65,535, unless the file
    states less; floats by 1 where they lie in [0, 1], else by 255.

    Raises:
        InvalidArgument: values whose range is not that.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        import numpy as np
        from PIL import Image

        scaled = _scaled(np.asarray(image).astype("float32"), _stated_range(image))
        return Image.fromarray(scaled.round().astype("uint8")).convert("RGB")
    return image.convert("RGB")


def _stated_range(image: "PIL.Image.Image") -> tuple[float | None, str, bool]:
    """(what is white, what the samples are called, whether the file says so)."""
    if image.mode == "F":
        return None, "floats", False
    tags = getattr(image, "tag_v2", {})
    stated = tags.get(_MAX_SAMPLE_VALUE)
    stated = max(stated) if isinstance(stated, tuple) else stated
    bits = tags.get(_BITS_PER_SAMPLE, (16,))
    bits = max(bits) if isinstance(bits, tuple) else bits
    if stated:
        return float(stated), f"{bits} bits", True
    if bits < 16:
        return 2.0**bits - 1, f"{bits} bits", True
    return 65535.0, f"{bits} bits", False


def _scaled(
    values: "np.ndarray", stated: tuple[float | None, str, bool]
) -> "np.ndarray":
    """Grey values as 0 to 255."""
    import numpy as np

    white, kind, certain = stated
    if not np.isfinite(values).all():
        raise InvalidArgument("values must be finite; some are NaN or infinite")
    least, most = float(values.min()), float(values.max())
    if white is None:
        white = 1.0 if most <= 1 else 255.0
        certain = most <= 1
    if least < 0 or most > white:
        raise InvalidArgument(
            f"values of {kind} must lie in 0..{white:g}, floats in 0..1 or 0..255; got "
            f"{least:g}..{most:g}: convert the image to 8 bits"
        )
    if not certain:
        _check_bright(most, white, kind)
    return values * (255 / white)


def _check_bright(most: float, white: float, kind: str) -> None:
    if 0 < most < _BRIGHT * white:
        raise InvalidArgument(
            f"values of {kind} must use the range 0..{white:g}; the largest is {most:g}, "
            "so the range is probably smaller (such as 12 bits in 16): convert the image "
            "to 8 bits, or set its range (TIFF's MaxSampleValue, PGM's maximum)"
        )
