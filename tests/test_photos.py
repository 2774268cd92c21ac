"""Files that take photos: the resize inside is Pillow's, the metadata MediaPipe's."""

import dataclasses
import json
import os
import pathlib
import subprocess
import zipfile

import commands
import numpy as np
import pytest
from helpers import ONE_UNIT
from helpers import random_photo
from helpers import small_model
from PIL import Image

import keras_resnets
from keras_resnets import quantization
from keras_resnets.deploy.workers import mediapipe_worker
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import to_tflite
from keras_resnets.export.tflite import metadata
from keras_resnets.export.tflite import source
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.images import labels
from keras_resnets.images import resampling
from keras_resnets.images.preprocessing import Preprocessing

WORKER = pathlib.Path(mediapipe_worker.__file__)
# A Python that has mediapipe, which wants other packages than TensorFlow.
MEDIAPIPE = os.environ.get("KERAS_RESNETS_MEDIAPIPE_PYTHON")
CIFAR = Preprocessing("cifar", (32, 32), crop_fraction=0.875)


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        ((480, 640), {}),
        ((61, 97), {"size": (24, 40)}),
        ((150, 90), {"interpolation": "bicubic"}),
        ((90, 151), {"interpolation": "lanczos", "crop_fraction": 1.0}),
        ((33, 47), {"interpolation": "nearest"}),
        ((20, 30), {"interpolation": "bicubic"}),
        ((2500, 33), {}),
        ((36, 36), {}),
        ((32, 32), {}),
        ((8, 1600), {}),
    ],
)
def test_the_resize_is_pillows(size, changes):
    wanted = dataclasses.replace(CIFAR, mode="raw", mean=None, std=None, **changes)
    photo = random_photo(*size)
    expected = wanted(photo)
    found = TFLiteRunner(source.alone(size, wanted))(np.asarray(photo)[None])[0]
    assert found.shape == expected.shape
    assert len(np.unique(expected)) > 50
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_weights_sum_to_one(interpolation):
    made = resampling.weights(100, 7, interpolation)
    np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-5)
    assert (made < 0).any() == (interpolation != "bilinear")
    # Twice as small as that: the filter reaches over the pixels that it skips.
    assert (made != 0).sum(axis=1).max() >= 2 * 100 // 7


@pytest.mark.parametrize(
    "quantize", ["none", pytest.param("int8", marks=pytest.mark.costly)]
)
def test_a_file_of_photos(quantize, tmp_path):
    """It answers as the network does of what `Preprocessing` makes of the photo."""
    model = small_model("basic_original", input_shape=(32, 32, 3), axes=ONE_UNIT)
    model.preprocessing = CIFAR
    photos = [CIFAR(random_photo(40, 50, seed)) for seed in range(16)]
    calibration = np.stack(photos) if quantize == "int8" else None
    given = {"preprocessing": CIFAR, "io_dtype": "uint8"}
    to_tflite(model, tmp_path / "a.tflite", quantize, calibration, **given)
    path = tmp_path / "b.tflite"
    size = (120, 200)
    report = to_tflite(model, path, quantize, calibration, source=size, **given)
    assert report.input_shape == (1, *size, 3)
    assert report.takes_pixels
    passport = json.loads((tmp_path / "b.tflite.json").read_text())
    assert passport["recipe"]["source"] == list(size)
    photo = random_photo(*size)
    given = np.asarray(photo)[None]
    pixels = TFLiteRunner(source.alone(size, CIFAR))(given)
    np.testing.assert_array_equal(pixels[0], CIFAR.pixels(CIFAR(photo)))
    expected = TFLiteRunner(tmp_path / "a.tflite")(pixels)
    np.testing.assert_allclose(TFLiteRunner(path)(given), expected, atol=1e-5)
    if quantize == "none":
        other = np.asarray(photo.resize((32, 32), Image.Resampling.NEAREST))[None]
        assert (
            np.abs(TFLiteRunner(tmp_path / "a.tflite")(other) - expected).max() > 0.01
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": (100, 100)}, "that is with preprocessing"),
        ({"metadata": True}, "that is with preprocessing"),
        ({"source": 100, "preprocessing": CIFAR}, "height, width"),
        ({"source": (0, 5), "preprocessing": CIFAR}, "source"),
        (
            {"source": (90, 90), "preprocessing": Preprocessing("cifar", (28, 28))},
            "the network's image size",
        ),
        (
            {
                "source": (90, 90),
                "preprocessing": Preprocessing("darknet", (32, 32), letterbox=True),
            },
            "letterbox",
        ),
    ],
)
def test_refused(options, words, tmp_path):
    model = small_model("basic_original", input_shape=(32, 32, 3), axes=ONE_UNIT)
    with pytest.raises(InvalidArgument, match=words):
        to_tflite(model, tmp_path / "a.tflite", **options)
    assert not list(tmp_path.iterdir())


