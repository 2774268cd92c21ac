"""What every format shares: checks before, running and comparing after, the report."""

import dataclasses
import pathlib

import keras
import numpy as np

from keras_resnets import files
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import parity
from keras_resnets.export import passport
from keras_resnets.export import prepare
from keras_resnets.export.runners import KerasRunner


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written, and what it was compared by.

    Attributes:
        path: the file, or the folder of a SavedModel.
        format: `"tflite"`, `"onnx"` or `"saved_model"`.
        quantize: `"none"`, `"float16"`, ...: see the exporter.
        size: bytes.
        input_shape: of the file as (batch, height, width, channels), whatever order
            it has them in; None for an open batch.
        operators: counts by name.
        outputs: `parity.Parity` of its outputs with the model's.
        logits: the same in front of the softmax; of the outputs without one.
        compared: number of pictures that both were run on.
        keras_latency, latency: median seconds of one inference, the model's compiled
            by Keras and the file's in its own runtime.
        threads: threads that the runtime had; 0 where TensorFlow chose them.
    """

    path: pathlib.Path
    format: str
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


def check_backend():
    """Raises `InvalidArgument` where Keras does not run on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise InvalidArgument(
            "export needs the TensorFlow backend (KERAS_BACKEND=tensorflow); got "
            f"{keras.backend.backend()!r}"
        )


@dataclasses.dataclass(frozen=True)
class Ready:
    """A model that can be converted, and the pictures to do it with.

    Attributes:
        original: the model that was given.
        model: the same as float32, for inference.
        shape: (height, width, channels).
        calibration: float32 pictures, or None where nothing is quantized.
        pictures: float32 pictures to compare with.
    """

    original: keras.Model
    model: keras.Model
    shape: tuple
    calibration: np.ndarray | None
    pictures: np.ndarray


def make_ready(model, quantize, calibration, pictures, input_size):
    """Checks the arguments that all formats share; see `to_tflite` for them.

    Returns:
        A `Ready`.

    Raises:
        InvalidArgument: an argument that is not allowed.
    """
    check_backend()
    original, model = model, prepare.inference_model(model)
    _check_finite(model)
    shape = prepare.input_shape(model, input_size)
    if quantize in prepare.CALIBRATED and calibration is None:
        raise InvalidArgument(
            f"{quantize} takes its ranges from pictures: calibration must be an array "
            f"(count, {', '.join(map(str, shape))}); got None"
        )
    calibration = check_pictures("calibration", calibration, shape)
    pictures = check_pictures("pictures", pictures, shape)
    if pictures is None:
        pictures = default_pictures(shape, calibration)
    return Ready(original, model, shape, calibration, pictures)


def _check_finite(model):
    """Raises `InvalidArgument` that names the layer where a weight is no number."""
    for layer in prepare.all_layers(model):
        for variable in layer.weights:
            values = keras.ops.convert_to_numpy(variable)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InvalidArgument(
                    f"weights must be finite; {variable.path} of {model.name} holds NaN "
                    "or infinity"
                )


def check_pictures(argument, pictures, shape):
    """`pictures` as a finite float32 array (count, *shape), or None for None."""
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


def default_pictures(shape, calibration=None, count=4, seed=0):
    """Pictures to compare with: some of the calibration's, or seeded noise."""
    noise = np.random.default_rng(seed).standard_normal((count, *shape))
    noise = noise.astype("float32")
    # Noise lies outside the ranges that an integer file was calibrated for.
    return noise if calibration is None else calibration[:count]


def prove(ready, path, open_runner, operators, threads, **facts):
    """Runs what was made, compares it with `model`, and reports.

    Args:
        ready: the `Ready` that was converted.
        path: where it will be.
        open_runner: function of `logits` that opens a runner on what was made.
        operators: counts by name.
        threads: that the runner has.
        **facts: `format`, `quantize` and `size` of the report.

    Returns:
        An `ExportReport`.

    Raises:
        ExportError: it differs by more than its tolerance.
    """
    model, pictures = ready.model, ready.pictures
    reference, runner = KerasRunner(model), open_runner(logits=False)
    expected = [reference(picture[None]) for picture in pictures]
    expected_outputs = np.concatenate([outputs for outputs, _ in expected])
    found = run_in_batches(runner, pictures)
    outputs = logits = parity.compare(expected_outputs, found)
    tapped = open_runner(logits=True) if reference.has_logits else runner
    if tapped.has_logits:
        expected_logits = np.concatenate([logits for _, logits in expected])
        logits = parity.compare(expected_logits, run_in_batches(tapped, pictures))
    parity.check(prepare.output_name(model), facts["quantize"], outputs, logits)
    batch = np.resize(pictures, (runner.input_shape[0] or 1, *pictures.shape[1:]))
    return ExportReport(
        path=path,
        operators=operators,
        input_shape=runner.input_shape,
        outputs=outputs,
        logits=logits,
        compared=len(pictures),
        keras_latency=reference.latency(batch),
        latency=runner.latency(batch),
        threads=threads,
        **facts,
    )


def land(ready, path, content, open_runner, operators, threads, recipe, **facts):
    """Proves the bytes of a file, writes them and their passport.

    Args:
        ready: see `prove`, as `path`, `open_runner`, `operators` and `threads`.
        path: where the file appears, whole.
        content: its bytes.
        open_runner: of `content`.
        operators: counts by name.
        threads: that the runner has.
        recipe: options of the conversion, for the passport.
        **facts: `format` and `quantize` of the report.

    Returns:
        An `ExportReport`.
    """
    report = prove(
        ready, path, open_runner, operators, threads, size=len(content), **facts
    )
    with files.atomic_file(path) as temporary:
        temporary.write_bytes(content)
    certify(report, ready, recipe)
    return report


def certify(report, ready, recipe):
    """Writes the passport of what has landed; the calibration joins the recipe."""
    count = None if ready.calibration is None else len(ready.calibration)
    passport.write(report, ready.original, {**recipe, "calibration_pictures": count})


def check_place(path):
    """Raises `InvalidArgument` where an export to `path` cannot be made or certified."""
    check_backend()
    passport.check_place(path)


def run_in_batches(runner, pictures):
    """Outputs for `pictures`, filled up to whole batches where the file's is fixed."""
    batch = runner.input_shape[0] or len(pictures)
    missing = -len(pictures) % batch
    filled = np.concatenate([pictures, np.repeat(pictures[:1], missing, axis=0)])
    return runner(filled)[: len(pictures)]
