"""`keras-resnets quantize`, `sensitivity` and `prune`, and the example of compression."""

import json
import pathlib
import shutil
import warnings

import keras
import numpy as np
import pytest
from commands import refused
from commands import reported
from commands import run
from commands import run_example
from PIL import Image
from quantized import cifar
from quantized import logits_of

import keras_resnets
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import parity
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.quantization import LayerBits
from keras_resnets.quantization import PrecisionPlan
from keras_resnets.quantization.ranges import DeadTensors
from keras_resnets.quantization.rounding.kernels import FewWindows


@pytest.fixture(scope="module")
def network(tmp_path_factory, shared_data):
    """A folder with CIFAR pictures and a file of a small network's weights."""
    folder = tmp_path_factory.mktemp("network")
    pixels, labels = cifar(shared_data)
    np.savez(
        folder / "data.npz",
        x_train=pixels[:300],
        y_train=labels[:300],
        x_test=pixels[300:500],
        y_test=labels[300:500],
    )
    # The seeds of single tests come later than this fixture.
    keras.utils.set_random_seed(7)
    model = keras_resnets.create_model("resnet8", bn_momentum=0.9)
    x = model.preprocessing.normalize(pixels[:300], "channels_last")
    model.compile(keras.optimizers.SGD(0.01, 0.9), "sparse_categorical_crossentropy")
    model.fit(x, labels[:300], batch_size=10, epochs=2, verbose=0)
    model.save_weights(folder / "net.weights.h5")
    return folder, model, pixels


@pytest.fixture
def trained(network, tmp_path, monkeypatch):
    """Both files in the working folder; the network and the pictures."""
    folder, model, pixels = network
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return model, pixels


@pytest.mark.costly_but("sensitivity")
@pytest.mark.parametrize(
    ("words", "function"),
    [
        (("deploy", "--target", "linux-x86", "--output", "out"), "deploy.deploy"),
        (("sensitivity",), "quantization.sensitivity"),
    ],
    ids=["deploy", "sensitivity"],
)
def test_warnings_of_the_rounding_are_notes(
    words, function, trained, capsys, monkeypatch
):
    """Not Python's lines with the path of a module."""
    from keras_resnets import deploy  # noqa: F401

    def warned(*_, **__):
        for kind in (FewWindows, DeadTensors):
            warnings.warn(f"told by {kind.__name__}", kind, stacklevel=2)
        raise InvalidArgument("that is all")

    monkeypatch.setattr(f"keras_resnets.{function}", warned)
    network = ("resnet8", "--weights", "net.weights.h5", "--data", "data.npz")
    code, out, err = run(*words, *network, capsys=capsys)
    assert code == 2 and err == "keras-resnets: error: that is all\n"
    for kind in (FewWindows, DeadTensors):
        assert f"note: told by {kind.__name__}\n" in out


def test_quantize(trained, capsys):
    model, pixels = trained
    words = ["quantize", "resnet8", "--weights", "net.weights.h5", "--data", "data.npz"]
    more = ["--count", 50, "--evaluate", "data.npz", "--report", "q.html"]
    code, out, err = run(*words, *more, capsys=capsys)
    assert code == 0, err
    told = ("Parity with Keras", "Accuracy on 200", "disagree", "50 images of data.npz")
    reported(pathlib.Path("q.html"), *told, "SQNR", "size of the file")
    assert "calibration  50 images of data.npz" in out
    assert "measured     200 images: top-1" in out
    path = "resnet8_static_wi8_ai8.tflite"
    with open(f"{path}.json") as file:
        passport = json.load(file)["recipe"]
    assert passport["engine"] == "ranges" and passport["calibration"]["of"] == 300
    x = model.preprocessing.normalize(pixels[300:500], "channels_last")
    with open(path, "rb") as file:
        found = TFLiteRunner(file.read(), 2, logits=True)(x)
    expected = logits_of(model).predict(x, verbose=0)
    compared = parity.compare(expected, found)
    assert f"agreement {compared.top1:.2%}, logit RMSE {compared.rmse:.4f}" in out
    assert compared.rmse < 0.1
    assert "exists" in refused(*words, capsys=capsys)

    words[0] = "sensitivity"
    more = ["--count", 20, "--images", 5, "--report", "s.html"]
    code, out, _ = run(*words, *more, capsys=capsys)
    reported(pathlib.Path("s.html"), "stage1_block1_conv1", "largest error", "<svg")
    assert code == 0 and "stage1_block1_conv1 " in out and "weights" in out


