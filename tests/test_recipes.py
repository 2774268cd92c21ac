"""Recipes are what their papers say, and their tricks do what they claim."""

import dataclasses

import keras
import numpy as np
import pytest
from helpers import noise
from training_helpers import SIZE
from training_helpers import WANTED
from training_helpers import classifier
from training_helpers import open_small
from training_helpers import short

import keras_resnets
from keras_resnets.errors import InvalidArgument
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training import Distiller
from keras_resnets.training import Recipe
from keras_resnets.training import compiling
from keras_resnets.training import get_recipe
from keras_resnets.training import list_recipes
from keras_resnets.training.session import train


def rates(recipe, epochs, steps=100, batch_size=None, depth=None):
    schedule = compiling.learning_rate(
        recipe, steps, batch_size or recipe.batch_size, depth
    )
    return [float(schedule(int(epoch * steps))) for epoch in epochs]


@pytest.mark.parametrize(
    "name, epochs, expected",
    [
        (
            "he2015_imagenet",
            [0, 29.99, 30, 59.99, 60, 89],
            [0.1, 0.1, 1e-2, 1e-2, 1e-3],
        ),
        ("resnext_imagenet", [0, 30, 60, 90], [0.1, 0.01, 1e-3, 1e-4]),
        ("wrn_cifar", [0, 60, 120, 160], [0.1, 0.02, 0.004, 0.0008]),
        ("drn_imagenet", [29, 30, 60, 90], [0.1, 0.01, 1e-3, 1e-4]),
        ("preact_cifar", [0, 0.99, 1, 82, 123], [0.01, 0.01, 0.1, 0.01, 0.001]),
        ("bag_of_tricks", [0, 2.5, 5, 102.5, 200], [0, 0.2, 0.4, 0.2, 0]),
        ("rsb_a3", [0, 2.5, 5, 52.5, 100], [0, 4e-3, 8e-3, 4e-3, 0]),
        # darknet: 0.1 * (1 - progress) ** 4 behind a burn-in of (step / steps) ** 4.
        ("darknet_imagenet", [0, 0.05, 40, 80], [0, 0.1 / 16, 0.1 / 16, 0]),
    ],
)
def test_learning_rates(name, epochs, expected):
    found = rates(get_recipe(name), epochs)
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=5e-3, atol=1e-8)


def test_only_deep_networks_of_2015_warm_up():
    recipe = get_recipe("he2015_cifar")
    assert rates(recipe, [0, 1, 81.99, 82], depth=20) == pytest.approx(
        [0.1, 0.1, 0.1, 0.01]
    )
    assert rates(recipe, [0, 0.99, 1], depth=110) == pytest.approx([0.01, 0.01, 0.1])
    assert compiling.depth_of(keras_resnets.create_model("resnet20")) == 20
    assert compiling.depth_of(keras_resnets.create_model("wrn_16_4")) == 14


def test_linear_scaling():
    recipe = get_recipe("bag_of_tricks")
    assert rates(recipe, [5], batch_size=256) == pytest.approx([0.1])
    assert rates(get_recipe("wrn_cifar"), [0], batch_size=256) == pytest.approx([0.1])


def test_other_lengths_stretch_the_schedule():
    half = get_recipe("bag_of_tricks", epochs=100)
    assert half.warmup == 2.5
    assert get_recipe("wrn_cifar", epochs=20).milestones == (6, 12, 16)


@pytest.mark.parametrize("decay_all", [False, True])
def test_decay_skips_bn_and_biases(decay_all):
    """With gradients of zero only the decay moves a variable."""
    recipe = get_recipe(
        "bag_of_tricks", decay_all=decay_all, warmup=0, schedule="steps"
    )
    model = classifier()
    variables = model.trainable_variables
    before = [np.array(variable) for variable in variables]
    optimizer = compiling.optimizer(recipe, 0.4, variables)
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros_like(v) for v in variables], variables)
    factor = 1 - 0.4 * recipe.weight_decay / (1 - recipe.momentum)
    moved = set()
    for variable, old in zip(variables, before, strict=True):
        name = variable.path.split("/")[-1]
        decays = decay_all or name == "kernel"
        np.testing.assert_allclose(
            np.array(variable), old * (factor if decays else 1), rtol=2e-6
        )
        moved.add((name, bool((np.array(variable) != old).any())))
    assert moved == {
        ("kernel", True),
        *((name, decay_all) for name in ("gamma", "beta", "bias")),
    }


