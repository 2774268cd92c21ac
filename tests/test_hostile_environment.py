"""Closed, full and narrow streams, missing homes, little memory: one line, or it works."""

import os
import re
import subprocess
import sys

import pytest
from PIL import Image

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets.cli import main as cli
from keras_resnets.errors import NotWritten
from keras_resnets.export.compare import benchmark
from keras_resnets.io import files
from keras_resnets.models import registry
from keras_resnets.system import keras_settings

posix = pytest.mark.skipif(os.name != "posix", reason="of shells and their pipes")
# As the installed command begins.
COMMAND = (
    sys.executable,
    "-c",
    "from keras_resnets.cli.main import entry_point as e; e()",
)


def run(*words, shell="", before="", environment=None, unset=()):
    """(exit code, standard output, standard error) of the command, in a shell's hands.

    `shell`: what stands behind the command there, such as `>&-`; `before`: before it.
    """
    given = {**os.environ, **(environment or {})}
    given = {name: value for name, value in given.items() if name not in unset}
    line = f'set -o pipefail; {before} "$@" {shell}'
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
        "import os, sys; from keras_resnets.system import streams; streams.prepare();"
        "numbers = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)];"
        "print('kept', file=sys.stdout); sys.exit(min(numbers))"
    )
    line = f'{sys.executable} -c "{script}" <&- >&- 2>&-'
    assert subprocess.run(["bash", "-c", line]).returncode > 2


