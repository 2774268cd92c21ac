"""The epoch of the next iteration, and batches that threads prepare ahead."""

import concurrent.futures
import threading
import typing
from collections.abc import Callable

if typing.TYPE_CHECKING:
    import numpy as np


class Epochs:
    """The epoch of the next iteration.

    It advances when the last batch of an epoch has been taken. Keras' `fit` reads a
    batch before its first epoch, to build the model, and then starts again: this does
    not advance it, unless an epoch has only one step. Callers that call `set_epoch` at
    the beginning of every epoch do not depend on this.

    Args:
        first: the epoch to start in.
        first_step: the step of that epoch to start at; later epochs start at step 0.
        steps: steps of a complete epoch.
    """

    def __init__(self, first: int, first_step: int, steps: int) -> None:
        self._epoch, self._first, self._first_step = first, first, first_step
        self._steps, self._finished = steps, False

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self._epoch, self._finished = epoch, False

    @property
    def epoch(self) -> int:
        """The epoch of an iteration that begins now."""
        return self._epoch + self._finished

    def steps(self) -> range:
        """The steps of `epoch`."""
        start = self._first_step if self.epoch == self._first else 0
        return range(start, self._steps)

    def begin(self) -> tuple[int, typing.Any]:
        """Begins an iteration; returns (epoch, range of its steps)."""
        self.set_epoch(self.epoch)
        return self._epoch, self.steps()

    def hand_over(self, epoch: int, step: int) -> None:
        """Records that the batch of a step has been taken."""
        if epoch == self._epoch and step == self._steps - 1:
            self._finished = True


class _Pools:
    """Threads that all data sets of a process share while they prepare batches.

    TensorFlow never releases the functions of its data sets, nor would it release
    their threads: an epoch that is abandoned leaves no threads but these.
    """

    def __init__(self) -> None:
        self._pools: dict[int, typing.Any] = {}
        self._lock = threading.Lock()

    def begin(self, workers: int) -> typing.Any:
        """Returns the pool with this number of threads."""
        with self._lock:
            pool, users = self._pools.get(workers, (None, 0))
            pool = pool or concurrent.futures.ThreadPoolExecutor(workers)
            self._pools[workers] = pool, users + 1
        return pool

    def end(self, workers: int) -> None:
        """Ends the threads unless another data set uses them."""
        with self._lock:
            pool, users = self._pools.pop(workers)
            if users > 1:
                self._pools[workers] = pool, users - 1
            else:
                pool.shutdown(wait=False)


_POOLS = _Pools()


class Ahead:
    """Prepares batches in threads, a few steps ahead.

    Args:
        start: function of (epoch, step) that returns the work of a batch: functions
            to call in any order, and a function to call after them, which returns the
            batch.
        workers: number of threads.
        depth: largest number of batches that are in preparation or ready.
    """

    def __init__(
        self, start: Callable[..., typing.Any], workers: int, depth: int = 3
    ) -> None:
        self._start, self._depth, self._workers = start, depth, workers
        self._pool: typing.Any = None
        self._batches: dict[typing.Any, typing.Any] = {}

    def get(self, epoch: int, step: int, end: int) -> "tuple[np.ndarray, np.ndarray]":
        """Returns the batch of a step; starts the next batches, before step `end`."""
        upcoming = [(epoch, s) for s in range(step, min(step + self._depth, end))]
        for key in [key for key in self._batches if key not in upcoming]:
            self._batches.pop(key).cancel()
        for key in upcoming:
            if key not in self._batches:
                self._batches[key] = _Work(self._threads(), *self._start(*key))
        try:
            return self._batches.pop((epoch, step)).result()
        finally:
            if not self._batches:
                self.close()

    def _threads(self) -> typing.Any:
        if self._pool is None:
            self._pool = _POOLS.begin(self._workers)
        return self._pool

    def close(self) -> None:
        """Releases the threads; the next `get` starts new ones."""
        if self._pool is not None:
            self._pool = None
            _POOLS.end(self._workers)


class _Work:
    """One batch, prepared by several threads; the last thread completes it."""

    def __init__(
        self,
        pool: typing.Any,
        portions: list[Callable[..., typing.Any]],
        finish: Callable[..., typing.Any],
    ) -> None:
        self._left, self._finish = len(portions), finish
        self._lock = threading.Lock()
        self._batch: concurrent.futures.Future[tuple[np.ndarray, np.ndarray]] = (
            concurrent.futures.Future()
        )
        self._portions = [pool.submit(self._do, portion) for portion in portions]

    def _do(self, portion: Callable[..., typing.Any]) -> None:
        try:
            portion()
            with self._lock:
                self._left -= 1
                last = not self._left
            if last:
                self._batch.set_result(self._finish())
        # Raised again where the batch is taken.
        except Exception as error:
            with self._lock:
                if not self._batch.done():
                    self._batch.set_exception(error)

    def cancel(self) -> None:
        for portion in self._portions:
            portion.cancel()

    def result(self) -> "tuple[np.ndarray, np.ndarray]":
        return self._batch.result()
