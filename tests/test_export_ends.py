"""What goes in and what comes out: pixels, logits, features; and models of users."""

import json
import re

import forks
import keras
import numpy as np
import pytest
from helpers import ONE_UNIT
from helpers import noise
from helpers import outputs
from helpers import randomize
from helpers import small_model

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets import Preprocessing
from keras_resnets.cli import main as cli
from keras_resnets.export import passport
from keras_resnets.export import random_weights
from keras_resnets.export import signature
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import inspection
from keras_resnets.export.compare import verify
from keras_resnets.export.compare.open_runner import open_runner

SHAPE = (32, 32, 3)
ENDINGS = {
    to_tflite: ".tflite",
    to_onnx: ".onnx",
    to_saved_model: "",
    to_keras: ".keras",
}
WRITERS = list(ENDINGS)


def pixels(count=4, seed=0):
    """Reddish, so that the order of the channels matters."""
    drawn = np.random.default_rng(seed).integers(0, 256, (count, *SHAPE))
    return (drawn * (1, 0.6, 0.2)).astype("uint8")


@pytest.mark.costly_but(
    "to_tflite-dynamic-torch",
    "to_tflite-int8-caffe",
    "to_onnx-nchw-caffe",
    "to_keras--torch",
)
@pytest.mark.parametrize("mode", ["torch", "caffe"])
@pytest.mark.parametrize(
    "write, options",
    [
        (to_tflite, {"batch": "dynamic"}),
        (to_tflite, {"quantize": "int8"}),
        (to_tflite, {"quantize": "int16x8"}),
        (to_onnx, {"layout": "nchw"}),
        (to_onnx, {"quantize": "int8"}),
        (to_keras, {}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "-".join(value.values()),
)
def test_pixels(mode, write, options, tmp_path):
    """Against preprocessing outside the file, channel order included."""
    model = small_model("basic_original", input_shape=SHAPE, axes=ONE_UNIT)
    wanted = Preprocessing(mode, SHAPE[:2])
    given = wanted.normalize(pixels(16), "channels_last")
    random_weights.settle(model, given)
    path = tmp_path / f"a{ENDINGS[write]}"
    if "quantize" in options:
        options = {**options, "calibration": given}
    write(model, path, preprocessing=wanted, **options)
    runner = open_runner(path)
    (port,) = inspection.inspect(path).inputs
    if options.get("quantize") == "int16x8":
        assert port.dtype == "float32"
    else:
        assert port.dtype == "uint8" and runner.takes_pixels
        assert port.scale in (None, 1.0)
    found = runner(pixels(3, seed=5)[:1])
    expected = outputs(model, wanted.normalize(pixels(3, seed=5), "channels_last"))[:1]
    if "quantize" not in options:
        np.testing.assert_allclose(found, expected, atol=1e-5)
    else:
        assert np.abs(found - expected).max() < 0.1
        # The wrong channel order is further away than that.
        turned = pixels(3, seed=5)[..., ::-1]
        wrong = outputs(model, wanted.normalize(turned, "channels_last"))[:1]
        assert np.abs(found - expected).max() < 0.5 * np.abs(wrong - expected).max()


@pytest.mark.costly
def test_pixels_of_an_integer_file_are_its_integers(tmp_path):
    """No float operator, and no conversion, between the pixels and the network."""
    import onnx

    model = small_model("basic_original", input_shape=SHAPE)
    wanted = Preprocessing("torch", SHAPE[:2])
    options = {"calibration": wanted.normalize(pixels(8)), "preprocessing": wanted}
    report = to_tflite(model, tmp_path / "a.tflite", "int8", **options)
    assert not {"CAST", "DEQUANTIZE"} & set(report.operators)
    report = to_onnx(model, tmp_path / "a.onnx", "int8", layout="nchw", **options)
    graph = onnx.load(report.path).graph
    first = [node for node in graph.node if "image" in node.input]
    assert [node.op_type for node in first] == ["DequantizeLinear"]
    assert "Cast" not in report.operators


def test_preprocessing_that_does_not_fit(tmp_path):
    grey = small_model("basic_original", input_shape=(32, 32, 1))
    model = small_model("basic_original", input_shape=SHAPE)
    wanted = Preprocessing("torch", SHAPE[:2])
    for write, ending in ENDINGS.items():
        for network, given, message in (
            (
                grey,
                wanted,
                "network of 3 channels can include its preprocessing; this one has 1",
            ),
            (model, "torch", "must be a Preprocessing"),
        ):
            with pytest.raises(InvalidArgument, match=message):
                write(network, tmp_path / f"a{ending}", preprocessing=given)
    with pytest.raises(InvalidArgument, match="no preprocessing"):
        to_keras(model, tmp_path / "a.weights.h5", preprocessing=wanted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.costly_but("to_tflite", "to_saved_model")
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_logits(write, tmp_path):
    model = small_model("basic_original", input_shape=SHAPE, axes=ONE_UNIT)
    report = write(model, tmp_path / f"a{ENDINGS[write]}", logits=True)
    found = open_runner(report.path)(noise(1, *SHAPE))
    exponents = np.exp(found - found.max())
    expected = outputs(model, noise(1, *SHAPE))
    np.testing.assert_allclose(exponents / exponents.sum(), expected, atol=1e-5)
    assert [port.name for port in inspection.inspect(report.path).outputs] == ["logits"]
    assert passport.read(report.path)["recipe"]["logits"]
    with pytest.raises(InvalidArgument, match="has the outputs features"):
        headless = small_model("basic_original", input_shape=SHAPE, include_top=False)
        write(headless, tmp_path / f"b{ENDINGS[write]}", logits=True)


@pytest.mark.parametrize("classifier", ["softmax", "sigmoid", None])
@pytest.mark.parametrize("kind", ["basic_original", "darknet_plain"])
def test_logits_of_any_classifier(classifier, kind):
    options = {"input_shape": SHAPE, "classifier_activation": classifier}
    model = small_model(kind, **options)
    found = signature.select(model, logits=True)(noise(2, *SHAPE))["logits"]
    bare = small_model(kind, **{**options, "classifier_activation": None})
    np.testing.assert_allclose(found, outputs(bare, noise(2, *SHAPE)), atol=1e-5)


@pytest.mark.costly_but("to_tflite", "to_onnx")
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_features(write, tmp_path):
    """Two maps with their names, in the order of the file's own dimensions."""
    model = small_model("basic_full_preact", input_shape=SHAPE)
    names = ["stage1", "stage2"]
    report = write(model, tmp_path / f"a{ENDINGS[write]}", features=names)
    assert report.logits.relative_error <= 1e-4
    found = open_runner(report.path)(noise(1, *SHAPE))
    expected = keras_resnets.feature_extractor(model, names)(noise(1, *SHAPE))
    assert sorted(found) == names
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-3)
    ports = inspection.inspect(report.path).outputs
    assert sorted(port.name for port in ports) == names
    with pytest.raises(InvalidArgument, match="endpoint must be one of"):
        write(model, tmp_path / f"b{ENDINGS[write]}", features=["stage9"])
    with pytest.raises(InvalidArgument, match="one file"):
        write(model, tmp_path / f"b{ENDINGS[write]}", features=names, logits=True)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_features_channels_first(quantize, tmp_path):
    model = small_model("basic_original", input_shape=SHAPE)
    pictures = noise(8, *SHAPE)
    random_weights.settle(model, pictures)
    options = {"layout": "nchw", "features": ["stage1", "stage2"]}
    report = to_onnx(
        model, tmp_path / "a.onnx", quantize, calibration=pictures, **options
    )
    assert "Transpose" not in report.operators
    shapes = {p.name: p.shape for p in inspection.inspect(report.path).outputs}
    assert shapes == {"stage1": (1, 8, 32, 32), "stage2": (1, 16, 16, 16)}
    assert open_runner(report.path)(pictures[:1])["stage2"].shape == (1, 16, 16, 16)


@pytest.mark.costly
def test_open_batch(tmp_path):
    model = small_model("grouped", input_shape=SHAPE)
    pictures = noise(6, *SHAPE)
    random_weights.settle(model, pictures)
    for quantize in ("none", "int8"):
        report = to_tflite(
            model,
            tmp_path / f"{quantize}.tflite",
            quantize,
            calibration=pictures,
            batch="dynamic",
        )
        assert report.input_shape == (None, *SHAPE)
        runner = open_runner(report.path)
        together, alone = runner(pictures), [runner(p[None])[0] for p in pictures]
        near = {"none": 1e-6, "int8": 0.01}[quantize]
        np.testing.assert_allclose(together, alone, atol=near)
    np.testing.assert_allclose(
        open_runner(tmp_path / "none.tflite")(pictures),
        outputs(model, pictures),
        atol=1e-5,
    )


def fine_tuned():
    """A new head on a trunk, trained for a step in mixed precision."""
    trunk = small_model(
        "grouped", input_shape=SHAPE, axes=ONE_UNIT, dtype="mixed_float16"
    )
    model = keras_resnets.replace_head(trunk, 4, dropout_rate=0.2)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(noise(8, *SHAPE), np.arange(8) % 4, verbose=0)
    return model


def sequential_around():
    backbone = small_model(
        "basic_original", input_shape=SHAPE, axes=ONE_UNIT, include_top=False
    )
    pool, dense = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)
    return randomize(keras.Sequential([keras.Input(SHAPE), backbone, pool, dense]))


def functional_around():
    """The whole network inside, its softmax last; augmentation and scaling in front."""
    inner = small_model("bottleneck_full_preact", input_shape=SHAPE, axes=ONE_UNIT)
    image = keras.Input(SHAPE)
    x = keras.layers.RandomFlip()(image)
    x = keras.layers.Rescaling(1 / 2, 0.1)(x)
    return keras.Model(image, inner(x), name="around")


def nested_twice():
    inner = small_model(
        "shortcut_a",
        input_shape=SHAPE,
        axes=ONE_UNIT,
        include_top=False,
        dtype="mixed_bfloat16",
    )
    middle = keras.Sequential([keras.Input(SHAPE), inner], name="middle")
    image = keras.Input(SHAPE)
    x = keras.layers.GlobalMaxPooling2D()(middle(image))
    x = keras.layers.Dense(4, activation="softmax", dtype="float32")(x)
    return randomize(keras.Model(image, x, name="outer"))


@pytest.mark.costly
@pytest.mark.parametrize(
    "make", [fine_tuned, sequential_around, functional_around, nested_twice]
)
def test_models_of_users(make, tmp_path):
    """In every format, as integers too, and with the classifier's softmax left out."""
    model = make()
    pictures = noise(6, *SHAPE)
    for write, ending in ENDINGS.items():
        report = write(model, tmp_path / f"a{ending}", images=pictures)
        assert report.outputs.max_error <= 1e-4
        # Nobody can look in front of the softmax of a SavedModel.
        assert report.logits is not None or write is to_saved_model
        assert (report.logits or report.outputs).relative_error <= 1e-4
    for write in (to_tflite, to_onnx):
        path = tmp_path / f"b{ENDINGS[write]}"
        report = write(model, path, "int8", calibration=pictures)
        assert report.logits.sqnr > 15
    report = to_onnx(model, tmp_path / "c.onnx", logits=True)
    (port,) = inspection.inspect(report.path).outputs
    assert port.name == "logits" and "Softmax" not in report.operators


def test_models_that_cannot_be_exported(tmp_path):
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    own = Own()
    own(noise(1, *SHAPE))
    with pytest.raises(InvalidArgument, match="subclassed Own: use keras.Model"):
        to_onnx(own, tmp_path / "a.onnx")
    first = small_model(
        "basic_original", input_shape=(3, 32, 32), data_format="channels_first"
    )
    with pytest.raises(InvalidArgument, match="is channels_first"):
        to_tflite(first, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "write", [to_tflite, to_onnx], ids=lambda write: write.__name__
)
def test_an_operator_that_a_format_lacks(write, tmp_path):
    """The layer is named, wherever in the model it is."""
    import tensorflow as tf

    class Strange(keras.layers.Layer):
        def call(self, inputs):
            if write is to_onnx:
                return tf.math.lgamma(inputs)
            return tf.math.real(tf.complex(inputs, inputs))

    inner = keras.Sequential([keras.Input((8, 8, 4)), Strange(name="strange_7")])
    image = keras.Input((8, 8, 3))
    x = inner(keras.layers.Conv2D(4, 3, padding="same")(image))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x), name="mine")
    with pytest.raises(
        keras_resnets.ExportError, match=r"\(layer strange_7\)"
    ) as caught:
        write(model, tmp_path / f"a{ENDINGS[write]}")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


