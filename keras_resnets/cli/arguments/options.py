"""Option types with their ranges, and the frozen record of a command's options."""

import argparse
import dataclasses
import re
import typing
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_resnets.cli.arguments import model_argument
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.pages import page
from keras_resnets.cli.printing import output
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import shown
from keras_resnets.export import number_formats
from keras_resnets.fields import Number
from keras_resnets.fields import Rule
from keras_resnets.fields import Whole
from keras_resnets.networks.architecture import AXES

# By command: the keys of its JSON, and the examples of its help.
FACTS: dict[str, dict[str, str]] = {}
EXAMPLES: dict[str, tuple[str, ...]] = {}
_TERMINAL = {
    "json": "print one JSON object, and nothing else",
    "quiet": "print results only, no notes and no progress",
    "verbose": "also print logs of libraries, and tracebacks of errors",
}


def set_command(
    parser: argparse.ArgumentParser,
    record: type,
    run: Callable[[Any], None],
    facts: Mapping[str, str] | None = None,
    examples: Sequence[str] = (),
    prepare: Callable[[argparse.Namespace], None] | None = None,
    report: bool = False,
) -> None:
    """Sets the function that a command runs, and the record of its options.

    It also adds the options that all commands have (`--json`, `--quiet`, `--verbose`), and
    resolves MODEL by `model_argument`.

    Args:
        parser: parser of the command.
        record: a frozen dataclass whose fields are the destinations of options. Its
            `__post_init__` raises `InvalidArgument` for incompatible options, before
            anything heavy is imported; its `check_free`, if it has one, for an output that
            exists.
        run: function that runs the command on the record.
        facts: keys of the JSON object that `--json` prints, with descriptions; the
            command sets their values by `output.keep`.
        examples: example arguments, which help shows.
        prepare: function that changes the namespace before the record is created.
        report: whether the command has `--report`; the command adds the contents of the
            page by `cli.page`.
    """
    words = parser.prog.split()
    command = " ".join(words[1:])
    described = dict(facts or {})
    added = _add_terminal(parser)
    if report:
        page.add_option(parser)
    parser.epilog = _epilog(parser.prog, examples)
    parser.usage = parser.usage or _usage(parser)

    def from_namespace(namespace: argparse.Namespace) -> None:
        printing = output.running(
            command,
            tuple(described),
            as_json="json" in added and namespace.json,
            be_quiet=namespace.quiet,
            verbose=namespace.verbose,
        )
        with (
            printing,
            output.warnings_as_notes(),
            page.collected(namespace, command, tuple(described)) as collected,
        ):
            if prepare is not None:
                prepare(namespace)
            if hasattr(namespace, "weights_needed"):
                model_argument.resolve(namespace)
            values = {
                field.name: getattr(namespace, field.name)
                for field in dataclasses.fields(record)
            }
            asked = record(**{k: _frozen(value) for k, value in values.items()})
            # After the options themselves: a wrong one is reported first.
            getattr(asked, "check_free", lambda: None)()
            collected.begin(asked, parser)
            run(asked)

    parser.set_defaults(run=from_namespace)
    # Read by the documentation's script and the tests.
    FACTS[command] = described
    EXAMPLES[command] = tuple(examples)


def _add_terminal(parser: argparse.ArgumentParser) -> list[str]:
    """Adds the options about output that every command has; returns the new names."""
    group = parser.add_argument_group("terminal")
    # Shows --help with these options, not in front of the command's own.
    for action in parser._optionals._group_actions[:]:
        if action.dest == "help":
            parser._optionals._group_actions.remove(action)
            group._group_actions.append(action)
            action.help = "show this and exit"
    group.add_argument("--help-all", action=parsing.HelpAll, help="with every option")
    added = []
    for name, text in _TERMINAL.items():
        if f"--{name}" not in parser._option_string_actions:
            group.add_argument(f"--{name}", action="store_true", help=text)
            added.append(name)
    return added


def _usage(parser: argparse.ArgumentParser) -> str:
    """Returns the usage line with the required arguments; help lists the others."""
    words = ["%(prog)s"]
    formatter = parser._get_formatter()
    for action in parser._actions:
        if not action.option_strings:
            place = formatter._format_args(action, str(action.metavar or action.dest))
            words.append("MODEL" if place == "[MODEL]" else place)
    for action in parser._actions:
        if action.required and action.option_strings:
            words += [
                action.option_strings[0],
                str(action.metavar or action.dest.upper()),
            ]
    return " ".join([*words, "[options]"])


