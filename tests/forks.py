"""Processes of their own that have TensorFlow already: forks of one that imported it.

The import takes seconds of a processor, and a dozen tests want a process: to kill it,
to run a script, or to see that a file needs nothing of this package. Where a platform
forks nothing, each imports anew.
"""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

FORKS = "forkserver" in multiprocessing.get_all_start_methods()
CONTEXT = multiprocessing.get_context("forkserver" if FORKS else "spawn")
CONTEXT.set_forkserver_preload(["tensorflow", "keras"])


def start(function, *arguments, outputs=(os.devnull, os.devnull)):
    """A running process that calls a function of a module.

    Args:
        function, arguments: what it imports and unpickles.
        outputs: files for its standard output and error.
    """
    process = CONTEXT.Process(
        target=_call, args=(function, arguments, outputs, dict(os.environ))
    )
    process.start()
    return process


def run_script(script, *words, cwd, timeout=500):
    """As `subprocess.run` of Python and a script: a CompletedProcess with its texts."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [pathlib.Path(folder) / name for name in ("out", "err")]
        process = start(_run_script, str(script), words, cwd, outputs=outputs)
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
        shown = [path.read_text(encoding="utf-8") for path in outputs]
    return subprocess.CompletedProcess([script, *words], process.exitcode, *shown)


def _call(function, arguments, outputs, environment):
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    function(*arguments)


def _run_script(script, words, cwd):
    os.chdir(cwd)
    sys.argv = [script, *map(str, words)]
    sys.path.insert(0, os.path.dirname(script))
    runpy.run_path(script, run_name="__main__")
