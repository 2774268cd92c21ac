"""Fine-tuning: what it goes out from, at which rates, and that it harms nothing."""

import json
import math
import warnings

import keras
import numpy as np
import pytest
from training_helpers import SIZE
from training_helpers import WANTED
from training_helpers import classifier
from training_helpers import open_small
from training_helpers import short
from training_helpers import unlimited
from training_helpers import write_npz

import keras_resnets
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.errors import TrainingNote
from keras_resnets.images import labels
from keras_resnets.training import best_weights
from keras_resnets.training import callbacks
from keras_resnets.training import compiling
from keras_resnets.training import data
from keras_resnets.training import fitting
from keras_resnets.training import get_recipe
from keras_resnets.training import heads
from keras_resnets.training import loop
from keras_resnets.training.augmentation import Augmentation
from keras_resnets.training.correctness import Correctness
from keras_resnets.training.run_folder import RunFolder
from keras_resnets.training.session import train
from keras_resnets.training.state import Progress


@pytest.fixture(autouse=True)
def untraced():
    """Steps as they come: tracing takes longer than they do."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def run(folder, recipe, model=None, held_out=0.25, **options):
    keras.utils.set_random_seed(5)
    return train(
        model or classifier(),
        open_small(folder, held_out, train=40),
        recipe,
        folder / "run",
        preprocessing=WANTED,
        verbose=0,
        **options,
    )


def peaks(recipe):
    """(epochs, highest rate, whether the body is frozen) of each phase."""
    return [
        (
            phase.last - phase.first,
            pytest.approx(phase.recipe.learning_rate),
            phase.frozen,
        )
        for phase in loop.phases(recipe)
    ]


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, [(3, 0.1, True), (5, 2e-3, False)]),
        ({"epochs": 4}, [(3, 0.1, True), (1, 2e-3, False)]),
        ({"epochs": 3}, [(3, 0.1, True)]),
        ({"epochs": 1}, [(1, 0.1, True)]),
        ({"frozen_epochs": 0}, [(8, 2e-3, False)]),
        ({"frozen_epochs": 0, "epochs": 1}, [(1, 2e-3, False)]),
        ({"frozen_epochs": 99}, [(8, 0.1, True)]),
    ],
)
def test_body_never_learns_at_the_rate_of_the_classifier(changes, expected):
    assert peaks(get_recipe("finetune", **changes)) == expected
    for phase in loop.phases(get_recipe("finetune", **changes)):
        rate = compiling.learning_rate(phase.recipe, 10, 32)
        rates = [float(rate(step)) for step in range(10 * phase.last)]
        # It rises from nothing, also where the body is freed, and falls to nothing.
        assert rates[0] == 0 and max(rates) <= phase.recipe.learning_rate * 1.0001
        assert max(rates) > 0.9 * phase.recipe.learning_rate


def test_trained_classifier_learns_at_the_rate_of_the_body(tmp_path, monkeypatch):
    first, second = loop.phases(get_recipe("finetune"), trained_head=True)
    assert first.frozen and not second.frozen
    assert first.recipe.learning_rate == second.recipe.learning_rate
    seen = []
    monkeypatch.setattr(loop, "run", lambda job, *rest: seen.append(job) or Progress())
    for known in (None, "efghi", "edcba"):
        model = classifier()
        model.labels = tuple(known) if known else None
        path = write_npz(tmp_path / "d.npz", train=40)
        made = data.open_dataset(path, 0.25, 0, list("abcde"))
        options = {"preprocessing": WANTED, "verbose": 0, "batch_size": 8}
        train(model, made, "finetune", tmp_path / str(known), **options)
    assert [job.trained_head for job in seen] == [False, False, True]


def test_other_recipes_have_one_phase_at_their_own_rate():
    recipe = get_recipe("bag_of_tricks")
    (only,) = loop.phases(recipe)
    assert only.recipe == recipe and (only.first, only.last) == (0, 200)
    assert not recipe.fine_tunes and get_recipe("finetune").fine_tunes


def test_one_epoch_trains_the_classifier_alone_and_says_so(tmp_path):
    model = classifier()
    before = {v.path: np.array(v) for v in model.weights}
    with pytest.warns(TrainingNote, match="1 of 3 epochs of the classifier alone"):
        run(tmp_path, short("finetune", 1), model)
    fresh = classifier()
    fresh.load_weights(tmp_path / "run" / "last.weights.h5")
    moved = {
        new.path for new in fresh.weights if (np.array(new) != before[new.path]).any()
    }
    assert {path.split("/")[0] for path in moved} == {"small_predictions"}


def test_steps_are_a_share_of_the_norm_of_a_kernel():
    """Whatever the scale of its weights and of its gradients."""
    (body,) = loop.phases(get_recipe("finetune", frozen_epochs=0))
    for scale in (1e-3, 1.0, 50.0):
        kernel = keras.Variable(np.full((3, 3, 4, 5), scale, "float32"))
        optimizer = compiling.optimizer(body.recipe, 1e-3, [kernel])
        gradient = 1e3 * np.random.default_rng(0).normal(size=kernel.shape) / scale
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [kernel])
        moved = np.linalg.norm(np.array(kernel) - scale)
        assert moved == pytest.approx(1e-3 * np.linalg.norm(kernel), rel=1e-3)


def test_crop_that_fits():
    """Small images are moved, not resized; large ones are cut as they were trained."""
    fit = get_recipe("finetune").augmentation
    assert (fit.at((32, 32)).crop, fit.at((32, 32)).padding) == ("pad", 4)
    assert (fit.at((64, 96)).crop, fit.at((64, 96)).padding) == ("pad", 8)
    assert (fit.at((224, 224)).crop, fit.at((224, 224)).area) == (
        "inception",
        (0.35, 1),
    )
    plain = Augmentation(crop="centre")
    assert plain.at((32, 32)) is plain


def test_batches_move_small_images(tmp_path):
    """All pixels that are not of the margin are the image's own."""
    made = open_small(tmp_path)
    fit = Augmentation(crop="fit")
    raw = keras_resnets.Preprocessing("raw", size=(SIZE, SIZE), crop_fraction=1.0)
    (x, _), *_ = data.batches(made.train, raw, 8, augmentation=fit, classes=5)
    pad = Augmentation(crop="pad", padding=2)
    (y, _), *_ = data.batches(made.train, raw, 8, augmentation=pad, classes=5)
    np.testing.assert_array_equal(np.array(x), np.array(y))


