"""A preset of KerasHub: a folder with a backbone, and its classifier beside it."""

import functools
import pathlib

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.checkpoint import Checkpoint
from keras_resnets.weights.readers.keras_file import read_keras

BACKBONE, TASK = PRESET = ("model.weights.h5", "task.weights.h5")


def is_preset(path: pathlib.Path) -> bool:
    """Whether `path` is a folder that `save_to_preset` of KerasHub may have written."""
    return path.is_dir() and any((path / name).is_file() for name in PRESET)


def read_preset(folder: pathlib.Path) -> Checkpoint:
    """Returns the `Checkpoint` of a preset's folder.

    KerasHub writes the classifier alone beside the backbone; until 2025 it wrote the
    whole network there.
    """
    files = [folder / name for name in PRESET if (folder / name).is_file()]
    parts = [read_keras(file) for file in files]
    if "conv2d" in parts[-1].kinds.values():
        return parts[-1]
    if "conv2d" not in parts[0].kinds.values():
        raise WeightsError(f"it has a {TASK} without a network, but no {BACKBONE}")
    return Checkpoint(
        folder,
        "keras3",
        {n: functools.partial(part.__getitem__, n) for part in parts for n in part},
        kinds={kind: name for part in parts for kind, name in part.kinds.items()},
    )
