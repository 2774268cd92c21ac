"""How the kernels of a network become integers: by the method that a recipe names."""

from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.export.recipes import ROUNDING_STEPS
from keras_resnets.export.recipes import Recipe
from keras_resnets.quantization.bias_correction import correct_biases
from keras_resnets.quantization.rounding.kernels import Rounded
from keras_resnets.quantization.rounding.kernels import round_second_order
from keras_resnets.quantization.rounding.learned import round_learned


def round_kernels(
    model: keras.Model,
    images: np.ndarray,
    recipe: Recipe,
    seed: int = 0,
    progress: Callable[..., object] | None = None,
    skipped: Sequence[str] = (),
    coarser: dict[str, Rounded] | None = None,
) -> None:
    """Makes the biases of `model` fit its rounded kernels, and these the images.

    Args:
        model: from `rewrite`, with the ranges of its activations set.
        images: float32 array (count, height, width, channels), preprocessed.
        recipe: of which `rounding` counts. `"nearest"`: kernels stay as they are, to be
            rounded where they are used, and biases are corrected (`correct_biases`);
            `"second-order"`: see `round_second_order`; `"learned"`: see `round_learned`,
            with its `rounding_steps`.
        seed: see there.
        progress: see there.
        skipped: see there.
        coarser: of `"second-order"` alone, see there.

    Raises:
        InvalidArgument: see there.
    """
    if recipe.rounding == "nearest":
        correct_biases(model, images)
    elif recipe.rounding == "second-order":
        round_second_order(model, images, seed, progress, skipped, coarser)
    else:
        steps = recipe.rounding_steps or ROUNDING_STEPS
        round_learned(model, images, seed, progress, skipped, steps)
