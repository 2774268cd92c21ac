"""The folder of a target: the file, its passport, the labels, a README and the report."""

import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.export import passport
from keras_resnets.io import files


def fill(job: Job, exported: ExportedFile, report: Mapping[str, Any]) -> None:
    """Writes what every target's folder has.

    Args:
        job: of the target.
        exported: its exported file.
        report: of the proof, for `report.json`.
    """
    copy(exported, job.folder)
    (job.folder / "labels.txt").write_text("\n".join(job.labels) + "\n", "utf-8")
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
    """What the folder is, how it was proven, and what runs it."""
    target, room = job.target, job.target.room
    lines = [
        f"# {job.model.name} for {target.title}",
        "",
        f"`{report['file']}` ({files.size(exported.path):,} bytes as exported, "
        f"{exported.spec.recipe}) was written by `keras-resnets deploy`; "
        f"`{exported.path.name}.json` is its passport, `labels.txt` has the name of each "
        "class in the order of the outputs, `report.json` every figure.",
        "",
        _proof(report),
        "",
    ]
    if room is not None:
        lines += ["## Run it", "", room.snippet(job, exported)]
    return "\n".join(lines).rstrip() + "\n"


def _proof(report: Mapping[str, Any]) -> str:
    if not report["proven"]:
        return f"**Not proven**: {report['reason']}"
    if report["compared"] is False:
        return f"Converted by {report['proof']}: shapes and kernels are the network's."
    outputs = report["outputs"]
    said = (
        f"Proven by {report['proof']} on {report['compared']} images: "
        f"{report['agreement']:.1%} have the likeliest class of `predict`"
    )
    if "largest_difference" in report:
        return (
            f"{said}; it rounds the network by itself, and a probability differs by "
            f"{report['largest_difference']:.4f} at most."
        )
    if outputs is None:
        return f"{said}, by the answers of the file before it was compiled."
    return (
        f"{said}; of the outputs "
        f"{outputs['equal']} are equal to those of {outputs['against']} bit for bit, "
        f"{outputs['one_step']} within one step of rounding, {outputs['other']} other."
    )
