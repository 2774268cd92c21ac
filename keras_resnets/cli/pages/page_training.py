"""The page of `train --report` and `qat --report`: data, recipe and curves."""

import dataclasses
import typing
from collections.abc import Iterator

from keras_resnets.cli.pages import page
from keras_resnets.cli.pages import page_parts

if typing.TYPE_CHECKING:
    from keras_resnets.reports import Block
    from keras_resnets.training.recipes import Recipe
    from keras_resnets.training.session import Run

# Largest number of classes in the bar chart.
_CLASSES = 40
# Largest number of rows in the table of epochs.
_EPOCHS = 400
# (name in the history, whether it is a share, title) of each chart.
_CURVES = (
    ("loss", False, "Loss"),
    ("accuracy", True, "Accuracy"),
)


def trained(
    run: "Run", recipe: "Recipe", opened: typing.Any, has_teacher: bool = False
) -> None:
    """Adds the results of a training to the page.

    Args:
        run: the `Run`.
        recipe: the `Recipe`.
        opened: the data set.
        has_teacher: whether the training loss includes a teacher's outputs.
    """
    if not page.is_requested():
        return
    figures = run.figures
    if "best_val_accuracy" in figures:
        best = page_parts.percent(figures["best_val_accuracy"])
        epoch = figures.get("best_epoch")
        page.add_tile(best, f"best validation accuracy (epoch {epoch})")
    if "test_accuracy" in figures:
        shown = page_parts.percent(figures["test_accuracy"])
        page.add_tile(shown, f"test accuracy ({figures['test_weights']} weights)")
    page.add_tile(f"{figures['seconds']:,.0f} s", "of training")
    page.set_summary(_summary(run))
    curves = [
        _curves(run.history, name, percent, title, figures.get("best_epoch"), keys)
        for name, percent, title, keys in _charts(has_teacher)
    ]
    curves.append(_rates(run.history))
    page.add_section(
        "Curves of training",
        *(curve for curve in curves if curve is not None),
        _table(run.history),
    )
    page.add_section("Data", *_data(opened))
    page.add_section("Recipe", _recipe(recipe))


def _summary(run: "Run") -> str:
    epochs = max((row["epoch"] for row in run.history), default=0)
    words = f"Trained for {epochs:,} epoch{'' if epochs == 1 else 's'}"
    test = run.figures.get("test_accuracy")
    if test is not None:
        words += f"; {test:.2%} of the test images are classified correctly"
    return f"{words}. The run is in {run.folder.path}."


def _charts(
    has_teacher: bool,
) -> Iterator[tuple[str, bool, str, dict[str, str]]]:
    """Yields (name, whether it is a share, title, keys of the series) of each chart."""
    for name, percent, title in _CURVES:
        keys = {"training": name, "validation": f"val_{name}"}
        if name == "loss" and has_teacher:
            # The training loss includes the teacher and cannot be compared.
            labels = {"validation": keys.pop("validation")}
            yield name, percent, f"Training {title.lower()} (labels and teacher)", keys
            yield name, percent, f"Validation {title.lower()} (labels only)", labels
        else:
            yield name, percent, title, keys


def _curves(
    history: list[dict[str, float]],
    name: str,
    percent: bool,
    title: str,
    best: int | None,
    keys: dict[str, str],
) -> "Block | None":
    """Returns the chart of training and validation; None if neither was measured."""
    from keras_resnets.reports import charts

    series = {
        label: [row.get(key) for row in history]
        for label, key in keys.items()
        if any(key in row for row in history)
    }
    if not series:
        return None
    epochs = [row["epoch"] for row in history]
    marked = (best, "best") if best is not None else None
    return charts.lines(epochs, series, title, name, percent=percent, marked=marked)


def _rates(history: list[dict[str, float]]) -> "Block | None":
    from keras_resnets.reports import charts

    rates = [row.get("learning_rate") for row in history]
    if not any(rate is not None for rate in rates):
        return None
    epochs = [row["epoch"] for row in history]
    series = {"learning rate": rates}
    return charts.lines(
        epochs, series, "Learning rate at the end of each epoch", "rate"
    )


def _table(history: list[dict[str, float]]) -> "Block":
    from keras_resnets.reports import Details
    from keras_resnets.reports import Table

    names = list(dict.fromkeys(name for row in history for name in row))
    rows = [
        [f"{row[name]:.6g}" if name in row else "-" for name in names]
        for row in history[-_EPOCHS:]
    ]
    table = Table([name.replace("_", " ") for name in names], rows, "One row per epoch")
    return Details("All epochs", (table,))


def _data(opened: typing.Any) -> list["Block"]:
    """Returns the parts of the data set, and the number of images of each class."""
    import numpy as np

    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    parts = {
        "training": opened.train,
        "held out": opened.validation,
        "test": opened.test,
    }
    rows = [
        (name, f"{part.count:,}", f"{len(part.skipped):,}")
        for name, part in parts.items()
        if part is not None
    ]
    caption = f"{opened.name}: {len(opened.classes):,} classes"
    blocks: list[Block] = [Table(("part", "images", "unreadable"), rows, caption)]
    names = [name for _, name in opened.classes]
    labels = opened.train.labels
    if opened.is_multi_label:
        counts, kind = labels.sum(axis=0).astype("int64"), "label"
    else:
        counts, kind = np.bincount(labels, minlength=len(names)), "class"
    if len(names) <= _CLASSES:
        bars = [
            (name, float(count), f"{count:,}")
            for name, count in zip(names, counts, strict=True)
        ]
        blocks.append(charts.bars(bars, f"Training images of each {kind}"))
    else:
        text = f"{counts.min():,} to {counts.max():,}"
        blocks.append(Table((f"training images of a {kind}",), [(text,)], "Classes"))
    return blocks


def _recipe(recipe: "Recipe") -> "Block":
    from keras_resnets.reports import Details
    from keras_resnets.reports import Facts

    facts = dataclasses.asdict(recipe)
    facts |= facts.pop("augmentation", None) or {}
    rows = [(name.replace("_", " "), _shown(value)) for name, value in facts.items()]
    return Details("All fields of the recipe", (Facts(rows),))


def _shown(value: object) -> str:
    return "none" if value in (None, (), {}, "") else str(value)
