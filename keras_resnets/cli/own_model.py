"""A `.keras` file as MODEL, which may contain any network."""

import dataclasses
import pathlib
import typing
from collections.abc import Mapping

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import shown

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.networks.architecture import Architecture
    from keras_resnets.weights.source import Source


def check(model: str, typed: Mapping[str, object]) -> None:
    """Raises `InvalidArgument` for options that a `.keras` file already determines.

    Args:
        model: path of the file.
        typed: values of the options, by name; None or empty if not given.
    """
    if not pathlib.Path(model).is_file():
        raise InvalidArgument(f"there is no file {shown(model)}")
    for option in (name for name, value in typed.items() if value):
        raise InvalidArgument(
            f"{model} contains its network and weights: leave out {option}"
        )


def build(
    file: str, changes: Mapping[str, typing.Any]
) -> "tuple[keras.Model, Architecture | None, Source | None]":
    """Loads the network of a `.keras` file; returns (model, None, source)."""
    from keras_resnets.export.keras import safe_loading
    from keras_resnets.graph import provenance
    from keras_resnets.weights.source import Source

    if changes:
        raise InvalidArgument(
            f"this command builds a variant; {file} contains a finished network"
        )
    path = pathlib.Path(file)
    model = safe_loading.load_model(path)
    preprocessing, labels = _images_of(path)
    if preprocessing is None:
        raise InvalidArgument(
            f"{path} does not record its preprocessing: set model.preprocessing and write "
            "the file with keras_resnets.export.to_keras(model, path)"
        )
    provenance.give(
        model,
        provenance.Provenance(
            preprocessing=preprocessing, labels=labels, weights_origin=path.name
        ),
    )
    source = Source(path)
    return model, None, source


def _images_of(path: pathlib.Path) -> tuple[typing.Any, typing.Any]:
    """Returns the (`Preprocessing` or None, labels) of a `.keras` file or its passport."""
    from keras_resnets.export import passport
    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.weights import naming as sidecar_naming

    facts = passport.read(path)
    if not facts or not facts["preprocessing"]:
        return sidecar_naming.images_of(path) or (None, None)
    preprocessing = Preprocessing(**facts["preprocessing"])
    if (facts.get("recipe") or {}).get("include_preprocessing"):
        # The preprocessing is in the file, which takes raw pixels.
        preprocessing = dataclasses.replace(
            preprocessing, mode="raw", mean=None, std=None
        )
    return preprocessing, facts.get("labels")
