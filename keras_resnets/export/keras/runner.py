"""Runs a Keras model."""

import os
import pathlib
import zipfile
from typing import Any

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_path
from keras_resnets.errors import printable
from keras_resnets.export import signature
from keras_resnets.export.keras import safe_loading
from keras_resnets.export.runner import check_inputs
from keras_resnets.export.runner import in_batches
from keras_resnets.export.runner import is_pixel
from keras_resnets.export.runner import median_seconds
from keras_resnets.export.runner import single
from keras_resnets.graph import binary
from keras_resnets.graph import provenance
from keras_resnets.images import labels
from keras_resnets.weights import metadata
from keras_resnets.weights.readers.checkpoint import damage_reported
from keras_resnets.weights.readers.hdf5 import SIGNATURE as HDF5
from keras_resnets.weights.readers.keras_zip import KerasZip

_LOGITS = "in front of the softmax of "


class KerasRunner:
    """A compiled Keras model; returns its outputs and, if it has them, its logits.

    Args:
        model: a `keras.Model` with one input.

    Attributes:
        tapped: names of the outputs of a softmax or sigmoid.
        has_logits: whether there are any.
    """

    def __init__(self, model: keras.Model) -> None:
        outputs = signature.outputs(model)
        logits = signature.logits_by_output(model)
        self.tapped = tuple(logits)
        self.has_logits = bool(logits)
        outputs |= {_LOGITS + name: tensor for name, tensor in logits.items()}
        self._model = keras.Model(model.inputs, outputs)

    def __call__(self, images: np.ndarray) -> Any:
        """Returns (outputs, logits) for a float32 batch.

        `logits` are the outputs with those of a softmax or sigmoid replaced by its input;
        None if there is neither.
        """
        outputs = self._model.predict_on_batch(images)
        logits = {name: outputs.pop(_LOGITS + name) for name in self.tapped}
        return single(outputs), single({**outputs, **logits}) if logits else None

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float:
        """Median seconds of one inference."""
        return median_seconds(lambda: self._model.predict_on_batch(image), runs, warmup)


class LoadedModelRunner:
    """A Keras model with the interface of the other runners.

    Args:
        model: a `keras.Model` with one input.
        logits: return the input of the final softmax instead of its output.
    """

    def __init__(self, model: keras.Model, logits: bool = False) -> None:
        check_inputs([tensor.shape for tensor in model.inputs])
        self._runner = KerasRunner(model)
        self.output_names = tuple(signature.outputs(model))
        self.tapped = self._runner.tapped if logits else ()
        self.has_logits = bool(self.tapped)
        self.input_shape = tuple(model.inputs[0].shape)
        self.takes_pixels = is_pixel(model.inputs[0].dtype)

    def __call__(self, images: np.ndarray) -> Any:
        """Returns float32 outputs for `images`."""
        return in_batches(self._run, images, self.input_shape[0])

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs, logits = self._runner(images)
        result = logits if self.has_logits else outputs
        return result if isinstance(result, dict) else {"": result}

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float:
        """Median seconds of one inference."""
        return self._runner.latency(image, runs, warmup)


class KerasFileRunner(LoadedModelRunner):
    """An untrusted `.keras` file.

    Args:
        path: the file.
        threads: not used: the backend sets them for the whole process.
        logits: see `LoadedModelRunner`.
    """

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 2, logits: bool = False
    ) -> None:
        super().__init__(load_keras(path), logits)


def load_keras(path: str | os.PathLike[str]) -> keras.Model:
    """Loads the model of an untrusted `.keras` file; nothing in the file is executed.

    Args:
        path: the file.

    Returns:
        A `keras.Model`, not compiled. It has the provenance of the model that this
        package wrote: `preprocessing`, `labels`, ... (see `create_model`).

    Raises:
        InvalidArgument: another kind of file, or an incomplete one.
        WeightsError: a model that must not be built, or whose weights do not fit.

    Example:
        >>> import keras_resnets, tempfile
        >>> from keras_resnets.export import load_keras, to_keras
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_keras(keras_resnets.ResNet8(), f"{folder}/resnet8.keras")
        ...     model = load_keras(report.path)
        >>> model.preprocessing.mode
        'raw'
    """
    path = check_path("path", path)
    if path.is_file() and _begins_as_hdf5(path):
        raise InvalidArgument(
            f"{printable(str(path))} is an HDF5 file, not a .keras file: load a model in "
            "it with keras.models.load_model and save it as .keras; weights alone are "
            "for create_model(NAME, weights=FILE)"
        )
    if not path.name.endswith(".keras"):
        raise InvalidArgument(
            f"{printable(str(path))}: Keras opens files whose names end in .keras, in "
            "small letters; rename it"
        )
    if not zipfile.is_zipfile(path):
        raise InvalidArgument(f"{path} is not a .keras file, or a part of one")
    model = safe_loading.load_model(path)
    with damage_reported(path):
        text = KerasZip(path).text(metadata.ENTRY)
    if text is not None:
        record = metadata.parsed(text, path)
        provenance.give(model, record)
        count = labels.count(record.labels or ())
        if len(model.outputs) != 1 or count != binary.classes(model):
            model.labels = None
    return model


def _begins_as_hdf5(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


def load_runtime() -> None:
    """Imports Keras, which this module has already done."""
