"""Quantization-aware training of a classifier, with distillation, as one function."""

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_range
from keras_resnets.export import recipes
from keras_resnets.export import signature
from keras_resnets.graph import provenance
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.datasets.split import Split
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.qat import aware
from keras_resnets.training import best_weights
from keras_resnets.training import channel_statistics
from keras_resnets.training import data as training_data
from keras_resnets.training import heads
from keras_resnets.training import session
from keras_resnets.training.compatibility import check_model
from keras_resnets.training.compatibility import preprocessing_for
from keras_resnets.training.recipes import get_recipe

# The batch size for reading images.
_BATCH = 100


def train_aware(
    model: keras.Model,
    data: Any,
    output: str | os.PathLike[str],
    quantization: str | recipes.Recipe | PrecisionPlan = "static_wi8_ai8",
    recipe: Any = "qat",
    *,
    calibration: int = 500,
    seed: int = 0,
    validation: float | None = None,
    **options: Any,
) -> tuple[keras.Model, session.Run]:
    """Fine-tunes `model` with the rounding of its integer file.

    The quantization-aware model is calibrated on training images and its biases are
    corrected, as in the file that `quantize` writes; it is then trained with the float
    model as the teacher. If images are held out, the calibrated model is returned
    instead where it is better on them by a paired test (McNemar's, at the recipe's
    `significance`), or where training is not better by that test and moved the outputs
    away from the float model's. A model has learned its training images, so that top-1
    on them says little.

    Args:
        model: a trained float classifier, see `quantize_aware`. It is not changed.
        data: a `Dataset` with its classes, or a source that `training.open_dataset`
            takes.
        output: folder of the run, see `training.train`.
        quantization: name of a trainable recipe in `quantization.RECIPES`, a `Recipe`,
            or a `PrecisionPlan`, see `quantize_aware`.
        recipe: the training recipe: a name in `training.list_recipes()`, or a training
            `Recipe`.
        calibration: number of training images for the initial ranges, >= 10.
        seed: seed of the calibration images and of the training.
        validation: share of the training images to hold out, see `open_dataset`.
        **options: arguments of `training.train`: `batch_size`, `resume`, `workers`, ...

    Returns:
        (quantization-aware model with the selected weights, `Run`).

    Raises:
        InvalidArgument: an argument is not allowed, or the data have other classes.
        TrainingError: see `training.train`.

    Example:
        >>> import keras_resnets
        >>> model = keras_resnets.create_model("resnet20", weights="cifar10")
        >>> aware, run = train_aware(model, "cifar10.npz", "run")  # doctest: +SKIP
    """
    check_range("calibration", calibration, 10, 10**9)
    check_model(model)
    preprocessing = preprocessing_for(model)
    if not isinstance(data, training_data.Dataset):
        data = training_data.open_dataset(
            data, validation, seed, channels=preprocessing.channels
        )
    channel_statistics.check(preprocessing, data)
    if provenance.of(model).labels and not heads.is_trained(model, data.classes):
        raise InvalidArgument(
            f"{model.name} was trained on other classes than those of {data.name}: train "
            "it on them first (keras-resnets train)"
        )
    images = calibration_images(
        data.train, preprocessing, calibration, seed, len(data.classes)
    )
    rounded = aware.quantize_aware(
        model, quantization, CalibrationSet(images, data.name), seed=seed
    )
    # Calibrated ranges have smaller errors than the batches' minima and maxima.
    aware.freeze_ranges(rounded)
    student = _with_logits(rounded)
    settings = get_recipe(recipe)
    temperature = settings.temperature or 1.0
    judge = _Judge(_with_logits(model), data, preprocessing, temperature)
    start, before = student.get_weights(), judge(student)
    run = session.train(
        student, data, recipe, output, seed=seed, teacher=model, **options
    )
    reason = reason_for_start(before, judge(student), settings.significance)
    if reason:
        student.set_weights(start)
        options.get("tell", warnings.warn)(
            f"training made {model.name} worse: {reason}; the calibrated network "
            "without training is kept"
        )
    provenance.inherit(rounded, student)
    return rounded, run


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a network says of the held-out images.

    Attributes:
        right: which it has right, as `best_weights.discordant` takes it.
        distance: mean Kullback-Leibler divergence from the float network's outputs, at
            the temperature of the training.
    """

    right: str
    distance: float


class _Judge:
    """Compares networks on the held-out images with the float network."""

    def __init__(
        self,
        teacher: keras.Model,
        data: training_data.Dataset,
        preprocessing: Preprocessing,
        temperature: float,
    ) -> None:
        self._temperature = temperature
        self._data, self._preprocessing = data, preprocessing
        self._expected = self._logits(teacher)

    def __call__(self, student: keras.Model) -> Answers:
        split = self._data.validation
        if split is None:
            return Answers("", 0.0)
        logits = self._logits(student)
        right = logits.argmax(axis=-1) == split.labels
        marks = np.where(right, best_weights.RIGHT, best_weights.WRONG).tolist()
        logs = _log_softmax(logits / self._temperature)
        expected = _log_softmax(self._expected / self._temperature)
        distances = (np.exp(expected) * (expected - logs)).sum(axis=-1)
        return Answers("".join(marks), float(distances.mean()))

    def _logits(self, network: keras.Model) -> np.ndarray:
        """float64 (images, classes); of a model without logits what it puts out."""
        split = self._data.validation
        if split is None:
            return np.zeros((0, len(self._data.classes)))
        batches = training_data.batches(
            split,
            self._preprocessing,
            _BATCH,
            classes=len(self._data.classes),
            training=False,
        )
        answers = [network.predict_on_batch(batch[0]) for batch in batches]
        return np.concatenate(answers).astype("float64")


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def reason_for_start(before: Answers, after: Answers, significance: float) -> str:
    """Returns why the network is kept as it was before training; empty where it is not.

    Args:
        before: the `Answers` before training.
        after: those after it.
        significance: of McNemar's test; 1 keeps what was trained.

    Example:
        >>> reason_for_start(Answers("110", 0.2), Answers("110", 0.1), 0.05)
        ''
    """
    wins, losses = best_weights.discordant(before.right, after.right)
    if best_weights.p_value(losses, wins) <= significance < 1:
        return (
            f"of the held-out images, {losses:,} became wrong and {wins:,} became right"
        )
    has_won = best_weights.p_value(wins, losses) <= significance
    if before.right and significance < 1 and not has_won:
        if after.distance > before.distance:
            return (
                "top-1 on held-out images did not improve by a paired test, and the "
                "divergence from the float network's outputs rose from "
                f"{before.distance:.2g} to {after.distance:.2g}"
            )
    return ""


def calibration_images(
    split: Split, preprocessing: Preprocessing, count: int, seed: int, classes: int
) -> np.ndarray:
    """Draws preprocessed images (count, height, width, channels) of a split by seed."""
    chosen = np.random.default_rng(seed).permutation(split.count)[:count]
    part = split.part(np.isin(np.arange(split.count), chosen))
    batches = training_data.batches(
        part, preprocessing, _BATCH, classes=classes, training=False
    )
    return np.concatenate([np.asarray(batch[0]) for batch in batches])


def _with_logits(rounded: keras.Model) -> keras.Model:
    """Returns the model without its softmax: a student is trained on the logits."""
    logits: Sequence[Any] | Any = signature.logits_of(rounded)
    if logits is None:
        return rounded
    student = keras.Model(rounded.inputs, logits, name=rounded.name)
    provenance.inherit(student, rounded)
    return student
