"""Calibration images: what they come in, and that wrong scales are refused everywhere."""

import functools
import pathlib
import warnings

import keras
import numpy as np
import pytest
from helpers import ONE_UNIT
from helpers import noise
from helpers import randomize
from helpers import small_model
from quantized import CHECKPOINTS
from quantized import TRAINED
from quantized import cifar

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets import quantization
from keras_resnets import tfmot
from keras_resnets.cli.arguments import calibration as command_calibration
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.export import random_weights
from keras_resnets.export import session
from keras_resnets.export import to_onnx
from keras_resnets.export import to_tflite
from keras_resnets.images import calibration
from keras_resnets.images import calibration_checks
from keras_resnets.images import collecting
from keras_resnets.images import samples
from keras_resnets.images.preprocessing import Preprocessing

SHAPE = (32, 32, 3)
MODES = ("torch", "tf", "caffe", "darknet", "raw")


def in_mode(pixels, mode):
    return Preprocessing(mode, SHAPE[:2]).normalize(pixels, "channels_last")


@functools.cache
def trained(folder, name):
    """A network of this package by its kind, or of others by its file."""
    weights = folder / CHECKPOINTS[name] if name in CHECKPOINTS else "cifar10"
    name = TRAINED.get(name, name)
    return keras_resnets.create_model(name, weights=weights)


def honest(pixels):
    """Sets of images as people have them."""
    rng = np.random.default_rng(0)
    x = pixels.astype("float32")
    gain, shift = (rng.uniform(*r, (len(x), 1, 1, 1)) for r in ((0.6, 1.4), (-40, 40)))
    yield "whole", pixels
    yield "ten", pixels[:10]
    yield "dark", x * 0.3
    yield "night", x * 0.15
    yield "bright", x * 0.3 + 178
    yield "pale", x * 0.3 + 90
    yield "half the contrast", x * 0.5 + 64
    yield "grey", np.repeat(x.mean(-1, keepdims=True), 3, axis=-1)
    yield "augmented", np.clip((x[:, :, ::-1] - 128) * gain + 128 + shift, 0, 255)
    yield "blurred", sum(np.roll(x, (i, j), (1, 2)) for i in (0, 1) for j in (0, 1)) / 4
    yield "overshooting", x * 1.008 - 1


@pytest.mark.costly_but("post-activation", "pre-activation", "resnet20")
@pytest.mark.parametrize("name", [*TRAINED, *CHECKPOINTS])
def test_honest_images_pass(name, shared_data):
    """With the preprocessing known, and by the network's statistics alone."""
    model = trained(shared_data, name)
    pixels, labels = cifar(shared_data)
    sets = [*honest(pixels[:40]), ("one class", pixels[labels == 6][:40])]
    for words, images in sets:
        images = model.preprocessing.normalize(images, "channels_last")
        for known in (model.preprocessing, None):
            try:
                calibration_checks.check(images, SHAPE, known, model)
            except InvalidArgument as error:
                pytest.fail(f"{words}, {known}: {error}")


@pytest.mark.parametrize("name", [*TRAINED, *CHECKPOINTS])
def test_images_of_another_mode_are_refused(name, shared_data):
    model = trained(shared_data, name)
    pixels, _ = cifar(shared_data)
    own = model.preprocessing
    # Not whole numbers: resized, or augmented.
    soft = next(x for words, x in honest(pixels[:40]) if words == "blurred")
    soft[0, :2] = [[[0.0]], [[255.0]]]
    for mode in MODES:
        if mode == own.mode or {mode, own.mode} == {"raw", "caffe"}:
            continue
        for given in (pixels[:40], soft):
            # The statistics of "torch" and "cifar" are so near that either does.
            if {mode, own.mode} == {"torch", "cifar"} and given is soft:
                continue
            with pytest.raises(InvalidArgument, match="preprocessed as for training"):
                calibration_checks.check(in_mode(given, mode), SHAPE, own, model)


@pytest.mark.parametrize("name", ["post-activation", "pre-activation", "resnet56"])
def test_the_network_alone_tells_another_scale(name, shared_data):
    """Without a preprocessing at the model: the first BN knows."""
    model, pixels = trained(shared_data, name), cifar(shared_data)[0][:40]
    for mode, words in (
        ("raw", "times the variance of the training"),
        ("caffe", "times the variance"),
        ("darknet", "these are of mode 'darknet', and the statistics of"),
        ("tf", "these are of mode 'tf'"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            calibration_checks.check(in_mode(pixels, mode), SHAPE, None, model)


def test_what_nobody_told_the_network(shared_data):
    """Fresh BN, or none, and images of other channels: nothing is known, all pass."""
    pixels = cifar(shared_data)[0][:20]
    fresh = keras_resnets.create_model("resnet8")
    bare = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(4, 3)])
    for model in (fresh, bare):
        for mode in MODES:
            calibration_checks.check(in_mode(pixels, mode), SHAPE, None, model)
    calibration_checks.check(noise(12, 8, 8, 1), (8, 8, 1))


