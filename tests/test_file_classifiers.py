"""`evaluate` and `predict` of exported files: what the runner says of the same images."""

import json
import pathlib

import keras
import numpy as np
import pytest
from commands import refused
from commands import run
from helpers import randomize
from PIL import Image

from keras_resnets import export
from keras_resnets.export import passport
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.models.creation import create_model

COUNT = 60
NAMES = tuple("ant bee cat dog elk fox gnu hen ibis jay".split())
WANTED = Preprocessing("tf", (32, 32), 1.0)


def network(**options):
    model = randomize(create_model("cifar_resnet8", input_shape=(32, 32, 3), **options))
    # Neither is the variant's own.
    model.preprocessing, model.labels = WANTED, NAMES
    return model


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 256, (COUNT, 8, 8, 3)).astype("uint8")
    return np.repeat(np.repeat(coarse, 4, 1), 4, 2)


@pytest.fixture(scope="module")
def files(images, tmp_path_factory):
    """The files, an .npz that half of the network's answers are right for, a photo."""
    folder, model = tmp_path_factory.mktemp("files"), network()
    ready = WANTED.normalize(images, "channels_last")
    calibration = {"quantize": "int8", "calibration": ready[:20]}
    pixels = {"preprocessing": WANTED}
    export.to_tflite(model, folder / "float.tflite", images=ready[:4])
    export.to_tflite(model, folder / "int8.tflite", **calibration)
    export.to_tflite(
        model, folder / "pixels.tflite", io_dtype="uint8", **calibration, **pixels
    )
    export.to_tflite(model, folder / "four.tflite", batch=4, logits=True)
    export.to_tflite(
        model,
        folder / "wide.tflite",
        quantize="int16x8",
        calibration=ready[:20],
        **pixels,
    )
    export.to_onnx(model, folder / "nchw.onnx", layout="nchw", batch="dynamic")
    export.to_onnx(model, folder / "pixels.onnx", **pixels)
    export.to_saved_model(model, folder / "saved")
    export.to_keras(model, folder / "stock.keras")
    answers = model.predict(ready, verbose=0)
    labels = np.where(np.arange(COUNT) % 2, answers.argmax(1), answers.argmin(1))
    np.savez(folder / "a.npz", x_test=images, y_test=labels)
    Image.fromarray(images[1]).save(folder / "one.png")
    return folder


ALL = (
    "float.tflite",
    "int8.tflite",
    "pixels.tflite",
    "four.tflite",
    "wide.tflite",
    "nchw.onnx",
    "pixels.onnx",
    "saved",
    "stock.keras",
)


@pytest.mark.costly_but(
    "float.tflite", "int8.tflite", "pixels.tflite", "nchw.onnx", "stock.keras"
)
@pytest.mark.parametrize("name", ALL)
def test_the_accuracy_is_the_runners(name, files, images, monkeypatch, capsys):
    monkeypatch.chdir(files)
    with np.load("a.npz") as file:
        labels = file["y_test"]
    given = WANTED.normalize(images, "channels_last")
    if name.startswith(("pixels", "wide")):
        given = images
    found = open_runner(files / name)(given)
    order = np.argsort(-found, axis=1, kind="stable")
    first = (order[:, 0] == labels).mean()
    five = (order[:, :5] == labels[:, None]).any(1).mean()
    assert 0.3 < first < 0.7
    code, out, err = run("evaluate", name, "--data", "a.npz", capsys=capsys)
    assert code == 0, err
    assert f"{name}: 60 images, top-1 {first:.2%}, top-5 {five:.2%}" in out


