"""Draws heat maps onto their photos."""

import contextlib
import functools
import importlib.util
import pathlib
import typing
from collections.abc import Sequence

from keras_resnets.images import resizing

if typing.TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from keras_resnets.images.preprocessing import Preprocessing

# Six colours of matplotlib's inferno, from nothing to the maximum: brighter is more in
# grey print too.
_COLOURS = (
    (0, 0, 4),
    (66, 10, 104),
    (147, 38, 103),
    (221, 81, 58),
    (252, 165, 10),
    (252, 255, 164),
)
# How much of the heat covers the photo at the maximum; the photo stays to be seen.
_COVER = 0.72
# Outside what the network was shown.
_UNSEEN = 0.35
# Of a panel in pixels: of a tiny photo enlarged, of a large one shrunk.
_SIDE = 448
# Panels beside one another: what a screen shows at full size.
_COLUMNS = 4
_MARGIN, _LINE = 12, 22
# Of a title that is cut, the characters at its end that stay.
_END = 20
_POINTS = 15
# Fonts for titles, by the name of their files; None is Pillow's own.
_FONTS = (
    None,
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
)
_OF_MATPLOTLIB = "mpl-data/fonts/ttf"
# Unicode has no such character, so that a font draws its mark for a missing one.
_NO_CHARACTER = "\uffff"


def seen_box(
    size: tuple[int, int], preprocessing: "Preprocessing"
) -> tuple[float, float, float, float]:
    """The part of a photo that the network sees, in the photo's pixels.

    Args:
        size: (width, height) of the photo.
        preprocessing: of the network.

    Returns:
        (left, top, right, bottom). A letterbox reaches over the photo's edges.

    Example:
        >>> from keras_resnets import Preprocessing
        >>> seen_box((400, 200), Preprocessing("tf", size=(100, 100), crop_fraction=0.5))
        (150.0, 50.0, 250.0, 150.0)
    """
    width, height = size
    target = preprocessing.size
    if preprocessing.letterbox:
        scale = max(width / target[1], height / target[0])
        across, down = target[1] * scale, target[0] * scale
        left, top = (width - across) / 2, (height - down) / 2
        return left, top, left + across, top + down
    resized = resizing.resized_size(
        (height, width), target, preprocessing.crop_fraction
    )
    top, left = resizing.centre(resized, target)
    down, across = height / resized[0], width / resized[1]
    return (
        left * across,
        top * down,
        (left + target[1]) * across,
        (top + target[0]) * down,
    )


def draw(
    photo: "PIL.Image.Image",
    heatmap: "np.ndarray",
    preprocessing: "Preprocessing",
    largest: float | None = None,
) -> "PIL.Image.Image":
    """A photo with a heat map over the part that the network sees.

    Args:
        photo: an upright Pillow image.
        heatmap: float array (rows, columns): evidence for a class. What is not above 0
            is none, and is not coloured.
        preprocessing: of the network.
        largest: the evidence that is drawn brightest; None for the largest in the map.

    Returns:
        An RGB image of the photo's size; what the network was not shown is darkened.
    """
    import numpy as np
    from PIL import Image

    pixels = np.asarray(photo.convert("RGB"), "float32")
    box = seen_box(photo.size, preprocessing)
    top = float(np.max(heatmap)) if largest is None else largest
    heat = np.clip(np.asarray(heatmap, "float32") / max(top, 1e-12), 0, 1)
    left, upper, right, lower = (round(edge) for edge in box)
    inside = Image.fromarray(heat).resize(
        (right - left, lower - upper), Image.Resampling.BICUBIC
    )
    whole = Image.new("F", photo.size, -1.0)
    whole.paste(inside, (left, upper))
    heat = np.asarray(whole)[..., None]
    shown = np.clip(heat, 0, 1)
    colours = np.stack(
        [
            np.interp(shown[..., 0], np.linspace(0, 1, len(_COLOURS)), channel)
            for channel in zip(*_COLOURS, strict=True)
        ],
        axis=-1,
    )
    # The square root, so that weak evidence is seen.
    share = _COVER * np.sqrt(shown)
    mixed = pixels * (1 - share) + colours * share
    mixed = np.where(
        _outside(photo.size, (left, upper, right, lower)), pixels * _UNSEEN, mixed
    )
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype("uint8"))