@pytest.mark.parametrize(
    "words, command",
    [
        (["--sensitivity"], "sensitivity"),
        (["--max-drop", "0.2"], "search"),
        (["--held-out", "100"], "search"),
        (["--precisions", "int8,float"], "search"),
        (["--plot", "a.png"], "search"),
        (["--engine", "tfmot"], "qat"),
    ],
)
def test_what_has_a_command_of_its_own_names_it(words, command, capsys):
    line = refused("quantize", "resnet8", "--weights", "a.h5", *words, capsys=capsys)
    assert f"keras-resnets {command} MODEL" in line


@pytest.mark.costly
def test_what_goes_into_and_out_of_a_quantized_file(trained, capsys):
    """Pixels in, logits out, an open batch: and scored all the same."""
    model, pixels = trained
    words = ["quantize", "resnet8", "--weights", "net.weights.h5", "--data", "data.npz"]
    words += ["--count", 50, "--evaluate", "data.npz"]
    ends = ["--include-preprocessing", "--logits", "--batch", "dynamic"]
    code, out, err = run(*words, *ends, capsys=capsys)
    assert code == 0, err
    runner = TFLiteRunner("resnet8_static_wi8_ai8.tflite")
    assert runner.takes_pixels and runner.input_shape[0] is None
    found = runner(pixels[300:500])
    x = model.preprocessing.normalize(pixels[300:500], "channels_last")
    compared = parity.compare(logits_of(model).predict(x, verbose=0), found)
    assert compared.rmse < 0.1
    assert f"agreement {compared.top1:.2%}, logit RMSE {compared.rmse:.4f}" in out
    assert "--batch" in refused(*words, "--batch", 0, capsys=capsys)


def folder_of(pixels, folder):
    folder.mkdir(parents=True)
    for index, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{index}.png")


@pytest.mark.costly
def test_export_evaluates_and_has_methods(trained, tmp_path, capsys):
    model, pixels = trained
    folder_of(pixels[:40], tmp_path / "photos")
    words = ["--model", "resnet8", "--weights", "net.weights.h5"]
    x = model.preprocessing.normalize(pixels[300:500], "channels_last")
    expected = logits_of(model).predict(x, verbose=0)
    ranges = ["--quantize", "int8", "--calibration", "photos", "--overwrite"]
    found = {}
    for form, method in (
        ("tflite", "minmax"),
        ("tflite", "mse"),
        ("tflite", "percentile"),
        ("onnx", "minmax"),
        ("onnx", "percentile"),
    ):
        line = ["export", form, *words, *ranges, "--method", method]
        code, out, err = run(*line, "--evaluate", "data.npz", capsys=capsys)
        assert code == 0, err
        path = f"resnet8_int8.{form}"
        compared = parity.compare(expected, open_runner(path, logits=True)(x))
        assert f"agreement {compared.top1:.2%}, logit RMSE {compared.rmse:.4f}" in out
        with open(f"{path}.json") as file:
            assert json.load(file)["recipe"].get("method") in (method, None)
        found[form, method] = compared.rmse
    assert len(set(found.values())) == 5 and max(found.values()) < 0.2
    # Probabilities, since a SavedModel puts out nothing else; and pixels.
    line = ["export", "saved_model", *words, "--evaluate", "data.npz"]
    code, out, err = run(*line, capsys=capsys)
    assert code == 0 and "agreement 100.00%" in out, err


def test_options_of_export_that_do_not_apply(trained, capsys):
    words = ["--model", "resnet8"]
    own = [*words, "--weights", "net.weights.h5"]
    for line, message in (
        (["tflite", *words, "--evaluate", "data.npz"], "--evaluate requires --weights"),
        (
            ["tflite", *own, "--evaluate", "data.npz", "--features", "stage1"],
            "leave out --features",
        ),
        (
            ["tflite", *own, "--method", "mse"],
            "calibration method of int8 files; got",
        ),
        (["onnx", *own, "--method", "mse"], "--method must be one of 'minmax', 'perc"),
        (
            ["tflite", *own, "--method", "mean"],
            "--method must be one of 'mse', 'minmax'",
        ),
        (
            ["tflite", *own, "--io-dtype", "int8"],
            "of int8 files; got --recipe float32",
        ),
        (["tflite", *own, "--unpacked"], "arrangement of convolutions in int8 files"),
        (
            ["tflite", *own, "--per-tensor", "--quantize", "float16"],
            "--per-tensor applies",
        ),
        (["onnx", *own, "--reduce-range"], "range of the weights of int8 files"),
        (
            ["tflite", *own, "--calibration-count", 9],
            "number of images of --calibration",
        ),
        (["keras", *own, "--threads", 2], "unrecognized arguments: --threads 2"),
    ):
        assert message in refused("export", *line, capsys=capsys), line


