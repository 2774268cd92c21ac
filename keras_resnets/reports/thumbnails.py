"""Thumbnails that are embedded in a page."""

import base64
import io

import numpy as np

# Pixels of the longer side; smaller images stay as they are.
_MOST = 160
# Up to here every pixel is shown, and JPEG would smear it.
_PIXELATED = 64
_QUALITY = 82


def data_uri(pixels: np.ndarray) -> str:
    """Returns a thumbnail of an image as a data URI.

    Args:
        pixels: array (height, width, channels) of uint8, or of any range, which is
            stretched to 0..255. Unless there are three channels, the first is shown in
            grey.

    Example:
        >>> data_uri(np.zeros((8, 8, 3), "uint8"))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    image = Image.fromarray(_shown(np.asarray(pixels)))
    is_small = max(image.size) <= _PIXELATED
    image.thumbnail((_MOST, _MOST))
    stored = io.BytesIO()
    if is_small:
        image.save(stored, "PNG", optimize=True)
    else:
        image.save(stored, "JPEG", quality=_QUALITY)
    kind = "png" if is_small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stored.getvalue()).decode()}"


def _shown(pixels: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3) or (height, width)."""
    if pixels.ndim == 3 and pixels.shape[-1] != 3:
        pixels = pixels[..., 0]
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype("float64")
    values = np.where(np.isfinite(values), values, 0.0)
    low, high = values.min(), values.max()
    return np.rint(255 * (values - low) / max(high - low, 1e-12)).astype("uint8")
