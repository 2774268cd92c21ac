"""The page of `evaluate --report`: accuracy, confusion, reliability, surest mistakes."""

import typing
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from keras_resnets.cli import page
from keras_resnets.cli import page_parts

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.images.confidence import Reliability
    from keras_resnets.images.evaluation import Accuracy
    from keras_resnets.images.evaluation import Labelled
    from keras_resnets.images.multi_label import MultiLabelFigures

# Pairs of classes, and classes, that a table has.
_PAIRS, _CLASSES = 15, 40


class Watch:
    """Counts the answers of an evaluation, and keeps its surest mistakes.

    Args:
        model: what is evaluated: `output_shape`, `labels` and `preprocessing`.
    """

    def __init__(self, model: typing.Any) -> None:
        import numpy as np

        self._names = page_parts.names_of(model)
        self._matrix = np.zeros((len(self._names), len(self._names)), "int64")
        self._gallery = page_parts.Gallery(
            model.preprocessing, self._names, ("answer",)
        )
        self._images: np.ndarray | None = None

    def remembered(self, data: "Labelled") -> "Labelled":
        """The same data, whose last batch is known here when its answers come."""
        import dataclasses

        def batches(size: int) -> Iterator["np.ndarray"]:
            for self._images in data.batches(size):
                yield self._images

        return dataclasses.replace(data, batches=batches)

    def also(self, watch: Callable[..., object] | None) -> Callable[..., object]:
        """A function of outputs and labels that tells `watch` too."""

        def both(outputs: "np.ndarray", labels: "np.ndarray") -> None:
            if watch is not None:
                watch(outputs, labels)
            self.add(outputs, labels)

        return both

    def add(self, outputs: "np.ndarray", labels: "np.ndarray") -> None:
        """Takes the answers to the last batch."""
        import numpy as np

        np.add.at(self._matrix, (labels, outputs.argmax(axis=1)), 1)
        if self._images is not None:
            self._gallery.add(self._images, outputs, labels=labels, against_labels=True)

    def show(self, accuracy: "Accuracy", sums: "Reliability | None") -> None:
        """Puts everything on the page.

        Args:
            accuracy: of the classifier.
            sums: of the confidences; None of logits.
        """
        from keras_resnets.reports import charts

        page.set_summary(
            f"{accuracy.top1:.2%} of {accuracy.count:,} images are classified right."
        )
        page.add_tile(page_parts.percent(accuracy.top1), "top-1 accuracy")
        if len(self._names) > 5:
            page.add_tile(page_parts.percent(accuracy.top5), "top-5 accuracy")
        page.add_tile(f"{accuracy.count:,}", "images")
        if sums is not None:
            page.add_tile(f"{sums.ece:.4f}", "expected calibration error (ECE)")
            section = "What the classifier's probabilities are worth"
            page.add_section(section, charts.reliability(sums.rows(), sums.ece))
        caption = "Images of each true class (row) by the class that was predicted"
        page.add_section(
            "Confusion matrix",
            charts.confusion(self._matrix, self._names, caption),
            self._pairs(),
            self._classes(),
        )
        self._gallery.show("The surest mistakes", "are classified wrong")

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
            return Text("No class was taken for another.")
        head = ("true class", "taken for", "images")
        return Table(head, rows, "The classes that are confused most")

    def _classes(self) -> typing.Any:
        """Recall and precision of each class, the lowest recall first."""
        import numpy as np

        from keras_resnets.reports import Table

        right = np.diag(self._matrix)
        images, answers = self._matrix.sum(axis=1), self._matrix.sum(axis=0)
        recall = right / np.maximum(images, 1)
        # Classes without an image have no recall to be low.
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
    """The figures of a multi-label classifier, for all labels and each.

    Args:
        figures: of all labels and of each.
        names: of the labels, in their order.
    """
    if not page.is_requested():
        return
    from keras_resnets.cli import reports
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    page.set_summary(
        f"{figures.exact_match:.2%} of {figures.count:,} images have all their labels "
        "right."
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
        f"Labels from a probability of {reports.threshold(figures.threshold)} on, the "
        "lowest AP first"
    )
    if len(rows) < len(names):
        caption += f" ({len(rows)} of {len(names)} labels)"
    head = ("label", "images", "AP", "precision", "recall", "F1")
    drawn = [charts.bars(precisions, "Average precision (AP)")] if precisions else []
    page.add_section("Each label", *drawn, Table(head, rows, caption))
