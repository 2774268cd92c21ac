"""Runs a file in a runtime that some files crash, in a process of its own."""

import pathlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from keras_resnets.deploy.job import ExportedFile
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export.compare import isolated
from keras_resnets.system import child_process

# Time limits in seconds. ResNet-50 takes seconds per image in plain loops, as does a GPU
# that the CPU simulates.
_SECONDS, _OF_AN_IMAGE = 300, 60


def run(
    runtime: str,
    worker: ModuleType,
    exported: ExportedFile,
    inputs: np.ndarray,
    folder: pathlib.Path,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs a file on images; returns the answer of the worker.

    Args:
        runtime: name of the runtime, for messages.
        worker: module whose main program takes the file, `inputs.npy` and
            `outputs.npy`, which it writes.
        exported: the file.
        inputs: images (count, height, width, channels) in the type of the file's input.
        folder: folder of both arrays.
        environment: additional environment variables.

    Raises:
        ExportError: the worker crashed or took too long.
    """
    words = exported.path, folder / "inputs.npy", folder / "outputs.npy"
    np.save(words[1], inputs)
    try:
        with child_process.started(
            worker.__name__, *words, environment=environment
        ) as process:
            seconds = _SECONDS + _OF_AN_IMAGE * len(inputs)
            return isolated.answered(exported.path.name, process, seconds)
    except InvalidArgument as error:
        raise ExportError(f"{runtime}: {error}; nothing was written") from None
