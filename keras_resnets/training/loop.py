"""Compiles and fits a model by a recipe, and resumes where it was stopped."""

import collections.abc
import dataclasses
import typing
import warnings
from collections.abc import Callable

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import anatomy
from keras_resnets.graph.provenance import Provenance
from keras_resnets.images.datasets.split import Dataset
from keras_resnets.images.datasets.split import Split
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.system import interrupts
from keras_resnets.system import progress as display
from keras_resnets.training import best_weights
from keras_resnets.training import callbacks
from keras_resnets.training import compiling
from keras_resnets.training import devices
from keras_resnets.training import diagnosis
from keras_resnets.training import metrics
from keras_resnets.training import state
from keras_resnets.training.balance import BALANCED
from keras_resnets.training.correctness import Correctness
from keras_resnets.training.data import batches
from keras_resnets.training.data.pipeline import own_errors
from keras_resnets.training.distillation import Distiller
from keras_resnets.training.recipes import Recipe
from keras_resnets.training.run_folder import RunFolder
from keras_resnets.training.run_folder import without_optimizer
from keras_resnets.training.state import Progress

# Seconds that an interrupt waits for the end of a step, so that its state is saved.
_PATIENCE = 5.0


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
    class_weights: tuple | None = None
    sampler: str = "shuffled"
    workers: int = 2
    save_seconds: float = 300.0
    tensorboard: bool = False
    verbose: int | str = "auto"
    tell: collections.abc.Callable = warnings.warn
    trained_head: bool = False
    flags: anatomy.Flags = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "flags", anatomy.Flags(self.model))
        count = devices.replicas()
        if self.batch_size % count:
            raise InvalidArgument(
                f"batch_size must be a multiple of the {count} devices; got "
                f"{self.batch_size}"
            )

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
            _spread(validation) if validation.count >= devices.replicas() else None
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


def _spread(split: Split) -> Split:
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


def run(job: Job, folder: RunFolder, resume: bool = False) -> Progress:
    """Trains and keeps everything in the folder.

    Args:
        job: a `Job`.
        folder: an opened `RunFolder`.
        resume: resume from the state in it, if it has one.

    Returns:
        The final `state.Progress`; the model has the last weights, averaged if the
        recipe says so, and the user's `trainable` flags again.

    Raises:
        InvalidArgument: fewer images than a batch.
        TrainingError: a loss that is not finite, a state that cannot be read, or a
            folder that cannot be written to.
    """
    if not job.steps_per_epoch:
        raise InvalidArgument(
            f"batch_size must be at most the {job.data.train.count} training images; "
            f"got {job.batch_size}"
        )
    progress, arrays = state.Progress(), None
    if resume and folder.state.exists():
        progress, arrays = state.read(folder.state)
    try:
        _run_phases(job, folder, progress, arrays)
    finally:
        job.flags.allow()
    if devices.part()[0] == 0:
        folder.write_weights("last", job.model, job.provenance)
    return progress


def _run_phases(
    job: Job,
    folder: RunFolder,
    progress: Progress,
    arrays: dict[str, np.ndarray] | None,
) -> None:
    """Trains from `progress` and the `arrays` of its state to the end."""
    correctness = None if job.held_out is None else Correctness(job)
    _judge_start(job, folder, progress, correctness)
    if progress.epoch >= job.recipe.epochs:
        _finish_again(job, arrays)
    for phase in phases(job.recipe, job.trained_head):
        if progress.epoch < phase.last:
            trainer = _prepare(job, phase)
        while progress.epoch < phase.last:
            if arrays is not None:
                same = progress.phase == phase.index
                groups = ("model", "optimizer") if same else ("model",)
                state.restore(arrays, job.model, trainer, groups)
            _take_best(job, folder, progress, phase)
            progress.phase = phase.index
            # Keras counts the steps per epoch once per call, so the rest of an
            # interrupted epoch is a separate call.
            last = progress.epoch + 1 if progress.step else phase.last
            _fit(job, folder, phase, trainer, progress, last, arrays, correctness)
            if progress.epoch < job.recipe.epochs:
                # A call ends with the averages as weights; the state has both.
                devices.wait_for_all()
                _, arrays = state.read(folder.state)


def _judge_start(
    job: Job, folder: RunFolder, progress: Progress, correctness: typing.Any
) -> None:
    """Keeps the initial network of a fine-tuning as the first best one."""
    begun = progress.step or progress.history
    if begun or not job.recipe.fine_tunes or job.held_out is None:
        return
    figures = judge(job, job.held_out)
    progress.best = figures[job.measure]
    if best_weights.is_tested(job.recipe):
        right, labels = correctness(), job.held_out.labels
        if job.trained_head or best_weights.knows(job.recipe, right, labels):
            progress.right[best_weights.START] = right
    measured = {f"val_{name}": figures[name] for name in (job.measure, "loss")}
    row = {"epoch": 0, **measured}
    progress.history.append({**row, "seconds": 0.0})
    if devices.part()[0] == 0:
        folder.write_weights("best", job.model, job.provenance)


def _take_best(job: Job, folder: RunFolder, progress: Progress, phase: Phase) -> None:
    """Begins a later phase with the kept weights, if those are not the last."""
    begins = phase.index and (progress.epoch, progress.step) == (phase.first, 0)
    if begins and progress.best is not None and progress.kept != progress.epoch:
        devices.wait_for_all()
        without_optimizer(job.model).load_weights(folder.weights("best"))


