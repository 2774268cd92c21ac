"""The smallest mix of int8, int16 and float layers within a drop of accuracy."""

import dataclasses
import os
import typing
from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.export import landing
from keras_resnets.export import prepare
from keras_resnets.export import recipes
from keras_resnets.export import session
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.recipes import Recipe
from keras_resnets.export.tflite.file_options import FileOptions
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.calibration import collected_set
from keras_resnets.quantization import choices
from keras_resnets.quantization import operators
from keras_resnets.quantization import plan_files
from keras_resnets.quantization.backends import engines
from keras_resnets.quantization.backends import mixed_file
from keras_resnets.quantization.options import Options
from keras_resnets.quantization.plan import LayerBits
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.plan import fingerprint
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.search import lowering
from keras_resnets.quantization.search.accuracy_gate import Judge
from keras_resnets.quantization.search.accuracy_gate import Trial
from keras_resnets.quantization.search.accuracy_gate import check_data
from keras_resnets.quantization.search.sensitivity import LayerCost
from keras_resnets.quantization.search.sensitivity import layer_costs

# Images that tell the order of the layers.
_RANKED = 64


@dataclasses.dataclass(frozen=True)
class LayerChoice:
    """What one layer is computed in, and why.

    Attributes:
        name: of the float model's layer.
        kind: of the layer.
        precision: `"int8"`, `"int16"` or `"float"`.
        share: of the network's multiply-adds.
        weights: RMSE of the logits (see `Trial`) when its weights alone are rounded to
            the recipe's bits; None without weights.
        output: the same for the tensor that it makes.
    """

    name: str
    kind: str
    precision: str
    share: float
    weights: float | None
    output: float


@dataclasses.dataclass(frozen=True, eq=False)
class Mix:
    """A mix that `find_mix` found; `write` makes the file.

    Attributes:
        layers: a `LayerChoice` each, in order.
        max_drop: points that were allowed.
        float_top1: share of right answers of the float model.
        int8: `Trial` of the file with every layer in int8.
        mix: that of the file with the mix.
        conversions: runs of the converter.
        files: files that were made of what it gave, and run.
        content: bytes of the file.
        int8_content: bytes of the file with every layer in int8.
        plan: the precision of every layer as data, to write down, to edit, and for
            `quantize` to make a file of another training of the network by.
    """

    layers: tuple[LayerChoice, ...]
    max_drop: float
    float_top1: float
    int8: Trial
    mix: Trial
    conversions: int
    files: int
    content: bytes
    int8_content: bytes
    plan: PrecisionPlan
    _ready: session.Ready
    _options: Options
    _chosen: CalibrationSet

    @property
    def raised(self) -> dict[str, str]:
        """Names of the layers that are not int8, with their precision."""
        return {x.name: x.precision for x in self.layers if x.precision != "int8"}

    def share(self, precision: str = "int8") -> float:
        """The share of the multiply-adds that is computed in `precision`."""
        return sum(x.share for x in self.layers if x.precision == precision)

    def write(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        threads: int = 2,
        packed: bool = True,
    ) -> ExportReport:
        """Writes the file, run and compared, its passport and its plan.

        The plan is `<path>.plan.json`.

        Args:
            path: file to write, ending in `.tflite`.
            overwrite: replace an existing file.
            threads: of the LiteRT interpreter.
            packed: see `keras_resnets.export.to_tflite`.

        Returns:
            An `ExportReport`.

        Raises:
            InvalidArgument: a path that cannot be written to.
            ExportError: see `keras_resnets.quantization.quantize`.
        """
        plan_files.check_place(path, overwrite, self.plan)
        place = landing.destination(
            "tflite",
            path,
            "int8",
            session.ExportOptions(overwrite=overwrite, threads=threads),
        )
        how = {"method": self._options.method, "calibration": self._chosen.record()}
        facts = {
            **plan_files.facts(self.plan, "ranges", **how),
            "max_drop": self.max_drop,
            "int8_macs": round(self.share(), 4),
            "held_out": {"float_top1": self.float_top1, **dataclasses.asdict(self.mix)},
        }
        file = dataclasses.replace(self._options.file, packed=packed)
        options = dataclasses.replace(self._options, plan=self.plan, file=file)
        return plan_files.land(place, self._ready, lambda: self.content, facts, options)