def _epilog(prog: str, examples: Sequence[str]) -> str | None:
    if not examples:
        return None
    lines = [f"  {prog} {example}" for example in examples]
    return "\n".join(["examples:", *lines])


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Moved(argparse.Action):
    """A former option; it is refused with the command to use instead."""

    def __init__(
        self,
        option_strings: list[str],
        dest: str,
        instead: str,
        nargs: Any = None,
        reason: str = "is now a separate command",
    ) -> None:
        help_text = argparse.SUPPRESS
        super().__init__(option_strings, argparse.SUPPRESS, nargs, help=help_text)
        self._instead = f"{reason}: {instead}"

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} {self._instead}")


def typed(rule: Rule) -> Callable[[str], typing.Any]:
    """Returns a `type` for `add_argument` that reads values by a `Rule`."""

    def read(text: str) -> typing.Any:
        try:
            return rule.read("", text)
        except InvalidArgument as error:
            raise argparse.ArgumentTypeError(str(error).strip()) from None

    # For `parsing.allowed_range`, which shows the range in help.
    read.rule = rule  # type: ignore[attr-defined]  # functions have any attribute
    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """Returns the type of an integer in [least, most]."""
    return typed(Whole(least, most))


def number(
    least: float, most: float, above: bool = False, below: bool = False
) -> Callable[[str], float]:
    """Returns the type of a number in [least, most]; see `fields.Number` for open ends."""
    return typed(Number(least, most, above, below))


def amount(text: str) -> float:
    """Reads an amount with its unit: `50M`, `4G`, `300k`, `1000`."""
    try:
        scale = _SCALES.get(text[-1:], 1)
        value = _AMOUNT.read("", text[:-1] if scale > 1 else text)
    except InvalidArgument:
        raise argparse.ArgumentTypeError(
            f"must be a positive number, or one with k, M or G; got {shown(text)}"
        ) from None
    return value * scale


def byte_count(text: str) -> int:
    """Reads a number of bytes up to 1 TiB: 262144, 256kB or 256KiB.

    Units are as in data sheets: 1 kB is 1,000 bytes, 1 KiB is 1,024 bytes.
    """
    match = _BYTES.fullmatch(text)
    scale = _UNITS.get(match[2].lower()) if match else None
    count = int(float(match[1]) * scale) if match and scale else 0
    if not 1 <= count <= 2**40:
        raise argparse.ArgumentTypeError(
            "must be a number of bytes up to 1 TiB, as 262144, 256kB, 256KiB or 1MB; got "
            f"{shown(text)}"
        )
    return count


