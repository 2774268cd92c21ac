"""Rounds the kernels of a network by the method that a recipe names."""

from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export.recipes import ROUNDING_STEPS
from keras_resnets.export.recipes import Recipe
from keras_resnets.quantization.bias_correction import correct_biases
from keras_resnets.quantization.rounding.kernels import Alternatives
from keras_resnets.quantization.rounding.kernels import round_second_order
from keras_resnets.quantization.rounding.learned import round_learned


def round_kernels(
    model: keras.Model,
    images: np.ndarray,
    recipe: Recipe,
    seed: int = 0,
    progress: Callable[..., object] | None = None,
    skipped: Sequence[str] = (),
    alternatives: Alternatives | None = None,
) -> None:
    """Rounds the kernels of `model` and corrects its biases, by a recipe's `rounding`.

    Args:
        model: a model of `rewrite` whose activation ranges are set.
        images: float32 array (count, height, width, channels), preprocessed.
        recipe: the `Recipe`. With the rounding `"nearest"` kernels stay unchanged, to
            be rounded by their layers, and only the biases are corrected, see
            `correct_biases`; `"second-order"`: see `round_second_order`; `"learned"`:
            see `round_learned`, with `rounding_steps`.
        seed: see `round_second_order`.
        progress: see `round_second_order`.
        skipped: see `round_second_order`.
        alternatives: see `round_second_order`; for `"second-order"` only.

    Raises:
        InvalidArgument: see `round_second_order`.
    """
    sparse = [x.name for x in model.layers if getattr(x, "sparsity", 0)]
    if sparse and recipe.rounding != "second-order":
        raise InvalidArgument(
            "layers with a sparsity require the rounding 'second-order'; got "
            f"{recipe.rounding!r} for a plan with the sparse layer {sparse[0]}"
        )
    if recipe.rounding == "nearest":
        correct_biases(model, images)
    elif recipe.rounding == "second-order":
        round_second_order(model, images, seed, progress, skipped, alternatives)
    else:
        steps = recipe.rounding_steps or ROUNDING_STEPS
        round_learned(model, images, seed, progress, skipped, steps)
