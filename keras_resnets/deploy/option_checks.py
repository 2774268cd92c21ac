"""Checks of the options of `deploy` against what a target supports."""

from typing import Any

from keras_resnets.deploy import targets
from keras_resnets.deploy.target import Target
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.export.tflite.storage import STORAGES


def check_recipe(target: Target, recipe: str | None) -> str:
    """Returns the recipe of a target's file; None selects the default.

    Raises:
        InvalidArgument: the target does not support the recipe.
    """
    if recipe is None:
        return target.recipes[0]
    if isinstance(recipe, str) and recipe in target.refused:
        raise InvalidArgument(
            f"{target.name} supports {', '.join(target.recipes)}; got {recipe}: "
            f"{target.refused[recipe]}"
        )
    check_choice(f"recipe of {target.name}", recipe, target.recipes)
    return recipe


def check_io(target: Target, recipe: str, io_dtype: str | None) -> str:
    """Returns the type of a file's input and output; None selects the default.

    Raises:
        InvalidArgument: the target does not support the type, or files of the recipe
            always have a float32 input and output.
    """
    integer = (
        recipe in (*targets.INT8_KINDS, "static_wi4_ai8") and target.format == "tflite"
    )
    if io_dtype is None:
        return target.io_dtypes[0] if integer else "float32"
    if not integer:
        check_choice(f"io_dtype of a {recipe} file", io_dtype, ("float32",))
        return "float32"
    check_choice(f"io_dtype of {target.name}", io_dtype, target.io_dtypes)
    return io_dtype


def check_storage(target: Target, recipe: str, storage: str | None) -> str:
    """Returns the storage of a file's 4-bit weights; None selects the default.

    Raises:
        InvalidArgument: the target does not support the storage, or the file has no
            4-bit weights.
    """
    has_nibbles = recipe == "static_wi4_ai8" and target.format == "tflite"
    if storage is None:
        return target.storages[0] if has_nibbles else "int8"
    check_choice("storage", storage, STORAGES)
    if storage != "int8" and not has_nibbles:
        raise InvalidArgument(
            "storage applies to 4-bit weights, that is to TFLite files of the recipe "
            f"static_wi4_ai8; got storage {storage!r} with {recipe} for {target.name}"
        )
    if storage not in target.storages and target.no_storage:
        raise InvalidArgument(
            f"{target.name} supports storage {', '.join(target.storages)}; got {storage}: "
            f"{target.no_storage}"
        )
    check_choice(f"storage of {target.name}", storage, target.storages)
    return storage


def check_pixels(target: Target, recipe: str) -> None:
    """Raises `InvalidArgument` if a target's file cannot take RGB pixels."""
    if target.no_pixels:
        raise InvalidArgument(
            f"{target.name} takes normalized images: leave out --include-preprocessing, "
            f"{target.no_pixels}"
        )
    if recipe in targets.FLOATS and not target.float_pixels:
        raise InvalidArgument(
            f"{target.name} does not support CAST from uint8 to float32, with which the "
            f"preprocessing of a {recipe} file begins: leave out "
            f"--include-preprocessing, or use the recipe {targets.INT8}"
        )


def check_source(target: Target, source: Any, pixels: bool) -> None:
    """Raises `InvalidArgument` if a target's file cannot resize photos itself.

    Args:
        target: the target.
        source: requested (height, width) of the photos, or None.
        pixels: whether the file takes RGB pixels.
    """
    if source is None:
        return
    if not target.photos:
        able = ", ".join(row.name for row in targets.TARGETS.values() if row.photos)
        raise InvalidArgument(
            f"--source applies to {able}; got {target.name}: {target.no_photos}"
        )
    if not pixels:
        raise InvalidArgument(
            f"--source requires a file that takes pixels: add --include-preprocessing "
            f"for {target.name}; got --source {source[0]}x{source[1]} without it"
        )
