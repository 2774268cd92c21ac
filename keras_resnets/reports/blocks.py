"""The blocks of a page: frozen records that render themselves as escaped HTML."""

import dataclasses
import html
import typing
from collections.abc import Sequence

from keras_resnets.errors import printable

# Largest number of characters of a value, since names of classes may have any length.
_LONGEST = 400


def escaped(value: object, longest: int = _LONGEST) -> str:
    """Returns a value as escaped HTML: one printable line of limited length.

    Example:
        >>> escaped("<script>")
        '&lt;script&gt;'
    """
    return html.escape(printable(str(value), longest))


class Block(typing.Protocol):
    """A part of a section."""

    def html(self) -> str:
        """Its HTML."""


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str

    def html(self) -> str:
        """Its HTML."""
        return f"<p>{escaped(self.text, 2000)}</p>"


@dataclasses.dataclass(frozen=True)
class Lines:
    """A list of lines."""

    lines: Sequence[str]

    def html(self) -> str:
        """Its HTML."""
        rows = "".join(f"<li>{escaped(line, 1000)}</li>" for line in self.lines)
        return f"<ul>{rows}</ul>"


@dataclasses.dataclass(frozen=True)
class Code:
    """Commands to copy, one per line."""

    lines: Sequence[str]

    def html(self) -> str:
        """Its HTML."""
        text = "\n".join(escaped(line, 8000) for line in self.lines)
        return f'<pre tabindex="0"><code>{text}</code></pre>'


@dataclasses.dataclass(frozen=True)
class Facts:
    """Names with their values."""

    rows: Sequence[tuple[str, object]]

    def html(self) -> str:
        """Its HTML."""
        rows = "".join(
            f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>"
            for name, value in self.rows
        )
        return f"<dl>{rows}</dl>"


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Key figures at the top of a page: (value, title) of each."""

    rows: Sequence[tuple[str, str]]

    def html(self) -> str:
        """Its HTML."""
        rows = "".join(
            f"<li><strong>{escaped(value)}</strong> <span>{escaped(name)}</span></li>"
            for value, name in self.rows
        )
        return f'<ul class="tiles">{rows}</ul>'


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; columns of numbers are aligned right.

    Attributes:
        head: names of the columns.
        rows: rows with one value per column.
        caption: caption of the table.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str

    def html(self) -> str:
        """Its HTML."""
        numeric = [
            bool(self.rows) and all(_is_number(row[place]) for row in self.rows)
            for place in range(len(self.head))
        ]
        head = "".join(
            f'<th scope="col"{_right(right)}>{escaped(name)}</th>'
            for name, right in zip(self.head, numeric, strict=True)
        )
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td{_right(right)}>{escaped(value)}</td>"
                for value, right in zip(row, numeric, strict=True)
            )
            + "</tr>"
            for row in self.rows
        )
        caption = escaped(self.caption)
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">'
            f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )


def _right(right: bool) -> str:
    return ' class="number"' if right else ""


def _is_number(value: object) -> bool:
    """Whether a text reads as a number, with its unit."""
    if isinstance(value, (int, float)):
        return True
    text = str(value)
    return text in ("", "-") or text.lstrip("+-")[:1].isdigit()


@dataclasses.dataclass(frozen=True)
class Details:
    """A section that is collapsed until the reader opens it."""

    summary: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """Its HTML."""
        inside = "".join(block.html() for block in self.blocks)
        return f"<details><summary>{escaped(self.summary)}</summary>{inside}</details>"


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        svg: SVG source from `charts`, with escaped text.
        alt: description for screen readers.
        caption: caption below the chart.
        wide: whether the chart has the full width of the page, not half of it.
    """

    svg: str
    alt: str
    caption: str
    wide: bool = True

    def html(self) -> str:
        """Its HTML."""
        kind = "wide" if self.wide else "half"
        svg = self.svg.replace(
            "<svg ", f'<svg role="img" aria-label="{escaped(self.alt, 1000)}" ', 1
        )
        return (
            f'<figure class="chart {kind}"{_focus(self.wide)}>{svg}'
            f"<figcaption>{escaped(self.caption, 1000)}</figcaption></figure>"
        )


def _focus(wide: bool) -> str:
    # Elements that scroll must be reachable by the keyboard.
    return ' tabindex="0"' if wide else ""


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """An image with lines of text below it.

    Attributes:
        uri: data URI from `thumbnails.data_uri`.
        alt: description for screen readers.
        lines: lines of text below the image.
    """

    uri: str
    alt: str
    lines: Sequence[str]

    def html(self) -> str:
        """Its HTML."""
        lines = "".join(f"<span>{escaped(line, 120)}</span>" for line in self.lines)
        return (
            f'<li><figure><img src="{html.escape(self.uri)}" alt="{escaped(self.alt)}">'
            f"<figcaption>{lines}</figcaption></figure></li>"
        )


@dataclasses.dataclass(frozen=True)
class Images:
    """A gallery of thumbnails."""

    items: Sequence[Thumbnail]

    def html(self) -> str:
        """Its HTML."""
        return f'<ul class="images">{"".join(item.html() for item in self.items)}</ul>'