def find_mix(
    model: keras.Model,
    calibration: typing.Any,
    data: typing.Any,
    max_drop: float,
    recipe: str | Recipe = "static_wi8_ai8",
    *,
    precisions: Sequence[str] = choices.PRECISIONS,
    method: str | None = None,
    percentile: float = 99.99,
    seed: int = 0,
    input_size: tuple[int, int] | None = None,
    io_dtype: str = "int8",
    threads: int = 2,
    progress: Callable[..., object] | None = None,
) -> Mix:
    """The smallest mix of int8, int16 and float layers within a drop of top-1.

    Layers are ranked by what each costs when quantized alone (RMSE of the logits). As
    many of the costliest as are needed get a finer precision: int16 activations where
    the tensor is costly, float where the weights are. Then those go back to int8, most
    multiply-adds for their error first, that stay within the drop. A mix is accepted if
    its drop and one standard error of it stay within `max_drop`. One file is converted;
    every mix is an edit of it, and run. That is about ten runs over `data`, up to
    thirty where most layers are needed.

    Args:
        model: a built float `keras.Model` with one image input.
        calibration: training images for the ranges, see `quantize`.
        data: other labelled training images to choose by: an `evaluation.Labelled`,
            such as `hold_out` gives, or (images, labels): float32 (count, height,
            width, channels), preprocessed, and integers.
        max_drop: points of top-1 that may be lost, above 0.
        recipe: `"static_wi8_ai8"`, or another of 8 bits.
        precisions: what a layer may be: `("int8", "float")` leaves int16 out.
        method: how a range comes from images, see `quantize`.
        percentile: see there.
        seed: see there.
        input_size: (height, width) where the model leaves them open.
        io_dtype: input and output of the file: `"int8"`, `"uint8"` or `"float32"`.
        threads: of the LiteRT interpreter.
        progress: called with what is done, how much of it and of how much: `"ranges"`,
            `"float model"`, `"layers"`, `"file 1"`, `"file 2"`, ...

    Returns:
        A `Mix`.

    Raises:
        InvalidArgument: an argument that is not allowed: also too few images to see
            such a drop, or images that the calibration has; a model of several
            outputs, with a layer of weights that is applied twice, or a Concatenate.
        ExportError: no mix stays within the drop.

    Example:
        >>> import keras_resnets, numpy as np
        >>> model = keras_resnets.create_model("resnet8")
        >>> x = np.random.default_rng(0).uniform(0, 255, (30, 32, 32, 3))
        >>> labels = model.predict(x[10:], verbose=0).argmax(axis=1)
        >>> find_mix(model, x[:10], (x[10:], labels), 50).raised
        {}
    """
    # What is raised to float needs its kernel as it is.
    recipe = recipes.find(recipe).with_rounding("nearest")
    check_recipe(recipe)
    allowed = choices.check_precisions(precisions)
    file = FileOptions(io_dtype)
    check_positive_int("threads", threads)
    data = check_data(data, max_drop)
    reference = prepare.inference_model(model)
    operators.check_model(reference)
    shape = prepare.input_shape(reference, input_size)
    chosen = collected_set(calibration, shape)
    ready = session.make_ready(
        model, "int8", chosen.images, None, session.ExportOptions(input_size)
    )
    progress = progress or (lambda *words: None)
    options = Options(
        PrecisionPlan.of(recipe),
        method=method,
        percentile=percentile,
        seed=seed,
        file=file,
        progress=lambda done: progress("ranges", done, len(chosen.images)),
    )
    # First, since it may have something to say against the images.
    judge = Judge(ready, data, max_drop, chosen, progress)
    base = engines.base(ready, options)
    result = _Search(base, judge, allowed, threads).run(
        chosen.images[:_RANKED], progress
    )
    plan = PrecisionPlan(
        recipe,
        {x.name: LayerBits.of(x.precision) for x in result["layers"]},
        model.name,
        fingerprint(prepare.all_layers(reference)),
    )
    return Mix(
        **result,
        max_drop=max_drop,
        conversions=1,
        plan=plan,
        _ready=ready,
        _options=dataclasses.replace(options, progress=None),
        _chosen=chosen,
    )


def fewest_raised(
    base: engines.Base,
    judge: Judge,
    allowed: tuple[str, ...],
    threads: int,
    images: np.ndarray,
    progress: Callable[..., object],
) -> dict[str, str]:
    """What layers are not int8 in the smallest mix that is accepted, by name.

    Args:
        base: of the int8 file, rounded to nearest.
        judge: what accepts.
        allowed: precisions, int8 first.
        threads: of LiteRT.
        images: that rank the layers.
        progress: see `find_mix`.

    Raises:
        ExportError: no mix is accepted.
    """
    search = _Search(base, judge, allowed, threads)
    if judge.accepts(search.trial({})):
        return {}
    result = search.run(images[:_RANKED], progress)
    return {x.name: x.precision for x in result["layers"] if x.precision != "int8"}


def check_recipe(recipe: Recipe) -> None:
    """Raises `InvalidArgument` for a recipe that is not int8 throughout."""
    if not _is_int8(recipe):
        names = [
            name for name, recipe_row in recipes.RECIPES.items() if _is_int8(recipe_row)
        ]
        raise InvalidArgument(
            "mixed precision requires an int8 recipe with 8-bit weights "
            f"({', '.join(names)}); got {recipe.name}"
        )


def _is_int8(recipe: Recipe) -> bool:
    return (recipe.weight_bits, recipe.activation_bits) == (8, 8)


