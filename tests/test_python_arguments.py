"""Arguments of the public functions of Python: what a person passes by mistake."""

import inspect
import pathlib
from functools import partial

import numpy as np
import pytest
from helpers import noise

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets import deploy
from keras_resnets import export
from keras_resnets import pruning
from keras_resnets import quantization
from keras_resnets import tfmot
from keras_resnets import training
from keras_resnets.errors import WeightsError
from keras_resnets.images import evaluation

PIXELS = np.arange(12 * 32 * 32 * 3, dtype="uint8").reshape(12, 32, 32, 3)
LABELS = np.arange(12) % 10


@pytest.fixture(scope="module")
def model():
    return keras_resnets.create_model("resnet8")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "d.npz"
    np.savez(path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS, y_test=LABELS)
    return path


def calls(model, data):
    """Each function, and arguments with which it works and is quick."""
    preprocessing = model.preprocessing
    chosen = quantization.choose(data, preprocessing, 10)
    schedule = pruning.PolynomialSchedule(sparsity=0.5, end=10)
    arrays = {"images": PIXELS, "labels": LABELS, "preprocessing": preprocessing}
    source = {"data": data, "preprocessing": preprocessing, "count": 10}
    photo = {"model": model, "photo": PIXELS[0], "method": "cam"}
    return {
        keras_resnets.create_model: {"model_name": "resnet8", "weights": None},
        keras_resnets.analyze: {"model": model},
        keras_resnets.decode_predictions: {"preds": np.eye(10), "labels": "cifar10"},
        keras_resnets.endpoints: {"model": model},
        keras_resnets.explain: photo,
        keras_resnets.feature_extractor: {"model": model},
        keras_resnets.list_models: {},
        keras_resnets.list_weights: {},
        keras_resnets.model_info: {"name": "resnet8"},
        keras_resnets.preprocess_input: {"x": PIXELS},
        keras_resnets.Preprocessing: {"size": (32, 32)},
        keras_resnets.replace_head: {"model": model, "classes": 5},
        keras_resnets.weights_info: {"model_name": "resnet20", "tag": "cifar10"},
        quantization.Budget: {"max_size": 1000},
        quantization.LayerBits: {"weight_bits": 8, "activation_bits": 8},
        quantization.PrecisionPlan: {"recipe": "static_wi8_ai8", "layers": {}},
        quantization.choose: source,
        quantization.hold_out: {**source, "count": 2, "calibration": chosen},
        quantization.freeze: {"model": model},
        quantization.report: {"model": model},
        evaluation.of_arrays: arrays,
        evaluation.open_data: {"source": data, "preprocessing": preprocessing},
        export.load_keras: {"path": "x"},
        export.open_runner: {"path": "x"},
        pruning.PolynomialSchedule: {"sparsity": 0.5, "end": 10},
        pruning.Prune: {"schedule": schedule},
        pruning.pruning_report: {"model": model},
        tfmot.Tuning: {},
        training.Augmentation: {},
        training.Distiller: {"student": model, "teacher": model},
        training.get_recipe: {"recipe": "he2015_cifar"},
        training.open_dataset: {"source": data},
    }


# Keras checks them itself, in one line: of every layer alike.
OF_KERAS = {
    ("create_model", "classifier_activation"),
    ("create_model", "name"),
    ("create_model", "dtype"),
    ("create_model", "kernel_initializer"),
    ("replace_head", "classifier_activation"),
}
WRONG = (None, -1, 2.5, "x", b"x", [], object())


def called(function, arguments):
    """Some have a first argument without a name."""
    first = next(iter(inspect.signature(function).parameters.values()))
    if first.kind == first.POSITIONAL_ONLY:
        return function(arguments.pop(first.name), **arguments)
    return function(**arguments)


def test_wrong_arguments_are_named_in_one_line(model, data):
    """Of every argument; some wrong values are right ones of it."""
    refused, tried, outside = set(), 0, []
    for function, arguments in calls(model, data).items():
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            if (function.__name__, name) in OF_KERAS:
                continue
            for value in WRONG:
                tried += 1
                try:
                    called(function, {**arguments, name: value})
                except (InvalidArgument, WeightsError) as error:
                    refused.add((function.__name__, name))
                    if "\n" in str(error):
                        outside.append((function.__name__, name, value, error))
                except Exception as error:
                    outside.append((function.__name__, name, value, repr(error)))
    assert not outside, "\n".join(map(str, outside))
    assert tried > 700 and len(refused) > 80


def refusal(call, *words):
    with pytest.raises(InvalidArgument) as error:
        call()
    for word in words:
        assert word in str(error.value), error.value
    assert "\n" not in str(error.value)