@pytest.mark.parametrize(
    "content, said",
    [
        ('{"floatx": "float99"}', "floatx in .* must be one of 'float16'"),
        ('{"floatx": []}', "floatx in .* must be one of"),
        ('{"epsilon": 1}', "epsilon in .* must be a number with a point.*got 1"),
        ('{"image_data_format": "x"}', "image_data_format in .* must be one of"),
        ('{"backend": "nonsense"}', "backend in .* must be one of"),
        ('{"backend": 3}', "backend in .* must be one of"),
        ("[1, 2]", "must be a JSON object; got \\[1, 2\\]"),
        ('"\\u001b[2J"', "must be a JSON object"),
        (None, "cannot be read: Is a directory"),
        ("no json", ""),
        (b"\xff\xfe", ""),
        ("[" * 100_000, ""),
        ('{"floatx": "float16", "image_data_format": "channels_first"}', ""),
    ],
)
def test_keras_json(content, said, tmp_path, monkeypatch):
    """What Keras would end in, in the middle of its import, is one line before it."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    place = tmp_path / "keras.json"
    if content is None:
        place.mkdir()
    else:
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
    if said:
        with pytest.raises(InvalidArgument, match=said) as told:
            keras_settings.check_backend()
        assert str(told.value).isprintable()
    else:
        keras_settings.check_backend()


def timings(count):
    return [
        benchmark.Timing(f"{index}/a.tflite", 1e-3, 2e-3, 1, 0.1, 0, 9)
        for index in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_plots_are_whole_or_not_there(count, tmp_path, monkeypatch):
    place = tmp_path / "a.png"
    benchmark.plot(timings(count), place)
    with Image.open(place) as drawn:
        assert drawn.format == "PNG"
    before = place.read_bytes()

    def full(path, content):
        open(path, "wb").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(NotWritten, match="a.png could not be written: No space"):
        benchmark.plot(timings(count), place)
    assert place.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@posix
@pytest.mark.parametrize(
    "words, said",
    [
        (("--plot", "a.jpg"), "must end in .png"),
        (("--plot", "a"), "must end in .png"),
        (("--plot", "none/a.png"), "there is no folder"),
        (("--plot", "/proc/a.png"), "not writable"),
        (("--output", "pipe"), "is a device or a pipe"),
        (("--output", "stdout"), "is a device or a pipe"),
        (("--output", "a.tflite"), "is also a file to time"),
        (("--output", "b.png", "--plot", "b.png"), "is also --output"),
    ],
)
def test_places_of_figures_are_checked_before_the_work(
    words, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    if "pipe" in words:
        os.mkfifo("pipe")
    if "stdout" in words:
        os.symlink("/proc/self/fd/1", "stdout")
    before = [(file.name, file.lstat().st_ino) for file in tmp_path.iterdir()]
    code = cli.main(["benchmark", "a.tflite", "--runs", "2", *words])
    line = capsys.readouterr().err
    assert code == 2 and line.count("\n") == 1
    assert re.search(said, line), line
    assert before == [(file.name, file.lstat().st_ino) for file in tmp_path.iterdir()]


def test_a_matplotlib_that_refuses_its_settings(tmp_path):
    code, _, err = run(
        *("benchmark", tmp_path, "--plot", tmp_path / "a.png"),
        environment={"MPLBACKEND": "nonsense"},
    )
    assert code == 2 and err.count("\n") == 1
    assert "a plot needs matplotlib, which cannot be imported: Key backend" in err


@posix
@pytest.mark.parametrize("home", ["/dev/null", "missing"])
def test_a_plot_without_a_home(home, tmp_path):
    """As for a user of a container: matplotlib removes its own folder at exit."""
    script = (
        "from keras_resnets.io import files\n"
        "with files.own_temporaries():\n"
        "    import matplotlib.figure\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": home, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


ASCII = {
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
}


@posix
def test_names_in_a_locale_of_ascii(tmp_path):
    """They are UTF-8 all the same, and shown by numbers where they cannot be shown."""
    code, out, err = run("info", "größe", environment=ASCII)
    assert code == 2 and err.count("\n") == 1 and r"gr\xf6\xdfe" in err
    script = (
        "import sys; from keras_resnets.system import streams;"
        "streams.read_names_as_utf8();"
        "sys.exit(ascii(sys.argv[1]) != ascii('\\xfc'))"
    )
    words = [sys.executable, "-c", script, "ü"]
    assert subprocess.run(words, env={**os.environ, **ASCII}).returncode == 0


@posix
@pytest.mark.slow
def test_files_in_a_locale_of_ascii(tmp_path):
    weights, place = tmp_path / "net.weights.h5", tmp_path / "größe 猫.tflite"
    small = ("--model", "resnet8", "--weights", weights)
    keras_resnets.create_model("resnet8").save_weights(weights)
    for words in (
        ("export", "tflite", *small, "--output", place),
        ("export", "saved_model", *small, "--output", tmp_path / "猫"),
        ("inspect", place),
        ("verify", place, tmp_path / "猫", "--count", 2),
    ):
        code, out, err = run(*words, environment=ASCII)
        assert (code, err) == (0, ""), err
        assert out.isascii()


@pytest.mark.parametrize("name", ["a\udcff.tflite", "a\ud800.tflite"])
def test_names_that_are_not_utf8_are_refused(name, tmp_path):
    with pytest.raises(InvalidArgument, match="must be UTF-8") as told:
        files.check_destination(tmp_path / name, ".tflite")
    assert str(told.value).isprintable()
    with pytest.raises(InvalidArgument, match="must be UTF-8"):
        files.check_folder(tmp_path / name, "saved_model.pb")


@pytest.mark.parametrize(
    "error, code, said",
    [
        (MemoryError(), 1, "failed: there is not enough memory"),
        (ImportError("a.so: failed to map segment"), 1, "failed: a.so: failed to map"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "no"), 2, "must be UTF-8; got a"),
    ],
)
def test_what_the_system_has_none_of(error, code, said, monkeypatch, capsys):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(registry, "list_models", fail)
    assert cli.main(["list"]) == code
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and line[:-1].isprintable()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a limit that Linux keeps")
def test_six_gigabytes_of_addresses(tmp_path):
    weights = tmp_path / "net.weights.h5"
    keras_resnets.create_model("resnet8").save_weights(weights)
    small = ("--model", "resnet8", "--weights", weights)
    for words in (
        ("list",),
        ("convert", "resnet8", weights, tmp_path / "a.keras"),
        ("export", "tflite", *small, "--output", tmp_path / "a.tflite"),
        ("export", "onnx", *small, "--output", tmp_path / "a.onnx"),
        ("benchmark", tmp_path / "a.tflite", tmp_path / "a.onnx", "--runs", 2),
    ):
        code, _, err = run(*words, before="ulimit -v 6000000;")
        assert code == 0 or (code == 1 and err.count("\n") == 1), err