@pytest.mark.parametrize(
    "wins, losses, expected",
    [(0, 0, 1), (4, 0, 1 / 16), (5, 0, 1 / 32), (7, 1, 9 / 256), (0, 3, 1)],
)
def test_exact_test_of_pairs(wins, losses, expected):
    assert best_weights.p_value(wins, losses) == expected
    earlier, later = "1" * losses + "01" + "0" * wins, "0" * losses + "01" + "1" * wins
    assert best_weights.discordant(earlier, later) == (wins, losses)


def test_exact_test_of_many_pairs():
    """As the definition has it, and as the normal distribution tells of large numbers."""
    whole = sum(math.comb(200, wins) for wins in range(118, 201)) / 2**200
    assert best_weights.p_value(118, 82) == pytest.approx(whole, rel=1e-12)
    limit = 0.5 * math.erfc((5100 - 5000 - 0.5) / 50 / math.sqrt(2))
    assert best_weights.p_value(5100, 4900) == pytest.approx(limit, rel=1e-3)
    assert best_weights.p_value(10_000, 0) == 0 and best_weights.p_value(0, 10_000) == 1


def some(right, count=10, first=0):
    """So many images right, from the first on."""
    return ("0" * first + "1" * right).ljust(count, "0")


TAKEN = [
    # What was kept of earlier stages; those before the first test know nothing.
    ({}, (0.1, 0), 1, some(2), True),
    ({}, (0.1, 0), 8, some(2), True),
    # Five images more of ten, and four; five more of a hundred, with others lost.
    ({"start": some(5)}, (0.5, 0), 1, some(10), True),
    ({"start": some(5)}, (0.5, 0), 1, some(9), False),
    ({"start": some(80, 100)}, (0.8, 0), 8, some(85, 100), True),
    ({"start": some(80, 100)}, (0.8, 0), 8, some(85, 100, first=5), False),
    ({"start": some(80, 100)}, (0.8, 0), 8, some(90, 100, first=10), True),
    # Within a stage the higher accuracy; the stage before must still be beaten.
    ({"start": some(4), "classifier": some(9)}, (0.9, 1), 2, some(10), True),
    ({"start": some(5), "classifier": some(8)}, (0.8, 1), 2, some(9), False),
    ({"classifier": some(5), "all": some(9)}, (0.9, 4), 5, some(10), True),
    ({"classifier": some(5), "all": some(9)}, (0.9, 4), 5, some(9), False),
    # Every stage before.
    ({"start": some(6), "classifier": some(4)}, (0.5, 1), 4, some(9), False),
    ({"classifier": some(9)}, (0.9, 3), 4, some(10), False),
]


