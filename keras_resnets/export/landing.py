"""The last steps of every exporter: run, compare, write the passport, move into place."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.errors import first_line
from keras_resnets.export import acceptance
from keras_resnets.export import formats
from keras_resnets.export import model_kinds
from keras_resnets.export import number_formats
from keras_resnets.export import parity
from keras_resnets.export import passport
from keras_resnets.export import signature
from keras_resnets.export.contents import Contents
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.export.prepare import ExportOptions
from keras_resnets.export.prepare import Ready
from keras_resnets.graph.binary import is_binary
from keras_resnets.graph.outputs import is_multi_label
from keras_resnets.images.multi_label import THRESHOLD
from keras_resnets.io import files
from keras_resnets.system import progress


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """A written file, and the results of its comparison.

    Attributes:
        path: the file, or the folder of a SavedModel.
        format: `"tflite"`, `"onnx"`, `"saved_model"` or `"keras"`.
        quantize: `"none"`, `"float16"`, ...: see the exporter.
        size: bytes.
        input_shape: input shape of the file as (batch, height, width, channels),
            whatever its order; None for an open batch.
        operators: counts by name.
        outputs: `parity.Parity` of its outputs with the model's; the worst of several.
        logits: the same for the inputs of the softmax or sigmoid, or for the outputs
            without one. None if the file does not give them (a SavedModel).
        compared: number of images that both were run on.
        keras_latency, latency: median seconds per image: the model's compiled by Keras,
            image by image, and the file's in its own runtime, batch by batch.
        threads: threads of the runtime; 0 if TensorFlow chose them.
    """

    path: pathlib.Path
    format: str
    quantize: str
    size: int
    input_shape: tuple[int | None, ...]
    takes_pixels: bool
    output: str
    operators: dict[str, int]
    outputs: parity.Parity
    logits: parity.Parity | None
    compared: int
    keras_latency: float
    latency: float
    threads: int


@dataclasses.dataclass(frozen=True)
class Destination:
    """The destination and the format of a file.

    Attributes:
        format: its row in `formats.FORMATS`.
        path: its final path.
        numbers: its number format.
        overwrite: whether `path` may exist.
        threads: threads of its runtime; 0 if the runtime chooses them.
    """

    format: formats.Format
    path: pathlib.Path
    numbers: number_formats.NumberFormat
    overwrite: bool
    threads: int

    def with_threads(self, threads: int) -> "Destination":
        """Returns this destination with other threads of the runtime."""
        return dataclasses.replace(self, threads=threads)

    def landing(self) -> contextlib.AbstractContextManager[pathlib.Path]:
        """Yields a temporary path; moves it to `path` on success."""
        if self.format.folder:
            return files.atomic_folder(self.path, self.format.folder)
        return files.atomic_file(self.path)


def destination(
    format_name: str,
    path: str | os.PathLike[str],
    quantize: str,
    options: ExportOptions,
) -> Destination:
    """Returns a `Destination`, checked before any work is done.

    Args:
        format_name: key of `formats.FORMATS`.
        path: the path to write.
        quantize: key of `number_formats.NUMBER_FORMATS`.
        options: the options of the export.

    Raises:
        InvalidArgument: an argument that is not allowed, or a path that cannot be
            written to.
    """
    form = formats.FORMATS[format_name]
    numbers = number_formats.find(quantize, form.numbers)
    place: pathlib.Path = form.room.check_output(path, options.overwrite)
    threads = options.threads if form.has_threads else 0
    return Destination(form, place, numbers, options.overwrite, threads)


def land(
    place: Destination,
    ready: Ready,
    write: Callable[[pathlib.Path], Contents | None],
    recipe: dict[str, Any],
    open_runner: Callable[[pathlib.Path, int, bool], Any] | None = None,
    prove_more: Callable[[pathlib.Path], None] | None = None,
) -> ExportReport:
    """Writes a temporary file, compares it, and moves it to its path with its passport.

    Args:
        place: the destination.
        ready: the model to convert.
        write: function of a path that converts and writes the file; a converter's
            memory is freed when it returns. It returns the contents of the file if they
            cannot be read from it.
        recipe: options of the conversion, for the passport.
        open_runner: function of a path, threads and `logits` that opens a runner on the
            file; None for the runner of its format.
        prove_more: function of the path that raises `ExportError` if a further check of
            the file fails.

    Returns:
        An `ExportReport`.

    Raises:
        ExportError: it differs from its model by more than its number format allows.
    """
    room = place.format.room
    opener = open_runner or room.Runner
    with passport.beside(place.path, place.overwrite, place.landing()) as (file, proof):
        with progress.step(f"making {place.path.name}"):
            contents = write(file) or room.read(file)
        with progress.step(f"comparing {place.path.name} with Keras"):
            report = _prove(
                place,
                ready,
                lambda logits: opener(file, max(place.threads, 1), logits),
                size=files.size(file),
                operators=contents.operators,
            )
        if prove_more is not None:
            prove_more(file)
        _certify(proof, file, report, ready, recipe, contents)
    return report


def _prove(
    place: Destination,
    ready: Ready,
    open_file: Callable[[bool], Any],
    **facts: Any,
) -> ExportReport:
    """Runs the new file, compares it with its reference, and reports.

    Args:
        place: the destination.
        ready: the converted model.
        open_file: function of `logits` that opens a runner on the file.
        **facts: `size` and `operators` of the report.
    """
    reference = KerasRunner(ready.reference)
    expected, expected_logits = acceptance.run_one_by_one(reference, ready.images)
    keras_latency = reference.latency(ready.images[:1])
    tapped_names = reference.tapped
    probable = acceptance.probabilities(tapped_names, expected)
    del reference
    try:
        runner = open_file(False)
    except Exception as error:
        # Every runtime raises its own errors for a file that it cannot load.
        raise ExportError(
            f"the file of {ready.original.name} cannot be loaded in its runtime: "
            f"{first_line(error)}; nothing was written"
        ) from error
    actual = runner(ready.file_inputs)
    has_cut = is_multi_label(ready.original) or is_binary(ready.original)
    threshold = (THRESHOLD if probable else 0.0) if has_cut else None
    outputs = parity.compare(expected, actual, threshold)
    input_shape = runner.input_shape
    batch = (input_shape[0] or 1, *ready.file_inputs.shape[1:])
    latency = runner.latency(np.resize(ready.file_inputs, batch))
    # A runtime holds the weights twice, so only one is open at a time.
    del runner
    logits = None if probable else outputs
    if tapped_names and len(tapped_names) == len(probable):
        tapped = open_file(True)
        if len(tapped.tapped) == len(tapped_names):
            actual_logits = acceptance.shaped_as(
                expected_logits, tapped(ready.file_inputs)
            )
            cut = 0.0 if has_cut else None
            logits = parity.compare(expected_logits, actual_logits, cut)
    largest_logit = parity.largest(expected_logits, tapped_names)
    acceptance.judge_by(
        place.numbers, expected, actual, probable, logits, largest_logit
    )
    return ExportReport(
        path=place.path,
        format=place.format.name,
        quantize=place.numbers.name,
        input_shape=input_shape,
        takes_pixels=ready.takes_pixels,
        output=next(iter(signature.outputs(ready.reference))),
        outputs=outputs,
        logits=logits,
        compared=len(ready.images),
        keras_latency=keras_latency,
        latency=latency / batch[0],
        threads=place.threads,
        **facts,
    )


def _certify(
    proof: pathlib.Path,
    file: pathlib.Path,
    report: ExportReport,
    ready: Ready,
    recipe: dict[str, Any],
    contents: Contents,
) -> None:
    """Writes the passport; the selection and the calibration are added to the recipe."""
    count = None if ready.calibration is None else len(ready.calibration)
    recipe = {**recipe, **ready.options.recipe(), "calibration_images": count}
    kind = model_kinds.kind_of(ready.original)
    if kind:
        recipe["made_of"] = kind.name
    passport.write(proof, file, report, ready.original, recipe, contents)