def _outside(size: tuple[int, int], box: tuple[int, ...]) -> "np.ndarray":
    """Returns a bool mask (height, width, 1) of the pixels outside a box."""
    import numpy as np

    rows, columns = np.arange(size[1])[:, None, None], np.arange(size[0])[None, :, None]
    return (columns < box[0]) | (columns >= box[2]) | (rows < box[1]) | (rows >= box[3])


def correlation(first: "np.ndarray", second: "np.ndarray") -> float:
    """Pearson's correlation of two maps; the smaller is enlarged to the other's size.

    Args:
        first: float array (rows, columns).
        second: the same, of any size.

    Returns:
        In [-1, 1]; 0 where one is the same everywhere.
    """
    import numpy as np
    from PIL import Image

    height = max(first.shape[0], second.shape[0])
    width = max(first.shape[1], second.shape[1])
    flat = [
        np.asarray(
            Image.fromarray(np.asarray(each, "float32")).resize((width, height)),
            "float64",
        ).ravel()
        for each in (first, second)
    ]
    centred = [each - each.mean() for each in flat]
    norms = [float(np.linalg.norm(each)) for each in centred]
    return float(centred[0] @ centred[1] / (norms[0] * norms[1])) if all(norms) else 0.0


def side_by_side(
    images: Sequence["PIL.Image.Image"], titles: Sequence[str]
) -> "PIL.Image.Image":
    """Images of one size beside one another, each under its title of one or more lines.

    Args:
        images: at least one.
        titles: as many.

    Returns:
        An RGB image; panels are enlarged or shrunk to 448 pixels at the longer side.
    """
    from PIL import Image
    from PIL import ImageDraw

    scale = _SIDE / max(images[0].size)
    width, height = (max(1, round(side * scale)) for side in images[0].size)
    resampling = Image.Resampling.NEAREST if scale > 3 else Image.Resampling.LANCZOS
    head = _MARGIN + _LINE * max(len(title.split("\n")) for title in titles)
    columns = min(len(images), _COLUMNS)
    rows = -(-len(images) // columns)
    across, down = width + _MARGIN, head + height
    size = across * columns + _MARGIN, down * rows + _MARGIN
    whole = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(whole)
    for place, (image, title) in enumerate(zip(images, titles, strict=True)):
        left = _MARGIN + place % columns * across
        top = place // columns * down
        for number, line in enumerate(title.split("\n")):
            font = _font_of(line) or _font(None)
            text = _fitted(pen, font, line, width)
            pen.text((left, top + 6 + number * _LINE), text, "black", font)
        whole.paste(image.resize((width, height), resampling), (left, top + head))
    return whole


def can_write(text: str) -> bool:
    """Whether some font for the titles has every character of a text."""
    return _font_of(text) is not None


def _font_of(text: str) -> typing.Any:
    """Returns the first font with every character of a text; None if there is none."""
    for name in _FONTS:
        font = _font(name)
        if font is not None and _has(font, text):
            return font
    return None


@functools.cache
def _font(name: str | None) -> typing.Any:
    """Returns a font of the system or of matplotlib; None: Pillow's, which has ASCII."""
    from PIL import ImageFont

    if name is None:
        return ImageFont.load_default(_POINTS)
    library = importlib.util.find_spec("matplotlib")
    places = [] if library is None else library.submodule_search_locations or []
    files = [pathlib.Path(place, _OF_MATPLOTLIB, name) for place in places]
    # A name alone is sought in the folders of the system.
    for file in (*files, pathlib.Path(name)):
        with contextlib.suppress(OSError):
            return ImageFont.truetype(str(file), _POINTS)
    return None


def _has(font: typing.Any, text: str) -> bool:
    missing = bytes(font.getmask(_NO_CHARACTER))
    return all(
        character.isspace() or bytes(font.getmask(character)) != missing
        for character in text
    )


def _fitted(pen: typing.Any, font: typing.Any, text: str, width: int) -> str:
    """Cuts a line of text to the width of a panel, before its last characters.

    The end of a title is the probability, and that of a file's name its format.
    """
    if pen.textlength(text, font) <= width:
        return text
    start, end = text[:-_END], text[-_END:]
    while start and pen.textlength(f"{start}...{end}", font) > width:
        start = start[:-1]
    return f"{start}...{end}"
