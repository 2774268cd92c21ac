"""Child processes that end with their parent, even if the parent is killed.

The parent holds a pipe to the child's standard input. When the pipe is closed, by the
parent or because the parent was killed, the child ends.
"""

import _thread
import contextlib
import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import IO
from typing import Any

from keras_resnets.system import interrupts


@contextlib.contextmanager
def started(
    module: str,
    *words: object,
    environment: Mapping[str, str] | None = None,
    errors: int | IO[Any] = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[str]]:
    """Starts `python -m module words` with text pipes; kills it after the block.

    Args:
        module: a module whose main program calls `orders` first.
        *words: its arguments.
        environment: additional environment variables.
        errors: the destination of its standard error.
    """
    with interrupts.made(
        lambda: subprocess.Popen(
            [sys.executable, "-m", module, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=variables(environment),
            # The terminal's Ctrl-C is the parent's to handle.
            process_group=0,
        ),
        _end,
    ) as process:
        yield process


def run(
    words: Sequence[object], folder: str | os.PathLike[str], seconds: float
) -> tuple[int, str, str]:
    """Runs another program; returns (exit code, output, errors).

    Args:
        words: name and arguments of the program.
        folder: working directory.
        seconds: time limit, after which the program is killed; the exit code is then -9.
    """
    with interrupts.made(
        lambda: subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=folder,
            process_group=0,
        ),
        _end,
    ) as process:
        try:
            out, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
            errors += f"\nit took more than {seconds:.0f} seconds"
        return process.returncode, out, errors


def variables(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment of a child: the parent's, this package's path, and `extra`.

    Temporary files that it leaves behind are removed with the parent's.
    """
    package = str(pathlib.Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    place = {"PYTHONPATH": path, "TMPDIR": tempfile.gettempdir()}
    return {**os.environ, **place, **(extra or {})}


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def tell(process: subprocess.Popen[str], line: str) -> None:
    """Sends a line to a child; does nothing if the child has exited."""
    pipe = process.stdin
    # The pipe is closed if the child has been ended here.
    with contextlib.suppress(BrokenPipeError, ValueError):
        if pipe is not None:
            pipe.write(line + "\n")
            pipe.flush()


def orders(last: Callable[[], object] | None = None) -> Callable[[], str]:
    """In the child: reads the parent's lines; the process exits at their end.

    Args:
        last: function without arguments that is called before the process ends.

    Returns:
        A function that waits for the next line.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    _thread.start_new_thread(_listen, (lines, last))
    return lines.get


def answers() -> Callable[[Mapping[str, object]], None]:
    """In the child: returns a function that sends a record as a line of JSON.

    Other output does not get between the answers.
    """
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(facts: Mapping[str, object]) -> None:
        lines.write(json.dumps(facts) + "\n")
        lines.flush()

    return answer


def answer_once(make: Callable[[], Mapping[str, object]]) -> None:
    """In the child: answers by the result of `make`, or by its message as `error`."""
    answer = answers()
    orders()
    try:
        answer(make())
    except (ImportError, RuntimeError, ValueError) as error:
        answer({"error": " ".join(str(error).split())})


def _listen(lines: queue.SimpleQueue[str], last: Callable[[], object] | None) -> None:
    for line in sys.stdin:
        lines.put(line)
    # The parent waits for no answer, so the computation is not finished either.
    if last:
        last()
    os._exit(0)
