"""`deploy` of users' own networks: code and text of the folders, and several targets."""

import io
import pathlib
import re
import sys
import types
import zipfile

import keras
import numpy as np
import pytest
from helpers import small_model
from PIL import Image
from PIL import ImageOps

from keras_resnets import deploy
from keras_resnets import export
from keras_resnets import quantization
from keras_resnets.deploy import environment
from keras_resnets.deploy import session
from keras_resnets.deploy import snippets
from keras_resnets.deploy import supported
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.options import Asked
from keras_resnets.deploy.targets import TARGETS
from keras_resnets.deploy.toolchains import other_python
from keras_resnets.deploy.workers import coreml_worker
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export.tflite import metadata
from keras_resnets.images import loading
from keras_resnets.images.labels import as_lines
from keras_resnets.images.preprocessing import Preprocessing

PREPROCESSINGS = {
    "RGB": Preprocessing("tf", (32, 32)),
    "BGR, not square": Preprocessing("caffe", (24, 48)),
    "bicubic, whole": Preprocessing("torch", (40, 40), 1.0, interpolation="bicubic"),
    "grey": Preprocessing("torch", (32, 24)).grey(),
    "measured": Preprocessing("raw", (32, 32), mean=(120, 110, 90), std=(60, 61, 62)),
}


def exported(takes_pixels=False, format="onnx"):
    return types.SimpleNamespace(
        spec=types.SimpleNamespace(source=None, format=format),
        report=types.SimpleNamespace(takes_pixels=takes_pixels, output="predictions"),
    )


def photos(folder):
    """Photos as people have them; yields their paths."""
    pixels = np.random.default_rng(5).integers(0, 256, (61, 45, 3)).astype("uint8")
    image = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6
    for mode, ending in [("RGB", "jpg"), ("L", "png"), ("P", "png"), ("CMYK", "jpg")]:
        path = folder / f"{mode}.{ending}"
        image.convert(mode).save(path, exif=turned)
        yield path
    image.putalpha(100)
    image.save(folder / "RGBA.png")
    yield folder / "RGBA.png"


@pytest.mark.parametrize("name", PREPROCESSINGS)
@pytest.mark.parametrize("takes_pixels", [False, True])
def test_the_code_of_a_readme_prepares_photos_as_predict(tmp_path, name, takes_pixels):
    preprocessing = PREPROCESSINGS[name]
    code = snippets.preparing(preprocessing, exported(takes_pixels))
    # It runs where this package is not installed.
    assert "keras_resnets" not in code
    for path in photos(tmp_path):
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        values = {"np": np, "Image": Image, "image": image}
        exec(code, values)
        (found,) = values["x"]
        if takes_pixels:
            found = preprocessing.normalize(found, "channels_last")
        expected = loading.load_image(path, preprocessing)
        assert found.shape == expected.shape and found.dtype == np.float32, path
        np.testing.assert_allclose(found, expected, atol=2e-5 * 255, rtol=1e-5)


def test_code_that_imports_this_package_says_so():
    plain = Preprocessing("tf", (32, 32))
    boxed = Preprocessing("darknet", (32, 32), letterbox=True)
    bands = Preprocessing("raw", (32, 32), mean=(1,) * 4, std=(2,) * 4)
    for preprocessing, needed in [(plain, False), (boxed, True), (bands, True)]:
        code = snippets.preparing(preprocessing, exported())
        assert ("keras_resnets" in code) is needed
        packages = snippets.requirements(preprocessing, exported())
        assert ("keras-resnets" in packages) is needed


@pytest.mark.parametrize(
    "preprocessing, words",
    [
        (PREPROCESSINGS["RGB"], ("32 x 32 x 3", "covers 36 x 36", "RGB", "[1.0, 1.0")),
        (PREPROCESSINGS["BGR, not square"], ("24 x 48 x 3", "`(value - mean)", "BGR")),
        (PREPROCESSINGS["grey"], ("32 x 24 x 1", "0.299 R + 0.587 G + 0.114 B")),
    ],
)
def test_a_readme_without_code_for_photos_describes_the_input(preprocessing, words):
    model = types.SimpleNamespace(preprocessing=preprocessing)
    job = types.SimpleNamespace(model=model)
    text = snippets.described(job, exported())
    for word in (*words, "probability of each class, in the order of `labels.txt`"):
        assert word in text


