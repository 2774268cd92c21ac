"""Raspberry Pi: the runner of the folder, in an arm64 Python under qemu-user."""

import os
import pathlib
import shutil
from typing import Any

import numpy as np

from keras_resnets.deploy import snippets
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.errors import ExportError
from keras_resnets.errors import printable
from keras_resnets.io import files
from keras_resnets.system import child_process

RUNNER = "run.py"
# Part and variant of the processors, as Linux tells them: XNNPACK takes its kernels by
# them, and qemu-user shows those of this machine.
_PARTS = {
    "cortex-a53": ("0xd03", "0x0"),
    "cortex-a72": ("0xd08", "0x0"),
    "cortex-a76": ("0xd0b", "0x4"),
}
_CPUINFO = """processor\t: {index}
BogoMIPS\t: 108.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: {variant}
CPU part\t: {part}
CPU revision\t: 1

"""
# Python alone takes 20 to start there, of a busy machine.
_SECONDS, _OF_AN_IMAGE = 300, 60
# What the emulated Python does: the functions of the folder's own runner.
_DRIVER = """import importlib.metadata, sys
import numpy as np
sys.path.insert(0, ".")
import run
y = np.concatenate([run.classify(x[None]) for x in np.load("inputs.npy")])
np.save("outputs.npy", y)
print(importlib.metadata.version("ai-edge-litert"))
"""


def prove(job: Job) -> Proof:
    """Runs the folder's runner as each processor; all must have the same output.

    Raises:
        ExportError: it does not run there, or two processors answer differently.
    """
    exported = job.export()
    root = pathlib.Path(os.environ[str(job.target.variable)])
    outputs: dict[str, np.ndarray] = {}
    version = ""
    with files.scratch_folder() as folder:
        shutil.copyfile(exported.path, folder / exported.path.name)
        (folder / RUNNER).write_text(runner(job, exported), "utf-8")
        (folder / "labels.txt").write_text("\n".join(job.labels) + "\n", "utf-8")
        np.save(folder / "inputs.npy", job.file_inputs(exported))
        for processor in job.target.settings["processors"]:
            version = _run(root, processor, folder, len(job.images))
            outputs[processor] = np.load(folder / "outputs.npy")
    first = next(iter(outputs.values()))
    differing = [name for name, x in outputs.items() if np.abs(x - first).max() > 1e-5]
    if differing:
        raise ExportError(
            f"{', '.join(differing)} answers otherwise than {next(iter(outputs))}; nothing "
            "was written"
        )
    figures: dict[str, Any] = {"processors": list(outputs), "emulated": True}
    return Proof(
        exported, first, figures, f"ai-edge-litert {version}, aarch64 under qemu"
    )


def _run(root: pathlib.Path, processor: str, folder: pathlib.Path, count: int) -> str:
    """Runs the driver in `folder`; the release of LiteRT that ran."""
    part, variant = _PARTS[processor]
    (root / "proc").mkdir(exist_ok=True)
    text = "".join(_CPUINFO.format(index=i, part=part, variant=variant) for i in (0, 1))
    (root / "proc" / "cpuinfo").write_text(text)
    # OpenBLAS has a thread for each of this machine's cores, and qemu-user is slow at
    # starting them.
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
            f"the runner ended with exit code {code} as {processor}, and said "
            f"{printable(last, 300)!r}; nothing was written"
        )
    return out.strip().splitlines()[-1]


def runner(job: Job, exported: ExportedFile) -> str:
    """`run.py`: classifies a photo, or what the camera sees."""
    return _RUNNER.format(
        functions=snippets.functions(job, exported), configured=_configured(exported)
    )


def _configured(exported: ExportedFile) -> str:
    """A line that has the camera take photos of the size that the file takes."""
    if exported.spec.source is None:
        return ""
    height, width = exported.spec.source
    return (
        "    camera.configure(camera.create_still_configuration("
        f'main={{"size": ({width}, {height})}}))\n'
    )


def write(job: Job, proof: Proof | None) -> None:
    """Writes the runner."""
    exported = proof.exported if proof else job.export()
    (job.folder / RUNNER).write_text(runner(job, exported), "utf-8")


def snippet(job: Job, exported: ExportedFile) -> str:
    """How the runner is called."""
    return f"""```sh
pip install ai-edge-litert numpy pillow
python {RUNNER} photo.jpg
python {RUNNER}  # of the camera: apt install python3-picamera2
```
"""


_RUNNER = '''"""Classifies a photo, or what the camera sees: python run.py [PHOTO]."""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from PIL import ImageOps

{functions}

def photo(words):
    """The photo that is named, or one that the camera takes."""
    if words:
        return ImageOps.exif_transpose(Image.open(words[0])).convert("RGB")
    from picamera2 import Picamera2

    camera = Picamera2()
{configured}    camera.start()
    return camera.capture_image().convert("RGB")


if __name__ == "__main__":
    scores = classify(prepare(photo(sys.argv[1:])))[0]
    labels = open("labels.txt", encoding="utf-8").read().splitlines()
    for index in np.argsort(-scores)[:5]:
        print(f"{{scores[index]:.4f}} {{labels[index]}}")
'''
