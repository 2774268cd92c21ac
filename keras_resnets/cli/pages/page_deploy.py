"""The page of `deploy --report`: proofs, sizes and latencies of all targets."""

import typing
from collections.abc import Sequence

from keras_resnets.cli.pages import page
from keras_resnets.cli.pages import page_parts
from keras_resnets.cli.printing import output_kinds

if typing.TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_resnets.deploy.outcome import Deployment
    from keras_resnets.reports import Block

# Suffix of a figure's name -> function that formats its value.
_UNITS = {
    "_bytes": page_parts.megabytes,
    "_ms": lambda value: f"{value:,.3g} ms",
    "_percent": lambda value: f"{value:.1f}%",
    "cycles": lambda value: f"{value:,.0f}",
}


class Deployed:
    """Collects the images on which targets disagree with `predict`.

    Args:
        model: the deployed network.
        threshold: thresholds of a multi-label network, as `deploy` takes them.
    """

    def __init__(self, model: "keras.Model", threshold: typing.Any = None) -> None:
        self._model, self._threshold = model, threshold
        self._galleries: dict[str, page_parts.Gallery] = {}

    def add(
        self,
        target: str,
        images: "np.ndarray",
        predicted: "np.ndarray",
        ran: "np.ndarray",
    ) -> None:
        """Adds the outputs of a target; the `watch` argument of `deploy`."""
        if not page.is_requested():
            return
        from keras_resnets.images import multi_label

        names = page_parts.names_of(self._model)
        titles = ("predict", "target")
        thresholds = None
        if output_kinds.has_several_labels(self._model):
            thresholds = multi_label.thresholds(self._threshold, names)
        gallery = page_parts.Gallery(
            self._model.preprocessing, names, titles, thresholds
        )
        gallery.add(images, predicted, ran)
        self._galleries[target] = gallery

    def show(
        self, deployments: "Sequence[Deployment]", failed: Sequence[str] = ()
    ) -> None:
        """Adds the deployments and the images to the page.

        Args:
            deployments: the written folders.
            failed: names of the targets that failed.
        """
        if not page.is_requested():
            return
        from keras_resnets.reports import Table

        unproven = [
            deployment.target
            for deployment in deployments
            if not deployment.report["proven"]
        ]
        targets = ", ".join(deployment.target for deployment in deployments)
        page.set_title(f"{self._model.name} for {targets}")
        if failed:
            page.set_summary(f"Failed, and not written: {', '.join(failed)}.", False)
        elif unproven:
            page.set_summary(f"Written, but not proven: {', '.join(unproven)}.", False)
        else:
            page.set_summary(
                "Every file was run in its target's runtime and compared.", True
            )
        several = any("label_agreement" in item.report for item in deployments)
        labels = ("label agreement",) if several else ()
        head = (
            *("target", "proven by", "images", "agreement", *labels),
            *("equal", "within a step"),
        )
        rows = [_row(deployment, several) for deployment in deployments]
        page.add_section(
            "Proofs", Table(head, rows, "Outputs compared with those of predict")
        )
        page.add_section("Sizes and speed", *_bars(deployments))
        for deployment in deployments:
            page.add_section(deployment.target, *_facts(deployment))
            gallery = self._galleries.get(deployment.target)
            if gallery is not None:
                gallery.show(
                    f"{deployment.target}: images with another class than predict's",
                    "have another class",
                )


def _row(deployment: "Deployment", several: bool) -> tuple[object, ...]:
    report = deployment.report
    if not report["proven"]:
        figures = ["-"] * (5 if several else 4)
        return (deployment.target, f"not proven: {report['reason']}", *figures)
    labels = [page_parts.percent(report.get("label_agreement"))] if several else []
    outputs = report["outputs"] or {}
    return (
        deployment.target,
        report["proof"],
        report["compared"],
        page_parts.percent(report["agreement"]),
        *labels,
        outputs.get("equal", "-"),
        outputs.get("one_step", "-"),
    )


def _bars(deployments: "Sequence[Deployment]") -> list["Block"]:
    """Returns a chart of each figure of several targets; adds tiles for a single one."""
    from keras_resnets.reports import charts

    figures: dict[str, list[tuple[str, float, str]]] = {}
    for deployment in deployments:
        for name, value, text in _figures(deployment):
            figures.setdefault(name, []).append((deployment.target, value, text))
    blocks: list[Block] = []
    for name, rows in figures.items():
        title = name.replace("_", " ")
        if len(deployments) == 1:
            page.add_tile(rows[0][2], title)
        elif len(rows) > 1:
            blocks.append(charts.bars(rows, f"{title[:1].upper()}{title[1:]}"))
    return blocks


def _figures(deployment: "Deployment") -> list[tuple[str, float, str]]:
    """Returns (name, value, formatted value) of each figure of a target."""
    figures = []
    for name, value in deployment.report.items():
        ending = next((end for end in _UNITS if name.endswith(end)), None)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if ending is not None and is_number:
            title = name.removesuffix(ending) if ending != "cycles" else name
            figures.append((title, float(value), _UNITS[ending](value)))
    return figures


def _facts(deployment: "Deployment") -> list["Block"]:
    from keras_resnets.reports import Details
    from keras_resnets.reports import Facts

    facts = {
        name: value
        for name, value in deployment.report.items()
        if isinstance(value, (str, int, float)) or value is None
    }
    figures = {name: text for name, _, text in _figures(deployment)}
    rows = [(name.replace("_", " "), facts[name]) for name in facts]
    first: list[tuple[str, object]] = [
        ("folder", deployment.folder),
        ("file", deployment.report["file"]),
        ("numbers", deployment.report["recipe"]),
    ]
    first += [(name.replace("_", " "), text) for name, text in figures.items()]
    return [Facts(first), Details("Everything in report.json", (Facts(rows),))]
