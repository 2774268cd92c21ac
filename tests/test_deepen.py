"""Weights of a shallower network as the start of a deeper one."""

import importlib

import numpy as np
import pytest
from conftest import ROOT
from helpers import randomize

import keras_resnets


@pytest.mark.costly
def test_a_deepened_network_computes_what_the_shallower_one_does(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    deepen = importlib.import_module("deepen").deepen
    trained = keras_resnets.create_model("resnet20", weights=None)
    randomize(trained)
    deeper = keras_resnets.create_model("resnet32", weights=None)
    randomize(deeper, seed=1)
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    expected = trained.predict(images, verbose=0)
    assert np.abs(deeper.predict(images, verbose=0) - expected).max() > 1e-2
    deepen(trained, deeper)
    found = deeper.predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
