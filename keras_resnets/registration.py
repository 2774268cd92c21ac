"""Lets Keras find the layers of this package in saved files, without loading Keras.

Keras looks a custom layer up by its registered name, which exists once the module of
the layer is imported. `import keras_resnets` must not import Keras, so these modules
are imported right after Keras, whoever imports it first.
"""

import importlib
import importlib.abc
import sys

# What is imported once a module is complete. The second entry stands by itself because
# keras_resnets.layers may be the module that imports Keras: then it is not complete yet.
_AFTER = {
    "keras": ("keras_resnets.layers",),
    "keras_resnets.layers": (
        "keras_resnets.compression.layers",
        "keras_resnets.training.compiling",
    ),
}


def register():
    """Registers the layers now if Keras is imported, else as soon as it is.

    Example:
        >>> import keras, keras_resnets
        >>> keras.saving.get_registered_object("keras_resnets>Conv2D").__name__
        'Conv2D'
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if "keras" in sys.modules:
        _import_after("keras")


def _import_after(name):
    for follower in _AFTER[name]:
        importlib.import_module(follower)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what the other finders find, and notes when it has been loaded."""

    def find_spec(self, name, path, target=None):
        if name not in _AFTER:
            return None
        for finder in sys.meta_path:
            # Finders of old tools have no find_spec.
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find and finder is not self else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, name)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """Another loader, and the imports that follow it."""

    def __init__(self, loader, name):
        self._loader, self._name = loader, name

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        # The module looks as if nobody had stood in between.
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _import_after(self._name)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)