def test_qat(trained, capsys):
    """Trained with rounding, its file scored; nothing is trained over a finished run."""
    words = ["qat", "wrn_10_3_w8", "--weights", "cifar10", "--data", "data.npz"]
    words += ["--count", 20, "--batch-size", 30, "--epochs", 1, "--validation", 0.3]
    more = ["--evaluate", "data.npz", "--report", "qat.html"]
    code, out, err = run(*words, *more, capsys=capsys)
    assert code == 0, err
    told = ("Curves of training", "held out", "Parity with Keras", "Accuracy on 200")
    reported(pathlib.Path("qat.html"), *told)
    assert "wrote        wrn_10_3_w8_static_wi8_ai8_qat.tflite" in out
    agreement = float(out.split("agreement ")[-1].split("%")[0])
    assert "measured     200 images" in out and agreement > 95
    with open("wrn_10_3_w8_static_wi8_ai8_qat.tflite.json") as file:
        recipe = json.load(file)["recipe"]
    told = (recipe["engine"], recipe["recipe"], recipe["made_of"])
    assert told == ("quantize_aware", "static_wi8_ai8", "a quantization-aware model")
    with open("wrn_10_3_w8_static_wi8_ai8_qat/run.json") as file:
        record = json.load(file)
    assert record["status"] == "done" and record["recipe"]["temperature"] == 4.0
    assert "exists" in refused(*words, capsys=capsys)


@pytest.mark.costly
def test_qat_keeps_the_start_of_a_training_that_harms(trained, capsys):
    """Also when the finished run is resumed, which does not train it again."""
    words = ["qat", "resnet20", "--weights", "cifar10", "--data", "data.npz"]
    words += ["--count", 20, "--batch-size", 10, "--epochs", 1, "--validation", 0.3]
    words += ["--learning-rate", 0.03, "--evaluate", "data.npz"]
    code, out, err = run(*words, capsys=capsys)
    assert code == 0, err
    assert "note: training made resnet20 worse: " in out and "is kept" in out
    # That of the calibrated network, not of what was trained.
    assert float(out.split("agreement ")[-1].split("%")[0]) > 90
    code, out, err = run(*words, "--overwrite", "--resume", capsys=capsys)
    assert code == 0 and "there is nothing left" in out, err


def sparse_blocks(path):
    """The kernels of a file without their zeros: the indices of what is left."""
    tensors = file_editor.Editor(path.read_bytes()).graph.tensors
    rows = [x.sparsity.dimMetadata for x in tensors if x.sparsity]
    return [[y.arrayIndices.values.tolist() for y in x if y.arrayIndices] for x in rows]


@pytest.mark.costly
def test_qat_of_a_plan(trained, capsys):
    """The file has the plan beside it; a resumed run keeps the zeros of the first."""
    bits = {"stage2_block1_conv2": LayerBits(8, 8, 0.75)}
    bits["stage3_block1_conv1"] = LayerBits(4, 8)
    plan = PrecisionPlan("static_wi8_ai8", bits).with_rounding("second-order")
    pathlib.Path("my.json").write_text(plan.to_json())
    words = ["qat", "resnet8", "--weights", "net.weights.h5", "--data", "data.npz"]
    words += ["--plan", "my.json", "--count", 20, "--batch-size", 30, "--validation", 0]
    code, _, err = run(*words, "--epochs", 1, capsys=capsys)
    assert code == 0, err
    path = pathlib.Path("resnet8_static_wi8_ai8_mixed_qat.tflite")
    written = pathlib.Path(f"{path}.plan.json")
    assert PrecisionPlan.read(written) == plan
    recipe = json.loads(pathlib.Path(f"{path}.json").read_text())["recipe"]
    assert (recipe["recipe"], recipe["engine"]) == ("static_wi8_ai8", "quantize_aware")
    assert recipe["rounding"] == "second-order" and set(recipe["precisions"]) == set(
        bits
    )
    first, content = sparse_blocks(path), path.read_bytes()
    assert len(first) == 1 and first[0]
    code, _, err = run(*words, "--epochs", 2, "--resume", "--overwrite", capsys=capsys)
    assert code == 0, err
    assert sparse_blocks(path) == first and path.read_bytes() != content
    for other in (path, pathlib.Path(f"{path}.json")):
        other.unlink()
    written.write_text("mine")
    assert "plan.json exists" in refused(*words, "--run", "other", capsys=capsys)


