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
# Whether images have several labels -> (key in the history, words) of the measure.
_MEASURES = {
    False: ("accuracy", "accuracy"),
    True: ("mean_average_precision", "mean average precision"),
}


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
    figures, best = run.figures, run.figures.get("best_epoch")
    key, words = _MEASURES[opened.is_multi_label]
    if f"best_val_{key}" in figures:
        highest = page_parts.percent(figures[f"best_val_{key}"])
        named = f"best validation {words}"
        if "kept" in figures:
            named = f"validation {words} of the weights that were kept"
        page.add_tile(highest, f"{named} (epoch {best})")
    if f"test_{key}" in figures:
        shown = page_parts.percent(figures[f"test_{key}"])
        page.add_tile(shown, f"test {words} ({figures['test_weights']} weights)")
    page.add_tile(f"{figures['seconds']:,.0f} s", "of training")
    page.set_summary(_summary(run))
    curves = [
        _curves(run.history, label, percent, title, best, keys)
        for label, percent, title, keys in _charts(has_teacher, opened.is_multi_label)
    ]
    curves.append(_rates(run.history))
    page.add_section(
        "Curves of training",
        *_stages(run, recipe, opened),
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


def _stages(run: "Run", recipe: "Recipe", opened: typing.Any) -> list["Block"]:
    """Returns the figures of the stages of fine-tuning; empty for other trainings."""
    from keras_resnets.reports import Text
    from keras_resnets.training import best_weights

    if "kept" not in run.figures:
        return []
    count = opened.validation.count if opened.validation else 0
    found = best_weights.sentence(recipe, run.figures, count, opened.is_multi_label)
    of_images, kept = found.split("\n")
    return [Text(f"Stages: {of_images}."), Text(f"{kept[:1].upper()}{kept[1:]}.")]


def _charts(
    has_teacher: bool, is_multi_label: bool
) -> Iterator[tuple[str, bool, str, dict[str, str]]]:
    """Yields (label, whether it is a share, title, keys of the series) of each chart."""
    key, words = _MEASURES[is_multi_label]
    for name, label, percent in (("loss", "loss", False), (key, words, True)):
        title = f"{label[:1].upper()}{label[1:]}"
        keys = {"training": name, "validation": f"val_{name}"}
        if name == "loss" and has_teacher:
            # The training loss includes the teacher and cannot be compared.
            labels = {"validation": keys.pop("validation")}
            yield label, percent, "Training loss (labels and teacher)", keys
            yield label, percent, "Validation loss (labels only)", labels
        else:
            yield label, percent, title, keys


def _curves(
    history: list[dict[str, float]],
    label: str,
    percent: bool,
    title: str,
    best: int | None,
    keys: dict[str, str],
) -> "Block | None":
    """Returns the chart of training and validation; None if neither was measured."""
    from keras_resnets.reports import charts

    series = {
        name: [row.get(key) for row in history]
        for name, key in keys.items()
        if any(key in row for row in history)
    }
    if not series:
        return None
    epochs = [row["epoch"] for row in history]
    marked = (best, "best") if best is not None else None
    return charts.lines(epochs, series, title, label, percent=percent, marked=marked)


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
    kind = "labels" if opened.is_multi_label else "classes"
    caption = f"{opened.name}: {len(opened.classes):,} {kind}"
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
