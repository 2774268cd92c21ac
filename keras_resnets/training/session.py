"""`train`: a whole training, from a model and pictures to a folder of results."""

import collections
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import re
import sys
import warnings

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingNote
from keras_resnets.errors import check_positive_int
from keras_resnets.image_files import replaced_note
from keras_resnets.training import anatomy
from keras_resnets.training import checking
from keras_resnets.training import devices
from keras_resnets.training import heads
from keras_resnets.training import keeping
from keras_resnets.training import loop
from keras_resnets.training.data import Dataset
from keras_resnets.training.data import open_dataset
from keras_resnets.training.recipes import get_recipe
from keras_resnets.training.run_folder import RunFolder
from keras_resnets.training.run_folder import without_optimizer
from keras_resnets.version import __version__

_LIBRARIES = ("keras", "numpy", "tensorflow", "jax", "torch")


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of a training.

    Attributes:
        folder: its `RunFolder`.
        history: a dict of figures for each epoch.
        figures: `best_val_accuracy` and `best_epoch` of the weights that are kept, where
            pictures were held out; of a recipe that fine-tunes also `kept` and `stages`,
            see `keeping.figures`; `test_accuracy` where the data have test pictures,
            `test_weights` (which weights that is of: `"best"` or `"last"`), `seconds`.
    """

    folder: RunFolder
    history: list
    figures: dict


def train(
    model,
    data,
    recipe,
    output,
    *,
    preprocessing=None,
    batch_size=None,
    validation=None,
    seed=0,
    teacher=None,
    resume=False,
    axes=None,
    workers=2,
    save_seconds=300.0,
    tensorboard=False,
    verbose="auto",
    command=None,
    tell=warnings.warn,
):
    """Trains a classifier by a recipe and keeps everything in a folder.

    Args:
        model: a `keras.Model` from one image to outputs (batch, classes), functional
            or a built Sequential, with models and layers of any kind inside; logits or
            probabilities. What is `trainable=False` in it stays as it is. Of this
            package best with `classifier_activation=None` and the recipe's axes:
            `create_model(name, classifier_activation=None, **recipe.axes)`. The dtype
            policies of its layers are the training's precision.
        data: a `Dataset`, or what `open_dataset` takes.
        recipe: a name of `list_recipes()`, or a `Recipe`.
        output: folder to make: `run.json`, `history.csv`, `curves.png`,
            `best.weights.h5` (highest validation accuracy), `last.weights.h5`,
            `last.state.npz`.
        preprocessing: a `Preprocessing`; None for `model.preprocessing`, or pixel
            values as they are where a layer of the model scales them.
        batch_size: pictures a step, over all devices; None for the recipe's.
        validation: share of the training pictures to hold out, see `open_dataset`.
        seed: of order, augmentation and what is held out. Dropout and the weights
            that the model came with have their own (`keras.utils.set_random_seed`).
        teacher: a trained classifier to distil from.
        resume: go on with the run in `output` exactly where it was stopped: epoch,
            step, optimizer, averages, loss scale, metrics, order of the pictures.
        axes: changed axes of the architecture, which the files of weights shall tell.
        workers: threads that read and change pictures.
        save_seconds: between two states within an epoch.
        tensorboard: write logs for TensorBoard too.
        verbose: as `fit` takes it.
        command: what was typed, for `run.json`.
        tell: function of a line, called where images turn out to be broken: others of
            their classes stand in for them.

    Returns:
        A `Run`. The model has the best weights where pictures were held out, else
        the last; its `labels` and `preprocessing` are those of the data.

    Raises:
        InvalidArgument: an argument, data or a folder that cannot be used, or a run to
            resume that differs; nothing was trained.
        TrainingError: the training cannot go on, for a loss that is no number, say, or
            more broken images than one in a hundred; what was saved stays.

    Example:
        >>> import keras_resnets
        >>> model = keras_resnets.create_model("resnet20", classifier_activation=None)
        >>> train(model, "cifar10.npz", "he2015_cifar", "run")  # doctest: +SKIP
    """
    recipe = get_recipe(recipe)
    batch_size = batch_size or recipe.batch_size
    check_positive_int("batch_size", batch_size)
    _check_tensorboard(tensorboard)
    checking.check_model(model)
    preprocessing = checking.preprocessing_for(model, preprocessing)
    checking.check_recipe(model, recipe)
    if not isinstance(data, Dataset):
        data = open_dataset(data, validation, seed)
    checking.check_classes(model, data)
    for note in _notes_of(model, data, recipe):
        warnings.warn(note, TrainingNote, stacklevel=2)
    folder = RunFolder(output)
    facts = _facts(model, data, recipe, batch_size, seed, command)
    first = devices.part()[0] == 0
    if first:
        facts = folder.open(facts, resume)
    job = loop.Job(
        model=model,
        data=data,
        recipe=recipe,
        preprocessing=preprocessing,
        batch_size=batch_size,
        seed=seed,
        teacher=teacher,
        notes=_notes(preprocessing, data, axes),
        workers=workers,
        save_seconds=save_seconds,
        tensorboard=tensorboard,
        verbose=verbose,
        tell=tell,
    )
    try:
        progress = loop.run(job, folder, resume)
    finally:
        job.flags.allow()
    figures = _figures(job, folder, progress)
    _describe(job)
    if data.test is not None and data.test.pictures.broken:
        tell(replaced_note(data.test.pictures.broken))
    if data.replaced:
        facts = {**facts, "replaced": list(data.replaced)}
    if first:
        folder.write_record({**facts, "status": "done", "figures": figures})
    return Run(folder, progress.history, figures)


def _check_tensorboard(wanted):
    if wanted and importlib.util.find_spec("tensorflow") is None:
        raise InvalidArgument(
            "tensorboard needs TensorFlow, which writes its logs; it is not installed"
        )


def _notes_of(model, data, recipe):
    """What there is to say before a training; the classifier is made the data's."""
    notes = [heads.fit_classifier(model, data.classes)]
    if recipe.frozen_epochs >= recipe.epochs:
        notes.append(
            f"{recipe.epochs} of {recipe.frozen_epochs} epochs of the classifier alone: "
            "the body stays as it came, until there are more epochs than those"
        )
    if recipe.fine_tunes and data.validation is None:
        notes.append(
            "nothing is held out to tell whether the training made the network better "
            "or worse: the last weights are kept"
        )
    return [note for note in notes if note]


