"""Measures latency, load time and memory of exported files.

Each file runs in a separate process. The processes take turns, so that changes in the speed
of the machine affect all files.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import statistics
import subprocess
from collections.abc import Sequence
from typing import Any

from keras_resnets.errors import InvalidArgument
from keras_resnets.export.compare import isolated
from keras_resnets.io import files
from keras_resnets.io import plots
from keras_resnets.system import child_process


@dataclasses.dataclass(frozen=True)
class Timing:
    """The cost of one file.

    Attributes:
        path: the file.
        median, p95: seconds for the inference of one batch.
        batch: images per batch.
        load: seconds from opening the file to the first output.
        memory: peak resident memory in bytes for loading and running.
        size: size of the file in bytes.
    """

    path: str
    median: float
    p95: float
    batch: int
    load: float
    memory: int
    size: int

    @property
    def throughput(self) -> float:
        """Images per second."""
        return self.batch / self.median


def benchmark(
    paths: Sequence[str | os.PathLike[str]],
    threads: int = 2,
    runs: int = 50,
    rounds: int = 10,
) -> list[Timing]:
    """Returns a `Timing` for each exported file.

    Args:
        paths: `.tflite`, `.onnx` or `.keras` files and folders of SavedModels.
        threads: threads of each runtime, >= 1.
        runs: total timed inferences of each file, spread over the rounds.
        rounds: the number of turns of each file.

    Returns:
        A list of `Timing`, in the order of `paths`.

    Raises:
        InvalidArgument: a file that cannot be run.
    """
    with contextlib.ExitStack() as stack:
        workers = [_Worker(path, _process(stack, path, threads)) for path in paths]
        started = [worker.start() for worker in workers]
        seconds: list[list[float]] = [[] for _ in workers]
        for _ in range(min(rounds, runs)):
            for worker, durations in zip(workers, seconds, strict=True):
                durations += worker.run(-(-runs // min(rounds, runs)))["seconds"]
        memory = [worker.run(0)["memory"] for worker in workers]
    return [
        Timing(
            path=str(path),
            median=statistics.median(durations),
            p95=sorted(durations)[math.ceil(0.95 * len(durations)) - 1],
            batch=start["batch"],
            load=start["load"],
            memory=peak,
            size=files.size(path),
        )
        for path, start, durations, peak in zip(
            paths, started, seconds, memory, strict=True
        )
    ]


def _process(
    stack: contextlib.ExitStack, path: str | os.PathLike[str], threads: int
) -> subprocess.Popen[str]:
    return stack.enter_context(
        child_process.started("keras_resnets.export.compare.worker", path, threads)
    )


class _Worker:
    """A process that loads one file and runs it on request."""

    def __init__(
        self, path: str | os.PathLike[str], process: subprocess.Popen[str]
    ) -> None:
        self._path, self._process, self._took = path, process, 0.0

    def start(self) -> dict[str, Any]:
        """Returns the cost of loading the file and running it once."""
        answer = self._answer(isolated.LOAD + isolated.FIRST)
        self._took = answer["load"]
        return answer

    def _answer(self, seconds: float) -> dict[str, Any]:
        """Returns the worker's next line, within a time limit."""
        answer = isolated.answered(self._path, self._process, seconds)
        if "error" in answer:
            raise InvalidArgument(answer["error"])
        return answer

    def run(self, count: int) -> dict[str, Any]:
        child_process.tell(self._process, str(count))
        return self._answer(isolated.FIRST + isolated.TIMES * count * self._took)


def plot(timings: Sequence[Timing], path: str | os.PathLike[str]) -> None:
    """Draws a bar chart of the latencies as a PNG.

    Raises:
        InvalidArgument: see `plots.check_place`.
        NotWritten: the file could not be written.
    """
    path = plots.check_place(path)
    from matplotlib.figure import Figure

    medians = [timing.median * 1e3 for timing in timings]
    names = [
        f"{pathlib.Path(timing.path).name}\n{median:.3g} ms"
        for timing, median in zip(timings, medians, strict=True)
    ]
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    # Two files may have one name.
    places = range(len(names))
    axes.barh(places, medians, color="#4477aa", height=0.6)
    axes.set_yticks(places, names)
    whiskers = [
        timing.p95 * 1e3 - m for timing, m in zip(timings, medians, strict=True)
    ]
    axes.errorbar(
        medians,
        places,
        xerr=[[0.0] * len(names), whiskers],
        fmt="none",
        ecolor="#333333",
    )
    axes.invert_yaxis()
    # One slow run must not make the other bars small.
    ends = [median + w for median, w in zip(medians, whiskers, strict=True)]
    axes.set_xlim(0, 1.05 * min(max(ends), 2 * max(medians)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("milliseconds a batch: median, and 95th percentile")
    plots.save(figure, path, dpi=150)
