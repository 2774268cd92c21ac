"""The points of a Pareto front: files, what they are and how they do."""

import dataclasses
import os
import pathlib
import typing

from keras_resnets.export import passport
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.io import files
from keras_resnets.quantization import plan_files
from keras_resnets.quantization.layer_bits import LayerBits
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.search.accuracy_gate import Trial
from keras_resnets.quantization.search.budget import Budget

# What a layer of a plan can be, in words.
WORDS = ("4", "8", "16", "float", "sparse")
# What the folder of a front holds.
OWN = ("front.json", "front.png", "point-*.tflite", "point-*.tflite.*json")


@dataclasses.dataclass(frozen=True)
class Point:
    """One file of a front.

    Attributes:
        path: of the file.
        report: what was written, and how it was compared with the model.
        size: its bytes.
        trial: how it does on the held-out images.
        seconds: its median latency for one image in LiteRT; of all points in turns.
        ratio: that over the latency of the point with every layer in 8 bits.
        plan: the bits of its layers; `<path>.plan.json` as well.
    """

    path: pathlib.Path
    report: ExportReport
    size: int
    trial: Trial
    seconds: float
    ratio: float
    plan: PrecisionPlan

    @property
    def layers(self) -> dict[str, int]:
        """How many layers have 4 bits, 8, 16 (of activations), are float or sparse."""
        words = [_word(bits) for bits in self.plan.layers.values()]
        return {word: words.count(word) for word in WORDS}

    @property
    def lowered(self) -> int:
        """How many layers have fewer than 8 bits or are sparse."""
        return self.layers["4"] + self.layers["sparse"]

    @property
    def words(self) -> str:
        """The lowered layers, for messages."""
        return words_of(self.layers["4"], self.layers["sparse"])


@dataclasses.dataclass(frozen=True)
class Front:
    """What `find_front` wrote.

    Attributes:
        folder: with a file, a passport and a plan for each point, `front.json` and
            `front.png`.
        points: the smallest first; none is larger and less accurate than another.
        chosen: the one of them that the budget asks for.
        budget: what was asked for.
        float_top1: share of right answers of the float model on the held-out images.
        count: of those images.
        refused: plans whose file differed from the model by more than an int8 file
            may, or that were larger and less accurate than a point: in words.
    """

    folder: pathlib.Path
    points: tuple[Point, ...]
    chosen: Point
    budget: Budget
    float_top1: float
    count: int
    refused: tuple[str, ...]

    def write(
        self, path: str | os.PathLike[str], overwrite: bool = False
    ) -> ExportReport:
        """Copies the chosen file, its passport and its plan to a place of their own.

        Args:
            path: file to write, ending in `.tflite`.
            overwrite: replace an existing file.

        Returns:
            An `ExportReport`.

        Raises:
            InvalidArgument: a path that cannot be written to.
        """
        place = check_copy(path, overwrite)
        source = self.chosen.path
        landing = files.atomic_file(place)
        with (
            plan_files.beside(place, self.chosen.plan),
            passport.beside(place, overwrite, landing) as (file, proof),
        ):
            file.write_bytes(source.read_bytes())
            proof.write_bytes(passport.path_of(source).read_bytes())
        return dataclasses.replace(self.chosen.report, path=place)


def words_of(int4: int, sparse: int) -> str:
    """How many layers have 4 bits and are sparse, in words."""
    more = f" and {sparse} sparse" if sparse else ""
    return f"{int4} layers in 4 bits{more}"


def _word(bits: LayerBits) -> str:
    if bits.sparsity:
        return "sparse"
    if bits.weight_bits == 4:
        return "4"
    return "float" if bits.weight_bits is None else str(bits.activation_bits)


def record(front: Front) -> dict[str, typing.Any]:
    """A front as plain values, for JSON."""
    points = [
        {
            "file": point.path.name,
            "size": point.size,
            "layers": point.layers,
            **dataclasses.asdict(point.trial),
            "seconds": point.seconds,
            "ratio": point.ratio,
            "chosen": point is front.chosen,
        }
        for point in front.points
    ]
    return {
        "folder": str(front.folder),
        "budget": dataclasses.asdict(front.budget),
        "float_top1": front.float_top1,
        "count": front.count,
        "points": points,
        "refused": list(front.refused),
    }


def beside(path: pathlib.Path) -> list[pathlib.Path]:
    """A file, its passport and its plan."""
    return [path, passport.path_of(path), passport.plan_of(path)]


def pareto(points: list[Point]) -> list[Point]:
    """Those that no other is smaller and more accurate than, the smallest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda x: (x.size, x.trial.rmse)):
        if not front or point.trial.rmse < front[-1].trial.rmse:
            front.append(point)
    return front


def check_copy(path: str | os.PathLike[str], overwrite: bool = False) -> pathlib.Path:
    """The path for a copy of a point, free with the places of what lies beside it.

    Raises:
        InvalidArgument: it, or the place of its plan, is not.
    """
    place = tflite.check_output(path, overwrite)
    plan_files.check_place(place, overwrite)
    return place


def refusal(points: list[Point], limits: Budget, refused: list[str]) -> str:
    """Why no file meets the budget, and what the least is."""
    if not points:
        return f"no file was accepted: {refused[0]}"
    asked: list[str] = []
    least: list[str] = []
    if limits.max_size is not None:
        asked.append(f"max_size {limits.max_size:,}")
        least.append(f"{min(x.size for x in points):,} bytes")
    if limits.max_drop is not None:
        asked.append(f"max_drop {limits.max_drop:g}")
        best = min((x.trial for x in points), key=lambda x: x.drop + x.error)
        least.append(
            f"a drop of {best.drop:.2f} points (standard error {best.error:.2f})"
        )
    if limits.max_seconds is not None:
        asked.append(f"max_latency {1e3 * limits.max_seconds:g} ms")
        least.append(f"{1e3 * min(x.seconds for x in points):.3g} ms")
    if limits.max_ratio is not None:
        asked.append(f"max_latency {limits.max_ratio:g}x")
        least.append(f"{min(x.ratio for x in points):.3g}x the int8 file's latency")
    together = ", each of another file" if len(least) > 1 else ""
    return (
        f"no file meets {', '.join(asked)}: the best that was reached is "
        f"{', '.join(least)}{together}; nothing was written"
    )
