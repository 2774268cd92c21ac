"""`train`: a complete training, from a model and images to a folder of results."""

import contextlib
import dataclasses
import importlib.util
import os
import typing
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.errors import TrainingNote
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.graph import copies
from keras_resnets.graph import provenance
from keras_resnets.images import labels
from keras_resnets.images.files import replaced_note
from keras_resnets.images.labels import MULTI_LABEL
from keras_resnets.system import interrupts
from keras_resnets.training import balance
from keras_resnets.training import best_weights
from keras_resnets.training import channel_statistics
from keras_resnets.training import compatibility
from keras_resnets.training import devices
from keras_resnets.training import heads
from keras_resnets.training import loop
from keras_resnets.training import run_facts
from keras_resnets.training import state
from keras_resnets.training.data import Dataset
from keras_resnets.training.data import open_dataset
from keras_resnets.training.job import Job
from keras_resnets.training.recipes import get_recipe
from keras_resnets.training.run_folder import RunFolder

if typing.TYPE_CHECKING:
    from keras_resnets.graph.provenance import Provenance
    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.training.loop import Job
    from keras_resnets.training.recipes import Recipe
    from keras_resnets.training.state import Progress


@dataclasses.dataclass(frozen=True)
class Run:
    """The results of a training.

    Attributes:
        folder: its `RunFolder`.
        history: a dict of figures for each epoch.
        figures: `best_val_accuracy` and `best_epoch` of the kept weights, if images
            were held out; for a recipe that fine-tunes also `kept` and `stages`, see
            `best_weights.figures`; `test_accuracy` if the data have test images, in
            float32 as `keras-resnets evaluate` measures it, `test_weights` (the weights
            tested: `"best"` or `"last"`), `seconds`. With
            several labels per image `mean_average_precision` replaces `accuracy`.
    """

    folder: RunFolder
    history: list[dict[str, float]]
    figures: dict[str, typing.Any]


