"""Checks of the environment variables that name a toolchain.

They report a wrong path before images are read and the network is exported.
"""

import functools
import os
import pathlib
import shutil
import subprocess
from collections.abc import Sequence

from keras_resnets.errors import printable
from keras_resnets.errors import shown

# Prints the modules that are missing; imports none of them, which would take seconds.
_SCRIPT = """import importlib.util, sys
print("missing", *(x for x in sys.argv[1:] if importlib.util.find_spec(x) is None))
"""
# A Python starts in 0.1 s; this allows for a busy machine.
_SECONDS = 60


def python(variable: str) -> str:
    """Returns the absolute path of the Python interpreter that a variable names.

    Args:
        variable: name of an environment variable that `unusable_python` accepted.
    """
    value = os.path.expanduser(os.environ[variable])
    # Links are not resolved: a virtual environment's interpreter is a link to another.
    return os.path.abspath(shutil.which(value) or value)


def folder(variable: str) -> pathlib.Path:
    """Returns the absolute path of the folder that a variable names.

    Args:
        variable: name of an environment variable that `unusable_folder` accepted.
    """
    return pathlib.Path(os.path.abspath(os.path.expanduser(os.environ[variable])))


def unusable_python(variable: str, modules: Sequence[str]) -> str | None:
    """Returns why a variable does not name a usable Python interpreter, or None.

    Args:
        variable: name of an environment variable, which is set.
        modules: modules that the interpreter must be able to import.
    """
    value = os.path.expanduser(os.environ[variable])
    reason = _no_program(value) or _lacks(python(variable), tuple(modules))
    if reason is None:
        return None
    return (
        f"{variable} must name a Python with {', '.join(modules)}; got {shown(value)}, "
        f"which {reason}"
    )


def unusable_folder(variable: str, names: Sequence[str]) -> str | None:
    """Returns why a variable does not name a usable folder, or None.

    Args:
        variable: name of an environment variable, which is set.
        names: paths that must exist in the folder.
    """
    value = os.path.expanduser(os.environ[variable])
    place = pathlib.Path(value)
    missing = [name for name in names if not (place / name).exists()]
    if not missing:
        return None
    reason = f"has no {missing[0]}" if place.is_dir() else "is not a folder"
    return (
        f"{variable} must name a folder with {', '.join(names)}; got {shown(value)}, "
        f"which {reason}"
    )


def _no_program(value: str) -> str | None:
    if shutil.which(value) is not None:
        return None
    if os.path.isdir(value):
        return "is a folder"
    return "is not executable" if os.path.exists(value) else "does not exist"


@functools.cache
def _lacks(path: str, modules: tuple[str, ...]) -> str | None:
    """Returns why a program is not a Python with some modules, or None."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _SCRIPT, *modules],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"did not answer in {_SECONDS} seconds"
    except OSError as error:
        return f"cannot be run ({error.strerror})"
    words = done.stdout.split()
    if done.returncode or words[:1] != ["missing"]:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return f"is not Python (it printed {printable(last, 100)!r})"
    return f"has no {', '.join(words[1:])}" if words[1:] else None
