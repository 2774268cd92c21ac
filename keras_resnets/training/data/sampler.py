"""The images and random numbers of each step, as pure functions."""

import functools
import typing

import numpy as np

from keras_resnets.images.datasets.seeded import BATCH
from keras_resnets.images.datasets.seeded import CLASSES
from keras_resnets.images.datasets.seeded import IMAGES
from keras_resnets.images.datasets.seeded import NETWORK
from keras_resnets.images.datasets.seeded import SHUFFLE
from keras_resnets.images.datasets.seeded import generator
from keras_resnets.images.datasets.seeded import permuted


class Order:
    """The images and random numbers of every step of every epoch.

    Everything is a function of the seed, the epoch and the position within it. It does
    not depend on earlier draws, threads or a global seed, so that a run may start
    anywhere.

    Args:
        count: images per epoch.
        batch_size: images per step.
        seed: integer >= 0.
        shuffled: use a new order in each epoch, or always the order of the images.
        drop_remainder: leave out the last step if it is smaller.
        part: (index, number) of the machine's share of every step, if several
            machines train together.
        balance: labels, int array (count,), to take equally many images of each class
            in every epoch; or None to take each image once. Only if shuffled.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        shuffled: bool,
        drop_remainder: bool,
        part: tuple[int, int] = (0, 1),
        balance: typing.Any = None,
    ) -> None:
        self.count, self.batch_size = count, batch_size
        self._members = [] if balance is None else _members(balance)
        self._seed, self._shuffled, self._part = seed, shuffled, part
        self.steps = count // batch_size if drop_remainder else -(-count // batch_size)
        # Cached: all steps of an epoch use the same permutation.
        self._permutation = functools.lru_cache(2)(self._permutation_of)

    def indices(self, epoch: int, step: int) -> np.ndarray:
        """Returns the index of each image of a step."""
        start, end = self._rows(step)
        if not self._shuffled:
            return np.arange(start, end)
        return self._permutation(epoch)[start:end]

    def _rows(self, step: int) -> tuple[int, int]:
        """Returns (first, end) of the positions of a step's share in the epoch."""
        start = step * self.batch_size
        end = min(start + self.batch_size, self.count)
        index, number = self._part
        first, last = (
            start + (end - start) * cut // number for cut in (index, index + 1)
        )
        return first, last

    def _permutation_of(self, epoch: int) -> np.ndarray:
        order = permuted(self.count, self._seed, epoch, SHUFFLE)
        return self._balanced(epoch)[order] if self._members else order

    def _balanced(self, epoch: int) -> np.ndarray:
        """Returns an epoch of the same length with equally many images of each class.

        The images of a class are repeated, in a new order each time, until its share
        is complete: each of them appears equally often, within one.
        """
        classes = len(self._members)
        # The classes whose share is one image larger change with the epoch.
        turns = permuted(classes, self._seed, epoch, CLASSES)
        chosen = []
        for turn, index in enumerate(turns.tolist()):
            members = self._members[index]
            share = self.count // classes + (turn < self.count % classes)
            rounds = [
                members[permuted(len(members), self._seed, epoch, CLASSES, index, n)]
                for n in range(-(-share // len(members)))
            ]
            chosen.append(np.concatenate(rounds)[:share] if rounds else members[:0])
        return np.concatenate(chosen)

    def numbers(self, epoch: int, step: int, columns: int) -> np.ndarray:
        """Returns a float64 array (images of the step, columns), uniform in [0, 1).

        The row of an image depends only on its position in the epoch, not on the batch
        size.
        """
        start, end = self._rows(step)
        # Each increment of Philox' counter gives four numbers.
        padded = -(-columns // 4) * 4
        numbers = generator(self._seed, epoch, IMAGES)
        numbers.advance(start * padded // 4)
        drawn = np.random.Generator(numbers).random((end - start, padded))
        return drawn[:, :columns]

    def batch_seed(self, epoch: int, step: int) -> int:
        """Returns the seed of random operations on a complete batch, in [0, 2**31)."""
        numbers = generator(self._seed, epoch, BATCH)
        numbers.advance(step)
        return int(numbers.random_raw() >> 33)


def network_seed(seed: int, epoch: int, step: int) -> int:
    """Returns the seed of the network's random numbers in a step, in [0, 2**63)."""
    numbers = generator(seed, epoch, NETWORK)
    numbers.advance(step)
    return int(numbers.random_raw() >> 1)


def _members(labels: typing.Any) -> list[typing.Any]:
    """Returns the indices of the images of each class that has images."""
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]
