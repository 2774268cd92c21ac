"""Classes of different sizes: how much an image of each counts."""

import collections
import csv
import math
import pathlib
import typing
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import first_line
from keras_resnets.errors import nearest
from keras_resnets.errors import printable
from keras_resnets.images.files import some
from keras_resnets.io.untrusted import parse_json
from keras_resnets.io.untrusted import read_text
from keras_resnets.io.untrusted import shown

BALANCED = "balanced"
SAMPLERS = ("shuffled", BALANCED)
_FORM = '"balanced", or a JSON or CSV file of class and weight'


def class_weights(
    given: typing.Any, classes: Sequence[tuple[str, str]], labels: np.ndarray, name: str
) -> dict[str, float]:
    """The weight of each class in the loss.

    Args:
        given: `"balanced"`: n / (k n_c), with n images of k classes, n_c of the class
            (King and Zeng 2001; scikit-learn's `compute_class_weight`), so that all
            classes weigh the same and an image 1 on average; a mapping from class to
            weight; or a path to one: a JSON object, or a CSV file of two columns.
        classes: (id, name) of each class.
        labels: int array, the classes of the images to train on.
        name: of the data, for messages.

    Returns:
        A dict from class name to weight, in the order of the classes.

    Raises:
        InvalidArgument: a file that cannot be read; classes that are missing, unknown
            or twice in it; weights that are not above 0 and finite; "balanced" where a
            class has no images.

    Example:
        >>> names = (("a", "a"), ("b", "b"))
        >>> class_weights("balanced", names, np.array([0, 0, 0, 1]), "mine")
        {'a': 0.6666666666666666, 'b': 2.0}
    """
    names = _distinct(classes)
    if isinstance(given, str) and given == BALANCED:
        counts = check_counts(classes, labels, name)
        shares = len(labels) / (len(classes) * counts)
        return dict(zip(names, shares.tolist(), strict=True))
    where = "class_weight"
    if isinstance(given, (str, pathlib.Path)):
        where, given = printable(str(given)), _read(pathlib.Path(given))
    if not hasattr(given, "items"):
        raise InvalidArgument(
            'class_weight must be "balanced", a mapping from class to weight, or a JSON '
            f"or CSV file of one; got {type(given).__name__}"
        )
    return _in_order(list(given.items()), classes, names, where)


def check_counts(
    classes: Sequence[tuple[str, str]], labels: np.ndarray, name: str
) -> np.ndarray:
    """How many images each class has.

    Raises:
        InvalidArgument: a class that has none.
    """
    counts = np.bincount(labels, minlength=len(classes))
    empty = [classes[index][1] for index in np.flatnonzero(counts == 0).tolist()]
    if empty:
        raise InvalidArgument(
            f"balancing needs images of every class to train on; {name} has none of "
            f"{_few(empty)}"
        )
    return counts


def check_sampler(sampler: str, class_weight: typing.Any) -> None:
    """Raises `InvalidArgument` unless `sampler` is one, and classes are balanced once."""
    check_choice("sampler", sampler, SAMPLERS)
    is_twice = isinstance(class_weight, str) and class_weight == sampler == BALANCED
    if is_twice:
        raise InvalidArgument(
            "balanced sampling and balanced class weights would balance the classes "
            "twice: give one of them"
        )


def _distinct(classes: typing.Any) -> list[typing.Any]:
    """A name for each class; the id where several share one, as ImageNet's two cranes."""
    names = [name for _, name in classes]
    return [
        identity if names.count(name) > 1 else name
        for (identity, _), name in zip(classes, names, strict=True)
    ]


def _in_order(
    pairs: typing.Any, classes: typing.Any, names: typing.Any, where: typing.Any
) -> dict[typing.Any, typing.Any]:
    """The weights in the order of the classes, from (word, weight) pairs."""
    words = [str(word) for word, _ in pairs]
    # Ids only where no name is known: they are numbers, and so may be names.
    places = {name: index for index, name in enumerate(names)}
    if not any(word in places for word in words):
        places = {identity: index for index, (identity, _) in enumerate(classes)}
    unknown = [word for word in words if word not in places]
    if unknown:
        near = nearest(unknown[0][:100], list(places), count=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidArgument(
            f"{where}: no such class as {_few(unknown)} among the {len(classes)}, "
            f"{_few(names)}{hint}"
        )
    counts = collections.Counter(words)
    twice = sorted(word for word, count in counts.items() if count > 1)
    if twice:
        raise InvalidArgument(f"{where}: {_few(twice)} has more than one weight")
    given = {places[word]: _number(word, value, where) for word, value in pairs}
    missing = [name for index, name in enumerate(names) if index not in given]
    if missing:
        raise InvalidArgument(
            f"{where} must have a weight for each of the {len(classes)} classes; there "
            f"is none for {_few(missing)}"
        )
    return {name: given[index] for index, name in enumerate(names)}


def _number(word: str, value: typing.Any, where: typing.Any) -> typing.Any:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise InvalidArgument(
            f"{where}: a weight must be a number above 0; that of {printable(word, 60)} is "
            f"{shown(value)}"
        )
    return number


def _read(path: pathlib.Path) -> typing.Any:
    """What a JSON or CSV file says, as something with (class, weight) `items`."""
    text = read_text(path, _FORM)
    if text.lstrip().startswith(("{", "[")):
        return _Pairs(_of_json(text, path))
    return _Pairs(_of_csv(text, path))


class _Pairs:
    """Pairs that a dict would make one of where a class stands twice."""

    def __init__(self, pairs: typing.Any) -> None:
        self._pairs = pairs

    def items(self) -> typing.Any:
        return self._pairs


def _of_json(text: str, path: pathlib.Path) -> typing.Any:
    found = parse_json(text, path, _FORM, object_pairs_hook=list)
    if not isinstance(found, list):
        found = ()
    if not all(isinstance(pair, tuple) for pair in found) or not found:
        raise InvalidArgument(
            f"{printable(str(path))} must hold an object of class and weight, "
            '{"cat": 2.0, ...}'
        )
    return found


def _of_csv(text: str, path: pathlib.Path) -> list[typing.Any]:
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = next((mark for mark in ",;\t" if mark in "".join(lines[:1])), ",")
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        ]
    except csv.Error as error:
        raise InvalidArgument(
            f"{printable(str(path))} must be {_FORM}: {first_line(error)}"
        ) from None
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong is not None or not rows:
        raise InvalidArgument(
            f"{printable(str(path))} must have two columns, class and weight; a row is "
            f"{printable(delimiter.join(wrong or []))!r}"
        )
    head = rows[0][1].lower()
    return [tuple(row) for row in (rows[1:] if head.startswith("weight") else rows)]


def _few(names: typing.Any) -> typing.Any:
    return some([printable(str(name), 60) for name in names])
