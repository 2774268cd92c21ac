"""DarkNet classifiers."""

import typing

from keras_resnets.models import public_functions

globals().update(public_functions.of_module(__name__))
__all__ = list(public_functions.of_module(__name__))

if typing.TYPE_CHECKING:

    def __getattr__(name: str) -> public_functions.ModelFunction: ...
