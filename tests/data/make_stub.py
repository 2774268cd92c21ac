"""Writes keras_resnets/models/__init__.pyi: the public functions, for type checkers.

    python tests/data/make_stub.py

They are made from the table when the package is imported, which type checkers and
editors do not do.
"""

import pathlib

from keras_resnets import models
from keras_resnets.networks import variants

STUB = pathlib.Path(models.__file__).with_suffix(".pyi")

HEAD = '''"""The public model functions. Written by tests/data/make_stub.py."""

from keras_resnets.models.public_functions import ModelFunction

FUNCTIONS: dict[str, ModelFunction]
'''


def text():
    titles = {row.function: row.title for row in variants.TABLE}
    lines = [HEAD]
    for name in models.__all__:
        title = titles[variants.ALIASES.get(name, name)]
        lines.append(f'{name}: ModelFunction\n"""{title}"""\n')
    names = "".join(f'    "{name}",\n' for name in models.__all__)
    return "".join([*lines, f"\n__all__ = [\n{names}]\n"])


if __name__ == "__main__":
    STUB.write_text(text(), encoding="utf-8")
