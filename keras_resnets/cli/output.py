"""Where what a command says goes: lines for a person, or one JSON object for a program.

`say` prints results, `note` what one may do without, `keep` collects the facts that
`--json` prints at the end. One command runs at a time in a process.
"""

import contextlib
import dataclasses
import json
import math
import os
import typing
from collections.abc import Iterator

from keras_resnets.errors import printable
from keras_resnets.system import progress
from keras_resnets.system import quiet

# Of a line; a passport as JSON may have a name for each of 20,000 classes.
_LONGEST = 100_000


@dataclasses.dataclass
class _State:
    json: bool = False
    quiet: bool = False
    kept_on_failure: bool = False
    facts: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


_now = _State()
# The last command's, for whoever reports its failure.
_verbose = False


@contextlib.contextmanager
def running(
    command: str,
    names: tuple[str, ...],
    *,
    as_json: bool,
    be_quiet: bool,
    verbose: bool,
) -> Iterator[None]:
    """While a command runs: what it says goes where its options tell.

    Args:
        command: its name, such as `"export tflite"`.
        names: of the facts that its JSON has; null where a run has none of them.
        as_json: whether standard output gets one JSON object and nothing else; nothing
            where the command fails, unless what it found stands (see `keep_on_failure`).
        be_quiet: whether notes and progress are left out.
        verbose: whether the logs of libraries are shown.
    """
    global _now, _verbose
    before, _now = _now, _State(as_json, be_quiet or as_json)
    _verbose = verbose
    try:
        with progress.hidden(_now.quiet or verbose), quiet.shown_logs(verbose):
            failed = True
            try:
                with progress.steps_shown(command):
                    yield
                failed = False
            finally:
                if as_json and _now.facts and (_now.kept_on_failure or not failed):
                    print(as_text(command, names), flush=True)
    finally:
        _now = before


def is_verbose() -> bool:
    """Whether the last command was asked for all that there is to say."""
    return _verbose


def is_json() -> bool:
    """Whether standard output belongs to one JSON object."""
    return _now.json


def is_quiet() -> bool:
    """Whether nobody wants notes and bars."""
    return _now.quiet


def say(text: str) -> None:
    """Prints a result at once; nothing in it that a terminal would obey."""
    if _now.json:
        return
    lines = (printable(line, _LONGEST) for line in text.split("\n"))
    with progress.aside():
        print("\n".join(lines), flush=True)


def note(text: str) -> None:
    """Prints what is no result: `--quiet` leaves it out."""
    _now.notes.append(text)
    if not _now.quiet:
        say(text)


def notes() -> tuple[str, ...]:
    """What `note` was told, whether anybody read it."""
    return tuple(_now.notes)


def keep(**facts: typing.Any) -> None:
    """Keeps facts for `--json`, by the names that the command has declared."""
    _now.facts.update(facts)


def keep_on_failure() -> None:
    """What was kept is a result, also where the command fails over it (`verify`)."""
    _now.kept_on_failure = True


def has_result() -> bool:
    """Whether what was kept stands though the command fails."""
    return _now.kept_on_failure


def add(name: str, fact: typing.Any) -> None:
    """Appends one fact to a list that was kept."""
    _now.facts[name].append(fact)


def as_text(command: str, names: tuple[str, ...]) -> str:
    """What was kept as one JSON object.

    Args:
        command: its name, which comes first.
        names: of the facts, see `running`.
    """
    facts = {"command": command, **dict.fromkeys(names), **_now.facts}
    return json.dumps(_plain(facts), indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: typing.Any) -> typing.Any:
    """A value as JSON has it: what is infinite is a text, as in passports."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Not `asdict`, which copies what is inside.
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        value = {
            name: item
            for name, item in value.items()
            if not name.startswith("_") and not isinstance(item, bytes)
        }
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
