"""Text output about exported files and predictions."""

import typing

import numpy as np

from keras_resnets.cli.printing.output import milliseconds
from keras_resnets.errors import counted
from keras_resnets.errors import printable
from keras_resnets.export.compare import open_runner as runners
from keras_resnets.export.formats import FORMATS
from keras_resnets.export.keras import runner as keras_runner
from keras_resnets.graph import binary
from keras_resnets.images import multi_label
from keras_resnets.images.labels import class_names
from keras_resnets.system.text_table import text_table
from keras_resnets.system.text_table import width_of

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.export.landing import ExportReport
    from keras_resnets.export.parity import Parity
    from keras_resnets.images.multi_label import MultiLabelFigures


# Characters of a class name; ImageNet's longest has 30.
_LABEL = 60
# Characters of the bar for a probability of 1.
_BAR = 30


def export_report(report: "ExportReport", images: str) -> str:
    """Returns size, operators, parity and latency of an `ExportReport` as lines."""
    runtime = FORMATS[report.format].runtime
    operators = ", ".join(
        f"{printable(name, 60)} {count}" for name, count in report.operators.items()
    )
    ratio = report.keras_latency / report.latency
    threads = f" ({counted(report.threads, 'thread')})" if report.threads else ""
    lines = [
        f"wrote        {report.path}  {report.size / 1e6:,.2f} MB",
        f"operators    {operators}",
        f"compared     {report.compared} images ({images}) in {runtime} and Keras:",
        f"  outputs    max difference {report.outputs.max_error:.2g}, "
        f"{_agreement(report.outputs)}",
        _logits_line(report),
        f"latency      {runtime} {milliseconds(report.latency)}{threads}, "
        f"Keras {milliseconds(report.keras_latency)}: {ratio:.1f}x",
    ]
    return "\n".join(lines)


def _logits_line(report: "ExportReport") -> str:
    if report.logits is None:
        name = FORMATS[report.format].title.split()[0]
        return (
            f"  logits     not measured: in {name} files the input of the softmax or "
            "sigmoid cannot be read"
        )
    name = "logits" if report.output in ("predictions", "logits") else "features"
    return (
        f"  {name:<11}relative error {report.logits.relative_error:.2g}, "
        f"SQNR {report.logits.sqnr:.1f} dB, cosine {report.logits.cosine:.6f}, "
        f"{_agreement(report.logits)}"
    )


def _agreement(parity: "Parity") -> str:
    """Returns the share of equal predictions; for a multi-label network, of labels."""
    if parity.labels is not None:
        return f"label agreement {parity.labels:.0%}"
    return f"top-1 agreement {parity.top1:.0%}"


def top_five(
    model: "keras.Model", report: "ExportReport", photo: "np.ndarray", name: str
) -> str:
    """Returns the top five classes of one image, of the model and of the file."""
    keras_outputs, logits = keras_runner.KerasRunner(model)(photo[None])
    if report.output == "logits" and logits is not None:
        keras_outputs = logits
    runner = runners.open_runner(report.path, max(report.threads, 1))
    inputs = model.preprocessing.pixels(photo) if report.takes_pixels else photo
    file_outputs = runner(inputs[None])[0]
    # The one output of a binary classifier is that of the second class.
    names = class_names(binary.classes(model), model.labels)[-len(file_outputs) :]
    shown = [
        [f"{outputs[i]:.4f} {printable(names[i][1], 30)}" for i in best]
        for outputs, best in (
            (outputs, np.argsort(-outputs, kind="stable")[:5])
            for outputs in (keras_outputs[0], file_outputs)
        )
    ]
    width = max(map(len, [*shown[0], "Keras"])) + 2
    rows = [("Keras", report.path.name), *zip(*shown, strict=True)]
    lines = [f"  {left:<{width}}{right}" for left, right in rows]
    return "\n".join([f"top five     {printable(str(name))}", *lines])


