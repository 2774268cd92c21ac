"""A Pareto front of quantized files, and the one of them that a budget asks for."""

import dataclasses
import json
import os
import pathlib
import typing
from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_range
from keras_resnets.export import landing
from keras_resnets.export import prepare
from keras_resnets.export import recipes
from keras_resnets.export import session
from keras_resnets.export.prepare import Ready
from keras_resnets.export.recipes import Recipe
from keras_resnets.export.tflite.file_options import FileOptions
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.calibration import collected_set
from keras_resnets.io import files
from keras_resnets.quantization import choices
from keras_resnets.quantization import operators
from keras_resnets.quantization import plan_files
from keras_resnets.quantization.backends import engines
from keras_resnets.quantization.layer_bits import LayerBits
from keras_resnets.quantization.options import Options
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.plan import fingerprint
from keras_resnets.quantization.qat.rewrite import rewrite
from keras_resnets.quantization.search import budget as budgets
from keras_resnets.quantization.search import mixed_precision
from keras_resnets.quantization.search import plots
from keras_resnets.quantization.search import points as points_of
from keras_resnets.quantization.search.accuracy_gate import Judge
from keras_resnets.quantization.search.accuracy_gate import check_data
from keras_resnets.quantization.search.budget import Budget
from keras_resnets.quantization.search.moves import Edits
from keras_resnets.quantization.search.moves import Lowered
from keras_resnets.quantization.search.moves import pairs
from keras_resnets.quantization.search.moves import words
from keras_resnets.quantization.search.points import Front
from keras_resnets.quantization.search.points import Point

# Without a limit of the drop: labelled images that tell anything.
_ANY_DROP = 10.0
# Images that tell what 4 bits cost a layer: of 256, layers are in the same order.
_RANKED = 256
# Rounds in which files are timed in turns.
_ROUNDS = 5
# Files that are written anew where the real one is larger or worse than was foretold.
_TRIES = 4


def find_front(
    model: keras.Model,
    calibration: typing.Any,
    data: typing.Any,
    budget: Budget,
    folder: str | os.PathLike[str],
    recipe: str | Recipe = "static_wi8_ai8",
    *,
    precisions: Sequence[str] = choices.BITS,
    points: int = 6,
    sparse: float | None = None,
    storage: str | None = None,
    prefer: str | None = None,
    method: str | None = None,
    percentile: float = 99.99,
    seed: int = 0,
    input_size: tuple[int, int] | None = None,
    io_dtype: str = "int8",
    packed: bool = True,
    overwrite: bool = False,
    threads: int = 2,
    progress: Callable[..., object] | None = None,
) -> Front:
    """Files from all layers in 4 bits to all in 8 or more, each written and run.

    Each layer is rounded to 4 bits alone, by the second order, and run in LiteRT: that
    tells its cost, and the bytes of the file what it saves. Files in between have those
    layers in 4 bits that cost least for their bytes, and hold what the budget says. Where
    all of int8 loses more than `budget.max_drop`, costly layers are int16 or float, as
    `find_mix` has them.

    Args:
        model: a built float `keras.Model` with one image input.
        calibration: training images for ranges and rounding, see `quantize`.
        data: other labelled training images to choose by, see `find_mix`.
        budget: what the chosen file may cost. With a `max_drop` it is the smallest file
            within all limits, else the most accurate.
        folder: of the front, to make.
        recipe: `"static_wi8_ai8"`, or another of 8 bits.
        precisions: what a layer may be: some of `"int4"`, `"int8"`, `"int16"` and
            `"float"`; int8 always.
        points: files to write, 2 to 30; those of the budget come on top.
        sparse: share of zeros, above 0 and below 1, in blocks of four weights along the
            inputs, that a layer may have as a further move: its kernel has 8 bits, what
            is left makes up for the zeros, and the file does not store them. None: no
            such moves.
        storage: where weights of 4 bits are put, see `export.to_tflite`; the sizes are
            those of it. None: `"conv_int4"`, the smallest, or `"fully_connected"` where
            the latency is limited.
        prefer: see there; None: `"size"` where the latency is not limited.
        method: see `quantize`.
        percentile: see there.
        seed: see there.
        io_dtype: see there.
        packed: see there.
        input_size: (height, width) where the model leaves them open.
        overwrite: replace a folder of such a front.
        threads: of the LiteRT interpreter.
        progress: called with what is done, how much of it and of how much.

    Returns:
        A `Front`.

    Raises:
        InvalidArgument: an argument that is not allowed; and see `find_mix`.
        ExportError: a budget that cannot be met; it says what can. Nothing is written.

    Example:
        >>> import keras_resnets
        >>> from keras_resnets import quantization
        >>> model = keras_resnets.create_model("resnet20", weights="cifar10")
        >>> chosen = quantization.choose("c.npz", model.preprocessing)  # doctest: +SKIP
        >>> held = quantization.hold_out(
        ...     "c.npz", model.preprocessing, chosen
        ... )  # doctest: +SKIP
        >>> front = find_front(
        ...     model, chosen, held, Budget(max_size=160_000), "front"
        ... )  # doctest: +SKIP
    """
    place = files.check_folder(folder, points_of.OWN, overwrite)
    recipe = recipes.find(recipe).with_rounding("second-order")
    mixed_precision.check_recipe(recipe)
    allowed = choices.check_bits(precisions)
    if sparse is not None:
        LayerBits(8, 8, sparse)
    check_positive_int("threads", threads)
    check_positive_int("points", points)
    check_range("points", points, 2, 30)
    if storage is None and prefer is None and not budget.is_timed:
        storage, prefer = "conv_int4", "size"
    plan = PrecisionPlan(recipe, {}, model.name, None, storage, prefer)
    file = FileOptions(io_dtype, packed, plan.stored(), sparse=sparse is not None)
    data = check_data(data, budget.max_drop or _ANY_DROP)
    reference = prepare.inference_model(model)
    operators.check_model(reference)
    plan = dataclasses.replace(
        plan, fingerprint=fingerprint(prepare.all_layers(reference))
    )
    shape = prepare.input_shape(reference, input_size)
    chosen = collected_set(calibration, shape)
    ready = session.make_ready(
        model, "int8", chosen.images, None, session.ExportOptions(input_size)
    )
    report = progress or (lambda *words: None)
    options = Options(plan, method=method, percentile=percentile, seed=seed, file=file)
    judge = Judge(ready, data, budget.max_drop or 100.0, chosen, report)
    search = _Search(
        ready, judge, budget, allowed, options, chosen, threads, report, sparse
    )
    return search.run(place, points, model.name)


