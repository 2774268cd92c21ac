"""What may be asked of a target's file: its row says it, these say no."""

from typing import Any

from keras_resnets.deploy import targets
from keras_resnets.deploy.row import Target
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.export.tflite.storage import STORAGES


def check_recipe(target: Target, recipe: str | None) -> str:
    """The recipe of a target's file; None asks for the default.

    Raises:
        InvalidArgument: a recipe that the target does not run.
    """
    if recipe is None:
        return target.recipes[0]
    if recipe in target.refused:
        raise InvalidArgument(
            f"{target.name} takes {', '.join(target.recipes)}; got {recipe}: "
            f"{target.refused[recipe]}"
        )
    check_choice(f"recipe of {target.name}", recipe, target.recipes)
    return recipe


def check_io(target: Target, recipe: str, io_dtype: str | None) -> str:
    """The type of the input and output of a target's file; None asks for the default.

    Raises:
        InvalidArgument: a type that the target does not take, or one of a file that has
            float32 ends whatever is asked.
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
    """How a target's file stores weights of 4 bits; None asks for the default.

    Raises:
        InvalidArgument: a storage that the target does not read, or a file without such
            weights.
    """
    has_nibbles = recipe == "static_wi4_ai8" and target.format == "tflite"
    if storage is None:
        return target.storages[0] if has_nibbles else "int8"
    check_choice("storage", storage, STORAGES)
    if storage != "int8" and not has_nibbles:
        raise InvalidArgument(
            "storage is of weights of 4 bits, which TFLite files of the recipe "
            f"static_wi4_ai8 have; got storage={storage!r} of {recipe} for {target.name}"
        )
    if storage not in target.storages and target.no_storage:
        raise InvalidArgument(
            f"{target.name} takes storage {', '.join(target.storages)}; got {storage}: "
            f"{target.no_storage}"
        )
    check_choice(f"storage of {target.name}", storage, target.storages)
    return storage


def check_pixels(target: Target, recipe: str) -> None:
    """Raises `InvalidArgument` where a target's file cannot take RGB pixels."""
    if target.no_pixels:
        raise InvalidArgument(
            f"{target.name} takes normalized images: leave out --include-preprocessing, "
            f"{target.no_pixels}"
        )
    if recipe in targets.FLOATS and not target.float_pixels:
        raise InvalidArgument(
            f"{target.name} has no CAST from uint8 to float32, which the preprocessing "
            f"of a {recipe} file begins with: leave it out, or take the recipe "
            f"{targets.INT8}"
        )


def check_source(target: Target, source: Any, pixels: bool) -> None:
    """Raises `InvalidArgument` where a target's file cannot take photos of a size.

    Args:
        target: the row.
        source: (height, width) that is asked for, or None.
        pixels: whether the file takes RGB pixels.
    """
    if source is None:
        return
    if not target.photos:
        able = ", ".join(row.name for row in targets.TARGETS.values() if row.photos)
        raise InvalidArgument(
            f"--source is for {able}; got {target.name}: {target.no_photos}"
        )
    if not pixels:
        raise InvalidArgument(
            f"--source is for a file that takes pixels: for {target.name} add "
            f"--include-preprocessing; got {source[0]}x{source[1]} without"
        )
