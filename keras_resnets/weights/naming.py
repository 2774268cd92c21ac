"""The variant that a file of weights belongs to, if the file records it."""

import pathlib
import re
import typing

from keras_resnets.errors import WeightsError
from keras_resnets.networks import variants
from keras_resnets.weights import metadata
from keras_resnets.weights import open_source
from keras_resnets.weights.readers.keras_zip import KerasZip

# Registered names in a quantization-aware network: it has a variant's architecture, and
# other weights.
_QUANTIZED = re.compile(
    r'"keras_resnets>(FakeQuantize|Quantized(Conv2D|Dense|Affine|DepthwiseConv2D))"'
)


def variant_of(path: pathlib.Path) -> str | None:
    """Returns the registry's name of the network whose weights are in a file.

    Args:
        path: a file, of any kind that `weights=` takes.

    Returns:
        A name; None if the file does not record it: files of other libraries, of Keras'
        own `save_weights`, and of architectures that no variant has; also for a
        quantization-aware network, which is loaded as it is.

    Raises:
        WeightsError: a file that cannot be read.
    """
    from keras_resnets.weights.readers import read

    if path.suffix.lower() == ".keras":
        if _QUANTIZED.search(KerasZip(path).text("config.json") or ""):
            return None
    text = read(path).metadata.get(metadata.KEY)
    if text is None:
        return None
    record = metadata.parsed(text, path)
    for name, row in variants.VARIANTS.items():
        if record.architecture == row.replace(**record.axes):
            return name
    return None


def images_of(path: pathlib.Path) -> tuple[typing.Any, typing.Any] | None:
    """(`Preprocessing`, labels) that a `.keras` file or its passport records, or None.

    Args:
        path: a file of this package, or of another program.
    """
    try:
        source = open_source(path, "")
    except WeightsError:
        # A file of another network has no metadata of this package.
        return None
    if source is None or source.preprocessing is None:
        return None
    return source.preprocessing, source.labels
