"""The public model functions; those of a family are in the module of its name, too.

For type checkers and editors their names stand in `__init__.pyi`, which
`tests/data/make_stub.py` writes.
"""

from keras_resnets.models import public_functions
from keras_resnets.networks.variants import ALIASES

FUNCTIONS = {
    **public_functions.FUNCTIONS,
    **{alias: public_functions.FUNCTIONS[name] for alias, name in ALIASES.items()},
}
globals().update(FUNCTIONS)
__all__ = list(FUNCTIONS)
