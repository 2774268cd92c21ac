"""`keras-resnets predict` and `keras-resnets evaluate`: classify and evaluate images.

The classifier is a variant with weights, or an exported file.
"""

import argparse
import dataclasses
import pathlib
import typing
from collections.abc import Callable
from collections.abc import Iterable

from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import network_or_file
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments import photos
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.pages import page
from keras_resnets.cli.pages import page_evaluation
from keras_resnets.cli.printing import output
from keras_resnets.cli.printing import output_kinds
from keras_resnets.errors import InvalidArgument
from keras_resnets.system import progress
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_resnets.export.compare.classifier import FileClassifier
    from keras_resnets.images.multi_label import MultiLabelFigures


# Usual suffixes of photos; no name of a variant ends with one of them.
_PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# Images that are loaded at a time.
_AT_A_TIME = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction(network_or_file.Subject):
    """The options of `keras-resnets predict`; see its help."""

    photos: tuple[str, ...]
    count: int | None
    threshold: float | tuple[tuple[str | None, float], ...] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(network_or_file.Subject):
    """The options of `keras-resnets evaluate`; see its help."""

    data: str
    batch_size: int
    count: int | None
    seed: int
    threshold: float | tuple[tuple[str | None, float], ...] | None


def add_to(commands: parsing.Commands) -> None:
    """Adds both commands."""
    predict = commands.add_parser("predict")
    network_or_file.add_options(predict)
    predict.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTO",
        help="image, folder of images, or a data set as for evaluate --data",
    )
    predict.add_argument(
        "--count",
        type=options.COUNT,
        help="number of images of each folder or data set; default: all of a folder, "
        f"{photos.COUNT} of a data set",
    )
    options.add_threshold(predict)
    options.set_command(
        predict,
        Prediction,
        _predict,
        facts={
            "model": "name of the network or the file",
            "images": "one object per image: title; classes, a list of objects with index, "
            "label and probability, the likeliest first (with several labels per image, "
            "those that reach --threshold); is_sure, whether the likeliest reaches the "
            "threshold of calibrate-confidence, or null",
        },
        examples=(
            "resnet50 --weights imagenet cat.jpg",
            "run/ photos/ --count 20 --json",
        ),
        prepare=_first_photo,
    )
    _add_evaluate(commands)


def _add_evaluate(commands: parsing.Commands) -> None:
    """Adds the `evaluate` command."""
    evaluate = commands.add_parser("evaluate")
    network_or_file.add_options(evaluate)
    options.add_labelled(evaluate)
    evaluate.add_argument(
        "--batch-size",
        type=options.BATCH_SIZE,
        default=64,
        help="images in a batch; does not change the results",
    )
    evaluate.add_argument(
        "--count",
        type=options.COUNT,
        help="number of images, the same share of every class; default: all",
    )
    options.add_seed(evaluate, "seed of their choice")
    options.add_threshold(evaluate)
    options.set_command(
        evaluate,
        Evaluation,
        _evaluate,
        facts={
            "model": "name of the network or the file",
            "count": "number of images",
            "top1": "share of correct predictions",
            "top5": "share of images whose class is among the five likeliest",
            "mean_average_precision": "with several labels per image, instead of top1 and "
            "the keys after it; null if each label is on all images or on none. Also "
            "micro_f1, macro_f1, exact_match, threshold, and labels: one object per label "
            "with label, count, average_precision, precision, recall, f1",
            "ece": "expected calibration error of 15 bins; null for logits",
            "reliability": "mean confidence, accuracy and number of images of each bin",
        },
        examples=(
            "resnet20 --weights cifar10 --data cifar10",
            "resnet20_int8.tflite --data cifar10.npz --json",
        ),
        report=True,
    )


def _thresholds(
    asked: Prediction | Evaluation, model: "keras.Model | FileClassifier"
) -> float | tuple[float, ...] | None:
    """Returns the threshold of a multi-label network, or that of each label.

    A file of `deploy` has the thresholds that it was deployed with. None for one class
    per image.
    """
    from keras_resnets.images import labels
    from keras_resnets.images import multi_label

    if output_kinds.has_several_labels(model):
        threshold = options.asked_threshold(asked.threshold)
        if threshold is None:
            threshold = getattr(model, "thresholds", None)
        names = labels.class_names(model.output_shape[-1], model.labels)
        values = multi_label.thresholds(
            threshold, [name for _, name in names], "--threshold"
        )
        return values if len(set(values)) > 1 else values[0]
    if asked.threshold is not None:
        raise InvalidArgument(
            f"--threshold applies to multi-label networks; {model.name} predicts one "
            "class per image"
        )
    return None


def _first_photo(namespace: argparse.Namespace) -> None:
    """Takes MODEL as the first photo if it is one, since the weights name the network."""
    word = namespace.model
    if namespace.weights is None or word is None or namespace.photos is None:
        return
    if pathlib.Path(word).suffix.lower() in _PHOTOS:
        namespace.model, namespace.photos = None, [word, *namespace.photos]


