"""Which weights of a training are kept: those that do best on the held-out images.

Fine-tuning has three stages, each of which changes more than the one before: the network
as it came, its classifier trained, all of it trained. Both sides are measured on the same
held-out images, so that the test is a paired one: of the images that only one of the two
has right, a later stage must have so many that chance explains them with a probability of
at most `Recipe.significance`. This is McNemar's test (1947), one-sided and exact, so that
it holds for ten images too; Dietterich 1998 (Neural Computation 10, section 5) recommends
it where each network is trained once.

A network as it came takes part where it knows the classes: a classifier that starts anew
has nothing to lose, and the best epoch of it is kept as within every stage.
"""

import typing

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.training.recipes import Recipe


START, CLASSIFIER, ALL = "start", "classifier", "all"
STAGES = (START, CLASSIFIER, ALL)
# What the stages are called in sentences.
WORDS = {
    START: "as it came",
    CLASSIFIER: "classifier trained",
    ALL: "all of it trained",
}
# What correctness is written in, a character an image: it survives in a state's JSON.
RIGHT, WRONG = "1", "0"


def stage(recipe: "Recipe", epoch: int) -> str:
    """The stage that ended with an epoch, counted from 1; 0 is before the first."""
    if not epoch:
        return START
    return CLASSIFIER if epoch <= recipe.frozen_epochs else ALL


def discordant(earlier: str, later: str) -> tuple[int, int]:
    """(images that only the later one has right, images that only the earlier one has).

    Args:
        earlier: `RIGHT` or `WRONG` for each image, as a text.
        later: the same of another network. Where a run goes on with more devices, which
            share the images evenly, some of the last are missing in one of the two.

    Example:
        >>> discordant("1100", "1011")
        (2, 1)
    """
    pairs = list(zip(earlier, later, strict=False))
    return pairs.count((WRONG, RIGHT)), pairs.count((RIGHT, WRONG))


def p_value(wins: int, losses: int) -> float:
    """The probability of so many wins or more if neither network were better.

    Args:
        wins: images that only the later network has right, >= 0.
        losses: images that only the earlier one has right, >= 0.

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
    """Whether stages are told apart by more than their accuracies."""
    return recipe.fine_tunes and recipe.significance < 1


def knows(recipe: "Recipe", right: str, labels: "np.ndarray") -> bool:
    """Whether a network does better than one that always says the commonest class.

    Args:
        recipe: a `Recipe`.
        right: `RIGHT` or `WRONG` for each held-out image, as a text.
        labels: their labels, int array (count,).
    """
    found = labels.tolist()
    most = max(found, key=found.count)
    guess = "".join(RIGHT if label == most else WRONG for label in found)
    return wins(recipe, guess, right)


def is_higher(progress: typing.Any, accuracy: float) -> bool:
    """Whether an accuracy is higher than that of what a `state.Progress` keeps."""
    return progress.best is None or accuracy > progress.best


def take(
    recipe: "Recipe",
    progress: typing.Any,
    epoch: int,
    accuracy: float,
    correctness: typing.Any,
) -> bool:
    """Takes the weights after an epoch for those that are kept, if they are better.

    Args:
        recipe: a `Recipe`.
        progress: a `state.Progress`; it is told of them.
        epoch: counted from 1.
        accuracy: of the held-out images, in [0, 1].
        correctness: function of nothing: which of them the network has right now, as
            `discordant` takes it; called where it matters.

    Returns:
        Whether they were taken.

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
    """The correctness of what was kept of each stage before one, by its name."""
    earlier = STAGES[: STAGES.index(name)]
    return {each: progress.right[each] for each in earlier if each in progress.right}


def figures(recipe: "Recipe", progress: typing.Any) -> dict[str, typing.Any]:
    """What `run.json` says of it: the best of every stage, and which was kept.

    Args:
        recipe: a `Recipe`.
        progress: a `state.Progress`, at the end.

    Returns:
        A dict with `best_epoch` and `best_val_accuracy`, of what was kept; for a recipe
        that fine-tunes also `kept`, a stage, `stages`, the best validation accuracy of
        each, and `paired`, what the kept one won by: `against` which stage, `wins`,
        `losses` and `p`. Empty where nothing was held out.
    """
    if progress.best is None:
        return {}
    found = {"best_epoch": progress.kept, "best_val_accuracy": progress.best}
    if recipe.fine_tunes:
        best: dict[str, float] = {}
        for row in progress.history:
            name = stage(recipe, row["epoch"])
            best[name] = max(best.get(name, 0.0), row["val_accuracy"])
        now = stage(recipe, progress.kept)
        found.update(kept=now, stages=best)
        rivals = _rivals(progress, now)
        if rivals:
            against, rival = list(rivals.items())[-1]
            won, lost = discordant(rival, progress.right[now])
            paired = {"against": against, "wins": won, "losses": lost}
            found["paired"] = {**paired, "p": p_value(won, lost)}
    return found


def sentence(recipe: typing.Any, found: typing.Any, count: int) -> str:
    """The figures of `figures` in words.

    Args:
        recipe: a `Recipe` that fine-tunes.
        found: of `figures`.
        count: held-out images.
    """
    each = ", ".join(
        f"{WORDS[name]} {accuracy:.2%}" for name, accuracy in found["stages"].items()
    )
    rule = "the best; the earlier of two that are equal"
    if is_tested(recipe):
        rule = (
            "a later stage must win McNemar's test on the same images: p of "
            f"{recipe.significance:g} at most"
        )
    if "paired" in found:
        paired = found["paired"]
        rule = (
            f'{paired["wins"]:,} images right that "{WORDS[paired["against"]]}" has '
            f"wrong, {paired['losses']:,} the other way round: p = {paired['p']:.2g}; "
            f"{rule}"
        )
    return (
        f"of the {count:,} held-out images: {each}\n"
        f"kept: {WORDS[found['kept']]} ({rule})"
    )
