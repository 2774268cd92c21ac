"""verify, benchmark, inspect and the passport: exported files side by side."""

import json
import sys

import keras
import numpy as np
import pytest
from commands import reported
from commands import run
from helpers import noise
from helpers import small_model
from PIL import Image
from quantized import cifar

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets.cli import main as cli
from keras_resnets.export import contents
from keras_resnets.export import passport
from keras_resnets.export import random_weights
from keras_resnets.export import session
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import benchmark
from keras_resnets.export.compare import inspection
from keras_resnets.export.compare import verify
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.images import samples
from keras_resnets.images import synthetic

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same small network in every format, by name, and its pictures."""
    folder = tmp_path_factory.mktemp("files")
    # Of the mode that the network takes: pixels from 0 to 255.
    pictures = np.clip(60 * noise(12, *SHAPE) + 127, 0, 255)
    # The seeds of single tests come later than this fixture.
    keras.utils.set_random_seed(7)
    model = keras_resnets.create_model("resnet8")
    random_weights.settle(model, pictures)
    to_tflite(model, folder / "a.tflite")
    to_tflite(model, folder / "b.tflite", "int8", pictures)
    to_tflite(model, folder / "dim.tflite", "int8", 0.2 * pictures)
    to_onnx(model, folder / "c.onnx", layout="nchw", batch=3)
    to_saved_model(model, folder / "d")
    model.save(folder / "e.keras")
    return folder, pictures


NAMES = ("a.tflite", "b.tflite", "c.onnx", "d", "e.keras")


@pytest.mark.parametrize("second", NAMES[1:])
def test_any_two(files, second):
    folder, pictures = files
    found = verify.verify(
        folder / "a.tflite", folder / second, [pictures[:5], pictures]
    )
    assert found.count == 17 and found.accuracies is None
    if second == "b.tflite":
        assert 20 < found.logits.sqnr < 60 and found.outputs.max_error > 1e-3
    else:
        assert found.outputs.max_error <= 1e-5
        assert (found.logits is None) == (second == "d")


def test_accuracies(files):
    folder, pictures = files
    best = open_runner(folder / "a.tflite")(pictures).argmax(1)
    labels = np.where(np.arange(12) < 9, best, (best + 1) % 10)
    found = verify.verify(folder / "a.tflite", folder / "e.keras", [pictures], labels)
    assert found.accuracies == (0.75, 0.75)
    with pytest.raises(InvalidArgument, match="at least one image"):
        verify.verify(folder / "a.tflite", folder / "c.onnx", [])


@pytest.mark.costly
def test_without_data_a_good_file_passes(tmp_path, shared_data, capsys):
    """On images as the passport's preprocessing gives them; on noise it failed."""
    model = keras_resnets.create_model("resnet20", weights="cifar10")
    x = model.preprocessing.normalize(cifar(shared_data)[0][:50], "channels_last")
    a, b = (str(tmp_path / name) for name in ("a.tflite", "b.tflite"))
    to_tflite(model, a)
    to_tflite(model, b, "int8", x)
    assert cli.main(["verify", a, b, "--count", "40"]) == 0
    said = capsys.readouterr().out
    assert "synthetic images in mode 'cifar'" in said
    assert "within the tolerance of int8" in said
    for path in (a, b):
        passport.path_of(path).unlink()
    assert cli.main(["verify", a, b, "--count", "4"]) == 0
    said = capsys.readouterr().out
    assert (
        "noise, since no passport records" in said and "no tolerance is checked" in said
    )


def test_synthetic_images():
    """Of the statistics of photos; the same for the same seed; of any size."""
    made = synthetic.images((48, 40, 3), count=200)
    assert made.shape == (200, 48, 40, 3) and made.dtype == np.uint8
    np.testing.assert_array_equal(made[:2], synthetic.images((48, 40, 3), count=2))
    assert 110 < made.mean() < 130 and 45 < made.std() < 65
    steps = np.diff(made.astype("float64"), axis=1).std()
    # White noise has 1.41.
    assert steps < 0.8 * made.std()
    assert synthetic.images((1, 1, 3)).shape == (4, 1, 1, 3)
    # Where the preprocessing is known, every format is compared on such.
    wanted = keras_resnets.Preprocessing("torch", SHAPE[:2])
    given = samples.default_images(SHAPE, None, wanted)
    np.testing.assert_array_equal(wanted.pixels(given), synthetic.images(SHAPE))