@pytest.mark.costly
def test_qat_of_a_pruned_network_stores_no_zeros(trained, capsys):
    pruned = ["prune", "resnet8", "--weights", "net.weights.h5", "--pattern", "1x4"]
    code, _, err = run(
        *pruned, "--sparsity", 0.75, "--output", "pruned.keras", capsys=capsys
    )
    assert code == 0, err
    words = ["qat", "resnet8", "--weights", "pruned.keras", "--data", "data.npz"]
    words += ["--count", 20, "--batch-size", 30, "--epochs", 1, "--validation", 0]
    words += ["--output", "sparse.tflite", "--sparse"]
    assert "--sparse" in refused(
        *words[:6], "--sparse", "--engine", "tfmot", capsys=capsys
    )
    code, _, err = run(*words, capsys=capsys)
    assert code == 0, err
    blocks = sparse_blocks(pathlib.Path("sparse.tflite"))
    assert len(blocks) >= 2


def test_qat_refuses_data_of_other_classes(trained, capsys):
    _, pixels = trained
    for index in range(10):
        folder_of(pixels[index : index + 3], pathlib.Path(f"other/thing {index}"))
    words = ["qat", "resnet20", "--weights", "cifar10", "--data", "other"]
    line = refused(*words, "--validation", 0, capsys=capsys)
    assert "other classes than those of other" in line


def test_prune(trained, capsys):
    model, pixels = trained
    words = ["prune", "resnet8", "--weights", "net.weights.h5"]
    code, out, err = run(*words, "--shrink", 0.5, capsys=capsys)
    assert code == 0, err
    small = keras.saving.load_model("resnet8_pruned.keras")
    assert small.count_params() < 0.6 * model.count_params()
    assert f"{model.count_params():,}" in out and "12,501,632" in out
    code, _, err = run(
        *words, "--sparsity", 0.75, "--output", "sparse.keras", capsys=capsys
    )
    assert code == 0, err
    sparse = keras.saving.load_model("sparse.keras")
    kernel = np.array(sparse.get_layer("stage1_block1_conv1").kernel)
    assert (kernel == 0).mean() == pytest.approx(0.75, abs=0.01)
    sparsely = ["--sparsity", 0.75, "--pattern", "1x4", "--output", "sparse.tflite"]
    code, _, err = run(*words, *sparsely, capsys=capsys)
    assert code == 0, err
    # Of 312 kB in float32, without gzip.
    assert pathlib.Path("sparse.tflite").stat().st_size < 130_000
    shared = ["--sparsity", 0.5, "--pattern", "vw-2:4", "--output", "shared.tflite"]
    code, _, err = run(*words, *shared, capsys=capsys)
    assert code == 0, err
    assert pathlib.Path("shared.tflite").stat().st_size < 200_000
    halves = [*words, *shared[2:4], "--sparsity", 0.75, "--output", "new.keras"]
    assert "requires a sparsity of 0.5; got 0.75" in refused(*halves, capsys=capsys)
    assert "--sparsity" in refused(*words, capsys=capsys)
    onnx = ["--shrink", 0.5, "--output", "a.onnx"]
    assert ".tflite" in refused(*words, *onnx, capsys=capsys)
    both = ["--sparsity", 0.5, "--shrink", 0.5]
    assert "one of" in refused(*words, *both, capsys=capsys)
    assert "(0, 1)" in refused(*words, "--sparsity", 1, capsys=capsys)
    assert "pattern" in refused(
        *words, "--sparsity", 0.5, "--pattern", "4x4", capsys=capsys
    )


def test_bad_input_of_quantize(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["quantize", "resnet8", "--weights", "no.weights.h5"]
    assert "--data" in refused(*words, capsys=capsys)
    assert "did you mean" in refused(
        *words, "--recipe", "static_wi8_ai9", capsys=capsys
    )
    assert "engine" in refused(*words, "--engine", "own", capsys=capsys)
    assert "no.weights.h5" in refused(*words, "--data", "d.npz", capsys=capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_example(tmp_path):
    out = run_example("qat_cifar10.py", "--smoke", cwd=tmp_path)
    shares = [float(line.split("%")[0].split()[-1]) for line in out.splitlines()[-3:]]
    assert min(shares) > 95
    assert (tmp_path / "resnet8_aware.tflite").exists()
