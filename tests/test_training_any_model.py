"""`train` on networks of anybody's: nested, frozen in part, with any head and input."""

import keras
import numpy as np
import pytest
from training_helpers import SIZE
from training_helpers import WANTED
from training_helpers import open_small
from training_helpers import short
from training_helpers import write_npz

import keras_resnets
from keras_resnets import Preprocessing
from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import anatomy
from keras_resnets.training import compiling
from keras_resnets.training import fitting
from keras_resnets.training import get_recipe
from keras_resnets.training.session import train
from keras_resnets.weights import metadata
from keras_resnets.weights.readers import read

layers = keras.layers


def body(channels=3, pooling=None, dtype=None, name="body"):
    """A backbone as users have them, with BN whose statistics are not the first ones."""
    image = keras.Input((SIZE, SIZE, channels))
    x = layers.Conv2D(6, 3, strides=2, name="conv1", dtype=dtype)(image)
    x = layers.BatchNormalization(name="bn1", dtype=dtype, momentum=0.5)(x)
    x = layers.ReLU(dtype=dtype)(x)
    x = layers.Conv2D(8, 3, name="conv2", dtype=dtype)(x)
    x = layers.BatchNormalization(name="bn2", dtype=dtype, momentum=0.5)(x)
    if pooling:
        x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    model = keras.Model(image, x, name=name)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            values = [rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()]
            layer.set_weights(values)
    return model


def flat():
    """GAP, Dropout, Dense, ReLU, Dense behind the backbone's own layers."""
    trunk = body()
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(trunk.output))
    x = layers.ReLU()(layers.Dense(7, name="hidden")(x))
    return keras.Model(trunk.input, layers.Dense(5, name="mine")(x))


def nested():
    """A backbone and a head, each a model of its own; BN in the head as well."""
    image = keras.Input((SIZE, SIZE, 3))
    top = keras.Sequential(
        [
            layers.Dense(7, name="hidden"),
            layers.BatchNormalization(name="head_bn", momentum=0.5),
            layers.Dense(5, name="mine"),
            layers.Softmax(),
        ]
    )
    return keras.Model(image, top(body(pooling="avg")(image)))


def sequential():
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.RandomFlip(),
            body(),
            layers.Flatten(),
            layers.Dense(5, name="mine"),
        ]
    )


def wrapped():
    """The classifier in a wrapper."""
    trunk = body(pooling="avg")
    dense = layers.Dense(5, activation="softmax", name="mine")
    head = layers.SpectralNormalization(dense, name="spectral")
    return keras.Model(trunk.input, head(trunk.output))


HEADS = {
    flat: {"hidden", "mine"},
    nested: {"hidden", "head_bn", "mine"},
    sequential: {"mine"},
    wrapped: {"spectral"},
}


@pytest.mark.parametrize("make", HEADS)
def test_head_is_what_stands_behind_the_last_feature_map(make):
    assert {layer.name for layer in anatomy.head(make())} == HEADS[make]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("resnet20", "predictions"),
        ("darknet19", "predictions_conv"),
        ("resnet8", "predictions"),
        # Its last map has one pixel, and is no head.
        ("resnet50", "predictions"),
    ],
)
def test_heads_of_this_package(name, expected):
    model = keras_resnets.create_model(
        name, input_shape=(32, 32, 3), kernel_initializer="zeros"
    )
    assert [layer.name for layer in anatomy.head(model)] == [expected]


class Soft(layers.Layer):
    """A layer of somebody's own, whose graph says nothing."""

    def call(self, x):
        return keras.ops.softmax(x)


def ending(*last):
    """A network that ends in `last`, layers or functions of its features."""
    trunk = body(pooling="avg")
    x = layers.Dense(5)(trunk.output)
    for change in last:
        x = change(x)
    return keras.Model(trunk.input, x)


def in_a_model(activation):
    return keras.Sequential([layers.Dense(5), layers.Activation(activation)])


