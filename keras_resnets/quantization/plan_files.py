"""Writes a quantized file, with its passport and its plan beside it."""

import contextlib
import os
import typing
from collections.abc import Callable
from collections.abc import Iterator

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import passport
from keras_resnets.export.landing import Destination
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.prepare import Ready
from keras_resnets.export.recipes import ROUNDING_STEPS
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.io import files
from keras_resnets.quantization.options import Options
from keras_resnets.quantization.plan import PrecisionPlan

# The engine of quantization-aware models.
TRAINED = "quantize_aware"
# The engines that round by the recipe; others only round to nearest.
_ROUNDING = ("ranges", TRAINED)


def facts(
    plan: PrecisionPlan, engine: str, **more: typing.Any
) -> dict[str, typing.Any]:
    """Returns the record of a quantization for a passport.

    Args:
        plan: the `PrecisionPlan`.
        engine: one of `choices.ENGINES`, or `TRAINED`.
        **more: other facts, by name.
    """
    record = {
        "recipe": plan.recipe.name,
        "engine": engine,
        **more,
        "per_tensor": not plan.recipe.per_channel,
        "weight_bits": plan.recipe.weight_bits,
        "rounding": plan.recipe.rounding if engine in _ROUNDING else "nearest",
    }
    if plan.recipe.end_bits is not None:
        record["end_bits"] = plan.recipe.end_bits
    if record["rounding"] == "learned":
        record["rounding_steps"] = plan.recipe.rounding_steps or ROUNDING_STEPS
    if plan.layers:
        record["precisions"] = {name: x.precision for name, x in plan.layers.items()}
    return record


def land(
    place: Destination,
    ready: Ready,
    make: Callable[[], bytes | memoryview],
    facts: dict[str, typing.Any],
    options: Options,
) -> ExportReport:
    """Writes and verifies a file, with its plan beside it if that has rules for layers.

    Args:
        place: the `Destination`.
        ready: the converted model.
        make: function that returns the bytes of the file.
        facts: record for the passport.
        options: the options; their plan is written as `<file>.plan.json`.

    Returns:
        An `ExportReport`.
    """
    # With int16 and float layers a file is not int8 throughout.
    integer = False if options.plan.precisions else None
    with beside(place.path, options.plan):
        return tflite.land(place, ready, make, facts, options.file, integer)


@contextlib.contextmanager
def beside(file: str | os.PathLike[str], plan: PrecisionPlan) -> Iterator[None]:
    """Writes the plan of a file after the file, if the plan has rules for layers.

    Args:
        file: the path of the file, which is written within the context;
            `passport.beside` removes the plan of a file that it replaces.
        plan: its plan.
    """
    if not plan.layers:
        yield
        return
    with files.atomic_file(passport.plan_of(file)) as temporary:
        temporary.write_text(plan.to_json(), "utf-8")
        yield


def check_place(
    path: str | os.PathLike[str], overwrite: bool, plan: PrecisionPlan | None = None
) -> None:
    """Raises `InvalidArgument` if the plan of a file would replace something else.

    Args:
        path: the path of the file.
        overwrite: whether another file and its plan may be replaced.
        plan: the plan; None for one with rules for layers that is not known yet.
    """
    if plan is not None and not plan.layers:
        return
    place = passport.plan_of(path)
    if place.exists() and not (overwrite and passport.is_plan(place)):
        more = "" if overwrite else ", or replace a plan with --overwrite"
        raise InvalidArgument(
            f"{place} exists, and the plan of the file would replace it: move it{more}"
        )
