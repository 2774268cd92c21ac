"""Classes of different sizes: their weights in the loss, and balanced sampling."""

import json

import keras
import numpy as np
import pytest
from training_helpers import SIZE
from training_helpers import WANTED
from training_helpers import short
from training_helpers import write_npz

from keras_resnets.errors import InvalidArgument
from keras_resnets.training import balance
from keras_resnets.training.augmentation import Augmentation
from keras_resnets.training.data import batches
from keras_resnets.training.data import open_dataset
from keras_resnets.training.data.sampler import Order
from keras_resnets.training.session import train

CLASSES = tuple((f"n{index}", name) for index, name in enumerate(("cat", "dog", "owl")))
LABELS = np.repeat([0, 1, 2], [6, 3, 1])
WEIGHTS = {"cat": 1.0, "dog": 2.0, "owl": 0.5}


def test_balanced_weights_are_the_inverse_of_the_counts():
    """n / (k n_c), as scikit-learn's compute_class_weight has it."""
    found = balance.class_weights("balanced", CLASSES, LABELS, "mine")
    assert found == pytest.approx({"cat": 10 / 18, "dog": 10 / 9, "owl": 10 / 3})
    assert np.mean([list(found.values())[label] for label in LABELS]) == pytest.approx(
        1
    )


@pytest.mark.parametrize(
    "name, text",
    [
        ("w.json", json.dumps(WEIGHTS)),
        ("w.json", '{"n2": 0.5, "n0": 1, "n1": 2}'),
        ("w.csv", "class,weight\ndog,2\ncat,1\nowl,0.5\n"),
        ("w.csv", "\ufeffcat;1\n\ndog; 2\nowl;0.5"),
        ("weights", '"cat", 1.0\n"dog", 2.0\n"owl", 5e-1\n'),
    ],
)
def test_files_of_weights(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    assert balance.class_weights(str(path), CLASSES, LABELS, "mine") == WEIGHTS


def test_names_go_before_ids():
    """Folders called by numbers: the name of one class is the id of another."""
    classes = (("0", "1"), ("1", "10"), ("2", "0"))
    given = {"0": 3.0, "1": 1.0, "10": 2.0}
    found = balance.class_weights(given, classes, LABELS, "mine")
    assert list(found.items()) == [("1", 1.0), ("10", 2.0), ("0", 3.0)]


WRONG = {
    '{"cat": 1, "dog": 2, "wol": 3}': "among the 3 of the data, cat, dog, owl; got wol; "
    "did you mean 'owl'?",
    '{"cat": 1, "owl": 2}': "a weight for each of the 3 classes; it has none for dog",
    '{"cat": 1, "dog": 0, "owl": 2}': "a number above 0; that of dog is 0",
    '{"cat": 1, "dog": NaN, "owl": 2}': "a number above 0; that of dog is nan",
    '{"cat": true, "dog": 1, "owl": 2}': "a number above 0; that of cat is True",
    '{"cat": 1, "dog": 1, "owl": 2, "cat": 3}': "cat has more than one weight",
    "[1, 2, 3]": "must contain an object of classes and weights",
    '{"cat": 1,': "is not JSON: ",
    "cat,1\ndog,-1\nowl,2": "a number above 0; that of dog is '-1'",
    "cat,1\ndog,2,3\nowl,2": "must have two columns, class and weight; a row is "
    "'dog,2,3'",
    "": "must have two columns",
}


@pytest.mark.parametrize("text", WRONG)
def test_weights_that_are_refused(text, tmp_path):
    path = tmp_path / "w"
    path.write_text(text)
    with pytest.raises(InvalidArgument) as caught:
        balance.class_weights(path, CLASSES, LABELS, "mine")
    assert WRONG[text] in str(caught.value) and "\n" not in str(caught.value)


def test_other_refusals(tmp_path):
    for given, message in (
        ("balance", 'must be "balanced", or a JSON or CSV file of class and weight'),
        (3.0, '"balanced", a mapping from class to weight, or a JSON or CSV file'),
        ("balanced", "mine has none of dog"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            balance.class_weights(given, CLASSES, np.array([0, 2]), "mine")
    with pytest.raises(InvalidArgument, match="would balance the classes twice"):
        balance.check_sampler("balanced", "balanced")
    with pytest.raises(InvalidArgument, match="sampler must be one of"):
        balance.check_sampler("weighted", None)


def test_a_balanced_epoch_has_as_many_images_of_each_class():
    labels = np.repeat([4, 0, 2], [100, 10, 3])
    order = Order(113, 8, 1, shuffled=True, drop_remainder=False, balance=labels)
    epochs = []
    for epoch in range(6):
        found = np.concatenate([order.indices(epoch, s) for s in range(order.steps)])
        assert len(found) == 113
        assert sorted(np.bincount(labels[found])[[0, 2, 4]]) == [37, 38, 38]
        times = np.bincount(found, minlength=113)
        for label in (4, 0, 2):
            # Each image of a class as often as the others, but for one.
            assert np.ptp(times[labels == label]) <= 1
        epochs.append(found)
    assert not any((epochs[0] == other).all() for other in epochs[1:])
    # Any step of any epoch by itself.
    assert (order.indices(3, 5) == epochs[3][40:48]).all()
    shares = [Order(113, 8, 1, True, False, (n, 2), labels) for n in (0, 1)]
    both = np.concatenate([share.indices(3, 5) for share in shares])
    assert (both == epochs[3][40:48]).all()


def data_of(folder, counts=(20, 8, 4)):
    """Classes of different sizes, in an .npz, with nothing held out."""
    source = np.load(write_npz(folder / "even.npz", train=60, classes=3))
    keep = np.concatenate(
        [
            np.flatnonzero(source["y_train"] == n)[:count]
            for n, count in enumerate(counts)
        ]
    )
    np.savez(
        folder / "d.npz",
        x_train=source["x_train"][keep],
        y_train=source["y_train"][keep],
    )
    return open_dataset(folder / "d.npz", 0, classes=CLASSES)


@pytest.mark.torch
@pytest.mark.parametrize("changes", [{}, {"mixup": 0.4}, {"cutmix": 1.0}])
def test_batches_have_the_weights_of_their_targets(changes, tmp_path):
    split, weights = data_of(tmp_path).train, np.array([1, 2, 0.5], "float32")
    options = {"classes": 3, "class_weights": weights, "balanced": True}
    changes = Augmentation(**changes)
    found = list(batches(split, WANTED, 8, augmentation=changes, **options))
    for _, targets, given in found:
        expected = np.asarray(targets) @ weights
        np.testing.assert_allclose(np.asarray(given), expected, rtol=1e-6)
    seen = sum(np.asarray(targets).sum(0) for _, targets, _ in found)
    if not changes.mixes:
        assert sorted(seen.tolist()) == [10, 11, 11]
    later = batches(split, WANTED, 8, augmentation=changes, first_step=2, **options)
    for left, right in zip(found[2:], later, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))
    assert len(next(iter(batches(split, WANTED, 8, training=False, **options)))) == 2


def linear(classes=3, seed=1):
    """A network that an epoch of a tiny learning rate leaves as it is."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(
        image, keras.layers.Dense(classes)(keras.layers.Flatten()(image))
    )


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.costly_but("None-0.0", "linear-0.1")
@pytest.mark.torch
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("teacher", [None, linear])
def test_the_loss_of_a_training_is_weighted(smoothing, teacher, tmp_path):
    """mean(w_i CE_i) of the labels, smoothed or not; a teacher's part and validation: 1."""
    data, model = data_of(tmp_path), linear()
    pixels, labels = data.train.images.pixels, data.train.labels
    logits = model.predict(WANTED.normalize(pixels), verbose=0)
    targets = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    losses = -(targets * log_softmax(logits)).sum(-1)
    expected = (np.array([1, 2, 0.5])[labels] * losses).mean()
    recipe = short("cifar_cosine", learning_rate=1e-12, label_smoothing=smoothing)
    recipe = recipe.replace(crop="centre", flip=False, temperature=2.0)
    options = {"preprocessing": WANTED, "verbose": 0, "class_weight": WEIGHTS}
    if teacher:
        options["teacher"] = teacher(seed=2)
        answers = options["teacher"].predict(WANTED.normalize(pixels), verbose=0)
        soft = np.exp(log_softmax(answers / 2)) * log_softmax(logits / 2)
        expected -= 4 * soft.sum(-1).mean()
    run = train(model, data, recipe, tmp_path / "run", **options)
    assert run.history[0]["loss"] == pytest.approx(expected, rel=1e-4)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["class_weight"] == WEIGHTS and facts["sampler"] == "shuffled"
    with pytest.raises(
        InvalidArgument, match="other class weights: dog was 2.0, now 3"
    ):
        options["class_weight"] = {**WEIGHTS, "dog": 3.0}
        train(linear(), data, recipe, tmp_path / "run", resume=True, **options)


@pytest.mark.parametrize(
    "options", [{"class_weight": "balanced"}, {"sampler": "balanced"}]
)
def test_balancing_needs_images_of_every_class(options, tmp_path):
    data = data_of(tmp_path, counts=(20, 0, 4))
    with pytest.raises(InvalidArgument, match="d.npz has none of dog"):
        train(
            linear(),
            data,
            short("cifar_cosine"),
            tmp_path / "run",
            preprocessing=WANTED,
            **options,
        )
    assert not (tmp_path / "run").exists()
