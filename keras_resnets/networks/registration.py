"""Lets Keras find the layers of this package in saved files, without loading Keras.

Keras looks a custom layer up by its registered name, which exists once the layer's
module is imported. `import keras_resnets` must not import Keras, so these modules
are imported right after Keras is imported.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import threading
import types
import typing
from collections.abc import Sequence

from keras_resnets.system import keras_settings

# The modules of registered layers and schedules.
_REGISTERED = (
    "keras_resnets.networks.layers",
    "keras_resnets.quantization.qat.depthwise_layers",
    "keras_resnets.quantization.qat.layers",
    "keras_resnets.training.compiling",
)


def register() -> None:
    """Registers the layers now if Keras is imported, else as soon as it is imported.

    Example:
        >>> import keras, keras_resnets
        >>> keras.saving.get_registered_object("keras_resnets>Conv2D").__name__
        'Conv2D'
    """
    if "keras" in sys.modules:
        _import_all()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _import_all() -> None:
    for name in _REGISTERED:
        importlib.import_module(name)


class _Finder(importlib.abc.MetaPathFinder):
    """Delegates to the other finders, and tracks whether an import is in progress.

    Keras is often imported by a module of this package, which must be complete before
    others use it: the layers are imported when the outermost module is complete.
    """

    def __init__(self) -> None:
        self._lock, self._begun = threading.Lock(), 0

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "keras" and not name.startswith("keras_resnets."):
            return None
        if name == "keras":
            # All imports of Keras pass here.
            keras_settings.check_backend()
        for finder in sys.meta_path:
            # Finders of old tools have no find_spec.
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find and finder is not self else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None

    def begin(self) -> None:
        with self._lock:
            self._begun += 1

    def end(self, is_loaded: bool) -> None:
        with self._lock:
            self._begun -= 1
            whole = is_loaded and not self._begun
        if whole and "keras" in sys.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            _import_all()


class _Loader(importlib.abc.Loader):
    """Wraps another loader and reports its beginning and end to a `_Finder`."""

    def __init__(self, loader: importlib.abc.Loader, finder: _Finder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(
        self, spec: importlib.machinery.ModuleSpec
    ) -> types.ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        # The module must not refer to this wrapper.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._finder.begin()
        is_loaded = False
        try:
            self._loader.exec_module(module)
            is_loaded = True
        finally:
            self._finder.end(is_loaded)

    def __getattr__(self, name: str) -> typing.Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)
