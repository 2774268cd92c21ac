"""A worker of this package in the Python of another toolchain.

Toolchains that want other packages than TensorFlow have a Python of their own, which a
variable of the environment names.
"""

import pathlib
from types import ModuleType

from keras_resnets.deploy import variables
from keras_resnets.deploy.job import Job
from keras_resnets.errors import ExportError
from keras_resnets.errors import printable
from keras_resnets.system import child_process


def run(
    job: Job,
    worker: ModuleType,
    words: tuple[object, ...],
    folder: pathlib.Path,
    seconds: float,
) -> str:
    """The last line that a worker prints.

    Args:
        job: of the target, whose `variable` names the Python.
        worker: the module, which imports nothing of this package.
        words: its arguments.
        folder: that it runs in.
        seconds: that it has.

    Raises:
        ExportError: it failed; the message has the last line of its errors.
    """
    # Without the folder of this package, and of ours, among its own.
    python = [variables.python(str(job.target.variable)), "-I"]
    path = pathlib.Path(str(worker.__file__))
    code, out, errors = child_process.run([*python, path, *words], folder, seconds)
    if code:
        reason = printable(errors.strip().rpartition("\n")[2], 300)
        raise ExportError(
            f"{job.target.takes} does not take the {job.spec.recipe} file of "
            f"{job.model.name}: {reason}; nothing was written"
        )
    return out.strip().rpartition("\n")[2]
