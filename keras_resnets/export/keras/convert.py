"""Exports a Keras model as a `.keras` or `.weights.h5` file, loaded and compared.

The `.keras` file consists of `keras.layers` alone, so that it loads without this
package.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras

from keras_resnets import renamed
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import landing
from keras_resnets.export import session
from keras_resnets.export import signature
from keras_resnets.export.contents import Contents
from keras_resnets.export.keras import contents
from keras_resnets.export.keras.runner import LoadedModelRunner
from keras_resnets.export.landing import ExportReport
from keras_resnets.graph import activations
from keras_resnets.graph import anatomy
from keras_resnets.graph import copies
from keras_resnets.graph import provenance
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.io import files
from keras_resnets.networks import layers
from keras_resnets.weights import metadata

SUFFIXES = (".keras", ".weights.h5")


@renamed.arguments(pictures="images")
def to_keras(
    model: keras.Model,
    path: str | os.PathLike[str],
    images: Any = None,
    input_size: tuple[int, int] | None = None,
    overwrite: bool = False,
    *,
    preprocessing: Preprocessing | None = None,
    logits: bool = False,
    features: Sequence[str] | None = None,
) -> ExportReport:
    """Writes `model` as a Keras file, after loading and comparing it.

    Args:
        model: a built `keras.Model` with one image input, under any dtype policy.
        path: file to write. `.keras` holds a float32 model of `keras.layers` alone:
            option-A shortcuts and stochastic depth by Keras' layers, and no projection
            whose output is not used. `.weights.h5` holds the weights, for
            `load_weights` of the same architecture.
        images: float32 images (count, height, width, channels) to compare on; by
            default the four of `samples.default_images`.
        input_size: (height, width) to compare at if the model leaves them open; the
            file leaves them open too.
        overwrite: replace an existing file.
        preprocessing: a `Preprocessing`, such as `model.preprocessing`, to include in
            the model, which then takes RGB pixels as uint8.
        logits: whether to leave out the softmax or sigmoid.
        features: names of endpoints to return, such as `["stage2", "stage4"]`.

    Returns:
        An `ExportReport`.

    Raises:
        InvalidArgument: an argument that is not allowed; nothing was done.
        ExportError: it differs from the model by more than its `NumberFormat`
            allows. No file is left.

    Example:
        >>> import keras_resnets, tempfile
        >>> model = keras_resnets.create_model("resnet20")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_keras(model, f"{folder}/resnet20.keras")
        >>> report.operators["Conv2D"]
        19
    """
    bare = str(path).endswith(".h5")
    if bare and preprocessing is not None:
        raise InvalidArgument(
            "a file of weights has no preprocessing: write a .keras file for it"
        )
    options = session.ExportOptions(
        input_size, preprocessing, logits, features, overwrite=overwrite
    )
    place, ready = session.begin("keras", model, path, options, images=images)

    def write(file: pathlib.Path) -> Contents:
        # A file of weights belongs to the unchanged architecture.
        written = ready.model
        if not bare:
            like = ready.model if features else model
            written = signature.structured(plain(ready.model), like)
        record = provenance.of(model)
        if features:
            record = dataclasses.replace(record, labels=None)
        (metadata.write_weights if bare else metadata.write_model)(
            written, file, record
        )
        return contents.of_model(written)

    def open_runner(
        file: pathlib.Path, threads: int, logits: bool
    ) -> LoadedModelRunner:
        with _named(file, ".weights.h5" if bare else ".keras") as named:
            if bare:
                loaded = copies.clone(ready.model)
                loaded.load_weights(named)
            else:
                # A file of this package must load in Keras itself.
                loaded = keras.saving.load_model(named, compile=False, safe_mode=True)
            return LoadedModelRunner(loaded, logits)

    return landing.land(place, ready, write, {}, open_runner)


@contextlib.contextmanager
def _named(file: pathlib.Path, suffix: str) -> Iterator[pathlib.Path]:
    """Renames `file` to a name with the suffix by which Keras chooses the format."""
    named = file.with_name(f"{file.name}{suffix}")
    os.replace(file, named)
    try:
        yield named
    finally:
        if named.exists():
            os.replace(named, file)


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> pathlib.Path:
    """Returns the path to write to; see `files.check_destination`.

    Raises:
        InvalidArgument: another suffix, or a place that cannot be written to.
    """
    session.check_place(path)
    suffix = next((s for s in SUFFIXES if str(path).endswith(s)), None)
    if suffix is None:
        raise InvalidArgument(
            f"the output file must end in {' or '.join(SUFFIXES)}; got {str(path)!r}"
        )
    return files.check_destination(path, suffix, overwrite)


def plain(model: keras.Model) -> keras.Model:
    """Returns a copy of a functional `model` of `keras.layers` alone.

    Layers that are not of this package are kept.
    """
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs[0], name=model.name)
    copy = keras.models.clone_model(
        model,
        input_tensors=keras.tree.map_structure(_same_input, model.input),
        clone_function=_plain_layer,
        call_function=_plain_call,
    )
    kept = {layer.name: layer for layer in copy.layers}
    for layer in model.layers:
        # An unused projection is not in the copy.
        if layer.name in kept and not isinstance(layer, keras.Model):
            kept[layer.name].set_weights(layer.get_weights())
            _same_seed(kept[layer.name], layer)
    return copy


def _same_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """A new input with the name of its layer; Keras' default is the tensor's name."""
    name = tensor._keras_history.operation.name
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


def _same_seed(copy: Any, layer: Any) -> None:
    """Copies the seed state of a layer that draws random numbers, which is saved too."""
    ours, theirs = (getattr(x, "seed_generator", None) for x in (copy, layer))
    if ours is not None and theirs is not None:
        ours.state.assign(theirs.state)


def _plain_layer(layer: Any) -> Any:
    if anatomy.has_graph(layer):
        return plain(layer)
    if isinstance(layer, (keras.Model, keras.layers.TFSMLayer)):
        raise ExportError(
            f"a .keras file cannot contain the code of layer {layer.name} "
            f"({type(layer).__name__}): build it of layers, keras.Model(inputs, "
            "outputs); nothing was written"
        )
    if isinstance(layer, layers.StochasticDepth):
        return keras.layers.Dropout(
            layer.rate, noise_shape=(None, 1, 1, 1), seed=layer.seed, name=layer.name
        )
    kind = keras.layers.Conv2D if type(layer) is layers.Conv2D else None
    return copies.copied(layer, kind, **_by_name(layer))


def _by_name(layer: Any) -> dict[str, Any]:
    """Returns the activation of a layer by a name with which Keras loads it.

    Raises:
        ExportError: it has none.
    """
    function = getattr(layer, "activation", None)
    if type(layer) is keras.layers.Lambda:
        function = layer.function
    elif name := activations.name_of(function):
        return {"activation": name}
    is_function = callable(function) and not hasattr(function, "get_config")
    if not is_function or _is_registered(function):
        return {}
    name = getattr(function, "__name__", type(function).__name__)
    raise ExportError(
        f"a .keras file stores a function by its name, and Keras has no function for "
        f"that of layer {layer.name} ({name}): use one of keras.activations, or "
        "keras.saving.register_keras_serializable(); nothing was written"
    )


def _is_registered(function: Any) -> bool:
    name = keras.saving.get_registered_name(function)
    return keras.saving.get_registered_object(name) is function


def _plain_call(layer: Any, *args: Any, **options: Any) -> Any:
    if isinstance(layer, layers.Discard):
        return args[0][0]
    if isinstance(layer, layers.IdentityPadShortcut):
        return _identity_pad(layer, args[0])
    return layer(*args, **options)


def _identity_pad(layer: Any, x: Any) -> Any:
    """The option-A shortcut: subsamples by a 1x1 pooling, and pads the channels."""
    if layer.strides > 1:
        x = keras.layers.MaxPooling2D(
            1, layer.strides, data_format="channels_last", name=f"{layer.name}_pool"
        )(x)
    new = layer.filters - x.shape[-1]
    if not new:
        return x
    before = new // 2 if layer.position == "both" else 0
    # Keras pads only the second and third axis.
    x = keras.layers.Permute((1, 3, 2), name=f"{layer.name}_turn")(x)
    x = keras.layers.ZeroPadding2D(
        ((0, 0), (before, new - before)),
        data_format="channels_last",
        name=f"{layer.name}_pad",
    )(x)
    return keras.layers.Permute((1, 3, 2), name=f"{layer.name}_back")(x)
