"""A page: one HTML file without scripts and without links to other files."""

import dataclasses
import importlib.resources
import json
import os
import pathlib
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_path
from keras_resnets.errors import printable
from keras_resnets.io import files
from keras_resnets.io import plots
from keras_resnets.reports.blocks import Block
from keras_resnets.reports.blocks import escaped
from keras_resnets.version import __version__

ENDINGS = (".html", ".json")
# By which a page is known as one of ours, and may be replaced.
_MARK = '<meta name="generator" content="keras_resnets'
# No scripts, and nothing from elsewhere, whatever is in it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# Of a file, to see whose it is.
_HEAD = 4096


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        title: heading of the section.
        blocks: contents, in order.
    """

    title: str
    blocks: Sequence[Block]

    def html(self, number: int) -> str:
        """Returns the HTML of the section.

        Args:
            number: number of the section in its page, for the heading's id.
        """
        inside = "\n".join(block.html() for block in self.blocks)
        return (
            f'<section aria-labelledby="s{number}"><h2 id="s{number}">'
            f"{escaped(self.title)}</h2>\n{inside}</section>"
        )


@dataclasses.dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: heading of the page.
        sections: sections, in order.
        summary: the result in one sentence.
        good: whether the result is good enough; None if nothing was checked.
    """

    title: str
    sections: Sequence[Section]
    summary: str = ""
    good: bool | None = None

    def html(self) -> str:
        """Returns the complete text of the HTML file."""
        style = importlib.resources.files(__package__).joinpath("page.css")
        body = "\n".join(
            section.html(number) for number, section in enumerate(self.sections)
        )
        title = escaped(self.title)
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
            f'{_MARK} {__version__}">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{title}</title>\n"
            # An empty one: else a server is asked for it.
            '<link rel="icon" href="data:,">\n'
            f"<style>\n{style.read_text('utf-8')}</style></head>\n"
            f"<body><main><header><h1>{title}</h1>{self._verdict()}</header>\n{body}\n"
            f"</main></body></html>\n"
        )

    def _verdict(self) -> str:
        if not self.summary:
            return ""
        kind = {True: "good", False: "bad", None: "open"}[self.good]
        return f'<p class="verdict {kind}">{escaped(self.summary, 2000)}</p>'

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the file atomically; an existing report is replaced.

        Args:
            path: path of the file, with the suffix `.html`.

        Raises:
            InvalidArgument: see `check_place`.
            NotWritten: see `files.atomic_file`.
        """
        place = check_place(path, (".html",))
        with files.atomic_file(place) as temporary:
            temporary.write_text(self.html(), "utf-8")


def check_place(
    path: str | os.PathLike[str],
    endings: Sequence[str] = ENDINGS,
    is_coming: bool = False,
) -> pathlib.Path:
    """Checks the path of a report before any work is done, and returns it.

    Args:
        path: path of the report.
        endings: allowed suffixes.
        is_coming: whether the command creates the folder of the report later.

    Raises:
        InvalidArgument: the suffix is not allowed, the path cannot be written to, it is an
            existing file that is not a report, or matplotlib is missing.
    """
    place = check_path("the path of a report", path)
    ending = place.suffix.lower()
    if ending not in endings:
        kinds = {".html": ".html (a page)", ".json": ".json (the figures)"}
        raise InvalidArgument(
            f"the path of a report must end in {' or '.join(kinds[end] for end in endings)}"
            f"; got {printable(str(path))}"
        )
    if not is_coming:
        files.check_destination(place, place.suffix, overwrite=True)
    if place.exists() and not _is_ours(place):
        raise InvalidArgument(
            f"{printable(str(place))} exists and is not a report of keras_resnets: choose "
            "another path"
        )
    if ending == ".html":
        plots.check_library()
    return place


def _is_ours(place: pathlib.Path) -> bool:
    """Whether a file is a report, which a new one may replace."""
    try:
        if not place.stat().st_size:
            return True
        if place.suffix.lower() == ".html":
            with place.open("rb") as file:
                return _MARK.encode() in file.read(_HEAD)
        content = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and isinstance(content.get("command"), str)
