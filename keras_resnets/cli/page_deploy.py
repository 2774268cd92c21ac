"""The page of `deploy --report`: the folders, their proofs and the devices' figures."""

import typing
from collections.abc import Sequence

from keras_resnets.cli import page
from keras_resnets.cli import page_parts

if typing.TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_resnets.deploy.session import Deployment
    from keras_resnets.reports import Block

# What figures of a target end in, and how they are written.
_UNITS = {
    "_bytes": page_parts.megabytes,
    "_ms": lambda value: f"{value:,.3g} ms",
    "_percent": lambda value: f"{value:.1f}%",
    "cycles": lambda value: f"{value:,.0f}",
}


class Deployed:
    """What is kept of a deployment while it runs: images on which a target disagrees.

    Args:
        model: what is deployed.
    """

    def __init__(self, model: "keras.Model") -> None:
        self._model = model
        self._galleries: dict[str, page_parts.Gallery] = {}

    def add(
        self,
        target: str,
        images: "np.ndarray",
        predicted: "np.ndarray",
        ran: "np.ndarray",
    ) -> None:
        """Takes the answers of a target, as `deploy` gives them to `watch`."""
        if not page.wanted():
            return
        names = page_parts.names_of(self._model)
        titles = ("predict", "target")
        gallery = page_parts.Gallery(self._model.preprocessing, names, titles)
        gallery.add(images, predicted, ran)
        self._galleries[target] = gallery

    def show(self, made: "Sequence[Deployment]") -> None:
        """Puts everything on the page."""
        if not page.wanted():
            return
        from keras_resnets.reports import Table

        unproven = [one.target for one in made if not one.report["proven"]]
        page.entitle(f"{self._model.name} for {', '.join(one.target for one in made)}")
        if unproven:
            page.judged(f"Written, but not proven: {', '.join(unproven)}.", False)
        else:
            page.judged("Every folder was proven in its target's own runtime.", True)
        head = ("target", "proven by", "images", "as predict", "equal", "within a step")
        rows = [_row(one) for one in made]
        page.add("Proofs", Table(head, rows, "Answers beside those of predict"))
        page.add("Sizes and speed", *_bars(made))
        for one in made:
            page.add(one.target, *_facts(one))
            gallery = self._galleries.get(one.target)
            if gallery is not None:
                gallery.show(
                    f"{one.target}: images with another answer than predict's",
                    "have another answer",
                )


def _row(one: "Deployment") -> tuple[object, ...]:
    report = one.report
    if not report["proven"]:
        return (one.target, f"not proven: {report['reason']}", "-", "-", "-", "-")
    outputs = report["outputs"] or {}
    return (
        one.target,
        report["proof"],
        report["compared"],
        page_parts.percent(report["agreement"]),
        outputs.get("equal", "-"),
        outputs.get("one_step", "-"),
    )


def _bars(made: "Sequence[Deployment]") -> list["Block"]:
    """A chart for each figure that targets have, and tiles of a target alone."""
    from keras_resnets.reports import charts

    found: dict[str, list[tuple[str, float, str]]] = {}
    for one in made:
        for name, value, text in _figures(one):
            found.setdefault(name, []).append((one.target, value, text))
    blocks: list[Block] = []
    for name, rows in found.items():
        title = name.replace("_", " ")
        if len(made) == 1:
            page.tile(rows[0][2], title)
        elif len(rows) > 1:
            blocks.append(charts.bars(rows, f"{title[:1].upper()}{title[1:]}"))
    return blocks


def _figures(one: "Deployment") -> list[tuple[str, float, str]]:
    """(name, value, how it is written) of each figure of a target."""
    found = []
    for name, value in one.report.items():
        ending = next((end for end in _UNITS if name.endswith(end)), None)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if ending is not None and is_number:
            title = name.removesuffix(ending) if ending != "cycles" else name
            found.append((title, float(value), _UNITS[ending](value)))
    return found


def _facts(one: "Deployment") -> list["Block"]:
    from keras_resnets.reports import Details
    from keras_resnets.reports import Facts

    told = {
        name: value
        for name, value in one.report.items()
        if isinstance(value, (str, int, float)) or value is None
    }
    figures = {name: text for name, _, text in _figures(one)}
    rows = [(name.replace("_", " "), told[name]) for name in told]
    first: list[tuple[str, object]] = [
        ("folder", one.folder),
        ("file", one.report["file"]),
        ("numbers", one.report["recipe"]),
    ]
    first += [(name.replace("_", " "), text) for name, text in figures.items()]
    return [Facts(first), Details("Everything in report.json", (Facts(rows),))]
