"""A `.keras` file as MODEL, which may contain any network."""

import dataclasses
import pathlib
import typing
from collections.abc import Mapping

from keras_resnets.cli.arguments import axis_values
from keras_resnets.cli.arguments import mode_and_labels
from keras_resnets.cli.printing import output
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import shown

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.networks.architecture import Architecture
    from keras_resnets.weights.source import Source


def check(asked: typing.Any) -> None:
    """Raises `InvalidArgument` for options whose values are in the file already.

    Args:
        asked: a `network.Network`, which imports this module.
    """
    model = asked.model
    if not pathlib.Path(model).is_file():
        raise InvalidArgument(f"there is no file {shown(model)}")
    for name in ("weights", "classes", "set", "channels"):
        if getattr(asked, name):
            raise InvalidArgument(
                f"{model} contains its network and weights: leave out --{name}"
            )
    if asked.input_size is not None:
        axis_values.size_of(asked.input_size)


def build(
    asked: typing.Any, changes: Mapping[str, typing.Any]
) -> "tuple[keras.Model, Architecture | None, Source | None]":
    """Loads the network of a `.keras` file; returns (model, None, its source).

    Args:
        asked: with the path of the file as `model`; `mode` and `input_size` are what it
            does not record.
        changes: changes of a variant, which a file does not allow.
    """
    from keras_resnets.export import prepare
    from keras_resnets.export.keras import safe_loading
    from keras_resnets.graph import provenance
    from keras_resnets.weights.source import Source

    if changes:
        raise InvalidArgument(
            f"this command builds a variant; {asked.model} contains a finished network"
        )
    path, size = pathlib.Path(asked.model), None
    if asked.input_size is not None:
        size = axis_values.size_of(asked.input_size)
    model = safe_loading.load_model(path)
    preprocessing, labels = _images_of(path)
    if preprocessing is None:
        preprocessing = _preprocessing(path, model, asked.mode, size)
    elif asked.mode is not None:
        raise InvalidArgument(
            f"{path} records its preprocessing, of mode {preprocessing.mode}: leave out "
            f"--mode; got {asked.mode}"
        )
    if size is not None:
        prepare.input_shape(model, size)
        preprocessing = dataclasses.replace(preprocessing, size=size)
    model = prepare.of_fixed_size(model, preprocessing.size)
    provenance.give(
        model,
        provenance.Provenance(
            preprocessing=preprocessing, labels=labels, weights_origin=path.name
        ),
    )
    mode_and_labels.set_labels(model, asked.labels)
    return model, None, Source(path)


def _preprocessing(
    path: pathlib.Path,
    model: "keras.Model",
    mode: str | None,
    size: tuple[int, int] | None,
) -> "Preprocessing":
    """Returns the preprocessing of a network that does not record it.

    A network with a layer that scales pixels takes them as they are.

    Raises:
        InvalidArgument: nothing tells the mode, or the size.
    """
    from keras_resnets.graph import anatomy
    from keras_resnets.images import preprocessing

    scaling = anatomy.scaling_layer(model)
    if mode is None and scaling is None:
        raise InvalidArgument(
            f"{path} does not record its preprocessing, and no layer of it scales "
            f"pixels: give --mode {', '.join(preprocessing.MODES)}, or write it by "
            "keras_resnets.export.to_keras(model, path), with model.preprocessing set"
        )
    height, width, channels = model.inputs[0].shape[1:]
    size = size or (height, width)
    if None in size:
        raise size_is_open(path)
    if mode is None:
        output.note(
            f"note: {path} does not record its preprocessing; its layer {scaling} scales "
            "pixels, so it takes RGB values of 0 to 255 (--mode says otherwise)"
        )
    return preprocessing.default_for(mode or "raw", size).with_channels(channels or 3)


def size_is_open(path: pathlib.Path) -> InvalidArgument:
    """Returns the error for a network that takes images of any size."""
    return InvalidArgument(
        f"{path} leaves the size of its images open, and does not record it: give "
        "--input-size"
    )


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
