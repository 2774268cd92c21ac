"""Output of the commands: text lines, or one JSON object with `--json`.

`say` prints results, `note` prints optional lines, `keep` collects the facts that
`--json` prints at the end. A process runs one command at a time.
"""

import contextlib
import dataclasses
import json
import math
import os
import sys
import typing
import warnings
from collections.abc import Iterator

from keras_resnets.errors import printable
from keras_resnets.system import progress
from keras_resnets.system import quiet

# Maximum number of characters in a line; a passport may contain 20,000 class names.
_LONGEST = 100_000
# The notes that warn of something begin so; others describe the work.
_NOTE = "note: "
_PACKAGE = __name__.partition(".")[0]


@dataclasses.dataclass
class _State:
    json: bool = False
    quiet: bool = False
    kept_on_failure: bool = False
    facts: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


_now = _State()
# The setting of the last command, for the report of its failure.
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
    """Sets the output of a command while it runs, by its options.

    Args:
        command: name of the command, such as `"export tflite"`.
        names: keys of its JSON object; keys without a value are null.
        as_json: whether to print one JSON object and nothing else. If the command fails,
            nothing is printed, except after `keep_on_failure`.
        be_quiet: whether notes and progress are hidden.
        verbose: whether the logs of libraries are shown.
    """
    global _now, _verbose
    before, _now = _now, _State(as_json, be_quiet or as_json)
    _verbose = verbose
    try:
        with progress.hidden(be_quiet or verbose), quiet.shown_logs(verbose):
            failed = True
            try:
                with progress.steps_shown(command):
                    yield
                failed = False
            finally:
                if as_json and _now.facts and (_now.kept_on_failure or not failed):
                    print(_encodable(as_text(command, names)), flush=True)
    finally:
        _now = before


def is_verbose() -> bool:
    """Whether the last command had `--verbose`."""
    return _verbose


def is_json() -> bool:
    """Whether standard output is one JSON object."""
    return _now.json


def is_quiet() -> bool:
    """Whether notes and progress bars are hidden."""
    return _now.quiet


def say(text: str) -> None:
    """Prints a result at once, without control characters."""
    if _now.json:
        return
    lines = (printable(line, _LONGEST) for line in text.split("\n"))
    with progress.aside():
        print("\n".join(lines), flush=True)


def note(text: str) -> None:
    """Prints a note, which `--quiet` hides."""
    _now.notes.append(text)
    if not _now.quiet:
        say(text)


@contextlib.contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Prints the warnings of this package as notes, each text once.

    Other warnings are shown as before. Filters that are set inside the block are removed
    at its end.
    """
    with warnings.catch_warnings():
        show, shown = warnings.showwarning, set()

        def tell(
            message: Warning | str,
            category: type[Warning],
            *rest: typing.Any,
            **more: typing.Any,
        ) -> None:
            own = category.__module__.partition(".")[0] == _PACKAGE
            if not (own and issubclass(category, UserWarning)):
                show(message, category, *rest, **more)
            elif str(message) not in shown:
                shown.add(str(message))
                note(f"{_NOTE}{message}")

        warnings.showwarning = tell
        yield


def notes() -> tuple[str, ...]:
    """Returns the notes of the command, printed or not."""
    return tuple(_now.notes)


def keep(**facts: typing.Any) -> None:
    """Keeps facts for `--json`, under the keys that the command declares."""
    _now.facts.update(facts)


def keep_on_failure() -> None:
    """Marks the facts as a result even if the command fails afterwards (`verify`)."""
    _now.kept_on_failure = True


def has_result() -> bool:
    """Whether the facts are a result although the command fails."""
    return _now.kept_on_failure


def add(name: str, fact: typing.Any) -> None:
    """Appends a fact to a list that was kept."""
    _now.facts[name].append(fact)


def as_text(command: str, names: tuple[str, ...]) -> str:
    """Returns the kept facts as one JSON object.

    Args:
        command: name of the command, the first entry.
        names: keys of the object, see `running`; `notes` is added to them.
    """
    facts = {"command": command, **dict.fromkeys(names), **_now.facts}
    told = [line for line in _now.notes if line.startswith(_NOTE)]
    facts["notes"] = [line.removeprefix(_NOTE) for line in told]
    return json.dumps(_plain(facts), indent=1, ensure_ascii=False, allow_nan=False)


def milliseconds(seconds: float) -> str:
    """Formats seconds in ms of three digits, or in s."""
    # From 999.5 ms on three digits would be 1e+03.
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.9995 else f"{seconds:,.2f} s"


def _encodable(text: str) -> str:
    """Returns JSON with escapes for characters that standard output cannot encode."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), indent=1)
    return text


def _plain(value: typing.Any) -> typing.Any:
    """Returns a value as JSON types; infinite numbers become text, as in passports."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # `dataclasses.asdict` would copy the values.
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
