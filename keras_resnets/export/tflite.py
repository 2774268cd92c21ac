"""Keras model -> TFLite file that has been run and compared."""

import dataclasses
import pathlib
import tempfile

import keras
import numpy as np

from keras_resnets import files
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.export import parity
from keras_resnets.export import prepare
from keras_resnets.export import runners

QUANTIZE = ("none", "float16", "dynamic", "int8")
IO_DTYPES = ("int8", "uint8", "float32")
# Operators that a LiteRT runtime without TensorFlow cannot run, or that say that a
# convolution or a variable was not converted as it should.
FORBIDDEN = (
    "SPACE_TO_BATCH_ND",
    "BATCH_TO_SPACE_ND",
    "VAR_HANDLE",
    "CALL",
    "CALL_ONCE",
)


@dataclasses.dataclass(frozen=True)
class TFLiteExport:
    """What was written, and what it was compared by.

    Attributes:
        path: the file.
        quantize: `"none"`, `"float16"`, `"dynamic"` or `"int8"`.
        size: bytes.
        input_shape: of the file, with the batch.
        operators: counts by name.
        outputs: `parity.Parity` of its outputs with the model's.
        logits: the same in front of the softmax; of the outputs without one.
        compared: number of pictures that both were run on.
        keras_latency, latency: median seconds of one inference, the model's compiled
            by Keras and the file's in LiteRT.
        threads: threads that LiteRT had.
    """

    path: pathlib.Path
    quantize: str
    size: int
    input_shape: tuple
    operators: dict
    outputs: parity.Parity
    logits: parity.Parity
    compared: int
    keras_latency: float
    latency: float
    threads: int


def to_tflite(
    model,
    path,
    quantize="none",
    calibration=None,
    pictures=None,
    input_size=None,
    io_dtype="int8",
    overwrite=False,
    threads=2,
):
    """Writes `model` as a TFLite file, having run it and compared it.

    Args:
        model: a built `keras.Model` with one image input, under any dtype policy.
        path: file to write, ending in `.tflite`.
        quantize: `"none"` (float32), `"float16"` (weights; half the size),
            `"dynamic"` (int8 weights, float activations) or `"int8"` (all integer).
        calibration: float32 pictures (count, height, width, channels), pre-processed
            as for training; `"int8"` takes its activation ranges from them.
        pictures: the same, to compare with; by default four of `calibration`, or
            four of seeded noise where there is none.
        input_size: (height, width) where the model leaves them open.
        io_dtype: input and output of an `"int8"` file: `"int8"`, `"uint8"` or
            `"float32"`.
        overwrite: replace an existing file.
        threads: of the LiteRT interpreter for the comparison and the latency.

    Returns:
        A `TFLiteExport`.

    Raises:
        InvalidArgument: an argument that is not allowed; nothing was done.
        ExportError: the file has operators it should not have, or differs from the
            model by more than `parity.TOLERANCES` allows. No file is left.

    Example:
        >>> import keras_resnets, tempfile
        >>> model = keras_resnets.create_model("resnet8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(model, f"{folder}/resnet8.tflite")
        >>> report.operators["CONV_2D"]
        9
    """
    check_choice("quantize", quantize, QUANTIZE)
    check_choice("io_dtype", io_dtype, IO_DTYPES)
    check_positive_int("threads", threads)
    check_backend()
    path = files.check_destination(path, ".tflite", overwrite)
    model_float = prepare.inference_model(model)
    shape = prepare.input_shape(model_float, input_size)
    if quantize == "int8" and calibration is None:
        raise InvalidArgument(
            "int8 takes its ranges from pictures: calibration must be an array "
            f"(count, {', '.join(map(str, shape))}); got None"
        )
    calibration = _check_pictures("calibration", calibration, shape)
    pictures = _check_pictures("pictures", pictures, shape)
    if pictures is None:
        pictures = default_pictures(shape, calibration)
    content = convert(model_float, shape, quantize, calibration, io_dtype)
    report = _prove(model_float, content, path, quantize, pictures, threads)
    with files.atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return report