def _predict(asked: Prediction) -> None:
    with native_logs_hidden():
        from keras_resnets.images import files as image_files
        from keras_resnets.images import loading

        model = network_or_file.open_subject(asked)
        sets = [word for word in asked.photos if photos.is_data_set(word)]
        paths = [
            path
            for word in asked.photos
            if word not in sets
            for path in photos.paths_of(word, asked.count, model.preprocessing.channels)
        ]
        threshold = _thresholds(asked, model)
        output.keep(model=model.name, images=[])
        broken: list[str] = []
        for start in range(0, len(paths), _AT_A_TIME):
            chosen = paths[start : start + _AT_A_TIME]
            loaded, skipped = loading.load_images(
                chosen, model.preprocessing, len(paths), broken
            )
            broken += skipped
            if skipped:
                network.say_notes([image_files.skipped_note(tuple(skipped))])
            _show(model, loaded.items(), threshold)
        for word in sets:
            _show(model, photos.of_data_set(word, model, asked.count), threshold)


def _show(
    model: "keras.Model | FileClassifier",
    images: "Iterable[tuple[typing.Any, np.ndarray]]",
    threshold: float | tuple[float, ...] | None = None,
) -> None:
    """Prints the most likely classes of images.

    Args:
        model: the classifier.
        images: (title, image) pairs.
        threshold: of a multi-label network; all labels that reach it are printed.
    """
    import numpy as np

    from keras_resnets.cli.printing import reports

    # A file may return logits; a network built here ends in a softmax.
    predict = getattr(model, "probabilities", model.predict_on_batch)
    confidence = getattr(model, "confidence", None)
    least = confidence["threshold"] if confidence else None
    for title, image in images:
        outputs = np.asarray(predict(image[None]))[0]
        if threshold is not None:
            facts = reports.labels_above(outputs, title, model.labels, threshold)
            output.add("images", {**facts, "is_sure": None})
            say(reports.labels_of(outputs, title, model.labels, threshold))
            continue
        is_sure = None if least is None else bool(outputs.max() >= least)
        facts = reports.ranked(outputs, title, model.labels)
        output.add("images", {**facts, "is_sure": is_sure})
        say(reports.likeliest(outputs, title, model.labels))
        if is_sure is False:
            say(f"  none of these: the highest is below the threshold of {least:.2%}")


def _evaluate(asked: Evaluation) -> None:
    with native_logs_hidden():
        from keras_resnets.images import confidence
        from keras_resnets.images import evaluation

        model = network_or_file.open_subject(asked)
        threshold = _thresholds(asked, model)
        data = network.open_labelled(asked.data, model, asked.count, asked.seed)
        bar = progress.ProgressBar(len(data.labels), "images")
        if threshold is not None:
            with bar:
                figures = evaluation.evaluate_labels(
                    model, data, asked.batch_size, bar, threshold
                )
            _say_labels(model, figures)
            return
        reliability = confidence.Reliability()
        logits = getattr(model, "puts_out_logits", False)
        watch: Callable[..., object] | None = None if logits else reliability.add
        watcher = page_evaluation.Watch(model) if page.is_requested() else None
        if watcher is not None:
            data, watch = watcher.remembered(data), watcher.also(watch)
        with progress.step(f"evaluating {model.name}"), bar:
            accuracy = evaluation.evaluate(model, data, asked.batch_size, bar, watch)
        ece = None if logits else reliability.ece
        output.keep(
            model=model.name,
            count=accuracy.count,
            top1=accuracy.top1,
            top5=accuracy.top5,
            ece=ece,
            reliability=[] if logits else reliability.rows(),
        )
        # Among five classes or fewer it is always 100 %.
        top5 = f", top-5 {accuracy.top5:.2%}" if model.output_shape[-1] > 5 else ""
        ece_text = "" if ece is None else f", ECE {ece:.4f}"
        say(
            f"{model.name}: {accuracy.count:,} images, top-1 {accuracy.top1:.2%}"
            f"{top5}{ece_text}"
        )
        if watcher is not None:
            watcher.show(accuracy, None if logits else reliability)


def _say_labels(
    model: "keras.Model | FileClassifier", figures: "MultiLabelFigures"
) -> None:
    """Prints the figures of a multi-label network, over all labels and for each."""
    from keras_resnets.cli.printing import reports
    from keras_resnets.images import labels

    names = labels.class_names(len(figures.labels), model.labels)
    output.keep(
        model=model.name,
        count=figures.count,
        mean_average_precision=figures.mean_average_precision,
        micro_f1=figures.micro_f1,
        macro_f1=figures.macro_f1,
        exact_match=figures.exact_match,
        threshold=figures.threshold,
        labels=[
            {"label": name, **dataclasses.asdict(row)}
            for (_, name), row in zip(names, figures.labels, strict=True)
        ],
    )
    say(
        f"{model.name}: {figures.count:,} images, mAP "
        f"{reports.share(figures.mean_average_precision)}, "
        f"micro-F1 {figures.micro_f1:.2%}, macro-F1 {reports.share(figures.macro_f1)}, "
        f"exact match {figures.exact_match:.2%} "
        f"(labels with a probability of at least {reports.threshold(figures.threshold)})"
    )
    say(reports.label_table(figures, model.labels))
    page_evaluation.several_labels(figures, [name for _, name in names])
