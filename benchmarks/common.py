"""What the benchmarks share: interleaved rounds, workers, tables and verdicts."""

import argparse
import contextlib
import csv
import json
import os
import pathlib
import select
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def parser(description, rounds=None):
    """An argument parser with `--json` and, where there are rounds, `--rounds`."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", metavar="FILE", help="write the figures here as well")
    if rounds:
        made.add_argument("--rounds", type=int, default=rounds)
    return made


def environment(**settings):
    """This process' environment for a sub-process that imports the package."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": path,
        **settings,
    }


def quiet_tensorflow():
    """Chooses the TensorFlow backend and silences it; call before importing keras."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def seconds(call):
    """Wall time of `call()`."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleave(contestants, rounds):
    """Times every contestant once in each round, so that all share the noise.

    Args:
        contestants: callables by name.
        rounds: how often each has its turn.

    Returns:
        The wall times of each, by name.
    """
    found = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            found[name].append(seconds(call))
    return found


class Worker:
    """A contestant in a process of its own, which sleeps until it is asked.

    Args:
        script: file whose `--worker NAME` ends in `serve`.
        name: of the contestant.
        python: interpreter to run it with.
        errors: where its complaints go, as `subprocess` takes it.
        **settings: environment variables.
    """

    def __init__(
        self, script, name, python=sys.executable, errors=subprocess.DEVNULL, **settings
    ):
        self.name = name
        self._process = subprocess.Popen(
            [python, script, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(**settings),
        )

    def ask(self, steps):
        """Best seconds of `steps` steps; None where the worker cannot run here."""
        self.send(steps)
        answer = self.receive()
        return answer and answer["best"]

    def send(self, question):
        """Puts a question; `receive` has the answer."""
        # A dead worker's missing answer tells.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{question}\n")
            self._process.stdin.flush()

    def receive(self, seconds=None):
        """The answer as a dict; None from a dead worker, or one that takes longer."""
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def kill(self):
        """Ends the process at once, whatever it does."""
        self._process.kill()
        self.close()

    def close(self):
        """Ends the process."""
        # A question that a dead one never read is still on its way.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def turns(workers, rounds, steps=5):
    """Milliseconds of every turn, the best of some steps, by name; ends the workers."""
    found = {worker.name: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            best = worker.ask(steps)
            if best is None:
                raise SystemExit(f"{worker.name} did not run")
            found[worker.name].append(1e3 * best)
    for worker in workers:
        worker.close()
    return found


def show_turns(found):
    """Prints the best and the median of `turns`; returns both, by name."""
    best = {name: min(turns) for name, turns in found.items()}
    median = {name: statistics.median(turns) for name, turns in found.items()}
    rows = [(name, f"{best[name]:.1f}", f"{median[name]:.1f}") for name in found]
    show(("file", "best ms", "median ms"), rows)
    return best, median


def serve(step):
    """Answers each number on stdin with the best time of so many calls of `step`."""
    for line in sys.stdin:
        best = min(seconds(step) for _ in range(int(line)))
        print(json.dumps({"best": best}), flush=True)


def times(ratio):
    """A ratio as text, with digits enough to tell it from its target."""
    return f"{ratio:.3f}x" if ratio < 10 else f"{ratio:.1f}x"


def target(value, limit, at_most, unit="x"):
    """A table's last cells for a figure with a target: (figure, target, verdict)."""
    if value is None:
        return ("-", "", "skipped")
    reached = value <= limit if at_most else value >= limit
    sign = "<=" if at_most else ">="
    verdict = "reached" if reached else "MISSED"
    if unit == "x":
        return (times(value), f"{sign} {limit:g}x", verdict)
    return (f"{value:.3g} {unit}", f"{sign} {limit:g} {unit}", verdict)


def csv_rows(path):
    """The rows of a CSV file as dicts; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def kept_rows(path):
    """Rows of an earlier run: the JSON object in a file, or an empty one."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def keep_rows(path, rows):
    """Writes all rows to a file as a JSON object, so that none is measured again."""
    path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def show(headers, rows):
    """Prints a table."""
    from keras_resnets.system.text_table import text_table

    print(text_table(headers, rows), end="\n\n", flush=True)


def write(path, figures):
    """Writes the figures as JSON where a path was given."""
    if path:
        pathlib.Path(path).write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
