"""The commands as a person meets them: what they print, and what they refuse."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from commands import refused
from commands import run
from conftest import ROOT
from helpers import noise
from helpers import small_model
from PIL import Image

import keras_resnets
import keras_resnets.export.tflite.runner
from keras_resnets import quantization
from keras_resnets.export import number_formats
from keras_resnets.export import to_keras

RESNET8 = ["export", "tflite", "--model", "resnet8"]


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
        (["resnet50", "--classes", "ten"], "must be a whole number"),
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
    code, out, _ = run(capsys=capsys)
    assert code == 0 and "make a smaller or faster file:" in out
    assert "did you mean 'export'" in refused("exprot", capsys=capsys)
    code, out, _ = run("--help", capsys=capsys)
    assert code == 0 and "export" in out


@pytest.mark.costly
def test_export_float32(folder, capsys):
    code, out, err = run(*RESNET8, capsys=capsys)
    assert code == 0 and names(folder) == ["resnet8.tflite", "resnet8.tflite.json"], err
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
    assert names(folder) == ["resnet8_int8.tflite", "resnet8_int8.tflite.json"]
    assert "6 images" in out and "2 skipped" in out and "broken.jpg" in out
    assert "top five" in out and out.count("class ") == 10


@pytest.mark.costly
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
    assert names(folder) == ["a.weights.h5", "b.tflite", "b.tflite.json"]
    # The weights say how many classes there are.
    code, out, err = run(*RESNET8, "--weights", "a.weights.h5", capsys=capsys)
    assert code == 0 and "-> 5 classes, weights from a.weights.h5" in out, err


def test_export_refuses(folder, photos, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.jpg").write_bytes(b"not a picture")
    calibrated = ["--recipe", "static_wi8_ai8", "--calibration"]
    for words, options in {
        "requires --calibration": ["--recipe", "static_wi8_ai8"],
        "calibration data must be": [*calibrated, tmp_path / "missing"],
        "contains no images": [*calibrated, empty],
        "none of the 1 images": [*calibrated, broken],
        "--recipe must be one of": ["--recipe", "int4"],
        "--io-dtype must be one of": ["--io-dtype", "int16"],
        "--threads": ["--threads", "0"],
        "--calibration-count": ["--calibration-count", "-1"],
        "there is no folder": ["--output", tmp_path / "no" / "a.tflite"],
        "not writable": ["--output", "/proc/a.tflite"],
        "must end in .tflite": ["--output", "a.onnx"],
        "is a folder": ["--output", tmp_path / "dir.tflite"],
        "at least": ["--input-size", "2"],
        "there is no file": ["--weights", "missing.keras"],
        "give a file": ["--weights", "resnet8.xyz"],
        "there is no image": ["--predict", "missing.jpg"],
        "not a readable image": ["--predict", broken / "a.jpg"],
        "classes": ["--classes", "-3"],
    }.items():
        (tmp_path / "dir.tflite").mkdir(exist_ok=True)
        assert words in refused(*RESNET8, *options, capsys=capsys), options
    assert "resnet50" in refused(*RESNET8[:-1], "resnet5", capsys=capsys)
    assert names(folder) == []


def test_a_file_that_differs_is_a_failure(folder, capsys, monkeypatch):
    strict = number_formats.NumberFormat(
        "none", "float32", number_formats.Tolerance(relative=0.0)
    )
    monkeypatch.setitem(number_formats.NUMBER_FORMATS, "none", strict)
    line = refused(*RESNET8, capsys=capsys, code=1)
    assert "differs from the model" in line
    assert names(folder) == []


def test_features_of_weights_without_a_classifier(folder, capsys):
    """The head that they have not is no part of the file."""
    model = keras_resnets.create_model("resnet8", include_top=False)
    model.save_weights("a.weights.h5")
    words = ["export", "onnx", "--model", "resnet8", "--weights", "a.weights.h5"]
    assert "contains no classifier" in refused(*words, capsys=capsys)
    code, out, err = run(*words, "--features", "stage2", capsys=capsys)
    assert code == 0 and "note" not in out and "features" in out, err
    assert "resnet8.onnx" in names(folder)


def test_symmetric_is_of_int8(folder, capsys):
    words = ["export", "onnx", "--model", "resnet8", "--symmetric"]
    assert "storage of activations in int8 files" in refused(*words, capsys=capsys)
    words[-1:] = ["--recipe", "static_wi8_ai8", "--full-range", "--reduce-range"]
    assert "two ranges of int8 weights" in refused(*words, capsys=capsys)


@pytest.mark.costly
def test_options_of_int8_files_for_a_quantization_aware_file(folder, capsys):
    """Its recipe is that of the file, not the default of the option."""
    from ai_edge_litert.interpreter import Interpreter

    model = small_model("shortcut_d", input_shape=(16, 16, 3), axes={"depths": (1, 1)})
    images = noise(12, 16, 16, 3)
    to_keras(quantization.quantize_aware(model, calibration=images), "aware.keras")
    to_keras(model, "float.keras")
    mode = ("--mode", "raw")
    words = (*mode, "--symmetric", "--full-range", "--output", "a.onnx")
    code, out, err = run("export", "onnx", "aware.keras", *words, capsys=capsys)
    assert code == 0 and "a.onnx" in names(folder), err
    words = (*words, "--overwrite")
    line = refused("export", "onnx", "float.keras", *words, capsys=capsys)
    assert "got --recipe float32" in line
    words = (*mode, "--io-dtype", "uint8", "--output", "a.tflite")
    code, out, err = run("export", "tflite", "aware.keras", *words, capsys=capsys)
    assert code == 0, err
    (given,) = Interpreter("a.tflite").get_input_details()
    assert given["dtype"] == np.uint8


def test_endings_in_capitals(folder, capsys):
    for name in ("A.TFLITE", "A.ONNX", "A.KERAS"):
        pathlib.Path(name).write_bytes(b"nothing")
        line = refused("inspect", name, capsys=capsys)
        assert "must be a .tflite" not in line, line
    assert "rename it" in line
    line = refused("predict", "A.WEIGHTS.H5", "a.png", capsys=capsys)
    assert "there is no file 'A.WEIGHTS.H5'" in line
    line = refused("info", "resnet8", "--set", "stem_bn=perhaps", capsys=capsys)
    assert "yes or no" in line


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
    assert names(folder) == ["resnet8.tflite", "resnet8.tflite.json"]
    done = process(script, "--model", "resnet9", cwd=folder)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    done = process("-m", "keras_resnets", "list", "resnet8", cwd=folder)
    assert done.returncode == 0 and "78,186" in done.stdout


def test_export_needs_tensorflow(folder):
    words = ["-m", "keras_resnets", *RESNET8]
    done = process(*words, cwd=folder, KERAS_BACKEND="jax")
    assert done.returncode == 2 and "requires the TensorFlow backend" in done.stderr
    assert done.stderr.count("\n") == 1 and names(folder) == []


@pytest.mark.costly
def test_real_photos(folder, shared_data, capsys):
    """A real photo is seen the same by Keras and by the int8 file."""
    code, out, err = run(
        *["export", "tflite", "--model", "resnet18", "--set", "depths=(1, 1, 1, 1)"],
        *["--input-size", "96"],
        *["--quantize", "int8", "--calibration", shared_data / "photos"],
        *["--predict", shared_data / "photos" / "dog.jpg"],
        capsys=capsys,
    )
    assert code == 0, err
    table = out[out.index("top five") :].splitlines()[2:]
    first = [line.split() for line in table][0]
    assert first[1] == first[4]
    assert abs(float(first[2]) - float(first[5])) < 0.1


def trained(shared_data):
    return shared_data / "checkpoints" / "resnet20-12fca82f.th"


def test_weights(capsys):
    code, out, _ = run("weights", "ResNet50", capsys=capsys)
    assert code == 0 and "weights='imagenet' selects imagenet1k_v2" in out
    lines = out.splitlines()
    assert lines[2].split()[:3] == ["imagenet1k_v2", "80.86", "95.43"]
    assert "a1_in1k: hf://timm/resnet50.a1_in1k/model.safetensors" in lines
    assert "no public weights" in refused("weights", "plain34", capsys=capsys)
    assert "resnet50" in refused("weights", "resnet51", capsys=capsys)


def test_convert_round_trip(folder, shared_data, capsys):
    """torch -> .weights.h5 -> .keras -> safetensors: the same bytes in every tensor."""
    from keras_resnets.weights.readers import read

    previous = trained(shared_data)
    for output in ("a.weights.h5", "b.keras", "c.safetensors"):
        code, out, _ = run("convert", "resnet20", previous, output, capsys=capsys)
        assert code == 0 and f"wrote {output}" in out and "note" not in out
        previous = output
    assert "named as in akamaster" in out
    assert names(folder) == ["a.weights.h5", "b.keras", "c.safetensors"]
    before, after = read(trained(shared_data)), read("c.safetensors")
    assert set(before) == {f"state_dict.module.{name}" for name in after}
    for name in after:
        value = before[f"state_dict.module.{name}"]
        assert value.tobytes() == after[name].tobytes(), name
    for path in names(folder):
        # Also what the images must look like, and where the channels are padded.
        model = keras_resnets.create_model("resnet20", weights=path)
        assert model.preprocessing.mode == "torch" and model.labels == "cifar10"
        pads = [layer for layer in model.layers if hasattr(layer, "position")]
        assert {layer.position for layer in pads} == {"both"}
        with pytest.raises(keras_resnets.WeightsError, match="'both'; got 'end'"):
            keras_resnets.create_model(
                "resnet20", weights=path, identity_pad_position="end"
            )


def test_convert_refuses(folder, shared_data, capsys):
    source = trained(shared_data)

    def error(*words):
        return refused("convert", *words, capsys=capsys)

    assert "ending in .weights.h5, .safetensors" in error("resnet20", source, "a.pth")
    assert "no folder" in error("resnet20", source, "missing/a.keras")
    assert "does not fit" in error("resnet32", source, "a.keras")
    # A head of its own would be random: nobody asked for that.
    assert "another one would have random values" in error(
        "resnet20", source, "a.keras", "--classes", 7
    )
    assert names(folder) == []
    pathlib.Path("a.keras").write_text("mine")
    assert "exists" in error("resnet20", source, "a.keras")
    assert pathlib.Path("a.keras").read_text() == "mine"


def test_predict(folder, shared_data, capsys):
    for name, grey in (("a.png", 90), ("b.png", 200)):
        Image.fromarray(np.full((40, 50, 3), grey, "uint8")).save(name)
    weights = ["--weights", trained(shared_data)]
    code, out, _ = run("predict", "resnet20", "a.png", "b.png", *weights, capsys=capsys)
    lines = out.splitlines()
    assert code == 0 and len(lines) == 12 and lines[0] == "a.png"
    assert {line.split()[0] for line in lines[1:6]} <= set(
        "airplane automobile bird cat deer dog frog horse ship truck".split()
    )
    shares = [float(line.split()[1].rstrip("%")) for line in lines[1:6]]
    assert shares == sorted(shares, reverse=True) and "#" in lines[1]
    assert "no image" in refused(
        "predict", "resnet20", "c.png", *weights, capsys=capsys
    )
    assert "required" in refused("predict", "resnet20", "a.png", capsys=capsys)


def test_evaluate(folder, shared_data, capsys):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 32, 32, 3)).astype("uint8")
    np.savez("a.npz", x_test=pixels, y_test=np.arange(6))
    words = ["evaluate", "resnet20", "--weights", trained(shared_data), "--data"]
    code, out, _ = run(*words, "a.npz", "--count", 5, capsys=capsys)
    assert code == 0 and "resnet20: 5 images, top-1 " in out
    assert "--batch-size" in refused(*words, "a.npz", "--batch-size", 0, capsys=capsys)
    assert "npz file, a folder" in refused(*words, "b.npz", capsys=capsys)
    np.savez("a.npz", x_test=pixels, y_test=np.arange(5, 11))
    assert "labels must lie in 0..9" in refused(*words, "a.npz", capsys=capsys)


@pytest.mark.costly
def test_export_takes_the_weights_preprocessing(folder, photos, shared_data, capsys):
    """Calibration and photo as the weights were trained, not as the variant's default."""
    words = [*RESNET8[:3], "resnet20", "--weights", trained(shared_data)]
    words += ["--quantize", "int8", "--calibration", photos]
    code, out, _ = run(*words, "--predict", photos / "0.png", capsys=capsys)
    assert code == 0, out
    interpreter = keras_resnets.export.tflite.runner.TFLiteRunner(
        pathlib.Path("resnet20_int8.tflite").read_bytes()
    )
    scale, zero = interpreter._input["quantization"]
    # ImageNet's statistics reach from -2.1 to 2.6; CIFAR-10's from -2 to 2.1.
    assert scale * (127 - zero) > 2.2