def test_decay_equals_l2_in_the_gradient():
    """In the long run, as the papers' code has it: v = m v + g + wd w; w -= lr v."""
    recipe = get_recipe("he2015_cifar", weight_decay=1e-2)
    variable = keras.Variable([[1.0]])
    optimizer = compiling.optimizer(recipe, 0.01, [variable])
    weight, speed = 1.0, 0.0
    for _ in range(400):
        optimizer.apply([keras.ops.zeros((1, 1))], [variable])
        speed = 0.9 * speed + 1e-2 * weight
        weight -= 0.01 * speed
    # The momentum of the papers begins ten steps late: 1 % of decay here. Without the
    # factor of 1 / (1 - momentum) the weight would be 0.96.
    assert weight < 0.71
    assert float(variable[0, 0]) == pytest.approx(weight, rel=1e-2)


@pytest.mark.parametrize("logits", [True, False])
def test_label_smoothing(logits):
    """(1 - e) of the true class and e / K of each: Szegedy 2016, section 7."""
    recipe = get_recipe("bag_of_tricks")
    outputs = noise(4, 5)
    shares = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    targets = np.eye(5)[[0, 3, 1, 4]]
    smooth = 0.9 * targets + 0.1 / 5
    expected = -(smooth * np.log(shares)).sum(-1).mean()
    given = outputs if logits else shares
    found = float(compiling.loss(recipe, logits)(targets.astype("float32"), given))
    assert found == pytest.approx(expected, rel=1e-5)


def test_binary_loss_has_a_sigmoid_a_class():
    outputs, targets = noise(3, 5), np.eye(5, dtype="float32")[[1, 2, 4]]
    shares = 1 / (1 + np.exp(-outputs))
    expected = -(targets * np.log(shares) + (1 - targets) * np.log(1 - shares)).mean()
    loss = compiling.loss(get_recipe("rsb_a3"), logits=True)
    assert float(loss(targets, outputs)) == pytest.approx(expected, rel=1e-5)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_distillation_is_the_papers_formula(activation):
    """CE(y, softmax(z)) + T^2 CE(softmax(r / T), softmax(z / T)), He 2019, eq. 6."""
    student = classifier()
    teacher = classifier("bottleneck_original")
    known = keras.Model(
        teacher.input, keras.layers.Activation(activation)(teacher.output)
    )
    distiller = Distiller(student, known, temperature=4.0, weight=0.5)
    distiller.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    pictures, targets = (
        noise(6, SIZE, SIZE, 3),
        np.eye(5, dtype="float32")[np.arange(6) % 5],
    )
    z, r = np.array(student(pictures)), np.array(teacher(pictures))
    hard = -(targets * np.log(softmax(z))).sum(-1).mean()
    soft = -16 * (softmax(r / 4) * np.log(softmax(z / 4))).sum(-1).mean()
    found = distiller.compute_loss(pictures, targets, student(pictures))
    assert float(found) == pytest.approx(hard + 0.5 * soft, rel=1e-4)
    found = distiller.compute_loss(pictures, targets, student(pictures), training=False)
    assert float(found) == pytest.approx(hard, rel=1e-4)


