"""Lazy attributes of a package: their modules are imported on access."""

import importlib
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_resnets.errors import nearest


def attributes(
    package: str, modules: Mapping[str, str], rooms: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns the `__getattr__` and the `__dir__` of a package (PEP 562).

    Args:
        package: its `__name__`.
        modules: name -> module, `".session"` for a relative one; `".runner:OnnxRunner"`
            if the name differs in the module.
        rooms: submodules that are attributes themselves.

    Returns:
        Two functions.
    """

    def find(name: str) -> Any:
        if name in rooms:
            return importlib.import_module(f"{package}.{name}")
        if name in modules:
            module, _, other = modules[name].partition(":")
            return getattr(importlib.import_module(module, package), other or name)
        near = nearest(name, [*sys.modules[package].__all__, *rooms], count=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AttributeError(f"module {package!r} has no attribute {name!r}{hint}")

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules, *rooms})

    return find, names
