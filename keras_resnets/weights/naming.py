"""Which variant a file of weights is of, where it tells."""

import pathlib
import typing

from keras_resnets.errors import WeightsError
from keras_resnets.networks import variants
from keras_resnets.weights import metadata
from keras_resnets.weights import open_source


def variant_of(path: pathlib.Path) -> str | None:
    """The registry's name of the network whose weights are in a file.

    Args:
        path: a file, of any kind that `weights=` takes.

    Returns:
        A name; None where the file does not tell: those of other libraries, of Keras'
        own `save_weights`, and of architectures that no variant has.

    Raises:
        WeightsError: a file that cannot be read.
    """
    from keras_resnets.weights.readers import read

    text = read(path).metadata.get(metadata.KEY)
    if text is None:
        return None
    known = metadata.parsed(text, path)
    for name, row in variants.VARIANTS.items():
        if known.architecture == row.replace(**known.axes):
            return name
    return None


def images_of(path: pathlib.Path) -> tuple[typing.Any, typing.Any] | None:
    """(`Preprocessing`, labels) that a `.keras` file or its passport tells, or None.

    Args:
        path: a file of this package, or of another program.
    """
    try:
        source = open_source(path, "")
    except WeightsError:
        # Of another network, which needs no notes of ours.
        return None
    if source is None or source.preprocessing is None:
        return None
    return source.preprocessing, source.labels
