"""A progress bar."""

import contextlib
import typing
from collections.abc import Iterator

from keras_resnets.system import quiet

# Whether bars are hidden (`--quiet`).
_is_hidden = False


@contextlib.contextmanager
def hidden(yes: bool = True) -> Iterator[None]:
    """Hides progress bars inside the block if `yes`."""
    global _is_hidden
    before, _is_hidden = _is_hidden, yes
    try:
        yield
    finally:
        _is_hidden = before


class ProgressBar:
    """A progress bar on a terminal; elsewhere it shows nothing.

    Args:
        total: the number at the end; each call can update it.
        unit: the unit of the numbers; with `"MB"` the numbers are bytes.
        stream: the stream to draw on; None for standard error.
    """

    def __init__(
        self,
        total: float,
        unit: str = "",
        stream: typing.TextIO | None = None,
        width: int = 40,
    ) -> None:
        self._total, self._unit, self._width = total, unit, width
        self._stream = stream or quiet.terminal()
        self._shown = self._stream.isatty() and not _is_hidden

    def __call__(self, done: float, total: float | None = None) -> None:
        self._total = self._total if total is None else total
        if self._shown:
            full = round(self._width * done / max(self._total, 1))
            bar = "#" * full + "." * (self._width - full)
            shown = f"{self._count(done)} of {self._count(self._total)} {self._unit}"
            self._draw(f"\r{bar} {shown.rstrip()}")

    def _count(self, number: float) -> str:
        return f"{number / 1e6:,.1f}" if self._unit == "MB" else f"{number:,}"

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Erases the bar."""
        if self._shown:
            self._draw("\r" + " " * (self._width + 40) + "\r")

    def _draw(self, text: str) -> None:
        # A closed terminal must not end the work.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
