"""What a training is: its model, data and options, and the phases of its epochs."""

import collections.abc
import dataclasses
import typing
import warnings

import keras
import numpy as np

from keras_resnets.graph import anatomy
from keras_resnets.graph.provenance import Provenance
from keras_resnets.images.datasets.split import Dataset
from keras_resnets.images.datasets.split import Split
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training import devices
from keras_resnets.training import metrics
from keras_resnets.training.balance import BALANCED
from keras_resnets.training.data import batches
from keras_resnets.training.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class Job:
    """The model, data and options of a training.

    Attributes:
        model: a classifier with outputs (batch, classes), of logits or probabilities.
        data: a `data.Dataset`.
        recipe: a `Recipe`.
        preprocessing: a `Preprocessing` of the training size.
        batch_size: images per step, over all devices.
        seed: seed of order, augmentation and dropout.
        teacher: a trained classifier to distil from, or None.
        provenance: the provenance of the trained model, which its files store.
        class_weights: weight of an image of each class in the loss; None: 1.
        sampler: `"shuffled"`, or `"balanced"`: as many images of each class.
        workers: threads that read and augment images.
        save_seconds: seconds between two states within an epoch.
        tensorboard: whether to write logs for TensorBoard.
        verbose: `verbose` of `fit`.
        trained_head: whether the classifier was trained on the data's classes.
        tell: function of a line about images that were replaced.
        flags: the user's `trainable` flags of the model.
    """

    model: keras.Model
    data: Dataset
    recipe: Recipe
    preprocessing: Preprocessing
    batch_size: int
    seed: int = 0
    teacher: keras.Model | None = None
    provenance: Provenance = Provenance()
    class_weights: tuple[float, ...] | None = None
    sampler: str = "shuffled"
    workers: int = 2
    save_seconds: float = 300.0
    tensorboard: bool = False
    verbose: int | str = "auto"
    tell: collections.abc.Callable[[str], object] = warnings.warn
    trained_head: bool = False
    flags: anatomy.Flags = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "flags", anatomy.Flags(self.model))

    @property
    def classes(self) -> int:
        return self.model.output_shape[-1]

    @property
    def measure(self) -> str:
        """Returns the name of the metric by which the best weights are chosen."""
        return metrics.NAME if self.data.is_multi_label else "accuracy"

    @property
    def steps_per_epoch(self) -> int:
        return self.data.train.count // self.batch_size

    def training_batches(self, epoch: int, step: int = 0) -> typing.Any:
        """Returns the batches for `fit` from a step of an epoch on."""
        return self.batches(
            self.data.train,
            augmentation=self.recipe.augmentation,
            seed=self.seed,
            epoch_of_first=epoch,
            first_step=step,
            class_weights=self.class_weights,
            balanced=self.sampler == BALANCED,
        )

    @property
    def held_out(self) -> Split | None:
        """The `Split` to validate with, or None if nothing was held out.

        As many images as can be distributed evenly over the devices.
        """
        validation = self.data.validation
        return validation and (
            spread(validation) if validation.count >= devices.replicas() else None
        )

    def validation_batches(self) -> typing.Any:
        """Returns the batches to validate with; None if nothing was held out."""
        split = self.held_out
        return None if split is None else self.batches(split, training=False)

    def batches(self, split: Split, **options: typing.Any) -> typing.Any:
        return batches(
            split,
            self.preprocessing,
            self.batch_size,
            workers=self.workers,
            part=devices.part(),
            **{"classes": self.classes, **options},
        )


def spread(split: Split) -> Split:
    """Returns the part of a split that can be distributed evenly over the devices."""
    count = devices.replicas()
    return split.part(np.arange(split.count) < split.count // count * count)


@dataclasses.dataclass(frozen=True)
class Phase:
    """Epochs `first` to `last` - 1, which share an optimizer and a schedule."""

    index: int
    first: int
    last: int
    recipe: Recipe
    frozen: bool


def phases(recipe: Recipe, trained_head: bool = False) -> list[Phase]:
    """Returns the `Phase`s of a recipe: the classifier alone, then all of the network.

    There is one phase if no epoch is frozen, or all of them are. The body always learns
    at its own rate, and so does a trained classifier.
    """
    body_rate = recipe.learning_rate * recipe.body_rate
    frozen, result = min(recipe.frozen_epochs, recipe.epochs), []
    if frozen:
        rate = body_rate if trained_head else recipe.learning_rate
        head = _part(recipe, frozen, rate)
        result.append(Phase(0, 0, frozen, head, True))
    if frozen < recipe.epochs:
        body = _part(recipe, recipe.epochs - frozen, body_rate)
        result.append(Phase(len(result), frozen, recipe.epochs, body, False))
    return result


def _part(recipe: Recipe, epochs: int, rate: float) -> Recipe:
    """Returns the recipe for some of its epochs, with their own warm-up."""
    if epochs == recipe.epochs and not recipe.frozen_epochs:
        return recipe.replace(learning_rate=rate)
    return recipe.replace(
        epochs=epochs,
        frozen_epochs=0,
        warmup=min(recipe.warmup, epochs / 2),
        learning_rate=rate,
    )
