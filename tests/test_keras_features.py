"""What Keras offers for any model, used on those of this package."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import noise
from helpers import outputs
from helpers import refusal

import keras_resnets
from keras_resnets import export
from keras_resnets import pruning
from keras_resnets import quantization
from keras_resnets.errors import WeightsError
from keras_resnets.export.keras import safe_loading
from keras_resnets.graph import heatmaps
from keras_resnets.networks import layers
from keras_resnets.training import train
from keras_resnets.weights import saving


def tiny(seed=3):
    """Two convolutions with BN, and a classifier, of random values."""
    image = x = keras.Input((8, 8, 3))
    for n in "12":
        x = layers.PlainConv2D(8, 3, use_bias=False, name=f"conv{n}")(x)
        x = layers.BatchNormalization(name=f"bn{n}")(x)
        x = layers.ReLU(name=f"relu{n}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, keras.layers.Dense(4, name="dense")(x), name="tiny")
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 0.6, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.costly
@pytest.mark.parametrize("recipe", ["static_wi8_ai8", "static_wi4_ai8"])
def test_calibration_within_a_strategy_equals_that_without(recipe, tmp_path):
    """A strategy mirrors every variable, also for one device."""
    images = noise(16, 8, 8, 3)
    expected = quantization.quantize_aware(tiny(), recipe, images)
    with tf.distribute.MirroredStrategy(["cpu:0"]).scope():
        aware = quantization.quantize_aware(tiny(), recipe, images)
    np.testing.assert_array_equal(outputs(aware, images), outputs(expected, images))
    assert quantization.report(aware) == quantization.report(expected)
    # Within it are reading the ranges, and comparing the file with the model.
    quantization.to_tflite(aware, tmp_path / "aware.tflite", images, plan=recipe)


def with_adapters(model):
    """The model with LoRA adapters that change what it computes."""
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            layer.enable_lora(2)
            layer.lora_kernel_b.assign(0.3 * noise(*layer.lora_kernel_b.shape))
    return model


def test_a_file_of_tensors_has_the_sum_of_kernel_and_adapter(tmp_path):
    images = noise(2, 32, 32, 3)
    model = keras_resnets.create_model("resnet8")
    before = outputs(model, images)
    adapted = outputs(with_adapters(model), images)
    assert np.abs(adapted - before).max() > 1e-3
    saving.save(model, tmp_path / "a.safetensors", None, model.architecture)
    loaded = keras_resnets.create_model("resnet8", weights=tmp_path / "a.safetensors")
    np.testing.assert_allclose(outputs(loaded, images), adapted, atol=1e-6)


def test_pruning_refuses_adapters():
    model = with_adapters(tiny())
    before = model.get_weights()
    for call in (
        lambda: pruning.prune(model, 0.5),
        lambda: pruning.shrink(model, 0.5),
        lambda: fitted_with(model, pruning.KeepZeros()),
    ):
        refusal(call, "without LoRA adapters", "has one of rank 2", "merges")
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def fitted_with(model, callback):
    callback.set_model(model)
    callback.on_train_begin()


class FakeLegacyModel:
    """As a model of `tf_keras`, which takes seconds to import."""


FakeLegacyModel.__module__ = "tf_keras.src.engine.functional"
FakeLegacyModel.__name__ = "Functional"


def test_models_of_keras_2_are_named_with_the_way_to_keras_3(tmp_path):
    old = FakeLegacyModel()
    for call in (
        lambda: export.to_tflite(old, tmp_path / "a.tflite"),
        lambda: quantization.quantize_aware(old),
        lambda: keras_resnets.analyze(old),
        lambda: heatmaps.explain_input(old, noise(8, 8, 3)),
        lambda: train(old, "cifar10.npz", "he2015_cifar", tmp_path / "run"),
    ):
        refusal(call, "got Functional of tf_keras, which is Keras 2", "set_weights(")


def test_a_file_of_keras_2_is_named_with_the_way_to_keras_3(tmp_path):
    """Its nodes have another form; the message told of them."""
    path = tmp_path / "model.keras"
    tiny().save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    config["config"]["layers"][1]["inbound_nodes"] = [[["input_1", 0, 0, {}]]]
    expected = {"2.15.0": "it is of Keras 2.15.0, which", "3.0.0": "its config.json"}
    for version, words in expected.items():
        entries["metadata.json"] = json.dumps({"keras_version": version}).encode()
        entries["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        with pytest.raises(WeightsError, match=words) as caught:
            safe_loading.load_model(path)
        assert ("set_weights()" in str(caught.value)) == version.startswith("2")


def test_backends_without_gradients_refuse_what_requires_them(monkeypatch, tmp_path):
    model = tiny()
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    refusal(
        lambda: train(model, "cifar10.npz", "he2015_cifar", tmp_path / "run"),
        "training requires",
        "KERAS_BACKEND=tensorflow|jax|torch); got 'numpy'",
    )
    assert not (tmp_path / "run").exists()
    refusal(
        lambda: heatmaps.explain_input(model, noise(8, 8, 3), 0, "grad-cam"),
        "grad-cam requires",
        "KERAS_BACKEND=tensorflow|jax|torch); got 'numpy'",
    )
