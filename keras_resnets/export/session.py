"""What every format shares: checks before, running and comparing after, the report."""

import dataclasses
import pathlib
import warnings

import keras
import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import first_line
from keras_resnets.export import acceptance
from keras_resnets.export import float16_range
from keras_resnets.export import model_kinds
from keras_resnets.export import number_formats
from keras_resnets.export import parity
from keras_resnets.export import passport
from keras_resnets.export import prepare
from keras_resnets.export import signature
from keras_resnets.export.compare import inspection
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.graph import provenance
from keras_resnets.images import calibration_checks
from keras_resnets.images import synthetic
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.io import files


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written, and what it was compared by.

    Attributes:
        path: the file, or the folder of a SavedModel.
        format: `"tflite"`, `"onnx"`, `"saved_model"` or `"keras"`.
        quantize: `"none"`, `"float16"`, ...: see the exporter.
        size: bytes.
        input_shape: of the file as (batch, height, width, channels), whatever order
            it has them in; None for an open batch.
        operators: counts by name.
        outputs: `parity.Parity` of its outputs with the model's; of several the worst.
        logits: the same in front of the softmax or sigmoid; of the outputs without
            one. None where that cannot be read in the file (a SavedModel).
        compared: number of pictures that both were run on.
        keras_latency, latency: median seconds for a picture, the model's compiled by
            Keras, one at a time, and the file's in its own runtime, a batch at a time.
        threads: threads that the runtime had; 0 where TensorFlow chose them.
    """

    path: pathlib.Path
    format: str
    quantize: str
    size: int
    input_shape: tuple
    takes_pixels: bool
    output: str
    operators: dict
    outputs: parity.Parity
    logits: parity.Parity | None
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
        reference: the same as float32, for inference, putting out what is wanted.
        model: what is converted: the reference, behind its pre-processing if asked.
        shape: (height, width, channels).
        input_dtype: that `model` takes.
        calibration: float32 inputs of `model`, or None where nothing is quantized.
        pictures: float32 inputs of `reference` to compare with.
        given: the same for the file.
    """

    original: keras.Model
    reference: keras.Model
    model: keras.Model
    shape: tuple
    input_dtype: str
    calibration: np.ndarray | None
    pictures: np.ndarray
    given: np.ndarray

    @property
    def takes_pixels(self):
        """Whether the pre-processing is part of `model`."""
        return self.model is not self.reference


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What of a model goes into the file, apart from its format.

    Attributes:
        input_size: (height, width) where the model leaves them open.
        preprocessing: a `Preprocessing` to put in front, so that RGB pixels go in.
        logits: without the softmax or sigmoid.
        features: names of endpoints to put out, or None.
    """

    input_size: tuple | None = None
    preprocessing: Preprocessing | None = None
    logits: bool = False
    features: tuple | None = None

    def recipe(self):
        """What a passport says of it."""
        return {
            "include_preprocessing": self.preprocessing is not None,
            "logits": self.logits,
            "features": self.features,
        }


def make_ready(model, quantize="none", calibration=None, pictures=None, wanted=None):
    """Checks the arguments that all formats share; see `to_tflite` for them.

    Args:
        model: to export.
        quantize: `"none"`, `"float16"`, ...
        calibration: pictures, or None.
        pictures: to compare with, or None.
        wanted: a `Wanted`; None for the model as it is.

    Returns:
        A `Ready`.

    Raises:
        InvalidArgument: an argument that is not allowed.
    """
    check_backend()
    numbers = number_formats.find(quantize)
    wanted = wanted or Wanted()
    reference = prepare.inference_model(model, wanted.logits, wanted.features)
    _check_finite(reference)
    shape = prepare.input_shape(reference, wanted.input_size)
    check_preprocessing(wanted.preprocessing, shape)
    if calibration is not None:
        calibration = calibration_checks.collect(calibration, shape)
    # What takes uint8 itself is refused further down.
    if numbers.calibrated and reference.inputs[0].dtype != "uint8":
        known = provenance.known_preprocessing(model) or wanted.preprocessing
        _check_calibration(quantize, calibration, shape, known, reference)
    calibration = check_pictures("calibration", calibration, shape)
    pictures = check_pictures("pictures", pictures, shape)
    explicit = pictures is not None
    if pictures is None:
        own = provenance.of(model).preprocessing
        pictures = default_pictures(shape, calibration, wanted.preprocessing or own)
    ready = Ready(
        original=model,
        reference=reference,
        model=reference,
        shape=shape,
        input_dtype="float32",
        calibration=calibration,
        pictures=pictures,
        given=pictures,
    )
    if reference.inputs[0].dtype != "float32":
        return _of_pixels(ready, numbers, wanted.preprocessing, explicit)
    if wanted.preprocessing is None:
        return ready
    return _behind_pixels(ready, numbers, wanted.preprocessing)


def _of_pixels(ready, numbers, preprocessing, explicit):
    """`ready` of a model that takes uint8 itself, and pixels to compare on.

    Raises:
        InvalidArgument: a model of other numbers, or one that cannot be had as asked.
    """
    model, dtype = ready.original, ready.reference.inputs[0].dtype
    if dtype != "uint8":
        raise InvalidArgument(
            f"export takes a model of float32 or uint8 images; {model.name} takes {dtype}"
        )
    if numbers.calibrated or preprocessing is not None:
        what = "preprocessing" if preprocessing is not None else numbers.name
        refuse_pixels(model, what)
    pixels = ready.pictures
    if not explicit:
        pixels = default_pixels(ready.shape, len(pixels))
    elif (pixels != np.clip(np.rint(pixels), 0, 255)).any():
        raise InvalidArgument(
            f"{model.name} takes uint8: pictures must be whole numbers from 0 to 255; "
            f"got {pixels.min():.3g} to {pixels.max():.3g}"
        )
    pixels = pixels.astype("uint8")
    return dataclasses.replace(ready, input_dtype=dtype, pictures=pixels, given=pixels)


def refuse_pixels(model, what):
    """Raises `InvalidArgument`: `what` cannot be had of a model that takes uint8."""
    raise InvalidArgument(
        f"{what} goes with a model of float32 images; {model.name} takes uint8: build "
        "it on keras.Input(..., dtype='float32')"
    )


def _check_calibration(quantize, calibration, shape, preprocessing, reference):
    if calibration is None:
        raise InvalidArgument(
            f"{quantize} takes its ranges from images: calibration must be an array "
            f"(count, {', '.join(map(str, shape))}); got None"
        )
    calibration_checks.check(calibration, shape, preprocessing, reference, fewest=1)
    few = calibration_checks.words_for_few(len(calibration))
    if few:
        warnings.warn(few, calibration_checks.FewImages, stacklevel=4)


def _behind_pixels(ready, numbers, preprocessing):
    """`ready` with its pre-processing in the model, and pixels for pictures."""
    # An integer file quantizes its input itself: with a scale of 1 that is the pixel.
    dtype = "float32" if numbers.integer else "uint8"
    pixels, calibration = preprocessing.pixels(ready.pictures), ready.calibration
    if calibration is not None:
        calibration = preprocessing.pixels(calibration).astype("float32")
        # The scale is 1 where the calibration reaches from black to white.
        calibration[0, 0, 0, :2] = (0, 255)
    return dataclasses.replace(
        ready,
        model=signature.with_pixels(ready.reference, preprocessing, ready.shape, dtype),
        input_dtype=dtype,
        calibration=calibration,
        pictures=preprocessing.normalize(pixels, "channels_last"),
        given=pixels,
    )


def check_preprocessing(preprocessing, shape):
    """Raises `InvalidArgument` for what cannot be put in front of a network."""
    if preprocessing is None:
        return
    if not isinstance(preprocessing, Preprocessing):
        raise InvalidArgument(
            "preprocessing must be a Preprocessing, such as model.preprocessing, or "
            f"None; got {preprocessing!r}"
        )
    if shape[-1] != 3:
        raise InvalidArgument(
            f"preprocessing is for networks of 3 channels; this one has {shape[-1]}"
        )


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


def default_pictures(shape, calibration=None, preprocessing=None, count=4, seed=0):
    """Inputs to compare with.

    Some of the calibration's; without one, synthetic images as the pre-processing gives
    them; noise where that is not known.
    """
    if calibration is not None:
        return calibration[:count]
    if preprocessing is None or shape[-1] != 3:
        rng = np.random.default_rng(seed)
        return rng.standard_normal((count, *shape)).astype("float32")
    return preprocessing.normalize(default_pixels(shape, count, seed), "channels_last")


def default_pixels(shape, count=4, seed=0):
    """uint8 images to compare with: synthetic ones, or noise of other channels."""
    if shape[-1] == 3:
        return synthetic.images(shape, count, seed)
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape)).astype("uint8")


def prove(ready, path, open_runner, **facts):
    """Runs what was made, compares it with its reference, and reports.

    Args:
        ready: the `Ready` that was converted.
        path: where it will be.
        open_runner: function of `logits` that opens a runner on what was made.
        **facts: `format`, `quantize`, `size`, `operators` and `threads` of the report.

    Returns:
        An `ExportReport`.

    Raises:
        ExportError: it differs by more than its tolerance.
    """
    reference = KerasRunner(ready.reference)
    expected, expected_logits = acceptance.run_one_by_one(reference, ready.pictures)
    keras_latency = reference.latency(ready.pictures[:1])
    known, probable = (
        reference.tapped,
        acceptance.probabilities(reference.tapped, expected),
    )
    del reference
    try:
        runner = open_runner(logits=False)
    except Exception as error:
        # Every runtime has errors of its own for a file that it cannot load.
        raise ExportError(
            f"the file of {ready.original.name} does not load in its runtime: "
            f"{first_line(error)}; nothing was written"
        ) from error
    found = runner(ready.given)
    outputs = parity.compare(expected, found)
    input_shape = runner.input_shape
    batch = (input_shape[0] or 1, *ready.shape)
    latency = runner.latency(np.resize(ready.given, batch))
    # A runtime holds the weights twice; no more than one is open.
    del runner
    logits = None if probable else outputs
    if known and len(known) == len(probable):
        tapped = open_runner(logits=True)
        if len(tapped.tapped) == len(known):
            made = acceptance.shaped_as(expected_logits, tapped(ready.given))
            logits = parity.compare(expected_logits, made)
    numbers = number_formats.find(facts["quantize"])
    acceptance.judge_by(numbers, expected, found, probable, logits)
    return ExportReport(
        path=path,
        input_shape=input_shape,
        takes_pixels=ready.takes_pixels,
        output=next(iter(signature.outputs(ready.reference))),
        outputs=outputs,
        logits=logits,
        compared=len(ready.pictures),
        keras_latency=keras_latency,
        latency=latency / batch[0],
        **facts,
    )


def land(ready, path, write, open_runner, overwrite, recipe, **facts):
    """Writes a file beside its place, proves it, and moves it there with its passport.

    Args:
        ready: the `Ready` to convert.
        path: where the file appears, whole.
        write: function of a path that converts and writes it there, and returns its
            operators: what a converter leaves in memory goes when it returns.
        open_runner: function of a path and `logits` that opens a runner on it.
        overwrite: whether something may be at `path`.
        recipe: options of the conversion, for the passport.
        **facts: `format`, `quantize` and `threads` of the report.

    Returns:
        An `ExportReport`.
    """
    with passport.beside(path, overwrite, files.atomic_file) as (temporary, place):
        operators = write(temporary)
        if (facts["format"], facts["quantize"]) == ("tflite", "float16"):
            given = float16_range.images(ready)
            largest = float16_range.of_tflite(temporary, given)
            float16_range.check(largest, ready.original.name, len(given))
        report = prove(
            ready,
            path,
            lambda logits: open_runner(temporary, logits),
            size=temporary.stat().st_size,
            operators=operators,
            **facts,
        )
        certify(place, temporary, report, ready, recipe)
    return report


def certify(place, file, report, ready, recipe):
    """Writes the passport; the calibration joins the recipe."""
    count = None if ready.calibration is None else len(ready.calibration)
    recipe = {**recipe, "calibration_pictures": count}
    kind = model_kinds.kind_of(ready.original)
    if kind:
        recipe["made_of"] = kind.name
    ports = inspection.ports(report.format, file, ready.model)
    passport.write(place, file, report, ready.original, recipe, ports)


def check_batch(batch):
    """Raises `InvalidArgument` unless it is a whole number >= 1 or `"dynamic"`."""
    if batch != "dynamic":
        check_positive_int("batch", batch)


def check_place(path):
    """Raises `InvalidArgument` where an export to `path` cannot be made or certified."""
    check_backend()
    passport.check_place(path)