class _Search:
    def __init__(
        self,
        ready: Ready,
        judge: Judge,
        budget: Budget,
        allowed: tuple[str, ...],
        options: Options,
        chosen: CalibrationSet,
        threads: int,
        progress: Callable[..., object],
        sparse: float | None = None,
    ) -> None:
        self._ready, self._judge, self._budget = ready, judge, budget
        self._allowed, self._options, self._plan = allowed, options, options.plan
        self._chosen, self._progress = chosen, progress
        self._threads = options.file.storage.threads(threads)
        self._sparsity = sparse or 0.0
        self._kinds = [
            *(["int4"] if "int4" in allowed else []),
            *(["sparse"] if sparse else []),
        ]
        self._refused: list[str] = []
        self._made: dict[Lowered, Point | None] = {}

    def run(self, place: pathlib.Path, points: int, name: str) -> Front:
        """Finds the plans, writes their files and chooses."""
        self._raised = self._raise()
        self._names = self._all_layers()
        options = dataclasses.replace(
            self._options, plan=self._planned(()), progress=self._rounding("base")
        )
        self._edits = Edits(self._ready, options, self._kinds, self._sparsity)
        self._whole = self._edits.size(())
        self._moves = self._rank() if self._kinds else []
        self._most = pairs(budgets.cheapest(self._moves, self._whole))
        self._check_size()
        with files.atomic_folder(place, points_of.OWN) as folder:
            self._folder = folder
            for lowered in self._plans(points):
                self._point(lowered)
            chosen, front_points = self._chosen_of()
            front = self._finished(place, front_points, chosen)
            self._write(folder, front, name)
        return front

    def _raise(self) -> dict[str, str]:
        """What layers are where int8 throughout loses more than it may, by name."""
        finer = [x for x in self._allowed if x not in ("int4", "int8")]
        if self._budget.max_drop is None or not finer:
            return {}
        nearest = self._plan.with_rounding("nearest")
        options = dataclasses.replace(self._options, plan=nearest)
        base = engines.base(self._ready, options)
        allowed = tuple(x for x in self._allowed if x != "int4")
        return mixed_precision.fewest_raised(
            base,
            self._judge,
            allowed,
            self._threads,
            self._chosen.images,
            self._progress,
        )

    def _all_layers(self) -> tuple[str, ...]:
        """The layers that can have bits of their own, in order."""
        rewritten = rewrite(self._ready.model, self._plan.recipe)
        return tuple(operators.read(rewritten, self._ready.shape).names)

    def _planned(self, lowered: Lowered) -> PrecisionPlan:
        """The plan with some layers in 4 bits or sparse."""
        kinds = dict(lowered)
        layers = {}
        for name in self._names:
            layers[name] = LayerBits.of(self._raised.get(name, "int8"))
            if name in kinds:
                is_int4 = kinds[name] == "int4"
                layers[name] = (
                    LayerBits(4) if is_int4 else LayerBits(8, 8, self._sparsity)
                )
        return dataclasses.replace(self._plan, layers=layers)

    def _rounding(self, stage: str) -> Callable[[int], object]:
        count = len(self._chosen.images)
        return lambda done: self._progress(stage, done, count)

    def _check_size(self) -> None:
        limit = self._budget.max_size
        least = self._edits.size(self._most)
        if limit is None or least <= limit:
            return
        stored = self._options.file.storage
        more = ""
        if "int4" not in self._allowed:
            more = ": allow int4 in precisions"
        elif (stored.kind, stored.prefer) != ("conv_int4", "size"):
            more = (
                ": the storage conv_int4 with --prefer size (prefer='size') is smaller"
            )
        raise ExportError(
            f"a file of {self._ready.original.name} has at least {least:,} bytes, with "
            f"{words(self._most)} (storage {stored.kind}); max_size is {limit:,}{more}; "
            "nothing was written"
        )

    def _rank(self) -> list[budgets.Move]:
        images = np.concatenate(list(self._judge.some(_RANKED)))

        def tell(done: int, total: int) -> None:
            self._progress("layers", done, total)

        return self._edits.moves(images, self._threads, tell)

    def _plans(self, points: int) -> list[Lowered]:
        """The layers in 4 bits or sparse of each point, the largest file first."""
        least = self._edits.size(self._most)
        sizes = np.linspace(self._whole, least, points)
        plans = [self._within(round(size)) for size in sizes]
        if self._budget.max_size is not None:
            plans.append(self._within(self._budget.max_size))
        if self._budget.max_drop is not None:
            plans.append(self._lowest())
        saved = {(x.name, x.kind): x.saved for x in self._moves}
        return sorted(set(plans), key=lambda plan: sum(saved[x] for x in plan))

    def _within(self, limit: int) -> Lowered:
        """What is lowered in the file that has no more bytes than a limit."""
        needed = self._whole - limit
        while True:
            lowered = pairs(budgets.cheapest(self._moves, needed))
            over = self._edits.size(lowered) - limit
            if over <= 0 or lowered == self._most:
                return lowered
            needed += over

    def _lowest(self) -> Lowered:
        """The most that an edited file may have lowered for the drop."""
        most = sum(x.saved for x in budgets.cheapest(self._moves, self._whole))
        order = [
            pairs(budgets.cheapest(self._moves, round(saved)))
            for saved in np.linspace(0, most, 17)
        ]
        low, high = 0, len(order)
        while high - low > 1:
            middle = (low + high) // 2
            runner = TFLiteRunner(self._edits.file(order[middle]), self._threads, True)
            accepted = self._judge.accepts(self._judge(runner, "drop"))
            low, high = (middle, high) if accepted else (low, middle)
        return order[low]

    def _point(self, lowered: Lowered) -> Point | None:
        """The point of some lowered layers, written and run; None if refused."""
        if lowered not in self._made:
            self._made[lowered] = self._landed(lowered)
        return self._made[lowered]

    def _landed(self, lowered: Lowered) -> Point | None:
        plan, number = self._planned(lowered), len(self._made) + 1
        path = self._folder / f"point-{number}.tflite"
        options = dataclasses.replace(
            self._options, plan=plan, progress=self._rounding(f"file {number}")
        )
        how = {"method": options.method, "calibration": self._chosen.record()}
        facts = plan_files.facts(plan, "ranges", **how)
        place = landing.destination(
            "tflite", path, "int8", session.ExportOptions(threads=self._threads)
        )

        def make() -> bytes:
            return engines.own_ranges(self._ready, options)

        try:
            report = plan_files.land(place, self._ready, make, facts, options)
        except ExportError as error:
            self._refused.append(f"{words(lowered)}: {error}")
            return None
        runner = TFLiteRunner(path, self._threads, logits=True)
        self._judge.check_logits(runner)
        trial = self._judge(runner, f"file {number} run")
        return Point(path, report, report.size, trial, 0.0, 1.0, plan)

    def _chosen_of(self) -> tuple[Point, list[Point]]:
        """(what the budget asks for, the front), timed."""
        for _ in range(_TRIES):
            timed = self._timed([x for x in self._made.values() if x is not None])
            front = points_of.pareto(timed)
            meeting = [x for x in front if self._meets(x)]
            if meeting:
                return self._best(meeting), front
            if not self._try_another():
                break
        raise ExportError(points_of.refusal(timed, self._budget, self._refused))

    def _best(self, points: list[Point]) -> Point:
        if self._budget.smallest:
            return min(points, key=lambda x: x.size)
        return min(points, key=lambda x: (x.trial.rmse, x.size))

    def _meets(self, point: Point) -> bool:
        limits = self._budget
        return (
            (limits.max_size is None or point.size <= limits.max_size)
            and (limits.max_drop is None or self._judge.accepts(point.trial))
            and (limits.max_seconds is None or point.seconds <= limits.max_seconds)
            and (limits.max_ratio is None or point.ratio <= limits.max_ratio)
        )

    def _try_another(self) -> bool:
        """Writes a file between those that are too large and those that lose too much."""
        limit = self._budget.max_size
        fitting = [
            x for x in self._made if limit is None or self._edits.size(x) <= limit
        ]
        if self._budget.is_timed or not fitting:
            return False
        fewest = min(fitting, key=len)
        for move in sorted(self._moves, key=lambda move: -move.cost):
            pair = (move.name, move.kind)
            fewer = tuple(x for x in fewest if x != pair)
            fits = limit is None or self._edits.size(fewer) <= limit
            if pair in fewest and fits and fewer not in self._made:
                self._point(fewer)
                return True
        return False

    def _timed(self, points: list[Point]) -> list[Point]:
        """The points with their latencies, of rounds in which each file is run in turn."""
        image = self._ready.file_inputs[:1]
        runners = [TFLiteRunner(x.path, self._threads) for x in points]
        rounds = [[x.latency(image) for x in runners] for _ in range(_ROUNDS)]
        seconds = np.median(np.array(rounds).reshape(_ROUNDS, -1), axis=0).tolist()
        eights = [s for x, s in zip(points, seconds, strict=True) if not x.lowered]
        whole = eights[0] if eights else float("nan")
        return [
            dataclasses.replace(x, seconds=s, ratio=s / whole)
            for x, s in zip(points, seconds, strict=True)
        ]

    def _finished(self, place: pathlib.Path, kept: list[Point], chosen: Point) -> Front:
        """The front with its files numbered by size, the others gone."""
        for point in self._made.values():
            if point is not None and point.path not in [x.path for x in kept]:
                self._refused.append(
                    f"{point.words}: {point.size:,} bytes and RMSE "
                    f"{point.trial.rmse:.4f} are both more than another point's"
                )
                for path in points_of.beside(point.path):
                    path.unlink()
        for number, point in enumerate(kept):
            for path in points_of.beside(point.path):
                path.rename(path.with_name(f"kept-{number}.{path.name}"))
        moved = []
        for number, point in enumerate(kept):
            name = f"point-{number + 1}.tflite"
            for path in self._folder.glob(f"kept-{number}.*"):
                suffix = path.name.partition(".tflite")[2]
                path.rename(self._folder / f"{name}{suffix}")
            moved.append(dataclasses.replace(point, path=place / name))
        index = kept.index(chosen)
        return Front(
            place,
            tuple(moved),
            moved[index],
            self._budget,
            self._judge.top1,
            self._judge.count,
            tuple(self._refused),
        )

    def _write(self, folder: pathlib.Path, front: Front, name: str) -> None:
        text = json.dumps(points_of.record(front), indent=1) + "\n"
        (folder / "front.json").write_text(text, "utf-8")
        plots.plot_front(front, folder / "front.png", name)