def averaged(x):
    return layers.Average()([layers.Softmax()(x), layers.Softmax()(layers.Dense(5)(x))])


ENDS = [
    ((), "logits"),
    ((layers.Softmax,), "softmax"),
    ((lambda: layers.Activation("softmax", dtype="float32"),), "softmax"),
    ((lambda: layers.Activation("linear", dtype="float32"),), "logits"),
    ((lambda: keras.ops.softmax,), "softmax"),
    ((lambda: keras.ops.sigmoid,), "sigmoid"),
    ((lambda: keras.ops.log_softmax,), "logits"),
    ((lambda: lambda x: keras.ops.cast(keras.ops.softmax(x), "float32"),), "softmax"),
    ((lambda: in_a_model("softmax"),), "softmax"),
    ((lambda: in_a_model("sigmoid"),), "sigmoid"),
    ((lambda: in_a_model("relu"),), "logits"),
    ((lambda: layers.Dense(5, activation="softmax"), layers.Identity), "softmax"),
    ((layers.Softmax, lambda: layers.Dense(5)), "logits"),
    ((lambda: averaged,), "softmax"),
    ((Soft,), "softmax"),
    ((lambda: lambda x: layers.Add()([x, x]),), "logits"),
]


@pytest.mark.parametrize("last, expected", ENDS)
def test_what_a_network_puts_out(last, expected):
    model = ending(*(make() for make in last))
    assert anatomy.kind_of_outputs(model) == expected
    recipe = get_recipe("rsb_a3" if expected == "sigmoid" else "cifar_cosine")
    loss = compiling.options(recipe, model, 10)["loss"]
    assert loss.get_config()["from_logits"] is (expected == "logits")


def fit(folder, model, recipe, preprocessing=WANTED, name="run", resume=False):
    """Nothing is held out: the model has the last weights afterwards."""
    return train(
        model,
        open_small(folder, train=40),
        recipe,
        folder / name,
        preprocessing=preprocessing,
        resume=resume,
        verbose=0,
    )


def values(model):
    return {weight.path: np.array(weight) for weight in model.weights}


def moved(before, model):
    """The layers whose weights are others, by their names."""
    after = values(model)
    return {
        path.split("/")[-2]
        for path in before
        if not np.array_equal(before[path], after[path])
    }


@pytest.mark.costly_but("nested")
@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("make", [flat, nested])
def test_phases_train_their_part_alone(make, tmp_path, monkeypatch):
    """First the head, then all of it but the body's BN, at whatever depth."""
    model, seen = make(), []
    before, kept = values(model), fitting.fit

    def watched(*given):
        kept(*given)
        seen.append(moved(before, model))

    monkeypatch.setattr(fitting, "fit", watched)
    recipe = short("cifar_cosine", 2, frozen_epochs=1, freeze_bn=True)
    fit(tmp_path, model, recipe)
    assert seen[0] == HEADS[make]
    assert seen[1] == HEADS[make] | {"conv1", "conv2"}
    assert all(layer.trainable for layer in anatomy.all_layers(model))


@pytest.mark.costly
@pytest.mark.usefixtures("untraced")
@pytest.mark.torch
def test_what_the_user_froze_stays_so(tmp_path):
    """A layer, a variable, and the BN of a nested model; in every phase."""
    model = nested()
    trunk = next(layer for layer in model.layers if layer.name == "body")
    trunk.get_layer("conv1").trainable = False
    trunk.get_layer("bn2").trainable = False
    trunk.get_layer("conv2").bias.trainable = False
    flags = [layer.trainable for layer in anatomy.all_layers(model)]
    before = values(model)
    fit(tmp_path, model, short("cifar_cosine", 2, frozen_epochs=1))
    after = values(model)
    still = {path for path in before if np.array_equal(before[path], after[path])}
    assert {path.split("body/")[-1] for path in still} == {
        "conv1/kernel",
        "conv1/bias",
        "conv2/bias",
        "bn2/gamma",
        "bn2/beta",
        "bn2/moving_mean",
        "bn2/moving_variance",
    }
    assert flags == [layer.trainable for layer in anatomy.all_layers(model)]
    assert not trunk.get_layer("conv2").bias.trainable
    with pytest.raises(InvalidArgument, match="contains a run with another network"):
        recipe = short("cifar_cosine", 2, frozen_epochs=1)
        fit(tmp_path, nested(), recipe, resume=True)


