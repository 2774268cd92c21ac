"""Class weights and balanced sampling for classes of different sizes."""

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
from keras_resnets.errors import some
from keras_resnets.io.untrusted import parse_json
from keras_resnets.io.untrusted import read_text
from keras_resnets.io.untrusted import shown

BALANCED = "balanced"
SAMPLERS = ("shuffled", BALANCED)
_FORM = '"balanced", or a JSON or CSV file of class and weight'


def class_weights(
    class_weight: typing.Any,
    classes: Sequence[tuple[str, str]],
    labels: np.ndarray,
    name: str,
) -> dict[str, float]:
    """Returns the weight of each class in the loss.

    Args:
        class_weight: `"balanced"`: n / (k n_c), with n images of k classes, n_c of the
            class (King and Zeng 2001; scikit-learn's `compute_class_weight`), so that
            all classes have the same total weight and an image has 1 on average; a
            mapping from class to weight; or a path to one: a JSON object, or a CSV file
            of two columns.
        classes: (id, name) of each class.
        labels: int array, the classes of the images to train on.
        name: the name of the data, for messages.

    Returns:
        A dict from class name to weight, in the order of the classes.

    Raises:
        InvalidArgument: a file that cannot be read; missing, unknown or duplicate
            classes; weights that are not above 0 and finite; "balanced" if a class has
            no images.

    Example:
        >>> names = (("a", "a"), ("b", "b"))
        >>> class_weights("balanced", names, np.array([0, 0, 0, 1]), "mine")
        {'a': 0.6666666666666666, 'b': 2.0}
    """
    names = _distinct(classes)
    if isinstance(class_weight, str) and class_weight == BALANCED:
        counts = check_counts(classes, labels, name)
        shares = len(labels) / (len(classes) * counts)
        return dict(zip(names, shares.tolist(), strict=True))
    where = "class_weight"
    if isinstance(class_weight, (str, pathlib.Path)):
        where, class_weight = (
            printable(str(class_weight)),
            _read(pathlib.Path(class_weight)),
        )
    if not hasattr(class_weight, "items"):
        raise InvalidArgument(
            'class_weight must be "balanced", a mapping from class to weight, or a JSON '
            f"or CSV file of one; got {type(class_weight).__name__}"
        )
    return _in_order(list(class_weight.items()), classes, names, where)


def check_counts(
    classes: Sequence[tuple[str, str]], labels: np.ndarray, name: str
) -> np.ndarray:
    """Returns the number of images of each class.

    Raises:
        InvalidArgument: a class without images.
    """
    counts = np.bincount(labels, minlength=len(classes))
    empty = [classes[index][1] for index in np.flatnonzero(counts == 0).tolist()]
    if empty:
        raise InvalidArgument(
            f"balancing requires training images of every class; {name} has none of "
            f"{some(empty, longest=60)}"
        )
    return counts


def check_sampler(sampler: str, class_weight: typing.Any) -> None:
    """Raises `InvalidArgument` unless `sampler` is valid and classes are balanced once."""
    check_choice("sampler", sampler, SAMPLERS)
    is_twice = isinstance(class_weight, str) and class_weight == sampler == BALANCED
    if is_twice:
        raise InvalidArgument(
            "balanced sampling and balanced class weights would balance the classes "
            "twice: give one of them"
        )


def _distinct(classes: typing.Any) -> list[typing.Any]:
    """Returns unique class names; the id replaces a name that several classes share."""
    names = [name for _, name in classes]
    return [
        identity if names.count(name) > 1 else name
        for (identity, _), name in zip(classes, names, strict=True)
    ]


def _in_order(
    pairs: typing.Any, classes: typing.Any, names: typing.Any, where: typing.Any
) -> dict[typing.Any, typing.Any]:
    """Returns the weights in the order of the classes, from (word, weight) pairs."""
    words = [str(word) for word, _ in pairs]
    # Ids only if no name matches: ids are numbers, and names may be numbers too.
    places = {name: index for index, name in enumerate(names)}
    if not any(word in places for word in words):
        places = {identity: index for index, (identity, _) in enumerate(classes)}
    unknown = [word for word in words if word not in places]
    if unknown:
        near = nearest(unknown[0][:100], list(places), count=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidArgument(
            f"{where}: classes must be among the {len(classes)} of the data, "
            f"{some(names, longest=60)}; got {some(unknown, longest=60)}{hint}"
        )
    counts = collections.Counter(words)
    twice = sorted(word for word, count in counts.items() if count > 1)
    if twice:
        raise InvalidArgument(
            f"{where}: {some(twice, longest=60)} has more than one weight"
        )
    weights = {places[word]: _number(word, value, where) for word, value in pairs}
    missing = [name for index, name in enumerate(names) if index not in weights]
    if missing:
        raise InvalidArgument(
            f"{where} must have a weight for each of the {len(classes)} classes; it has "
            f"none for {some(missing, longest=60)}"
        )
    return {name: weights[index] for index, name in enumerate(names)}


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
    """Reads a JSON or CSV file as an object with (class, weight) `items`."""
    text = read_text(path, _FORM)
    if text.lstrip().startswith(("{", "[")):
        return _Pairs(_of_json(text, path))
    return _Pairs(_of_csv(text, path))


class _Pairs:
    """Pairs with an `items` method, which keep duplicate classes, unlike a dict."""

    def __init__(self, pairs: typing.Any) -> None:
        self._pairs = pairs

    def items(self) -> typing.Any:
        return self._pairs


def _of_json(text: str, path: pathlib.Path) -> typing.Any:
    pairs = parse_json(text, path, _FORM, object_pairs_hook=list)
    if not isinstance(pairs, list):
        pairs = ()
    if not all(isinstance(pair, tuple) for pair in pairs) or not pairs:
        raise InvalidArgument(
            f"{printable(str(path))} must contain an object of classes and weights, "
            '{"cat": 2.0, ...}'
        )
    return pairs


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