def test_a_line_break_in_a_name_moves_no_class():
    names = ["cat", "big\ndog", "a\r\nb", "c\u2028d", 'Käfer, "rot"']
    assert len(as_lines(names).splitlines()) == len(names)
    assert len(as_lines(names).split("\n")) == len(names) + 1
    assert as_lines(names).splitlines()[4] == names[4]


@pytest.mark.costly
def test_the_names_in_a_file_of_mediapipe_are_lines(tmp_path):
    model = small_model("basic_original", input_shape=(32, 32, 3), classes=3)
    export.to_tflite(model, tmp_path / "a.tflite")
    content = (tmp_path / "a.tflite").read_bytes()
    added = metadata.add(content, "a", ["cat", "big\ndog", "bird"])
    with zipfile.ZipFile(io.BytesIO(added)) as archive:
        assert archive.read(metadata.LABELS) == b"cat\nbig dog\nbird\n"


@pytest.fixture
def filled(monkeypatch):
    """`deploy` without work: targets of a set fail, others write a file."""
    failing = {}

    def fill(job, *rest):
        if job.target.name in failing:
            raise failing[job.target.name]
        (job.folder / "report.json").write_text("{}")
        return {"target": job.target.name, "proven": True}

    monkeypatch.setattr(session, "_fill", fill)
    return failing


def deployed(folder, names, **options):
    model = small_model("basic_original", input_shape=(32, 32, 3))
    model.preprocessing = Preprocessing("tf", (32, 32))
    images = np.random.default_rng(3).uniform(-1, 1, (10, 32, 32, 3))
    return deploy.deploy(model, names, folder, images, unproven=True, **options)


def test_targets_that_pass_are_written_if_another_fails(tmp_path, filled):
    names = ["linux-x86", "gpu", "server-onnx", "edgetpu"]
    filled["gpu"] = ExportError("no such operator; nothing was written")
    filled["edgetpu"] = InvalidArgument("not on this chip")
    with pytest.raises(deploy.TargetsFailed) as caught:
        deployed(tmp_path / "out", names)
    written = [tmp_path / "out" / name for name in ("linux-x86", "server-onnx")]
    assert sorted((tmp_path / "out").iterdir()) == sorted(written)
    assert [one.folder for one in caught.value.deployments] == written
    assert list(caught.value.failures) == ["gpu", "edgetpu"]
    assert str(caught.value) == (
        "2 of 4 targets failed: gpu: no such operator; edgetpu: not on this chip; "
        f"written: {written[0]}, {written[1]}"
    )


def test_nothing_is_left_if_every_target_fails(tmp_path, filled):
    filled["gpu"] = filled["linux-x86"] = ExportError("no; nothing was written")
    with pytest.raises(deploy.TargetsFailed, match="2 of 2 .*; written: nothing"):
        deployed(tmp_path / "out", ["linux-x86", "gpu"])
    # The error of a single target is its own.
    with pytest.raises(ExportError, match="^no; nothing was written$"):
        deployed(tmp_path / "out", "gpu")
    assert not list(tmp_path.iterdir())


def test_a_failed_target_keeps_its_old_folder(tmp_path, filled):
    deployed(tmp_path / "out", ["linux-x86", "gpu"])
    before = (tmp_path / "out" / "gpu" / "report.json").stat().st_ino
    filled["gpu"] = ExportError("no")
    with pytest.raises(deploy.TargetsFailed):
        deployed(tmp_path / "out", ["linux-x86", "gpu"], overwrite=True)
    assert (tmp_path / "out" / "gpu" / "report.json").stat().st_ino == before


