"""Selects the weights of a training that are kept: the best on the held-out images.

Fine-tuning has three stages, each of which changes more than the one before: the initial
network, its classifier trained, all of it trained. The stages are measured on the same
held-out images, so that the test is paired: of the images that only one of the two
predicts correctly, a later stage must have so many that chance explains them with a
probability of at most `Recipe.significance`. This is McNemar's test (1947), one-sided and
exact, so that it holds for ten images too; Dietterich 1998 (Neural Computation 10,
section 5) recommends it when each network is trained once.

The initial network takes part if it was trained on the classes: a new classifier has
nothing to lose, and its best epoch is kept, as within every stage.
"""

import typing

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.training.recipes import Recipe


START, CLASSIFIER, ALL = "start", "classifier", "all"
STAGES = (START, CLASSIFIER, ALL)
# The names of the stages in sentences.
WORDS = {
    START: "as it came",
    CLASSIFIER: "classifier trained",
    ALL: "all of it trained",
}
# Correctness is a string with one character per image, as a state's JSON stores it.
RIGHT, WRONG = "1", "0"
# Below it no character is a surrogate, which UTF-8 cannot encode.
_MOST_LABELS = 50_000


def stage(recipe: "Recipe", epoch: int) -> str:
    """Returns the stage that ended with an epoch, from 1; 0 is before the first."""
    if not epoch:
        return START
    return CLASSIFIER if epoch <= recipe.frozen_epochs else ALL


def discordant(earlier: str, later: str) -> tuple[int, int]:
    """Counts (images correct only in the later one, images correct only in the earlier).

    Args:
        earlier: `RIGHT` or `WRONG` for each image, as a string; with several labels per
            image `rights_of`: the one with more correct labels wins an image.
        later: the same of another network. If a run is resumed with more devices, which
            share the images evenly, one of the two lacks some of the last.

    Example:
        >>> discordant("1100", "1011")
        (2, 1)
    """
    pairs = list(zip(earlier, later, strict=False))
    return sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)


def is_correctness(text: object) -> bool:
    """Whether `text` has the form of `rights_of`, or of `RIGHT` and `WRONG`."""
    return isinstance(text, str) and all(
        0 <= ord(character) - ord(WRONG) < _MOST_LABELS for character in text
    )


def rights_of(counts: "np.ndarray") -> str:
    """Encodes the number of correct labels per image as text, one character each.

    Args:
        counts: int array (images,), each below 50,000.

    Example:
        >>> rights_of([0, 1, 2])
        '012'
    """
    return "".join(chr(ord(WRONG) + int(count)) for count in counts)


def p_value(wins: int, losses: int) -> float:
    """Returns the probability of this many or more wins if neither network is better.

    Args:
        wins: images that only the later network predicts correctly, >= 0.
        losses: images that only the earlier one predicts correctly, >= 0.

    Example:
        >>> p_value(5, 0), p_value(7, 1), p_value(0, 0)
        (0.03125, 0.03515625, 1.0)
    """
    count = wins + losses
    # As many losses or fewer, in whole numbers: exact for any number of images.
    term = total = 1
    for index in range(losses):
        term = term * (count - index) // (index + 1)
        total += term
    return total / 2**count


def wins(recipe: "Recipe", earlier: str, later: str) -> bool:
    """Whether a later network is better than an earlier one by `p_value`."""
    return p_value(*discordant(earlier, later)) <= recipe.significance


def is_tested(recipe: "Recipe") -> bool:
    """Whether stages are compared by a test, not only by their accuracies."""
    return recipe.fine_tunes and recipe.significance < 1


def knows(recipe: "Recipe", right: str, labels: "np.ndarray") -> bool:
    """Whether a network is better than always predicting the commonest class.

    Args:
        recipe: a `Recipe`.
        right: `RIGHT` or `WRONG` for each held-out image, as a string.
        labels: their labels, int array (count,), or (count, labels) of 0 and 1.
    """
    if labels.ndim == 2:
        likeliest = labels.mean(axis=0) >= 0.5
        return wins(recipe, rights_of((labels == likeliest).sum(axis=1)), right)
    classes = labels.tolist()
    most = max(classes, key=classes.count)
    guess = "".join(RIGHT if label == most else WRONG for label in classes)
    return wins(recipe, guess, right)


def is_higher(progress: typing.Any, accuracy: float) -> bool:
    """Whether an accuracy is higher than that of the kept weights of a `state.Progress`."""
    return progress.best is None or accuracy > progress.best


