"""`deploy`: what is refused before images are read: places, names, toolchains."""

import errno
import importlib.util
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from commands import refused
from helpers import small_model

from keras_resnets import deploy
from keras_resnets.cli.commands import deploy as command
from keras_resnets.deploy import destination
from keras_resnets.deploy import environment
from keras_resnets.deploy import folder as folders
from keras_resnets.deploy import options as asking
from keras_resnets.deploy import target as rows
from keras_resnets.deploy import targets
from keras_resnets.deploy.toolchains import gpu_tools
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import NotWritten
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.io import files

VARIABLE = "KERAS_RESNETS_MEDIAPIPE_PYTHON"
ANDROID, LINUX = targets.find("android"), targets.find("linux-x86")


def program(folder, text, mode=0o755):
    """The path of a program whose text is given."""
    path = folder / "python"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


NO_PYTHON = {
    "nothing": (lambda folder: str(folder / "none"), "which does not exist"),
    "a folder": (str, "which is a folder"),
    "a text": (lambda f: program(f, "hello", 0o644), "which is not executable"),
    "no format": (lambda f: program(f, "\0" * 64), "which cannot be run"),
    "another program": (
        lambda f: program(f, "#!/bin/sh\necho no such option >&2; exit 2\n"),
        "is not Python (it printed 'no such option')",
    ),
    "one that is silent": (
        lambda f: program(f, "#!/bin/sh\n"),
        "is not Python (it printed 'nothing')",
    ),
    "a Python without the package": (
        lambda f: program(f, f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n'),
        "has no mediapipe: python -m venv own",
    ),
}


@pytest.mark.parametrize("named, words", NO_PYTHON.values(), ids=NO_PYTHON)
def test_a_variable_that_names_no_python(tmp_path, monkeypatch, named, words):
    monkeypatch.setenv(VARIABLE, named(tmp_path))
    line = ANDROID.missing()
    assert line.startswith(
        f"android: {VARIABLE} must name a Python with mediapipe; got "
    )
    assert words in line and "\n" not in line
    with pytest.raises(InvalidArgument, match=VARIABLE):
        asking.Asked().check([ANDROID])
    asking.Asked(unproven=True).check([ANDROID])


def test_a_python_is_named_by_its_whole_path(tmp_path, monkeypatch):
    """Workers run in another folder; a link is kept, of which an environment consists."""
    monkeypatch.chdir(tmp_path)
    program(tmp_path, "#!/bin/sh\necho missing\n")
    os.symlink("python", "link")
    monkeypatch.setenv(VARIABLE, "./link")
    assert ANDROID.missing() is None
    assert environment.python(VARIABLE) == str(tmp_path / "link")


def test_a_variable_that_names_no_arm64_python(tmp_path, monkeypatch):
    row = targets.find("raspberry-pi")
    monkeypatch.setattr(rows.shutil, "which", lambda name: name)
    monkeypatch.setenv("KERAS_RESNETS_ARM64", str(tmp_path / "none"))
    assert "which is not a folder" in row.missing()
    monkeypatch.setenv("KERAS_RESNETS_ARM64", str(tmp_path))
    assert "which has no usr/bin/python3.11" in row.missing()
    for name in row.holds:
        (tmp_path / name).mkdir(parents=True)
    assert row.missing() is None


def test_a_driver_that_is_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "none.json"))
    message = gpu_tools.missing("gpu")
    assert "VK_ICD_FILENAMES must name a Vulkan driver's .json; got '" in message
    # A long path is shortened in its middle.
    assert message.endswith("/none.json', which does not exist")


def test_another_backend_is_refused_before_images_are_read(monkeypatch, capsys):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    words = ("deploy", "resnet20", "--weights", "cifar10", "--target", "linux-x86")
    line = refused(*words, "--data", "none.npz", "--output", "out", capsys=capsys)
    assert "requires the TensorFlow backend" in line and "got 'jax'" in line


