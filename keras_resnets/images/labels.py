"""Names of classes: ImageNet-1k in two orders, CIFAR-10 and CIFAR-100."""

import functools
import re
import typing
import unicodedata
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_type
from keras_resnets.errors import nearest
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.io import package_tables

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck".split()
# As CIFAR-100's own fine_label_names.txt has them.
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy
bridge bus butterfly camel can castle caterpillar cattle chair chimpanzee
clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower
sweet_pepper table tank telephone television tiger tractor train trout tulip
turtle wardrobe whale willow_tree wolf woman worm
""".split()
# What a model and a passport call it, in `task`, that an image may have several labels.
MULTI_LABEL = "multi-label"
NAMES = ("imagenet", "imagenet_darknet", "cifar10", "cifar100")
_CIFAR = {"cifar10": _CIFAR10, "cifar100": _CIFAR100}
# Class counts that tell a label set by themselves.
BY_COUNT = {1000: "imagenet", 10: "cifar10"}


@functools.cache
def label_set(name: str) -> tuple[tuple[str, str], ...]:
    """The classes of a label set, in the order of the network's outputs.

    Args:
        name: `"imagenet"` (ImageNet-1k by WordNet id, as everybody but darknet),
            `"imagenet_darknet"` (in the order of the challenge's development kit, as
            darknet's own weights), `"cifar10"` or `"cifar100"` (its 100 fine classes).

    Returns:
        A tuple of (id, name); the id is the WordNet id, or for CIFAR the name.

    Raises:
        InvalidArgument: another name.

    Example:
        >>> label_set("imagenet")[258]
        ('n02111889', 'Samoyed')
    """
    check_choice("labels", name, NAMES)
    if name in _CIFAR:
        return tuple((label, label) for label in _CIFAR[name])
    rows = package_tables.rows_of("keras_resnets.images", "imagenet.csv")
    if name == "imagenet_darknet":
        rows.sort(key=lambda row: int(row["darknet_index"]))
    return tuple((row["wnid"], row["name"]) for row in rows)


def count(labels: str | tuple[str, ...]) -> int:
    """Returns the number of classes of a label set: its name, or a sequence of names."""
    return len(label_set(labels) if isinstance(labels, str) else labels)


def name_of(classes: tuple[tuple[str, ...], ...]) -> str | None:
    """The name of the label set whose classes are `classes` in their order, or None.

    Args:
        classes: sequence of (id, name).
    """
    identities = tuple(identity for identity, _ in classes)
    for name in NAMES:
        if tuple(identity for identity, _ in label_set(name)) == identities:
            return name
    return None


def decode_predictions(
    preds: typing.Any, top: int = 5, labels: str | Sequence[str] | None = None
) -> list[typing.Any]:
    """The likeliest classes of each prediction, by name.

    Args:
        preds: array (batch, classes) of probabilities or logits.
        top: how many, >= 1.
        labels: a name of `label_set` (a model's is `model.labels`), a sequence with
            one name a class, or None for ImageNet-1k with 1000 classes and CIFAR-10
            with 10.

    Returns:
        A list for each prediction of (id, name, score), best first, as
        `keras.applications` returns it; without known labels the id is the index.

    Raises:
        InvalidArgument: predictions of another shape, or labels of another number.

    Example:
        >>> import numpy as np
        >>> decode_predictions(np.eye(10)[3:4], top=1)
        [[('cat', 'cat', 1.0)]]
    """
    import numpy as np

    check_positive_int("top", top)
    preds = np.asarray(preds)
    if preds.ndim != 2:
        raise InvalidArgument(f"preds must be (batch, classes); got {preds.shape}")
    names = class_names(preds.shape[1], labels or BY_COUNT.get(preds.shape[1]))
    best = np.argsort(-preds, axis=1, kind="stable")[:, :top]
    return [
        [(*names[index], float(row[index])) for index in order]
        for row, order in zip(preds, best, strict=True)
    ]


def class_names(
    classes: int, labels: Sequence[str] | str | None = None
) -> tuple[tuple[str, ...], ...]:
    """(id, name) of each of `classes` classes.

    Args:
        classes: how many.
        labels: as `decode_predictions` takes it; None: `("7", "class 7")`.

    Raises:
        InvalidArgument: labels of another number.
    """
    if labels is None:
        labels = [f"class {index}" for index in range(classes)]
    rule = "the name of a label set, or one name per class"
    check_type("labels", labels, Iterable, rule)
    if isinstance(labels, str):
        names = label_set(labels)
    else:
        names = tuple((str(index), str(name)) for index, name in enumerate(labels))
    if len(names) != classes:
        raise InvalidArgument(
            f"labels must be one per class; got {len(names)} for {classes} classes"
        )
    return names


def typed(text: str) -> tuple[tuple[str, ...], ...]:
    """(id, name) of each class that `--labels` names.

    Args:
        text: a name of `label_set`, or names with commas in between, in the order of
            the network's outputs.

    Raises:
        InvalidArgument: a class without a name.

    Example:
        >>> typed("cat, dog")
        (('0', 'cat'), ('1', 'dog'))
    """
    if text in NAMES:
        return label_set(text)
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InvalidArgument(
            f"--labels must name every class, as in cat,dog; got {printable(text)!r}"
        )
    return class_names(len(names), names)


def as_lines(names: Sequence[str]) -> str:
    r"""Returns the text of a `labels.txt`: a line for each class.

    Line breaks in a name become spaces, so that no later class moves to another line.

    Example:
        >>> as_lines(["cat", "big\ndog"])
        'cat\nbig dog\n'
    """
    return "".join(f"{' '.join(name.splitlines())}\n" for name in names)


def indices(
    words: list[str], names: tuple[typing.Any, ...], where: str = "the names"
) -> tuple[typing.Any, ...]:
    """The class of each of some words, such as the names of folders.

    By the names of the classes; by their ids (of WordNet, or their numbers from 0) only
    where no word is a name; and where the classes have no names, by sorting, as
    `keras.utils.image_dataset_from_directory` does. Capitals, how accents are encoded
    and the difference between blank, hyphen and underscore do not count, unless names
    differ in nothing else.

    Args:
        words: one per class.
        names: (id, name) of each class; those of `class_names(count)`, which are none,
            or () count as not known.
        where: what the message calls the words.

    Returns:
        (classes, note): a dict from word to class index, and a line about what was
        taken for granted, or None.

    Raises:
        InvalidArgument: words that are not classes.

    Example:
        >>> indices(["10", "2"], (("0", "10"), ("1", "2")))
        ({'10': 0, '2': 1}, None)
    """
    words, names = sorted(words), tuple(names)
    if not words:
        return {}, None
    index_of: dict[str, typing.Any]
    if names == class_names(len(names)):
        return _by_sorting(words, len(names), where)
    by_name = _lookup((name, index) for index, (_, name) in enumerate(names))
    index_of = {word: _only(by_name, word) for word in words}
    if not any(index is not None for index in index_of.values()):
        ids: dict[str, typing.Any] = {word: _by_id(word, names) for word in words}
        if None not in ids.values():
            return ids, _numbered(ids, names, where)
    index_of = {
        word: _by_wordnet(word, by_name) if index is None else index
        for word, index in index_of.items()
    }
    unknown = [word for word, index in index_of.items() if index is None]
    if unknown:
        raise InvalidArgument(_not_among(unknown, names, where))
    _check_distinct(index_of, where)
    return index_of, None


def all_named(words: list[str], names: Sequence[typing.Any]) -> bool:
    """Whether every word is the name of a class, see `indices`; numbers are none."""
    names = tuple(names)
    if names == class_names(len(names)):
        return False
    by_name = _lookup((name, index) for index, (_, name) in enumerate(names))
    return all(_only(by_name, word) is not None for word in words)


def alike(words: Sequence[str]) -> tuple[str, str] | None:
    """Returns two words that differ in nothing that `indices` counts, or None.

    Example:
        >>> alike(["cat", "dog", "Cat"])
        ('Cat', 'cat')
    """
    first: dict[str, str] = {}
    for word in sorted(words):
        other = first.setdefault(_plain(word), word)
        if other != word:
            return other, word
    return None


def _plain(word: str) -> str:
    # Some systems write an accent as a character of its own (NFD).
    word = unicodedata.normalize("NFC", word).casefold()
    return " ".join(word.replace("_", " ").replace("-", " ").split())


def _lookup(pairs: Iterator[typing.Any]) -> dict[str | tuple[str, ...], set[int]]:
    """Classes by name: as it stands, and without what does not count."""
    indices_of: dict[typing.Any, set[int]] = {}
    for name, index in pairs:
        for spelling in {name, ("plain", _plain(name))}:
            indices_of.setdefault(spelling, set()).add(index)
    return indices_of


def _only(lookup: dict[str | tuple[str, ...], set[int]], word: str) -> int | None:
    """The one class that a word names, or None."""
    for spelling in (word, ("plain", _plain(word))):
        classes = lookup.get(spelling, ())
        if len(classes) == 1:
            return next(iter(classes))
    return None


def _by_id(word: str, names: tuple[tuple[str, ...], ...]) -> int | None:
    """The class of an id, or of a number from 0."""
    for index, (identity, _) in enumerate(names):
        if word == identity:
            return index
    if word.isdecimal() and int(word) < len(names):
        return int(word)
    return None


def _by_wordnet(
    word: str, by_name: dict[str | tuple[str, ...], set[int]]
) -> typing.Any:
    """The class with the name that ImageNet gives a WordNet id."""
    if not re.fullmatch(r"n\d{8}", word):
        return None
    name = dict(label_set("imagenet")).get(word)
    return None if name is None else _only(by_name, name)


def _numbered(
    ids: dict[str, typing.Any], names: tuple[typing.Any, ...], where: str
) -> str | None:
    word, index = next(iter(ids.items()))
    if not word.isdecimal():
        return None
    return (
        f"{where} are read as class indices from 0: {printable(word, 60)} is "
        f"{printable(names[index][1], 60)!r}"
    )


def _by_sorting(words: list[str], count: int, where: str) -> tuple[dict[str, int], str]:
    if count and len(words) != count:
        raise InvalidArgument(
            f"{where} must be one per class: the network has {count} classes, whose names "
            f"are unknown; got {len(words)}"
        )
    note = (
        f"the names of the network's classes are unknown: {where} are assumed to be its "
        "classes in sorted order, as in Keras' image_dataset_from_directory"
    )
    return {word: index for index, word in enumerate(words)}, note


def _not_among(unknown: list[str], names: tuple[typing.Any, ...], where: str) -> str:
    shown = some([name for _, name in names], longest=60)
    near = nearest(unknown[0][:100], [name[:100] for _, name in names], count=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if all(word.isdecimal() for word in unknown):
        hint = f" (class indices are 0 to {len(names) - 1})"
    return (
        f"{where} must be among the {len(names)} classes ({shown}); got "
        f"{some(unknown, longest=60)}{hint}"
    )


def _check_distinct(index_of: dict[str, typing.Any], where: str) -> None:
    classes: dict[typing.Any, str] = {}
    for word, index in index_of.items():
        if classes.setdefault(index, word) != word:
            raise InvalidArgument(
                f"{where} must be one per class; {printable(classes[index], 60)} and "
                f"{printable(word, 60)} are the same"
            )