ALONE = """
import sys, keras, numpy as np
pictures = np.load("pictures.npy")
for kind in sys.argv[1:]:
    model = keras.saving.load_model(f"{kind}.keras")
    np.save(f"{kind}.npy", model.predict(pictures, verbose=0))
assert not any(name.startswith("keras_resnets") for name in sys.modules)
"""


@pytest.mark.costly
def test_keras_files_alone(tmp_path):
    """They load, and say the same, where this package is not imported."""
    models = {
        "shortcut_a_both": small_model("shortcut_a_both", input_shape=SHAPE),
        "dead_projection": small_model("dead_projection", input_shape=SHAPE),
        "grouped": small_model(
            "grouped", input_shape=SHAPE, axes={"drop_path_rate": 0.2}
        ),
    }
    for kind, model in models.items():
        to_keras(model, tmp_path / f"{kind}.keras")
    np.save(tmp_path / "pictures.npy", noise(2, *SHAPE))
    (tmp_path / "alone.py").write_text(ALONE)
    done = forks.run_script(tmp_path / "alone.py", *models, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for kind, model in models.items():
        found = np.load(tmp_path / f"{kind}.npy")
        np.testing.assert_allclose(found, outputs(model, noise(2, *SHAPE)), atol=1e-5)
        loaded = keras.saving.load_model(tmp_path / f"{kind}.keras")
        dropped = [x for x in loaded.layers if isinstance(x, keras.layers.Dropout)]
        assert bool(dropped) == (kind == "grouped")
        for layer in dropped:
            assert tuple(layer.noise_shape) == (None, 1, 1, 1)


@pytest.mark.costly
def test_weights_file(tmp_path):
    model = small_model("dead_projection", input_shape=SHAPE)
    to_keras(model, tmp_path / "a.weights.h5")
    other = small_model("dead_projection", input_shape=SHAPE, seed=1)
    other.load_weights(tmp_path / "a.weights.h5")
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(InvalidArgument, match=r"end in .keras or .weights.h5"):
        to_keras(model, tmp_path / "a.h5")


@pytest.fixture
def three_files(tmp_path):
    """One network: as it is, behind its preprocessing, and that as int16x8."""
    model = keras_resnets.create_model("resnet8")
    wanted = Preprocessing("cifar", SHAPE[:2])
    model.preprocessing = wanted
    pictures = wanted.normalize(pixels(8), "channels_last")
    random_weights.settle(model, pictures)
    to_tflite(model, tmp_path / "a.tflite")
    to_onnx(model, tmp_path / "b.onnx", preprocessing=wanted)
    options = {"calibration": pictures, "preprocessing": wanted}
    to_tflite(model, tmp_path / "c.tflite", "int16x8", **options)
    return tmp_path, wanted, pictures


@pytest.mark.costly
def test_verify_knows_who_takes_pixels(three_files, capsys):
    folder, wanted, pictures = three_files
    a, b, c = folder / "a.tflite", folder / "b.onnx", folder / "c.tflite"
    np.savez(folder / "d.npz", x_test=pixels(8), y_test=np.arange(8))
    for second in (b, c):
        found = verify.verify(a, second, [pictures], preprocessing=wanted)
        assert found.logits.sqnr > 30
        with pytest.raises(InvalidArgument, match="takes pixels"):
            verify.verify(a, second, [pictures])
        words = ["verify", a, second, "--data", folder / "d.npz"]
        assert cli.main(list(map(str, words))) == 0
        assert "within the tolerance" in capsys.readouterr().out
    assert verify.layer_losses(a, c, pictures[:1], wanted)[-1].sqnr > 20


def run(*words, capsys):
    code = cli.main(["export", *map(str, words)])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, shown.out, shown.err


@pytest.mark.costly
def test_options_of_the_command(photos, tmp_path, capsys):
    model = ("--model", "resnet8")
    path = tmp_path / "a.onnx"
    words = ("--output", path, "--logits", "--include-preprocessing")
    photo = ("--predict", next(photos.iterdir()))
    code, out, _ = run("onnx", *model, *words, *photo, capsys=capsys)
    assert code == 0 and "top five" in out
    numbers = re.findall(r"-?\d+\.\d{4}", out.partition("top five")[2])
    # Keras' logits and the file's, side by side.
    assert len(numbers) == 10 and numbers[::2] == numbers[1::2]
    assert inspection.inspect(path).inputs[0].dtype == "uint8"
    path = tmp_path / "a.keras"
    code, out, _ = run(
        "keras", *model, "--output", path, "--features", "stage1,stage3", capsys=capsys
    )
    assert code == 0 and json.loads((tmp_path / "a.keras.json").read_text())["recipe"][
        "features"
    ] == ["stage1", "stage3"]
    code, _, err = run(
        "tflite", *model, "--features", "stage1", "--logits", capsys=capsys
    )
    assert code == 2 and "leave out --logits" in err
    code, _, err = run(
        "tflite",
        *model,
        "--output",
        tmp_path / "b.tflite",
        "--features",
        "stag1",
        capsys=capsys,
    )
    assert code == 2 and "did you mean 'stage1'" in err
    code, _, err = run("keras", *model, "--output", tmp_path / "b.h5", capsys=capsys)
    assert code == 2 and "must end in .keras" in err