def ranked(
    outputs: "np.ndarray", title: object, labels: tuple[str, ...] | str | None
) -> dict[str, typing.Any]:
    """Returns the five most likely classes of one image for JSON; see `likeliest`."""
    best = np.argsort(-outputs, kind="stable")[:5]
    return _classes(outputs, title, labels, best)


def _classes(
    outputs: "np.ndarray",
    title: object,
    labels: tuple[str, ...] | str | None,
    indices: typing.Iterable[int],
) -> dict[str, typing.Any]:
    """Returns some classes of one image for JSON."""
    names = class_names(len(outputs), labels)
    classes = [
        {
            "index": int(index),
            "label": names[index][1],
            "probability": float(outputs[index]),
        }
        for index in indices
    ]
    return {"title": str(title), "classes": classes}


def labels_above(
    outputs: "np.ndarray",
    title: object,
    labels: tuple[str, ...] | str | None,
    threshold: float | tuple[float, ...],
) -> dict[str, typing.Any]:
    """Returns the labels of one image above a threshold for JSON; see `labels_of`."""
    return _classes(outputs, title, labels, multi_label.said(outputs, threshold))


def labels_of(
    outputs: "np.ndarray",
    name: object,
    labels: tuple[str, ...] | str | None,
    threshold: float | tuple[float, ...],
) -> str:
    """Returns the labels of one image above a threshold, with a bar each."""
    indices = multi_label.said(outputs, threshold)
    if indices:
        return likeliest(outputs, name, labels, count=len(indices))
    best = int(np.argmax(outputs))
    label = printable(class_names(len(outputs), labels)[best][1], _LABEL)
    return (
        f"{printable(str(name), 4 * _LABEL)}\n  no label reaches {_least(threshold)}: the "
        f"most likely one is {label}, {outputs[best]:.2%}"
    )


def _least(value: float | tuple[float, ...]) -> str:
    return "its threshold" if isinstance(value, tuple) else f"{value:.0%}"


def threshold(value: float | tuple[float, ...]) -> str:
    """Returns the threshold of several labels as text: one number, or a range."""
    if isinstance(value, tuple):
        return f"{min(value):g} to {max(value):g}, by label,"
    return f"{value:g}"


def label_table(
    figures: "MultiLabelFigures", labels: tuple[str, ...] | str | None
) -> str:
    """Returns a table with images, AP, precision, recall and F1 of each label."""
    names = class_names(len(figures.labels), labels)
    rows = [
        (
            printable(name, _LABEL),
            row.count,
            share(row.average_precision),
            share(row.precision),
            share(row.recall),
            share(row.f1),
        )
        for (_, name), row in zip(names, figures.labels, strict=True)
    ]
    return text_table(("label", "images", "AP", "precision", "recall", "F1"), rows)


def share(value: float | None) -> str:
    """Returns a share in percent; `undefined` for None."""
    return "undefined" if value is None else f"{value:.2%}"


def likeliest(
    outputs: "np.ndarray",
    name: object,
    labels: tuple[str, ...] | str | None = None,
    count: int = 5,
) -> str:
    """Returns the `count` most likely classes of one image, with a bar each.

    Args:
        outputs: probabilities (classes,).
        name: title of the image.
        labels: see `keras_resnets.images.labels.class_names`.
        count: number of classes.
    """
    names = class_names(len(outputs), labels)
    best = np.argsort(-outputs, kind="stable")[:count]
    shown = {index: printable(names[index][1], _LABEL) for index in best}
    longest = max(map(width_of, shown.values()))
    lines = [printable(str(name), 4 * _LABEL)]
    for index in best:
        share = float(outputs[index])
        bar = "#" * round(share * _BAR)
        label = shown[index] + " " * (longest - width_of(shown[index]))
        lines.append(f"  {label}  {share:7.2%}  {bar}".rstrip())
    return "\n".join(lines)
