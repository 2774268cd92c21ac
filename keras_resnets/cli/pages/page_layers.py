"""The pages of `sensitivity --report` and `search --report`: the error of each layer."""

import typing
from collections.abc import Sequence

from keras_resnets.cli.pages import page
from keras_resnets.cli.pages import page_parts
from keras_resnets.cli.printing import tables
from keras_resnets.cli.printing.output import milliseconds

if typing.TYPE_CHECKING:
    from keras_resnets.quantization.search.mixed_precision import Mix
    from keras_resnets.quantization.search.points import Front
    from keras_resnets.quantization.search.sensitivity import LayerCost

_COST = "logit RMSE over their deviation if only this layer is quantized"


def sensitivity(costs: "Sequence[LayerCost]") -> None:
    """Adds the error of quantizing each layer alone, the largest first."""
    if not page.is_requested() or not costs:
        return
    from keras_resnets.reports import Details
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    worst = costs[0]
    changed = f"{1 - worst.agreement:.1%} of the" if worst.agreement < 1 else "no"
    page.set_summary(
        f"{worst.name} causes the largest error: quantizing only its {worst.part} changes "
        f"the prediction for {changed} images."
    )
    page.add_tile(f"{worst.rmse:.4f}", f"largest logit RMSE ({worst.name})")
    page.add_tile(
        page_parts.percent(worst.agreement), "agreement if only it is quantized"
    )
    page.add_tile(f"{len(costs):,}", "layers and parts measured")
    rows = tables.cost_rows(costs)
    drawn = [(cost.name, cost.rmse, cost.part) for cost in costs]
    page.add_section(
        "Error of each layer",
        charts.layers(drawn, f"{_COST[0].upper()}{_COST[1:]}"),
        Details(
            "All layers", (Table(tables.COST_HEAD, rows, "The largest error first"),)
        ),
    )


def mix(result: "Mix") -> None:
    """Adds the precisions that a search chose, and the measured errors."""
    if not page.is_requested():
        return
    from keras_resnets.reports import Details
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    page.add_tile(f"{result.mix.drop:+.2f} points", "drop of top-1 on held-out images")
    page.add_tile(page_parts.percent(result.share()), "of the multiply-adds in int8")
    trials = [
        ("float", result.float_top1),
        ("all int8", result.int8.top1),
        ("the mix", result.mix.top1),
    ]
    bars = [(name, top1, page_parts.percent(top1)) for name, top1 in trials]
    sizes = [
        ("all int8", float(len(result.int8_content))),
        ("the mix", float(len(result.content))),
    ]
    size_bars = [(name, size, page_parts.megabytes(size)) for name, size in sizes]
    page.add_section(
        "Result of the search",
        charts.bars(bars, f"Top-1 on {result.mix.count:,} held-out images"),
        charts.bars(size_bars, "Size of the file"),
        Table(
            ("", "drop (points)", "standard error", "agreement", "logit RMSE"),
            [
                (
                    name,
                    f"{trial.drop:.2f}",
                    f"{trial.error:.2f}",
                    page_parts.percent(trial.agreement),
                    f"{trial.rmse:.4f}",
                )
                for name, trial in (("all int8", result.int8), ("the mix", result.mix))
            ],
            f"Allowed: {result.max_drop:g} points for the drop plus its standard error",
        ),
    )
    drawn = [
        (row.name, max(row.weights or 0.0, row.output), row.precision)
        for row in result.layers
    ]
    caption = "Logit RMSE of weights or output, the larger one; colour: precision"
    page.add_section(
        "Error and precision of each layer",
        charts.layers(drawn, caption),
        Details(
            "All layers", (Table(tables.MIX_HEAD, tables.mix_rows(result), _COST),)
        ),
    )


def front(result: "Front") -> None:
    """Adds the files of a Pareto front, from the smallest to the most accurate."""
    if not page.is_requested():
        return
    from keras_resnets.reports import Details
    from keras_resnets.reports import Lines
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    chosen = result.chosen
    page.add_tile(chosen.path.name, "chosen for the budget")
    page.add_tile(
        f"{chosen.trial.drop:+.2f} points", "its drop of top-1 on held-out images"
    )
    page.add_tile(f"{chosen.ratio:.2f}x", "the latency of the int8 file")
    sizes = [point.size / 1e3 for point in result.points]
    marked = (chosen.size / 1e3, "chosen")
    top1 = {
        "files": [point.trial.top1 for point in result.points],
        "float": [result.float_top1 for _ in result.points],
    }
    caption = f"Top-1 on {result.count:,} held-out images over the size of the file"
    rmse = {"logit RMSE": [point.trial.rmse for point in result.points]}
    rows = [
        (
            point.path.name,
            page_parts.megabytes(point.size),
            " + ".join(f"{n} x {word}" for word, n in point.layers.items() if n),
            page_parts.percent(point.trial.top1),
            f"{point.trial.drop:.2f} ({point.trial.error:.2f})",
            f"{point.trial.rmse:.4f}",
            milliseconds(point.seconds),
            "chosen" if point is chosen else "",
        )
        for point in result.points
    ]
    head = (
        "file",
        "size",
        "layers x bits",
        "top-1",
        "drop (error)",
        "RMSE",
        "latency",
        "",
    )
    page.add_section(
        "Pareto front of size and accuracy",
        charts.lines(sizes, top1, caption, "top-1", "kB", percent=True, marked=marked),
        charts.lines(
            sizes, rmse, "Logit RMSE over the size", "RMSE", "kB", marked=marked
        ),
        Table(head, rows, f"Every file is in {result.folder}, with its plan"),
    )
    if result.refused:
        left = Lines(result.refused)
        page.add_section(
            "Pareto front of size and accuracy", Details("Left out", (left,))
        )