def _facts(model, data, recipe, batch_size, seed, command):
    """What `run.json` says of a run."""
    policies = collections.Counter(
        layer.dtype_policy.name for layer in anatomy.all_layers(model)
    )
    found = {name: _version(name) for name in _LIBRARIES}
    return {
        "status": "running",
        "command": command or " ".join(sys.argv),
        # Keras numbers what has no name by what else was made in the process.
        "model": re.sub(r"^(functional|sequential)_\d+$", r"\1", model.name),
        "network": _digest(model),
        "parameters": model.count_params(),
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
            **{name: version for name, version in found.items() if version},
        },
    }


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digest(model):
    """What tells one network from another, whatever its layers are called."""
    outline = [
        (type(layer).__name__, [list(weight.shape) for weight in layer.weights])
        for layer in model.layers
    ]
    frozen = anatomy.Flags(model).frozen
    if frozen:
        outline.append(("frozen", frozen))
    return hashlib.sha256(json.dumps(outline).encode()).hexdigest()[:16]


def _describe(job):
    """Lets the model say what it was trained on, as one with these weights would."""
    known = job.notes["labels"]
    job.model.labels = tuple(known) if isinstance(known, list) else known
    job.model.preprocessing = job.preprocessing


def _notes(preprocessing, data, axes):
    """What the files of weights say beside the values."""
    from keras_resnets import labels

    names = [name for _, name in data.classes]
    unnamed = tuple(data.classes) == labels.class_names(len(names))
    return {
        "axes": axes or {},
        "preprocessing": dataclasses.asdict(preprocessing),
        "labels": labels.name_of(data.classes) or (None if unnamed else names),
    }


def _figures(job, folder, progress):
    """The best of the history, and the accuracy on the test pictures: read once."""
    figures = {"seconds": round(progress.seconds, 1)}
    which = "last"
    if progress.best is not None:
        figures.update(keeping.figures(job.recipe, progress))
        which = "best"
        devices.wait_for_all()
        without_optimizer(job.model).load_weights(folder.weights(which))
    if job.data.test is not None:
        found = loop.judge(job, job.data.test)
        figures.update(test_accuracy=found["accuracy"], test_weights=which)
    return figures
