"""Keras model -> SavedModel that has been loaded, run and compared."""

import keras

from keras_resnets import files
from keras_resnets.errors import check_positive_int
from keras_resnets.export import pipeline
from keras_resnets.export import prepare
from keras_resnets.export.runners import SavedModelRunner
from keras_resnets.export.runners.saved_model import operators
from keras_resnets.preprocessing import Preprocessing


def to_saved_model(
    model,
    path,
    pictures=None,
    input_size=None,
    overwrite=False,
    *,
    batch="dynamic",
    preprocessing=None,
):
    """Writes `model` as a SavedModel, having loaded, run and compared it.

    It loads with `tf.saved_model.load` where this package and Keras are not installed,
    and holds no function that must be compiled by XLA. Its signature `serving_default`
    takes `image` and returns `predictions`, `logits` or `features`.

    Args:
        model: a built `keras.Model` with one image input, under any dtype policy.
        path: folder to write.
        pictures: float32 pictures (count, height, width, channels) to compare with;
            by default four of seeded noise.
        input_size: (height, width) where the model leaves them open.
        overwrite: replace an existing folder, if it is a SavedModel.
        batch: pictures at a time, or `"dynamic"`.
        preprocessing: a `Preprocessing`, such as `model.preprocessing`; with it a
            second signature, `serving_uint8`, takes RGB pixels as they come, of the
            network's size.

    Returns:
        An `ExportReport`.

    Raises:
        InvalidArgument: an argument that is not allowed; nothing was done.
        ExportError: it differs from the model by more than `parity.TOLERANCES`
            allows. No folder is left.

    Example:
        >>> import keras_resnets, tempfile
        >>> model = keras_resnets.create_model("resnet8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_saved_model(model, f"{folder}/resnet8")
        >>> report.input_shape
        (None, 32, 32, 3)
    """
    if batch != "dynamic":
        check_positive_int("batch", batch)
    path = check_output(path, overwrite)
    ready = pipeline.make_ready(model, "none", None, pictures, input_size)
    with files.atomic_folder(path) as temporary:
        size = None if batch == "dynamic" else batch
        write(ready.model, temporary, (size, *ready.shape), preprocessing)
        report = pipeline.prove(
            ready,
            path,
            lambda logits: SavedModelRunner(temporary, logits=logits),
            operators(temporary),
            0,
            format="saved_model",
            quantize="none",
            size=files.size(temporary),
        )
    recipe = {"batch": batch, "include_preprocessing": preprocessing is not None}
    pipeline.certify(report, ready, recipe)
    return report


def check_output(path, overwrite=False):
    """The folder to write; see `files.check_folder`."""
    pipeline.check_place(path)
    return files.check_folder(path, "saved_model.pb", overwrite)


def write(model, folder, shape, preprocessing=None):
    """Writes a float32 `model` into `folder`; nothing is checked."""
    import tensorflow as tf

    from keras_resnets.tensorflow_ops import native_convolution

    output = prepare.output_name(model)
    # The variables are found through the functions; archive.track(model), as in
    # model.export(), would write every one twice.
    archive = keras.export.ExportArchive()

    def serve(image):
        return {output: model(image, training=False)}

    def serve_pixels(image):
        return serve(preprocessing.normalize(image, "channels_last"))

    name = prepare.INPUT_NAME
    with native_convolution():
        signature = [tf.TensorSpec(shape, tf.float32, name=name)]
        # The first endpoint is serving_default as well.
        archive.add_endpoint("serve", serve, input_signature=signature)
        if isinstance(preprocessing, Preprocessing):
            signature = [tf.TensorSpec(shape, tf.uint8, name=name)]
            archive.add_endpoint("serving_uint8", serve_pixels, signature)
    archive.write_out(str(folder), verbose=False)
