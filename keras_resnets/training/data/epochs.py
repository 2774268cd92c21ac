"""Which epoch an iteration goes through, and batches made ahead of it."""

import concurrent.futures


class Epochs:
    """The epoch that the next iteration goes through.

    It advances when the last batch of an epoch has been handed over. Keras' `fit`
    reads a batch before its first epoch, to build the model, and begins anew: that
    advances nothing, unless an epoch has one step alone. Whoever calls `set_epoch` at
    the beginning of every epoch does not depend on this.

    Args:
        first: the epoch to start in.
        first_step: the step of that epoch to start at; later epochs are whole.
        steps: of a whole epoch.
    """

    def __init__(self, first, first_step, steps):
        self._epoch, self._first, self._first_step = first, first, first_step
        self._steps, self._finished = steps, False

    def set_epoch(self, epoch):
        """Makes the next iteration go through `epoch`."""
        self._epoch, self._finished = epoch, False

    @property
    def epoch(self):
        """The epoch that an iteration would go through if it began now."""
        return self._epoch + self._finished

    def steps(self):
        """The steps of `epoch`, a range."""
        start = self._first_step if self.epoch == self._first else 0
        return range(start, self._steps)

    def begin(self):
        """Begins an iteration: (epoch, range of its steps)."""
        self.set_epoch(self.epoch)
        return self._epoch, self.steps()

    def hand_over(self, epoch, step):
        """Notes that the batch of a step has been taken."""
        if epoch == self._epoch and step == self._steps - 1:
            self._finished = True


class Ahead:
    """Batches made by threads, a few steps ahead of their being asked for.

    Args:
        make: function of (epoch, step).
        workers: threads.
    """

    def __init__(self, make, workers):
        self._make, self._depth = make, workers + 1
        self._pool = concurrent.futures.ThreadPoolExecutor(workers)
        self._futures = {}

    def get(self, epoch, step, end):
        """The batch of a step; those up to step `end` of the epoch are started."""
        wanted = [(epoch, s) for s in range(step, min(step + self._depth, end))]
        for key in [key for key in self._futures if key not in wanted]:
            self._futures.pop(key).cancel()
        for key in wanted:
            if key not in self._futures:
                self._futures[key] = self._pool.submit(self._make, *key)
        return self._futures.pop((epoch, step)).result()