@pytest.mark.parametrize("right, kept, epoch, found, expected", TAKEN)
def test_later_stages_must_win_on_the_same_images(right, kept, epoch, found, expected):
    recipe = get_recipe("finetune")
    accuracy = found.count("1") / len(found)
    progress = Progress(best=kept[0], kept=kept[1], right=dict(right))
    looked = []
    taken = best_weights.take(
        recipe, progress, epoch, accuracy, lambda: looked.append(1) or found
    )
    assert taken is expected
    # All held-out images are looked at once more where the accuracy is higher alone.
    assert len(looked) == (accuracy > kept[0])
    name = best_weights.stage(recipe, epoch)
    if expected:
        assert (progress.best, progress.kept) == (accuracy, epoch)
        assert progress.right == {**right, name: found}
    else:
        assert (progress.best, progress.kept, progress.right) == (*kept, right)


@pytest.mark.parametrize("name", ["finetune", "cifar_cosine"])
def test_highest_accuracy_where_nothing_is_tested(name):
    recipe = get_recipe(name, significance=1)
    progress = Progress(best=0.5, kept=0)
    assert not best_weights.take(recipe, progress, 8, 0.5, None)
    assert best_weights.take(recipe, progress, 8, 0.51, None) and progress.kept == 8


@pytest.mark.parametrize(
    "right, expected",
    [(some(8), True), (some(2), False), (some(5), False), ("1000010000", False)],
)
def test_network_that_knows_the_classes_is_one_to_beat(right, expected):
    """One that a constant answer comes near to, as a new classifier, is none."""
    labels = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    assert best_weights.knows(get_recipe("finetune"), right, labels) is expected


@pytest.mark.parametrize("known, expected", [("abcde", {"start"}), (None, set())])
def test_start_is_kept_apart_where_its_classifier_is_the_datas(
    known, expected, tmp_path, monkeypatch
):
    seen, fit = [], fitting.fit
    monkeypatch.setattr(
        fitting,
        "fit",
        lambda job, folder, phase, trainer, progress, *rest: (
            seen.append(set(progress.right))
            or fit(job, folder, phase, trainer, progress, *rest)
        ),
    )
    monkeypatch.setattr(Correctness, "__call__", lambda self: some(3))
    model = classifier()
    model.labels = tuple(known) if known else None
    path = write_npz(tmp_path / "d.npz", train=40)
    made = data.open_dataset(path, 0.25, 0, list("abcde"))
    options = {"preprocessing": WANTED, "verbose": 0}
    train(model, made, short("finetune", 1), tmp_path / "run", **options)
    assert seen == [expected]


