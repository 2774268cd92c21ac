"""Random numbers that depend on a seed alone, and the hold-out drawn by them."""

import typing

import numpy as np

# Separate streams of random numbers.
SHUFFLE, IMAGES, BATCH, NETWORK, CLASSES = range(5)


def permuted(count: int, *words: typing.Any) -> np.ndarray:
    """Returns a permutation of 0..count - 1 that depends on `words` alone."""
    return np.argsort(generator(*words).random_raw(count), kind="stable")


def generator(*words: typing.Any) -> np.random.Philox:
    """Returns the generator that is seeded by `words`, whole numbers."""
    key = np.random.SeedSequence(words).generate_state(2, np.uint64)
    return np.random.Philox(key=key)


def held_out(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws the images to hold out for validation, the same share of every class.

    Args:
        labels: int array (count,).
        share: share of each class, in [0, 1); rounded, but at least one image of a
            class of two or more.
        seed: seed of the draw.

    Returns:
        bool array (count,) that marks the held-out images.
    """
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        raw = generator(seed, int(label), SHUFFLE).random_raw(len(members))
        chosen[members[np.argsort(raw, kind="stable")[:count]]] = True
    return chosen
