"""A progress bar."""

import contextlib
import typing
from collections.abc import Iterator

from keras_resnets.system import quiet

# Whether nobody wants to see bars (`--quiet`).
_is_hidden = False


@contextlib.contextmanager
def hidden(yes: bool = True) -> Iterator[None]:
    """Shows no bar inside, where `yes`."""
    global _is_hidden
    before, _is_hidden = _is_hidden, yes
    try:
        yield
    finally:
        _is_hidden = before


class ProgressBar:
    """A bar on a terminal, and nothing anywhere else.

    Args:
        total: of the numbers that it is called with; whoever knows it first can say
            it with each of them.
        unit: what is counted; with `"MB"` the numbers are bytes.
        stream: where to draw; None for standard error.
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
        """Wipes the bar away."""
        if self._shown:
            self._draw("\r" + " " * (self._width + 40) + "\r")

    def _draw(self, text: str) -> None:
        # A terminal that has gone is no reason to end the work.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