def check_backend():
    """Raises `InvalidArgument` where Keras does not run on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise InvalidArgument(
            "TFLite export needs the TensorFlow backend (KERAS_BACKEND=tensorflow); "
            f"got {keras.backend.backend()!r}"
        )


def convert(model, shape, quantize="none", calibration=None, io_dtype="int8"):
    """Bytes of the TFLite file for a float32 `model` at (height, width, channels).

    The batch is 1. Nothing is checked; `to_tflite` does that.

    Raises:
        ExportError: a network that TFLite's own operators cannot express.
    """
    import tensorflow as tf

    from keras_resnets.tensorflow_ops import native_convolution

    signature = [tf.TensorSpec((1, *shape), tf.float32, name=prepare.INPUT_NAME)]
    output = prepare.output_name(model)
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        with native_convolution():
            archive.add_endpoint(
                "serve",
                lambda image: {output: model(image, training=False)},
                input_signature=signature,
            )
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        _configure(converter, tf, quantize, calibration, io_dtype)
        try:
            return converter.convert()
        except Exception as error:
            raise ExportError(
                f"TensorFlow's converter refused {model.name}: {_reason(error)}; "
                "nothing was written"
            ) from error


def _reason(error):
    """The one line of the converter's pages that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("TF Select ops")]
    return (telling or lines or [repr(error)])[0][:300]


def _configure(converter, tf, quantize, calibration, io_dtype):
    # Without TensorFlow's own operators: a network that needs them is an error.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize == "none":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize != "int8":
        return

    def representative():
        for picture in calibration:
            yield [picture[None]]

    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.dtypes.as_dtype(io_dtype)
    converter.inference_output_type = tf.dtypes.as_dtype(io_dtype)


def default_pictures(shape, calibration=None, count=4, seed=0):
    """Pictures to compare with: some of the calibration's, or seeded noise."""
    noise = np.random.default_rng(seed).standard_normal((count, *shape))
    noise = noise.astype("float32")
    # Noise lies outside the ranges that an integer file was calibrated for.
    return noise if calibration is None else calibration[:count]


def _check_pictures(argument, pictures, shape):
    if pictures is None:
        return None
    pictures = np.asarray(pictures, "float32")
    if pictures.ndim != 4 or pictures.shape[1:] != tuple(shape) or not len(pictures):
        raise InvalidArgument(
            f"{argument} must have the shape (count, {', '.join(map(str, shape))}); "
            f"got {pictures.shape}"
        )
    if not np.isfinite(pictures).all():
        raise InvalidArgument(f"{argument} must be finite; it holds NaN or infinity")
    return pictures


def _prove(model, content, path, quantize, pictures, threads):
    """Runs the file, compares it, and reports; raises `ExportError` where it fails."""
    counts = runners.operators(content)
    check_operators(counts)
    if quantize == "int8":
        floats = runners.float_operators(content)
        if floats:
            raise ExportError(
                f"the int8 file computes in float: {', '.join(floats)}; "
                "nothing was written"
            )
    reference = runners.KerasRunner(model)
    runner = runners.TFLiteRunner(content, threads)
    expected = [reference(picture[None]) for picture in pictures]
    expected_outputs = np.concatenate([outputs for outputs, _ in expected])
    outputs = logits = parity.compare(expected_outputs, runner(pictures))
    tapped = runners.TFLiteRunner(content, threads, logits=True)
    if reference.has_logits and tapped.has_logits:
        expected_logits = np.concatenate([logits for _, logits in expected])
        logits = parity.compare(expected_logits, tapped(pictures))
    parity.check(prepare.output_name(model), quantize, outputs, logits)
    return TFLiteExport(
        path=path,
        quantize=quantize,
        size=len(content),
        input_shape=runner.input_shape,
        operators=counts,
        outputs=outputs,
        logits=logits,
        compared=len(pictures),
        keras_latency=reference.latency(pictures[:1]),
        latency=runner.latency(pictures[:1]),
        threads=threads,
    )


def check_operators(counts):
    """Raises `ExportError` where a file has operators that it should not have."""
    wrong = [
        name
        for name in counts
        if name in FORBIDDEN or name.startswith(("Flex", "Custom"))
    ]
    if wrong:
        raise ExportError(
            f"the file has operators that edge runtimes cannot run: {', '.join(wrong)}; "
            "nothing was written"
        )
