"""Packages whose names are imported when they are asked for."""

import importlib

import pytest

PACKAGES = ["", ".export", ".training", ".pruning", ".quantization", ".tfmot"]


@pytest.mark.parametrize("place", PACKAGES)
def test_names_are_there_listed_and_no_others(place):
    package = importlib.import_module(f"keras_resnets{place}")
    assert set(package._IN_MODULE) <= set(package.__all__) <= set(dir(package))
    for name in package._IN_MODULE:
        assert hasattr(package, name), name
    name = next(iter(package._IN_MODULE))
    with pytest.raises(AttributeError, match=f"no attribute '{name}x'.*{name}"):
        getattr(package, f"{name}x")
