"""The page of `evaluate --report`: accuracy, confusion matrix, reliability, errors."""

import typing
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from keras_resnets.cli.pages import page
from keras_resnets.cli.pages import page_parts

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.images.confidence import Reliability
    from keras_resnets.images.evaluation import Accuracy
    from keras_resnets.images.evaluation import Labelled
    from keras_resnets.images.multi_label import MultiLabelFigures

# Largest number of pairs of classes, and of classes, in a table.
_PAIRS, _CLASSES = 15, 40


class Watch:
    """Counts the predictions of an evaluation, and keeps the most confident errors.

    Args:
        model: the classifier, with `output_shape`, `labels` and `preprocessing`.
    """

    def __init__(self, model: typing.Any) -> None:
        import numpy as np

        self._names = page_parts.names_of(model)
        self._matrix = np.zeros((len(self._names), len(self._names)), "int64")
        self._gallery = page_parts.Gallery(
            model.preprocessing, self._names, ("prediction",)
        )
        self._images: np.ndarray | None = None

    def remembered(self, data: "Labelled") -> "Labelled":
        """Returns the same data; this object keeps the last batch for `add`."""
        import dataclasses

        def batches(size: int) -> Iterator["np.ndarray"]:
            for self._images in data.batches(size):
                yield self._images

        return dataclasses.replace(data, batches=batches)

    def also(self, watch: Callable[..., object] | None) -> Callable[..., object]:
        """Returns a function that passes outputs and labels to `watch` and to `add`."""

        def both(outputs: "np.ndarray", labels: "np.ndarray") -> None:
            if watch is not None:
                watch(outputs, labels)
            self.add(outputs, labels)

        return both

    def add(self, outputs: "np.ndarray", labels: "np.ndarray") -> None:
        """Adds the outputs of the last batch."""
        import numpy as np

        np.add.at(self._matrix, (labels, outputs.argmax(axis=1)), 1)
        if self._images is not None:
            self._gallery.add(self._images, outputs, labels=labels, against_labels=True)

    def show(self, accuracy: "Accuracy", sums: "Reliability | None") -> None:
        """Adds the results to the page.

        Args:
            accuracy: accuracy of the classifier.
            sums: reliability of its probabilities; None for logits.
        """
        from keras_resnets.reports import charts

        page.set_summary(
            f"{accuracy.top1:.2%} of {accuracy.count:,} images are classified correctly."
        )
        page.add_tile(page_parts.percent(accuracy.top1), "top-1 accuracy")
        if len(self._names) > 5:
            page.add_tile(page_parts.percent(accuracy.top5), "top-5 accuracy")
        page.add_tile(f"{accuracy.count:,}", "images")
        if sums is not None:
            page.add_tile(f"{sums.ece:.4f}", "expected calibration error (ECE)")
            section = "Reliability of the probabilities"
            page.add_section(section, charts.reliability(sums.rows(), sums.ece))
        caption = "Images by true class (row) and predicted class (column)"
        page.add_section(
            "Confusion matrix",
            charts.confusion(self._matrix, self._names, caption),
            self._pairs(),
            self._classes(),
        )
        self._gallery.show("The most confident errors", "are misclassified")

    def _pairs(self) -> typing.Any:
        import numpy as np

        from keras_resnets.reports import Table
        from keras_resnets.reports import Text

        wrong = self._matrix - np.diag(np.diag(self._matrix))
        order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
        places = [np.unravel_index(place, wrong.shape) for place in order]
        rows = [
            (self._names[row], self._names[column], int(wrong[row, column]))
            for row, column in places
            if wrong[row, column]
        ]
        if not rows:
            return Text("No image was misclassified.")
        head = ("true class", "predicted class", "images")
        return Table(head, rows, "The most frequent confusions")

    def _classes(self) -> typing.Any:
        """Returns a table of recall and precision by class, the lowest recall first."""
        import numpy as np

        from keras_resnets.reports import Table

        right = np.diag(self._matrix)
        images, answers = self._matrix.sum(axis=1), self._matrix.sum(axis=0)
        recall = right / np.maximum(images, 1)
        # The recall of classes without images is undefined: they come last.
        order = np.argsort(np.where(images > 0, recall, 2), kind="stable")[:_CLASSES]
        rows = [
            (
                self._names[place],
                f"{images[place]:,}",
                page_parts.percent(recall[place] if images[place] else None),
                page_parts.percent(
                    right[place] / answers[place] if answers[place] else None
                ),
            )
            for place in order
        ]
        caption = "Recall and precision of each class, the lowest recall first"
        if len(rows) < len(self._names):
            caption += f" ({len(rows)} of {len(self._names)} classes)"
        return Table(("class", "images", "recall", "precision"), rows, caption)


def several_labels(figures: "MultiLabelFigures", names: "Sequence[str]") -> None:
    """Adds the figures of a multi-label classifier to the page.

    Args:
        figures: figures of all labels together and of each.
        names: names of the labels, in their order.
    """
    if not page.is_requested():
        return
    from keras_resnets.cli.printing import reports
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    page.set_summary(
        f"All labels are correct for {figures.exact_match:.2%} of {figures.count:,} "
        "images."
    )
    page.add_tile(
        page_parts.percent(figures.mean_average_precision), "mean average precision"
    )
    page.add_tile(page_parts.percent(figures.micro_f1), "micro-F1")
    page.add_tile(page_parts.percent(figures.macro_f1), "macro-F1")
    page.add_tile(f"{figures.count:,}", "images")
    order = sorted(
        zip(names, figures.labels, strict=True),
        key=lambda pair: (pair[1].average_precision is None, pair[1].average_precision),
    )[:_CLASSES]
    precisions = [
        (name, row.average_precision, page_parts.percent(row.average_precision))
        for name, row in order
        if row.average_precision is not None
    ]
    rows = [
        (
            name,
            f"{row.count:,}",
            page_parts.percent(row.average_precision),
            page_parts.percent(row.precision),
            page_parts.percent(row.recall),
            page_parts.percent(row.f1),
        )
        for name, row in order
    ]
    caption = (
        f"Labels with a probability of at least {reports.threshold(figures.threshold)}, "
        "lowest AP first"
    )
    if len(rows) < len(names):
        caption += f" ({len(rows)} of {len(names)} labels)"
    head = ("label", "images", "AP", "precision", "recall", "F1")
    drawn = [charts.bars(precisions, "Average precision (AP)")] if precisions else []
    page.add_section("Each label", *drawn, Table(head, rows, caption))