@pytest.mark.parametrize(
    "target, recipe, words",
    [
        ("esp32", "float32", "ESP-PPQ itself quantizes"),
        (
            "linux-x86",
            "static_wi8_ai8",
            "static_wi8_ai16 or float16 or float32, or use",
        ),
        ("linux-x86", "static_wi8_ai16", "the recipe float16 or float32, or use"),
        ("linux-x86", "float32", "^the file is not quantized"),
        ("ethos-u55-128", "static_wi8_ai8", "^use quantization-aware training"),
    ],
)
def test_advice_is_what_the_target_can_do(target, recipe, words):
    job = types.SimpleNamespace(
        target=TARGETS[target],
        spec=types.SimpleNamespace(recipe=recipe),
        model=keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]),
    )
    assert re.search(words, session._advice(job))


def test_kernels_of_a_saved_model_as_core_ml_stores_them(tmp_path):
    """Depthwise, separable and dilated kernels, and a layer that is used twice."""
    import tensorflow as tf

    layers = keras.layers
    twice = layers.Conv2D(6, 3, padding="same")
    image = keras.Input((16, 16, 4))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(image)
    x = layers.SeparableConv2D(6, 3)(x)
    x = twice(twice(layers.Conv2D(6, 5, dilation_rate=2)(x)))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    module = tf.Module()
    module.model = model
    served = tf.function(
        lambda x: {"y": model(x)}, [tf.TensorSpec((1, 16, 16, 4), "float32")]
    )
    tf.saved_model.save(module, tmp_path / "saved", {"serving_default": served})
    kernels = coreml_worker._kernels(str(tmp_path / "saved"))
    assert sorted(kernels) == [
        [6, 6, 3, 3],
        [6, 6, 3, 3],
        [6, 6, 5, 5],
        [6, 8, 1, 1],
        [8, 1, 3, 3],
        [8, 1, 3, 3],
    ]


def test_a_toolchain_that_writes_nothing_is_told_in_a_line(tmp_path, monkeypatch):
    worker = types.ModuleType("worker")
    worker.__file__ = str(tmp_path / "worker.py")
    pathlib.Path(worker.__file__).write_text("print('1.0')")
    monkeypatch.setenv("KERAS_RESNETS_ESP_PYTHON", sys.executable)
    workshop = types.SimpleNamespace(model=types.SimpleNamespace(name="a"))
    spec = types.SimpleNamespace(recipe="float32")
    job = Job(TARGETS["esp32"], spec, workshop, tmp_path, np.zeros(1), ())
    words = (
        "ESP-PPQ must write outputs.npz; it ended without outputs.npz: check .*_ESP_"
    )
    with pytest.raises(ExportError, match=words):
        other_python.run(job, worker, (), tmp_path, 60, ("outputs.npz",))
    (tmp_path / "outputs.npz").touch()
    assert other_python.run(job, worker, (), tmp_path, 60, ("outputs.npz",)) == "1.0"


def test_a_folder_is_named_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("~/arm", "arm", "./arm/"):
        monkeypatch.setenv("KERAS_RESNETS_ARM64", value)
        assert environment.folder("KERAS_RESNETS_ARM64") == tmp_path / "arm"


def classifier(inputs="tensor", outputs="tensor"):
    """A small network whose input and output are in a dict or a list, or are tensors.

    Of a Sequential model, which has no `input` before it is called, they are tensors.
    """
    image = keras.Input((32, 32, 3), name="photo")
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(3, activation="softmax", name="kinds")(x)
    kinds = {
        "tensor": lambda x: x,
        "dict": lambda x: {x.name: x},
        "list": lambda x: [x],
    }
    if inputs == "sequential":
        layers = keras.Model(image, x).layers
        model = keras.Sequential([image, *layers[1:]], name="own")
    else:
        model = keras.Model(kinds[inputs](image), kinds[outputs](x), name="own")
    model.preprocessing = Preprocessing("tf", (32, 32))
    return model


@pytest.mark.parametrize(
    "inputs, outputs", [("dict", "dict"), ("list", "list"), ("sequential", "tensor")]
)
def test_a_dict_or_list_of_one_is_its_tensor(tmp_path, inputs, outputs, monkeypatch):
    seen = []
    monkeypatch.setattr(
        session,
        "_fill",
        lambda job, predicted, *_: (
            seen.append((job.model, predicted)) or {"proven": True}
        ),
    )
    images = np.random.default_rng(3).uniform(-1, 1, (10, 32, 32, 3))
    model = classifier(inputs, outputs)
    deploy.deploy(model, "linux-x86", tmp_path / "out", images)
    ((deployed_model, predicted),) = seen
    expected = classifier_outputs(model, images)
    assert deployed_model.preprocessing == model.preprocessing
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


