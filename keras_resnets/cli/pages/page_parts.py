"""Parts of `--report` pages that several commands share."""

import dataclasses
import hashlib
import heapq
import itertools
import pathlib
import typing

from keras_resnets.cli.pages import page
from keras_resnets.cli.printing import output_kinds
from keras_resnets.cli.printing.output import milliseconds
from keras_resnets.errors import counted

if typing.TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_resnets.export.landing import ExportReport
    from keras_resnets.graph.provenance import Provenance
    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.reports import Block

# Images in a gallery, so that the page is small enough for an e-mail.
_IMAGES = 24
# Bytes that are read at a time to hash a file.
_CHUNK = 1 << 20


def percent(share: float | None) -> str:
    """Formats a share, such as `93.50%`; `-` for None."""
    return "-" if share is None else f"{share:.2%}"


def megabytes(size: float) -> str:
    """Formats a number of bytes in MB or kB."""
    return f"{size / 1e6:,.2f} MB" if size >= 1e5 else f"{size / 1e3:,.2f} kB"


def model(network: "keras.Model", asked: typing.Any, source: typing.Any) -> None:
    """Adds the network and the origin of its weights to the page."""
    if not page.is_requested():
        return
    params = network.count_params()
    page.set_title(network.name)
    page.set_params(params)
    shape = " x ".join(str(side or "any") for side in network.inputs[0].shape[1:])
    outputs = " x ".join(map(str, network.output_shape[1:]))
    facts = {"model": network.name, "input": shape, "outputs": outputs}
    page.add_inputs({**facts, "parameters": f"{params:,}"})
    provenance = images(network)
    if source is None:
        page.add_inputs({"weights": f"random (seed {getattr(asked, 'seed', 0)})"})
        return
    facts = {"weights": asked.weights or source.path, "weights from": source.origin}
    if digest := _digest(source.path):
        facts["sha256 of the weights"] = digest
    if provenance.confidence:
        temperature = provenance.confidence["temperature"]
        facts["temperature of the logits"] = f"{temperature:.3f}"
    page.add_inputs(facts)


def images(network: "keras.Model") -> "Provenance":
    """Adds the preprocessing and the classes of a network to the page.

    Returns:
        The provenance of the network.
    """
    from keras_resnets.graph import provenance

    origin, facts = provenance.of(network), {}
    if origin.preprocessing is not None:
        facts["preprocessing"] = _preprocessing(origin.preprocessing)
    if origin.labels is not None:
        facts["classes"] = _labels(origin.labels)
    page.add_inputs(facts)
    return origin


def file(path: str, name: str = "file", entitled: bool = True) -> None:
    """Adds an exported file to the inputs on the page.

    Args:
        path: path of the file.
        name: name of the input on the page.
        entitled: whether the file's name becomes the title of the page.
    """
    if not page.is_requested():
        return
    from keras_resnets.io import files

    place = pathlib.Path(path)
    if entitled:
        page.set_title(place.name)
    facts = {name: f"{path}, {megabytes(files.size(place))}"}
    if digest := _digest(place):
        facts[f"sha256 of {place.name}"] = digest
    page.add_inputs(facts)


def _preprocessing(preprocessing: "Preprocessing") -> str:
    mean, std = (
        ", ".join(f"{value:.4g}" for value in x)
        for x in (preprocessing.mean, preprocessing.std)
    )
    height, width = preprocessing.size
    size = f"{height} x {width} pixels"
    return f"mode {preprocessing.mode}, {size}, mean {mean}, deviation {std}"