class _Search:
    """The way from all int8 to a mix that is accepted.

    Every mix that is looked at is a file: its int8 operators run faster than anything
    that simulates them, and it is an edit of the one that was converted.
    """

    def __init__(
        self, base: engines.Base, judge: Judge, allowed: tuple[str, ...], threads: int
    ) -> None:
        self._base, self._rounded, self._graph = base, base.rounded, base.graph
        self._judge, self._allowed, self._threads = judge, allowed, threads
        self._names = mixed_file.names(base.content, self._graph)
        self._files = 0

    def run(
        self, images: np.ndarray, progress: Callable[..., object]
    ) -> dict[str, typing.Any]:
        """Arguments for `Mix`."""
        ranked = layer_costs(
            self._rounded,
            images,
            self._graph.biases,
            lambda done, total: progress("layers", done, total),
        )
        alone = {cost.name: cost.rmse for cost in ranked}
        first = final = self.trial({})
        precisions: dict[str, str] = {}
        if not self._judge.accepts(first):
            raised, final = self._fewest(self._steps(ranked))
            macs = {x.name: x.macs for x in self._graph.operators}
            precisions, final = lowering.lower(
                raised, final, self._costs(alone), macs, self._allowed, self._accepted
            )
        content = self._base.file(precisions)
        self._check(content, precisions)
        return {
            "layers": self._rows(alone, precisions),
            "float_top1": self._judge.top1,
            "int8": first,
            "mix": final,
            "files": self._files,
            "content": content,
            "int8_content": self._base.content,
        }

    def trial(self, precisions: dict[str, str]) -> Trial:
        """The `Trial` of a mix."""
        content = self._base.file(precisions)
        self._files += 1
        runner = TFLiteRunner(content, self._threads, logits=True)
        self._judge.check_logits(runner)
        return self._judge(runner, f"file {self._files}")

    def _accepted(self, precisions: dict[str, str]) -> Trial | None:
        """The `Trial` of a mix; None where it is not accepted."""
        trial = self.trial(precisions)
        return trial if self._judge.accepts(trial) else None

    def _steps(self, ranked: list[LayerCost]) -> list[dict[str, str]]:
        """Mixes that grow: with every step the costliest that is left rounds less."""
        layers = {layer.name: layer for layer in self._rounded.layers}
        steps: list[dict[str, str]] = []
        now: dict[str, str] = {}
        for cost in sorted(ranked, key=lambda cost: -cost.rmse):
            layer = layers[cost.name]
            is_tensor = isinstance(layer, FakeQuantize)
            precision = self._allowed[1 if is_tensor else -1]
            raised = {
                name: max(now.get(name, "int8"), precision, key=self._allowed.index)
                for name in self._graph.touching(layer)
                if name in self._names
            }
            if layer not in self._graph.fixed and {**now, **raised} != now:
                now = {**now, **raised}
                steps.append(now)
        return steps

    def _fewest(self, steps: list[dict[str, str]]) -> tuple[dict[str, str], Trial]:
        """(the least step that is accepted, its trial): doubling, then bisection."""
        low, high, last = -1, 0, len(steps) - 1
        while not self._judge.accepts(trial := self.trial(steps[high])):
            if high == last:
                raise ExportError(self._judge.refusal(trial, len(steps[high])))
            low, high = high, min(2 * high + 1, last)
        while high - low > 1:
            middle = (low + high) // 2
            accepted = self.trial(steps[middle])
            if self._judge.accepts(accepted):
                high, trial = middle, accepted
            else:
                low = middle
        return steps[high], trial

    def _costs(self, alone: dict[str, float]) -> dict[str, float]:
        """The squared error that an operator brings in int8, by its name."""
        return {
            x.name: alone[x.output.name] ** 2
            + (alone[x.weights.name] ** 2 if x.weights else 0)
            for x in self._graph.operators
        }

    def _check(self, content: bytes, precisions: dict[str, str]) -> None:
        """Raises `ExportError` unless the file is what the mix says."""
        in_file = mixed_file.kinds(content, self._graph)
        wrong = [n for n, kind in in_file.items() if kind != precisions.get(n, "int8")]
        if wrong:
            raise ExportError(
                f"the file does not have the chosen precision of {', '.join(wrong)}; "
                "nothing was written"
            )

    def _rows(
        self, alone: dict[str, float], precisions: dict[str, str]
    ) -> tuple[LayerChoice, ...]:
        total = max(sum(x.macs for x in self._graph.operators), 1)
        labels = {name: label for label, name in self._graph.names.items()}
        return tuple(
            LayerChoice(
                name=labels[x.name],
                kind=x.kind,
                precision=precisions.get(x.name, "int8"),
                share=x.macs / total,
                weights=x.weights and alone[x.weights.name],
                output=alone[x.output.name],
            )
            for x in self._graph.operators
        )
