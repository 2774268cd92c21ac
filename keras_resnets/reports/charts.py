"""Charts as SVG, drawn by matplotlib in the colours of the page."""

import io
import itertools
import re
import typing
import warnings
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import printable
from keras_resnets.reports.blocks import Chart

# Placeholder colours. CSS variables of the page replace them, so that charts follow the
# reader's light or dark mode.
_INK, _MUTED, _LINE = "#0a0b01", "#0a0b02", "#0a0b03"
_SERIES = ("#0a0b04", "#0a0b05", "#0a0b06", "#0a0b07")
_NAMES = dict(
    zip(
        (_INK, _MUTED, _LINE, *_SERIES),
        ("ink", "muted", "line", "c1", "c2", "c3", "c4"),
        strict=True,
    )
)
# A blue between those of light and dark mode: a raster image cannot change its colours.
_BLUE = (0.30, 0.55, 0.81)
_STYLE: dict[typing.Any, typing.Any] = {
    "svg.fonttype": "none",
    # Names of classes have dollar signs, and are no formulas.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _INK,
    "grid.color": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
}
# Widths in inches of 72 points: on a phone, 336 pixels wide, 10 points are 10 pixels.
_WIDTH = 4.6
# Largest number of characters of a label.
_LABEL = 26
# Largest number of classes of a confusion matrix with counts, and with names.
_COUNTED, _NAMED = 12, 40
_MOST_BARS = 60
# Largest number of points that get a marker.
_DOTTED = 13
_numbers = itertools.count(1)


def short(text: object, longest: int = _LABEL) -> str:
    """Returns a label as one line; a long one is shortened in the middle."""
    shown = printable(str(text), 200)
    if len(shown) <= longest:
        return shown
    half = (longest - 1) // 2
    return f"{shown[:half]}\N{HORIZONTAL ELLIPSIS}{shown[-half:]}"


def bars(
    rows: Sequence[tuple[str, float, str]], caption: str, wide: bool = False
) -> Chart:
    """Returns a chart of horizontal bars.

    Args:
        rows: (name, length >= 0, formatted value) of each bar.
        caption: caption, with the unit.
        wide: see `Chart`.
    """
    alt = f"Bars: {caption}. " + "; ".join(f"{n}: {text}" for n, _, text in rows)

    def draw(figure: typing.Any) -> None:
        axes = figure.subplots()
        places = range(len(rows))
        lengths = [max(float(length), 0.0) for _, length, _ in rows]
        colours = [_SERIES[place % 2] for place in places]
        if len(rows) > 2:
            colours = [_SERIES[0]] * len(rows)
        axes.barh(places, lengths, color=colours, height=0.62)
        axes.set_yticks(places, [short(name) for name, _, _ in rows])
        axes.invert_yaxis()
        most = max(lengths, default=0.0) or 1.0
        for place, (length, (_, _, text)) in enumerate(zip(lengths, rows, strict=True)):
            label = short(text)
            axes.text(length + most * 0.015, place, label, va="center", fontsize=9)
        axes.set_xlim(0, most * 1.28)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[["bottom"]].set_visible(False)

    return _chart(draw, (_WIDTH, 0.35 + 0.34 * len(rows)), caption, alt, wide)


