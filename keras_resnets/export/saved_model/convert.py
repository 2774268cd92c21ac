"""Exports a Keras model as a SavedModel, which is loaded, run and compared."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from keras_resnets import renamed
from keras_resnets.errors import ExportError
from keras_resnets.errors import first_line
from keras_resnets.export import acceptance
from keras_resnets.export import landing
from keras_resnets.export import model_kinds
from keras_resnets.export import session
from keras_resnets.export import signature as ends
from keras_resnets.export.formats import FORMATS
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.prepare import Ready
from keras_resnets.export.saved_model import stable_bytes
from keras_resnets.export.saved_model.runner import SavedModelRunner
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.io import files
from keras_resnets.system import shared

# The signature that takes pixels.
PIXELS = "serving_uint8"


@renamed.arguments(pictures="images")
def to_saved_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    images: Any = None,
    input_size: tuple[int, int] | None = None,
    overwrite: bool = False,
    *,
    batch: int | str = "dynamic",
    preprocessing: Preprocessing | None = None,
    logits: bool = False,
    features: Sequence[str] | None = None,
) -> ExportReport:
    """Writes `model` as a SavedModel, after loading, running and comparing it.

    `tf.saved_model.load` loads it without this package and Keras, and it holds no
    function that must be compiled by XLA. Its signature `serving_default` takes `image`
    and returns `predictions`, `logits` or `features`.

    Args:
        model: a built `keras.Model` with one image input, under any dtype policy.
        path: folder to write.
        images: float32 images (count, height, width, channels) to compare on; by
            default the four of `samples.default_images`.
        input_size: (height, width) if the model leaves them open.
        overwrite: replace an existing folder, if it is a SavedModel.
        batch: images per call, or `"dynamic"`.
        preprocessing: a `Preprocessing`, such as `model.preprocessing`; with it a
            second signature, `serving_uint8`, takes raw RGB pixels of the network's
            size.
        logits: whether to leave out the softmax or sigmoid.
        features: names of endpoints to return, such as `["stage2", "stage4"]`.

    Returns:
        An `ExportReport`.

    Raises:
        InvalidArgument: an argument that is not allowed; nothing was done.
        ExportError: it differs from the model by more than its `NumberFormat`
            allows. No folder is left.

    Example:
        >>> import keras_resnets, tempfile
        >>> model = keras_resnets.create_model("resnet8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_saved_model(model, f"{folder}/resnet8")
        >>> report.input_shape
        (None, 32, 32, 3)
    """
    model_kinds.check(model)
    place, ready = session.begin(
        "saved_model",
        model,
        path,
        session.ExportOptions(
            input_size, None, logits, features, batch=batch, overwrite=overwrite
        ),
        images=images,
    )
    session.check_preprocessing(preprocessing, ready.shape)
    if preprocessing is not None and ready.input_dtype != "float32":
        session.refuse_pixels(model, "preprocessing")
    recipe = {"batch": batch, PIXELS: preprocessing is not None}

    def prove_pixels(folder: pathlib.Path) -> None:
        if preprocessing is not None:
            _prove_pixels(ready, folder, preprocessing)

    return landing.land(
        place,
        ready,
        lambda folder: _write(ready, folder, preprocessing),
        recipe,
        prove_more=prove_pixels,
    )


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> pathlib.Path:
    """Returns the folder to write; see `files.check_folder`."""
    path = files.check_folder(path, FORMATS["saved_model"].folder, overwrite)
    session.check_place(path)
    return path


def _write(
    ready: Ready,
    folder: pathlib.Path,
    preprocessing: Preprocessing | None,
) -> None:
    import tensorflow as tf

    try:
        shape, dtype = (ready.options.batch_size, *ready.shape), ready.input_dtype
        write(ready.model, folder, shape, dtype, preprocessing=preprocessing)
    except tf.errors.OpError as error:
        # TensorFlow's error for a full disk, among others.
        raise ExportError(
            f"TensorFlow could not write {ready.original.name}: {first_line(error)}; "
            "nothing was written"
        ) from error


def write(
    model: keras.Model,
    folder: pathlib.Path,
    shape: Sequence[int | None],
    dtype: str = "float32",
    preprocessing: Any = None,
) -> None:
    """Writes a model whose output is a dict into `folder`; nothing is checked."""
    import tensorflow as tf

    from keras_resnets.networks.tensorflow_ops import native_convolution

    def serve(image: Any) -> Any:
        return model(image, training=False)

    def serve_pixels(image: Any) -> Any:
        return serve(preprocessing.normalize(image, "channels_last"))

    kinds = [("serving_default", serve, dtype)]
    kinds += [(PIXELS, serve_pixels, "uint8")] if preprocessing is not None else []
    holder, signatures = tf.Module(), {}
    with native_convolution():
        for name, function, kind in kinds:
            signature = [tf.TensorSpec(shape, kind, name=ends.INPUT_NAME)]
            traced = tf.function(function, input_signature=signature, autograph=False)
            signatures[name] = traced.get_concrete_function()
        read = {id(v) for traced in signatures.values() for v in traced.variables}
        # Variables in the model's order; the functions' order depends on addresses.
        holder.values = [x.value for x in model.variables if id(x.value) in read]
        with shared.loggers_hidden("tensorflow"):
            tf.saved_model.save(holder, str(folder), signatures=signatures)
    stable_bytes.settle(pathlib.Path(folder))


def _prove_pixels(
    ready: Ready, folder: pathlib.Path, preprocessing: Preprocessing
) -> None:
    """Raises `ExportError` if the outputs for pixels differ from the model's."""
    pixels = preprocessing.pixels(ready.images)
    images = preprocessing.normalize(pixels, "channels_last")
    runner = SavedModelRunner(folder, signature=PIXELS)
    acceptance.judge(ready.reference, images, runner(pixels))
