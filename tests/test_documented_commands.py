"""Commands as the documentation writes them, and the help that they print."""

import argparse
import pathlib
import re
import shlex

import pytest
from conftest import ROOT

from keras_resnets.cli import main as cli

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
SCRIPTS = {"verify": ["verify"], "benchmark": ["benchmark"]}


def documented():
    """(page, words behind the command's name) of each line that is a command."""
    for page in sorted(PAGES):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ *(?:keras-resnets|python export/).*", text, re.M):
            # What stands behind a pipe is another program's: tests/test_grammar.py.
            name, *words = shlex.split(line.partition(" | ")[0], comments=True)
            if name == "python":
                script = pathlib.Path(words.pop(0)).stem
                export = ["export", script.removeprefix("to_")]
                words = [*SCRIPTS.get(script, export), *words]
            yield page.name, words


COMMANDS = list(documented())


def test_the_pages_have_commands():
    assert len(COMMANDS) > 30


@pytest.mark.parametrize(
    "page, words", COMMANDS, ids=lambda x: x if isinstance(x, str) else " ".join(x)
)
def test_a_documented_command_is_one(page, words):
    elided = "..." in words
    words = [word for word in words if word not in ("...", "&&")]
    parser = cli._parser("keras-resnets")
    try:
        found = parser.parse_args(words)
    except SystemExit:
        assert elided, (page, words)
        return
    assert callable(found.run), (page, words)


def parsers(parser, name=""):
    """(name, parser) of every command and those inside it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield f"{name} {word}".strip(), inner
                yield from parsers(inner, f"{name} {word}".strip())


@pytest.mark.parametrize("name, parser", parsers(cli._parser("keras-resnets")))
def test_the_help_of_a_command_fits_a_screen(name, parser, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = parser.format_help().splitlines()
    assert len(lines) <= 50, name
    # Examples are lines to copy.
    assert max(len(line) for line in lines if "keras-resnets " not in line) <= 80
    assert max(map(len, lines)) <= 100, name


@pytest.mark.parametrize("name, parser", parsers(cli._parser("keras-resnets")))
def test_help_names_every_option(name, parser, monkeypatch):
    """Those that it does not tell of are named, and in --help-all."""
    monkeypatch.setenv("COLUMNS", "80")
    short, whole = parser.format_help(), parser.format_all()
    for action in parser._actions:
        if action.help is not argparse.SUPPRESS and action.option_strings:
            flag = action.option_strings[0]
            assert re.search(rf"{flag}\b", short), flag
            assert re.search(rf"^  {flag}\b", whole, re.MULTILINE), flag
            assert not action.required or f"\n  {flag}" in short, flag
