"""Kernels that go around TFLite's converter, and what is folded into them."""

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import randomize

from keras_resnets.export import session
from keras_resnets.export import to_tflite
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.export.tflite import large_weights
from keras_resnets.export.tflite import runner as tflite_runner

L = keras.layers


class Doubled(L.Conv2D):
    """Does something of its own with its kernel."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, 2 * keras.ops.abs(kernel))


def every_case():
    """A network of stock layers with every way to stand in front of a BN, or not."""
    image = keras.Input((12, 12, 3))
    x = L.Conv2D(8, 3, name="biased")(image)
    x = L.ReLU()(L.BatchNormalization(epsilon=1e-3)(x))
    x = L.Conv2D(8, 3, use_bias=False, groups=2, name="no_scale")(x)
    x = L.ReLU()(L.BatchNormalization(scale=False, epsilon=1.001e-5)(x))
    x = L.Conv2D(8, 1, dilation_rate=2, name="no_centre")(x)
    x = L.BatchNormalization(center=False)(x)
    x = L.BatchNormalization(name="alone")(L.Conv2D(8, 1, activation="relu")(x))
    shared = L.Conv2D(8, 1, name="shared")
    y = L.BatchNormalization(name="first")(shared(x))
    x = L.Add()([y, L.BatchNormalization(name="second")(shared(y))])
    x = L.Add()([x, L.Conv2D(8, 1, name="bare")(x)])
    x = L.Rescaling(3.0, offset=0.5)(L.Conv2D(8, 1, name="scaled")(x))
    x = L.BatchNormalization()(Doubled(8, 1, name="doubled")(x))
    x = L.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="last")(x)
    x = L.Dense(5, activation="softmax")(L.GlobalAveragePooling2D()(x))
    return keras.Model(image, x)


@pytest.mark.costly
def test_the_converter_would_have_made_the_same(tmp_path, monkeypatch):
    model = every_case()
    randomize(model)
    ready = session.make_ready(model, images=noise(2, 12, 12, 3))
    kernels = large_weights.kernels_of(ready.model)
    folded = {kernel.layer.name: kernel.norm is not None for kernel in kernels.values()}
    assert folded == {"biased": True, "no_scale": True, "bare": False, "last": False}
    report = to_tflite(model, tmp_path / "a.tflite", images=noise(2, 12, 12, 3))
    assert report.logits.relative_error < 1e-5
    monkeypatch.setattr(large_weights, "kernels_of", lambda model: {})
    whole = tflite.convert(ready)
    assert tflite_runner.operators(whole) == report.operators


def test_the_file_holds_nothing_else(tmp_path):
    """One input, no tensor or buffer without a reader, constants on even addresses."""
    model = every_case()
    randomize(model)
    to_tflite(model, tmp_path / "a.tflite")
    content = (tmp_path / "a.tflite").read_bytes()
    schema, root = tflite_runner.parse(content)
    graph = root.Subgraphs(0)
    assert graph.InputsLength() == root.SignatureDefs(0).InputsLength() == 1
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    named = {i for o in operators for i in (*o.InputsAsNumpy(), *o.OutputsAsNumpy())}
    assert named - {-1} == set(range(graph.TensorsLength()))
    assert {o.OpcodeIndex() for o in operators} == set(
        range(root.OperatorCodesLength())
    )
    names = [graph.Tensors(i).Name().decode() for i in range(graph.TensorsLength())]
    tensor = graph.Tensors(names.index("last"))
    assert tensor.ShapeAsNumpy().tolist() == [6, 3, 3, 8]
    data = root.Buffers(tensor.Buffer()).DataAsNumpy()
    kernel = model.get_layer("last").kernel.numpy().transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(data.view("float32"), kernel.ravel())
    start = data.__array_interface__["data"][0]
    whole = np.frombuffer(content, "uint8").__array_interface__["data"][0]
    assert (start - whole) % 16 == 0


@pytest.mark.parametrize("epsilon", [0.0, 1e-7, 1e-6, 1e-5, 1.001e-5, 1e-4, 1e-3, 0.1])
def test_a_variance_that_is_one(epsilon):
    found = large_weights._one_minus(epsilon)
    assert found + np.float32(epsilon) == np.float32(1)
