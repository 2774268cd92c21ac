"""What the tests of compression share: real pictures, files against models, integers."""

import functools
import json
import warnings

import keras
import numpy as np
from helpers import outputs
from helpers import small_model

from keras_resnets import quantization
from keras_resnets.export import session
from keras_resnets.export import signature
from keras_resnets.export.compare.verify import layer_name
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.graph.analysis import nodes_in_order
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.quantization.backends import engines
from keras_resnets.quantization.options import Options
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.rounding.second_order import Problem

# What a quantization-aware model must agree with its file on.
KINDS = {
    "post-activation": "basic_original",
    "pre-activation": "basic_full_preact",
    "grouped": "grouped",
    "dilated": "dilated",
    "resnet-d": "shortcut_d",
    "darknet": "darknet",
    "wide": "wide",
    "bottleneck": "bottleneck_original",
}
# A network of each kind that this package has trained weights of.
TRAINED = {
    "post-activation": "resnet20",
    "pre-activation": "resnet14v2",
    "grouped": "resnext20_4x16d_w16",
    "dilated": "drn_a_14",
    "resnet-d": "resnet14d",
    "darknet": "darknet15",
    "wide": "wrn_10_3_w8",
    "bottleneck": "resnet29_w12",
}
RIDGE = 2.0
CIFAR = Preprocessing("cifar", (32, 32))


@functools.cache
def cifar(folder, split="train", count=1500):
    """(pixels, labels) of the first pictures of CIFAR-10's training or test set."""
    from PIL import Image

    sheet = {"train": "data_batch_1.png", "test": "test_batch.png"}[split]
    pixels = np.asarray(Image.open(folder / "cifar10" / sheet)).reshape(-1, 32, 32, 3)
    labels = json.loads((folder / "cifar10" / f"{split}_labels.json").read_text())
    return pixels[:count], np.array(labels[:count])


CHECKPOINTS = {
    "resnet20": "checkpoints/resnet20-12fca82f.th",
    "resnet32": "checkpoints/resnet32-d509ac18.th",
    "resnet56": "checkpoints/resnet56-4bfd9763.th",
    "resnet8": "mlperf_tiny/pretrainedResnet.h5",
}
PER_TENSOR = "static_wi8_ai8_per_tensor"


def classifying_model(kind, pictures, labels, **axes):
    """A small network that tells pictures apart: random values, but for two things.

    Its BN statistics are those of the pictures, and its classifier is fitted.
    """
    model = small_model(kind, input_shape=(32, 32, 3), axes=axes)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(pictures[:100], training=True)
    last = model.layers[-1]
    features = keras.Model(model.inputs, last.input)
    found = features.predict(pictures, batch_size=250, verbose=0)
    mean = found.mean(axis=0)
    given, wanted = found - mean, np.eye(10)[labels] - 0.1
    # Strict, so that the classifier does not live on tiny differences.
    ridge = given.T @ given + RIDGE * len(found) * given.var() * np.eye(given.shape[1])
    kernel = np.linalg.solve(ridge, given.T @ wanted)
    kernel *= 2 / (given @ kernel).std()
    last.kernel.assign(kernel)
    last.bias.assign(-mean @ kernel)
    return model


def logits_of(model):
    """A model that puts out what the softmax gets."""
    return keras.Model(model.inputs, signature.logits_of(model))


def steps_apart(frozen, content, pictures):
    """(frozen model's logits, the file's, their distance in steps of the output)."""
    ours = logits_of(frozen).predict(pictures, batch_size=250, verbose=0)
    theirs = TFLiteRunner(content, 2, logits=True)(pictures)
    return ours, theirs, np.abs(np.rint((ours - theirs) / step_of_output(frozen)))


def step_of_output(frozen):
    """Of the logits."""
    ranges = [layer for layer in frozen.layers if isinstance(layer, FakeQuantize)]
    return step_of(ranges[-1])


def step_of(layer):
    return (float(layer.high) - float(layer.low)) / 255


def operators_apart(frozen, path, picture):
    """Steps between every tensor of a file and what the model makes of its inputs.

    The file runs in XNNPACK, which rounds once. LiteRT's built-in kernels round twice.

    Args:
        frozen: the model that the file was made of.
        path: of the file.
        picture: float32 (1, height, width, channels).

    Returns:
        A dict from the layer in front of a range to an array of steps.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tensors = tflite_runner.tensors(path, picture, xnnpack=True)
    found = {layer_name(name): values for name, values in tensors.items()}
    # (what is rounded, the rounded one, by which layer, how)
    rounded = [
        (
            node.input_tensors[0],
            node.output_tensors[0],
            node.operation,
            node.arguments.kwargs,
        )
        for node in nodes_in_order(frozen)
        if isinstance(node.operation, FakeQuantize)
    ]
    _, image, first, _ = rounded.pop(0)
    held = {id(image): outputs(first, picture)}
    for given, made, _, _ in rounded:
        held[id(made)] = found[given._keras_history.operation.name]
    apart = {}
    for given, made, layer, how in rounded:
        ours = keras.ops.convert_to_numpy(layer(computed(given, held), **how))
        steps = (ours - held[id(made)]) / step_of(layer)
        apart[given._keras_history.operation] = np.abs(np.rint(steps))
    return apart


def computed(tensor, held):
    """The values of a symbolic tensor, from those of the last tensors that are held."""
    if id(tensor) in held:
        return held[id(tensor)]
    operation, index, _ = tensor._keras_history
    given = operation._inbound_nodes[index].input_tensors
    values = [computed(one, held) for one in given]
    return operation(values[0] if len(values) == 1 else values)


def aware_model(model, pictures, recipe="static_wi8_ai8"):
    """(the quantization-aware model, and the one that its file is made of)."""
    aware = quantization.quantize_aware(model, recipe, calibration=pictures)
    return aware, quantization.freeze(aware)


def rounded_model(model, x, recipe=PER_TENSOR):
    """(model, its frozen rounded model, its graph, the bytes of its int8 file)."""
    ready = session.make_ready(model, "int8", x[:20], None, session.ExportOptions())
    # As a search has it: what is raised to float needs its kernel as it is.
    plan = quantization.PrecisionPlan.of(recipe).with_rounding("nearest")
    base = engines.base(ready, Options(plan))
    return model, base.rounded, base.graph, base.content


def rounding_problem(groups=1, inputs=24, outputs=5, seed=0, **options):
    """A layer to round, whose inputs a few common causes move."""
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((groups, inputs, 4))
    gram = causes @ causes.swapaxes(1, 2) + 0.1 * np.eye(inputs)
    weights = rng.standard_normal((groups, inputs, outputs))
    return Problem(weights, gram, **{"bits": 4, **options})