def layers(
    rows: Sequence[tuple[str, float, str]], caption: str, log: bool = True
) -> Chart:
    """A bar chart of the cost of each layer, coloured by group.

    Args:
        rows: (name, cost >= 0, group) of each layer, in order. If there are too many, the
            costliest are drawn.
        caption: caption of the chart.
        log: whether the axis is logarithmic.
    """
    drawn = list(rows)
    if len(drawn) > _MOST_BARS:
        least = sorted((cost for _, cost, _ in drawn), reverse=True)[_MOST_BARS - 1]
        drawn = [row for row in drawn if row[1] >= least][:_MOST_BARS]
        caption += f" (the {len(drawn)} costliest of {len(rows)} layers)"
    groups = list(dict.fromkeys(group for _, _, group in drawn))
    worst = max(drawn, key=lambda row: row[1], default=("none", 0.0, ""))
    alt = f"Bars of {len(drawn)} layers: {caption}. The largest: {worst[0]}, {worst[1]:.3g}"

    def draw(figure: typing.Any) -> None:
        from matplotlib.patches import Patch

        axes = figure.subplots()
        colours = [_SERIES[groups.index(group) % len(_SERIES)] for _, _, group in drawn]
        costs = [cost for _, cost, _ in drawn]
        axes.barh(range(len(drawn)), costs, color=colours, height=0.7)
        axes.set_yticks(
            range(len(drawn)), [short(name, 30) for name, _, _ in drawn], fontsize=8
        )
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        positive = [cost for cost in costs if cost > 0]
        if log and positive and max(positive) > 20 * min(positive):
            axes.set_xscale("log")
            # Its own ticks are formulas.
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_xlim(left=max(min(positive) / 2, max(positive) / 1e4))
        axes.grid(axis="x", linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        if any(groups):
            handles = [
                Patch(color=_SERIES[place % len(_SERIES)], label=short(group))
                for place, group in enumerate(groups[: len(_SERIES)])
            ]
            figure.legend(handles=handles, loc="outside upper right", ncols=4)

    return _chart(draw, (6.2, 0.9 + 0.19 * len(drawn)), caption, alt)


def lines(
    x: Sequence[float],
    series: Mapping[str, Sequence[float | None]],
    caption: str,
    label: str,
    x_label: str = "epoch",
    percent: bool = False,
    marked: tuple[float, str] | None = None,
) -> Chart:
    """Returns a line chart, for example of curves over epochs.

    Args:
        x: values of the x axis.
        series: values of each curve by its name; None for a missing value.
        caption: caption of the chart.
        label: label of the y axis.
        x_label: label of the x axis.
        percent: whether values are shares, shown in percent.
        marked: (x, label) of a vertical marker, or None.
    """
    last_values = []
    for name, values in series.items():
        finite = [v for v in values if v is not None and np.isfinite(v)]
        if finite:
            last = f"{finite[-1]:.1%}" if percent else f"{finite[-1]:.4g}"
            last_values.append(f"{name} ends at {last}")
    alt = f"Curves: {caption}. {'; '.join(last_values)}"

    def draw(figure: typing.Any) -> None:
        axes = figure.subplots()
        styles = ("-", "--", ":", "-.")
        for place, (name, values) in enumerate(series.items()):
            y = np.array([np.nan if v is None else v for v in values], "float64")
            y = np.where(np.isfinite(y), y, np.nan) * (100 if percent else 1)
            axes.plot(
                x,
                y,
                styles[place % 4],
                color=_SERIES[place % 4],
                label=short(name),
                marker="o" if len(y) < _DOTTED else None,
                markersize=4,
            )
        if marked is not None:
            axes.axvline(marked[0], color=_MUTED, linewidth=0.8, linestyle=":")
            axes.text(
                marked[0], 1.01, marked[1], ha="center", va="bottom", fontsize=8,
                transform=axes.get_xaxis_transform(), color=_MUTED,
            )  # fmt: skip
        if percent:
            # No share lies above 100%: room for the marker alone.
            low, high = axes.get_ylim()
            axes.set_ylim(low, min(high, 100 + 0.03 * (100 - low)))
        axes.grid(linewidth=0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(axis="y", labelcolor=_MUTED)
        axes.set_xlabel(x_label)
        axes.set_ylabel(label + (" (%)" if percent else ""))
        if len(series) > 1:
            axes.legend()

    return _chart(draw, (_WIDTH, 3.1), caption, alt, wide=False)


def confusion(matrix: np.ndarray, names: Sequence[str], caption: str) -> Chart:
    """Returns a chart of a confusion matrix: true classes (rows), predictions (columns).

    Args:
        matrix: int array (classes, classes), numbers of images.
        names: names of the classes.
        caption: caption of the chart.
    """
    count = len(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    right = int(np.trace(matrix))
    alt = (
        f"Confusion matrix of {count} classes: {right:,} of {int(matrix.sum()):,} images "
        "on the diagonal"
    )
    side = min(max(3.2, 1.6 + 0.36 * count), 7.0)

    def draw(figure: typing.Any) -> None:
        axes = figure.subplots()
        _cells(axes, matrix, shares)
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true class")
        if count <= _NAMED:
            size = 9 if count <= 20 else 6
            shown = [short(name, 18) for name in names]
            axes.set_xticks(range(count), shown, rotation=60, ha="right", fontsize=size)
            axes.set_yticks(range(count), shown, fontsize=size)
            axes.tick_params(rotation_mode="anchor", axis="x", labelcolor=_INK)

    return _chart(draw, (side, side), caption, alt)


def _cells(axes: typing.Any, matrix: np.ndarray, shares: np.ndarray) -> None:
    """Draws the cells: rectangles with counts, or a raster image for many classes."""
    from matplotlib.patches import Rectangle

    count = len(matrix)
    if count > _COUNTED:
        raster = np.empty((count, count, 4))
        raster[..., :3] = _BLUE
        raster[..., 3] = np.sqrt(shares)
        axes.imshow(raster, interpolation="none")
        return
    for row, column in itertools.product(range(count), repeat=2):
        cell = Rectangle(
            (column - 0.48, row - 0.48), 0.96, 0.96, linewidth=0,
            facecolor=_SERIES[0] if row == column else _SERIES[1],
            alpha=float(0.04 + 0.51 * np.sqrt(shares[row, column])),
        )  # fmt: skip
        axes.add_patch(cell)
        if matrix[row, column]:
            axes.text(
                column, row, f"{matrix[row, column]}", ha="center", va="center",
                fontsize=8 if matrix.max() < 1000 else 7,
            )  # fmt: skip


def reliability(rows: Sequence[tuple[float, float, int]], ece: float) -> Chart:
    """Returns a reliability diagram: accuracy over confidence.

    Args:
        rows: (mean confidence, accuracy, images) of each bin.
        ece: expected calibration error.
    """
    total = max(sum(count for _, _, count in rows), 1)
    caption = f"Reliability diagram of {total:,} images: ECE {ece:.4f}"
    surer = sum(count for sure, right, count in rows if sure > right)
    alt = f"{caption}; {surer / total:.0%} lie in bins that are surer than right"

    def draw(figure: typing.Any) -> None:
        upper, lower = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)}
        )
        width = 1 / 15
        sure = np.array([row[0] for row in rows])
        right = np.array([row[1] for row in rows])
        counts = np.array([row[2] for row in rows])
        places = (np.ceil(sure * 15) - 0.5) * width
        upper.bar(places, right, width * 0.92, color=_SERIES[0], label="accuracy")
        gap = {"fill": False, "edgecolor": _SERIES[1], "linewidth": 1.2}
        gap_label = "gap to the mean confidence"
        upper.bar(
            places, sure - right, width * 0.92, bottom=right, label=gap_label, **gap
        )
        upper.plot((0, 1), (0, 1), "--", color=_MUTED, linewidth=1)
        upper.set_ylim(0, 1.02)
        upper.set_xlim(0, 1)
        upper.set_ylabel("accuracy")
        upper.legend(loc="upper left", fontsize=8)
        lower.bar(places, counts / total, width * 0.92, color=_SERIES[2])
        lower.set_ylabel("share")
        lower.set_xlabel("confidence")
        for axes in (upper, lower):
            axes.grid(axis="y", linewidth=0.5)
            axes.tick_params(axis="y", labelcolor=_MUTED)

    return _chart(draw, (_WIDTH, 4.4), caption, alt, wide=False)


def _chart(
    draw: typing.Callable[[typing.Any], None],
    size: tuple[float, float],
    caption: str,
    alt: str,
    wide: bool = True,
) -> Chart:
    """Returns a `Chart`; `draw` draws on a `matplotlib.figure.Figure`."""
    import matplotlib
    from matplotlib.figure import Figure

    number = next(_numbers)
    stored = io.BytesIO()
    own = {**_STYLE, "svg.hashsalt": str(number)}
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Its fonts have not every letter; the reader's browser has.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(own)
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stored, format="svg", metadata=nothing)
    return Chart(_inline(stored.getvalue().decode(), number), alt, caption, wide)


def _inline(text: str, number: int) -> str:
    """Returns SVG for embedding in a page, with unique ids and CSS colours."""
    svg = text[text.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg [^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>g{number}-", svg)
    for colour, name in _NAMES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.strip()