def classifier_outputs(model, images):
    (layer,) = [one for one in model.layers if one.name == "kinds"]
    plain = keras.Model(model.inputs[0], layer.output)
    return plain.predict(images, verbose=0)


@pytest.mark.parametrize(
    "preprocessing",
    [Preprocessing("tf", (48, 48)), Preprocessing("tf", (32, 32)).grey()],
)
def test_preprocessing_of_another_shape_than_the_input_is_refused(
    tmp_path, preprocessing
):
    model = classifier()
    model.preprocessing = preprocessing
    images = np.random.default_rng(3).uniform(-1, 1, (10, 32, 32, 3))
    with pytest.raises(InvalidArgument, match=r"input's shape \(32, 32, 3\); that of"):
        deploy.deploy(model, "linux-x86", tmp_path / "out", images)
    assert not list(tmp_path.iterdir())


def test_a_model_of_two_inputs_is_refused_with_a_way_that_works():
    image, numbers = keras.Input((32, 32, 3)), keras.Input((5,))
    x = keras.layers.GlobalAveragePooling2D(name="joined")(image)
    x = keras.layers.Concatenate()([x, numbers])
    model = keras.Model([image, numbers], keras.layers.Dense(3)(x), name="two")
    model.preprocessing = Preprocessing("tf", (32, 32))
    with pytest.raises(
        InvalidArgument, match="two has .*; cut it where the inputs join"
    ):
        deploy.deploy(model, "linux-x86", "no", np.zeros((10, 32, 32, 3)))
    part = keras.Model(model.inputs[0], model.get_layer("joined").output)
    assert part.predict(np.zeros((1, 32, 32, 3)), verbose=0).shape == (1, 3)


@pytest.mark.parametrize(
    "target, channels, words",
    [
        ("android", 1, "android takes colour photos.*; the network takes 1: deploy it"),
        ("browser-onnx", 1, "browser-onnx takes colour photos"),
        ("raspberry-pi", 4, "3 channels, or 1 if they are grey; the network takes 4"),
    ],
)
def test_a_network_that_takes_no_such_photos_is_refused(target, channels, words):
    with pytest.raises(InvalidArgument, match=words):
        supported.check_channels([TARGETS["linux-x86"], TARGETS[target]], channels)
    supported.check_channels([TARGETS[target]], 3)
    supported.check_channels([TARGETS["raspberry-pi"], TARGETS["server-onnx"]], 1)


@pytest.fixture(scope="module")
def aware():
    """A quantization-aware network, and images."""
    model = small_model("basic_original", input_shape=(32, 32, 3))
    model.preprocessing = Preprocessing("tf", (32, 32))
    images = np.random.default_rng(3).uniform(-1, 1, (12, 32, 32, 3)).astype("float32")
    return quantization.quantize_aware(model, calibration=images), images


@pytest.mark.costly
@pytest.mark.parametrize("target", ["linux-x86", "server-onnx", "server-savedmodel"])
def test_a_quantization_aware_model_is_proven_as_the_integers_it_is(
    aware, target, tmp_path
):
    model, images = aware
    (made,) = deploy.deploy(model, target, tmp_path / "out", images, min_agreement=0.5)
    assert made.report["proven"] and made.report["outputs"]["other"] == 0
    floats = target == "server-savedmodel"
    assert made.report["recipe"] == ("float32" if floats else "static_wi8_ai8")


@pytest.mark.costly
def test_a_quantization_aware_model_is_refused_where_the_toolchain_quantizes(aware):
    model, _ = aware
    for name in ("esp32", "rockchip"):
        with pytest.raises(InvalidArgument, match="give the float model that it was"):
            supported.spec(Asked(), TARGETS[name], model)
    assert supported.spec(Asked(), TARGETS["gpu"], model).recipe == "static_wi8_ai8"
    assert supported.spec(Asked(), TARGETS["coreml"], model).recipe == "float32"
