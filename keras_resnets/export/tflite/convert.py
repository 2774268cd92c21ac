"""Converts a Keras model to a TFLite file, runs it and compares it."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnets import renamed
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import NotWritten
from keras_resnets.export import float16_range
from keras_resnets.export import landing
from keras_resnets.export import model_kinds
from keras_resnets.export import number_formats
from keras_resnets.export import recipes
from keras_resnets.export import session
from keras_resnets.export import signature
from keras_resnets.export.formats import FORMATS
from keras_resnets.export.landing import Destination
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.prepare import Ready
from keras_resnets.export.tflite import depthwise
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import large_weights
from keras_resnets.export.tflite import packing
from keras_resnets.export.tflite import photos
from keras_resnets.export.tflite import refusal
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite import sparse as sparse_kernels
from keras_resnets.export.tflite import storage as storages
from keras_resnets.export.tflite import strided
from keras_resnets.export.tflite import versions
from keras_resnets.export.tflite.file_options import FileOptions
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.io import files
from keras_resnets.system import progress

IO_DTYPES = number_formats.IO_DTYPES
# Operators that a LiteRT runtime without TensorFlow cannot run, or that show that a
# convolution or a variable was not converted as it should be.
FORBIDDEN = (
    "SPACE_TO_BATCH_ND",
    "BATCH_TO_SPACE_ND",
    "VAR_HANDLE",
    "CALL",
    "CALL_ONCE",
)


@renamed.arguments(pictures="images", quantize="recipe")
def to_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    recipe: Any = number_formats.FLOAT32,
    calibration: Any = None,
    images: Any = None,
    input_size: tuple[int, int] | None = None,
    io_dtype: str = "int8",
    overwrite: bool = False,
    threads: int = 2,
    *,
    per_tensor: bool = False,
    packed: bool = True,
    batch: int | str = 1,
    preprocessing: Preprocessing | None = None,
    logits: bool = False,
    features: Sequence[str] | None = None,
    storage: str | None = None,
    prefer: str | None = None,
    int4: bool | None = None,
    pooled_strides: bool = False,
    sparse: bool = False,
    source: tuple[int, int] | None = None,
    metadata: bool = False,
) -> ExportReport:
    """Writes `model` as a TFLite file, which is run and compared with the model.

    Args:
        model: a built `keras.Model` with one image input, under any dtype policy. A
            quantization-aware one becomes the int8 file that it simulates, with its own
            ranges.
        path: file to write, ending in `.tflite`.
        recipe: `"float32"`, or what `keras_resnets.quantization.quantize` takes, which
            then makes the file as it does by default: `"float16"` (weights; half the
            size), `"dynamic_wi8"` (int8 weights, float activations),
            `"static_wi8_ai8"` (all integer), `"static_wi8_ai16"` (int16 activations,
            int8 weights; input and output float32), ... The values of `quantize`, the
            old name of this argument, work with a warning.
        calibration: float32 images (count, height, width, channels), at least ten,
            preprocessed as for training; or a `tf.data.Dataset` or generator, whose
            first 500 images are used; or a `CalibrationSet`. The static recipes compute
            activation ranges from them.
        images: images of the same kind, to compare on; by default four of
            `calibration`, or four synthetic ones, preprocessed for the network.
        input_size: (height, width) for a model that leaves them open.
        io_dtype: of the input and output of an int8 file: `"int8"`, `"uint8"` or
            `"float32"`.
        overwrite: replace an existing file.
        threads: of the LiteRT interpreter for the comparison and the latency.
        per_tensor: the old name of the recipes that end in `_per_tensor`.
        packed: rearrange int8 convolutions of few channels for kernels that compute many
            channels at a time, see `packing`: the same results, faster in LiteRT,
            slower on microcontrollers.
        batch: images per batch, fixed in the file; or `"dynamic"`, which an
            application sets by resizing the input.
        preprocessing: a `Preprocessing`, such as `model.preprocessing`, to include in
            the file, which then takes RGB pixels of the network's size as uint8
            (with int16 activations as float32).
        logits: leave out the softmax or sigmoid.
        features: names of endpoints to output.
        storage: storage of 4-bit weights: `"fully_connected"` (the default:
            FULLY_CONNECTED with int4 weights if XNNPACK computes it about as fast as
            int8, see `fully_connected`), `"conv_int4"` (CONV_2D with int4 weights, for
            microcontrollers: XNNPACK does not support it) or `"int8"`.
        prefer: for `"fully_connected"`: `"latency"` (the default: at most 5 % above that
            of the int8 file) or `"size"` (the smallest file).
        int4: the old name of `storage`; True is `"conv_int4"`.
        pooled_strides: write strided 1x1 convolutions of int8 weights as a max pool and
            a convolution of stride 1; without this LiteRT's GPU accelerator computes
            wrong results.
        sparse: store kernels with many zeros, as pruning makes them, without the zeros,
            see `sparse`; for float32 and int8 files.
        source: (height, width) of the photos that the file takes as uint8: resize and
            centre crop, equal to Pillow's, precede `preprocessing`.
        metadata: add TFLite metadata and class names, for MediaPipe; with preprocessing.

    Returns:
        An `ExportReport`.

    Raises:
        InvalidArgument: an argument is not allowed; nothing was done.
        ExportError: the file has operators that it should not have, or differs from the
            model by more than its `NumberFormat` allows. No file is left.

    Example:
        >>> import keras_resnets, tempfile
        >>> model = keras_resnets.create_model("resnet8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(model, f"{folder}/resnet8.tflite")
        >>> report.operators["CONV_2D"]
        9
    """
    if isinstance(recipe, str):
        allowed = FORMATS["tflite"].recipes
        recipe = number_formats.current_recipe(recipe, allowed, per_tensor, 4)
    options = session.ExportOptions(
        input_size,
        preprocessing,
        logits,
        features,
        source,
        metadata,
        batch,
        overwrite,
        threads,
    )
    words: dict[str, Any] = {"storage": storage, "prefer": prefer, "int4": int4}
    file: dict[str, Any] = {"io_dtype": io_dtype, "packed": packed, "sparse": sparse}
    file["pooled_strides"] = pooled_strides
    if model_kinds.kind_of(model) is None and recipe != number_formats.FLOAT32:
        quantize = model_kinds.quantizer()
        return quantize(model, path, recipe, calibration, images, options, words | file)
    chosen = FileOptions(storage=storages.choose(**words), **file)
    place, ready = session.begin(
        "tflite",
        model,
        path,
        options,
        recipes.format_of(recipe).name,
        calibration,
        images,
        per_tensor=per_tensor,
    )
    chosen.storage.check_numbers(place.numbers)
    sparse_kernels.check(sparse, place.numbers)
    facts = {}
    if ready.convert is not None:
        facts = {"recipe": "quantization-aware", "engine": "quantize_aware"}
    return land(place, ready, lambda: _content(ready, chosen), facts, chosen)


def _content(ready: Ready, options: FileOptions) -> Any:
    """Returns the bytes of a float model's file, or of a quantization-aware one's."""
    if ready.convert is None:
        return convert(ready)
    return ready.convert(ready, options.io_dtype)


def land(
    place: Destination,
    ready: Ready,
    make: Callable[[], Any],
    recipe: dict[str, Any],
    options: FileOptions,
    integer: bool | None = None,
) -> ExportReport:
    """Writes a TFLite file, compares it with the model and moves it to its place.

    Args:
        place: a `landing.Destination`.
        ready: a `prepare.Ready`.
        make: function that returns the bytes.
        recipe: options of the conversion, for the passport.
        options: how the file is written.
        integer: whether no operator may compute in float; None: by the number format.

    Returns:
        An `ExportReport`.

    Raises:
        ExportError: the file has operators that it should not have, or differs from the
            model; no file is left.
    """
    numbers = place.numbers
    integer = numbers.integer if integer is None else integer
    how = dataclasses.replace(
        options,
        packed=options.packed and numbers.name == "int8",
        # Looking for 4-bit weights takes a copy of the file in memory.
        storage=options.storage if numbers.calibrated else storages.AS_INT8,
    )
    photos.check(ready.options, ready.shape)
    compared = photos.behind_photos(ready)

    def write(file: pathlib.Path) -> None:
        content = make()
        # An engine may add to it while it makes the bytes.
        facts.update(recipe)
        if how.pooled_strides:
            content = strided.rewrite(content)
        layers = write_checked(content, file, how, integer)
        if layers:
            # `landing.land` reads the facts after `write`.
            facts["storage"] = how.storage.record(layers)
        if numbers.name == "int8":
            with tflite_runner.opened(file) as opened:
                operators = tflite_runner.operators(opened)
            refusal.warn_of_interpreter(operators)
            # Such as a BN that was not folded.
            if "DEPTHWISE_CONV_2D" in operators:
                facts["depthwise"] = True
        if numbers.name == "float16":
            inputs = float16_range.inputs_of(ready)
            largest = float16_range.of_tflite(file, inputs)
            float16_range.refuse_above(largest, ready.original.name, len(inputs))
        photos.finish(file, ready)

    facts = {**recipe, "batch": ready.options.batch, **how.record(numbers)}
    place = place.with_threads(how.storage.threads(place.threads))
    return landing.land(place, compared, write, facts)


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> pathlib.Path:
    """Returns the path to write to; see `files.check_destination`."""
    session.check_place(path)
    return files.check_destination(path, ".tflite", overwrite)


def write_checked(
    content: Any, file: pathlib.Path, options: FileOptions, integer: bool
) -> dict[str, str]:
    """Stores weights as the options say, checks the operators, and writes the file.

    Args:
        content: bytes of the file.
        file: path to write.
        options: how it is written.
        integer: whether no operator may compute in floating point.

    Returns:
        Layer name -> how its 4-bit weights are stored.

    Raises:
        ExportError: an operator is not allowed.
    """
    content, layers = options.storage.store(content)
    if options.packed:
        content = packing.pack(content)
    if options.sparse:
        content = sparse_kernels.store(content)
    check_operators(tflite_runner.operators(content))
    if integer:
        check_integer(content)
    file.write_bytes(content)
    versions.stamp(file)
    return layers


def convert(
    ready: Ready,
    quantize: str = "none",
    io_dtype: str = "int8",
    per_tensor: bool = False,
) -> Any:
    """Returns the TFLite file of a `session.Ready`, as bytes or a view of them.

    Nothing is checked; `to_tflite` does that. An integer format without
    `ready.calibration` is for models with fake quantization, which have ranges.

    Raises:
        ExportError: TFLite's own operators cannot express the network.
    """
    import tensorflow as tf

    size = ready.options.batch_size
    calibrated = number_formats.find(quantize).calibrated
    # To quantize weights the converter needs them as constants.
    kernels = large_weights.kernels_of(ready.model) if quantize == "none" else {}
    try:
        with files.scratch_folder() as folder:
            large_weights.write(
                ready.model, kernels, folder, (size, *ready.shape), ready.input_dtype
            )
            converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
            _configure(converter, tf, quantize, io_dtype)
            if quantize == "int8" and ready.takes_pixels:
                converter.inference_input_type = tf.uint8
            if calibrated and ready.calibration is None:
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            elif calibrated:
                refusal.refuse_loops(folder, ready, quantize)
                converter.representative_dataset = _representative(
                    ready.calibration, size or 1
                )
            # The converter has no public option for one scale per kernel.
            converter._experimental_disable_per_channel = per_tensor
            with progress.step("converting by TensorFlow's converter"):
                content = converter.convert()
    except (NotWritten, InvalidArgument):
        raise
    except Exception as error:
        # Includes a full disk, for which TensorFlow has errors of its own.
        raise ExportError(
            f"TensorFlow's converter refused {ready.original.name}: "
            f"{refusal.reason(error, ready.model)}; nothing was written"
        ) from error
    if quantize == "dynamic":
        content = versions.lowered(content)
    if quantize == "int8" and ready.calibration is not None and not per_tensor:
        # With one scale per kernel, MUL's constant would be the finer one.
        content = depthwise.rewrite(content) or content
    names = list(signature.outputs(ready.model))
    if kernels:
        return large_weights.filled(content, kernels, names)
    return file_editor.with_named_ends(content, names)


def _configure(converter: Any, tf: Any, quantize: str, io_dtype: str) -> None:
    # No TensorFlow operators: a network that needs them is an error.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    # Adding its metadata takes two more copies of the file in memory.
    converter.exclude_conversion_metadata = True
    if quantize == "none":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif quantize == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
    elif quantize == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.dtypes.as_dtype(io_dtype)
        converter.inference_output_type = tf.dtypes.as_dtype(io_dtype)


def _representative(calibration: Any, batch: int) -> Callable[[], Any]:
    def images() -> Iterator[list[np.ndarray]]:
        for start in range(0, len(calibration), batch):
            # The last batch repeats its own images.
            chunk = calibration[start : start + batch]
            yield [np.resize(chunk, (batch, *chunk.shape[1:]))]

    return images


def check_integer(content: Any) -> None:
    """Raises `ExportError` if an integer file computes in floating point."""
    floats = tflite_runner.float_operators(content)
    if floats:
        raise ExportError(
            "an integer file must not compute in float; these operators do, since "
            f"TensorFlow's converter has no integers for them: {', '.join(floats)}; "
            "replace their layers, or export int8 ONNX; nothing was written"
        )


def check_operators(counts: Iterable[str]) -> None:
    """Raises `ExportError` if a file has operators that it should not have."""
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
