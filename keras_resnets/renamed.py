"""Renamed modules, names and arguments: the old ones still work, with a warning."""

import functools
import importlib
import typing
import warnings
from collections.abc import Callable
from collections.abc import Mapping

_P = typing.ParamSpec("_P")
_R = typing.TypeVar("_R")


def names_of(old: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Returns the `__getattr__` of a renamed module.

    Args:
        old: its old name.
        modules: name -> module that has the public name now.
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


def attributes_of(module: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """Returns the `__getattr__` of a module in which names have changed.

    Args:
        module: its `__name__`.
        names: old name -> new name.
    """

    def find(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(
            f"{module}.{name} is {names[name]} now", DeprecationWarning, stacklevel=2
        )
        return getattr(importlib.import_module(module), names[name])

    return find


def arguments(**names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Returns a decorator for a function with renamed arguments.

    Args:
        **names: old name -> new name.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def call(*values: _P.args, **options: _P.kwargs) -> _R:
            for old in names.keys() & options.keys():
                warnings.warn(
                    f"{function.__qualname__}({old}=) is {names[old]}= now",
                    DeprecationWarning,
                    stacklevel=2,
                )
                options[names[old]] = options.pop(old)
            return function(*values, **options)

        return call

    return decorate
