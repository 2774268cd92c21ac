"""`Example:` in a docstring is a section with code, as `Examples:` is to mkdocstrings."""

import re

import griffe

_HEADING = re.compile(r"^( *)Example:$", re.MULTILINE)


class Examples(griffe.Extension):
    """Renames the section while the docstrings are read."""

    def on_instance(self, *, obj, **kwargs):
        """Called by griffe with every module, class, function and attribute."""
        if not obj.is_alias and obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = _HEADING.sub(r"\1Examples:", text)
