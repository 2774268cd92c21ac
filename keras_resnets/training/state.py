"""The complete state of a training, in one file that is written whole or not at all.

Keras' `BackupAndRestore` keeps weights and the number of the epoch. Resuming exactly in
the middle of an epoch takes more: the optimizer with its iterations, averages and loss
scale, the seeds of dropout, the metrics of the epoch so far, and the step, from which
`data.batches` derives every image and every random number.
"""

import dataclasses
import json
import math
import os
import pathlib
import typing

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.io import npz
from keras_resnets.io.untrusted import shown
from keras_resnets.training import best_weights
from keras_resnets.training.run_files import landing

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.io.npz import Npz


_PROGRESS = "notes"
_CONTENT = "of a training's state"


class DamagedState(TrainingError, InvalidArgument):
    """A state file that cannot be read."""


@dataclasses.dataclass
class Progress:
    """The progress of a training.

    Attributes:
        epoch: the current epoch, from 0.
        step: finished steps of the epoch.
        phase: index of the optimizer: a new one begins when a frozen body is unfrozen.
        history: a dict of figures for each finished epoch.
        best: the validation accuracy of the kept weights; None before the first.
        kept: the epoch of the kept weights, from 1; 0 before the first.
        right: the correctness of the kept weights of each stage of fine-tuning on the
            held-out images, see `best_weights`; strings by the stage's name.
        seconds: the time that the training has taken so far.
    """

    epoch: int = 0
    step: int = 0
    phase: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best: float | None = None
    kept: int = 0
    right: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


def _variables(
    model: "keras.Model", trainer: "keras.Model"
) -> "dict[str, list[keras.Variable]]":
    """Returns the variables of the network with its seeds, optimizer and metrics."""
    return {
        "model": list(model.variables),
        "optimizer": list(trainer.optimizer.variables),
        "metrics": list(trainer.metrics_variables),
    }


def save(
    path: pathlib.Path, model: "keras.Model", trainer: "keras.Model", progress: Progress
) -> None:
    """Writes the state of a training.

    Args:
        path: the file.
        model: the network.
        trainer: the compiled model: `model` itself, or a model around it.
        progress: the training's progress.

    Raises:
        TrainingError: a path that cannot be written to; the previous file is kept.
    """
    if hasattr(trainer, "jax_state_sync"):
        # Within an epoch the JAX trainer does not update the variables.
        trainer.jax_state_sync()
    arrays: dict[str, typing.Any] = {
        f"{group}/{index}": array_of(variable)
        for group, variables in _variables(model, trainer).items()
        for index, variable in enumerate(variables)
    }
    arrays[_PROGRESS] = np.array(json.dumps(dataclasses.asdict(progress)))
    with landing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def array_of(variable: "keras.Variable") -> np.ndarray:
    """Returns the values of a variable as a NumPy array."""
    from keras import ops

    # As a tensor first: a variable mirrored on several devices cannot be converted.
    values = ops.convert_to_numpy(ops.convert_to_tensor(variable))
    # NumPy's files do not support bfloat16.
    return values.astype("float32") if values.dtype.name == "bfloat16" else values


def read(path: pathlib.Path) -> tuple[Progress, dict[str, np.ndarray]]:
    """Reads (progress, arrays by name) from a state file.

    Raises:
        TrainingError: the file does not exist.
        DamagedState: the file is damaged.
    """
    if not os.path.lexists(path):
        raise TrainingError(f"there is no state {path} to resume from")
    try:
        with npz.opened(path, _CONTENT) as file:
            names = [name for name in file.names if name != _PROGRESS]
            return _progress(file), {name: file.read(name, "biuf") for name in names}
    except InvalidArgument as error:
        reason = first_line(error).partition(f"{_CONTENT}: ")[2]
        raise DamagedState(f"{printable(str(path))} is damaged: {reason}") from None


def _progress(file: "Npz") -> Progress:
    """Returns the `Progress` of a state.

    Raises:
        TypeError: a field is missing or unknown.
        ValueError: a value is not allowed.
    """
    fields = json.loads(str(file.read(_PROGRESS, "U")))
    # A field of earlier versions, which had another selection rule.
    fields.pop("untouched", None)
    progress = Progress(**fields)
    for name in ("epoch", "step", "phase", "kept"):
        value = getattr(progress, name)
        if type(value) is not int or not 0 <= value < 2**53:
            raise ValueError(f"{name} is {shown(value)}")
    for name in ("best", "seconds"):
        value = getattr(progress, name)
        may_miss = name == "best"
        if not (_is_number(value) or (may_miss and value is None)):
            raise ValueError(f"{name} is {shown(value)}")
    rows = progress.history
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise ValueError("its history must be a list of figures")
    if not isinstance(progress.right, dict) or not all(
        name in best_weights.STAGES and best_weights.is_correctness(text)
        for name, text in progress.right.items()
    ):
        raise ValueError("right must be a table of correct images")
    return progress


def _is_row(row: dict[str, float]) -> bool:
    return (
        isinstance(row, dict) and "epoch" in row and all(map(_is_number, row.values()))
    )


def _is_number(value: float) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**53)


def position(path: pathlib.Path) -> tuple[int, int] | None:
    """Returns (epoch from 0, finished steps) of a state file; None if there is none."""
    try:
        with npz.opened(path, _CONTENT) as file:
            progress = _progress(file)
    except InvalidArgument:
        return None
    return progress.epoch, progress.step


def restore(
    arrays: typing.Any,
    model: "keras.Model",
    trainer: "keras.Model",
    groups: tuple[str, ...] = ("model", "optimizer", "metrics"),
) -> None:
    """Sets the variables of a training from the result of `read`.

    Args:
        arrays: arrays of `read`.
        model: the network.
        trainer: the compiled model, see `save`; its variables exist.
        groups: the groups of variables to set.

    Raises:
        TrainingError: a state of another network or optimizer; nothing was set.
    """
    targets = {
        f"{group}/{index}": variable
        for group, variables in _variables(model, trainer).items()
        if group in groups
        for index, variable in enumerate(variables)
    }
    stored = {name for name in arrays if name.split("/")[0] in groups}
    shapes = [
        (math.prod(arrays[name].shape), math.prod(variable.shape))
        for name, variable in targets.items()
        if name in arrays
    ]
    if stored != set(targets) or any(have != want for have, want in shapes):
        raise TrainingError(
            f"the state must be of {model.name} and its optimizer, with {len(targets)} "
            f"arrays; got {len(stored)}"
        )
    for name, variable in targets.items():
        variable.assign(arrays[name].reshape(variable.shape))
