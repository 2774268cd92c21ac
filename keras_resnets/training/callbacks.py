"""Callbacks of a training: saving, resuming, seeding, stopping at NaN."""

import contextlib
import math
import threading
import time
import typing
from collections.abc import Callable
from collections.abc import Iterator

import keras

from keras_resnets.errors import TrainingError
from keras_resnets.images.files import replaced_note
from keras_resnets.system import interrupts
from keras_resnets.system.progress import count
from keras_resnets.training import best_weights
from keras_resnets.training import devices
from keras_resnets.training import state
from keras_resnets.training.data.sampler import network_seed

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.graph.provenance import Provenance
    from keras_resnets.images.datasets.split import Dataset
    from keras_resnets.training.run_folder import RunFolder
    from keras_resnets.training.state import Progress


class Keeper(keras.callbacks.Callback):
    """Keeps the state, the best weights and the history in a run's folder.

    Args:
        folder: a `RunFolder`.
        progress: the `state.Progress` that it updates.
        model: the network inside the fitted model.
        provenance: the metadata of the files of weights.
        rate: function without arguments: the learning rate of the next step.
        check: function of a batch that raises if an earlier loss is not finite.
        take: function of (epoch from 1, validation accuracy): whether the network's
            weights after that epoch are to be kept from now on.
        seconds: seconds between two states within an epoch; every epoch ends with one,
            and so do its steps where a validation follows.
        steps: steps of an epoch.
        measure: the name of the metric by which weights are kept.
    """

    def __init__(
        self,
        folder: "RunFolder",
        progress: "Progress",
        model: keras.Model,
        provenance: "Provenance",
        rate: Callable[..., typing.Any],
        check: Callable[..., typing.Any],
        take: Callable[..., typing.Any],
        seconds: float,
        steps: int,
        measure: str = "accuracy",
    ) -> None:
        super().__init__()
        self._folder, self._progress, self._network = folder, progress, model
        # Only one of several processes of a joint training writes.
        self._writes = devices.part()[0] == 0
        self._provenance, self._seconds = provenance, seconds
        self._measure = f"val_{measure}"
        self._rate, self._check, self._take = rate, check, take
        self._first, self._steps = progress.step, steps
        self._saved = self._counted = time.monotonic()

    # Not at the end of a batch, for which Keras waits until the device has finished it.
    def on_train_batch_begin(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        self._progress.step = self._first + batch
        due = time.monotonic() - self._saved >= self._seconds
        if batch and (due or interrupts.received()):
            self._check(batch)
            self._save()
        interrupts.check()

    # Keras resets the metrics of the steps after this; `SwapEMAWeights`, which rounds,
    # must come after it too.
    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        if self._progress.step < self._steps:
            self._check(self._steps - self._first)
            self._progress.step = self._steps
            self._save()
        interrupts.check()

    def on_test_batch_begin(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        interrupts.check()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        self._keep_best(epoch + 1, figures.get(self._measure))
        with interrupts.held():
            self._keep_epoch(epoch, figures)
        interrupts.check()

    def _keep_epoch(self, epoch: int, figures: dict[str, float]) -> None:
        self._count_time()
        row = {"epoch": epoch + 1, **figures, "learning_rate": self._rate()}
        row["seconds"] = round(self._progress.seconds, 1)
        self._progress.history.append(row)
        self._progress.epoch, self._progress.step, self._first = epoch + 1, 0, 0
        self._save()
        if self._writes:
            self._folder.write_history(self._progress.history)

    def _keep_best(self, epoch: int, accuracy: float | None) -> None:
        if accuracy is None or not best_weights.is_higher(self._progress, accuracy):
            return
        with averaged(self.model):
            # It may evaluate all held-out images, so interrupts are not deferred.
            taken = self._take(epoch, accuracy)
            with interrupts.held():
                if taken and self._writes:
                    self._folder.write_weights("best", self._network, self._provenance)

    def _save(self) -> None:
        self._count_time()
        if self._writes:
            with interrupts.held():
                state.save(
                    self._folder.state, self._network, self.model, self._progress
                )
        self._saved = time.monotonic()

    def _count_time(self) -> None:
        now = time.monotonic()
        self._progress.seconds += now - self._counted
        self._counted = now


class GoOn(keras.callbacks.Callback):
    """Restores the metrics of an interrupted epoch.

    Keras resets them at the beginning of an epoch, just before it calls this.
    """

    def __init__(
        self, arrays: "dict[str, np.ndarray] | None", model: keras.Model
    ) -> None:
        super().__init__()
        self._network = model
        self._arrays: typing.Any = arrays

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._arrays is not None:
            state.restore(self._arrays, self._network, self.model, ("metrics",))
            self._arrays = None


class SeedSteps(keras.callbacks.Callback):
    """Seeds PyTorch's generators at every step, as a function of epoch and step.

    Keras' dropout draws from them on PyTorch. On the other backends it draws from seeds
    that are variables of the model, which a state holds.

    Args:
        seed: the run's seed.
        first_step: the first step of the epoch that `fit` begins with.
    """

    def __init__(self, seed: int, first_step: int = 0) -> None:
        super().__init__()
        self._seed, self._epoch, self._first = seed, 0, first_step

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, typing.Any] | None = None
    ) -> None:
        self._epoch = epoch

    def on_train_batch_begin(
        self, batch: typing.Any, logs: dict[str, typing.Any] | None = None
    ) -> None:
        import torch

        torch.manual_seed(network_seed(self._seed, self._epoch, self._first + batch))

    def on_epoch_end(
        self, epoch: int, logs: dict[str, typing.Any] | None = None
    ) -> None:
        self._first = 0