@pytest.mark.parametrize("mode", ["torch", "caffe", "cifar"])
def test_a_teacher_sees_pictures_as_it_was_trained(mode):
    """The student's are normalized in their own way: its answers are for the same."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3))
    student, teacher = classifier(), classifier("bottleneck_original")
    student.preprocessing = Preprocessing("cifar", (SIZE, SIZE))
    teacher.preprocessing = Preprocessing(mode, (SIZE, SIZE))
    distiller = Distiller(student, teacher, temperature=4.0)
    distiller.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    pictures = student.preprocessing.normalize(pixels, "channels_last")
    targets = np.eye(5, dtype="float32")[np.arange(4)]
    z = np.array(student(pictures))
    r = np.array(teacher(teacher.preprocessing.normalize(pixels, "channels_last")))
    hard = -(targets * np.log(softmax(z))).sum(-1).mean()
    soft = -16 * (softmax(r / 4) * np.log(softmax(z / 4))).sum(-1).mean()
    found = distiller.compute_loss(pictures, targets, student(pictures))
    assert float(found) == pytest.approx(hard + soft, rel=1e-4)


@pytest.mark.costly
@pytest.mark.torch
def test_distillation_trains_the_student_alone(tmp_path):
    student, teacher = classifier(), classifier("bottleneck_original")
    before = [teacher.get_weights(), student.get_weights()]
    run = train(
        student,
        open_small(tmp_path),
        short("bag_of_tricks", mixup=0.0),
        tmp_path / "run",
        preprocessing=WANTED,
        teacher=teacher,
        verbose=0,
    )
    assert all(map(np.array_equal, before[0], teacher.get_weights()))
    assert not all(map(np.array_equal, before[1], student.get_weights()))
    fresh = classifier()
    fresh.load_weights(run.folder.weights("last"))
    assert all(map(np.array_equal, fresh.get_weights(), student.get_weights()))


def test_students_and_teachers_that_do_not_fit():
    with pytest.raises(InvalidArgument, match="same number of classes; got 10 and 5"):
        Distiller(classifier(), keras_resnets.create_model("resnet8"))
    with pytest.raises(InvalidArgument, match="classifier_activation=None"):
        Distiller(keras_resnets.create_model("resnet8"), classifier())


@pytest.mark.costly_but("cifar_cosine")
@pytest.mark.torch
@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_trains(name, tmp_path):
    """Three steps, or three of each phase; every trainable weight moves."""
    recipe = short(name, epochs=1 + get_recipe(name).frozen_epochs)
    model = classifier(**recipe.axes)
    before = {v.path: np.array(v) for v in model.weights}
    run = train(
        model,
        open_small(tmp_path),
        recipe,
        tmp_path / "run",
        preprocessing=WANTED,
        verbose=0,
    )
    assert len(run.history) == recipe.epochs
    assert all(np.isfinite(row["loss"]) for row in run.history)
    still = {
        v.path.split("/")[-1]
        for v in model.weights
        if np.array_equal(v, before[v.path])
    }
    frozen = {"gamma", "beta", "moving_mean", "moving_variance"}
    assert still == (frozen if recipe.freeze_bn else set())
    assert recipe.source and recipe.published


def test_every_recipe_is_frozen_data():
    for name in list_recipes():
        with pytest.raises(dataclasses.FrozenInstanceError):
            get_recipe(name).epochs = 3


def test_tricks_are_switches():
    recipe = get_recipe("bag_of_tricks")
    assert recipe.axes == {"zero_init_residual": True}
    plain = recipe.replace(
        zero_init_residual=False,
        mixup=0.0,
        label_smoothing=0.0,
        schedule="steps",
        decay_all=True,
        warmup=0,
        linear_scaling=False,
        ema=0.999,
    )
    assert plain.axes == {} and plain.augmentation.mixup == 0
    model = keras_resnets.create_model("resnet20", **recipe.axes)
    gammas = [layer.gamma for layer in model.layers if hasattr(layer, "gamma")]
    assert sum(not np.any(gamma) for gamma in gammas) == 9


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epoch": 3}, "a recipe has no field 'epoch'; did you mean epochs"),
        ({"epochs": 0}, "epochs must be a whole number from 1 to 1,000,000; got 0"),
        ({"learning_rate": -1}, r"learning_rate must lie in \(0, 1,000\]; got -1"),
        ({"schedule": "linear"}, "schedule must be one of 'steps', 'cosine', 'poly'"),
        ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 1\); got 1.0"),
        ({"warmup": 500}, "warmup must lie in"),
        ({"mixup": -1.0}, "mixup"),
    ],
)
def test_bad_changes(changes, message):
    with pytest.raises(InvalidArgument, match=message):
        get_recipe("bag_of_tricks", **changes)


def test_unknown_recipes():
    with pytest.raises(InvalidArgument, match="did you mean 'he2015_cifar'"):
        get_recipe("he2015cifar")
    with pytest.raises(InvalidArgument, match="must be a name or a Recipe; got dict"):
        get_recipe({})
    assert get_recipe(get_recipe("rsb_a3")) == get_recipe("rsb_a3")
    assert isinstance(get_recipe("rsb_a3"), Recipe)