def test_metadata(tmp_path):
    """Labels lie in the file as a zip member; the file runs, and its bytes repeat."""
    model = small_model("basic_original", input_shape=(32, 32, 3), axes=ONE_UNIT)
    names = tuple(f"kind {index}" for index in range(model.output_shape[-1]))
    model.labels = names
    path = tmp_path / "a.tflite"
    to_tflite(model, path, preprocessing=CIFAR, metadata=True)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [metadata.LABELS]
        assert archive.read(metadata.LABELS).decode().splitlines() == list(names)
    encoded = metadata.encoded(model.name, names)
    assert encoded[4:8] == b"M001"
    assert encoded in content
    to_tflite(model, tmp_path / "b.tflite", preprocessing=CIFAR, metadata=True)
    assert (tmp_path / "b.tflite").read_bytes() == content
    pixels = np.full((1, 32, 32, 3), 90, "uint8")
    assert TFLiteRunner(path)(pixels).shape == (1, len(names))


def classified(file, images, names, folder):
    """MediaPipe's scores."""
    np.savez(folder / "given.npz", images=images, labels=names)
    order = [MEDIAPIPE, "-P", WORKER, file, folder / "given.npz", folder / "made.npz"]
    subprocess.run(order, check=True, capture_output=True)
    with np.load(folder / "made.npz") as made:
        return made["scores"]


@pytest.mark.costly
@pytest.mark.skipif(not MEDIAPIPE, reason="no KERAS_RESNETS_MEDIAPIPE_PYTHON")
@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
def test_mediapipe_says_what_predict_says(recipe, shared_data, tmp_path):
    """Of the photos that it stretched before, and could not smooth."""
    model = keras_resnets.create_model("resnet20", weights="cifar10")
    wanted = model.preprocessing
    names = [name for _, name in labels.class_names(10, model.labels)]
    sheet = Image.open(shared_data / "cifar10" / "data_batch_1.png")
    cifar = np.asarray(sheet).reshape(-1, 32, 32, 3)[:100]
    for photo in ("horses", "person") if recipe == "float32" else ("horses",):
        image = Image.open(shared_data / "photos" / f"{photo}.jpg").convert("RGB")
        given = {"preprocessing": wanted, "metadata": True}
        given |= {"source": (image.height, image.width), "overwrite": True}
        path = tmp_path / "photos.tflite"
        if recipe == "float32":
            to_tflite(model, path, **given)
            expected = model.predict_on_batch(wanted(image)[None])[0]
        else:
            calibration = wanted.batch(cifar.astype("float32"), "channels_last")
            given["io_dtype"] = "uint8"
            quantization.quantize(model, path, recipe, calibration, **given)
            expected = TFLiteRunner(path)(np.asarray(image)[None])[0]
        scores = classified(path, np.asarray(image)[None], names, tmp_path)[0]
        assert scores.argmax() == expected.argmax()
        np.testing.assert_allclose(scores, expected, atol=0.02)


@pytest.mark.skipif(not MEDIAPIPE, reason="no KERAS_RESNETS_MEDIAPIPE_PYTHON")
def test_the_schemas_own_classes_read_it(tmp_path):
    """Google's generated reader, as MediaPipe ships it."""
    (tmp_path / "m").write_bytes(metadata.encoded("a network", ("one", "two")))
    script = """
import glob, sys, mediapipe, os
sys.path.insert(0, os.path.join(os.path.dirname(mediapipe.__file__), "tasks/metadata"))
import metadata_schema_py_generated as schema
found = schema.ModelMetadataT.InitFromObj(
    schema.ModelMetadata.GetRootAs(open(sys.argv[1], "rb").read(), 0))
graph = found.subgraphMetadata[0]
given, made = graph.inputTensorMetadata[0], graph.outputTensorMetadata[0]
unit = given.processUnits[0].options
assert found.name == b"a network" and found.minParserVersion == b"1.0.0"
assert given.content.contentProperties.colorSpace == schema.ColorSpaceType.RGB
assert isinstance(unit, schema.NormalizationOptionsT)
assert (list(unit.mean), list(unit.std)) == ([0.0], [1.0])
assert list(given.stats.max) == [255.0]
assert isinstance(made.content.contentProperties, schema.FeaturePropertiesT)
file = made.associatedFiles[0]
assert file.name == b"labels.txt"
assert file.type == schema.AssociatedFileType.TENSOR_AXIS_LABELS
print("all read")
"""
    order = [MEDIAPIPE, "-c", script, tmp_path / "m"]
    done = subprocess.run(order, capture_output=True, text=True, check=False)
    assert done.stdout == "all read\n", done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--source", "480"], "HEIGHTxWIDTH"),
        (["--source", "any"], "weights of its resize"),
        (["--source", "480x640"], "--include-preprocessing"),
        (["--metadata"], "--include-preprocessing"),
    ],
)
def test_options_that_are_refused(options, words, capsys):
    given = ["export", "tflite", "--model", "resnet20", *options]
    assert words in commands.refused(*given, capsys=capsys)
    given = [
        "quantize",
        "resnet20",
        "--weights",
        "cifar10",
        "--data",
        "x.npz",
        *options,
    ]
    assert words in commands.refused(*given, capsys=capsys)
