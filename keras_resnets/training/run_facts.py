"""The facts of a run for `run.json`: what a resumed run is compared by, and versions."""

import collections
import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import re
import sys
import typing

import keras

from keras_resnets.graph import anatomy
from keras_resnets.graph import provenance
from keras_resnets.training import devices
from keras_resnets.version import __version__

if typing.TYPE_CHECKING:
    from keras_resnets.images.datasets.split import Dataset
    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.training.recipes import Recipe


_LIBRARIES = ("keras", "numpy", "tensorflow", "jax", "torch")
# Fields of a `Preprocessing` that are chosen; mean and deviation may be measured.
_CHOSEN = ("mode", "size", "crop_fraction", "letterbox", "interpolation")


def of(
    model: keras.Model,
    data: "Dataset",
    recipe: "Recipe",
    preprocessing: "Preprocessing",
    axes: typing.Any,
    batch_size: int,
    seed: int,
    command: str | None,
) -> dict[str, typing.Any]:
    """Returns the facts of a run for `run.json`.

    Args:
        model: the network.
        data: its data.
        recipe: its recipe.
        preprocessing: that of the training images.
        axes: changed axes of the architecture; None for those of `model`.
        batch_size: images per step.
        seed: the run's seed.
        command: the command line; None for that of the process.
    """
    policies = collections.Counter(
        layer.dtype_policy.name for layer in anatomy.all_layers(model)
    )
    installed = {name: _version(name) for name in _LIBRARIES}
    return {
        "status": "running",
        "command": command or " ".join(sys.argv),
        # Keras numbers unnamed models by the models made before in the process.
        "model": re.sub(r"^(functional|sequential)_\d+$", r"\1", model.name),
        "network": _digest(model),
        "parameters": model.count_params(),
        "axes": dict(provenance.of(model).axes if axes is None else axes),
        "preprocessing": {name: getattr(preprocessing, name) for name in _CHOSEN},
        "classes": [name for _, name in data.classes],
        "recipe": dataclasses.asdict(recipe),
        "batch_size": batch_size,
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "train": data.train.count,
            "validation": data.validation.count if data.validation else 0,
            "skipped": list(data.train.skipped),
        },
        "seed": seed,
        "precision": policies.most_common(1)[0][0],
        "backend": keras.backend.backend(),
        "devices": devices.listed(),
        "versions": {
            "keras_resnets": __version__,
            "python": platform.python_version(),
            **{name: version for name, version in installed.items() if version},
        },
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digest(model: keras.Model) -> str:
    """Returns a digest of a network that does not depend on the names of its layers."""
    outline: list[typing.Any] = [
        (type(layer).__name__, [list(weight.shape) for weight in layer.weights])
        for layer in model.layers
    ]
    frozen = anatomy.Flags(model).frozen
    if frozen:
        outline.append(("frozen", frozen))
    return hashlib.sha256(json.dumps(outline).encode()).hexdigest()[:16]
