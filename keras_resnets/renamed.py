"""Modules that have other names now: the old ones work, and say what to write."""

import importlib
import warnings
from collections.abc import Callable
from collections.abc import Mapping


def names_of(old: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a module that has been renamed.

    Args:
        old: its name.
        modules: where its public names are now: name -> module.
    """

    def find(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        new = modules[name]
        warnings.warn(
            f"{old}.{name} is {new}.{name} now", DeprecationWarning, stacklevel=2
        )
        return getattr(importlib.import_module(new), name)

    return find
