"""The allowed values of quantization's options, without heavy imports."""

from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.export.recipes import ROUNDINGS
from keras_resnets.export.recipes import Recipe

# The engines, which write a file; their functions are in `backends.engines`.
ENGINES = ("ranges", "converter", "ai_edge_quantizer")
# The calibration methods.
METHODS = ("mse", "minmax", "percentile")
# The precisions of an operator, the coarsest first: int8; int16 activations with int8
# weights; float32.
PRECISIONS = ("int8", "int16", "float")
# The roundings with which layers are measured alone, which take seconds.
LAYER_ROUNDINGS = ("nearest", "second-order")
# The precisions of a layer in a front: int4 is 4-bit weights and int8 activations.
BITS = ("int4", *PRECISIONS)


def default_engine(recipe: Recipe) -> str:
    """Returns the engine that measured best, see docs/compression.md."""
    return "ranges" if recipe.quantize == "int8" else "converter"


def check_engine(engine: str | None, recipe: Recipe) -> str:
    """Returns the engine for a recipe; None for the default.

    Raises:
        InvalidArgument: the engine does not exist or does not support the recipe.
    """
    if engine is None:
        return default_engine(recipe)
    check_choice("engine", engine, ENGINES)
    if engine == "ranges" and recipe.quantize != "int8":
        raise InvalidArgument(
            f"the engine 'ranges' supports int8 recipes; got {recipe.name}: use "
            "'converter' or 'ai_edge_quantizer'"
        )
    if engine != "ranges" and recipe.weight_bits in (2, 4):
        raise InvalidArgument(
            f"the engine {engine!r} supports 8-bit weights; got {recipe.name}, which "
            f"has {recipe.weight_bits}-bit weights: leave out the engine"
        )
    return engine


def check_rounding(rounding: str | None, engine: str, recipe: Recipe) -> None:
    """Raises `InvalidArgument` if an engine does not support a rounding."""
    if rounding is None:
        return
    check_choice("rounding", rounding, ROUNDINGS)
    if rounding != "nearest" and engine != "ranges":
        raise InvalidArgument(
            f"rounding {rounding!r} requires the engine 'ranges' and an int8 recipe; got "
            f"the engine {engine!r} and {recipe.name}"
        )


def check_method(method: str | None, engine: str) -> None:
    """Raises `InvalidArgument` if an engine does not support a calibration method."""
    if method is None:
        return
    check_choice("method", method, METHODS)
    if engine == "converter" and method != "minmax":
        raise InvalidArgument(
            f"the engine 'converter' supports only the method 'minmax'; got {method!r}, "
            "which the engine 'ranges' supports"
        )


def check_precisions(precisions: Sequence[str]) -> tuple[str, ...]:
    """Returns the precisions in order, with int8.

    Raises:
        InvalidArgument: an unknown precision, or none besides int8.
    """
    return _checked(precisions, PRECISIONS, "finer than")


def check_bits(precisions: Sequence[str]) -> tuple[str, ...]:
    """Returns the precisions of a front in order, with int8.

    Raises:
        InvalidArgument: an unknown precision, or none besides int8.
    """
    return _checked(precisions, BITS, "besides")


def _checked(
    precisions: Sequence[str], allowed: Sequence[str], how: str
) -> tuple[str, ...]:
    for name in precisions:
        check_choice("precisions", name, allowed)
    if not set(precisions) - {"int8"}:
        raise InvalidArgument(
            f"precisions must include one {how} int8; got {', '.join(precisions)}"
        )
    return tuple(x for x in allowed if x == "int8" or x in precisions)
