"""Writes the table of docs/commands.md from what the commands declare."""

import pathlib

from keras_resnets.cli import main as cli
from keras_resnets.cli.arguments import options

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "commands.md"
BEGIN, END = "<!-- begin: python tests/data/make_commands_page.py -->\n", "<!-- end -->"


def table():
    """The table with one row per key of each command."""
    cli._parser("keras-resnets")
    lines = ["| command | key | value |", "|---|---|---|"]
    for command, facts in options.FACTS.items():
        shown = f"`{command}`"
        for key, what in facts.items():
            lines.append(f"| {shown} | `{key}` | {what} |")
            shown = ""
    return "\n".join(lines)


def page():
    """The page with the current table."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{head}{BEGIN}{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