def test_networks_inside_others(shared_data):
    """The first BN is in a model inside, which is called in two networks."""
    inner = trained(shared_data, "post-activation")
    pixels = cifar(shared_data)[0][:20]
    for _ in range(2):
        image = keras.Input(SHAPE)
        outer = keras.Model(image, inner(keras.layers.Activation("linear")(image)))
        calibration_checks.check(
            inner.preprocessing.normalize(pixels), SHAPE, None, outer
        )
        with pytest.raises(InvalidArgument, match="times the variance"):
            calibration_checks.check(in_mode(pixels, "raw"), SHAPE, None, outer)


def test_images_that_say_too_little():
    good, flat = noise(12, *SHAPE), np.ones((12, *SHAPE), "float32")
    check = calibration_checks.check
    for images, words in (
        (flat, "a single colour; all of them are"),
        (np.repeat(good[:1], 20, axis=0), "1 of 20 do"),
        (np.concatenate([flat, good[:5]]), "5 of 17 do"),
        (good[:9], "at least 10 images; array has 9"),
        (good[:, :16], r"shape \(count, 32, 32, 3\)"),
        (np.where(good > 1, np.nan, good), "NaN"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            check(images, SHAPE)
    with pytest.raises(InvalidArgument, match="1 of 20 do"):
        check(np.repeat(good[:1], 20, axis=0), SHAPE, fewest=1)
    check(good[:3], SHAPE, fewest=1)


def reverse_channels(images):
    return images[..., ::-1]


def test_channels_in_reverse_order(shared_data):
    """Turned behind the normalization it shows; turned before, nothing tells it."""
    pixels = cifar(shared_data)[0][:20]
    wanted = Preprocessing("torch", SHAPE[:2])
    with pytest.raises(InvalidArgument, match="channels in reverse order"):
        calibration_checks.check(
            reverse_channels(in_mode(pixels, "torch")), SHAPE, wanted
        )
    calibration_checks.check(in_mode(reverse_channels(pixels), "torch"), SHAPE, wanted)


def ways(model, folder):
    """Every way that calibration images come in."""
    path = folder / "no.tflite"
    yield lambda x: to_tflite(model, path, "int8", x)
    yield lambda x: to_tflite(model, path, "int16x8", x)
    yield lambda x: to_onnx(model, folder / "no.onnx", "int8", x)
    for engine in ("ranges", "converter", "ai_edge_quantizer"):
        yield lambda x, e=engine: quantization.quantize(
            model, path, calibration=x, engine=e
        )
    yield lambda x: quantization.quantize_aware(model, calibration=x)
    yield lambda x: quantization.sensitivity(model, x)
    labels = np.zeros(20, int)
    yield lambda x: quantization.find_mix(model, x, (x, labels), 50)
    yield lambda x: tfmot.tfmot_quantize_aware(model, path, (x, labels))


@pytest.mark.parametrize("known", [True, False])
def test_every_way_in_refuses_the_same(known, tmp_path, shared_data):
    model = trained(shared_data, "post-activation")
    pixels = cifar(shared_data)[0][:20]
    if not known:
        model = keras.Model(model.inputs, model.outputs)
    blank = np.full((20, *SHAPE), 0.3, "float32")
    for way in ways(model, tmp_path):
        for images in (in_mode(pixels, "raw"), in_mode(pixels, "darknet")):
            with pytest.raises(InvalidArgument, match="preprocessed as for training"):
                way(images)
        with pytest.raises(InvalidArgument, match="single colour"):
            way(blank)
    assert not list(tmp_path.iterdir())


def streams(x):
    """The same images in all that hold images."""
    import tensorflow as tf

    labels = np.arange(len(x))
    yield x.tolist()
    yield list(x)
    yield tf.constant(x)
    whole = tf.data.Dataset.from_tensor_slices((x, labels))
    yield whole
    yield whole.batch(5)
    yield whole.batch(8).map(lambda image, label: {"image": image, "label": label})
    yield (image for image in x)
    yield lambda: ([image[None]] for image in x)
    yield quantization.CalibrationSet(x)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return x[5 * index : 5 * index + 5], labels[5 * index : 5 * index + 5]

    yield Batches()


def test_datasets_and_generators():
    x = noise(20, 8, 8, 3)
    for stream in streams(x):
        np.testing.assert_array_equal(collecting.collect(stream, (8, 8, 3)), x)
    endless = (image for _ in iter(int, 1) for image in x)
    assert len(collecting.collect(endless, (8, 8, 3))) == collecting.MOST
    for wrong in (iter([]), iter([1.0, 2.0]), object(), [x[0], x[0, 1:]]):
        with pytest.raises(InvalidArgument, match="tf.data.Dataset or generator") as e:
            collecting.collect(wrong, (8, 8, 3))
        assert "\n" not in str(e.value)
    for path in ("photos", pathlib.Path("photos"), b"photos"):
        with pytest.raises(InvalidArgument, match="not the path of some.*choose"):
            collecting.collect(path, (8, 8, 3))


def test_a_dataset_gives_the_ranges(tmp_path):
    import tensorflow as tf

    model, x = (
        small_model("basic_original", input_shape=SHAPE, axes=ONE_UNIT),
        noise(12, *SHAPE),
    )
    data = tf.data.Dataset.from_tensor_slices((x, np.arange(12))).batch(5)
    ready = session.make_ready(model, "int8", data)
    np.testing.assert_array_equal(ready.calibration, x)
    aware = quantization.quantize_aware(model, calibration=data)
    assert float(aware.get_layer("image_range").known) == 1
    record = calibration.checked_set(iter(x), SHAPE).record()
    assert record["source"] == "iterator" and record["images"] == 12
    with pytest.warns(calibration_checks.FewImages, match="computed from 3 images"):
        session.make_ready(model, "int8", iter(x[:3]))


def test_a_command_with_few_images_leaves_the_warning_to_others(capsys):
    """It prints a line in the place of the warning, for itself alone."""
    model = small_model("basic_original", input_shape=SHAPE, axes=ONE_UNIT)
    chosen = calibration.CalibrationSet(noise(3, *SHAPE), "d.npz")

    def run(asked):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quantization, "choose", lambda *_: chosen)
            model.preprocessing = None
            command_calibration.choose(asked, model, fewest=1)
        warnings.warn("few", calibration_checks.FewImages, stacklevel=1)

    parser = parsing.Parser(prog="keras-resnets few")
    command_calibration.add_options(parser)
    options.set_command(parser, command_calibration.Calibration, run)
    words = parser.parse_args(["--data", "d.npz"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", calibration_checks.FewImages)
        words.run(words)
        assert "fewer than 10" in capsys.readouterr().out
        with pytest.raises(calibration_checks.FewImages):
            session.make_ready(model, "int8", noise(3, *SHAPE))


def test_statistics_of_a_random_network():
    """Random values everywhere are no training: they pass."""
    model = randomize(keras_resnets.create_model("resnet8", input_shape=SHAPE))
    calibration_checks.check(noise(12, *SHAPE), SHAPE, None, model)


def test_made_up_statistics_tell_no_mode():
    """Of random weights: those of a few images, far from others of the same kind."""
    model = keras_resnets.create_model("darknet19", input_shape=(64, 64, 3))
    images = samples.default_images((64, 64, 3), None, model.preprocessing, 4)
    random_weights.settle(model, images[:1])
    # Noise that is of no mode fits as well as ever.
    for given in (images, np.random.default_rng(0).normal(size=(4, 64, 64, 3))):
        ready = session.make_ready(model, "int8", given, images[:1])
        assert ready.calibration.shape == images.shape


def test_copies_of_a_few_images_are_no_calibration_set(tmp_path):
    """For `quantize` and both searches alike, before anything is converted."""
    model = randomize(small_model("basic_original", input_shape=SHAPE))
    images = np.repeat(noise(6, *SHAPE), 2, axis=0)
    labels = np.zeros(1000, "int64")
    jobs = (
        lambda: quantization.quantize(model, tmp_path / "a.tflite", calibration=images),
        lambda: quantization.find_mix(
            model, images, (noise(1000, *SHAPE), labels), max_drop=0.2
        ),
    )
    for job in jobs:
        with pytest.raises(InvalidArgument, match="must differ .*; 6 of 12 do"):
            job()
    assert not list(tmp_path.iterdir())
