"""Weights: what the `weights` argument takes.

None (random values) or a file that this package wrote: `.weights.h5`
(`model.save_weights`) or `.keras` (`model.save`). Loading is strict: every variable
is set and every stored value used, or a `WeightsError` says what does not fit. Only
a `.keras` file tells how its layers are joined: two variants whose weights have the
same shapes in the same order (`resnet20` and `resnet20v2`) take each other's
`.weights.h5`, as everywhere in Keras.
"""

import itertools
import math
import os
import pathlib
import warnings

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
    before = model.get_weights()
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that it finds no values for.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        model.set_weights(before)
        raise WeightsError(
            f"{path} does not fit {model.name}: {_first_line(error)}"
        ) from None


def _check_same_size(model, path):
    """Keras leaves stored values over without a word; they are counted here."""
    import h5py

    stored = []

    def collect(name, item):
        if not isinstance(item, h5py.Dataset):
            return
        if not name.startswith("optimizer/") and "seed_generator" not in name:
            stored.append(item.size)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(collect)
    except OSError as error:
        raise WeightsError(
            f"{path} is not an HDF5 file: {_first_line(error)}"
        ) from None
    wanted = [math.prod(weight.shape) for weight in model.weights]
    if (len(stored), sum(stored)) != (len(wanted), sum(wanted)):
        raise WeightsError(
            f"{path} does not fit {model.name}: it holds {len(stored)} arrays with "
            f"{sum(stored):,} values, the model has {len(wanted)} with {sum(wanted):,}"
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
    for theirs, ours in itertools.zip_longest(_outline(other), _outline(model)):
        if theirs != ours:
            raise WeightsError(
                f"{path} does not fit {model.name}: it holds {theirs or 'no more'} "
                f"where the model has {ours or 'no more'}"
            )
    model.set_weights(other.get_weights())


def _outline(model):
    """What two models must share for the weights of one to mean the same in the other.

    The kind and the place of every layer between image and output, and the shapes of
    its weights; not the names, and not what only training uses.
    """
    import keras

    from keras_resnets.layers import StochasticDepth

    passed_over = (keras.layers.InputLayer, keras.layers.Dropout, StochasticDepth)
    return [
        (type(layer).__name__, *(tuple(weight.shape) for weight in layer.weights))
        for layer in model.layers
        if not isinstance(layer, passed_over)
    ]


def _first_line(error):
    return (
        str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
    )
