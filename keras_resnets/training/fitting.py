"""Fits one call's epochs of a training, and ends an epoch that was left in validation."""

import typing

import keras
import numpy as np

from keras_resnets.system import interrupts
from keras_resnets.system import progress as display
from keras_resnets.training import best_weights
from keras_resnets.training import callbacks
from keras_resnets.training import compiling
from keras_resnets.training import diagnosis
from keras_resnets.training import state
from keras_resnets.training.correctness import Correctness
from keras_resnets.training.data.pipeline import own_errors
from keras_resnets.training.job import Job
from keras_resnets.training.job import Phase
from keras_resnets.training.run_folder import RunFolder
from keras_resnets.training.state import Progress

# Seconds that an interrupt waits for the end of a step, so that its state is saved.
_PATIENCE = 5.0


def fit(
    job: Job,
    folder: RunFolder,
    phase: Phase,
    trainer: keras.Model,
    progress: Progress,
    last: int,
    arrays: dict[str, np.ndarray] | None,
    correctness: Correctness | None,
) -> None:
    """Fits from `progress` up to the epoch `last`.

    Args:
        job: the job.
        folder: the run's folder.
        phase: the phase of the epochs.
        trainer: the compiled model of the phase.
        progress: the progress; it is updated.
        last: the number of the first epoch that is left alone.
        arrays: the arrays of the state of `progress`, if it is within an epoch.
        correctness: determines the correct held-out images; None without any.
    """
    epoch, step = progress.epoch, progress.step
    validation = job.validation_batches()
    watching = _watching(job, folder, phase, trainer, progress, arrays, correctness)
    # The `Keeper` stops at a complete state, if a step ends soon enough.
    shown = display.aside()
    if not job.verbose:
        shown = display.step(f"training {job.model.name}")
    if step == job.steps_per_epoch:
        with own_errors(validation), interrupts.held(_PATIENCE), shown:
            _end_epoch(trainer, epoch, validation, watching, job.verbose)
        return
    data = job.training_batches(epoch, step)
    tell = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs=None: data.set_epoch(epoch)
    )
    with own_errors(data, validation), interrupts.held(_PATIENCE), shown:
        trainer.fit(
            data,
            epochs=last,
            initial_epoch=epoch,
            validation_data=validation,
            callbacks=[tell, *watching],
            shuffle=False,
            verbose=job.verbose,
        )


def _end_epoch(
    trainer: keras.Model,
    epoch: int,
    validation: typing.Any,
    watching: list[keras.callbacks.Callback],
    verbose: int | str,
) -> None:
    """Does what `fit` does after the last step of an epoch, and ends as `fit` does."""
    told = keras.callbacks.CallbackList(watching, model=trainer)
    told.on_train_begin()
    trainer.reset_metrics()
    told.on_epoch_begin(epoch)
    logs = dict(trainer.get_metrics_result())
    figures = trainer.evaluate(
        validation, callbacks=told, verbose=verbose, return_dict=True
    )
    logs.update({f"val_{name}": value for name, value in figures.items()})
    told.on_epoch_end(epoch, logs)
    trainer.optimizer.finalize_variable_values(trainer.trainable_weights)
    told.on_train_end(logs)


def _watching(
    job: Job,
    folder: RunFolder,
    phase: Phase,
    trainer: keras.Model,
    progress: Progress,
    arrays: dict[str, np.ndarray] | None,
    correctness: Correctness | None,
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of a `fit` that begins at `progress`."""
    step = progress.step

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
        watching += [callbacks.ResetGradients(), callbacks.SeedSteps(job.seed, step)]
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
            job.steps_per_epoch,
            job.measure,
        )
    )
    if phase.recipe.ema is not None:
        watching.append(keras.callbacks.SwapEMAWeights())
    watching.append(callbacks.TellReplaced(job.data, job.tell))
    if job.tensorboard:
        watching.append(keras.callbacks.TensorBoard(folder.path / "tensorboard"))
    if not job.verbose:
        before, total = (
            n * job.steps_per_epoch for n in (progress.epoch, job.recipe.epochs)
        )
        watching.append(callbacks.CountSteps(before + step, total))
    return watching


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