def test_names_as_people_type_them():
    typed = " Linux-X86, linux-x86 ,,ANDROID "
    assert command._names(typed) == ("linux-x86", "linux-x86", "android")
    assert asking.find_all(command._names(typed)) == (LINUX, ANDROID)
    for names in (3, None, {"linux-x86"}):
        with pytest.raises(
            InvalidArgument, match="the name of a target or a list of names"
        ):
            asking.find_all(names)
    with pytest.raises(InvalidArgument, match="did you mean 'linux-x86'"):
        asking.find_all("linux_x86")


PLACES = {
    "of others": ("others", "exists and is not a folder with a report.json"),
    "ours": ("ours", "exists; --overwrite"),
    "a file": ("file", "the output of deploy is a folder"),
    "no parent": ("none/out", "there is no folder"),
}


@pytest.mark.parametrize("name, words", PLACES.values(), ids=PLACES)
def test_a_place_is_checked_before_images_are_read(tmp_path, capsys, name, words):
    for kind in ("others", "ours"):
        (tmp_path / kind / "linux-x86").mkdir(parents=True)
    (tmp_path / "ours" / "linux-x86" / "report.json").write_text("{}")
    (tmp_path / "file").write_text("")
    words_typed = [
        "deploy",
        "resnet20",
        "--weights",
        "cifar10",
        "--target",
        "linux-x86",
    ]
    words_typed += ["--data", tmp_path / "none.npz", "--output", tmp_path / name]
    assert words in refused(*words_typed, capsys=capsys)
    with pytest.raises(InvalidArgument, match=words):
        destination.check(tmp_path / name, [LINUX], overwrite=False)
    if name == "ours":
        destination.check(tmp_path / name, [LINUX], overwrite=True)


