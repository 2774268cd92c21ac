"""Types and ranges of values, in Python and on the command line.

An axis of an architecture, a field of a recipe and an option of a command have one rule
each, in one table (`architecture.AXES`, `recipes.FIELDS`, the parsers). `check` takes
Python values, `read` the text of a command line: only there "no" means False.
"""

import dataclasses
import math
import re
import typing
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import shown

# Values of a switch on the command line, in upper or lower case.
WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
# More digits than any allowed number has; Python refuses thousands of them.
_DIGITS = 30
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Rule:
    """The rule for a value; `words` describes it after "must"."""

    @property
    def words(self) -> str:
        """The rule, as it reads after "must"."""
        raise NotImplementedError

    def check(self, name: str, value: typing.Any) -> typing.Any:
        """Returns the checked value, with NumPy scalars as Python's.

        Raises:
            InvalidArgument: another type, or a value outside the range.
        """
        value = _plain(value)
        if not self.allows(value):
            self.refuse(name, value)
        return self.kept(value)

    def read(self, name: str, text: str) -> typing.Any:
        """Returns the value of a command line's `text`.

        Raises:
            InvalidArgument: no such value, or one outside the range.
        """
        value = self.said(text.strip())
        if value is None or not self.allows(value):
            self.refuse(name, text)
        return self.kept(value)

    def refuse(self, name: str, value: typing.Any) -> typing.NoReturn:
        """Raises `InvalidArgument` with the rule and the value."""
        raise InvalidArgument(f"{name} must {self.words}; got {shown(value)}")

    def allows(self, value: typing.Any) -> bool:
        """Whether a Python value is allowed."""
        raise NotImplementedError

    def said(self, text: str) -> typing.Any:
        """Returns the value of a text; None if it is not one."""
        raise NotImplementedError

    def kept(self, value: typing.Any) -> typing.Any:
        """Returns an allowed value in its stored form."""
        return value


@dataclasses.dataclass(frozen=True)
class Flag(Rule):
    """True or False in Python; `WORDS` on a command line."""

    @property
    def words(self) -> str:
        return "be True or False"

    def allows(self, value: typing.Any) -> bool:
        return isinstance(value, bool)

    def said(self, text: str) -> typing.Any:
        return WORDS.get(text.lower())

    def read(self, name: str, text: str) -> typing.Any:
        if text.strip().lower() not in WORDS:
            raise InvalidArgument(
                f"{name} must be true or false (yes or no, on or off, 1 or 0); got "
                f"{shown(text)}"
            )
        return self.said(text.strip())


@dataclasses.dataclass(frozen=True)
class Whole(Rule):
    """A whole number in [least, most]."""

    least: int
    most: int

    @property
    def words(self) -> str:
        return f"be a whole number from {self.least:,} to {self.most:,}"

    def allows(self, value: typing.Any) -> bool:
        number = isinstance(value, int) and not isinstance(value, bool)
        return number and self.least <= value <= self.most

    def said(self, text: str) -> typing.Any:
        if len(text) > _DIGITS or not re.fullmatch(r"[+-]?[0-9]+", text):
            return None
        return int(text)


@dataclasses.dataclass(frozen=True)
class Number(Rule):
    """A number in [least, most], or in an open interval.

    Attributes:
        least, most: the ends.
        above: whether `least` itself is excluded. below: whether `most` is.
    """

    least: float
    most: float
    above: bool = False
    below: bool = False

    @property
    def words(self) -> str:
        low, high = "(" if self.above else "[", ")" if self.below else "]"
        return f"lie in {low}{self.least:,g}, {self.most:,g}{high}"

    def allows(self, value: typing.Any) -> bool:
        # NaN fails every comparison.
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return (
            number
            and (value > self.least if self.above else value >= self.least)
            and (value < self.most if self.below else value <= self.most)
        )

    def said(self, text: str) -> typing.Any:
        if len(text) > _DIGITS or not _NUMBER.fullmatch(text):
            return None
        value = float(text)
        return value if math.isfinite(value) else None


@dataclasses.dataclass(frozen=True)
class Choice(Rule):
    """One of some names; `aliases` are other spellings of them."""

    allowed: tuple[typing.Any, ...]
    aliases: dict[str, typing.Any] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def words(self) -> str:
        return f"be one of {', '.join(repr(name) for name in self.allowed)}"

    def check(self, name: str, value: typing.Any) -> typing.Any:
        if isinstance(value, str):
            value = self.aliases.get(value, value)
        check_choice(name, value, self.allowed)
        return value

    def read(self, name: str, text: str) -> typing.Any:
        value = text.strip().strip("'\"")
        if None in self.allowed and value.lower() == "none":
            return None
        return self.check(name, value)


@dataclasses.dataclass(frozen=True)
class Text(Rule):
    """A line of printable text with a maximal length."""

    longest: int

    @property
    def words(self) -> str:
        return f"be printable text of 1 to {self.longest:,} characters"

    def allows(self, value: typing.Any) -> bool:
        return (
            isinstance(value, str)
            and 1 <= len(value) <= self.longest
            and value.isprintable()
        )

    def said(self, text: str) -> typing.Any:
        return text.strip("'\"")