def latency(text: str) -> tuple[float | None, float | None]:
    """Reads a latency: `2ms` gives (seconds, None), `1.05x` gives (None, ratio).

    The ratio is relative to the latency of the int8 file.
    """
    match = _LATENCY.fullmatch(text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(
            "must be a time, as 2ms, 500us or 0.1s, or a ratio to the int8 file's "
            f"latency, as 1.05x; got {shown(text)}"
        )
    value = float(match[1])
    if match[2] == "x":
        return None, value
    return value * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[match[2]], None


def thresholds(text: str) -> float | tuple[tuple[str | None, float], ...]:
    """Reads `--threshold`: 0.5, cat=0.3,dog=0.6, or 0.4,dog=0.6 with 0.4 for the others.

    Returns:
        A number, or pairs of a label's name (None for the others) and its number.
    """
    try:
        return _SHARE.read("", text)
    except InvalidArgument:
        pass
    pairs: dict[str | None, float] = {}
    for word in text.split(","):
        name, equals, value = word.rpartition("=")
        try:
            share = _SHARE.read("", value.strip())
        except InvalidArgument:
            share = None
        key = name.strip() if equals else None
        if share is None or key in pairs or key == "":
            raise argparse.ArgumentTypeError(
                "must be a probability, as 0.5, or one for each of some labels, as "
                f"cat=0.3,dog=0.6 or 0.4,dog=0.6; got {shown(text)}"
            )
        pairs[key] = share
    return tuple(pairs.items())


def asked_threshold(
    threshold: float | tuple[tuple[str | None, float], ...] | None,
) -> Any:
    """Returns a threshold that `thresholds` read as `multi_label.thresholds` takes it."""
    return dict(threshold) if isinstance(threshold, tuple) else threshold


def add_threshold(group: argparse.ArgumentParser | parsing.Group) -> None:
    """Adds `--threshold`, the smallest probability of a predicted label."""
    group.add_argument(
        "--threshold",
        type=thresholds,
        metavar="P",
        help="smallest probability of a predicted label in a multi-label network (0.5), "
        "or cat=0.3,dog=0.6",
    )


def add_seed(group: argparse.ArgumentParser | parsing.Group, what: str) -> None:
    """Adds `--seed`; `what` is its description."""
    group.add_argument("--seed", type=SEED, default=0, help=what)


def add_threads(group: argparse.ArgumentParser | parsing.Group, what: str) -> None:
    """Adds `--threads`; `what` is its description."""
    group.add_argument("--threads", type=THREADS, default=2, help=what)


def add_labelled(group: argparse.ArgumentParser | parsing.Group) -> None:
    """Adds `--data`, the labelled images that the command requires."""
    group.add_argument(
        "--data",
        required=True,
        help=".npz, folder with a sub-folder per class, CSV file of names and classes "
        "beside its images, folder of TFRecords, tfds:NAME, "
        "or cifar10, cifar100, mnist, fashion_mnist",
    )


def add_validation(group: parsing.Group) -> None:
    """Adds `--validation`, the share of the training images to hold out."""
    group.add_argument(
        "--validation",
        type=number(0, 1, below=True),
        help="share of the training images to hold out",
    )


def switch(text: str, value: bool = True) -> dict[str, Any]:
    """Returns the arguments of a switch whose default is None, not the other value."""
    return {"action": "store_const", "const": value, "help": text}


def batch(text: str) -> int | str:
    """Reads `--batch`: an integer, or `dynamic`."""
    try:
        return text if text == "dynamic" else _BATCH.read("", text)
    except InvalidArgument:
        raise argparse.ArgumentTypeError(
            f"must {_BATCH.words}, or dynamic; got {shown(text)}"
        ) from None


def size(text: str) -> tuple[int, int]:
    """Reads the size of photos as (height, width)."""
    if text.lower() == "any":
        raise argparse.ArgumentTypeError(
            "must be HEIGHTxWIDTH in pixels, as 480x640: a file contains the weights of "
            "its resize, which depend on the size (docs/targets.md); got 'any'"
        )
    sides = text.lower().split("x")
    try:
        height, width = (_SIDE.read("", side) for side in sides)
    except (InvalidArgument, ValueError):
        raise argparse.ArgumentTypeError(
            f"must be HEIGHTxWIDTH in pixels, as 480x640; got {shown(text)}"
        ) from None
    return height, width


# Arguments of `add_argument`; commands add the default.
BATCH: dict[str, Any] = {"type": batch, "help": "images in a batch: number, or dynamic"}
IO_DTYPE: dict[str, Any] = {
    "choices": number_formats.IO_DTYPES,
    "help": "type of an int8 file's input and output (int8)",
}
UNPACKED = switch("do not rearrange int8 convolutions; for microcontrollers", False)
SPARSE = switch("store pruned kernels without their zeros")
SOURCE: dict[str, Any] = {
    "type": size,
    "metavar": "HEIGHTxWIDTH",
    "help": "the file takes photos of this size, and resizes and crops them",
}
METADATA = switch("add TFLite metadata and class names to the file, for MediaPipe")
_SIDE = Whole(1, 65_535)
_BYTES = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([kKmMgG]?i?)(?:[bB]|[bB]ytes?)?")
_LATENCY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(us|ms|s|x)")
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}
_UNITS |= {"ki": 1024, "mi": 1024**2, "gi": 1024**3}
_SCALES = {"k": 1e3, "M": 1e6, "G": 1e9}
_AMOUNT = Number(0, 1e18, above=True)
# Limit of a file's signature; `extent.check_pixels` checks what fits in memory.
_SHARE = Number(0, 1)
_BATCH = Whole(1, 65_536)
BATCH_SIZE = whole(1, 2**20)
CLASSES = typed(AXES["classes"])
# No data set has more images: the default takes them all.
COUNT = whole(1, 10**9)
# As many as `images.preprocessing.MOST_CHANNELS`, which is not imported for a parser.
CHANNELS = whole(1, 1000)
EPOCHS = whole(1, 1_000_000)
# Range that NumPy, TensorFlow and PyTorch all accept.
SEED = whole(0, 2**32 - 1)
# The largest machines have about as many cores.
THREADS = whole(1, 1024)
