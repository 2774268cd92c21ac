"""This package's own files: `.weights.h5` and `.keras`."""

import itertools
import math
import warnings

from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line

SUFFIXES = (".weights.h5", ".keras")


def load(model, path):
    """Sets every variable of `model` from the file at `path`.

    Raises:
        WeightsError: a file that cannot be read, or of another network.
    """
    (_load_keras if path.name.endswith(".keras") else _load_h5)(model, path)


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
            f"{path} does not fit {model.name}: {first_line(error)}"
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
        raise WeightsError(f"{path} is not an HDF5 file: {first_line(error)}") from None
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
            f"{path} is not a model of Keras 3: {first_line(error)}"
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