@dataclasses.dataclass(frozen=True)
class Maybe(Rule):
    """None, or a value that another rule allows."""

    rule: Rule

    @property
    def words(self) -> str:
        return f"be None, or {self.rule.words}"

    def check(self, name: str, value: typing.Any) -> typing.Any:
        return None if value is None else self._or_none(self.rule.check, name, value)

    def read(self, name: str, text: str) -> typing.Any:
        if text.strip().lower() == "none":
            return None
        return self._or_none(self.rule.read, name, text)

    def _or_none(
        self,
        check: Callable[[str, typing.Any], typing.Any],
        name: str,
        value: typing.Any,
    ) -> typing.Any:
        try:
            return check(name, value)
        except InvalidArgument:
            if isinstance(self.rule, (Whole, Number)):
                self.refuse(name, value)
            raise


@dataclasses.dataclass(frozen=True)
class Several(Rule):
    """A tuple of `fewest` to `most` values with the same rule.

    Attributes:
        rule: the rule for each value.
        fewest, most: the allowed number of values.
        alone: whether a single value is allowed for all; it stays single.
    """

    rule: Rule
    fewest: int
    most: int
    alone: bool = False

    @property
    def words(self) -> str:
        count = f"{self.fewest}"
        count += f" to {self.most}" if self.most > self.fewest else ""
        alone = f"{self.rule.words}, or " if self.alone else ""
        return (
            f"{alone}be a tuple of {count} values, each of which must {self.rule.words}"
        )

    def check(self, name: str, value: typing.Any) -> typing.Any:
        if not isinstance(value, (tuple, list)):
            if not self.alone:
                self.refuse(name, value)
            return self.rule.check(name, value)
        if not self.fewest <= len(value) <= self.most:
            self.refuse(name, value)
        return tuple(self.rule.check(name, entry) for entry in value)

    def read(self, name: str, text: str) -> typing.Any:
        entries = _entries(text)
        if entries is None:
            if not self.alone:
                self.refuse(name, text)
            return self.rule.read(name, text)
        if not self.fewest <= len(entries) <= self.most:
            self.refuse(name, text)
        return tuple(self.rule.read(name, entry) for entry in entries)


@dataclasses.dataclass(frozen=True)
class Together(Rule):
    """A tuple of numbers with a rule for each position.

    Attributes:
        rules: a `Rule` for each.
        names: the name of each number, for messages; empty if they are alike.
    """

    rules: tuple[Rule, ...]
    names: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        named = f" ({', '.join(self.names)})" if self.names else ""
        return f"be {len(self.rules)} numbers{named}"

    def check(self, name: str, value: typing.Any) -> typing.Any:
        fits = isinstance(value, (tuple, list)) and len(value) == len(self.rules)
        if not fits:
            self.refuse(name, value)
        return self._each(Rule.check, name, value)

    def read(self, name: str, text: str) -> typing.Any:
        entries = _entries(text)
        if entries is None or len(entries) != len(self.rules):
            self.refuse(name, text)
        return self._each(Rule.read, name, entries)

    def _each(
        self,
        take: Callable[[Rule, str, typing.Any], typing.Any],
        name: str,
        entries: Sequence[typing.Any],
    ) -> tuple[typing.Any, ...]:
        places = [f"{name}'s {place}" for place in self.names] or [name] * len(entries)
        return tuple(map(take, self.rules, places, entries))


def read_settings(
    settings: Iterable[str],
    rules: Mapping[str, Rule],
    option: str,
    form: str,
    elsewhere: Mapping[str, str] | None = None,
) -> dict[str, typing.Any]:
    """Reads the values of an option such as `--set AXIS=VALUE`, by name.

    Names without a rule are kept too, so that the caller can suggest what was meant.

    Args:
        settings: strings, each a name, `=` and a value.
        rules: a `Rule` for every name.
        option: the option, for messages: `"--set"`.
        form: its form, for messages: `"AXIS=VALUE"`.
        elsewhere: names that another option sets, with the message for them.

    Raises:
        InvalidArgument: no `=`, a name that is set twice or elsewhere, or a value that
            its rule does not allow.
    """
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals:
            raise InvalidArgument(f"{option} takes {form}; got {shown(setting)}")
        if elsewhere and name in elsewhere:
            raise InvalidArgument(f"{option} {name}: {elsewhere[name]}")
        if name in values:
            raise InvalidArgument(
                f"{option} takes each name once; got {shown(name)} again, as "
                f"{shown(text)}"
            )
        rule = rules.get(name)
        values[name] = rule.read(f"{option} {name}", text) if rule else _guess(text)
    return values


def _guess(text: str) -> typing.Any:
    """The value of a text without a rule: a number, a switch, None or a string."""
    number = Whole(-(10**9), 10**9).said(text)
    switch = {"true": True, "false": False, "none": None}
    return switch.get(text.lower(), text) if number is None else number


def _plain(value: typing.Any) -> typing.Any:
    """A NumPy scalar as a Python one; everything else unchanged."""
    of_numpy = type(value).__module__ == "numpy" and hasattr(value, "item")
    return value.item() if of_numpy and getattr(value, "ndim", 1) == 0 else value


def _entries(text: str) -> list[str] | None:
    """The parts of `(1, 2)`, `[1, 2]` or `1,2`; None for a single value."""
    text = text.strip()
    bracketed = text[:1] + text[-1:] in ("()", "[]")
    if bracketed:
        text = text[1:-1].strip()
    if not bracketed and "," not in text:
        return None
    return text.removesuffix(",").split(",") if text else []
