"""Closed, full and narrow streams, missing homes, little memory: one line, or it works."""

import os
import subprocess
import sys

import pytest

posix = pytest.mark.skipif(os.name != "posix", reason="of shells and their pipes")
# As the installed command begins.
COMMAND = (sys.executable, "-c", "from keras_resnets.cli import entry_point as e; e()")


def run(*words, shell="", environment=None, unset=()):
    """(exit code, standard output, standard error) of the command, in a shell's hands.

    `shell`: what stands behind the command there, such as `>&-`.
    """
    given = {**os.environ, **(environment or {})}
    given = {name: value for name, value in given.items() if name not in unset}
    line = f'set -o pipefail; "$@" {shell}'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND, *map(str, words)],
        capture_output=True,
        env=given,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


FULL = "keras-resnets: failed: standard output could not be written: No space left"


@posix
@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("words", [("list",), ("--help",)], ids=["list", "help"])
@pytest.mark.parametrize(
    "shell, code, said",
    [
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        ("2>/dev/full", 0, ""),
        (">/dev/full", 1, FULL),
        (">/dev/full 2>/dev/full", 1, ""),
        ("| sleep 0", 141, ""),
        ("2>&1 | sleep 0", 141, ""),
    ],
)
def test_streams_that_take_nothing(shell, code, said, words, buffered):
    found, _, err = run(*words, shell=shell, environment={"PYTHONUNBUFFERED": buffered})
    assert (found, err.count("\n")) == (code, bool(said)), err
    assert err.startswith(said)


@posix
def test_an_error_whose_reader_has_gone_keeps_its_code():
    code, out, err = run("info", "nothing", shell="2>/dev/full")
    assert (code, out, err) == (2, b"", "")
    code, _, err = run("info", "nothing", shell="2>&1 | sleep 0")
    assert (code, err) == (2, "")


@posix
def test_a_file_does_not_get_the_number_of_a_closed_stream():
    """Else it would get what native libraries print."""
    script = (
        "import os, sys; from keras_resnets import streams; streams.prepare();"
        "numbers = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)];"
        "print('kept', file=sys.stdout); sys.exit(min(numbers))"
    )
    line = f'{sys.executable} -c "{script}" <&- >&- 2>&-'
    assert subprocess.run(["bash", "-c", line]).returncode > 2