@pytest.mark.costly
def test_the_layer_that_loses_most_is_found(tmp_path):
    """The integer file has other weights in one convolution."""
    model = small_model("basic_original", input_shape=SHAPE)
    pictures = noise(8, *SHAPE)
    random_weights.settle(model, pictures)
    (tmp_path / "a.tflite").write_bytes(tflite.convert(session.make_ready(model)))
    layer = model.get_layer("stage2_block1_conv1")
    layer.kernel.assign(np.roll(np.array(layer.kernel), 1, axis=0))
    ready = session.make_ready(model, "int8", pictures)
    content = tflite.convert(ready, "int8")
    (tmp_path / "b.tflite").write_bytes(content)
    losses = verify.layer_losses(
        tmp_path / "a.tflite", tmp_path / "b.tflite", pictures[:2]
    )
    assert losses[0].name == "stem_act" and losses[-1].name == "output"
    most = max(losses, key=lambda loss: loss.lost)
    assert most.name == "stage2_block1_act1" and most.lost > 10
    other = tflite.convert(session.make_ready(keras_resnets.ResNet8()))
    (tmp_path / "c.tflite").write_bytes(other)
    with pytest.raises(InvalidArgument, match="files of the same network"):
        verify.layer_losses(tmp_path / "a.tflite", tmp_path / "c.tflite", pictures[:1])


def test_passports(files):
    folder, _ = files
    known = passport.read(folder / "b.tflite")
    assert known["model"] == "resnet8" and known["quantize"] == "int8"
    assert known["recipe"]["calibration_images"] == 12
    assert known["architecture"]["depths"] == [1, 1, 1]
    assert known["preprocessing"]["mode"] == "raw"
    assert known["size"] == (folder / "b.tflite").stat().st_size
    assert known["operators"]["CONV_2D"] == 9
    assert known["parity"]["logits"]["sqnr"] > 20
    assert known["versions"]["keras_resnets"] == keras_resnets.__version__
    assert passport.read(folder / "d")["format"] == "saved_model"
    assert passport.read(folder / "e.keras") is None


