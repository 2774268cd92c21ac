"""The files in every target's folder: network, passport, labels, README and report."""

import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from keras_resnets.deploy import snippets
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.export import passport
from keras_resnets.images.labels import as_lines
from keras_resnets.io import files


def fill(job: Job, exported: ExportedFile, report: Mapping[str, Any]) -> None:
    """Writes the files that every target's folder contains.

    Args:
        job: the target's job.
        exported: its exported file.
        report: contents of `report.json`.
    """
    copy(exported, job.folder)
    if job.thresholds is not None:
        passport.add(job.folder / exported.path.name, thresholds=job.thresholds)
    (job.folder / "labels.txt").write_text(as_lines(job.labels), "utf-8")
    text = json.dumps(report, indent=1, allow_nan=False)
    (job.folder / "report.json").write_text(text + "\n", "utf-8")
    (job.folder / "README.md").write_text(readme(job, exported, report), "utf-8")


def copy(exported: ExportedFile, folder: pathlib.Path) -> None:
    """Copies an exported file and its passport into a folder."""
    for source in (exported.path, passport.path_of(exported.path)):
        into = folder / source.name
        if source.is_dir():
            shutil.copytree(source, into)
        else:
            shutil.copyfile(source, into)


def readme(job: Job, exported: ExportedFile, report: Mapping[str, Any]) -> str:
    """Returns the README: contents of the folder, how it was tested, how to run it."""
    target, room = job.target, job.target.room
    lines = [
        f"# {job.model.name} for {target.title}",
        "",
        f"`{report['file']}` ({files.size(exported.path):,} bytes as exported, "
        f"{exported.spec.recipe}) was written by `keras-resnets deploy`; "
        f"`{exported.path.name}.json` is its passport (the record of how it was made), "
        "`labels.txt` lists the class names in the order of the outputs, and "
        "`report.json` contains all figures.",
        "",
        _proof(report),
        "",
        *_labels(job),
    ]
    if room is not None:
        lines += ["## Run it", "", room.snippet(job, exported)]
    else:
        lines += ["## Input and output", "", snippets.described(job, exported)]
    return "\n".join(lines).rstrip() + "\n"


def _proof(report: Mapping[str, Any]) -> str:
    if not report["proven"]:
        return f"**Not proven**: {report['reason']}"
    if report["compared"] is False:
        return (
            f"Converted by {report['proof']}: shapes and kernels equal the network's."
        )
    outputs = report["outputs"]
    proof = (
        f"Proven by {report['proof']} on {report['compared']} images: "
        f"for {report['agreement']:.1%} {_answers(report)}"
    )
    if "largest_difference" in report:
        return (
            f"{proof}; the toolchain quantizes the network itself, and probabilities "
            f"differ by up to {report['largest_difference']:.4f}."
        )
    if outputs is None:
        return f"{proof}, measured on the file before it was compiled."
    return (
        f"{proof}. Compared with {outputs['against']}, the outputs of {outputs['equal']} "
        f"images are equal bit for bit, those of {outputs['one_step']} differ by at most "
        f"one rounding step, and those of {outputs['other']} by more."
    )


def _labels(job: Job) -> list[str]:
    """Returns the lines about the thresholds; none for one class per image."""
    if job.cuts is None:
        return []
    return [
        "An image can have any number of labels: those whose scores reach their "
        f"thresholds, {snippets.numbers(job.cuts)}.",
        "",
    ]


def _answers(report: Mapping[str, Any]) -> str:
    """Returns the agreement of the predictions as text."""
    if "label_agreement" not in report:
        return "the predicted class is that of `predict`"
    return (
        "all labels are those of `predict`, for another "
        f"{report['at_threshold']:.1%} labels differ by one rounding step at their "
        f"threshold; {report['label_agreement']:.2%} of all labels agree"
    )
