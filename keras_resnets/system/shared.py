"""Switches and changes of the process that several threads may need at the same time.

A block that saves a state, changes it and restores it is wrong with threads: the second
saves what the first has changed, and restores that, for good.
"""

import contextlib
import contextvars
import logging
import sys
import threading
import typing
import warnings
from collections.abc import Callable
from collections.abc import Iterator


class Switch:
    """A switch that a block turns on for its own thread.

    Example:
        >>> switch = Switch("example")
        >>> with switch.on():
        ...     switch.is_on()
        True
        >>> switch.is_on()
        False
    """

    def __init__(self, name: str) -> None:
        self._value = contextvars.ContextVar(name, default=False)

    def is_on(self) -> bool:
        """Whether this thread is in a block of `on`."""
        return self._value.get()

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Turns it on until the block ends."""
        token = self._value.set(True)
        try:
            yield
        finally:
            self._value.reset(token)


class Shared:
    """A context for several threads: the first enters it, and the last leaves it.

    Args:
        context: function that returns the context manager.

    Example:
        >>> entered = []
        >>> def context():
        ...     entered.append("in")
        ...     return contextlib.nullcontext()
        >>> shared = Shared(context)
        >>> with shared, shared:
        ...     entered
        ['in']
    """

    def __init__(
        self, context: Callable[[], contextlib.AbstractContextManager[typing.Any]]
    ) -> None:
        self._context = context
        # Reentrant: a signal's handler may leave a block.
        self._lock = threading.RLock()
        self._blocks = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._stack.enter_context(self._context())
            self._blocks += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._stack.close()


# Every message. The comment makes a filter of it differ from one that a user has set.
_ANY = "(?#keras_resnets)"


@contextlib.contextmanager
def _ignored(category: type[Warning]) -> Iterator[None]:
    """Adds a filter of its own, where `catch_warnings` would restore a list of all."""
    warnings.filterwarnings("ignore", _ANY, category)
    added = warnings.filters[0]
    try:
        yield
    finally:
        # A `catch_warnings` of somebody else may have removed it.
        with contextlib.suppress(ValueError):
            typing.cast(list[typing.Any], warnings.filters).remove(added)


@contextlib.contextmanager
def _silenced(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    # Errors too: each is also raised, or found in the result.
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class _ByKey(dict[typing.Any, Shared]):
    """A `Shared` for each key, such as the name of a logger."""

    def __init__(
        self, context: Callable[[typing.Any], contextlib.AbstractContextManager[None]]
    ) -> None:
        super().__init__()
        self._context = context

    def __missing__(self, key: typing.Any) -> Shared:
        return self.setdefault(key, Shared(lambda: self._context(key)))


_WARNINGS = _ByKey(_ignored)
_LOGGERS = _ByKey(lambda name: _silenced(logging.getLogger(name)))
# For libraries that print their progress to standard output.
stdout_to_stderr = Shared(lambda: contextlib.redirect_stdout(sys.stderr))


def warnings_ignored(category: type[Warning] = Warning) -> Shared:
    """Returns a context that ignores the warnings of a category, in all threads."""
    return _WARNINGS[category]


@contextlib.contextmanager
def loggers_hidden(*names: str | None) -> Iterator[None]:
    """Hides the log records of libraries, which a notebook prints to standard output.

    Args:
        *names: names of their loggers; None for the root.
    """
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(_LOGGERS[name])
        yield
