"""Runs a file in TensorFlow Lite Micro, as a separate process (`python -m`).

Some files crash the interpreter and its process, and the interpreter writes its errors to
standard error only. The answer is one line of JSON.
"""

import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_resnets.system import child_process

# Arena of the first attempt: this multiple of the file's size, at least 1 MiB. Networks
# with few weights and large feature maps need more, at most 2 GiB.
_TIMES, _LEAST, _MOST = 10, 1 << 20, 1 << 31
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


def main(path: str, inputs: str, outputs: str) -> None:
    """Finds the smallest arena and runs the file in it.

    Args:
        path: path of the TFLite file.
        inputs: path of an .npy file of images in the input's type.
        outputs: path of the .npy file to write, in the output's type.
    """
    child_process.answer_once(lambda: _run(path, np.load(inputs), outputs))


def _run(path: str, images: np.ndarray, outputs: str) -> dict[str, Any]:
    from tflite_micro.python.tflite_micro import runtime

    def opened(arena: int) -> Any:
        return runtime.Interpreter.from_file(path, arena_size=arena)

    def ran(arena: int) -> Any:
        interpreter = opened(arena)
        interpreter.set_input(images[:1], 0)
        interpreter.invoke()
        return interpreter

    arena = _least(opened, _total(ran, os.path.getsize(path)))
    interpreter = opened(arena)
    rows = []
    for image in images:
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0).copy())
    np.save(outputs, np.concatenate(rows))
    return {"arena": arena}


def _least(opened: Callable[[int], Any], most: int) -> int:
    """Returns the smallest arena, in bytes, found by bisection.

    The interpreter reports a size that is larger than necessary.

    Args:
        opened: allocates an arena of a size in bytes, and raises if it is too small.
        most: a sufficient size in bytes.
    """
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        _, error = _captured(functools.partial(opened, middle))
        least, most = (least, middle) if error is None else (middle, most)
    return most


def _total(opened: Callable[[int], Any], size: int) -> int:
    """Returns the reported size of the arena in bytes.

    Raises:
        RuntimeError: the interpreter does not run the file.
    """
    arena = max(_LEAST, _TIMES * size)

    def print_allocations(arena: int) -> None:
        opened(arena).print_allocations()

    while True:
        text, error = _captured(functools.partial(print_allocations, arena))
        if error is None:
            total = _TOTAL.search(text)
            if total is None:
                raise RuntimeError("it reports no arena size")
            return int(total[1])
        if "Failed to allocate" not in text and "Failed to resize" not in text:
            raise RuntimeError(_reason(text, error))
        arena *= 4
        if arena > _MOST:
            raise RuntimeError(f"its arena must not exceed {_MOST:,} bytes")


def _captured(call: Callable[[], object]) -> tuple[str, Exception | None]:
    """Calls a function; returns what C++ wrote to standard error, and the exception."""
    error = None
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            call()
        except Exception as raised:
            error = raised
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return file.read().decode("utf-8", "replace"), error


def _reason(text: str, error: Exception) -> str:
    """Returns the interpreter's last lines, which name the operator and the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Remove the paths of source files.
    last_lines = [line.rpartition(".cc ")[2] for line in lines[-3:]]
    return "; ".join(last_lines) or str(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