def train(
    model: keras.Model,
    data: Dataset | str | os.PathLike[str],
    recipe: "str | Recipe",
    output: str | os.PathLike[str],
    *,
    preprocessing: "Preprocessing | None" = None,
    batch_size: int | None = None,
    validation: float | None = None,
    multi_label: bool = False,
    seed: int = 0,
    teacher: keras.Model | None = None,
    class_weight: str | Mapping[str, float] | None = None,
    sampler: str = "shuffled",
    resume: bool = False,
    axes: Mapping[str, typing.Any] | None = None,
    workers: int = 2,
    save_seconds: float = 300.0,
    tensorboard: bool = False,
    verbose: int | str = "auto",
    command: str | None = None,
    tell: Callable[..., typing.Any] = warnings.warn,
) -> Run:
    """Trains a classifier by a recipe and keeps everything in a folder.

    Args:
        model: a `keras.Model` from one image to outputs (batch, classes), functional
            or a built Sequential, with nested models and layers of any kind; logits or
            probabilities. Layers with `trainable=False` are not trained. For models of
            this package use `classifier_activation=None` and the recipe's axes:
            `create_model(name, classifier_activation=None, **recipe.axes)`. The dtype
            policies of its layers are the training's precision.
        data: a `Dataset`, or what `open_dataset` takes.
        recipe: a name of `list_recipes()`, or a `Recipe`.
        output: folder to make: `run.json`, `history.csv`, `curves.png`,
            `best.weights.h5` (highest validation accuracy), `last.weights.h5`,
            `last.state.npz`.
        preprocessing: a `Preprocessing`; None for `model.preprocessing`, or raw pixel
            values if a layer of the model scales them.
        batch_size: images per step, over all devices; None for the recipe's.
        validation: share of the training images to hold out, see `open_dataset`.
        multi_label: whether an image of `data` may have several labels, see
            `open_dataset`. Each label then has a sigmoid and binary cross-entropy,
            whatever the recipe's loss, and the mean average precision decides which
            weights are kept.
        seed: seed of order, augmentation and the held-out images. Dropout and the
            initial weights have their own (`keras.utils.set_random_seed`).
        teacher: a trained classifier to distil from.
        class_weight: weight of an image of each class in the loss: `"balanced"`, a
            mapping from class to weight, or a JSON or CSV file of one; see
            `balance.class_weights`. An image mixed of two classes has the mixed weight;
            validation and a teacher's part are not weighted.
        sampler: `"shuffled"`: every epoch has each image once; `"balanced"`: as many
            images of each class, those of small classes several times.
        resume: resume the run in `output` exactly where it was stopped: epoch, step,
            optimizer, averages, loss scale, metrics, order of the images. With a recipe
            of more epochs the run is extended: from its state on the rate follows the
            schedule of the new number of epochs, as in timm.
        axes: changed axes of the architecture, to record in the files of weights; None
            for those of a model of `create_model`.
        workers: threads that read and augment images.
        save_seconds: seconds between two states within an epoch.
        tensorboard: write logs for TensorBoard too.
        verbose: as `fit` takes it.
        command: the command line, for `run.json`.
        tell: function of a line, called if images are broken (they are replaced by
            others of their classes), and if a run is extended or already finished.

    Returns:
        A `Run`. The model has the best weights if images were held out, else the last
        ones; its `labels` and `preprocessing` are those of the data.

    Raises:
        InvalidArgument: an argument, data or a folder that cannot be used, or a run to
            resume that differs; nothing was trained.
        TrainingError: the training cannot continue, for example because of a loss that
            is not finite, or more than one broken image in a hundred; saved files are
            kept.

    Example:
        >>> import keras_resnets
        >>> model = keras_resnets.create_model("resnet20", classifier_activation=None)
        >>> train(model, "cifar10.npz", "he2015_cifar", "run")  # doctest: +SKIP
    """
    devices.check_backend()
    recipe = get_recipe(recipe)
    batch_size = batch_size or recipe.batch_size
    batch_size = check_positive_int("batch_size", batch_size)
    _check_tensorboard(tensorboard)
    compatibility.check_model(model)
    fit = compatibility.preprocessing_for(model, preprocessing)
    if data.is_multi_label if isinstance(data, Dataset) else multi_label:
        compatibility.check_multi_label(model, teacher, class_weight, sampler)
        # A sigmoid for each label, whatever the recipe trains one class per image by.
        recipe = recipe.replace(loss="binary")
    compatibility.check_recipe(model, recipe)
    balance.check_sampler(sampler, class_weight)
    if not isinstance(data, Dataset):
        data = open_dataset(data, validation, seed, None, multi_label, fit.channels)
    compatibility.check_classes(model, data)
    compatibility.check_batch_size(batch_size, data)
    preprocessing = fit if preprocessing else channel_statistics.fitted(fit, data)
    recipe = channel_statistics.without_colours(recipe, preprocessing, data)
    weights = _class_weights(class_weight, sampler, data)
    trained_head = heads.is_trained(model, data.classes)
    for note in _notes_of(model, data, recipe):
        warnings.warn(note, TrainingNote, stacklevel=2)
    folder = RunFolder(output)
    facts = run_facts.of(
        model, data, recipe, preprocessing, axes, batch_size, seed, command
    )
    facts.update(class_weight=weights, sampler=sampler, trained_head=trained_head)
    first = devices.part()[0] == 0
    with _opened(folder, facts, resume, first) as facts:
        if first and resume:
            _say_what_is_left(folder, facts, tell)
        job = Job(
            model=model,
            data=data,
            recipe=recipe,
            preprocessing=preprocessing,
            batch_size=batch_size,
            seed=seed,
            teacher=teacher,
            provenance=_provenance(model, preprocessing, data, axes, folder.path.name),
            class_weights=weights and tuple(weights.values()),
            sampler=sampler,
            workers=workers,
            save_seconds=save_seconds,
            tensorboard=tensorboard,
            verbose=verbose,
            tell=tell,
            trained_head=facts.get("trained_head", False),
        )
        return _run(job, folder, facts, resume)


def _run(
    job: "Job", folder: RunFolder, facts: dict[str, typing.Any], resume: bool
) -> Run:
    """Runs a job whose folder is open; completes its `run.json`."""
    progress = loop.run(job, folder, resume)
    figures = _figures(job, folder, progress)
    provenance.give(job.model, job.provenance)
    test = job.data.test
    if test is not None and test.images.broken:
        job.tell(replaced_note(test.images.broken))
    if job.data.replaced:
        facts = {**facts, "replaced": list(job.data.replaced)}
    if devices.part()[0] == 0:
        folder.write_record({**facts, "status": "done", "figures": figures})
    return Run(folder, progress.history, figures)


@contextlib.contextmanager
def _opened(
    folder: RunFolder,
    facts: dict[str, typing.Any],
    resume: bool,
    first: bool,
) -> Iterator[dict[str, typing.Any]]:
    """Opens the folder of a run; if the run ends early, records why in `run.json`.

    Args:
        folder: a `RunFolder`.
        facts: the facts for `run.json`.
        resume: see `train`.
        first: whether this is the process that writes.

    Yields:
        The facts, those of an earlier start if there was one.
    """
    opened: list[typing.Any] = []

    def end(status: str, reason: str) -> typing.Any:
        if opened:
            # The cause of the end may also prevent this write.
            with contextlib.suppress(OSError, TrainingError):
                facts = {**opened[0], "status": status, "reason": reason}
                folder.write_record(facts)
        folder.close()
        return _how_to_go_on(folder) if opened and status == "interrupted" else None

    try:
        with interrupts.at_the_end(lambda: end("interrupted", "it had to end at once")):
            if first:
                with interrupts.held():
                    opened.append(folder.open(facts, resume))
            yield opened[0] if first else facts
    except BaseException as error:
        stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
        reason = first_line(error) if str(error) else type(error).__name__
        with interrupts.held():
            stopped = stopped or interrupts.received()
            interrupts.remark(end("interrupted" if stopped else "failed", reason))
        raise
    folder.close()


