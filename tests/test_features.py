import keras
import numpy as np
import pytest
from helpers import KINDS
from helpers import TELLING_KINDS
from helpers import noise
from helpers import outputs
from helpers import small_model

import keras_resnets
from keras_resnets import InvalidArgument


@pytest.mark.costly_but(*TELLING_KINDS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_features_lead_to_the_same_predictions(kind):
    model = small_model(kind)
    images = noise(2, 16, 16, 3)
    maps = keras_resnets.feature_extractor(model)(images)
    assert list(maps) == ["stage1", "stage2"]
    last = keras_resnets.feature_extractor(model, ["features"])(images)["features"]
    trunk = small_model(kind, include_top=False)
    for layer in trunk.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    np.testing.assert_allclose(np.asarray(last), outputs(trunk, images), atol=1e-5)


def test_names_prefixes_and_loaded_models(tmp_path):
    model = keras_resnets.create_model("resnet20", name="left")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    extractor = keras_resnets.feature_extractor(loaded, ["stem", "stage2"])
    maps = extractor(noise(1, 32, 32, 3))
    assert {name: value.shape for name, value in maps.items()} == {
        "stem": (1, 32, 32, 16),
        "stage2": (1, 16, 16, 32),
    }
    alone = keras_resnets.feature_extractor(model, "stage3")(noise(1, 32, 32, 3))
    assert alone["stage3"].shape == (1, 8, 8, 64)


def test_unknown_endpoints_are_told():
    model = keras_resnets.create_model("resnet20")
    with pytest.raises(InvalidArgument, match="stage1.*stage3.*did you mean 'stage3'"):
        keras_resnets.feature_extractor(model, ["stage33"])
    with pytest.raises(InvalidArgument, match="at least one"):
        keras_resnets.feature_extractor(model, [])
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(InvalidArgument, match="endpoints are known"):
        keras_resnets.endpoints(plain)


def test_new_head_shares_the_trunk():
    model = keras_resnets.create_model("resnet20")
    tuned = keras_resnets.replace_head(model, 5, dropout_rate=0.1)
    assert tuned.output_shape == (None, 5)
    assert tuned.get_layer("stem_conv") is model.get_layer("stem_conv")
    labels = np.array([0, 1, 2, 3])
    tuned.compile("sgd", "sparse_categorical_crossentropy")
    assert np.isfinite(tuned.train_on_batch(noise(4, 32, 32, 3), labels))
    with pytest.raises(InvalidArgument, match="classes"):
        keras_resnets.replace_head(model, 0)
    again = keras_resnets.replace_head(tuned, 7)
    assert again.output_shape == (None, 7)
