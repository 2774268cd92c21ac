"""Writes the weights of a model, with the metadata that are needed to use them."""

import os
import pathlib
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import provenance
from keras_resnets.io.files import atomic_file
from keras_resnets.io.files import check_destination
from keras_resnets.weights import layouts
from keras_resnets.weights import metadata
from keras_resnets.weights import sidecars
from keras_resnets.weights.readers.safetensors import write_safetensors
from keras_resnets.weights.source import Source
from keras_resnets.weights.values import torch_tensors

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.networks.architecture import Architecture


SUFFIXES = (".weights.h5", ".safetensors", ".keras")


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> pathlib.Path:
    """Returns the path to write to; see `files.check_destination`.

    Raises:
        InvalidArgument: another suffix, or a place that cannot be written to.
    """
    suffix = next((s for s in SUFFIXES if str(path).endswith(s)), None)
    if suffix is None:
        raise InvalidArgument(
            f"weights are written to a file ending in {', '.join(SUFFIXES)}; got "
            f"{str(path)!r}"
        )
    return check_destination(path, suffix, overwrite)


def save(
    model: "keras.Model",
    path: str | os.PathLike[str],
    source: Source | None,
    architecture: "Architecture | None",
    overwrite: bool = False,
) -> str | None:
    """Writes the weights of `model`; the file appears whole or not at all.

    Args:
        model: made by `create_model`.
        path: ending in `.weights.h5`, `.keras` or `.safetensors`. The last has the
            names of torchvision, timm, akamaster or fyu/drn if one of them computes
            what the model computes, else this package's names.
        source: the `Source` that its weights came from; None for others.
        architecture: the model's architecture; None for a model that is no variant.
        overwrite: replace an existing file.

    Returns:
        The name of the `Layout` of a `.safetensors` file, else None.
    """
    place = check_output(path, overwrite)
    record = provenance.of(model)
    layout = None
    with atomic_file(place) as temporary:
        if place.suffix == ".safetensors":
            layout = _torch_layout(source, architecture)
            with open(temporary, "wb") as file:
                tensors = torch_tensors(model, layout)
                write_safetensors(file, tensors, metadata.of_safetensors(record))
        elif place.suffix == ".keras":
            metadata.write_model(model, temporary, record)
        else:
            metadata.write_weights(model, temporary, record)
        sidecars.remove_passport(place)
    return None if layout is None else layout.name


def _torch_layout(
    source: Source | None, architecture: "Architecture | None"
) -> layouts.Layout:
    """The layout of the loaded weights, else that of the architecture."""
    loaded = None if source is None else source.layout
    if loaded is not None and loaded.torch:
        return loaded
    if architecture is None:
        return layouts.NATIVE
    return layouts.for_architecture(architecture)
