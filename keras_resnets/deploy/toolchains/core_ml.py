"""Core ML: coremltools converts the SavedModel; only a Mac can run the result."""

import json
import shutil

from keras_resnets.deploy import snippets
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.deploy.toolchains import other_python
from keras_resnets.deploy.workers import coreml_worker
from keras_resnets.errors import ExportError
from keras_resnets.export import prepare
from keras_resnets.io import files

_SECONDS = 1800
PACKAGE = "model.mlpackage"


def prove(job: Job) -> Proof:
    """Converts the file and compares the program's shapes with the network's.

    The program is not run. Its input and output must have the shapes of the network's, its
    convolution kernels those of the SavedModel, and the kernels must be finite.

    Raises:
        ExportError: coremltools failed, or the shapes differ.
    """
    exported = job.export()
    with files.scratch_folder() as folder:
        shutil.copytree(exported.path, folder / "saved_model")
        words = ("saved_model", PACKAGE, "facts.json")
        version = other_python.run(
            job, coreml_worker, words, folder, _SECONDS, (PACKAGE, "facts.json")
        )
        facts = json.loads((folder / "facts.json").read_text("utf-8"))
        _check(job, facts)
        shutil.copytree(folder / PACKAGE, job.folder / PACKAGE)
        size = files.size(folder / PACKAGE)
    figures = {
        "file": PACKAGE,
        "compared": False,
        "agreement": None,
        "compiled_bytes": size,
        "core_ml_operators": facts["operators"],
        "input": facts["input"],
        "output": facts["output"],
    }
    return Proof(
        exported, None, figures, f"coremltools {version}, converted and not run"
    )


def _check(job: Job, facts: dict[str, object]) -> None:
    """Raises `ExportError` if a program's shapes differ from the network's."""
    expected = {
        "input": [1, *prepare.input_shape(job.model)],
        "output": [1, len(job.labels)],
        "kernels": facts["expected_kernels"],
        "finite": True,
    }
    for name, value in expected.items():
        if facts[name] != value:
            raise ExportError(
                f"the program that coremltools converted from {job.model.name} differs: "
                f"{name} must be {value}; got {facts[name]}; nothing was written"
            )


def _labels(job: Job) -> str:
    """Returns Swift code for the labels of an image; nothing for one class."""
    if job.cuts is None:
        return ""
    cuts = ", ".join(str(value) for value in job.cuts)
    return (
        f"let thresholds: [Float] = [{cuts}]\n"
        "let name = result.featureNames.first!\n"
        "let scores = result.featureValue(for: name)!.multiArrayValue!\n"
        "let labels = (0..<scores.count).filter {\n"
        "    scores[$0].floatValue >= thresholds[$0]  // lines of labels.txt\n}\n"
    )


def snippet(job: Job, exported: ExportedFile) -> str:
    """Returns the README's section on running the package, and what was not tested."""
    return (
        "Drag `model.mlpackage` into Xcode, which generates a class of the same name:\n\n"
        "```swift\n"
        "let network = try model(configuration: MLModelConfiguration())\n"
        "let result = try network.prediction(input: x)  // MLMultiArray, see below\n"
        f"{_labels(job)}```\n\n"
        f"{snippets.described(job, exported)}\n"
        "`report.json` contains the shapes of the input and output. The package was "
        "converted and not run, since Core ML runs on Apple's devices only: compare its "
        "outputs with those of `predict` on yours before you ship it.\n"
    )