@pytest.mark.parametrize(
    "words",
    [
        ("quantize", "resnet20", "--output", "a.tflite"),
        ("search", "resnet20", "--output", "a.tflite"),
        ("search", "resnet20", "--max-size", "90kB", "--front", "a"),
        ("qat", "resnet20", "--output", "a.tflite"),
        ("qat", "resnet20", "--output", "new.tflite", "--run", "a"),
        ("export", "tflite", "resnet20", "--recipe", "static_wi8_ai8")
        + ("--output", "a.tflite"),
    ],
    ids=" ".join,
)
def test_an_output_that_exists_is_told_before_the_data(
    tmp_path, monkeypatch, capsys, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("mine")
    (tmp_path / "a.tflite").write_text("mine")
    line = refused(*words, "--weights", "cifar10", "--data", "no.npz", capsys=capsys)
    assert "no.npz" not in line
    assert "exists" in line or "is not empty" in line
    assert (tmp_path / "a.tflite").read_text() == "mine"


def network():
    """A small network of random values, that knows its images and classes."""
    model = small_model("basic_original", input_shape=(32, 32, 3))
    model.preprocessing = Preprocessing("tf", (32, 32))
    return model


def test_an_output_that_exists_needs_no_heavy_import(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_text("mine")
    words = ["quantize", "resnet20", "--weights", "cifar10", "--data", "no.npz"]
    script = (
        "import sys; from keras_resnets.cli import main;"
        f"code = main.main({[*words, '--output', str(path)]!r});"
        "assert code == 2 and 'keras' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0 and "exists" in done.stderr, done.stderr


def test_a_default_output_or_a_run_that_exists_needs_no_heavy_import(tmp_path):
    """Every command that writes says so at once, whether the path was typed or not."""
    weights = ("--weights", "cifar10")
    data = (*weights, "--data", "no.npz")
    commands = {
        ("quantize", "resnet20", *data): "resnet20_static_wi8_ai8.tflite",
        ("qat", "resnet20", *data): "resnet20_static_wi8_ai8_qat.tflite",
        ("search", "resnet20", *data): "resnet20_static_wi8_ai8_mixed.tflite",
        ("cluster", "resnet20", *data): "resnet20_clustered.keras",
        ("calibrate-confidence", "resnet20", *data): "resnet20_calibrated.safetensors",
        ("prune", "resnet20", *weights, "--shrink", "0.5"): "resnet20_pruned.keras",
        ("export", "tflite", "resnet20"): "resnet20.tflite",
        ("export", "onnx", "resnet20", "--recipe", "float16"): "resnet20_float16.onnx",
        ("export", "keras", "resnet20"): "resnet20.keras",
        ("export", "saved_model", "resnet20"): "resnet20_saved_model/mine.txt",
        ("explain", "resnet20", *weights, "no.png"): "no_explained.png",
        ("convert", "resnet20", "cifar10", "out.keras"): "out.keras",
        (
            "train",
            "resnet20",
            *data[2:],
            "--recipe",
            "he2015_cifar",
            "--output",
            "run",
        ): ("run/run.json"),
        ("deploy", "resnet20", *data, "--target", "linux-x86", "--output", "app"): (
            "app/linux-x86/mine.txt"
        ),
    }
    for name in commands.values():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    script = (
        "import sys; from keras_resnets.cli import main\n"
        f"for words in {list(map(list, commands))!r}:\n"
        "    code = main.main(words)\n"
        "    print(words, code, 'keras' in sys.modules, file=sys.stderr)\n"
        "    assert code == 2 and 'keras' not in sys.modules, words\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()[::2]
    for line, words in zip(lines, commands, strict=True):
        assert re.search("exists|is not empty", line) and "no.npz" not in line, words


IMAGES = np.random.default_rng(3).uniform(-1, 1, (10, 32, 32, 3)).astype("float32")


@pytest.mark.costly
@pytest.mark.parametrize(
    "error, reported",
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), NotWritten),
    ],
    ids=["Ctrl-C", "full disk"],
)
def test_nothing_half_written_is_left(tmp_path, monkeypatch, error, reported):
    """The second target fails when its report is written: the first is whole."""
    real, filled = folders.fill, []

    def fill(job, *rest):
        real(job, *rest)
        filled.append(job.target.name)
        if len(filled) == 2:
            raise error

    monkeypatch.setattr(folders, "fill", fill)
    names = ["linux-x86", "server-onnx"]
    with pytest.raises(reported):
        deploy.deploy(network(), names, tmp_path / "out", IMAGES, recipe="float32")
    assert filled == names
    assert [path.name for path in (tmp_path / "out").iterdir()] == names[:1]
    assert (tmp_path / "out" / "linux-x86" / "report.json").is_file()


def test_a_copy_that_finds_no_room_names_the_output(tmp_path):
    """The system's error names the source of the copy first, a temporary file."""
    with (
        pytest.raises(
            NotWritten, match=f"^{tmp_path}/out could not be written: No space"
        ),
        files.scratch_folder() as scratch,
        files.atomic_folder(tmp_path / "out", ()) as folder,
    ):
        names = (str(scratch / "a"), None, str(folder / "a"))
        raise OSError(errno.ENOSPC, "No space left on device", *names)
    assert not list(tmp_path.iterdir())


def test_labels_of_another_number(tmp_path):
    model = network()
    model.labels = ("cat", "dog")
    with pytest.raises(InvalidArgument, match="2 labels|labels"):
        deploy.deploy(model, "linux-x86", tmp_path / "out", IMAGES, recipe="float32")
    assert not list(tmp_path.iterdir())


def test_an_exporter_that_is_not_installed_is_told_before_the_work(
    tmp_path, monkeypatch, capsys
):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "onnx" else known(name),
    )
    install = 'pip install "keras-resnets[onnx]"'
    told = (
        "browser-onnx takes a file of ONNX, and writing one requires onnx, which is "
        "missing: "
        f"{install}"
    )
    assert targets.record(targets.find("browser-onnx"))["missing"] == told
    assert targets.find("linux-x86").missing() is None
    words = ["deploy", "resnet20", "--target", "browser-onnx,linux-x86", "--unproven"]
    # The data are not read: there are none.
    words += [
        "--weights",
        "cifar10",
        "--data",
        tmp_path / "none",
        "--output",
        tmp_path / "out",
    ]
    assert told in refused(*map(str, words), capsys=capsys)
