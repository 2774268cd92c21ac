"""Darknet's files: cut off behind the network, with another head, of detectors."""

import keras
import numpy as np
import pytest

from keras_resnets import WeightsError
from keras_resnets.models.creation import create_model
from keras_resnets.weights.assign import Chosen
from keras_resnets.weights.assign import NewChannels
from keras_resnets.weights.assign import NewHead

AXES = {
    "filters": (4, 8, 16, 32, 64),
    "stem_filters": 2,
    "input_shape": (64, 64, 3),
}
# Convolutions of yolov3.cfg behind DarkNet-53 at full width: inputs, outputs, kernel,
# whether BN follows; boxes have 3 x (5 + classes) outputs.
YOLOV3 = """
1024 512 1 bn / 512 1024 3 bn / 1024 512 1 bn / 512 1024 3 bn / 1024 512 1 bn
512 1024 3 bn / 1024 boxes 1 bias / 512 256 1 bn / 768 256 1 bn / 256 512 3 bn
512 256 1 bn / 256 512 3 bn / 512 256 1 bn / 256 512 3 bn / 512 boxes 1 bias
256 128 1 bn / 384 128 1 bn / 128 256 3 bn / 256 128 1 bn / 128 256 3 bn
256 128 1 bn / 128 256 3 bn / 256 boxes 1 bias
"""


def yolo_numbers(classes, width):
    """How many numbers the head of YOLOv3 has, at `width` of its channels."""
    total = 0
    for line in YOLOV3.strip().replace("\n", " / ").split(" / "):
        inputs, outputs, kernel, end = line.split()
        inputs = int(inputs) // width
        outputs = 3 * (5 + classes) if outputs == "boxes" else int(outputs) // width
        total += inputs * outputs * int(kernel) ** 2
        total += outputs * (4 if end == "bn" else 1)
    return total


@pytest.fixture(scope="module")
def files(shared_data, tmp_path_factory):
    """Bytes of a file of the real program, those of its network, and a folder."""
    content = (shared_data / "darknet" / "darknet53_w16.weights").read_bytes()
    head = 4 * 10 * (64 + 1)
    return content, content[:-head], tmp_path_factory.mktemp("darknet")


@pytest.fixture(scope="module")
def features(files):
    """What the whole file's network says before its classifier."""
    content, _, folder = files
    (folder / "whole.weights").write_bytes(content)
    model = create_model("darknet53", weights=folder / "whole.weights", **AXES)
    assert model.output_shape == (None, 10)
    body = keras.Model(model.inputs, model.get_layer("predictions").input)
    return np.asarray(body(IMAGES, training=False))


IMAGES = np.random.default_rng(0).random((2, 64, 64, 3)).astype("float32")


def body_of(path, **options):
    model = create_model(
        "darknet53", weights=path, include_top=False, pooling="avg", **AXES, **options
    )
    return np.asarray(model(IMAGES, training=False))


def test_yolo_at_full_width():
    """The published file has 248,007,048 bytes, a header of 20; DarkNet-53's rest."""
    classifier, body = 1000 * 1025, 41_645_640
    assert yolo_numbers(80, 1) == 248_007_028 // 4 - (body - classifier)


@pytest.mark.costly
def test_without_a_head(files, features):
    """`darknet53.conv.74` is no `.weights` by its name."""
    _, body, folder = files
    path = folder / "darknet53.conv.74"
    path.write_bytes(body)
    np.testing.assert_array_equal(body_of(path), features)
    np.testing.assert_array_equal(body_of(folder / "whole.weights"), features)
    with pytest.warns(NewHead, match="it has no classifier; the model's, with 3"):
        create_model("darknet53", weights=path, classes=3, **AXES)
    with pytest.warns(NewHead, match="its classifier has 10 classes; the model's, wi"):
        create_model("darknet53", weights=folder / "whole.weights", classes=3, **AXES)
    with pytest.raises(WeightsError, match="contains no classifier"):
        create_model("darknet53", weights=path, **AXES)


@pytest.mark.costly_but("80")
@pytest.mark.parametrize("classes", [80, 1])
def test_of_a_detector(files, features, classes):
    _, body, folder = files
    rest = np.random.default_rng(1).random(yolo_numbers(classes, 16), dtype="float32")
    path = folder / f"yolov3_{classes}.weights"
    path.write_bytes(body + rest.tobytes())
    said = f"the head of YOLOv3 of {classes} classes is ignored"
    with pytest.warns(Chosen, match=said):
        np.testing.assert_array_equal(body_of(path), features)
    path.write_bytes(body + rest.tobytes()[:-4])
    with pytest.raises(WeightsError, match="numbers, which do not fit darknet53"):
        body_of(path)


def test_other_channels(files):
    _, body, folder = files
    path = folder / "cut"
    path.write_bytes(body)
    axes = {**AXES, "input_shape": (64, 64, 1)}
    with pytest.warns(NewChannels, match="summed into 1"):
        model = create_model("darknet53", weights=path, include_top=False, **axes)
    assert model.input_shape == (None, 64, 64, 1)


def test_numbers_that_are_no_weights(files):
    _, body, folder = files
    path = folder / "bad.weights"
    for value, words in ((np.nan, "stem_bn/beta contains NaN"), (-1, "below 0")):
        place = 20 if value != -1 else 20 + 4 * 3 * 2
        changed = bytearray(body)
        changed[place : place + 4] = np.float32(value).tobytes()
        path.write_bytes(changed)
        with pytest.raises(WeightsError, match=words):
            body_of(path)