@pytest.mark.usefixtures("untraced")
def test_half_precision_inside_has_its_loss_scaled(tmp_path):
    """Where the global policy is float32 and that of the layers is not."""
    image = keras.Input((SIZE, SIZE, 3))
    x = body(pooling="avg", dtype="mixed_float16")(image)
    model = keras.Model(image, layers.Dense(5)(x))
    assert compiling.is_half(model)
    run = fit(tmp_path, model, short("cifar_cosine"))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert np.isfinite([row["loss"] for row in run.history]).all()


@pytest.mark.costly
@pytest.mark.usefixtures("untraced")
@pytest.mark.torch
def test_layers_of_one_name_are_trained_as_others(tmp_path):
    def model(names):
        keras.utils.set_random_seed(0)
        image = keras.Input((SIZE, SIZE, 3))
        x = layers.Conv2D(4, 3, name="outer", kernel_initializer="orthogonal")(image)
        for number, name in enumerate(names):
            given = keras.Input(x.shape[1:])
            start = keras.initializers.Orthogonal(seed=number)
            inner = layers.Conv2D(4, 3, name=name, kernel_initializer=start)
            x = keras.Model(given, inner(given), name=f"inner{number}")(x)
        x = layers.Dense(5, name="mine")(layers.GlobalAveragePooling2D()(x))
        return keras.Model(image, x)

    ends = []
    for names in (("conv", "conv"), ("conv1", "conv2")):
        made = model(names)
        recipe = short("cifar_cosine", 2, learning_rate=1e-4)
        fit(tmp_path, made, recipe, name=names[1])
        ends.append(made.get_weights())
    for same, other in zip(*ends, strict=True):
        np.testing.assert_allclose(same, other, rtol=1e-4, atol=1e-6)


@pytest.mark.torch
def test_one_channel_and_names_of_the_data(tmp_path):
    """Images become grey; the model says what it was trained on, and so do its files."""
    model = keras_resnets.create_model(
        "resnet8", classes=5, input_shape=(SIZE, SIZE, 1), classifier_activation=None
    )
    assert model.preprocessing == Preprocessing("raw", (SIZE, SIZE), 1.0).grey()
    model.labels = "cifar10"
    names = tuple((name, name) for name in "abcde")
    data = keras_resnets.training.open_dataset(
        write_npz(tmp_path / "d.npz", train=40), 0.25, classes=names
    )
    wanted = Preprocessing("caffe", (SIZE, SIZE), 1.0)
    run = train(
        model,
        data,
        short("cifar_cosine"),
        tmp_path / "run",
        preprocessing=wanted,
        verbose=0,
    )
    assert model.labels == tuple("abcde") and model.preprocessing == wanted.grey()
    told = read(run.folder.weights("best")).metadata[metadata.KEY]
    assert '"labels": ["a", "b", "c", "d", "e"]' in told
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), "uint8")
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    expected = grey - (0.299 * 123.68 + 0.587 * 116.779 + 0.114 * 103.939)
    found = model.preprocessing.batch(pixels)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-3)
    assert keras.ops.shape(model(found)) == (3, 5)


@pytest.mark.usefixtures("untraced")
def test_a_network_that_scales_its_images_gets_pixels(tmp_path):
    image = keras.Input((SIZE, SIZE, 3))
    scaled = layers.Rescaling(1 / 255, name="my_scale")(image)
    model = keras.Model(image, layers.Dense(5)(body(pooling="avg")(scaled)))
    fit(tmp_path, model, short("cifar_cosine"), None)
    assert model.preprocessing == Preprocessing("raw", (SIZE, SIZE), 1.0)
    with pytest.raises(
        InvalidArgument, match=r"the layer my_scale of .* a second time"
    ):
        fit(tmp_path, model, short("cifar_cosine"), name="other")