def test_batches_of_the_command(folder, capsys):
    for batch in ("two", "0", "-1", "1.5"):
        words = ["export", "onnx", "--model", "resnet8", f"--batch={batch}"]
        assert "must be a whole number from 1" in refused(*words, capsys=capsys)
    assert names(folder) == []


def test_progress_is_seen_while_logs_are_hidden():
    pytest.importorskip("pty", reason="Windows has no terminals to make")
    script = (
        "import os\n"
        "from keras_resnets.system.progress import ProgressBar\n"
        "from keras_resnets.system.quiet import native_logs_hidden\n"
        "with native_logs_hidden():\n"
        "    with native_logs_hidden():\n"
        "        bar = ProgressBar(4, 'steps')\n"
        "        os.write(2, b'chatter')\n"
        "        bar(3)\n"
        "        bar.close()\n"
        "ProgressBar(4, 'layers')(1)\n"
    )
    # A terminal of its own, on which both sides can be read.
    ours, theirs = os.openpty()
    subprocess.run([sys.executable, "-c", script], stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "3 of 4 steps" in shown and "1 of 4 layers" in shown
    assert "chatter" not in shown


def test_commands_turn_on_the_kernels_of_onednn(monkeypatch, capsys):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert run("list", capsys=capsys)[0] == 0
    assert os.environ.pop("TF_ENABLE_ONEDNN_OPTS") == "1"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert run("list", capsys=capsys)[0] == 0
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
