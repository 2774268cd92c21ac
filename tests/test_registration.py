"""Files that hold layers of this package load in a new process once it is imported."""

import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import outputs
from helpers import small_model

import keras_resnets  # noqa: F401
from keras_resnets import quantization
from keras_resnets.training.compiling import Warmup

SHAPE = (32, 32, 3)
# Who comes first, and by whom Keras is imported.
ORDERS = {
    "keras first": "import keras, keras_resnets",
    "by tensorflow": "import keras_resnets; from tensorflow import keras",
    "by the layers": "import keras_resnets.networks.layers; import keras",
    "by what the layers need": "import keras_resnets.quantization.qat.fake_quant, keras",
    "by what needs the layers": "import keras_resnets.graph.analysis; import keras",
}
NAMES = (
    "ChannelOffset ChannelScale Conv2D Discard FakeQuantize IdentityPadShortcut "
    "QuantizedAffine QuantizedConv2D QuantizedDense QuantizedDepthwiseConv2D "
    "StochasticDepth Warmup"
).split()
LOAD = """
import pathlib, pickle
import numpy as np
images = np.load("images.npy")
models = {path.stem: keras.models.load_model(path) for path in map(
    pathlib.Path, ["float.keras", "aware.keras", "plain.keras", "legacy.h5"])}
models["pickled"] = pickle.loads(pathlib.Path("aware.pickle").read_bytes())
models["cloned"] = keras.models.clone_model(models["aware"])
models["cloned"].set_weights(models["aware"].get_weights())
for name, model in models.items():
    np.save(f"{name}.npy", model.predict(images, verbose=0))
"""


def run(folder, script):
    """In a process of its own: that of the fork server has Keras already."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def float_model():
    """With every layer of its own, compiled with a schedule of its own."""
    model = small_model(
        "grouped",
        input_shape=SHAPE,
        axes={"drop_path_rate": 0.2, "shortcut_type": "A"},
    )
    dead = small_model("dead_projection", input_shape=SHAPE)
    image = keras.Input(SHAPE)
    model = keras.Model(image, keras.layers.Add()([model(image), dead(image)]))
    schedule = Warmup(keras.optimizers.schedules.CosineDecay(0.1, 10), steps=3)
    model.compile(keras.optimizers.SGD(schedule), "mse")
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """(a folder of files, what each must say)."""
    folder, images = tmp_path_factory.mktemp("files"), noise(10, *SHAPE)
    model = float_model()
    # Pre-activation: BN that stands alone has layers of its own.
    aware = quantization.quantize_aware(
        small_model("basic_full_preact", input_shape=SHAPE), calibration=images
    )
    np.save(folder / "images.npy", images)
    model.save(folder / "float.keras")
    aware.save(folder / "aware.keras")
    aware.save(folder / "legacy.h5")
    (folder / "aware.pickle").write_bytes(pickle.dumps(aware))
    plain = small_model("shortcut_a", input_shape=SHAPE)
    plain.save(folder / "plain.keras")
    expected = {"float": outputs(model, images), "plain": outputs(plain, images)}
    names = ("aware", "legacy", "pickled", "cloned")
    return folder, expected | dict.fromkeys(names, outputs(aware, images))


@pytest.mark.costly
def test_files_load_in_a_new_process(folder):
    place, expected = folder
    run(place, f"import keras_resnets, keras\n{LOAD}")
    for name, values in expected.items():
        found = np.load(place / f"{name}.npy")
        np.testing.assert_allclose(found, values, atol=1e-5, err_msg=name)


@pytest.mark.costly_but("by the layers")
@pytest.mark.parametrize("order", ORDERS)
def test_layers_are_registered_in_every_order(order, tmp_path):
    """Under the names that files have always had."""
    names = [f"keras_resnets>{name}" for name in NAMES]
    check = f"assert set({names}) <= set(keras.utils.get_custom_objects())"
    run(tmp_path, f"{ORDERS[order]}\n{check}")


WATCHED = """
import sys, keras_resnets
from keras_resnets.networks import registration
assert "keras" not in sys.modules
import importlib, keras
assert "registration" not in type(keras.__loader__).__module__
assert keras.__spec__.loader is keras.__loader__
assert importlib.reload(keras) is keras
registration.register()
assert not any(type(f).__module__ == registration.__name__ for f in sys.meta_path)
"""


@pytest.mark.costly
def test_keras_looks_as_if_nobody_stood_in_between(tmp_path):
    run(tmp_path, WATCHED)
