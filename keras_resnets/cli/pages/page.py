"""`--report FILE`: the results of a command as an HTML page, or as JSON.

A command adds the contents of the page while it runs. The page is written when the command
succeeds; if it fails or is interrupted, no page is written.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import platform
import shlex
import sys
import typing
from collections.abc import Iterator
from collections.abc import Mapping

from keras_resnets.cli.printing import output
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.io import files
from keras_resnets.version import __version__

if typing.TYPE_CHECKING:
    from keras_resnets.reports import Block

_HELP = "write a report: a page (.html), or the object of --json (.json)"
# Help shows `--report` with the other files that a command writes.
_GROUPS = ("output", "run", "terminal")
# Distributions whose versions can change a result.
_LIBRARIES = (
    *("keras", "tensorflow", "jax", "torch", "ai-edge-litert", "onnxruntime"),
    *("ai-edge-quantizer", "numpy", "pillow"),
)
_MOST_NOTES = 40


@dataclasses.dataclass
class Collected:
    """The contents of a page, collected while the command runs.

    Attributes:
        command: name of the command, such as `"export tflite"`.
        words: arguments of the program.
        path: path of the page; None without `--report`.
    """

    command: str
    words: tuple[str, ...]
    path: pathlib.Path | None
    title: str = ""
    summary: str = ""
    good: bool | None = None
    params: int | None = None
    inputs: dict[str, object] = dataclasses.field(default_factory=dict)
    tiles: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    sections: dict[str, list["Block"]] = dataclasses.field(default_factory=dict)
    options: list[tuple[str, object, bool]] = dataclasses.field(default_factory=list)

    @property
    def is_page(self) -> bool:
        """Whether an HTML page is requested, not JSON."""
        return self.path is not None and self.path.suffix.lower() == ".html"

    def begin(self, asked: typing.Any, parser: argparse.ArgumentParser) -> None:
        """Adds the options of the command.

        Args:
            asked: the options of the command.
            parser: the command's parser, which has the defaults.

        Raises:
            InvalidArgument: the report cannot be written, or is another file of the
                command.
        """
        if self.path is None:
            return
        from keras_resnets import reports

        # The command creates the folder of a run or of a deployment itself.
        folders = [getattr(asked, name, None) for name in ("output", "run_folder")]
        place = self.path.parent
        is_coming = any(_same(folder, place) for folder in folders if folder)
        reports.check_place(self.path, is_coming=is_coming and not place.exists())
        if hasattr(asked, "path"):
            self._check_beside(asked.path())
        for field in dataclasses.fields(asked):
            value = getattr(asked, field.name)
            for word in value if isinstance(value, tuple) else (value,):
                self._check_other(field.name, word)
            is_set = value != parser.get_default(field.name) and value not in ((), None)
            self.options.append((field.name, value, is_set))

    def _check_beside(self, written: str | os.PathLike[str]) -> None:
        """Raises `InvalidArgument` if the report is what is written beside a file."""
        for what, ending in (("passport", ".json"), ("plan", ".plan.json")):
            if self.path is not None and _same(f"{written}{ending}", self.path):
                raise InvalidArgument(
                    f"--report {self.path} is the {what} of {written}: choose another path"
                )

    def _check_other(self, name: str, word: object) -> None:
        if not isinstance(word, (str, os.PathLike)) or self.path is None:
            return
        if _same(word, self.path):
            raise InvalidArgument(
                f"--report {self.path} is also --{name.replace('_', '-')}: choose another "
                "path"
            )


def _same(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Whether two paths are the same file; False for text that is not a path."""
    try:
        return pathlib.Path(first).resolve() == pathlib.Path(second).resolve()
    except (OSError, ValueError):
        return False