def take(
    recipe: "Recipe",
    progress: typing.Any,
    epoch: int,
    accuracy: float,
    correctness: typing.Any,
) -> bool:
    """Records the weights after an epoch as the kept ones if they are better.

    Args:
        recipe: a `Recipe`.
        progress: a `state.Progress`; it is updated.
        epoch: the epoch, from 1.
        accuracy: accuracy on the held-out images, in [0, 1].
        correctness: function without arguments: the network's current correctness, as
            `discordant` takes it; called only if it matters.

    Returns:
        Whether the weights are to be kept.

    Example:
        >>> from keras_resnets.training import get_recipe
        >>> from keras_resnets.training.state import Progress
        >>> recipe = get_recipe("finetune")
        >>> before = Progress(best=0.5, right={"start": "1111100000"})
        >>> take(recipe, before, 1, 0.8, lambda: "1111011110")
        False
        >>> take(recipe, before, 1, 1.0, lambda: "1111111111")
        True
    """
    if not is_higher(progress, accuracy):
        return False
    if is_tested(recipe):
        now, right = stage(recipe, epoch), correctness()
        rivals = _rivals(progress, now)
        if not all(wins(recipe, rival, right) for rival in rivals.values()):
            return False
        progress.right[now] = right
    progress.best, progress.kept = accuracy, epoch
    return True


def _rivals(progress: typing.Any, name: str) -> dict[typing.Any, typing.Any]:
    """Returns the correctness of the kept weights of each earlier stage, by its name."""
    earlier = STAGES[: STAGES.index(name)]
    return {each: progress.right[each] for each in earlier if each in progress.right}


def figures(
    recipe: "Recipe", progress: typing.Any, measure: str = "accuracy"
) -> dict[str, typing.Any]:
    """Returns the figures for `run.json`: the best of every stage, and the kept one.

    Args:
        recipe: a `Recipe`.
        progress: the final `state.Progress`.
        measure: the name of the metric by which weights are kept.

    Returns:
        A dict with `best_epoch` and `best_val_accuracy` of the kept weights; for a recipe
        that fine-tunes also `kept`, a stage, `stages`, the best validation accuracy of
        each, and `paired`, the test that the kept one won: `against` which stage,
        `wins`, `losses` and `p`. Empty if nothing was held out.
    """
    if progress.best is None:
        return {}
    result = {"best_epoch": progress.kept, f"best_val_{measure}": progress.best}
    if recipe.fine_tunes:
        best: dict[str, float] = {}
        for row in progress.history:
            name = stage(recipe, row["epoch"])
            best[name] = max(best.get(name, 0.0), row[f"val_{measure}"])
        now = stage(recipe, progress.kept)
        result.update(kept=now, stages=best)
        rivals = _rivals(progress, now)
        if rivals:
            against, rival = list(rivals.items())[-1]
            won, lost = discordant(rival, progress.right[now])
            paired = {"against": against, "wins": won, "losses": lost}
            result["paired"] = {**paired, "p": p_value(won, lost)}
    return result


def sentence(
    recipe: typing.Any, result: typing.Any, count: int, multi_label: bool = False
) -> str:
    """Returns the result of `figures` as sentences.

    Args:
        recipe: a `Recipe` that fine-tunes.
        result: the result of `figures`.
        count: the number of held-out images.
        multi_label: whether they have several labels each.
    """
    each = ", ".join(
        f"{WORDS[name]} {accuracy:.2%}" for name, accuracy in result["stages"].items()
    )
    rule = "the best; the earlier of two that are equal"
    if is_tested(recipe):
        rule = (
            "a later stage must win McNemar's test on the same images: p of "
            f"{recipe.significance:g} at most"
        )
    if "paired" in result:
        paired = result["paired"]
        rule = (
            f"{paired['wins']:,} {_won(WORDS[paired['against']], multi_label)}, "
            f"{paired['losses']:,} the other way round: p = {paired['p']:.2g}; "
            f"{rule}"
        )
    what = "mAP of" if multi_label else "of"
    return (
        f"{what} the {count:,} held-out images: {each}\n"
        f"kept: {WORDS[result['kept']]} ({rule})"
    )


def _won(against: str, multi_label: bool) -> str:
    """Returns a phrase for the images that a later stage wins."""
    if multi_label:
        return f'images with more labels right than "{against}" has'
    return f'images right that "{against}" has wrong'
