"""KerasHub's networks, narrow, saved as its users save them."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import drawn
import keras
import numpy as np
from foreign import catalogue
from keras_hub.models import ResNetBackbone
from keras_hub.models import ResNetImageClassifier

UNITS = {"basic": "basic_block", "bottleneck": "bottleneck_block"}


def write(folder):
    """Writes every preset of `catalogue.PRESETS`; returns their logits by name."""
    expected = {}
    for name, preset in catalogue.PRESETS.items():
        model = network(**preset)
        model.save_to_preset(str(folder / name))
        model.save_weights(folder / name / "whole.weights.h5")
        images = keras.ops.convert_to_tensor(drawn.pictures())
        outputs = model(images, training=False)
        expected[f"{name}/"] = keras.ops.convert_to_numpy(outputs)
    return expected


def network(depths, unit, vd=False, second=False, **_):
    """A classifier all of whose weights are drawn by their names."""
    model = ResNetImageClassifier(
        backbone=ResNetBackbone(
            input_conv_filters=[32, 32, 64] if vd else [64],
            input_conv_kernel_sizes=[3, 3, 3] if vd else [7],
            stackwise_num_filters=list(catalogue.PRESET_FILTERS),
            stackwise_num_blocks=list(depths),
            stackwise_num_strides=[1, 2, 2, 2],
            block_type=UNITS[unit] + "_vd" * vd,
            use_pre_activation=second,
        ),
        num_classes=catalogue.CLASSES,
    )
    for layer in model._flatten_layers():
        for weight in layer.weights if not isinstance(layer, keras.Model) else ():
            weight.assign(drawn_like(f"{layer.name}.{weight.name}", weight.shape))
    return model


def drawn_like(name, shape):
    """A tensor of Keras: positive factors, and kernels that let signals through."""
    rng = drawn.generator(name)
    if name.endswith(("gamma", "variance")):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        return rng.uniform(-0.2, 0.2, shape)
    return rng.standard_normal(shape) * np.prod(shape[:-1]) ** -0.5
