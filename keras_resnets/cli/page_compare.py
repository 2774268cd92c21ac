"""The pages of `verify --report` and `benchmark --report`: files side by side."""

import pathlib
import typing
from collections.abc import Sequence

from keras_resnets.cli import page
from keras_resnets.cli import page_parts

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.export.compare.benchmark import Timing
    from keras_resnets.export.compare.verify import LayerLoss
    from keras_resnets.export.compare.verify import Verification


class Verified:
    """The images of a verification on which two files disagree, and its figures.

    Args:
        paths: of both files.
        preprocessing: what the images went through; None where it is not known.
        names: (id, name) of the classes; () where they are not known.
    """

    def __init__(
        self, paths: Sequence[str], preprocessing: typing.Any, names: typing.Any
    ) -> None:
        self._paths = paths
        shown = tuple(name for _, name in names)
        titles = ("A", "B")
        self._gallery = page_parts.Gallery(preprocessing, shown, titles)
        self._sizes: list[float] = []

    def add(
        self,
        images: "np.ndarray",
        labels: "np.ndarray | None",
        first: typing.Any,
        second: typing.Any,
    ) -> None:
        """Takes a batch in; of files with several outputs, or maps, no images."""
        if page.wanted() and getattr(first, "ndim", 0) == 2:
            self._gallery.add(images, first, second, labels=labels)

    def show(self, found: "Verification") -> None:
        """Puts everything on the page."""
        if not page.wanted():
            return
        from keras_resnets.io import files
        from keras_resnets.reports import charts

        names = [pathlib.Path(path).name for path in self._paths]
        for letter, path in zip("AB", self._paths, strict=True):
            page_parts.file(path, letter)
        page.entitle(" and ".join(names))
        page.tile(page_parts.percent(found.outputs.top1), "top-1 agreement")
        page.tile(f"{found.outputs.max_error:.2g}", "largest difference")
        if found.logits is not None:
            page.tile(f"{found.logits.sqnr:.1f} dB", "SQNR of the logits")
        page.tile(f"{found.count:,}", "images")
        page.add(
            "Differences",
            page_parts.parity_table({"outputs": found.outputs, "logits": found.logits}),
        )
        sizes = [files.size(path) for path in self._paths]
        labels = [f"{a}: {b}" for a, b in zip("AB", names, strict=True)]
        told = zip(labels, sizes, map(page_parts.megabytes, sizes), strict=True)
        blocks = [charts.bars(list(told), "Size of the files")]
        if found.accuracies is not None:
            texts = map(page_parts.percent, found.accuracies)
            told = zip(labels, found.accuracies, texts, strict=True)
            blocks.append(charts.bars(list(told), "Top-1 accuracy"))
        page.add("Both files", *blocks)
        self._gallery.show("Images on which A and B disagree", "disagree")


def losses(found: "Sequence[LayerLoss]") -> None:
    """What each layer of an integer file loses."""
    if not page.wanted() or not found:
        return
    from keras_resnets.reports import Details
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    rows = [(loss.name, max(loss.lost, 0.0), "") for loss in found]
    table = Table(
        ("layer", "SQNR (dB)", "lost (dB)"),
        [(loss.name, f"{loss.sqnr:.1f}", f"{loss.lost:.1f}") for loss in found],
        "Signal to quantization noise of each layer",
    )
    page.add(
        "Where the integer file loses most",
        charts.layers(rows, "dB that each layer loses", log=False),
        Details("All layers", (table,)),
    )


def timings(found: "Sequence[Timing]") -> None:
    """What the files of a benchmark cost."""
    if not page.wanted():
        return
    from keras_resnets.reports import Block
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    names = _names([timing.path for timing in found])
    best = min(range(len(found)), key=lambda place: found[place].median)
    page.entitle(", ".join(names))
    page.judged(
        f"{names[best]} is the fastest: {page_parts.milliseconds(found[best].median)} a "
        "batch (median)."
    )
    for name, timing in list(zip(names, found, strict=True))[:4]:
        page.tile(page_parts.milliseconds(timing.median), name)
    blocks: list[Block] = []
    for field, caption, written in (
        ("median", "Median time of a batch", page_parts.milliseconds),
        ("p95", "Time that 95% of the batches stay below", page_parts.milliseconds),
        ("size", "Size of the file", page_parts.megabytes),
        ("memory", "Peak memory of loading and running", page_parts.megabytes),
        ("load", "From the file to the first answer", page_parts.milliseconds),
    ):
        values = [getattr(timing, field) for timing in found]
        rows = list(zip(names, values, map(written, values), strict=True))
        blocks.append(charts.bars(rows, caption))
    page.add("Bars", *blocks)
    lines = [
        (
            name,
            page_parts.megabytes(timing.size),
            page_parts.milliseconds(timing.load),
            page_parts.megabytes(timing.memory),
            page_parts.milliseconds(timing.median),
            page_parts.milliseconds(timing.p95),
            f"{timing.throughput:,.0f}",
            f"{found[0].median / timing.median:.2f}x",
        )
        for name, timing in zip(names, found, strict=True)
    ]
    head = ("file", "size", "load", "memory", "median", "p95", "images/s", "speed")
    page.add("Figures", Table(head, lines, "speed is against the first file"))
    for path in dict.fromkeys(timing.path for timing in found):
        page_parts.file(path, entitled=False)


def _names(paths: Sequence[str]) -> list[str]:
    """The files' names; the whole paths where two have the same."""
    names = [pathlib.Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)
