"""The worker process of `benchmark`: `python -m` of this module with FILE and THREADS.

It answers with lines of JSON: first when the file has run once, then for each number in its
input with the durations of this many runs in seconds.
"""

import contextlib
import pathlib
import sys
import time
from typing import Any

from keras_resnets.errors import first_line
from keras_resnets.export import formats
from keras_resnets.export.compare import isolated
from keras_resnets.export.compare import open_runner as runners
from keras_resnets.system import child_process


def main(path: str, threads: int) -> None:
    """Loads a file, then runs it as often as each input line says."""
    order = child_process.orders()
    answer = child_process.answers()
    try:
        formats.format_of(path).room.load_runtime()
        isolated.limit_memory(path)
        _forget_peak()
        before, start = _peak(), time.perf_counter()
        runner = runners.open_runner(path, threads)
        shape = [1 if size is None else size for size in runner.input_shape]
        image = _noise(shape)
        runner(image)
        isolated.limit_memory(None)
    except Exception as error:
        answer({"error": first_line(error)})
        return
    answer({"load": time.perf_counter() - start, "batch": shape[0]})
    while True:
        try:
            runs = range(int(order()))
            seconds = [runner.latency(image, runs=1, warmup=0) for _ in runs]
        except Exception as error:
            answer({"error": first_line(error)})
            return
        answer({"seconds": seconds, "memory": _peak() - before})


def _noise(shape: list[int]) -> Any:
    import numpy as np

    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def _forget_peak() -> None:
    """Lets the peak begin again where the memory is now: the runtime's load needs more."""
    if sys.platform == "linux":
        # A kernel without it keeps the peak.
        with contextlib.suppress(OSError):
            pathlib.Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Peak resident memory of this process in bytes; 0 if it is unknown."""
    if sys.platform == "linux":
        # getrusage counts the process that started this one too.
        status = pathlib.Path("/proc/self/status").read_text("utf-8")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    try:
        import resource
    except ImportError:
        return 0
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
