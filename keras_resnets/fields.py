"""Types and ranges of values, and what words of a command line say of them.

An axis of an architecture, a field of a recipe and an option of a command have one rule
each, which stands in one table (`architecture.AXES`, `recipes.FIELDS`, the parsers).
`check` takes Python's values, `read` the words of a command line: only there is "no" a
false.
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

# What a command line says of a switch, in any case.
WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
# More digits than any number that is allowed has; Python refuses thousands of them.
_DIGITS = 30
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Rule:
    """What a value may be; `words` says it after "must"."""

    @property
    def words(self) -> str:
        """The rule, as it reads after "must"."""
        raise NotImplementedError

    def check(self, name: str, value: typing.Any) -> typing.Any:
        """`value` as it is kept: NumPy's scalars as Python's.

        Raises:
            InvalidArgument: another type, or outside the range.
        """
        value = _plain(value)
        if not self.allows(value):
            self.refuse(name, value)
        return self.kept(value)

    def read(self, name: str, text: str) -> typing.Any:
        """The value that `text` of a command line says.

        Raises:
            InvalidArgument: it says none, or one outside the range.
        """
        value = self.said(text.strip())
        if value is None or not self.allows(value):
            self.refuse(name, text)
        return self.kept(value)

    def refuse(self, name: str, value: typing.Any) -> typing.NoReturn:
        """Raises `InvalidArgument` with the rule and what came in."""
        raise InvalidArgument(f"{name} must {self.words}; got {shown(value)}")

    def allows(self, value: typing.Any) -> bool:
        """Whether a value of Python is allowed."""
        raise NotImplementedError

    def said(self, text: str) -> typing.Any:
        """The value that a text stands for; None where it is none."""
        raise NotImplementedError

    def kept(self, value: typing.Any) -> typing.Any:
        """An allowed value as it is kept."""
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
    """A number in [least, most], or between them where an end is left out.

    Attributes:
        least, most: the ends.
        above: whether `least` itself is left out. below: whether `most` is.
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
        # Not a number is not larger than anything.
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

    allowed: tuple
    aliases: dict = dataclasses.field(default_factory=dict, hash=False)

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
    """A line of printable text of so many characters at most."""

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
    """None, or what another rule says."""

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
    """A tuple of values that keep one rule, `fewest` to `most` of them.

    Attributes:
        rule: of each.
        fewest, most: how many.
        alone: whether a single value may stand for all; it stays single.
    """

    rule: Rule
    fewest: int
    most: int
    alone: bool = False

    @property
    def words(self) -> str:
        count = f"{self.fewest} to {self.most}"
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
    """A tuple of numbers with a rule for each of its places.

    Attributes:
        rules: a `Rule` for each.
        names: what each is called, for messages; empty where they are alike.
    """

    rules: tuple
    names: tuple = ()

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
    """The values that an option such as `--set AXIS=VALUE` gives, by name.

    Names that have no rule come too: who takes the values knows what was meant.

    Args:
        settings: the words, each a name, `=` and a value.
        rules: a `Rule` for every name.
        option: for messages: `"--set"`.
        form: what it takes, for messages: `"AXIS=VALUE"`.
        elsewhere: names that another option gives, and what to say of them.

    Raises:
        InvalidArgument: no `=`, a name that is given twice or elsewhere, or a value
            that its rule does not allow.
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
    """What a text says where nothing is known of it: a number, a switch, None, words."""
    number = Whole(-(10**9), 10**9).said(text)
    switch = {"true": True, "false": False, "none": None}
    return switch.get(text.lower(), text) if number is None else number


def _plain(value: typing.Any) -> typing.Any:
    """A scalar of NumPy as Python's; everything else as it is."""
    of_numpy = type(value).__module__ == "numpy" and hasattr(value, "item")
    return value.item() if of_numpy and getattr(value, "ndim", 1) == 0 else value


def _entries(text: str) -> list[str] | None:
    """The parts of `(1, 2)`, `[1, 2]` or `1,2`; None for what is a single value."""
    text = text.strip()
    bracketed = text[:1] + text[-1:] in ("()", "[]")
    if bracketed:
        text = text[1:-1].strip()
    if not bracketed and "," not in text:
        return None
    return text.removesuffix(",").split(",") if text else []
