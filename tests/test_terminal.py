"""What a terminal shows while a command works, and what it is left with."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from commands import run

import keras_resnets
from keras_resnets.cli import main as cli
from keras_resnets.cli.commands import training_output
from keras_resnets.cli.printing import output
from keras_resnets.graph import provenance
from keras_resnets.system import progress
from keras_resnets.system import text_table
from keras_resnets.weights import metadata

pytest.importorskip("pty", reason="Windows has no terminals to make")


class Terminal:
    """A terminal: `stream` writes to it, `shown` is what it got so far."""

    def __init__(self, columns=80, encoding="utf-8"):
        import termios

        self._ours, self.descriptor = os.openpty()
        termios.tcsetwinsize(self.descriptor, (24, columns))
        self.stream = open(
            self.descriptor, "w", encoding=encoding, errors="backslashreplace"
        )
        self._pieces = []
        # It holds no more than 4 kB that nobody has read.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with contextlib.suppress(OSError):
            while piece := os.read(self._ours, 65_536):
                self._pieces.append(piece)

    @property
    def shown(self):
        return b"".join(self._pieces).decode(errors="replace")

    def close(self):
        self.stream.close()
        self._reader.join(10)
        os.close(self._ours)

    def lines(self):
        """Each drawing of a line."""
        return [part for part in self.shown.split("\r") if part.strip()]


@contextlib.contextmanager
def standard_error(monkeypatch, **options):
    """A `Terminal` that is standard error inside, of Python and of the process."""
    terminal = Terminal(**options)
    kept = os.dup(2)
    os.dup2(terminal.descriptor, 2)
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    try:
        yield terminal
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        monkeypatch.undo()
        terminal.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of a network of two classes, and images of them."""
    place = tmp_path_factory.mktemp("terminal")
    model = keras_resnets.create_model("resnet8", classes=2)
    metadata.write_weights(model, place / "a.weights.h5", provenance.of(model))
    images = np.random.default_rng(0).integers(0, 255, (48, 32, 32, 3), "uint8")
    labels = np.arange(48).reshape(-1, 1) % 2
    np.savez(
        place / "data.npz",
        x_train=images,
        y_train=labels,
        x_test=images[:8],
        y_test=labels[:8],
    )
    return place


@pytest.fixture(scope="module")
def exported(folder):
    for name in ("x.tflite", "y.tflite"):
        words = ["a.weights.h5", "--output", name, "--quiet"]
        with contextlib.chdir(folder):
            assert cli.main(["export", "tflite", *words]) == 0
    return folder


TRAINING = ("--recipe", "cifar_cosine", "--epochs", "1", "--batch-size", "8")
# Command -> its words, and what is seen of it.
LONG = {
    "evaluate": ("a.weights.h5 --data data.npz", "evaluating resnet8", "8 of 8 images"),
    "train": (
        f"resnet8 --data data.npz --output run {' '.join(TRAINING)}",
        "training resnet8",
        "5 of 5 steps",
    ),
    "export tflite": (
        "a.weights.h5 --output b.tflite",
        "converting by TensorFlow's converter",
        "comparing b.tflite with Keras",
    ),
    "quantize": (
        "a.weights.h5 --calibration data.npz --output c.tflite",
        "finding activation ranges",
        "48 of 48 images",
    ),
    "benchmark": ("x.tflite y.tflite --runs 50", "timing the files in turns"),
    "verify": ("x.tflite y.tflite --count 64", "running both files"),
}


@pytest.mark.costly_but("evaluate")
@pytest.mark.parametrize("command", LONG)
def test_steps_are_seen_and_the_json_is_alone(
    command, folder, request, monkeypatch, capsys
):
    if command in ("benchmark", "verify"):
        request.getfixturevalue("exported")
        capsys.readouterr()
    words, *seen = LONG[command]
    words = [*command.split(), *words.split(), "--json"]
    with contextlib.chdir(folder), monkeypatch.context() as patch:
        patch.setattr(progress, "_PATIENCE", 0.0)
        patch.setattr(progress, "_AGAIN", 0.001)
        with standard_error(patch) as terminal:
            assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["command"] == command
    for part in seen:
        assert part in terminal.shown, part
    # The line is wiped away in the end.
    assert terminal.shown.endswith(" \r") and "\n" not in terminal.shown
    assert all(len(line) < 80 for line in terminal.lines())


@pytest.mark.parametrize("option", ["--json", "--quiet", "--verbose"])
def test_nothing_is_seen_elsewhere(option, folder, monkeypatch, capfd):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(progress, "_AGAIN", 0.001)
    with output.running(
        "work", (), as_json=option == "--json", be_quiet=False, verbose=False
    ):
        work()
    assert capfd.readouterr() == ("", "")
    if option != "--json":
        quiet, verbose = option == "--quiet", option == "--verbose"
        with monkeypatch.context() as patch, standard_error(patch) as terminal:
            with output.running(
                "work", (), as_json=False, be_quiet=quiet, verbose=verbose
            ):
                work()
        assert terminal.shown == ""


def work(title="a step"):
    with progress.step(title), progress.ProgressBar(10, "images") as bar:
        for done in range(10):
            bar(done)


