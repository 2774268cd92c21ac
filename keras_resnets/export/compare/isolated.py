"""Runs an untrusted file in a separate process (`python -m` of this module).

If the runtime crashes, does not return or exhausts the memory on a file that passed all
checks, only that process is lost. The processes exchange lines of JSON.
"""

import base64
import contextlib
import functools
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.export import formats
from keras_resnets.export.compare import open_runner as runners
from keras_resnets.export.onnx import overflow
from keras_resnets.export.runner import Runner
from keras_resnets.io import files
from keras_resnets.system import child_process

# Seconds for loading a file, and for running it on one image: importing TensorFlow alone
# takes ten on a busy machine. Afterwards a multiple of the time for one image.
LOAD, FIRST, TIMES = 120, 120, 50
# Memory until it has run on one image, beyond that of its runtime: for the image, several
# copies of the file, and each thread's stack.
_ROOM, _COPIES, _STACKS = 1 << 30, 16, 64 << 20
_FACTS = ("input_shape", "output_names", "tapped", "has_logits", "takes_pixels")


def open_apart(
    path: str | os.PathLike[str], threads: int = 2, logits: bool = False
) -> Any:
    """Opens the runner of an exported file, with its runtime in a separate process.

    Args:
        path: a `.tflite` or `.onnx` file, or the folder of a SavedModel; a `.keras` file
            is run in this process, since loading it executes nothing of it.
        threads: threads of the runtime, >= 1.
        logits: see `open_runner`.

    Raises:
        InvalidArgument: a file that is missing, damaged or cannot be run, or whose
            runtime crashed, took too long or too much memory.

    Example:
        >>> import keras_resnets, tempfile
        >>> from keras_resnets.export import to_tflite
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(keras_resnets.ResNet8(), f"{folder}/a.tflite")
        ...     open_apart(report.path).output_names
        ('predictions',)
    """
    form = formats.format_of(path)
    if not form.is_program:
        return runners.open_runner(path, threads, logits)
    form.room.check(pathlib.Path(path))
    return _Apart(path, threads, logits)


class _Apart:
    """See `open_apart`; it has the interface of all runners."""

    def __init__(
        self, path: str | os.PathLike[str], threads: int, logits: bool
    ) -> None:
        self._path = path
        self._took: float | None = None
        stack = contextlib.ExitStack()
        self._process = stack.enter_context(
            child_process.started(
                "keras_resnets.export.compare.isolated", path, threads, int(logits)
            )
        )
        # Also at the end of this process.
        self.close = weakref.finalize(self, stack.close)
        facts = self._answer(LOAD)
        self.input_shape, self.output_names, self.tapped = (
            tuple(facts[name]) for name in _FACTS[:3]
        )
        self.has_logits, self.takes_pixels = (facts[name] for name in _FACTS[3:])
        if facts["overflows"]:
            overflow.warn()

    def __call__(self, images: np.ndarray) -> Any:
        """Returns float32 outputs for `images`.

        Raises:
            InvalidArgument: images of another size than the file's, or an error or a
                crash of its runtime.
        """
        if self._took is None:
            start = time.perf_counter()
            self._run(images[:1], FIRST)
            self._took = time.perf_counter() - start
        return self._run(images, FIRST + TIMES * self._took * len(images))

    def tensors(self, image: np.ndarray) -> Any:
        """Returns the tensors for one image; see `tflite.runner.tensors`."""
        return self._run(image, FIRST, tensors=True)

    def _run(self, images: np.ndarray, seconds: float, tensors: bool = False) -> Any:
        order = {"images": _packed(images), "tensors": tensors}
        child_process.tell(self._process, json.dumps(order))
        return _unpacked(self._answer(seconds)["outputs"])

    def _answer(self, seconds: float) -> dict[str, Any]:
        if not self.close.alive:
            raise died(self._path, self._process)
        answer = answered(self._path, self._process, seconds)
        if "error" in answer:
            kind = ExportError if answer["kind"] == "ExportError" else InvalidArgument
            raise kind(answer["error"])
        return answer


