"""Files that torch, safetensors and timm wrote themselves give their networks' logits."""

import drawn
import numpy as np
import pytest
from foreign import catalogue

import keras_resnets


def logits(name, path, **options):
    """Of our network with the weights in `path`; any warning is an error."""
    model = keras_resnets.create_model(
        name,
        weights=path,
        input_shape=drawn.PICTURES[1:],
        classes=catalogue.CLASSES,
        classifier_activation=None,
        **catalogue.axes(name),
        **options,
    )
    return np.asarray(model(drawn.pictures(), training=False))


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("file", catalogue.FILES)
def test_logits(file, foreign_files):
    name = catalogue.FILES[file]
    expected = np.load(foreign_files / "logits.npz")[name]
    found = logits(name, foreign_files / file)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
