"""Runs exported files in their own runtimes.

Every runner takes any number of float32 images (count, height, width, channels),
whatever type and batch its file takes, and returns float32 outputs: an array, or a dict
if there are several. It has `input_shape` as (batch, height, width, channels), None
for an open batch, `output_names`, `tapped` (the names of the outputs that `logits=True`
replaces by the input of their final softmax or sigmoid), `has_logits` (whether there are
any), `takes_pixels` (whether the images are uint8 pixel values) and `latency`.
"""

import os

from keras_resnets.errors import check_path
from keras_resnets.errors import check_positive_int
from keras_resnets.export import formats
from keras_resnets.export.runner import ReportingRunner
from keras_resnets.export.runner import errors_reported
from keras_resnets.export.tflite import contents


def steady_threads(path: str | os.PathLike[str], threads: int = 2) -> int:
    """Returns the threads for work in which only the outputs of a file matter.

    LiteRT has no XNNPACK kernel for convolutions with weights of 4 or 2 bits. Its own
    waits for its threads again and again, up to 200 ms an image on a busy machine, so
    that such a file gets one thread.

    Args:
        path: the exported file.
        threads: threads for any other file, >= 1.

    Raises:
        InvalidArgument: see `open_runner`.
    """
    form = formats.format_of(path)
    if form.name != "tflite":
        return threads
    with errors_reported(path, "cannot be read"):
        return 1 if contents.has_narrow_convolutions(path) else threads


def open_runner(
    path: str | os.PathLike[str], threads: int = 2, logits: bool = False
) -> ReportingRunner:
    """Opens the runner of an exported file, in this process.

    The claims of a file are checked before its runtime opens it. The runtime may still
    crash or never end: use `isolated.open_apart` for untrusted files.

    Args:
        path: a `.tflite`, `.onnx` or `.keras` file, or the folder of a SavedModel.
        threads: threads of the runtime, >= 1.
        logits: see this module.

    Raises:
        InvalidArgument: a file that is missing, damaged or of another format, or that
            does more than compute.
    """
    path = check_path("path", path)
    check_positive_int("threads", threads)
    room = formats.format_of(path).room
    room.check(path)
    with errors_reported(path, "cannot be run"):
        return ReportingRunner(room.Runner(path, threads, logits), path)