def accuracies(monkeypatch, values):
    """Lets validation find these accuracies, of the network as it came first."""
    given, now = iter(values), []
    real = loop.judge

    def judge(*args):
        now[:] = [next(given)]
        return {**real(*args), "accuracy": now[0]}

    monkeypatch.setattr(loop, "judge", judge)
    monkeypatch.setattr(
        Correctness, "__call__", lambda self: some(round(10 * now[0] - 0.01))
    )
    kept = callbacks.Keeper.on_epoch_end

    def ends(self, epoch, logs=None):
        now[:] = [next(given)]
        kept(self, epoch, {**logs, "val_accuracy": now[0]})

    monkeypatch.setattr(callbacks.Keeper, "on_epoch_end", ends)


KEPT = {
    "start": ([0.8, 0.7, 0.8, 0.7, 0.8, 0.5], 0),
    "classifier": ([0.2, 0.7, 0.8, 0.7, 0.85, 0.5], 2),
    "all": ([0.2, 0.4, 0.5, 0.4, 0.97, 0.5], 4),
}


@pytest.mark.costly_but("classifier")
@pytest.mark.parametrize("stage", KEPT)
def test_best_of_three_stages_is_kept(stage, tmp_path, monkeypatch):
    """And told: in figures, in the record, and by the weights that the model has."""
    values, epoch = KEPT[stage]
    accuracies(monkeypatch, [*values, 0.5])
    seen, write = [], RunFolder.write_weights

    def watched(self, name, model, notes):
        seen.append((name, [np.array(weight) for weight in model.weights]))
        write(self, name, model, notes)

    monkeypatch.setattr(RunFolder, "write_weights", watched)
    model = classifier()
    start = model.get_weights()
    made = run(tmp_path, short("finetune", 5, frozen_epochs=2), model)
    assert made.figures["kept"] == stage and made.figures["best_epoch"] == epoch
    assert made.figures["stages"] == {
        "start": values[0],
        "classifier": max(values[1:3]),
        "all": max(values[3:]),
    }
    # The network as it came had two of ten right, as a constant answer has.
    paired = {"against": "classifier", "wins": 5, "losses": 0, "p": 1 / 32}
    assert made.figures.get("paired") == (paired if stage == "all" else None)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["figures"] == made.figures
    best = [weights for name, weights in seen if name == "best"][-1]
    assert all(map(np.array_equal, model.get_weights(), best))
    assert all(map(np.array_equal, model.get_weights(), start)) is (stage == "start")
    rows = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert len(rows) == 7 and rows[1].startswith("0,")


@pytest.mark.costly
def test_a_lucky_guess_of_a_new_classifier_is_not_kept(tmp_path, monkeypatch):
    """Trained weights are kept even if none reaches the accuracy of random ones."""
    accuracies(monkeypatch, [0.2, 0.1, 0.15, 0.1, 0.5])
    made = run(tmp_path, short("finetune", 3, frozen_epochs=2))
    assert (made.figures["kept"], made.figures["best_epoch"]) == ("classifier", 2)
    assert made.figures["stages"]["start"] == 0.2


def test_what_was_kept_in_words():
    stages = {"start": 0.1089, "classifier": 0.6733, "all": 0.8812}
    paired = {"against": "classifier", "wins": 27, "losses": 6, "p": 0.000162}
    found = {"kept": "all", "stages": stages, "paired": paired}
    first, second = best_weights.sentence(get_recipe("finetune"), found, 101).split(
        "\n"
    )
    assert first == (
        "of the 101 held-out images: as it came 10.89%, classifier trained 67.33%, all "
        "of it trained 88.12%"
    )
    rule = "a later stage must win McNemar's test on the same images: p of 0.05 at most"
    assert second == (
        'kept: all of it trained (27 images right that "classifier trained" has wrong, '
        f"6 the other way round: p = 0.00016; {rule})"
    )
    del found["paired"]
    second = best_weights.sentence(get_recipe("finetune"), found, 101).split("\n")[1]
    assert second == f"kept: all of it trained ({rule})"
    untested = get_recipe("finetune", significance=1)
    second = best_weights.sentence(untested, found, 101).split("\n")[1]
    assert second.endswith("(the best; the earlier of two that are equal)")


