"""Runs exported files in their own runtimes.

Every runner takes any number of float32 images (count, height, width, channels),
whatever type and batch its file takes, and returns float32 outputs: an array, or a dict
where there are several. It has `input_shape` as (batch, height, width, channels), None
for a batch that is open, `output_names`, `tapped` (the names of the outputs for which
it puts out what the final softmax or sigmoid gets, asked for by `logits=True`),
`has_logits` (whether there are any), `takes_pixels` (whether the images are uint8 pixel
values) and `latency`.
"""

import os
import pathlib

from keras_resnets.export import formats
from keras_resnets.export.runner import Told
from keras_resnets.export.runner import told


def open_runner(
    path: str | os.PathLike[str], threads: int = 2, logits: bool = False
) -> Told:
    """The runner of an exported file, in this process.

    What a file says of itself is checked before its runtime sees it. A runtime may
    crash or never end all the same: `isolated.open_apart` runs what strangers made.

    Args:
        path: a `.tflite`, `.onnx` or `.keras` file, or the folder of a SavedModel.
        threads: of the runtime, >= 1.
        logits: see this module.

    Raises:
        InvalidArgument: a file that is missing or damaged, is none of these, or does
            more than compute.
    """
    path = pathlib.Path(path)
    room = formats.format_of(path).room
    room.check(path)
    with told(path, "cannot be run"):
        return Told(room.Runner(path, threads, logits), path)
