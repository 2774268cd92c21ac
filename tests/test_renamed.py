"""Old names of modules still work, and say what to write."""

import importlib

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