def _labels(labels: typing.Any) -> str:
    if isinstance(labels, str):
        return labels
    names = [name if isinstance(name, str) else name[-1] for name in labels]
    more = f", ... {len(names)} in all" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def _digest(path: typing.Any) -> str | None:
    """Returns the SHA-256 of a file; None if it is not a readable file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except (OSError, TypeError, ValueError):
        return None
    return digest.hexdigest()


def exported(report: "ExportReport", images: str) -> None:
    """Adds an exported file, its figures and its parity to the page.

    Args:
        report: report of the exporter.
        images: kind of the images that were compared: `"calibration"` or `"synthetic"`.
    """
    if not page.is_requested():
        return
    from keras_resnets.export.formats import FORMATS
    from keras_resnets.reports import Details
    from keras_resnets.reports import Facts
    from keras_resnets.reports import Table
    from keras_resnets.reports import charts

    runtime = FORMATS[report.format].runtime
    page.set_summary(
        f"Written, run in {runtime} and compared with Keras: within the tolerance.",
        True,
    )
    page.add_tile(megabytes(report.size), "size of the file")
    page.add_tile(milliseconds(report.latency), f"an image in {runtime}")
    count = f"{report.compared:,} images"
    page.add_tile(*agreement_tile(report.outputs, f" with Keras, {count}"))
    blocks: list[Block] = []
    params = page.params()
    if params:
        size = 4.0 * params
        rows = [
            ("weights in float32", size, megabytes(size)),
            (report.path.name, report.size, megabytes(report.size)),
        ]
        blocks.append(charts.bars(rows, "Size of the file and of the float32 weights"))
    keras_ms, file_ms = report.keras_latency, report.latency
    rows = [
        ("Keras", keras_ms, milliseconds(keras_ms)),
        (runtime, file_ms, milliseconds(file_ms)),
    ]
    threads = f", {counted(report.threads, 'thread')}" if report.threads else ""
    blocks.append(charts.bars(rows, f"Latency of one image (median{threads})"))
    blocks.append(
        Facts(
            [
                ("file", report.path),
                ("format", f"{report.format}, {report.quantize}"),
                ("input", " x ".join(str(n or "any") for n in report.input_shape)),
                ("takes pixels", "yes" if report.takes_pixels else "no"),
            ]
        )
    )
    counts = sorted(report.operators.items(), key=lambda item: -item[1])
    table = Table(("operator", "count"), counts, "Operators of the file")
    page.add_section("The file", *blocks, Details("Operators", (table,)))
    page.add_section(
        f"Parity with Keras on {report.compared:,} images ({images})",
        parity_table({"outputs": report.outputs, "logits": report.logits}),
    )


def agreement_tile(parity: typing.Any, of: str) -> tuple[str, str]:
    """Returns the share of equal predictions, or of equal labels, and its title."""
    if parity.labels is not None:
        return percent(parity.labels), f"label agreement{of}"
    return percent(parity.top1), f"top-1 agreement{of}"


def parity_table(rows: dict[str, typing.Any]) -> "Block":
    """Returns a table of `parity.Parity` by name; None if it was not measured."""
    from keras_resnets.reports import Table

    is_partly = any(parity is None for parity in rows.values())
    several = any(
        parity is not None and parity.labels is not None for parity in rows.values()
    )
    what = "label" if several else "top-1"
    return Table(
        ("", f"{what} agreement", "max difference", "relative", "SQNR", "cosine"),
        [
            (name, "-", "-", "-", "-", "-")
            if parity is None
            else (
                name,
                percent(parity.top1 if parity.labels is None else parity.labels),
                f"{parity.max_error:.3g}",
                f"{parity.relative_error:.3g}",
                f"{parity.sqnr:.1f} dB",
                f"{parity.cosine:.6f}",
            )
            for name, parity in rows.items()
        ],
        "Differences of the outputs" + ("; -: not measured" if is_partly else ""),
    )


def measured(comparison: typing.Any, gallery: "Gallery | None") -> None:
    """Adds the accuracies of a file and its model on labelled images to the page."""
    if gallery is None:
        return
    from keras_resnets.reports import Facts
    from keras_resnets.reports import charts

    if comparison.file_top1 is None:
        short, name = "mAP", "Mean average precision"
        pair = comparison.model_map, comparison.file_map
    else:
        short, name = "top-1", "Top-1 accuracy"
        pair = comparison.model_top1, comparison.file_top1
    # Undefined where no label tells images apart.
    if None not in pair:
        points = f"{100 * (pair[1] - pair[0]):+.2f} points"
        page.add_tile(percent(pair[1]), f"{short} of the file ({points})")
    rows = [
        (title, value, percent(value))
        for title, value in zip(("model", "file"), pair, strict=True)
        if value is not None
    ]
    rmse = "not measured" if comparison.rmse is None else f"{comparison.rmse:.4f}"
    page.add_section(
        f"Accuracy on {comparison.count:,} labelled images",
        *([charts.bars(rows, name)] if rows else []),
        Facts([("agreement", percent(comparison.agreement)), ("logit RMSE", rmse)]),
    )
    gallery.show("Images on which the file and the model disagree", "disagree")


@dataclasses.dataclass
class Gallery:
    """Collects images whose predictions differ, and keeps the most confident ones.

    Args:
        preprocessing: preprocessing of the images; None if unknown.
        names: names of the classes; () to show their numbers.
        titles: titles of the predictions below an image.
        thresholds: of a multi-label network, the smallest probability at which each
            label, or any, is predicted; None for one class per image.
    """

    preprocessing: typing.Any
    names: tuple[str, ...] = ()
    titles: tuple[str, ...] = ("model", "file")
    thresholds: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        self.total = self.seen = 0
        self._kept: list[tuple[float, int, typing.Any]] = []
        self._count = itertools.count()

    def add(
        self,
        images: "np.ndarray",
        *answers: "np.ndarray",
        labels: "np.ndarray | None" = None,
        against_labels: bool = False,
    ) -> None:
        """Adds the images of a batch whose predictions differ.

        Args:
            images: preprocessed images (count, height, width, channels).
            *answers: outputs (count, classes) of each classifier.
            labels: int array (count,), or (count, labels) if multi-label; or None.
            against_labels: whether to compare the first classifier with the labels, not
                with the last classifier.
        """
        import numpy as np

        several = self.thresholds is not None
        shares = [_as_shares(np.asarray(outputs), several) for outputs in answers]
        predictions = [self._predicted(probabilities) for probabilities in shares]
        other = labels if against_labels else predictions[-1]
        self.seen += len(images)
        differences = (predictions[0] != other).reshape(len(images), -1)
        (differ,) = np.nonzero(differences.any(axis=1))
        self.total += len(differ)
        for index in differ:
            sure = float(max(probabilities[index].max() for probabilities in shares))
            if len(self._kept) >= _IMAGES and sure <= self._kept[0][0]:
                continue
            lines = [] if labels is None else [f"label: {self._words(labels[index])}"]
            lines += [
                f"{title}: {self._words(answer[index], probabilities[index])}"
                for title, answer, probabilities in zip(
                    self.titles, predictions, shares, strict=True
                )
            ]
            entry = (sure, next(self._count), (np.array(images[index]), lines))
            add = heapq.heappush if len(self._kept) < _IMAGES else heapq.heapreplace
            add(self._kept, entry)

    def compare(
        self,
        images: "np.ndarray",
        labels: "np.ndarray | None",
        first: "np.ndarray",
        second: "np.ndarray",
    ) -> None:
        """Adds a batch of two classifiers; called by `quantization.accuracy`."""
        self.add(images, first, second, labels=labels)

    def _predicted(self, probabilities: "np.ndarray") -> "np.ndarray":
        """Returns the predicted classes (count,), or labels (count, labels)."""
        from keras_resnets.images import multi_label

        if self.thresholds is None:
            return probabilities.argmax(axis=1)
        return probabilities >= multi_label.cut(self.thresholds)

    def _words(
        self, answer: "np.ndarray", probabilities: "np.ndarray | None" = None
    ) -> str:
        """Returns the name of a class, or of an image's labels, with probabilities."""
        places = answer.nonzero()[0].tolist() if answer.ndim else [int(answer)]
        if probabilities is None:
            return ", ".join(map(self._name, places)) or "none"
        return (
            ", ".join(f"{self._name(i)} {probabilities[i]:.1%}" for i in places)
            or "none"
        )

    def _name(self, index: int) -> str:
        index = int(index)
        return self.names[index] if index < len(self.names) else f"class {index}"

    def show(self, title: str, verb: str) -> None:
        """Adds the section to the page.

        Args:
            title: title of the section.
            verb: verb phrase for the images, such as `"disagree"`.
        """
        if not page.is_requested() or not self.seen:
            return
        from keras_resnets.reports import Images
        from keras_resnets.reports import Text
        from keras_resnets.reports import Thumbnail
        from keras_resnets.reports import thumbnails

        if not self.total:
            page.add_section(title, Text(f"None of {self.seen:,} images."))
            return
        kept = sorted(self._kept, key=lambda entry: (-entry[0], entry[1]))
        selection = (
            "all of them"
            if self.total == len(kept)
            else f"the {len(kept)} most confident"
        )
        items = [
            Thumbnail(thumbnails.data_uri(self._pixels(image)), ", ".join(lines), lines)
            for _, _, (image, lines) in kept
        ]
        text = f"{self.total:,} of {self.seen:,} images {verb}; {selection} are shown."
        page.add_section(title, Text(text), Images(items))

    def _pixels(self, image: "np.ndarray") -> "np.ndarray":
        if self.preprocessing is None:
            return image
        return self.preprocessing.pixels(image)


def _as_shares(outputs: "np.ndarray", several: bool) -> "np.ndarray":
    """Returns outputs as probabilities; applies a softmax or sigmoid to logits."""
    from keras_resnets.images import confidence
    from keras_resnets.images import multi_label

    if outputs.min() >= 0 and outputs.max() <= 1.001:
        return outputs
    if several:
        return multi_label.sigmoid(outputs)
    return confidence.softmax(outputs)


def names_of(network: typing.Any) -> tuple[str, ...]:
    """Returns the names of a network's classes."""
    from keras_resnets.images import labels

    pairs = labels.class_names(
        output_kinds.classes(network), getattr(network, "labels", None)
    )
    return tuple(name for _, name in pairs)
