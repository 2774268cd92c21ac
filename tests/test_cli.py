"""The commands as a person meets them: what they print, and what they refuse."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import keras_resnets
from keras_resnets import cli
from keras_resnets.export import parity

RESNET8 = ["export", "tflite", "--model", "resnet8"]


def run(*words, capsys):
    """(exit code, stdout, stderr) of the command."""
    try:
        code = cli.main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def refused(*words, capsys, code=2):
    """The one line of stderr that a refused command prints."""
    found, out, err = run(*words, capsys=capsys)
    assert found == code, (found, out, err)
    assert err.count("\n") == 1 and "Traceback" not in err, err
    return err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    empty = tmp_path / "work"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return empty


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_list(capsys):
    code, out, _ = run("list", "drn_c_*", capsys=capsys)
    assert code == 0
    assert "drn_c_26" in out and "21,126,584" in out and "3 variants" in out
    _, out, _ = run("list", capsys=capsys)
    for name in keras_resnets.list_models():
        assert f"\n{name} " in out
    _, out, _ = run("list", "--family", "darknet", capsys=capsys)
    assert "darknet19" in out and "resnet50" not in out
    assert "no model matches" in refused("list", "vgg*", capsys=capsys)
    assert "darknet" in refused("list", "--family", "darknets", capsys=capsys)


def test_info(capsys):
    code, out, _ = run("info", "resnext50", capsys=capsys)
    assert code == 0
    for words in (
        "[1x1, 128; 3x3, 128, C=32; 1x1, 256] x 3",
        "25,028,904",
        "25,097,128",
        "4,230.5 M",
        "427 pixels",
    ):
        assert words in out
    code, out, _ = run("info", "resnet8", "--layers", capsys=capsys)
    assert code == 0 and "stage3_block1_conv2" in out and "36,928" in out


def test_info_of_a_changed_variant(capsys):
    axes = ["--set", "output_stride=16", "--set", "shortcut_type=A"]
    code, out, _ = run("info", "resnet18", *axes, "--classes", 10, capsys=capsys)
    assert code == 0 and "14 x 14" in out and "10-d dense" in out
    assert "7 x 7" not in out
    code, out, _ = run("info", "resnet18", "--input-size", "192x256", capsys=capsys)
    assert code == 0 and "6 x 8" in out


@pytest.mark.parametrize(
    "words, message",
    [
        (["resnet51"], "resnet50"),
        (["wrn_27_10"], "the nearest is 28"),
        (["resnet50", "--input-size", "31"], "at least 32"),
        (["resnet50", "--input-size", "big"], "HEIGHTxWIDTH"),
        (["resnet50", "--classes", "0"], "classes"),
        (["resnet50", "--classes", "ten"], "invalid int"),
        (["resnet50", "--set", "cardinality"], "AXIS=VALUE"),
        (["resnet18", "--set", "cardinality=7"], "bottleneck"),
        (["resnext50", "--set", "filters=(8,16,32,64)"], "base_width is 8"),
        (["resnet50", "--set", "cardinalty=8"], "cardinality"),
        (["resnet50", "--set", "output_stride=5"], "output_stride"),
        (["resnet50", "--set", "depths=(3,4)"], "depths"),
        (["resnet50", "--set", "depths=many"], "depths"),
        (["resnet50", "--set", "filters='x'"], "filters"),
        (["resnet50", "--set", "block=[1]"], "block"),
        (["resnet50", "--set", "drop_path_rate=2"], "drop_path_rate"),
        (["resnet50", "--set", "activation=tanhh"], "activation"),
        (["resnet50", "--set", "name=x"], "name"),
        (["resnet50", "--set", "model_name=x"], "model_name"),
        (["resnet50", "--set", "dtype=float16"], "dtype"),
        ([], "required"),
    ],
)
def test_info_refuses(words, message, capsys):
    assert message in refused("info", *words, capsys=capsys)


def test_command_itself(capsys):
    assert "required" in refused(capsys=capsys)
    assert "invalid choice" in refused("exprot", capsys=capsys)
    code, out, _ = run("--help", capsys=capsys)
    assert code == 0 and "export" in out


def test_export_float32(folder, capsys):
    code, out, err = run(*RESNET8, capsys=capsys)
    assert code == 0 and names(folder) == ["resnet8.tflite"], err
    size = f"{(folder / 'resnet8.tflite').stat().st_size / 1e6:.2f} MB"
    for words in ("CONV_2D 9", size, "LiteRT", "Keras", "random weights"):
        assert words in out
    assert "exists; --overwrite" in refused(*RESNET8, capsys=capsys)
    code, out, _ = run(*RESNET8, "--overwrite", capsys=capsys)
    assert code == 0


def test_export_int8_of_photos(folder, photos, capsys):
    (photos / "broken.jpg").write_bytes(b"not a picture")
    (photos / "cut.png").write_bytes((photos / "0.png").read_bytes()[:300])
    (photos / "notes.txt").write_text("no picture")
    code, out, err = run(
        *[*RESNET8, "--quantize", "int8", "--io-dtype", "uint8"],
        *["--calibration", photos, "--predict", photos / "1.png"],
        capsys=capsys,
    )
    assert code == 0, err
    assert names(folder) == ["resnet8_int8.tflite"]
    assert "6 pictures" in out and "2 skipped" in out and "broken.jpg" in out
    assert "top five" in out and out.count("class ") == 10


def test_export_with_weights_and_options(folder, capsys):
    model = keras_resnets.create_model("resnet8", classes=5)
    model.save_weights("a.weights.h5")
    code, out, err = run(
        *[*RESNET8, "--weights", "a.weights.h5", "--classes", "5"],
        *["--input-size", "40x48", "--output", "b.tflite", "--quantize", "float16"],
        capsys=capsys,
    )
    assert code == 0, err
    assert "40 x 48 x 3 -> 5 classes, weights from a.weights.h5" in out
    assert names(folder) == ["a.weights.h5", "b.tflite"]
    line = refused(*RESNET8, "--weights", "a.weights.h5", capsys=capsys)
    assert "does not fit" in line


def test_export_refuses(folder, photos, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.jpg").write_bytes(b"not a picture")
    calibrated = ["--quantize", "int8", "--calibration"]
    for words, options in {
        "needs --calibration": ["--quantize", "int8"],
        "no folder of pictures": [*calibrated, tmp_path / "missing"],
        "holds no pictures": [*calibrated, empty],
        "none of the 1 pictures": [*calibrated, broken],
        "--quantize must be one of": ["--quantize", "int4"],
        "--io-dtype must be one of": ["--io-dtype", "int16"],
        "--threads": ["--threads", "0"],
        "--calibration-count": ["--calibration-count", "-1"],
        "there is no folder": ["--output", tmp_path / "no" / "a.tflite"],
        "not writable": ["--output", "/proc/a.tflite"],
        "must end in .tflite": ["--output", "a.onnx"],
        "is a folder": ["--output", tmp_path / "dir.tflite"],
        "at least": ["--input-size", "2"],
        "there is no file": ["--weights", "missing.keras"],
        "ending in": ["--weights", "resnet8.bin"],
        "there is no picture": ["--predict", "missing.jpg"],
        "no readable picture": ["--predict", broken / "a.jpg"],
        "classes": ["--classes", "-3"],
    }.items():
        (tmp_path / "dir.tflite").mkdir(exist_ok=True)
        assert words in refused(*RESNET8, *options, capsys=capsys), options
    assert "resnet50" in refused(*RESNET8[:-1], "resnet5", capsys=capsys)
    assert names(folder) == []


def test_a_file_that_differs_is_a_failure(folder, capsys, monkeypatch):
    strict = {**parity.TOLERANCES, "none": parity.Tolerance(relative=0.0)}
    monkeypatch.setattr(parity, "TOLERANCES", strict)
    line = refused(*RESNET8, capsys=capsys, code=1)
    assert "does not say what the model says" in line
    assert names(folder) == []


def process(*words, cwd, **environment):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=300,
    )


def test_script_and_command_from_another_folder(folder):
    script = ROOT / "export" / "to_tflite.py"
    done = process(script, "--model", "resnet8", cwd=folder)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert names(folder) == ["resnet8.tflite"]
    done = process(script, "--model", "resnet9", cwd=folder)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    done = process("-m", "keras_resnets", "list", "resnet8", cwd=folder)
    assert done.returncode == 0 and "78,186" in done.stdout


def test_export_needs_tensorflow(folder):
    words = ["-m", "keras_resnets", *RESNET8]
    done = process(*words, cwd=folder, KERAS_BACKEND="jax")
    assert done.returncode == 2 and "needs the TensorFlow backend" in done.stderr
    assert done.stderr.count("\n") == 1 and names(folder) == []


def test_real_photos(folder, shared_data, capsys):
    """A real photo is seen the same by Keras and by the int8 file."""
    code, out, err = run(
        *["export", "tflite", "--model", "resnet18", "--input-size", "96"],
        *["--quantize", "int8", "--calibration", shared_data / "photos"],
        *["--predict", shared_data / "photos" / "dog.jpg"],
        capsys=capsys,
    )
    assert code == 0, err
    table = out[out.index("top five") :].splitlines()[2:]
    first = [line.split() for line in table][0]
    assert first[1] == first[4]
    assert abs(float(first[2]) - float(first[5])) < 0.1


def test_picture_formats(tmp_path):
    """Every mode that Pillow opens becomes three channels of the right values."""
    from keras_resnets import preprocessing

    wanted = preprocessing.Preprocessing("raw", (4, 4), 1.0)
    grey = np.full((4, 4), 100, "uint8")
    for mode in ("L", "RGB", "RGBA", "P", "CMYK", "1", "LA", "I;16"):
        if mode == "I;16":
            picture = Image.fromarray(grey.astype("uint16") * 257)
        else:
            picture = Image.fromarray(grey).convert(mode)
        path = tmp_path / f"a.{'tif' if mode in ('CMYK', 'I;16') else 'png'}"
        picture.save(path)
        loaded = preprocessing.load_picture(pathlib.Path(path), wanted)
        assert loaded.shape == (4, 4, 3)
        if mode != "1":
            np.testing.assert_allclose(loaded, 100, atol=2)
