"""Runs a worker script in the Python environment of a toolchain.

Toolchains whose packages conflict with TensorFlow's are installed into an environment of
their own; an environment variable names its Python interpreter.
"""

import pathlib
from types import ModuleType

from keras_resnets.deploy import environment
from keras_resnets.deploy.job import Job
from keras_resnets.errors import ExportError
from keras_resnets.errors import printable
from keras_resnets.errors import shown
from keras_resnets.system import child_process


def run(
    job: Job,
    worker: ModuleType,
    words: tuple[object, ...],
    folder: pathlib.Path,
    seconds: float,
    writes: tuple[str, ...] = (),
) -> str:
    """Runs a worker and returns the last line that it prints.

    Args:
        job: the target's job; `Target.variable` names the interpreter.
        worker: module of the worker, which must not import this package.
        words: arguments of the worker.
        folder: working directory.
        seconds: time limit in seconds.
        writes: names of the files in `folder` that the worker must have written.

    Raises:
        ExportError: it failed; the message contains the last line of its errors.
    """
    # -I keeps this package's folder and PYTHONPATH out of the worker's sys.path.
    python = [environment.python(str(job.target.variable)), "-I"]
    path = pathlib.Path(str(worker.__file__))
    code, out, errors = child_process.run([*python, path, *words], folder, seconds)
    if code:
        reason = printable(errors.strip().rpartition("\n")[2], 300)
        raise ExportError(
            f"{job.target.takes} failed on the {job.spec.recipe} file of "
            f"{job.model.name}: {reason}; nothing was written"
        )
    absent = [name for name in writes if not (folder / name).exists()]
    if absent:
        raise ExportError(
            f"{job.target.takes} must write {', '.join(writes)}; it ended without "
            f"{', '.join(absent)}: check the Python of {job.target.variable}, "
            f"{shown(python[0])}; nothing was written"
        )
    return out.strip().rpartition("\n")[2]
