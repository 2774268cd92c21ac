"""Finds images that are in two splits of a data set."""

import concurrent.futures
import typing

import numpy as np

from keras_resnets.errors import counted
from keras_resnets.errors import printable

if typing.TYPE_CHECKING:
    from keras_resnets.images.datasets.split import Split

# Of images in files so many are compared, since each has to be read.
_MOST_FILES = 500
# More images than these have the sign of another one only if all are alike.
_MOST_CANDIDATES = 20_000
_READERS = 16


def note(train: "Split", other: "Split | None", called: str) -> str | None:
    """Returns a line about images that are also training images, or None.

    Images are compared byte by byte, after a sign that costs little: the size of the
    file, or one row of pixels. Of many files, a sample is compared.

    Args:
        train: the training images.
        other: the images of another split; None for none.
        called: what the line calls these, such as `"test"`.
    """
    if other is None or not other.count:
        return None
    chosen = other.indices
    if other.kind != "arrays" and len(chosen) > _MOST_FILES:
        spread = np.linspace(0, len(chosen) - 1, _MOST_FILES).astype("int64")
        chosen = chosen[spread]
    compared = len(chosen)
    signs = other.images.signs(chosen)
    own = train.images.signs(train.indices)
    candidates = train.indices[np.isin(own, signs)][:_MOST_CANDIDATES]
    chosen = chosen[np.isin(signs, own)][:_MOST_CANDIDATES]
    index_of = {digest: index for index, digest in _digests(train, candidates)}
    pairs = [
        (index, index_of[digest])
        for index, digest in _digests(other, chosen)
        if digest in index_of
    ]
    if not pairs:
        return None
    name, same = other.images.name(pairs[0][0]), train.images.name(pairs[0][1])
    are = "is a training image" if len(pairs) == 1 else "are training images"
    return (
        f"{len(pairs):,} of {counted(compared, f'{called} image')} {are} too, such as "
        f"{printable(name, 60)} ({printable(same, 60)}): the {called} accuracy is too high"
    )


def _digests(split: "Split", indices: np.ndarray) -> list[tuple[int, bytes]]:
    """Returns (index, digest) of images, without those that cannot be read."""
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        digests = list(pool.map(split.images.digest, indices.tolist()))
    pairs = zip(indices.tolist(), digests, strict=True)
    return [(index, digest) for index, digest in pairs if digest is not None]