@pytest.mark.costly
def test_whole_network_goes_on_from_the_best(tmp_path, monkeypatch):
    """A classifier that got worse is not what the body learns behind."""
    accuracies(monkeypatch, [0.8, 0.1, 0.1, 0.1, 0.5])
    model, seen = classifier(), []
    start = model.get_weights()
    real = fitting.fit

    def watched(job, folder, phase, *rest):
        seen.append((phase.frozen, job.model.get_weights()))
        real(job, folder, phase, *rest)

    monkeypatch.setattr(fitting, "fit", watched)
    run(tmp_path, short("finetune", 3, frozen_epochs=2), model)
    (first, _), (second, weights) = seen
    assert first and not second and all(map(np.array_equal, weights, start))


@pytest.mark.costly
def test_nan_ends_with_the_best_and_says_so(tmp_path, monkeypatch):
    unlimited(monkeypatch)
    recipe = short("finetune", 4, frozen_epochs=2, body_rate=1e30, optimizer="sgd")
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, recipe)
    text = str(caught.value)
    assert "the loss is nan at step" in text and "best.weights.h5 has the best" in text
    fresh = classifier()
    fresh.load_weights(tmp_path / "run" / "best.weights.h5")
    assert all(np.isfinite(weight).all() for weight in fresh.get_weights())


@pytest.mark.parametrize("changes", [{}, {"freeze_bn": False}, {"frozen_epochs": 0}])
def test_network_that_was_never_trained_is_refused(changes, tmp_path):
    model = keras_resnets.create_model(
        "resnet8", input_shape=(SIZE, SIZE, 3), classes=5, classifier_activation=None
    )
    outer = keras.Sequential([keras.Input((SIZE, SIZE, 3)), model])
    for untrained in (model, outer):
        with pytest.raises(InvalidArgument, match="has mean 0 and variance 1: give"):
            run(tmp_path, short("finetune", 2, **changes), untrained)
    assert not (tmp_path / "run").exists()


@pytest.mark.costly
def test_nothing_held_out_is_told(tmp_path):
    with pytest.warns(TrainingNote, match="nothing is held out to tell whether"):
        made = run(tmp_path, short("finetune", 4), held_out=0)
    assert "kept" not in made.figures and made.figures["test_weights"] == "last"


CIFAR = labels.label_set("cifar10")
NEW = tuple((name, name) for name in "a b c d e f g h i j".split())


def trained():
    return keras_resnets.create_model("resnet20", weights="cifar10")


def outputs(model):
    x = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    return np.array(model(x))


def test_classifier_of_the_same_classes_stays():
    model = trained()
    before = model.get_weights()
    assert heads.fit_classifier(model, CIFAR) is None
    assert heads.fit_classifier(model, labels.class_names(5)) is None
    unnamed = heads.fit_classifier(model, labels.class_names(10))
    assert unnamed == (
        "the data do not name their 10 classes: the classifier that resnet20 came with "
        "is kept, in its order (airplane, automobile, bird, ...)"
    )
    assert all(map(np.array_equal, before, model.get_weights()))
    assert model.labels == "cifar10"


