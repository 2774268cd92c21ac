"""Targets of phones: LiteRT's GPU accelerator, MediaPipe's ImageClassifier."""

import dataclasses
import json
import zipfile

import pytest
from quantized import TRAINED
from quantized import cifar

import keras_resnets
from keras_resnets.deploy import deploy
from keras_resnets.deploy import option_checks
from keras_resnets.deploy import targets
from keras_resnets.deploy.toolchains import gpu_tools
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export.tflite import runner as tflite_runner

GPU, ANDROID = targets.find("gpu"), targets.find("android")


@pytest.mark.parametrize(
    ("name", "recipe", "io_dtype", "words"),
    [
        ("gpu", "static_wi8_ai16", None, "refuses it or crashes"),
        ("gpu", "dynamic_wi8", None, "in floats"),
        ("gpu", "static_wi8_ai8", "int8", "io_dtype of gpu"),
        ("android", "static_wi8_ai8", "int8", "io_dtype of android"),
        ("ios", "dynamic_wi8", None, "recipe of ios"),
    ],
)
def test_refused(name, recipe, io_dtype, words):
    target = targets.find(name)
    with pytest.raises(InvalidArgument, match=words):
        option_checks.check_io(
            target, option_checks.check_recipe(target, recipe), io_dtype
        )


def test_what_is_missing_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_RESNETS_MEDIAPIPE_PYTHON", raising=False)
    assert "pip install mediapipe==" in ANDROID.missing()
    monkeypatch.delenv("VK_ICD_FILENAMES", raising=False)
    monkeypatch.setattr(gpu_tools, "_SWIFTSHADER", ())
    assert "apt install chromium" in GPU.missing()
    (tmp_path / "a.json").write_text("{}")
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "a.json"))
    assert GPU.missing() is None
    # A driver that is named is taken.
    assert gpu_tools.environment("/scratch").keys() == {"XDG_RUNTIME_DIR"}


def deployed(name, target, folder, data, **options):
    model = keras_resnets.create_model(name, weights="cifar10")
    pixels, _ = cifar(data, count=100)
    images = model.preprocessing.batch(pixels.astype("float32"), "channels_last")
    (made,) = deploy(model, target, folder, images, compare=20, **options)
    return made


@pytest.mark.costly
@pytest.mark.skipif(GPU.missing() is not None, reason=str(GPU.missing()))
@pytest.mark.parametrize("name", ["wrn_10_3_w8", "drn_a_14"])
def test_strided_int8_on_the_accelerator(name, shared_data, tmp_path, monkeypatch):
    """Right as the target writes it; as the converter does, it is refused."""
    made = deployed(name, "gpu", tmp_path, shared_data, recipe="static_wi8_ai8")
    assert made.report["proven"] and made.report["outputs"]["other"] == 0
    content = (made.folder / "model.tflite").read_bytes()
    assert tflite_runner.operators(content)["MAX_POOL_2D"] > 0
    if name == "drn_a_14":
        row = dataclasses.replace(GPU, export=())
        monkeypatch.setitem(targets.TARGETS, "gpu", row)
        with pytest.raises(ExportError, match="within one rounding step"):
            deployed(name, "gpu", tmp_path / "b", shared_data, recipe="static_wi8_ai8")


@pytest.mark.slow
@pytest.mark.skipif(GPU.missing() is not None, reason=str(GPU.missing()))
@pytest.mark.parametrize("name", sorted(TRAINED.values()))
def test_float16_on_the_accelerator(name, shared_data, tmp_path):
    made = deployed(name, "gpu", tmp_path, shared_data)
    assert made.report["recipe"] == "float16" and made.report["outputs"]["other"] == 0


@pytest.mark.costly
@pytest.mark.skipif(ANDROID.missing() is not None, reason=str(ANDROID.missing()))
@pytest.mark.parametrize(
    "options",
    [{}, {"io_dtype": "float32"}, {"recipe": "float32"}, {"source": (240, 320)}],
    ids=str,
)
def test_mediapipe(options, shared_data, tmp_path):
    made = deployed("resnet20", "android", tmp_path, shared_data, **options)
    assert made.report["proven"] and made.report["outputs"]["other"] == 0
    assert made.report["takes_pixels"]
    with zipfile.ZipFile(made.folder / "model.tflite") as archive:
        labels = archive.read("labels.txt").decode().splitlines()
    assert labels == (made.folder / "labels.txt").read_text().splitlines()
    report = json.loads((made.folder / "report.json").read_text())
    assert report["target"] == "android" and "mediapipe" in report["proof"]
    assert report["agreement"] >= 0.9


@pytest.mark.costly
@pytest.mark.skipif(ANDROID.missing() is not None, reason=str(ANDROID.missing()))
def test_mediapipe_takes_no_float_file_without_metadata(
    shared_data, tmp_path, monkeypatch
):
    """Why the targets of MediaPipe have it."""
    row = dataclasses.replace(ANDROID, export=(), pixels=False)
    monkeypatch.setitem(targets.TARGETS, "android", row)
    with pytest.raises(ExportError, match="MediaPipe failed on the float32 file"):
        deployed("resnet20", "android", tmp_path / "a", shared_data, recipe="float32")
    assert not (tmp_path / "a").exists()