def _how_to_go_on(folder: RunFolder) -> str:
    """Returns a remark on how to resume an interrupted run."""
    path, position = printable(str(folder.path)), state.position(folder.state)
    if position is None:
        return f"{path} has no state yet: the same command with --resume begins it anew"
    return (
        f"{path} is saved at epoch {position[0] + 1}, step {position[1]}: the same command "
        "with --resume goes on from there"
    )


def _class_weights(class_weight: typing.Any, sampler: str, data: Dataset) -> typing.Any:
    """Returns the weight of each class by its name; None for weights of 1."""
    targets = data.train.labels
    if sampler == balance.BALANCED:
        balance.check_counts(data.classes, targets, data.name)
    if class_weight is None:
        return None
    return balance.class_weights(class_weight, data.classes, targets, data.name)


def _say_what_is_left(
    folder: RunFolder,
    facts: dict[str, typing.Any],
    tell: Callable[..., typing.Any],
) -> None:
    """Reports where a run resumes, or that it is finished or extended."""
    epochs, before = facts["recipe"]["epochs"], facts.get("extended", ())
    done, steps = state.position(folder.state) or (0, 0)
    if done >= epochs:
        note = (
            f"{folder.path} has finished its {_counted(epochs)} and there is nothing left "
            f"to train; a recipe of more epochs (--epochs {2 * epochs}) extends it"
        )
    elif before and done >= before[-1]:
        note = (
            f"{folder.path} has finished {_counted(before[-1])} and goes on to {epochs}: "
            f"from here the learning rate follows the schedule of {epochs} epochs"
        )
    elif done or steps:
        note = (
            f"{folder.path} goes on from its last state, epoch {done + 1}, step {steps}"
        )
    else:
        note = f"{folder.path} was stopped before its first state, and begins anew"
    tell(note)


def _counted(epochs: int) -> str:
    return f"{epochs} epoch{'s' * (epochs != 1)}"


def _check_tensorboard(requested: bool) -> None:
    if requested and importlib.util.find_spec("tensorflow") is None:
        raise InvalidArgument("tensorboard requires TensorFlow, which is not installed")


def _notes_of(model: keras.Model, data: Dataset, recipe: "Recipe") -> list[typing.Any]:
    """Fits the classifier to the data; returns the notes before a training."""
    notes = [heads.fit_classifier(model, data.classes)]
    if recipe.frozen_epochs >= recipe.epochs:
        notes.append(
            f"{recipe.epochs} of {recipe.frozen_epochs} epochs of the classifier alone: "
            "the body stays unchanged, until there are more epochs than those"
        )
    if recipe.fine_tunes and data.validation is None:
        notes.append(
            "nothing is held out to tell whether the training made the network better "
            "or worse: the last weights are kept"
        )
    return [note for note in notes if note]


def _provenance(
    model: keras.Model,
    preprocessing: "Preprocessing",
    data: Dataset,
    axes: typing.Any,
    origin: str,
) -> "Provenance":
    """Returns the provenance of the trained model, which its files store."""
    names = tuple(name for _, name in data.classes)
    unnamed = tuple(data.classes) == labels.class_names(len(names))
    before = provenance.of(model)
    return dataclasses.replace(
        before,
        axes=before.axes if axes is None else axes,
        preprocessing=preprocessing,
        labels=labels.name_of(data.classes) or (None if unnamed else names),
        weights_origin=origin,
        random_weights=False,
        # It belongs to the previous weights.
        confidence=None,
        task=MULTI_LABEL if data.is_multi_label else None,
    )


def _as_loaded(model: keras.Model) -> keras.Model:
    """Returns `model` in float32, in which `evaluate` loads its weights.

    A network of users' layers that Keras cannot copy stays in its precision.
    """
    try:
        return copies.in_float32(model)
    except Exception:
        return model


def _figures(
    job: "Job", folder: RunFolder, progress: "Progress"
) -> dict[str, typing.Any]:
    """Returns the best figures of the history, and the measured test accuracy."""
    figures: dict[str, typing.Any] = {"seconds": round(progress.seconds, 1)}
    which = "last"
    if progress.best is not None:
        figures.update(best_weights.figures(job.recipe, progress, job.measure))
        which = "best"
        devices.wait_for_all()
        folder.load_weights(which, job.model)
    if job.data.test is not None:
        measured = loop.judge(job, job.data.test, _as_loaded(job.model))
        key = f"test_{job.measure}"
        figures.update({key: measured[job.measure], "test_weights": which})
    return figures