@pytest.mark.costly_but("float.tflite", "int8.tflite", "pixels.onnx")
@pytest.mark.parametrize("name", ALL)
def test_predictions_have_the_passports_names(name, files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    model = network()
    photo = np.asarray(Image.open("one.png"))
    answers = model.predict(WANTED.normalize(photo[None], "channels_last"), verbose=0)[
        0
    ]
    best = NAMES[int(answers.argmax())]
    code, out, err = run("predict", name, "one.png", capsys=capsys)
    assert code == 0, err
    first = out.splitlines()[1].split()
    # Logits too are shown as probabilities.
    assert first[0] == best
    assert abs(float(first[1].rstrip("%")) - 100 * answers.max()) < 12
    if "float" in name or "four" in name:
        assert first[1] == f"{answers.max():.2%}"


@pytest.mark.costly
def test_a_file_without_a_passport(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = (files / "float.tflite").read_bytes()
    pathlib.Path("bare.tflite").write_bytes(content)
    words = ["evaluate", "bare.tflite", "--data", files / "a.npz"]
    line = refused(*words, capsys=capsys)
    assert "give --mode torch, cifar" in line and "bare.tflite.json" in line
    _, told, _ = run("evaluate", files / "float.tflite", *words[2:], capsys=capsys)
    code, out, err = run(*words, "--mode", "tf", capsys=capsys)
    assert code == 0 and out.partition(":")[2] == told.partition(":")[2], err
    assert "mode must be one of" in refused(*words, "--mode", "tff", capsys=capsys)
    code, out, err = run(
        *["predict", "bare.tflite", files / "one.png", "--mode", "tf"],
        *["--labels", ",".join(NAMES)],
        capsys=capsys,
    )
    assert code == 0 and out.splitlines()[1].split()[0] in NAMES, err
    # Pixels need no mode.
    pathlib.Path("p.tflite").write_bytes((files / "pixels.tflite").read_bytes())
    _, told, _ = run("evaluate", files / "pixels.tflite", *words[2:], capsys=capsys)
    code, out, err = run("evaluate", "p.tflite", *words[2:], capsys=capsys)
    assert code == 0 and out.partition(":")[2] == told.partition(":")[2], err


@pytest.mark.costly
def test_a_keras_file_of_convert(files, tmp_path, monkeypatch, capsys):
    """Its notes are inside; there is no passport."""
    monkeypatch.chdir(tmp_path)
    convert = ["convert", "resnet20", "cifar10", "a.keras"]
    assert run(*convert, capsys=capsys)[0] == 0
    words = ["--data", files / "a.npz"]
    _, told, _ = run(
        "evaluate", "resnet20", "--weights", "cifar10", *words, capsys=capsys
    )
    code, out, err = run("evaluate", "a.keras", *words, capsys=capsys)
    assert code == 0 and out == told.replace("resnet20:", "a.keras:"), err


@pytest.mark.costly
def test_what_is_no_classifier(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = network()
    export.to_tflite(model, "maps.tflite", features=["stage1", "stage3"])
    export.to_tflite(
        create_model("cifar_resnet8", include_top=False, pooling="avg"),
        "pooled.tflite",
        input_size=(32, 32),
    )
    two = [keras.Input((8, 8, 3), name="a"), keras.Input((8, 8, 3), name="b")]
    joined = keras.layers.Flatten()(keras.layers.Add()(two))
    keras.Model(two, keras.layers.Dense(4)(joined)).save("two.keras")
    pathlib.Path("text.onnx").write_text("no graph")
    pathlib.Path("run").mkdir()
    pathlib.Path("run", "run.json").write_text("{}")
    for words, said in (
        (["maps.tflite"], "one output; maps.tflite has 2"),
        (["pooled.tflite", "--mode", "tf"], "outputs features"),
        (["two.keras", "--mode", "tf"], "one input; two.keras has 2: a, b"),
        (["text.onnx"], "cannot be read"),
        (["missing.tflite"], "there is no file"),
        ([files / "float.tflite", "--weights", "cifar10"], "leave out --weights"),
        ([files / "float.tflite", "--classes", "10"], "leave out --classes"),
        ([files / "float.tflite", "--input-size", "48"], "takes images of 32 x 32"),
        ([files / "float.tflite", "--labels", "a,b"], "labels must be one per class"),
        (["best.weights.h5"], "there is no file"),
        (["run"], "the run in run has no best.weights.h5 yet"),
        (["resnet20"], "--weights is required"),
        (
            ["resnet20", "--weights", "cifar10", "--mode", "tf"],
            "applies to exported files",
        ),
    ):
        line = refused("evaluate", *words, "--data", files / "a.npz", capsys=capsys)
        assert said in line, (words, line)


def test_labels_that_do_not_fit(files, tmp_path, monkeypatch, capsys):
    """A label that the file has no class for is refused, as of a network."""
    with np.load(files / "a.npz") as file:
        np.savez(tmp_path / "b.npz", x_test=file["x_test"], y_test=np.arange(COUNT))
    words = ["evaluate", files / "float.tflite", "--data", tmp_path / "b.npz"]
    assert "0..9" in refused(*words, capsys=capsys)


def test_a_passport_of_another_file(files, tmp_path, capsys):
    (tmp_path / "a.tflite").write_bytes((files / "float.tflite").read_bytes())
    facts = json.loads(passport.path_of(files / "int8.tflite").read_text())
    passport.path_of(tmp_path / "a.tflite").write_text(json.dumps(facts))
    words = ["evaluate", tmp_path / "a.tflite", "--data", files / "a.npz"]
    assert "passport of another file" in refused(*words, capsys=capsys)


def test_files_of_others_with_the_channels_first(tmp_path, monkeypatch, capsys):
    """Two classes: is the image redder than blue? By hand, as PyTorch's tools write."""
    import onnx
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    kernel = np.array([[1, 0], [0, 0], [0, 1]], "float32")

    @tf.function(input_signature=[tf.TensorSpec((1, 3, 16, 12), "float32")])
    def judge(x):
        return tf.reduce_mean(x, (2, 3)) @ kernel

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [judge.get_concrete_function()]
    )
    pathlib.Path("first.tflite").write_bytes(converter.convert())
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "kernel"], ["output"]),
        ],
        "judge",
        [helper.make_tensor_value_info("input", kind, ["batch", 3, "h", "w"])],
        [helper.make_tensor_value_info("output", kind, ["batch", 2])],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, "open.onnx")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 16, 12, 3)).astype("uint8")
    means = images.mean((1, 2))
    labels = (means[:, 2] > means[:, 0]).astype(int)
    labels[:3] = 1 - labels[:3]
    np.savez("a.npz", x_test=images, y_test=labels)
    words = ["--data", "a.npz", "--mode", "darknet"]
    code, out, err = run("evaluate", "first.tflite", *words, capsys=capsys)
    assert code == 0 and "30 images, top-1 90.00%" in out, err
    line = refused("evaluate", "open.onnx", *words, capsys=capsys)
    assert "is dynamic, and no passport" in line and "--input-size" in line
    words += ["--input-size", "16x12"]
    code, out, err = run("evaluate", "open.onnx", *words, capsys=capsys)
    assert code == 0 and "30 images, top-1 90.00%" in out, err