def test_passports_of_other_files(files, tmp_path):
    folder, _ = files
    for name in ("a.tflite", "a.tflite.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    passport.read(tmp_path / "a.tflite")
    content = (folder / "b.tflite").read_bytes()
    (tmp_path / "a.tflite").write_bytes(content)
    with pytest.raises(InvalidArgument, match="of another file"):
        passport.read(tmp_path / "a.tflite")
    (tmp_path / "a.tflite.json").write_text("{}")
    with pytest.raises(InvalidArgument, match="not a passport"):
        passport.read(tmp_path / "a.tflite")


def test_a_file_under_the_passports_name_is_not_lost(tmp_path):
    (tmp_path / "a.tflite.json").write_text('{"mine": 1}')
    with pytest.raises(InvalidArgument, match="a.tflite.json is not a passport"):
        to_tflite(keras_resnets.create_model("resnet8"), tmp_path / "a.tflite")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tflite.json"]
    assert (tmp_path / "a.tflite.json").read_text() == '{"mine": 1}'


def test_weights_in_the_passport(shared_data, tmp_path):
    weights = shared_data / "checkpoints" / "resnet20-12fca82f.th"
    model = keras_resnets.create_model("resnet20", weights=weights)
    to_tflite(model, tmp_path / "a.tflite")
    known = passport.read(tmp_path / "a.tflite")
    assert known["weights"] == "resnet20-12fca82f.th" and known["labels"] == "cifar10"
    assert known["architecture"]["identity_pad_position"] == "both"


def test_inspection(files, tmp_path):
    folder, _ = files
    found = inspection.inspect(folder / "b.tflite")
    assert (found.format, found.inputs[0].name) == ("tflite", "image")
    assert found.inputs[0].dtype == "int8" and found.inputs[0].scale > 0
    assert found.outputs[0] == contents.Port(
        "predictions", (1, 10), "int8", 1 / 256, -128
    )
    found = inspection.inspect(folder / "c.onnx")
    assert found.inputs == (contents.Port("image", (3, 3, 32, 32), "float32"),)
    assert found.operators["Conv"] == 9
    found = inspection.inspect(folder / "d")
    assert found.outputs == (contents.Port("predictions", (None, 10), "float32"),)
    for name, content in (("x.tflite", b"TFL3" * 9), ("x.onnx", b"\xff" * 40)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidArgument, match="cannot be read"):
            inspection.inspect(tmp_path / name)
        with pytest.raises(InvalidArgument, match="cannot be read"):
            open_runner(tmp_path / name)
    (tmp_path / "x.txt").write_text("no model")
    for name, message in (
        ("x.txt", "must be a .tflite"),
        ("missing.onnx", "there is no file or folder"),
        (".", "a folder without a saved_model.pb"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            inspection.inspect(tmp_path / name)


@pytest.mark.costly
def test_benchmark(files, tmp_path):
    folder, _ = files
    found = benchmark.benchmark(
        [folder / name for name in ("a.tflite", "c.onnx", "d")],
        threads=1,
        runs=4,
        rounds=2,
    )
    assert [timing.batch for timing in found] == [1, 3, 1]
    for timing in found:
        assert 0 < timing.median <= timing.p95 and timing.load > 0
        assert timing.memory >= 0 and timing.size > 10_000
        # Where the memory of this process, which is far larger, is not counted.
        assert timing.memory > timing.size or sys.platform != "linux"
        assert timing.throughput == timing.batch / timing.median
    (tmp_path / "x.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(InvalidArgument, match="x.onnx cannot be read"):
        benchmark.benchmark([tmp_path / "x.onnx"], runs=1)


def test_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    timings = [
        benchmark.Timing("a.tflite", 0.002, 0.003, 1, 0.1, 10**6, 10**6),
        benchmark.Timing("b.onnx", 0.001, 0.0015, 1, 0.1, 10**6, 10**6),
    ]
    benchmark.plot(timings, tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").width > 500


def test_commands(files, tmp_path, capsys):
    folder, _ = files
    a, b, c, d = (folder / name for name in NAMES[:4])
    code, out, _ = run("inspect", b, capsys=capsys)
    assert code == 0 and "model      resnet8" in out and "1 x 32 x 32 x 3" in out
    code, out, _ = run("inspect", b, "--json", capsys=capsys)
    assert json.loads(out)["passport"]["quantize"] == "int8"
    code, out, _ = run("verify", a, c, capsys=capsys)
    assert code == 0 and "within the tolerance of float32" in out
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("uint8")
    np.savez(tmp_path / "a.npz", x_test=pixels, y_test=np.arange(4))
    words = ("verify", a, folder / "dim.tflite", "--data", tmp_path / "a.npz")
    page = tmp_path / "v.html"
    code, out, err = run(*words, "--layers", "--report", page, capsys=capsys)
    # Its result stands, though it is a bad one.
    told = (
        "Not good enough",
        "Error of each layer of the integer file",
        "Images on which A",
    )
    reported(page, *told, "Top-1 accuracy", 'class="verdict bad"')
    # Calibrated with dim images, shown bright ones: the verdict is that it differs.
    assert (
        code == 1
        and "differ by more than the tolerance of int8" in err
        and "loses most" in out
    )
    code, out, _ = run("benchmark", a, b, "--runs", 2, capsys=capsys)
    assert code == 0 and "a.tflite" in out and "1.00x" in out


def test_commands_refuse(files, tmp_path, capsys):
    folder, _ = files
    a, keras_file = folder / "a.tflite", folder / "e.keras"
    for words, message in (
        (["verify", a, tmp_path / "b.tflite"], "there is no file or folder"),
        (["verify", keras_file, keras_file, "--data", tmp_path], "give --mode"),
        (["verify", a, a, "--data", tmp_path], "contains no images"),
        (["verify", a, a, "--count", "0"], "--count: must be"),
        (["benchmark", tmp_path / "b.onnx"], "there is no file or folder"),
        (["benchmark", a, "--runs", "0"], "--runs: must be"),
        (["inspect", tmp_path], "a folder without a saved_model.pb"),
    ):
        code, _, err = run(*words, capsys=capsys)
        assert code == 2 and message in err and err.count("\n") == 1, (words, err)


def test_weights_that_are_no_numbers(tmp_path):
    """The layer is named, and nothing is written."""
    model = keras_resnets.create_model("resnet8")
    kernel = np.array(model.get_layer("stage2_block1_conv1").kernel)
    kernel[0, 0, 0, 0] = np.nan
    model.get_layer("stage2_block1_conv1").kernel.assign(kernel)
    for write, name in ((to_tflite, "a.tflite"), (to_onnx, "a.onnx")):
        with pytest.raises(InvalidArgument, match="stage2_block1_conv1/kernel of resn"):
            write(model, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_filling_up_batches(files):
    folder, pictures = files
    found = open_runner(folder / "c.onnx")(pictures)
    assert found.shape == (12, 10)