class ResetGradients(keras.callbacks.Callback):
    """Resets PyTorch's gradients of all variables before every step.

    Keras resets those that it finds by the variables' paths. Layers of inner models may
    have the same path; the gradients of all but one would be added up over the steps.
    """

    def on_train_begin(self, logs: dict[str, typing.Any] | None = None) -> None:
        self._variables = self.model.trainable_variables

    def on_train_batch_begin(
        self, batch: typing.Any, logs: dict[str, typing.Any] | None = None
    ) -> None:
        for variable in self._variables:
            variable.value.grad = None


class StopAtNaN(keras.callbacks.Callback):
    """Ends a training whose loss is not finite, with the likely cause.

    On JAX the loss of a step is read while later steps run: waiting for it makes a step
    of ResNet-50 on an H100 6 % longer, one of ResNet-20 30 %.

    Args:
        progress: the `state.Progress` that a `Keeper` updates.
        explain: function of (epoch, step) that returns the likely cause.
    """

    # Keras then calls `on_train_batch_end` from threads, if the backend allows it.
    async_safe = True

    def __init__(
        self, progress: "Progress", explain: Callable[..., typing.Any]
    ) -> None:
        super().__init__()
        self._progress, self._explain = progress, explain
        self._first = progress.step
        self._read = 0
        self._bad: dict[typing.Any, typing.Any] = {}
        self._news = threading.Condition()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._read = 0

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        if self._bad:
            self.check(batch)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        with self._news:
            self._read += 1
            if not math.isfinite(loss):
                self._bad[batch] = loss
            self._news.notify_all()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.check(self._read)
        self._first = 0

    def check(self, batch: int) -> None:
        """Raises if the loss of an earlier batch of the epoch is not finite.

        Args:
            batch: Keras' index of the batch in the epoch of a `fit`.

        Raises:
            TrainingError: with the first such step and the likely cause.
        """
        with self._news:
            # With a timeout: a step that fails on the device has no loss.
            self._news.wait_for(lambda: self._read >= batch, timeout=60)
        if not self._bad:
            return
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        first = min(self._bad)
        epoch, step = self._progress.epoch, self._first + first
        raise TrainingError(
            f"the loss is {self._bad[first]} at step {step + 1} of epoch {epoch + 1}: "
            f"{self._explain(epoch, step)}"
        )


class CountSteps(keras.callbacks.Callback):
    """Shows how far a training is, where Keras does not (`verbose=0`).

    Args:
        first: the number of steps before this `fit`.
        total: that of the whole training.
    """

    def __init__(self, first: int, total: int) -> None:
        super().__init__()
        self._done, self._total = first, total

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        self._done += 1
        count(self._done, self._total, "steps")


class TellReplaced(keras.callbacks.Callback):
    """Reports at the end of an epoch which images could not be decoded.

    Args:
        data: the `data.Dataset`.
        tell: function of a line.
    """

    def __init__(self, data: "Dataset", tell: Callable[..., typing.Any]) -> None:
        super().__init__()
        self._data, self._tell, self._told = data, tell, 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        names = self._data.replaced
        if len(names) > self._told:
            self._told = len(names)
            self._tell(replaced_note(names))


@contextlib.contextmanager
def averaged(trainer: keras.Model) -> Iterator[None]:
    """Replaces the weights by their moving average in the block, if there is one."""
    inner = getattr(trainer.optimizer, "inner_optimizer", trainer.optimizer)
    if not inner.use_ema:
        yield
        return
    swap = keras.callbacks.SwapEMAWeights()
    swap.set_model(trainer)
    swap.on_test_begin()
    try:
        yield
    finally:
        swap.on_test_end()
