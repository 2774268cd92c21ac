"""Old names of modules still work, and say what to write."""

import importlib
import inspect

import numpy as np
import pytest

OLD = ("keras_resnets.compression", "keras_resnets.export.runners")


@pytest.mark.parametrize("old", OLD)
def test_old_names_work_and_name_the_new(old):
    module = importlib.import_module(old)
    for name in module.__all__:
        with pytest.warns(
            DeprecationWarning, match=rf"{old}\.{name} is .*\.{name} now"
        ):
            found = getattr(module, name)
        assert found.__name__ == name if callable(found) else name == "RECIPES"
    assert not hasattr(module, "nothing")


@pytest.mark.parametrize(
    "module, old, new",
    [
        ("keras_resnets.images.loading", "load_pictures", "load_images"),
        ("keras_resnets.images.loading", "load_picture", "load_image"),
        ("keras_resnets.images.datasets.split", "ArrayPictures", "ArrayImages"),
    ],
)
def test_old_names_in_a_module(module, old, new):
    found = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=f"{old} is {new} now"):
        assert getattr(found, old) is getattr(found, new)
    assert not hasattr(found, "nothing")


def test_old_names_of_arguments_and_attributes():
    from keras_resnets.images import evaluation
    from keras_resnets.images.calibration import CalibrationSet
    from keras_resnets.images.preprocessing import Preprocessing

    pixels, wanted = np.zeros((2, 8, 8, 3), "uint8"), Preprocessing("raw", (8, 8))
    with pytest.warns(DeprecationWarning, match=r"of_arrays\(pictures=\) is images="):
        data = evaluation.of_arrays(
            pictures=pixels, labels=np.arange(2), preprocessing=wanted
        )
    assert next(iter(data.batches(2))).shape == pixels.shape
    assert list(inspect.signature(evaluation.of_arrays).parameters)[0] == "images"
    with pytest.raises(TypeError, match="images"):
        evaluation.of_arrays(pixels, np.arange(2), wanted, images=pixels)
    with pytest.warns(DeprecationWarning, match="pictures is images now"):
        assert CalibrationSet(pixels).pictures is pixels


def test_a_file_classifier_says_metadata(tmp_path):
    from keras_resnets.errors import InvalidArgument
    from keras_resnets.export.compare.classifier import open_classifier

    assert "metadata" in inspect.signature(open_classifier).parameters
    with (
        pytest.warns(DeprecationWarning, match=r"\(known=\) is metadata= now"),
        pytest.raises(InvalidArgument, match="there is no file"),
    ):
        open_classifier(tmp_path / "a.tflite", known=None)


def test_exporters_say_images(tmp_path):
    import keras_resnets
    from keras_resnets import export

    for name in ("to_tflite", "to_onnx", "to_saved_model", "to_keras"):
        found = inspect.signature(getattr(export, name)).parameters
        assert "images" in found and "pictures" not in found
    model = keras_resnets.ResNet8(input_shape=(16, 16, 3))
    images = np.zeros((1, 16, 16, 3), "float32")
    with pytest.warns(
        DeprecationWarning, match=r"to_keras\(pictures=\) is images= now"
    ):
        report = export.to_keras(model, tmp_path / "a.keras", pictures=images)
    assert report.compared == 1
