"""The public model functions; each family's are also in the module of its name.

For type checkers and editors their names are listed in `__init__.pyi`, which
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
