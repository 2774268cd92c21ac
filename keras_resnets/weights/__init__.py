"""Weights: what the `weights` argument takes.

None (random values) or a file that this package wrote: `.weights.h5`
(`model.save_weights`) or `.keras` (`model.save`). Loading is strict: every variable
is set and every stored value used, or a `WeightsError` says what does not fit.
"""

import os
import pathlib

from keras_resnets.errors import WeightsError

SUFFIXES = (".weights.h5", ".keras")


def check_weights_argument(weights):
    """Raises `WeightsError` for a `weights` argument that cannot work, before building."""
    if weights is None:
        return
    if not isinstance(weights, (str, os.PathLike)):
        raise WeightsError(
            f"weights must be None or a path; got {type(weights).__name__}"
        )
    path = pathlib.Path(weights)
    if not path.name.endswith(SUFFIXES):
        raise WeightsError(
            f"weights must be None or a file ending in {' or '.join(SUFFIXES)}; "
            f"got {str(weights)!r}"
        )
    if not path.is_file():
        raise WeightsError(f"weights: there is no file {str(weights)!r}")


def load_weights(model, path):
    """Sets every variable of `model` from the file at `path`.

    Args:
        model: a `keras.Model` of this package.
        path: a `.weights.h5` or `.keras` file of the same variant and classes.

    Raises:
        WeightsError: a file that cannot be read, or of another network.
    """
    check_weights_argument(path)
    path = pathlib.Path(path)
    load = _load_keras if path.name.endswith(".keras") else _load_h5
    load(model, path)


def _load_h5(model, path):
    _check_same_size(model, path)
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(
            f"{path} does not fit {model.name}: {_first_line(error)}"
        ) from None


def _check_same_size(model, path):
    """Keras leaves stored values over without a word; they are counted here."""
    import h5py

    stored = []

    def collect(_, item):
        if isinstance(item, h5py.Dataset) and "seed_generator" not in item.name:
            stored.append(item.size)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(collect)
    except OSError as error:
        raise WeightsError(
            f"{path} is not an HDF5 file: {_first_line(error)}"
        ) from None
    wanted = [w.shape for w in model.weights]
    total = model.count_params()
    if len(stored) < len(wanted) or sum(stored) < total:
        raise WeightsError(
            f"{path} does not fit {model.name}: it holds {len(stored)} arrays with "
            f"{sum(stored):,} values, the model needs {len(wanted)} with {total:,}"
        )


def _load_keras(model, path):
    import keras

    try:
        # compile=False: an optimizer's state is not looked at.
        other = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} is not a model of Keras 3: {_first_line(error)}"
        ) from None
    theirs = [
        (weight.path.split("/")[-1], tuple(weight.shape)) for weight in other.weights
    ]
    ours = [
        (weight.path.split("/")[-1], tuple(weight.shape)) for weight in model.weights
    ]
    if theirs != ours:
        difference = next(
            (pair for pair in zip(theirs, ours, strict=False) if pair[0] != pair[1]),
            (f"{len(theirs)} arrays", f"{len(ours)} arrays"),
        )
        raise WeightsError(
            f"{path} does not fit {model.name}: it holds {difference[0]} where the "
            f"model has {difference[1]}"
        )
    model.set_weights(other.get_weights())


def _first_line(error):
    return (
        str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
    )
