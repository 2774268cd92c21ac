"""The tail of every exporter: run, compare, certify, move into place."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.errors import check_positive_int
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
from keras_resnets.export.prepare import Ready
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
        compared: number of images that both were run on.
        keras_latency, latency: median seconds for an image, the model's compiled by
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


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where a file is to appear, and what it is.

    Attributes:
        format: its row in `formats.FORMATS`.
        path: where it appears, whole.
        numbers: what it computes in.
        overwrite: whether something may be at `path`.
        threads: of its runtime; 0 where that has its own number.
        batch: images at a time, or `"dynamic"`.
    """

    format: formats.Format
    path: pathlib.Path
    numbers: number_formats.NumberFormat
    overwrite: bool = False
    threads: int = 2
    batch: int | str = 1

    @property
    def size(self) -> int | None:
        """Images at a time; None for an open number."""
        return None if isinstance(self.batch, str) else self.batch

    def landing(self) -> contextlib.AbstractContextManager[pathlib.Path]:
        """Yields what to write into; moved to `path` if all went well."""
        if self.format.folder:
            return files.atomic_folder(self.path, self.format.folder)
        return files.atomic_file(self.path)


def destination(
    format_name: str,
    path: str | os.PathLike[str],
    quantize: str = "none",
    overwrite: bool = False,
    threads: int = 2,
    batch: int | str = 1,
) -> Destination:
    """A `Destination`, checked before any work is done.

    Args:
        format_name: key of `formats.FORMATS`.
        path: to write.
        quantize: word of `number_formats.NUMBER_FORMATS`.
        overwrite: replace what is there.
        threads: of its runtime, >= 1.
        batch: images at a time, >= 1, or `"dynamic"`.

    Raises:
        InvalidArgument: an argument that is not allowed, or a place that cannot be
            written to.
    """
    form = formats.FORMATS[format_name]
    numbers = number_formats.find(quantize, form.numbers)
    check_positive_int("threads", threads)
    check_batch(batch)
    place: pathlib.Path = form.room.check_output(path, overwrite)
    threads = threads if form.has_threads else 0
    return Destination(form, place, numbers, overwrite, threads, batch)


def check_batch(batch: int | str) -> None:
    """Raises `InvalidArgument` unless it is a whole number >= 1 or `"dynamic"`."""
    if batch != "dynamic":
        check_positive_int("batch", batch)


def land(
    place: Destination,
    ready: Ready,
    write: Callable[[pathlib.Path], Contents | None],
    recipe: dict[str, Any],
    open_runner: Callable[[pathlib.Path, int, bool], Any] | None = None,
    prove_more: Callable[[pathlib.Path], None] | None = None,
) -> ExportReport:
    """Writes a file beside its place, proves it, and moves it there with its passport.

    Args:
        place: where the file appears.
        ready: what is converted.
        write: function of a path that converts and writes it there: what a converter
            leaves in memory goes when it returns. It returns what the file holds where
            that cannot be read in it.
        recipe: options of the conversion, for the passport.
        open_runner: function of a path, threads and `logits` that opens a runner on the
            file; None for the runner of its format.
        prove_more: function of the path that raises `ExportError` where something else
            of the file is wrong.

    Returns:
        An `ExportReport`.

    Raises:
        ExportError: it differs from its model by more than its numbers allow.
    """
    room = place.format.room
    opener = open_runner or room.Runner
    with passport.beside(place.path, place.overwrite, place.landing()) as (file, proof):
        contents = write(file) or room.read(file)
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
    """Runs what was made, compares it with its reference, and reports.

    Args:
        place: where it will be.
        ready: what was converted.
        open_file: function of `logits` that opens a runner on what was made.
        **facts: `size` and `operators` of the report.
    """
    reference = KerasRunner(ready.reference)
    expected, expected_logits = acceptance.run_one_by_one(reference, ready.images)
    keras_latency = reference.latency(ready.images[:1])
    known = reference.tapped
    probable = acceptance.probabilities(known, expected)
    del reference
    try:
        runner = open_file(False)
    except Exception as error:
        # Every runtime has errors of its own for a file that it cannot load.
        raise ExportError(
            f"the file of {ready.original.name} does not load in its runtime: "
            f"{first_line(error)}; nothing was written"
        ) from error
    found = runner(ready.given)
    outputs = parity.compare(expected, found)
    input_shape = runner.input_shape
    batch = (input_shape[0] or 1, *ready.given.shape[1:])
    latency = runner.latency(np.resize(ready.given, batch))
    # A runtime holds the weights twice; no more than one is open.
    del runner
    logits = None if probable else outputs
    if known and len(known) == len(probable):
        tapped = open_file(True)
        if len(tapped.tapped) == len(known):
            made = acceptance.shaped_as(expected_logits, tapped(ready.given))
            logits = parity.compare(expected_logits, made)
    acceptance.judge_by(place.numbers, expected, found, probable, logits)
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
    """Writes the passport; what was wanted and the calibration join the recipe."""
    count = None if ready.calibration is None else len(ready.calibration)
    recipe = {**recipe, **ready.wanted.recipe(), "calibration_images": count}
    kind = model_kinds.kind_of(ready.original)
    if kind:
        recipe["made_of"] = kind.name
    passport.write(proof, file, report, ready.original, recipe, contents)
