"""Recipe, data and model through `compile` and `fit`, and on where they were stopped."""

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
from keras_resnets.training import best_weights
from keras_resnets.training import callbacks
from keras_resnets.training import compiling
from keras_resnets.training import devices
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

# Seconds that an interrupt waits for the end of a step, so that its state can be saved.
_PATIENCE = 5.0


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained, on what, and how.

    Attributes:
        model: a classifier with outputs (batch, classes), of logits or probabilities.
        data: a `data.Dataset`.
        recipe: a `Recipe`.
        preprocessing: a `Preprocessing` of the size that it trains at.
        batch_size: images a step, over all devices.
        seed: of order, augmentation and dropout.
        teacher: a trained classifier to distil from, or None.
        provenance: what the trained model knows; its files say it beside the values.
        class_weights: what an image of each class counts in the loss; None: 1.
        sampler: `"shuffled"`, or `"balanced"`: as many images of each class.
        workers: threads that read and change images.
        save_seconds: between two states within an epoch.
        tensorboard: whether to write logs for it.
        verbose: of `fit`.
        trained_head: whether the classifier was trained on the data's classes, so that
            it learns at the body's rate.
        tell: function of a line about images that others stand in for.
        flags: what of the model its user lets train.
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
    def steps_per_epoch(self) -> int:
        return self.data.train.count // self.batch_size

    def training_batches(self, epoch: int, step: int = 0) -> typing.Any:
        """What `fit` takes from a step of an epoch on."""
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
        """The `Split` to validate with, or None where nothing was held out.

        As many images as can be spread evenly over the devices.
        """
        found = self.data.validation
        return found and (_spread(found) if found.count >= devices.replicas() else None)

    def validation_batches(self) -> typing.Any:
        """What `fit` validates with; None where nothing was held out."""
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
    """The part of a split that the devices can share evenly."""
    count = devices.replicas()
    return split.part(np.arange(split.count) < split.count // count * count)


@dataclasses.dataclass(frozen=True)
class Phase:
    """Epochs `first` to `last` - 1, which share an optimizer with a schedule of its own."""

    index: int
    first: int
    last: int
    recipe: Recipe
    frozen: bool


def phases(recipe: Recipe, trained_head: bool = False) -> list[Phase]:
    """The `Phase`s of a recipe: the classifier alone, then all of the network.

    One of them where no epoch is frozen, or all of them are. The body only ever learns
    at its own rate, and so does a classifier that was trained.
    """
    body_rate = recipe.learning_rate * recipe.body_rate
    frozen, found = min(recipe.frozen_epochs, recipe.epochs), []
    if frozen:
        rate = body_rate if trained_head else recipe.learning_rate
        head = _part(recipe, frozen, rate)
        found.append(Phase(0, 0, frozen, head, True))
    if frozen < recipe.epochs:
        body = _part(recipe, recipe.epochs - frozen, body_rate)
        found.append(Phase(len(found), frozen, recipe.epochs, body, False))
    return found


def _part(recipe: Recipe, epochs: int, rate: float) -> Recipe:
    """A recipe for some of its epochs, which warm up too."""
    if epochs == recipe.epochs and not recipe.frozen_epochs:
        return recipe.replace(learning_rate=rate)
    return recipe.replace(
        epochs=epochs,
        frozen_epochs=0,
        warmup=min(recipe.warmup, epochs / 2),
        learning_rate=rate,
    )


def run(job: Job, folder: RunFolder, resume: bool = False) -> Progress:
    """Trains, keeping everything in the folder.

    Args:
        job: a `Job`.
        folder: an opened `RunFolder`.
        resume: go on from the state in it, if it has one.

    Returns:
        The `state.Progress` at the end; the model has the last weights, averaged where
        the recipe says so, and trains again what its user lets train.

    Raises:
        InvalidArgument: fewer images than a batch has.
        TrainingError: a loss that is no number, a state that cannot be read, or a
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
    """Trains from where `progress` and the `arrays` of its state stand to the end."""
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
            # Keras counts the steps of the epochs of a call once: what is left of one
            # is a call of its own.
            last = progress.epoch + 1 if progress.step else phase.last
            _fit(job, folder, phase, trainer, progress, last, arrays, correctness)
            if progress.epoch < job.recipe.epochs:
                # A call ends with the averages in the weights; the state has both.
                devices.wait_for_all()
                _, arrays = state.read(folder.state)


def _judge_start(
    job: Job, folder: RunFolder, progress: Progress, correctness: typing.Any
) -> None:
    """Makes a network that is fine-tuned, as it came, the first that is kept."""
    begun = progress.step or progress.history
    if begun or not job.recipe.fine_tunes or job.held_out is None:
        return
    found = judge(job, job.held_out)
    progress.best = found["accuracy"]
    if best_weights.is_tested(job.recipe):
        right, labels = correctness(), job.held_out.labels
        if job.trained_head or best_weights.knows(job.recipe, right, labels):
            progress.right[best_weights.START] = right
    row = {"epoch": 0, "val_accuracy": found["accuracy"], "val_loss": found["loss"]}
    progress.history.append({**row, "seconds": 0.0})
    if devices.part()[0] == 0:
        folder.write_weights("best", job.model, job.provenance)


def _take_best(job: Job, folder: RunFolder, progress: Progress, phase: Phase) -> None:
    """Begins a later phase with the weights that are kept, where those are not the last."""
    begins = phase.index and (progress.epoch, progress.step) == (phase.first, 0)
    if begins and progress.best is not None and progress.kept != progress.epoch:
        devices.wait_for_all()
        without_optimizer(job.model).load_weights(folder.weights("best"))


def _prepare(job: Job, phase: Phase) -> keras.Model:
    """The compiled model of a phase, with all its variables made."""
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
        phase.recipe, job.model, job.steps_per_epoch, job.batch_size
    )
    trainer.compile(**options, jit_compile=devices.jit_compile())
    trainer.optimizer.build(trainer.trainable_variables)
    # One batch makes the variables of the metrics, which a state may then set.
    height, width = job.preprocessing.size
    count = devices.replicas() // devices.part()[1]
    shape = (count, height, width, job.preprocessing.channels)
    images = np.zeros(shape, "float32")
    trainer.test_on_batch(images, np.eye(count, job.classes, dtype="float32"))
    trainer.reset_metrics()
    return trainer


def _set_trainable(job: Job, phase: Phase) -> None:
    """Freezes what a phase does not train; what the user froze stays so throughout.

    BN that is not trainable normalizes by the statistics it has, as at inference. That
    of the head is new, and no statistics of the body's.
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
    """Fits from where `progress` stands up to the epoch `last`."""
    epoch, step = progress.epoch, progress.step
    data = job.training_batches(epoch, step)

    def explain(epoch: int, step: int) -> typing.Any:
        # The weights are those of the step before.
        past = (epoch - phase.first) * job.steps_per_epoch + step - 1
        cause = _cause(job, _rate(job, phase, max(past, 0)), epoch, step)
        return cause + _what_stays(folder, progress)

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
        )
    )
    watching.append(callbacks.TellReplaced(job.data, job.tell))
    if job.tensorboard:
        watching.append(keras.callbacks.TensorBoard(folder.path / "tensorboard"))
    validation = job.validation_batches()
    # The `Keeper` stops where the state is whole, if a step ends soon enough.
    with own_errors(data, validation), interrupts.held(_PATIENCE):
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
    """The end of a run that was stopped behind its last epoch."""
    trainer = _prepare(job, phases(job.recipe, job.trained_head)[-1])
    state.restore(arrays, job.model, trainer, ("model", "optimizer"))
    trainer.optimizer.finalize_variable_values(trainer.trainable_weights)


