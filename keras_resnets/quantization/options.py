"""The options of a quantization as one record, checked before TensorFlow is imported."""

import dataclasses
import typing
from collections.abc import Callable

from keras_resnets.errors import check_range
from keras_resnets.errors import check_whole
from keras_resnets.export.recipes import Recipe
from keras_resnets.export.tflite import storage as storages
from keras_resnets.export.tflite.file_options import FileOptions
from keras_resnets.quantization import choices
from keras_resnets.quantization.plan import PrecisionPlan


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a quantization: what `quantize` and its engines take whole.

    Attributes:
        plan: the bits of every layer, and how kernels are rounded.
        engine: one of `choices.ENGINES`.
        method, percentile: calibration method, see `ranges.set_ranges`.
        seed: seed of the samples for ranges and rounding.
        file: how the file is written.
        has_other: whether TensorFlow's converter may take a network that the engine does
            not support.
        progress: called with the number of calibration images done.
    """

    plan: PrecisionPlan
    engine: str = "ranges"
    method: str | None = None
    percentile: float = 99.99
    seed: int = 0
    file: FileOptions = FileOptions()
    has_other: bool = False
    progress: Callable[..., object] | None = None

    def __post_init__(self) -> None:
        check_whole("seed", self.seed)

    @classmethod
    def of(
        cls,
        recipe: str | Recipe | PrecisionPlan,
        *,
        engine: str | None = None,
        rounding: str | None = None,
        rounding_steps: int | None = None,
        method: str | None = None,
        percentile: float = 99.99,
        seed: int = 0,
        storage: str | None = None,
        prefer: str | None = None,
        int4: bool | None = None,
        sparse: bool = False,
        progress: Callable[..., object] | None = None,
        **file: typing.Any,
    ) -> "Options":
        """Returns the options for the arguments of `quantize`, which describes them.

        `file` has further fields of `FileOptions`.

        Raises:
            InvalidArgument: an argument does not exist, or does not apply to the recipe.
        """
        plan = PrecisionPlan.of(recipe)
        name = plan.check_engine(engine)
        choices.check_rounding(rounding, name, plan.recipe)
        choices.check_method(method, name)
        check_range("percentile", percentile, 50.000001, 100)
        is_free = (engine, rounding, method) == (None, None, None)
        plan = plan.with_rounding(rounding, rounding_steps)
        stored = plan.stored(storage, prefer)
        if int4 is not None:
            stored = storages.choose(storage, prefer, int4)
        plan.check_storage(stored)
        return cls(
            plan,
            name,
            method,
            percentile,
            seed,
            FileOptions(storage=stored, sparse=sparse or plan.is_sparse, **file),
            is_free and not plan.layers and plan.recipe.weight_bits == 8,
            progress,
        )
