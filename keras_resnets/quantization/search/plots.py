"""The plot of a mix, what each layer costs alone and became; and that of a front."""

import os
import typing
from collections.abc import Sequence

from keras_resnets.io import plots

if typing.TYPE_CHECKING:
    from keras_resnets.quantization.search.mixed_precision import LayerChoice
    from keras_resnets.quantization.search.mixed_precision import Mix
    from keras_resnets.quantization.search.points import Front

_COLOURS = {"int8": "#4477aa", "int16": "#ccbb44", "float": "#cc4455"}
# Below that a layer costs nothing that could be seen.
_LEAST = 1e-4


def plot(mix: "Mix", path: str | os.PathLike[str], name: str) -> None:
    """Draws a `Mix` as a PNG: a row a layer, coloured by its precision.

    Args:
        mix: a `mixed_precision.Mix`.
        path: ending in `.png`.
        name: of the network.

    Raises:
        InvalidArgument: see `plots.check_place`.
        NotWritten: the file could not be written.
    """
    path = plots.check_place(path)
    from matplotlib.figure import Figure

    rows = mix.layers
    names = [row.name for row in rows]
    colours = [_COLOURS[row.precision] for row in rows]
    figure = Figure(figsize=(10, 2 + 0.2 * len(rows)), layout="constrained")
    costs, macs = figure.subplots(
        1, 2, sharey=True, gridspec_kw={"width_ratios": (3, 1)}
    )
    places = range(len(rows))
    for shift, part, marker in ((-0.2, "weights", "o"), (0.2, "output", "s")):
        _costs(costs, rows, colours, shift, part, marker)
    costs.set_xscale("log")
    costs.set_xlim(left=_LEAST)
    costs.set_yticks(places, names, fontsize=8)
    costs.set_ylim(len(rows) - 0.4, -0.6)
    costs.set_xlabel(
        "logit RMSE when this alone is rounded (circle: weights, square: output)"
    )
    macs.barh(places, [100 * row.share for row in rows], color=colours, height=0.7)
    macs.set_xlabel("% of multiply-adds")
    for axes in (costs, macs):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    figure.suptitle(_title(mix, name), fontsize=10, x=0.01, ha="left")
    figure.legend(handles=_handles(rows), loc="outside lower center", ncols=3)
    plots.save(figure, path, dpi=130)


def _costs(
    axes: typing.Any,
    rows: Sequence["LayerChoice"],
    colours: list[str],
    shift: float,
    part: str,
    marker: str,
) -> None:
    """Lollipops of one part of every layer."""
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        cost = getattr(row, part)
        if cost is None:
            continue
        cost = max(cost, _LEAST)
        axes.hlines(place + shift, _LEAST, cost, color=colour, linewidth=1.4)
        axes.plot(cost, place + shift, marker, color=colour, markersize=4)


def _title(mix: "Mix", name: str) -> str:
    return (
        f"{name}: top-1 {mix.float_top1:.2%} as float, {mix.int8.top1:.2%} as int8, "
        f"{mix.mix.top1:.2%} as a mix ({mix.mix.count:,} held-out images)\n"
        f"{mix.share():.1%} of the multiply-adds in int8; allowed drop "
        f"{mix.max_drop:g} points"
    )


def _handles(rows: Sequence["LayerChoice"]) -> list[typing.Any]:
    from matplotlib.patches import Patch

    precisions = {row.precision for row in rows}
    return [
        Patch(color=colour, label=precision)
        for precision, colour in _COLOURS.items()
        if precision in precisions
    ]


def plot_front(front: "Front", path: str | os.PathLike[str], name: str) -> None:
    """Draws a `Front` as a PNG: top-1 on held-out training images, and RMSE, over size.

    Args:
        front: a `points.Front`.
        path: ending in `.png`.
        name: of the network.

    Raises:
        InvalidArgument: see `plots.check_place`.
        NotWritten: the file could not be written.
    """
    path = plots.check_place(path)
    from matplotlib.figure import Figure

    sizes = [point.size / 1000 for point in front.points]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    accuracy, error = figure.subplots(1, 2)
    tops = [100 * point.trial.top1 for point in front.points]
    errors = [point.trial.error for point in front.points]
    accuracy.errorbar(sizes, tops, errors, fmt="o-", color=_COLOURS["int8"], capsize=3)
    accuracy.axhline(100 * front.float_top1, color="#888888", linestyle="--")
    accuracy.set_ylabel("top-1 of held-out training images, % (dashed: float)")
    rmse = [point.trial.rmse for point in front.points]
    error.plot(sizes, rmse, "o-", color=_COLOURS["int8"])
    error.set_ylabel("logit RMSE over their deviation")
    place = front.points.index(front.chosen)
    for axes, values in ((accuracy, tops), (error, rmse)):
        axes.plot(sizes[place], values[place], "o", color=_COLOURS["float"], zorder=3)
        if front.budget.max_size is not None:
            axes.axvline(front.budget.max_size / 1000, color=_COLOURS["int16"])
        axes.set_xlabel("kB of the file (yellow line: max_size; red: chosen)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
    figure.suptitle(
        f"{name}: {front.count:,} held-out training images",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    plots.save(figure, path, dpi=130)
