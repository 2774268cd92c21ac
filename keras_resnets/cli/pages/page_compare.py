"""The pages of `verify --report` and `benchmark --report`."""

import pathlib
import typing
from collections.abc import Sequence

from keras_resnets.cli.pages import page
from keras_resnets.cli.pages import page_parts
from keras_resnets.cli.printing import tables
from keras_resnets.cli.printing.output import milliseconds

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.export.compare.benchmark import Timing
    from keras_resnets.export.compare.verify import LayerLoss
    from keras_resnets.export.compare.verify import Verification


class Verified:
    """Collects the images on which two files disagree, for the page of `verify`.

    Args:
        paths: paths of both files.
        preprocessing: preprocessing of the images; None if unknown.
        names: (id, name) of each class; () if unknown.
        several: whether the files are multi-label.
    """

    def __init__(
        self,
        paths: Sequence[str],
        preprocessing: typing.Any,
        names: typing.Any,
        several: bool = False,
    ) -> None:
        self._paths = paths
        from keras_resnets.images.multi_label import THRESHOLD

        shown = tuple(name for _, name in names)
        titles = ("A", "B")
        self._several = several
        self._gallery = page_parts.Gallery(
            preprocessing, shown, titles, THRESHOLD if several else None
        )
        self._sizes: list[float] = []

    def add(
        self,
        images: "np.ndarray",
        labels: "np.ndarray | None",
        first: typing.Any,
        second: typing.Any,
    ) -> None:
        """Adds a batch of images, if the files have a single output of class scores."""
        if page.is_requested() and getattr(first, "ndim", 0) == 2:
            self._gallery.add(images, first, second, labels=labels)

    def show(self, result: "Verification") -> None:
        """Adds the result and the images to the page."""
        if not page.is_requested():
            return
        from keras_resnets.io import files
        from keras_resnets.reports import charts

        names = [pathlib.Path(path).name for path in self._paths]
        for letter, path in zip("AB", self._paths, strict=True):
            page_parts.file(path, letter)
        page.set_title(" and ".join(names))
        page.add_tile(*page_parts.agreement_tile(result.outputs, ""))
        page.add_tile(f"{result.outputs.max_error:.2g}", "largest difference")
        if result.logits is not None:
            page.add_tile(f"{result.logits.sqnr:.1f} dB", "SQNR of the logits")
        page.add_tile(f"{result.count:,}", "images")
        page.add_section(
            "Differences",
            page_parts.parity_table(
                {"outputs": result.outputs, "logits": result.logits}
            ),
        )
        sizes = [files.size(path) for path in self._paths]
        labels = [f"{a}: {b}" for a, b in zip("AB", names, strict=True)]
        bars = zip(labels, sizes, map(page_parts.megabytes, sizes), strict=True)
        blocks = [charts.bars(list(bars), "Size of the files")]
        if result.accuracies is not None:
            shares = [
                (label, share, page_parts.percent(share))
                for label, share in zip(labels, result.accuracies, strict=True)
                if share is not None
            ]
            what = "Mean average precision" if self._several else "Top-1 accuracy"
            if shares:
                blocks.append(charts.bars(shares, what))
        page.add_section("Both files", *blocks)
        self._gallery.show("Images on which A and B disagree", "disagree")


def losses(layer_losses: "Sequence[LayerLoss]") -> None:
    """Adds the error of each layer of an integer file to the page."""
    if not page.is_requested() or not layer_losses:
        return
    from keras_resnets.reports import Details
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    rows = [(loss.name, max(loss.lost, 0.0), "") for loss in layer_losses]
    caption = "Signal to quantization noise of each layer"
    table = Table(tables.LOSS_HEAD, tables.loss_rows(layer_losses), caption)
    page.add_section(
        "Error of each layer of the integer file",
        charts.layers(rows, "Loss of each layer in dB", log=False),
        Details("All layers", (table,)),
    )


def timings(measured: "Sequence[Timing]") -> None:
    """Adds latency, memory and size of the files of a benchmark to the page."""
    if not page.is_requested():
        return
    from keras_resnets.reports import Block
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    names = _names([timing.path for timing in measured])
    best = min(range(len(measured)), key=lambda place: measured[place].median)
    page.set_title(", ".join(names))
    page.set_summary(
        f"{names[best]} is the fastest: {milliseconds(measured[best].median)} a "
        "batch (median)."
    )
    for name, timing in list(zip(names, measured, strict=True))[:4]:
        page.add_tile(milliseconds(timing.median), name)
    blocks: list[Block] = []
    for field, caption, written in (
        ("median", "Median time of a batch", milliseconds),
        ("p95", "95th percentile of the time of a batch", milliseconds),
        ("size", "Size of the file", page_parts.megabytes),
        ("memory", "Peak memory of loading and running", page_parts.megabytes),
        ("load", "Time to load the file and run it once", milliseconds),
    ):
        values = [getattr(timing, field) for timing in measured]
        if not any(values):
            # Some systems do not report the memory.
            continue
        rows = list(zip(names, values, map(written, values), strict=True))
        blocks.append(charts.bars(rows, caption))
    page.add_section("Bars", *blocks)
    lines = [
        (
            name,
            page_parts.megabytes(timing.size),
            milliseconds(timing.load),
            page_parts.megabytes(timing.memory),
            milliseconds(timing.median),
            milliseconds(timing.p95),
            f"{timing.throughput:,.0f}",
            f"{measured[0].median / timing.median:.2f}x",
        )
        for name, timing in zip(names, measured, strict=True)
    ]
    head = ("file", "size", "load", "memory", "median", "p95", "images/s", "speed")
    page.add_section("Figures", Table(head, lines, "speed relative to the first file"))
    paths = list(dict.fromkeys(timing.path for timing in measured))
    for number, path in enumerate(paths, 1):
        name = f"file {number}" if len(paths) > 1 else "file"
        page_parts.file(path, name, entitled=False)


def _names(paths: Sequence[str]) -> list[str]:
    """Returns the names of the files, or their paths if two names are equal."""
    names = [pathlib.Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)
