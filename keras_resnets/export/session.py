"""The first steps of every exporter: common checks, and the model to convert."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_type
from keras_resnets.export import landing
from keras_resnets.export import model_kinds
from keras_resnets.export import number_formats
from keras_resnets.export import passport
from keras_resnets.export import prepare
from keras_resnets.export import signature
from keras_resnets.export.landing import Destination
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.number_formats import NumberFormat
from keras_resnets.export.prepare import ExportOptions
from keras_resnets.export.prepare import Ready
from keras_resnets.graph import provenance
from keras_resnets.images import samples
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.system import progress

__all__ = [
    "Destination",
    "ExportReport",
    "Ready",
    "ExportOptions",
    "begin",
    "make_ready",
]


def check_backend() -> None:
    """Raises `InvalidArgument` unless Keras runs on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise InvalidArgument(
            "export requires the TensorFlow backend (KERAS_BACKEND=tensorflow); got "
            f"{keras.backend.backend()!r}"
        )


def begin(
    format_name: str,
    model: keras.Model,
    path: str | os.PathLike[str],
    options: ExportOptions,
    quantize: str = "none",
    calibration: Any = None,
    images: Any = None,
    **ranged: Any,
) -> tuple[Destination, Ready]:
    """Checks the common arguments of all exporters; see `to_tflite`.

    Args:
        format_name: key of `formats.FORMATS`.
        model: the model to export.
        path: the path to write.
        options: the options that do not depend on the format.
        quantize: key of `number_formats.NUMBER_FORMATS`.
        calibration: images for ranges, or None.
        images: images to compare on, or None.
        **ranged: the exporter's options about ranges, by name: a model that contains
            its ranges takes none of them.

    Returns:
        (the destination of the file, the model to convert).

    Raises:
        InvalidArgument: an argument that is not allowed; nothing was done.
    """
    place = landing.destination(format_name, path, quantize, options)
    kind = model_kinds.kind_of(model)
    if kind is None or format_name not in kind.converters:
        with progress.step(f"preparing {getattr(model, 'name', 'the model')}"):
            return place, make_ready(model, quantize, calibration, images, options)
    asked = {"calibration": calibration, "preprocessing": options.preprocessing}
    kind.check_asked(model, place.format, quantize, {**asked, **ranged})
    model, images = kind.at_rest(model, images, options.input_size)
    place = dataclasses.replace(place, numbers=kind.numbers)
    ready = make_ready(model, "none", None, images, options)
    return place, dataclasses.replace(ready, convert=kind.converters[format_name])


def make_ready(
    model: keras.Model,
    quantize: str = "none",
    calibration: Any = None,
    images: Any = None,
    options: ExportOptions | None = None,
) -> Ready:
    """Returns the model to convert, with images; see `begin` for the arguments.

    Raises:
        InvalidArgument: an argument that is not allowed.
    """
    check_backend()
    numbers = number_formats.find(quantize)
    options = options or ExportOptions()
    reference = prepare.inference_model(model, options.logits, options.features)
    prepare.check_finite(reference)
    shape = prepare.input_shape(reference, options.input_size)
    check_preprocessing(options.preprocessing, shape)
    dtype = reference.inputs[0].dtype
    # A model that takes uint8 itself is refused further down.
    ranges = numbers.name if numbers.calibrated and dtype != "uint8" else None
    explicit = images is not None
    recorded = provenance.of(model).preprocessing
    trained_on = provenance.known_preprocessing(model) or options.preprocessing
    calibration, images = samples.gather(
        shape,
        calibration,
        images,
        ranges,
        trained_on,
        reference,
        options.preprocessing or recorded,
    )
    ready = Ready(
        options=options,
        original=model,
        reference=reference,
        model=reference,
        shape=shape,
        input_dtype="float32",
        calibration=calibration,
        images=images,
        file_inputs=images,
    )
    if dtype != "float32":
        return _of_pixels(ready, numbers, options.preprocessing, explicit)
    if options.preprocessing is None:
        return ready
    return _behind_pixels(ready, numbers, options.preprocessing)


def _of_pixels(
    ready: Ready,
    numbers: NumberFormat,
    preprocessing: Preprocessing | None,
    explicit: bool,
) -> Ready:
    """Returns `ready` with pixels to compare on, for a model that takes uint8.

    Raises:
        InvalidArgument: the model takes another type, or does not allow the options.
    """
    model, dtype = ready.original, ready.reference.inputs[0].dtype
    if dtype != "uint8":
        raise InvalidArgument(
            f"export takes a model of float32 or uint8 images; {model.name} takes {dtype}: "
            "build it on a float32 keras.Input(shape), or for a float file use "
            f"keras.Model(image, model(keras.ops.cast(image, {dtype!r})))"
        )
    if numbers.calibrated or preprocessing is not None:
        what = "preprocessing" if preprocessing is not None else numbers.name
        refuse_pixels(model, what)
    pixels = ready.images
    if not explicit:
        pixels = samples.default_pixels(ready.shape, len(pixels))
    elif (pixels != np.clip(np.rint(pixels), 0, 255)).any():
        raise InvalidArgument(
            f"{model.name} takes uint8: images must be whole numbers from 0 to 255; "
            f"got {pixels.min():.3g} to {pixels.max():.3g}"
        )
    pixels = pixels.astype("uint8")
    return dataclasses.replace(
        ready, input_dtype=dtype, images=pixels, file_inputs=pixels
    )


def refuse_pixels(model: keras.Model, what: str) -> None:
    """Raises `InvalidArgument`: a model that takes uint8 does not allow `what`."""
    raise InvalidArgument(
        f"{what} requires a model that takes float32; {model.name} takes uint8: build "
        "it on keras.Input(..., dtype='float32')"
    )


def _behind_pixels(
    ready: Ready, numbers: NumberFormat, preprocessing: Preprocessing
) -> Ready:
    """Returns `ready` with the preprocessing in its model, and pixels as images."""
    # An integer file quantizes its input itself: with a scale of 1 that is the pixel.
    dtype = "float32" if numbers.integer else "uint8"
    pixels, calibration = preprocessing.pixels(ready.images), ready.calibration
    if calibration is not None:
        calibration = preprocessing.pixels(calibration).astype("float32")
        # The scale is 1 if the calibration ranges from black to white.
        calibration[0, 0, 0, :2] = (0, 255)
    return dataclasses.replace(
        ready,
        images=preprocessing.normalize(pixels, "channels_last"),
        file_inputs=pixels,
        calibration=calibration,
        model=signature.with_pixels(ready.reference, preprocessing, ready.shape, dtype),
        input_dtype=dtype,
    )


def check_preprocessing(preprocessing: Any, shape: Sequence[int]) -> None:
    """Raises `InvalidArgument` for preprocessing that a file cannot include."""
    if preprocessing is None:
        return
    rule = "a Preprocessing, such as model.preprocessing, or None"
    check_type("preprocessing", preprocessing, Preprocessing, rule)
    if shape[-1] != 3:
        raise InvalidArgument(
            "only a network of 3 channels can include its preprocessing; this one has "
            f"{shape[-1]}"
        )


def check_place(path: str | os.PathLike[str]) -> None:
    """Raises `InvalidArgument` if the file or its passport cannot be written."""
    check_backend()
    passport.check_place(path)