def answered(
    path: str | os.PathLike[str], process: subprocess.Popen[str], seconds: float
) -> dict[str, Any]:
    """Reads the next line of a process that runs a file, as JSON.

    Args:
        path: the file.
        process: a `Popen` with text pipes.
        seconds: time limit for the answer; then the process is killed.

    Raises:
        InvalidArgument: the process took longer, or crashed.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    pipe: Any = process.stdout
    threading.Thread(target=lambda: lines.put(pipe.readline()), daemon=True).start()
    try:
        line = lines.get(timeout=seconds)
    except queue.Empty:
        process.kill()
        raise InvalidArgument(
            f"{path} cannot be run: it took more than {seconds:.0f} seconds"
        ) from None
    if not line.endswith("\n"):
        raise died(path, process)
    return json.loads(line)


def died(
    path: str | os.PathLike[str], process: subprocess.Popen[str]
) -> InvalidArgument:
    """Returns the error for a process that ended unexpectedly."""
    code = process.wait()
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return InvalidArgument(
        f"{path} cannot be run: its runtime crashed or was ended ({how})"
    )


def _packed(arrays: Any) -> dict[str, Any]:
    """Encodes an array, or several by name, as JSON."""
    if isinstance(arrays, dict):
        return {"names": [[name, _packed(array)] for name, array in arrays.items()]}
    array = np.ascontiguousarray(arrays, "float32")
    return {"shape": array.shape, "bytes": base64.b64encode(array.data).decode("ascii")}


def _unpacked(packed: Any) -> Any:
    if "names" in packed:
        return {name: _unpacked(array) for name, array in packed["names"]}
    array = np.frombuffer(base64.b64decode(packed["bytes"]), "float32")
    # A writable array, as a runner returns.
    return array.reshape(packed["shape"]).copy()


def main(path: str, threads: str, logits: str) -> None:
    """Main program of the process: loads a file, then runs it on each line's images."""
    order = child_process.orders()
    send = child_process.answers()

    def answer(make: Callable[[], dict[str, Any]]) -> None:
        try:
            facts = make()
        except Exception as error:
            facts = {"error": first_line(error), "kind": type(error).__name__}
        send(facts)

    opened: list[Any] = []

    def load() -> dict[str, Any]:
        # Imported before time and memory are counted for the file.
        formats.format_of(path).room.load_runtime()
        limit_memory(path)
        opened.append(runners.open_runner(path, int(threads), logits=bool(int(logits))))
        # The warning of the runner itself is lost with this process.
        facts = {"overflows": getattr(opened[0], "overflows", False)}
        return facts | {name: getattr(opened[0], name) for name in _FACTS}

    answer(load)
    while True:
        work = functools.partial(_work, path, opened[0], json.loads(order()))
        answer(work)
        # The memory for more images is the caller's choice.
        limit_memory(None)


def _work(path: str, runner: Runner, order: dict[str, Any]) -> dict[str, Any]:
    images = _unpacked(order["images"])
    if order["tensors"]:
        from keras_resnets.export.tflite import runner as tflite_runner

        return {"outputs": _packed(tflite_runner.tensors(path, images))}
    return {"outputs": _packed(runner(images))}


def limit_memory(path: str | os.PathLike[str] | None) -> None:
    """Limits the further memory of this process to that for a file; None: no limit.

    Args:
        path: the file.
    """
    if sys.platform != "linux":
        # Other systems count differently, or not at all.
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    soft = most
    if path is not None:
        room = _ROOM + _COPIES * files.size(path) + _STACKS * (os.cpu_count() or 1)
        status = pathlib.Path("/proc/self/status").read_text()
        soft = 1024 * int(status.partition("VmData:")[2].split()[0]) + room
        if most != resource.RLIM_INFINITY:
            soft = min(soft, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


if __name__ == "__main__":
    main(*sys.argv[1:])
