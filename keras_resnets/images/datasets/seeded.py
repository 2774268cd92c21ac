"""Random numbers that follow from a seed alone, and who is held out by them."""

import typing

import numpy as np

from keras_resnets.errors import InvalidArgument

# Streams of random numbers that must not meet.
SHUFFLE, IMAGES, BATCH, NETWORK, CLASSES = range(5)


def permuted(count: int, *words: typing.Any) -> np.ndarray:
    """The whole numbers below `count` in an order that follows from `words`."""
    return np.argsort(generator(*words).random_raw(count), kind="stable")


def generator(*words: typing.Any) -> np.random.Philox:
    """The random numbers that `words`, whole numbers, stand for."""
    key = np.random.SeedSequence(words).generate_state(2, np.uint64)
    return np.random.Philox(key=key)


def check_seed(seed: int) -> None:
    """Raises `InvalidArgument` unless `seed` is a whole number of at least 0."""
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InvalidArgument(f"seed must be a whole number >= 0; got {seed!r}")


def held_out(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which images are held out for validation: the same share of every class.

    Args:
        labels: int array (count,).
        share: of each class, in [0, 1); rounded, but at least one image of a class
            of two or more.
        seed: of the choice.

    Returns:
        bool array (count,).
    """
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        raw = generator(seed, int(label), SHUFFLE).random_raw(len(members))
        chosen[members[np.argsort(raw, kind="stable")[:count]]] = True
    return chosen