class Own(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.dense = layers.Dense(5)

    def call(self, x):
        return self.dense(keras.ops.mean(x, axis=(1, 2)))


def two_inputs():
    image, other = (keras.Input((SIZE, SIZE, 3), name=name) for name in "ab")
    both = layers.Add()([image, other])
    return keras.Model(
        [image, other], layers.Dense(5)(layers.Flatten()(both)), name="m"
    )


def two_outputs():
    trunk = body(pooling="avg")
    found = [layers.Dense(5, name=name)(trunk.output) for name in ("fine", "coarse")]
    return keras.Model(trunk.input, found, name="m")


def of(shape, classes=5, **options):
    image = keras.Input(shape)
    flat = layers.Flatten()(image)
    return keras.Model(image, layers.Dense(classes, **options)(flat), name="m")


def frozen(model, *names):
    for layer in anatomy.all_layers(model):
        if not names or layer.name in names:
            layer.trainable = False
    return model


REFUSED = [
    (Own, {}, "own is of the class Own, with a call of its own"),
    (
        lambda: keras.Sequential([layers.Flatten(), layers.Dense(5)], name="m"),
        {},
        "m is a Sequential without keras.Input",
    ),
    (lambda: layers.Dense(5), {}, "model must be a keras.Model; got Dense"),
    (two_inputs, {}, "m has 2 inputs: a, b"),
    (two_outputs, {}, "with one input and one output; m has 2 outputs"),
    (body, {}, "with outputs (batch, classes); body outputs (None, 5, 5, 8)"),
    (lambda: of((3, SIZE, SIZE)), {}, 'build it with data_format="channels_last"'),
    (
        lambda: of((SIZE, SIZE, 4)),
        {},
        "must have the 4 channels of the network; those of small.npz have 3",
    ),
    (lambda: of((8, 8, 3)), {}, "image size of m, 8 x 8; got 16 x 16"),
    (
        lambda: of((SIZE, SIZE, 3), 7),
        {},
        "must have the 5 classes of small.npz; m has 7",
    ),
    (
        lambda: of((SIZE, SIZE, 3), activation="sigmoid"),
        {},
        "m ends in a sigmoid: change the recipe (loss='binary')",
    ),
    (
        lambda: of((SIZE, SIZE, 3), activation="softmax"),
        {"loss": "binary"},
        "m ends in a softmax: change the recipe (loss='cross_entropy')",
    ),
    (lambda: frozen(flat()), {}, "at least one layer must be trainable"),
    (
        lambda: frozen(flat(), "hidden", "mine"),
        {"frozen_epochs": 1},
        "trains only the head (mine, hidden), which has trainable=False",
    ),
]


@pytest.mark.parametrize("make, changes, message", REFUSED)
def test_refused_by_name(make, changes, message, tmp_path):
    with pytest.raises(InvalidArgument) as caught:
        fit(tmp_path, make(), short("cifar_cosine", 2, **changes))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_one_sigmoid_for_two_classes_is_refused(tmp_path):
    data = keras_resnets.training.open_dataset(write_npz(tmp_path / "d.npz", classes=2))
    model = of((SIZE, SIZE, 3), 1, activation="sigmoid")
    recipe = short("cifar_cosine", loss="binary")
    with pytest.raises(
        InvalidArgument, match=r"end it in Dense\(2\), not in one sigmoid"
    ):
        train(model, data, recipe, tmp_path / "run", preprocessing=WANTED)


def test_a_model_that_does_not_say_what_it_takes(tmp_path):
    with pytest.raises(InvalidArgument, match=r"Preprocessing\(MODE, \(16, 16\)\)"):
        fit(tmp_path, flat(), short("cifar_cosine"), None)