def drawn(title, monkeypatch, **options):
    with monkeypatch.context() as patch:
        with standard_error(patch, **options) as terminal:
            with progress.steps_shown("work"):
                work(title)
    return terminal


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_drawing_stays_on_one_line(columns, encoding, monkeypatch):
    """Of wide letters and of letters that become escapes; what it counts is seen."""
    monkeypatch.setenv("COLUMNS", "40")
    title = "making " + "猫" * 30
    terminal = drawn(title, monkeypatch, columns=columns, encoding=encoding)
    assert len(terminal.lines()) >= 10 and "9 of 10 images  0:00" in terminal.shown
    assert all(text_table.width_of(line) <= 39 for line in terminal.lines())


def test_a_title_cannot_write_on_the_terminal(monkeypatch):
    terminal = drawn("making a\x1b[2J\nb.tflite", monkeypatch)
    assert r"making a\x1b[2J\nb.tflite" in terminal.shown
    assert "\x1b" not in terminal.shown and "\n" not in terminal.shown


def test_a_terminal_that_cannot_redraw_gets_nothing(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert drawn("a step", monkeypatch).shown == ""


@pytest.mark.parametrize(
    "environment, encoding, verbose",
    [
        ({}, "utf-8", 1),
        ({"NO_COLOR": ""}, "utf-8", 1),
        ({"NO_COLOR": "1"}, "utf-8", 2),
        ({"TERM": "dumb"}, "utf-8", 2),
        ({}, "ascii", 2),
    ],
)
def test_where_keras_draws_its_bar(environment, encoding, verbose, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal(encoding=encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal.stream)
        found = training_output.verbosity()
    terminal.close()
    assert found == verbose


def test_json_of_any_letters_in_ascii(monkeypatch):
    """Python's own escapes, such as `\\xf6`, are none of JSON's."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii", errors="backslashreplace")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with output.running(
            "work", ("label",), as_json=True, be_quiet=False, verbose=False
        ):
            output.keep(label="größe 猫")
    expected = {"command": "work", "label": "größe 猫", "notes": []}
    assert json.loads(raw.getvalue()) == expected


def test_json_has_the_notes(capsys):
    """Those that `--json` keeps from being printed."""
    with output.running("work", (), as_json=True, be_quiet=False, verbose=False):
        output.keep(label=1)
        output.note("a line about the work")
        output.note("note: 1 image cannot be read")
    assert json.loads(capsys.readouterr().out)["notes"] == ["1 image cannot be read"]


INTERRUPTED = """
import signal, time
from keras_resnets.io import files
from keras_resnets.system import interrupts, progress
signal.signal(signal.SIGINT, signal.default_int_handler)
interrupts.begin()
def work():
    with progress.steps_shown("work"), files.atomic_file("a.txt") as file:
        file.write_text("half")
        with progress.step("drawing"):
            for done in range(10_000):
                progress.count(done, 10_000, "images")
                if done == 50:
                    print("ready", flush=True)
                time.sleep(0.001)
interrupts.leave(interrupts.run(work))
"""


@pytest.mark.parametrize("kind", ["xterm", "dumb"])
def test_ctrl_c_while_a_line_is_drawn(kind, tmp_path):
    terminal = Terminal()
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=terminal.descriptor,
        env={**os.environ, "TERM": kind},
        start_new_session=True,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    terminal.close()
    assert (process.returncode, out, os.listdir(tmp_path)) == (130, "", [])
    said = "keras-resnets: interrupted\r\n"
    if kind == "dumb":
        assert terminal.shown == said
    else:
        assert "of 10,000 images" in terminal.shown
        assert terminal.shown.endswith(f" \r\r\x1b[K{said}")
        assert terminal.shown.count("\n") == 1


@pytest.mark.parametrize("command", ["targets", "list"])
def test_a_table_stays_readable_at_40_columns(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    code, out, _ = run(command, capsys=capsys)
    # The sentence below a table has no columns: the terminal wraps it.
    rows = [line for line in out.splitlines() if line.startswith("  ")]
    assert code == 0 and rows and max(map(len, rows)) <= 40
    wanted = {"targets": "linux-x86\n  device or runtime: ", "list": "resnet50\n"}
    assert wanted[command] in out
    monkeypatch.delenv("COLUMNS")
    # A file or a pipe has no width: scripts get the same table on every terminal.
    code, out, _ = run(command, capsys=capsys)
    assert "----" in out.splitlines()[1]


@pytest.mark.parametrize("command", ["train", "deploy", "predict", "quantize"])
def test_help_wraps_at_40_columns(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")

    code, out, _ = run(command, "--help", capsys=capsys)
    body, examples = out.split("examples:")
    # The usage and the sentence below it have no columns: the terminal wraps them.
    lines = [line for line in body.splitlines() if line.startswith("  ")]
    assert code == 0 and max(map(len, lines)) <= 40, max(lines, key=len)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00123456, "1.23 ms"),
        (0.0999, "99.9 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1234, "1,234.00 s"),
    ],
)
def test_times_have_three_digits_or_are_seconds(seconds, text):
    assert output.milliseconds(seconds) == text
