"""An argument parser with one-line errors, and help with defaults and ranges."""

import argparse
import contextlib
import shutil
import sys
import textwrap
import typing
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import printable
from keras_resnets.export.number_formats import OLD_WORDS
from keras_resnets.fields import Number
from keras_resnets.fields import Whole

# `argparse` has no public name for what `add_argument_group` returns.
Group = argparse._ArgumentGroup


class Commands(typing.Protocol):
    """The interface by which a module adds its commands: `main`'s or `argparse`'s."""

    def add_parser(self, name: str, **options: typing.Any) -> argparse.ArgumentParser:
        """Returns the parser of a new command."""


# A larger limit is shown as no limit.
_ENDLESS = 1_000_000
# Lines of an ordinary terminal.
SCREEN = 50
# Rarely needed options: help that exceeds a screen lists only their names, and
# --help-all describes them.
RARE = frozenset(
    f"--{name}"
    for name in (
        "batch calibration-count channels classes class-weight coordinator crop "
        "deterministic devices engine features flash fold-bn front full-range heatmap "
        "held-out input-size "
        "io-dtype labels layer learning-rate layout logits metadata method min-agreement "
        "mode no-mirror opset "
        "percentile plan plot points pooled-strides precision precisions prefer process "
        "processes ram reduce-range report rounding sampler save-seconds seed set "
        "source sparse storage symmetric teacher-weights tensorboard threads unpacked "
        "unproven verbose workers"
    ).split()
)


class Help(argparse.RawDescriptionHelpFormatter):
    """Help that adds the default and the range of every option."""

    def __init__(
        self,
        prog: str,
        indent_increment: int = 2,
        max_help_position: int = 28,
        width: int | None = None,
    ) -> None:
        super().__init__(prog, indent_increment, max_help_position, width)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, default = action.help, shown_default(action)
        if not text or default is None or default in text:
            return text
        return f"{text} {default}"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return allowed_range(action) or super()._get_default_metavar_for_optional(
            action
        )


def shown_default(action: argparse.Action) -> str | None:
    """Returns the default of an option as help shows it; None if it has none.

    A switch is off by default. If the default is None, the help text describes it.
    """
    default = action.default
    if action.nargs == 0 or action.required or default in (None, [], argparse.SUPPRESS):
        return None
    text = format(default, "g") if isinstance(default, float) else str(default)
    return f"({text})"


def allowed_range(action: argparse.Action) -> str | None:
    """Returns the range of a numeric option, such as `1..1024`; None for others.

    A range without a practical limit is `N`.
    """
    rule = getattr(action.type, "rule", None)
    if not isinstance(rule, (Whole, Number)):
        return None
    return f"{rule.least:g}..{rule.most:g}" if rule.most < _ENDLESS else "N"


class Parser(argparse.ArgumentParser):
    """A parser with one-line errors, which takes MODEL anywhere among the options."""

    def __init__(self, *words: typing.Any, **options: typing.Any) -> None:
        options.setdefault("formatter_class", Help)
        super().__init__(*words, **options)
        self._is_inside = False
        self._shows_all = False

    def format_help(self) -> str:
        """Returns the help; longer than a screen, it lists rare options by name only."""
        text = super().format_help()
        rare = [
            action
            for action in self._actions
            if RARE.intersection(action.option_strings)
            and action.help is not argparse.SUPPRESS
            and not action.required
        ]
        if self._shows_all or not rare or text.count("\n") <= SCREEN:
            return text
        help_texts = [action.help for action in rare]
        for action in rare:
            action.help = argparse.SUPPRESS
        try:
            text = super().format_help()
        finally:
            for action, help_text in zip(rare, help_texts, strict=True):
                action.help = help_text
        names = " ".join(action.option_strings[0] for action in rare)
        width = shutil.get_terminal_size().columns - 2
        more = textwrap.fill(
            f"--help-all also shows {names}",
            width,
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
        return f"{text}\n{more}\n"

    def format_all(self) -> str:
        """Returns the help with every option."""
        self._shows_all = True
        try:
            return self.format_help()
        finally:
            self._shows_all = False

    def parse_args(
        self, args: typing.Any = None, namespace: typing.Any = None
    ) -> typing.Any:
        words = sys.argv[1:] if args is None else args
        for before, word in zip(["", *words], words, strict=False):
            # An unset shell variable; an empty path would mean the current folder.
            if not word.strip() or word.startswith("--") and word.endswith("="):
                name = before if before.startswith("-") else word or "an argument"
                self.error(
                    f"{name.rstrip('=')} is empty; leave it out, or give a value"
                )
            # argparse drops a lone -- here as well, and passes an empty list on.
            if word.startswith("--") and word.endswith("=--"):
                self.error(f"-- cannot be the value of an option; got {word!r}")
        return super().parse_args(words, namespace)

    def parse_known_args(
        self, args: typing.Any = None, namespace: typing.Any = None
    ) -> typing.Any:
        if self._is_inside or not self._may_lack_a_place():
            return super().parse_known_args(args, namespace)
        self._refuse_unknown(args)
        # Otherwise argparse looks for an optional positional only in front of the options.
        self._is_inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_inside = False

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        """Refuses unknown options, whose values would otherwise be taken for MODEL."""
        if "--" in words:
            words = words[: words.index("--")]
        for index, word in enumerate(words):
            name = word.partition("=")[0]
            if not name.startswith("--") or " " in word:
                continue
            if any(option.startswith(name) for option in self._option_string_actions):
                continue
            value = [
                other for other in words[index + 1 : index + 2] if other[:1] != "-"
            ]
            self.error(f"unrecognized arguments: {' '.join([word, *value])}")

    def _may_lack_a_place(self) -> bool:
        return any(
            not action.option_strings and action.nargs == "?"
            for action in self._actions
        )

    def _check_value(self, action: argparse.Action, value: typing.Any) -> None:
        # The message of argparse does not suggest the nearest choice.
        if action.choices is None or value in action.choices:
            return
        name = (
            action.option_strings[-1] if action.option_strings else str(action.metavar)
        )
        new = OLD_WORDS.get(value) if isinstance(value, str) else None
        if new in action.choices:
            raise argparse.ArgumentError(None, f"{name} {value} is {new} here")
        try:
            check_choice(name, value, tuple(action.choices))
        except InvalidArgument as error:
            raise argparse.ArgumentError(None, str(error)) from None

    def _print_message(self, message: str, file: typing.Any = None) -> None:
        # As newer releases of Python do; `streams.ended` reports the error.
        with contextlib.suppress(OSError):
            super()._print_message(message, file)

    def error(self, message: str) -> typing.NoReturn:
        message = printable(message, 1000)
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


class HelpAll(argparse.Action):
    """`--help-all`: help with every option."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, help: str | None = None
    ) -> None:  # noqa: A002
        super().__init__(option_strings, argparse.SUPPRESS, 0, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: typing.Any,
        option_string: str | None = None,
    ) -> None:
        """Prints the help and ends the command."""
        text = (
            parser.format_all() if isinstance(parser, Parser) else parser.format_help()
        )
        parser._print_message(text, sys.stdout)
        parser.exit()
