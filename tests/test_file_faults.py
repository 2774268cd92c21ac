"""Files that cannot be compared, run or read: one line each, and exit code 2."""

import json

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import small_model

from keras_resnets import InvalidArgument
from keras_resnets.cli import main as cli
from keras_resnets.export import passport
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import benchmark
from keras_resnets.export.compare.open_runner import open_runner


@keras.saving.register_keras_serializable("test_file_faults")
class Unknown(keras.layers.Layer):
    """A layer that is registered in this process, and in no other."""

    def call(self, inputs):
        return inputs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Whole files, damaged ones and those of other models, by name."""
    folder = tmp_path_factory.mktemp("faults")
    keras.utils.set_random_seed(7)
    small = small_model("basic_original", input_shape=(16, 16, 3))
    to_tflite(small, folder / "a.tflite")
    to_onnx(small, folder / "a.onnx")
    to_keras(small, folder / "a.keras")
    to_saved_model(small, folder / "saved")
    to_tflite(small, folder / "maps.tflite", features=["stage1", "stage2"])
    larger = small_model("basic_original", input_shape=(24, 24, 3))
    to_onnx(larger, folder / "larger.onnx")
    for name in ("a.tflite", "a.onnx", "a.keras"):
        content = (folder / name).read_bytes()
        (folder / f"cut_{name}").write_bytes(content[: len(content) // 3])
        (folder / f"empty_{name}").write_bytes(b"")
    two = [keras.Input((16, 16, 3), name=name) for name in "ab"]
    keras.Model(two, keras.layers.Add()(two)).save(folder / "two.keras")
    given = keras.Input((16, 16, 3))
    keras.Model(given, Unknown()(given)).save(folder / "unknown.keras")
    for name in ("no_variables", "cut_graph"):
        to_saved_model(small, folder / name)
        passport.path_of(folder / name).unlink()
    for file in (folder / "no_variables" / "variables").iterdir():
        file.unlink()
    graph = folder / "cut_graph" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:100])
    (folder / "folder").mkdir()
    (folder / "fails.tflite").write_bytes(failing())
    return folder


def failing():
    """A TFLite file of images that loads, and fails on every one."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 16, 16, 3), name="image")])
    def beyond(image):
        place = 10_000 + tf.cast(tf.reduce_sum(tf.abs(image)), tf.int32)
        return {"out": tf.gather(tf.reshape(image, (-1,)), place)[None]}

    made = tf.lite.TFLiteConverter.from_concrete_functions(
        [beyond.get_concrete_function()], beyond
    )
    return made.convert()


VERIFIED = (
    ("a.tflite larger.onnx", "a.tflite takes 16 x 16 x 3,"),
    ("larger.onnx a.keras", "larger.onnx takes 24 x 24 x 3,"),
    ("fails.tflite a.onnx", "fails.tflite fails on images of 16 x 16 x 3: gather"),
    ("a.tflite maps.tflite", "must have the same outputs"),
    ("maps.tflite saved", "must have the same outputs"),
    ("a.tflite a.keras --layers", "the layers of two .tflite files"),
    ("saved a.tflite --layers", "the layers of two .tflite files"),
    ("fails.tflite fails.tflite --layers", "fails.tflite fails on images"),
    (
        "a.tflite two.keras",
        "two.keras cannot be run: a file that is run on images must have one",
    ),
    ("a.tflite no_variables", "no_variables cannot be read as a SavedModel: "),
    ("a.tflite missing", "there is no file or folder"),
    ("folder a.tflite", "without a saved_model.pb"),
)
OPENED = (
    ("cut_a.tflite", "it points to byte"),
    ("cut_a.onnx", "bytes too late"),
    ("cut_a.keras", "is not a .keras file"),
    ("empty_a.tflite", "it is empty"),
    ("empty_a.onnx", "it is empty"),
    ("empty_a.keras", "is not a .keras file"),
    ("no_variables", "it has no variables/variables.index"),
    ("cut_graph", "bytes too late"),
    ("folder", "without a saved_model.pb"),
    ("missing.onnx", "there is no file or folder"),
)


def refused(files, *words, capsys):
    """The one line of a command that must refuse."""
    code = cli.main(
        [str(files / word) if (files / word).exists() else word for word in words]
    )
    line = capsys.readouterr().err
    assert code == 2 and line.count("\n") == 1, (words, line)
    return line


@pytest.mark.costly_but(
    "a.tflite larger.onnx",
    "larger.onnx a.keras",
    "fails.tflite a.onnx",
    "a.tflite maps.tflite",
    "fails.tflite fails.tflite --layers",
)
@pytest.mark.parametrize("words, said", VERIFIED)
def test_verify(words, said, files, capsys):
    line = refused(files, "verify", *words.split(), "--count", "2", capsys=capsys)
    assert said in line.replace(f"{files}/", "")


@pytest.mark.parametrize("name, said", OPENED)
def test_inspect_and_run(name, said, files, capsys):
    line = refused(files, "inspect", name, capsys=capsys)
    assert said in line and name in line
    with pytest.raises(InvalidArgument, match=name):
        open_runner(files / name)


@pytest.mark.costly
def test_benchmark(files, tmp_path, capsys):
    line = refused(files, "benchmark", "fails.tflite", "--runs", "2", capsys=capsys)
    assert "fails.tflite fails on images of 16 x 16 x 3: gather" in line
    line = refused(files, "benchmark", "unknown.keras", capsys=capsys)
    assert "registered nowhere: Unknown" in line
    # Before anything is timed.
    for option, name in (("--output", "a.json"), ("--plot", "a.png")):
        words = ("benchmark", "missing.onnx", option, str(tmp_path / "none" / name))
        assert "no folder" in refused(files, *words, capsys=capsys)


def test_few_runs_have_a_95th_percentile(files):
    (found,) = benchmark.benchmark([files / "a.tflite"], threads=1, runs=2)
    assert found.median <= found.p95


def test_images_of_another_size(files):
    for name in ("a.tflite", "a.onnx", "a.keras", "saved"):
        runner = open_runner(files / name)
        assert runner(noise(2, 16, 16, 3)).shape == (2, 10)
        with pytest.raises(InvalidArgument, match="takes images of 16 x 16 x 3; got 8"):
            runner(np.zeros((2, 8, 8, 3), "float32"))


def test_a_passport_without_what_is_read(files, capsys):
    place = passport.path_of(files / "a.onnx")
    whole = json.loads(place.read_text())
    try:
        place.write_text(json.dumps({"sha256": whole["sha256"], "format": "onnx"}))
        line = refused(files, "inspect", "a.onnx", capsys=capsys)
        assert "is not a passport: it lacks quantize, recipe" in line
    finally:
        place.write_text(json.dumps(whole))
