"""Training: recipes of the papers, data, and runs that go on where they were stopped.

>>> from keras_resnets.training import get_recipe
>>> get_recipe("wrn_cifar").milestones
(60, 120, 160)
"""

import importlib

_IN_MODULE = {
    "Augmentation": "augmentation",
    "Distiller": "distillation",
    "RECIPES": "recipes",
    "Recipe": "recipes",
    "get_recipe": "recipes",
    "list_recipes": "recipes",
    "open_dataset": "data",
    "train": "session",
}

__all__ = list(_IN_MODULE)


def __getattr__(name):
    if name not in _IN_MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_IN_MODULE[name]}")
    return getattr(module, name)


def __dir__():
    return sorted({*globals(), *__all__})
