"""A process of our own beside this one: it ends when its parent does, however that ends.

The parent holds a pipe to the child's standard input. When that ends, by the parent's
will or because the parent was killed, so does the child.
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
    """A `Popen` of `python -m module words`, with text pipes; killed behind the block.

    Args:
        module: whose main program calls `orders` first.
        *words: its arguments.
        environment: variables that it has besides ours.
        errors: where its standard error goes.
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
    """(exit code, output, errors) of another program; killed if it does not end.

    Args:
        words: its name and arguments.
        folder: that it runs in.
        seconds: that it has; after them its exit code is that of a killed program.
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


def variables(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: ours, this package as it is here, and those given.

    What it leaves behind of temporary files goes with ours.
    """
    package = str(pathlib.Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    place = {"PYTHONPATH": path, "TMPDIR": tempfile.gettempdir()}
    return {**os.environ, **place, **(given or {})}


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def tell(process: subprocess.Popen[str], line: str) -> None:
    """Sends a child a line; one that died answers with the end of its output."""
    pipe = process.stdin
    # Closed where the child has been ended here.
    with contextlib.suppress(BrokenPipeError, ValueError):
        if pipe is not None:
            pipe.write(line + "\n")
            pipe.flush()


def orders(last: Callable[[], object] | None = None) -> Callable[[], str]:
    """In the child: the lines of its parent, as they come; the process ends with them.

    Args:
        last: function of nothing that is called before.

    Returns:
        A function that waits for the next line.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    _thread.start_new_thread(_listen, (lines, last))
    return lines.get


def answers() -> Callable[[Mapping[str, object]], None]:
    """In the child: a function that sends its parent a record as a line of JSON.

    Whatever else is printed does not get between the answers.
    """
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(facts: Mapping[str, object]) -> None:
        lines.write(json.dumps(facts) + "\n")
        lines.flush()

    return answer


def _listen(lines: queue.SimpleQueue[str], last: Callable[[], object] | None) -> None:
    for line in sys.stdin:
        lines.put(line)
    # Nobody waits for an answer: not for the end of what is being computed either.
    if last:
        last()
    os._exit(0)
