"""Quantization-aware training of a classifier, with distillation, as one function."""

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
from keras_resnets.training import data as training_data
from keras_resnets.training import heads
from keras_resnets.training import session
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
    model as the teacher. If images are held out and the calibrated model is better on
    them by a paired test (McNemar's, at the recipe's `significance`), it is returned
    instead.

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
    if not isinstance(data, training_data.Dataset):
        data = training_data.open_dataset(data, validation, seed)
    if provenance.of(model).labels and not heads.is_trained(model, data.classes):
        raise InvalidArgument(
            f"{model.name} was trained on other classes than those of {data.name}: train "
            "it on them first (keras-resnets train)"
        )
    preprocessing = preprocessing_for(model)
    images = calibration_images(
        data.train, preprocessing, calibration, seed, len(data.classes)
    )
    rounded = aware.quantize_aware(
        model, quantization, CalibrationSet(images, data.name), seed=seed
    )
    # Calibrated ranges have smaller errors than the batches' minima and maxima.
    aware.freeze_ranges(rounded)
    student = _with_logits(rounded)
    start, right = student.get_weights(), _right(student, data, preprocessing)
    run = session.train(
        student, data, recipe, output, seed=seed, teacher=model, **options
    )
    wins, losses = best_weights.discordant(right, _right(student, data, preprocessing))
    if best_weights.p_value(losses, wins) <= get_recipe(recipe).significance < 1:
        student.set_weights(start)
        options.get("tell", warnings.warn)(
            f"training made {model.name} worse: {losses:,} held-out images right before "
            f"it are wrong after it, {wins:,} the other way round; the network as it was "
            "quantized after training is kept"
        )
    provenance.inherit(rounded, student)
    return rounded, run


def _right(
    student: keras.Model, data: training_data.Dataset, preprocessing: Preprocessing
) -> str:
    """Returns which held-out images are correct, for `best_weights.discordant`."""
    split = data.validation
    if split is None:
        return ""
    classes = len(data.classes)
    batches = training_data.batches(
        split, preprocessing, _BATCH, classes=classes, training=False
    )
    answers = [student.predict_on_batch(batch[0]).argmax(axis=-1) for batch in batches]
    right = np.concatenate(answers) == split.labels
    return "".join(np.where(right, best_weights.RIGHT, best_weights.WRONG).tolist())


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