@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_classifier_of_the_same_classes_in_another_order(change):
    """Every output says what it said, under the place that the data give its class."""
    model, order = trained(), [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    before = outputs(model)
    wanted = [(f"{place:02}", change(CIFAR[old][1])) for place, old in enumerate(order)]
    note = heads.fit_classifier(model, wanted)
    assert note.startswith(
        "the classifier that resnet20 came with is kept: its classes"
    )
    np.testing.assert_allclose(outputs(model), before[:, order], rtol=1e-5, atol=1e-7)
    assert model.labels == tuple(name for _, name in wanted)


@pytest.mark.parametrize(
    "known, wanted, order",
    [
        # Numbers for names are names, not places.
        (("2", "0", "1"), [("0", "0"), ("1", "1"), ("2", "2")], [1, 2, 0]),
        (("2", "0", "1"), [("0", "2"), ("1", "0"), ("2", "1")], [0, 1, 2]),
        (("a", "b_c", "d"), [("B C", "B C"), ("d", "d"), ("a", "a")], [1, 2, 0]),
        (("a", "b", "c"), [("a", "a"), ("b", "b"), ("b", "b")], None),
        (("a", "b", "c"), [("0", "x"), ("1", "b"), ("2", "c")], None),
        ("cifar10", CIFAR[1:] + CIFAR[:1], [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]),
    ],
)
def test_places_of_classes(known, wanted, order):
    assert heads._order(known, wanted) == order


def test_imagenet_in_another_order_and_with_two_cranes():
    ours, theirs = map(labels.label_set, ("imagenet", "imagenet_darknet"))
    order = heads._order("imagenet", theirs)
    assert [ours[place] for place in order] == list(theirs)
    names = labels.class_names(1000, [name for _, name in ours])
    assert heads._order("imagenet", names) == list(range(1000))


def test_classifier_of_other_classes_starts_anew():
    model = trained()
    before = model.get_weights()
    note = heads.fit_classifier(model, NEW)
    assert note == (
        "resnet20 came with a classifier of airplane, automobile, bird, ...; the data "
        "have a, b, c, ...: it has new random values"
    )
    after = model.get_weights()
    assert all(map(np.array_equal, before[:-2], after[:-2]))
    limit = np.sqrt(6 / (64 + 10))
    assert np.abs(after[-2]).max() <= limit and after[-2].std() > limit / 3
    assert not after[-1].any() and model.labels == tuple("abcdefghij")


@pytest.mark.costly
def test_command_tells_all_of_it(tmp_path, capsys, monkeypatch):
    """Which classifier, which epochs, which stage was kept; a failure is code 1."""
    from commands import reported
    from commands import run as command

    path = write_npz(tmp_path / "d.npz", train=80, test=20, classes=10)
    words = ["train", "resnet20", "--weights", "cifar10", "--data", path, "--labels"]
    words += [",".join("abcdefghij"), "--recipe", "finetune", "--batch-size", "20"]
    words += ["--input-size", "16", "--precision", "float32", "--output"]
    # The folder of the run comes while it trains.
    page = tmp_path / "a" / "report.html"
    more = ("--epochs", "1", "--report", page)
    code, shown, err = command(*words, tmp_path / "a", *more, capsys=capsys)
    assert code == 0, err
    reported(page, "Curves of training", "Training images of each class", "1 epoch;")
    assert "note: resnet20 came with a classifier of airplane" in shown
    assert "note: 1 of 3 epochs of the classifier alone: the body stays" in shown
    assert "of the 10 held-out images: as it came" in shown and "\nkept: " in shown
    unlimited(monkeypatch)
    change = [
        "--change",
        "body_rate=1e30",
        "--change",
        "optimizer=sgd",
        "--epochs",
        "4",
    ]
    code, shown, err = command(*words, tmp_path / "b", *change, capsys=capsys)
    assert (
        code == 1 and "the loss is nan" in err and "has the best weights so far" in err
    )


def test_notes_are_no_errors_of_other_recipes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingNote)
        run(tmp_path, short("cifar_cosine", 1), held_out=0)


@pytest.mark.costly
def test_a_run_that_goes_on_in_the_same_process_trains_all_of_it(tmp_path):
    """What a frozen phase froze is not taken for what the user froze."""
    recipe, folder = short("finetune", 3, frozen_epochs=1), RunFolder(tmp_path / "run")
    model, data = classifier(), open_small(tmp_path, 0.25, train=40)
    before = None
    folder.open({"status": "running"}, resume=False)
    for changed in (recipe.replace(epochs=1), recipe):
        job = loop.Job(model, data, changed, WANTED, 8, verbose=0)
        loop.run(job, folder, resume=True)
        assert all(layer.trainable for layer in model.layers)
        kernel = np.array(model.get_layer("small_stem_conv").kernel)
        assert (before is None) or np.abs(kernel - before).max() > 0
        before = kernel
