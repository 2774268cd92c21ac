"""Compiles and fits a model by a recipe, and resumes where it was stopped."""

import typing

import keras
import numpy as np

from keras_resnets.graph import anatomy
from keras_resnets.images.datasets.split import Split
from keras_resnets.training import best_weights
from keras_resnets.training import compiling
from keras_resnets.training import devices
from keras_resnets.training import fitting
from keras_resnets.training import state
from keras_resnets.training.correctness import Correctness
from keras_resnets.training.data.pipeline import own_errors
from keras_resnets.training.distillation import Distiller
from keras_resnets.training.job import Job
from keras_resnets.training.job import Phase
from keras_resnets.training.job import phases
from keras_resnets.training.job import spread
from keras_resnets.training.run_folder import RunFolder
from keras_resnets.training.run_folder import without_optimizer
from keras_resnets.training.state import Progress


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
        TrainingError: a loss that is not finite, a state that cannot be read, or a
            folder that cannot be written to.
    """
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
            fitting.fit(
                job, folder, phase, trainer, progress, last, arrays, correctness
            )
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
        else:
            # A lucky guess of a new classifier must not keep a trained one out.
            progress.best = None
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
        folder.load_weights("best", job.model)


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


def _finish_again(job: Job, arrays: dict[str, np.ndarray] | None) -> None:
    """Finishes a run that was stopped after its last epoch."""
    trainer = _prepare(job, phases(job.recipe, job.trained_head)[-1])
    state.restore(arrays, job.model, trainer, ("model", "optimizer"))
    trainer.optimizer.finalize_variable_values(trainer.trainable_weights)


def judge(job: Job, split: Split, model: keras.Model | None = None) -> dict[str, float]:
    """Returns `loss` and the job's `measure` of the network on a `Split`, as a dict.

    They are measured on as many images as can be distributed evenly over the devices.

    Args:
        job: the job.
        split: the images.
        model: a copy of the job's network, such as one in another precision; None for
            the network itself.
    """
    judging = without_optimizer(model or job.model)
    logits = compiling.puts_out_logits(job.model)
    loss = compiling.loss(job.recipe, logits)
    measures = compiling.metrics(job.classes, job.data.is_multi_label, logits)
    judging.compile(loss=loss, metrics=measures[:1])
    data = job.batches(spread(split), training=False)
    with own_errors(data):
        figures = judging.evaluate(data, verbose=0, return_dict=True)
    return {name: float(value) for name, value in figures.items()}
