"""The process that runs a file in TensorFlow Lite Micro: `python -m` of this module.

Its interpreter ends the process at some files, and tells its errors on standard error
alone. It answers with one line of JSON.
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

# Of the first try, by the file's size; a network of few weights and large maps needs more.
_TIMES, _LEAST, _MOST = 10, 1 << 20, 1 << 31
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


def main(path: str, inputs: str, outputs: str) -> None:
    """Measures the arena, runs the file in it, and tries one byte less.

    Args:
        path: of the file.
        inputs: .npy of images in the file's type.
        outputs: .npy to write, in the file's type.
    """
    answer = child_process.answers()
    images = np.load(inputs)
    child_process.orders()
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError as error:
        answer({"error": str(error)})
        return

    def opened(arena: int) -> Any:
        return runtime.Interpreter.from_file(path, arena_size=arena)

    def ran(arena: int) -> Any:
        interpreter = opened(arena)
        interpreter.set_input(images[:1], 0)
        interpreter.invoke()
        return interpreter

    total, text = _total(ran, os.path.getsize(path))
    if total is None:
        answer({"error": text})
        return
    arena = _least(opened, total)
    interpreter = opened(arena)
    rows = []
    for image in images:
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0).copy())
    np.save(outputs, np.concatenate(rows))
    answer({"arena": arena})


def _least(opened: Callable[[int], Any], most: int) -> int:
    """The least bytes that tensors can be allocated in: with one less they cannot.

    What the interpreter says it used has room that it did not need.

    Args:
        opened: function of the bytes that allocates, and raises where there are too few.
        most: bytes that are enough.
    """
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        _, error = _captured(functools.partial(opened, middle))
        least, most = (least, middle) if error is None else (middle, most)
    return most


def _total(opened: Callable[[int], Any], size: int) -> tuple[int | None, str]:
    """(bytes that it says it used, nothing), or (None, what the interpreter says)."""
    arena = max(_LEAST, _TIMES * size)

    def print_allocations(arena: int) -> None:
        opened(arena).print_allocations()

    while True:
        text, error = _captured(functools.partial(print_allocations, arena))
        if error is None:
            total = _TOTAL.search(text)
            return (int(total[1]), "") if total else (None, "it tells no arena")
        if "Failed to allocate" not in text and "Failed to resize" not in text:
            return None, _reason(text, error)
        arena *= 4
        if arena > _MOST:
            return None, f"its arena is larger than {_MOST:,} bytes"


def _captured(call: Callable[[], object]) -> tuple[str, Exception | None]:
    """What C++ says on standard error in a call, and what the call raises."""
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
    """The last lines that the interpreter said: which operator, and why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Paths of the sources say nothing.
    last_lines = [line.rpartition(".cc ")[2] for line in lines[-3:]]
    return "; ".join(last_lines) or str(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