def test_arrays_where_a_path_is_wanted(model):
    pixels = model.preprocessing
    refusal(lambda: quantization.choose(PIXELS, pixels), "path", "calibration=array")
    refusal(lambda: quantization.choose("d.npz", None), "preprocessing", "got None")
    for write in (export.to_tflite, export.to_onnx, export.to_keras):
        for path in (None, 3, ["a.tflite"], b"a"):
            refusal(
                partial(write, model, path), "path must be the path of a file", "got"
            )
    refusal(lambda: evaluation.evaluate(model, "d.npz"), "got str: ", "open_data(")


def test_a_side_where_a_size_is_wanted(model, tmp_path):
    open_size = keras_resnets.create_model("resnet20", input_shape=(None, None, 3))
    path = tmp_path / "a.tflite"
    refusal(
        lambda: export.to_tflite(open_size, path, input_size=32),
        "input_size must be the (height, width); got 32: write (32, 32)",
    )
    refusal(lambda: export.to_tflite(open_size, path, input_size=(32, 32, 3)), "(32, ")
    refusal(lambda: export.to_tflite(open_size, path, input_size=(0, 32)), ">= 1")
    for source in (480, (480,), "480x640", []):
        call = partial(deploy.deploy, model, "linux-x86", tmp_path, PIXELS)
        refusal(partial(call, source=source), "source must be the (height, width) of")
    refusal(lambda: keras_resnets.Preprocessing(size=32), "a tuple of 2 values")
    refusal(lambda: keras_resnets.analyze(open_size, 32), "input_shape must be (height")


def test_one_image_is_an_array_or_a_tensor(model):
    import tensorflow as tf

    wanted = model.preprocessing(PIXELS[0])
    np.testing.assert_array_equal(model.preprocessing(tf.constant(PIXELS[0])), wanted)
    for wrong in (PIXELS[0].tolist(), "a.png", None):
        refusal(partial(model.preprocessing, wrong), "Pillow image, or an array")
    images = tf.data.Dataset.from_tensor_slices(PIXELS)
    # TensorFlow wraps what is raised within a pipeline.
    with pytest.raises(Exception, match="preprocessing.batch takes those of a tf.data"):
        images.map(model.preprocessing)


def test_a_text_is_no_switch(model, tmp_path):
    """`overwrite="no"` replaced the file."""
    path = tmp_path / "a.keras"
    path.write_bytes(b"mine")
    refusal(
        lambda: export.to_keras(model, path, overwrite="no"),
        "overwrite must be one of True, False",
    )
    assert path.read_bytes() == b"mine"


def datasets(images):
    import tensorflow as tf

    yield quantization.CalibrationSet(images, "mine")
    yield tf.data.Dataset.from_tensor_slices(images).batch(5)
    yield tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(5)
    yield (image for image in images)
    yield list(images)


def test_every_function_takes_the_same_images(model, tmp_path):
    """A calibration set or a dataset was a TypeError where images are compared on."""
    images = noise(12, 32, 32, 3) * 20 + 125
    for number, given in enumerate(datasets(images)):
        path = tmp_path / f"{number}.keras"
        assert export.to_keras(model, path, images=given).compared == 12
    path = pathlib.Path(tmp_path, "none.keras")
    for wrong in ("photos", {"a": 1}, object(), [images[0], images[0, 1:]]):
        refusal(partial(export.to_keras, model, path, images=wrong), "images must be ")
    assert not path.exists()


def test_a_model_is_measured_on_arrays(model):
    images = noise(12, 32, 32, 3) * 20 + 125
    classes = model.predict(images, verbose=0).argmax(axis=1)
    one_hot = np.eye(10)[classes]
    for given in (images, list(images), quantization.CalibrationSet(images, "mine")):
        for labels in (classes, list(classes), one_hot, classes[:, None].astype(float)):
            found = evaluation.evaluate(model, (given, labels))
            assert (found.count, found.top1) == (12, 1.0)
    for labels in (classes[:5], ["cat"] * 12, [[1], [2, 3]], None, classes + 0.5):
        refusal(partial(evaluation.evaluate, model, (images, labels)), "labels")
    refusal(lambda: evaluation.evaluate(model, (images[0], classes)), "(count, height")
    refusal(lambda: evaluation.of_arrays(PIXELS, LABELS[:3], model.preprocessing), "12")
    refusal(lambda: evaluation.of_arrays(PIXELS, LABELS, None), "preprocessing must be")


def test_what_is_trained_is_a_model(data, tmp_path):
    for wrong in (None, "resnet8", [], b"x"):
        call = partial(quantization.train_aware, wrong, data, tmp_path / "run")
        refusal(call, "model must be a keras.Model")
    assert not (tmp_path / "run").exists()


@pytest.mark.costly
def test_layers_are_ranked_by_any_images(model):
    images = noise(12, 32, 32, 3) * 20 + 125
    wanted = quantization.sensitivity(model, images)
    for given in datasets(images):
        assert quantization.sensitivity(model, given) == wanted
    refusal(
        lambda: quantization.sensitivity(model, images[:, :16], calibration=images),
        "images must have the shape (count, 32, 32, 3); got (12, 16, 32, 3)",
    )
