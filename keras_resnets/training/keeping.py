"""Which weights of a training are kept: those that do best on the held-out images.

Fine-tuning has three stages, each of which changes more than the one before: the network
as it came, its classifier trained, all of it trained. A later one is kept where it beats
the earlier by more than chance on the same held-out images: by `Recipe.margin` standard
errors, as the rule of Breiman, Friedman, Olshen and Stone 1984 has one (Classification
and Regression Trees, section 3.4.3; Hastie 2009, section 7.10). The best of several
epochs is compared, so that one is not enough: of 29 runs with nothing to win, one passed
it with a network that was 6.8 points worse.

Few held-out images may happen to be hard for the network as it came. It was trained on
none of the others either, so that those tell what it can do as well; unless they tell much
more than the held-out ones, as where it was trained on them before.
"""

import math

START, CLASSIFIER, ALL = "start", "classifier", "all"
# What the stages are called in sentences.
WORDS = {
    START: "as it came",
    CLASSIFIER: "classifier trained",
    ALL: "all of it trained",
}


def stage(recipe, epoch):
    """The stage that ended with an epoch, counted from 1; 0 is before the first."""
    if not epoch:
        return START
    return CLASSIFIER if epoch <= recipe.frozen_epochs else ALL


def beats(recipe, progress, epoch, accuracy, count):
    """Whether the weights after an epoch shall be kept instead of those kept so far.

    Args:
        recipe: a `Recipe`.
        progress: a `state.Progress`.
        epoch: counted from 1.
        accuracy: of the held-out images, in [0, 1].
        count: how many those are, >= 1.

    Example:
        >>> from keras_resnets.training import get_recipe
        >>> from keras_resnets.training.state import Progress
        >>> recipe = get_recipe("finetune", margin=1.0)
        >>> beats(recipe, Progress(best=0.90, kept=3), 4, 0.92, 100)
        False
        >>> beats(recipe, Progress(best=0.90, kept=3), 4, 0.92, 1000)
        True
    """
    if progress.best is None:
        return True
    bar = progress.best
    if stage(recipe, epoch) == stage(recipe, progress.kept):
        return accuracy > bar
    if recipe.margin and not progress.kept and progress.untouched is not None:
        if progress.untouched <= bar + 2 * _error(bar, count):
            bar = max(bar, progress.untouched)
    return accuracy > bar + recipe.margin * _error(bar, count)


def _error(share, count):
    """The standard error of a share of `count` images."""
    return math.sqrt(share * (1 - share) / count)


def figures(recipe, progress):
    """What `run.json` says of it: the best of every stage, and which was kept.

    Args:
        recipe: a `Recipe`.
        progress: a `state.Progress`, at the end.

    Returns:
        A dict with `best_epoch` and `best_val_accuracy`, of what was kept; for a recipe
        that fine-tunes also `kept`, a stage, `stages`, the best validation accuracy of
        each, and `start_train_accuracy`, of the network as it came on the images to train
        on. Empty where nothing was held out.
    """
    if progress.best is None:
        return {}
    found = {"best_epoch": progress.kept, "best_val_accuracy": progress.best}
    if recipe.fine_tunes:
        best = {}
        for row in progress.history:
            name = stage(recipe, row["epoch"])
            best[name] = max(best.get(name, 0.0), row["val_accuracy"])
        found.update(kept=stage(recipe, progress.kept), stages=best)
        if progress.untouched is not None:
            found["start_train_accuracy"] = progress.untouched
    return found


def sentence(recipe, found, count):
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
    if recipe.margin:
        errors = "standard error" if recipe.margin == 1 else "standard errors"
        rule = (
            f"a later stage must be better by more than {recipe.margin:g} {errors}, which "
            "chance may explain"
        )
    others = ""
    if "start_train_accuracy" in found:
        others = (
            f"; of those to train on, as it came {found['start_train_accuracy']:.2%}"
        )
    return (
        f"of the {count:,} held-out images: {each}{others}\n"
        f"kept: {WORDS[found['kept']]} ({rule})"
    )