def _prepare(job: Job, phase: Phase) -> keras.Model:
    """Returns the compiled model of a phase, with all its variables."""
    _set_trainable(job, phase)
    trainer = job.model
    if job.teacher is not None:
        recipe = job.recipe
        trainer = Distiller(
            job.model,
            job.teacher,
            recipe.temperature,
            recipe.distillation,
            job.preprocessing,
        )
    options = compiling.options(
        phase.recipe,
        job.model,
        job.steps_per_epoch,
        job.batch_size,
        job.data.is_multi_label,
    )
    trainer.compile(**options, jit_compile=devices.jit_compile())
    trainer.optimizer.build(trainer.trainable_variables)
    # One batch creates the variables of the metrics, which a state may then set.
    height, width = job.preprocessing.size
    count = devices.replicas() // devices.part()[1]
    shape = (count, height, width, job.preprocessing.channels)
    images = np.zeros(shape, "float32")
    trainer.test_on_batch(images, np.eye(count, job.classes, dtype="float32"))
    trainer.reset_metrics()
    return trainer


def _set_trainable(job: Job, phase: Phase) -> None:
    """Freezes the layers that a phase does not train; user-frozen layers stay frozen.

    BN that is not trainable normalizes by its statistics, as at inference. BN of the head
    is new, so it is trained.
    """
    head: set[int] = set()
    for layer in anatomy.head(job.model):
        head.update(map(id, [layer, *anatomy.all_layers(layer)]))

    def allowed(layer: keras.layers.Layer) -> bool:
        if id(layer) in head:
            return True
        norm = isinstance(layer, keras.layers.BatchNormalization)
        return not (phase.frozen or (norm and phase.recipe.freeze_bn))

    job.flags.allow(allowed)


def _fit(
    job: Job,
    folder: RunFolder,
    phase: Phase,
    trainer: keras.Model,
    progress: Progress,
    last: int,
    arrays: dict[str, np.ndarray] | None,
    correctness: Correctness | None,
) -> None:
    """Fits from `progress` up to the epoch `last`."""
    epoch, step = progress.epoch, progress.step
    data = job.training_batches(epoch, step)

    def explain(epoch: int, step: int) -> typing.Any:
        # The weights belong to the previous step.
        past = (epoch - phase.first) * job.steps_per_epoch + step - 1
        cause = diagnosis.cause(job, _rate(job, phase, max(past, 0)), epoch, step)
        return cause + diagnosis.what_stays(folder, progress)

    def take(epoch: int, accuracy: float) -> bool:
        return best_weights.take(job.recipe, progress, epoch, accuracy, correctness)

    watch = callbacks.StopAtNaN(progress, explain)
    watching = [watch]
    if step:
        watching.append(callbacks.GoOn(arrays, job.model))
    if keras.backend.backend() == "torch":
        watching.append(callbacks.SeedSteps(job.seed, step))
    if phase.recipe.ema is not None:
        watching.append(keras.callbacks.SwapEMAWeights())
    watching.append(keras.callbacks.LambdaCallback(on_epoch_begin=_telling(data)))
    watching.append(
        callbacks.Keeper(
            folder,
            progress,
            job.model,
            job.provenance,
            lambda: _rate(job, phase, state.array_of(trainer.optimizer.iterations)),
            watch.check,
            take,
            job.save_seconds,
            job.measure,
        )
    )
    watching.append(callbacks.TellReplaced(job.data, job.tell))
    if job.tensorboard:
        watching.append(keras.callbacks.TensorBoard(folder.path / "tensorboard"))
    validation = job.validation_batches()
    # The `Keeper` stops at a complete state, if a step ends soon enough.
    shown = display.aside()
    if not job.verbose:
        shown = display.step(f"training {job.model.name}")
        before, total = (n * job.steps_per_epoch for n in (epoch, job.recipe.epochs))
        watching.append(callbacks.CountSteps(before + step, total))
    with own_errors(data, validation), interrupts.held(_PATIENCE), shown:
        trainer.fit(
            data,
            epochs=last,
            initial_epoch=epoch,
            validation_data=validation,
            callbacks=watching,
            shuffle=False,
            verbose=job.verbose,
        )


def _telling(data: typing.Any) -> Callable[..., typing.Any]:
    return lambda epoch, logs=None: data.set_epoch(epoch)


def _finish_again(job: Job, arrays: dict[str, np.ndarray] | None) -> None:
    """Finishes a run that was stopped after its last epoch."""
    trainer = _prepare(job, phases(job.recipe, job.trained_head)[-1])
    state.restore(arrays, job.model, trainer, ("model", "optimizer"))
    trainer.optimizer.finalize_variable_values(trainer.trainable_weights)


def _rate(job: Job, phase: Phase, step: typing.Any) -> float:
    """Returns the learning rate of a step of a phase, counted from 0.

    It is not read from the optimizer, since on JAX a variable of several processes cannot
    be combined with a value of one process.
    """
    schedule = compiling.learning_rate(
        phase.recipe,
        job.steps_per_epoch,
        job.batch_size,
        compiling.depth_of(job.model),
    )
    return float(schedule(int(step)))


def judge(job: Job, split: Split) -> dict[str, float]:
    """Returns `loss` and the job's `measure` of the network on a `Split`, as a dict.

    They are measured on as many images as can be distributed evenly over the devices.
    """
    judging = without_optimizer(job.model)
    logits = compiling.puts_out_logits(job.model)
    loss = compiling.loss(job.recipe, logits)
    measures = compiling.metrics(job.classes, job.data.is_multi_label, logits)
    judging.compile(loss=loss, metrics=measures[:1])
    data = job.batches(_spread(split), training=False)
    with own_errors(data):
        figures = judging.evaluate(data, verbose=0, return_dict=True)
    return {name: float(value) for name, value in figures.items()}
