"""Raspberry Pi: runs the folder's `run.py` with an arm64 Python under qemu-user."""

import pathlib
import shutil
import textwrap
from typing import Any

import numpy as np

from keras_resnets.deploy import environment
from keras_resnets.deploy import snippets
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.errors import ExportError
from keras_resnets.errors import printable
from keras_resnets.images.labels import as_lines
from keras_resnets.io import files
from keras_resnets.system import child_process

RUNNER = "run.py"
# XNNPACK selects its kernels by CPU part and variant, and qemu-user would show those of
# this machine.
_CPUINFO = """processor\t: {index}
BogoMIPS\t: 108.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: {variant}
CPU part\t: {part}
CPU revision\t: 1

"""
# Time limits in seconds. On a busy machine the emulated Python takes 20 to start.
_SECONDS, _OF_AN_IMAGE = 300, 60
# Script for the emulated Python, which calls the functions of run.py.
_DRIVER = """import importlib.metadata, sys
import numpy as np
sys.path.insert(0, ".")
import run
y = np.concatenate([run.classify(x[None]) for x in np.load("inputs.npy")])
np.save("outputs.npy", y)
print(importlib.metadata.version("ai-edge-litert"))
"""


def prove(job: Job) -> Proof:
    """Runs `run.py` as each processor; their outputs must be equal.

    Raises:
        ExportError: `run.py` failed, or the outputs of two processors differ.
    """
    exported = job.export()
    root = environment.folder(str(job.target.variable))
    outputs: dict[str, np.ndarray] = {}
    version = ""
    with files.scratch_folder() as folder:
        shutil.copyfile(exported.path, folder / exported.path.name)
        (folder / RUNNER).write_text(runner(job, exported), "utf-8")
        (folder / "labels.txt").write_text(as_lines(job.labels), "utf-8")
        np.save(folder / "inputs.npy", job.file_inputs(exported))
        for processor, part in job.target.settings["processors"].items():
            version = _run(root, processor, part, folder, len(job.images))
            outputs[processor] = np.load(folder / "outputs.npy")
    first = next(iter(outputs.values()))
    differing = [
        name for name, x in outputs.items() if np.abs(x - first).max() > job.float_step
    ]
    if differing:
        raise ExportError(
            f"the outputs must be equal on all processors; those on "
            f"{', '.join(differing)} differ from those on {next(iter(outputs))}; nothing "
            "was written"
        )
    figures: dict[str, Any] = {"processors": list(outputs), "emulated": True}
    return Proof(
        exported, first, figures, f"ai-edge-litert {version}, aarch64 under qemu"
    )


def _run(
    root: pathlib.Path,
    processor: str,
    part: tuple[str, str],
    folder: pathlib.Path,
    count: int,
) -> str:
    """Runs the script in `folder`; returns the version of LiteRT."""
    number, variant = part
    (root / "proc").mkdir(exist_ok=True)
    text = "".join(
        _CPUINFO.format(index=i, part=number, variant=variant) for i in (0, 1)
    )
    (root / "proc" / "cpuinfo").write_text(text)
    # OpenBLAS would start a thread per core, which is slow in qemu-user.
    variables = {
        "PYTHONPATH": root / "site",
        "PYTHONHOME": root / "usr",
        "OPENBLAS_NUM_THREADS": 1,
    }
    words = [
        "qemu-aarch64-static",
        "-cpu",
        processor,
        "-L",
        root,
        *(
            word
            for name, value in variables.items()
            for word in ("-E", f"{name}={value}")
        ),
        root / "usr" / "bin" / "python3.11",
        "-c",
        _DRIVER,
    ]
    seconds = _SECONDS + _OF_AN_IMAGE * count
    code, out, errors = child_process.run(words, folder, seconds)
    if code != 0:
        last = (errors.strip().splitlines() or ["nothing"])[-1]
        raise ExportError(
            f"{RUNNER} failed with exit code {code} on {processor}; its last line was "
            f"{printable(last, 300)!r}; nothing was written"
        )
    return out.strip().splitlines()[-1]


def runner(job: Job, exported: ExportedFile) -> str:
    """Returns the source of `run.py`, which classifies a photo or a camera image."""
    return _RUNNER.format(
        functions=snippets.functions(job, exported),
        configured=_configured(exported),
        answers=textwrap.indent(snippets.answers(job, "scores"), "    "),
    )


def _configured(exported: ExportedFile) -> str:
    """Returns a line of code that sets the camera to the photo size of the file."""
    if exported.spec.source is None:
        return ""
    height, width = exported.spec.source
    return (
        "    camera.configure(camera.create_still_configuration("
        f'main={{"size": ({width}, {height})}}))\n'
    )


def write(job: Job, proof: Proof | None) -> None:
    """Writes `run.py`."""
    exported = proof.exported if proof else job.export()
    (job.folder / RUNNER).write_text(runner(job, exported), "utf-8")


def snippet(job: Job, exported: ExportedFile) -> str:
    """Returns the README's section on running `run.py`."""
    packages = snippets.requirements(job.model.preprocessing, exported)
    return f"""```sh
pip install ai-edge-litert {packages}
python {RUNNER} photo.jpg
python {RUNNER}  # takes a photo with the camera; needs apt install python3-picamera2
```
"""


_RUNNER = '''"""Classifies a photo, or an image of the camera: python run.py [PHOTO]."""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from PIL import ImageOps

{functions}

def photo(arguments):
    """Opens the photo of the command line, or takes one with the camera."""
    if arguments:
        image = ImageOps.exif_transpose(Image.open(arguments[0]))
        if image.mode[0] in "IF":
            sys.exit(f"{{arguments[0]}} has more than 8 bits per channel: convert it to 8")
        return image.convert("RGB")
    from picamera2 import Picamera2

    camera = Picamera2()
{configured}    camera.start()
    return camera.capture_image().convert("RGB")


if __name__ == "__main__":
    scores = classify(prepare(photo(sys.argv[1:])))[0]
{answers}'''