_now: Collected | None = None


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--report` to a command."""
    groups = {group.title: group for group in parser._action_groups}
    group = next(groups[title] for title in _GROUPS if title in groups)
    group.add_argument("--report", metavar="FILE", help=_HELP)


@contextlib.contextmanager
def collected(
    namespace: argparse.Namespace, command: str, names: tuple[str, ...]
) -> Iterator[Collected]:
    """Collects the report of a command while it runs, and writes it if it succeeds.

    The report is also written if the command fails after `output.keep_on_failure`.

    Args:
        namespace: namespace of the parser, with `words`, and `report` if the command has
            the option.
        command: name of the command.
        names: keys of its JSON object.
    """
    global _now
    place = getattr(namespace, "report", None)
    # If several processes train together, only the first writes the report.
    if getattr(namespace, "process", 0):
        place = None
    path = None if place is None else pathlib.Path(place)
    words = getattr(namespace, "words", sys.argv[1:])
    before, _now = _now, Collected(command, tuple(words), path)
    try:
        try:
            yield _now
        except ExportError as error:
            if output.has_result():
                set_summary(f"Not good enough: {error}", good=False)
                _write(_now, names)
            raise
        _write(_now, names)
    finally:
        _now = before


def is_requested() -> bool:
    """Whether a page is requested; without one, costly contents need not be computed."""
    return _now is not None and _now.is_page


def set_title(title: str) -> None:
    """Sets the subject of the page: the name of the network, or of the files."""
    if _now is not None:
        _now.title = title


def add_inputs(facts: Mapping[str, object]) -> None:
    """Adds facts about the inputs by name; a later one of the same name replaces it."""
    if _now is not None:
        _now.inputs |= facts


def set_params(params: int) -> None:
    """Sets the number of parameters, which the size of a file is compared with."""
    if _now is not None:
        _now.params = params


def params() -> int | None:
    """Returns the number of parameters; None without a network."""
    return None if _now is None else _now.params


def add_tile(value: str, name: str) -> None:
    """Adds one of the figures at the top of the page."""
    if _now is not None:
        _now.tiles.append((value, name))


def set_summary(summary: str, good: bool | None = None) -> None:
    """Sets the summary sentence; `good` is None if nothing was checked."""
    if _now is not None:
        _now.summary, _now.good = summary, good


def add_section(title: str, *blocks: "Block") -> None:
    """Adds blocks to the section with a title."""
    if _now is not None:
        _now.sections.setdefault(title, []).extend(blocks)


def _write(now: Collected, names: tuple[str, ...]) -> None:
    """Writes the report.

    Raises:
        NotWritten: the report cannot be written; the command's own files remain.
    """
    if now.path is None:
        return
    from keras_resnets import reports

    # Another file may have been created there meanwhile, such as a passport.
    reports.check_place(now.path)
    if now.is_page:
        text = _page(now)
    else:
        text = output.as_text(now.command, names) + "\n"
    with files.atomic_file(now.path) as temporary:
        temporary.write_text(text, "utf-8")
    output.say(f"report       {now.path}")


def _page(now: Collected) -> str:
    from keras_resnets import reports

    sections = [
        reports.Section(title, blocks) for title, blocks in now.sections.items()
    ]
    if now.tiles:
        tiles = reports.Tiles(now.tiles)
        sections.insert(0, reports.Section("At a glance", (tiles,)))
    inputs: list[Block] = [
        reports.Facts([("command", now.command), *now.inputs.items()])
    ]
    inputs.append(_options(now.options))
    notes = [line.removeprefix("note: ").strip() for line in output.notes()]
    if notes:
        inputs.append(reports.Details("Notes of the command", (_notes(notes),)))
    sections.append(reports.Section("Inputs", inputs))
    sections.append(reports.Section("How to repeat it", _repeat(now)))
    title = f"{now.command}: {now.title}" if now.title else now.command
    return reports.Page(title, sections, now.summary, now.good).html()


def _notes(notes: list[str]) -> "Block":
    from keras_resnets.reports import Lines

    more = len(notes) - _MOST_NOTES
    remainder = [f"and {more} more"] if more > 0 else []
    return Lines([*notes[:_MOST_NOTES], *remainder])


def _options(options: list[tuple[str, object, bool]]) -> "Block":
    from keras_resnets.reports import Details
    from keras_resnets.reports import Table

    rows = [
        (name.replace("_", "-"), _shown(value), "given" if is_set else "default")
        for name, value, is_set in sorted(options, key=lambda row: not row[2])
    ]
    table = Table(("option", "value", ""), rows, "All options of the run")
    return Details("All options", (table,))


def _shown(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(word) for word in value)
    return str(value)


def _repeat(now: Collected) -> list["Block"]:
    import importlib.metadata

    from keras_resnets.reports import Code
    from keras_resnets.reports import Facts

    versions = [("keras_resnets", __version__), ("Python", platform.python_version())]
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append((name, importlib.metadata.version(name)))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    line = " ".join(["keras-resnets", *(shlex.quote(word) for word in now.words)])
    return [
        Code([printable(line, 8000)]),
        Facts([("versions", ", ".join(f"{a} {b}" for a, b in versions))]),
        Facts([("machine", machine)]),
    ]