def _rate(job: Job, phase: Phase, step: typing.Any) -> float:
    """The learning rate of a step of a phase, counted from 0.

    Not asked of the optimizer: JAX does not compute with a number of one process and
    one that lies on the devices of several.
    """
    schedule = compiling.learning_rate(
        phase.recipe,
        job.steps_per_epoch,
        job.batch_size,
        compiling.depth_of(job.model),
    )
    return float(schedule(int(step)))


def _cause(job: typing.Any, rate: typing.Any, epoch: int, step: int) -> str:
    """Why the loss of a step is no number, as far as one can tell afterwards."""
    images, targets, *_ = next(iter(job.training_batches(epoch, step)))
    for name, values in (("images", images), ("targets", targets)):
        if not np.isfinite(np.asarray(values)).all():
            return f"the {name} of that step are not finite: look at the data"
    for layer in anatomy.all_layers(job.model):
        for weight in layer.get_weights():
            if not anatomy.holds_others(layer) and not np.isfinite(weight).all():
                return (
                    f"the weights of {layer.name} are not finite any more: the learning "
                    f"rate of {rate:.3g} is likely too high"
                )
    if compiling.is_half(job.model):
        return "activations overflow float16: mixed_bfloat16 has float32's range"
    return f"activations overflow: the learning rate of {rate:.3g} is likely too high"


def _what_stays(folder: RunFolder, progress: typing.Any) -> str:
    """What a run that fails leaves behind, for the end of a message."""
    if progress.best is None:
        return ""
    when = f"after epoch {progress.kept}" if progress.kept else "as the network came"
    return (
        f"; {folder.weights('best')} keeps the best so far, {when}: "
        f"{progress.best:.2%} of the held-out images"
    )


def judge(job: Job, split: Split) -> dict[str, float]:
    """`loss` and `accuracy` of the network on a `Split`, as a dict.

    Of as many images as can be spread evenly over the devices.
    """
    judging = without_optimizer(job.model)
    loss = compiling.loss(job.recipe, compiling.puts_out_logits(job.model))
    judging.compile(loss=loss, metrics=compiling.metrics(job.classes)[:1])
    data = job.batches(_spread(split), training=False)
    with own_errors(data):
        found = judging.evaluate(data, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}
