"""What the site has besides the pages that GitHub shows: the reference, and the README.

mkdocs calls these functions by their names (`mkdocs.yml`). The reference is written from
the public names of the package, of which no list is kept here.
"""

import importlib
import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
_STYLE = "style.css"
# The rooms with public names, by the title of their page.
_ROOMS = {
    "Networks": "keras_resnets",
    "Export": "keras_resnets.export",
    "Quantization": "keras_resnets.quantization",
    "Pruning": "keras_resnets.pruning",
    "tensorflow-model-optimization": "keras_resnets.tfmot",
    "Training": "keras_resnets.training",
}
# Of the README, from the root of the project.
_IMAGE = re.compile(r"(!\[[^\]]*\]\()docs/")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config):
    """Names the pages of the reference in the menu."""
    pages = [{title: _page(title)} for title in _ROOMS]
    pages.append({"Model functions": "reference/models.md"})
    config.nav = [
        {"Reference": pages} if entry == {"Reference": "reference"} else entry
        for entry in config.nav
    ]
    config.extra_css.append(_STYLE)
    return config


def on_files(files, config):
    """Adds the first page, which is the README, and those of the reference."""
    made = {_page(title): _reference(title, room) for title, room in _ROOMS.items()}
    made["reference/models.md"] = _model_functions()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # Links into docs/ are its own pages here, and others lead out of the site.
    readme = _IMAGE.sub(r"\1", readme)
    made[_STYLE] = (ROOT / "docs" / "site" / _STYLE).read_text(encoding="utf-8")
    made["index.md"] = _LINK.sub(_from_the_root, readme)
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Leaves links out that lead out of docs/, to code of the checkout."""

    def inside(match):
        text, target, _ = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        folder = posixpath.dirname(page.file.src_uri)
        found = posixpath.normpath(posixpath.join(folder, target))
        return f"`{text}`".replace("``", "`") if found.startswith("..") else match[0]

    return _LINK.sub(inside, markdown)


def _from_the_root(match):
    text, target, anchor = match.groups()
    inside = target.startswith("docs/")
    target = target.removeprefix("docs/") if inside else f"../{target}"
    return match[0] if "://" in target else f"[{text}]({target}{anchor or ''})"


def _page(title):
    return f"reference/{title.lower().replace(' ', '_')}.md"


def _reference(title, room):
    """A page with the docstring of every public name of a room."""
    module = importlib.import_module(room)
    lines = [f"# {title}", "", f"`{room}`: {module.__doc__.strip()}", ""]
    functions = {*importlib.import_module("keras_resnets.models").__all__}
    for name in sorted({*module.__all__} - functions, key=str.lower):
        place = _place(module, name)
        if place is not None:
            lines += [f"::: {place}", "    options:"]
            lines += [f"      heading: {room}.{name}", f"      toc_label: {name}", ""]
    return "\n".join(lines)


def _place(module, name):
    """The full name of what a room calls `name`; None for what is no code."""
    value = getattr(module, name)
    home = getattr(value, "__module__", None)
    if home is None or not hasattr(value, "__qualname__"):
        return None
    return f"{home}.{value.__qualname__}"


def _model_functions():
    """A table of the functions that build a network, from the table of variants."""
    models = importlib.import_module("keras_resnets.models")
    lines = [
        "# Model functions",
        "",
        "Each takes the arguments of `keras.applications` in their order, and every axis",
        "of `keras_resnets.Architecture` by keyword: `help(keras_resnets.ResNet50)`.",
        "",
        "| function | network |",
        "|---|---|",
    ]
    for name in models.__all__:
        title = getattr(models, name).__doc__.strip().splitlines()[0]
        lines.append(f"| `{name}` | {title} |")
    return "\n".join(lines) + "\n"
