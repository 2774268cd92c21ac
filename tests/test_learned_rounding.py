"""Rounding by gradient: units of a network, what it keeps, and what it may be asked."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from commands import refused
from helpers import refusal
from helpers import small_model
from rounding_parts import RECIPE
from rounding_parts import ranged
from rounding_parts import smooth_images
from rounding_parts import tiny

from keras_resnets import quantization
from keras_resnets.errors import InvalidArgument
from keras_resnets.graph.nodes import read_steps
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.qat.rewrite import rewrite
from keras_resnets.quantization.rounding import kernels
from keras_resnets.quantization.rounding import learned
from keras_resnets.quantization.rounding import units

PROBE = pathlib.Path(__file__).parent / "learned_probe.py"


def names(model):
    """Of the kernels of each unit, those of the float model."""
    found = units.split(*read_steps(rewrite(model, RECIPE)))
    return [[stop.layer.replaces[0] for stop in unit.stops] for unit in found]


def kernels_of(made):
    return [
        np.asarray(layer.folded_kernel())
        for layer in made.layers
        if isinstance(layer, KERNELS)
    ]


def chain(depth):
    """Convolutions of which the first is added to the last."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((8, 8, 3))
    for number in range(depth):
        y = keras.layers.Conv2D(3, 3, padding="same", name=f"conv{number}")(x)
        x = keras.layers.ReLU()(y)
    return keras.Model(image, keras.layers.Add()([x, image]))


def test_units_are_residual_blocks_and_single_layers_outside_of_them():
    model = tiny()
    stem, inner, last = (
        x.name for x in model.layers if isinstance(x, keras.layers.Conv2D)
    )
    # tiny's shortcut goes round one convolution.
    assert names(model) == [[stem], [inner], [last], [model.layers[-1].name]]
    found = names(small_model("bottleneck_original", input_shape=(32, 32, 3)))
    block = [f"stage2_block1_{x}" for x in ("shortcut_conv", "conv1", "conv2", "conv3")]
    assert sorted(block) in [sorted(unit) for unit in found]
    assert found[0] == ["stem_conv"] and len(found[-1]) == 1


def test_what_has_no_blocks_is_rounded_by_layer():
    """A chain that is one block, of more kernels than a block has."""
    assert names(chain(9)) == [[f"conv{number}"] for number in range(9)]
    assert len(names(chain(8))) == 1


@pytest.mark.costly
def test_layers_of_what_has_no_blocks_are_learned():
    given, done = smooth_images(12, 8), []
    learned.round_learned(ranged(chain(9), given), given, 0, done.append, steps=2)
    assert done[-1] == 12 and len(set(done)) > 8


@pytest.mark.parametrize("junk", [-7.0, np.nan])
def test_what_is_no_better_than_second_order_is_not_kept(monkeypatch, junk):
    given, before = smooth_images(30, 8), []

    def learn(streams, unit, choices, *rest):
        before.extend(choices)
        return [(choice.lower * 0 + junk, choice.bias + 1) for choice in choices]

    monkeypatch.setattr(learned, "learn", learn)
    learned.round_learned(ranged(tiny(), given), given)
    assert len(before) == 4
    for choice in before:
        kernel = np.asarray(choice.layer.folded_kernel())
        np.testing.assert_array_equal(kernel, choice.kernel)
        np.testing.assert_array_equal(np.asarray(choice.layer.bias), choice.bias)


@pytest.mark.costly
def test_progress_and_seed_are_kept_and_kernels_lie_on_their_grid():
    model, given, done = tiny(), smooth_images(20, 8), []
    first, again = ranged(model, given), ranged(model, given)
    learned.round_learned(first, given, 3, done.append, steps=5)
    learned.round_learned(again, given, 3, steps=5)
    assert done[-1] == 20 and done == sorted(done) and len(set(done)) > 4
    for ours, theirs in zip(kernels_of(first), kernels_of(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for layer in first.layers:
        if isinstance(layer, KERNELS):
            integers = np.asarray(layer.folded_kernel()) / (
                np.asarray(layer.kernel_radius) / 7
            )
            np.testing.assert_allclose(integers, np.rint(integers), atol=1e-4)
            assert np.abs(integers).max() < 7.001


@pytest.mark.costly
def test_dead_layers_few_images_and_nan():
    model = tiny()
    model.layers[1].set_weights([x * 0 for x in model.layers[1].get_weights()])
    made = rewrite(model, RECIPE)
    for layer in made.layers:
        if isinstance(layer, FakeQuantize):
            layer.set_range(-1, 1)
    given = smooth_images(12, 8)
    with pytest.warns(kernels.FewWindows, match="1 calibration images"):
        learned.round_learned(made, given[:1], steps=2)
    assert all(np.isfinite(kernel).all() for kernel in kernels_of(made))
    given[3, 0, 0] = np.inf
    with pytest.raises(InvalidArgument, match="NaN or infinity at"):
        learned.round_learned(ranged(tiny(), smooth_images(12, 8)), given)


@pytest.mark.costly
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_every_backend_learns(backend):
    python = sys.executable
    if importlib.util.find_spec(backend) is None:
        # The environment of the foreign tools has torch; tests/README.md.
        python = os.environ.get("KERAS_RESNETS_TORCH_PYTHON")
        if backend != "torch" or not python:
            pytest.skip(f"{backend} is not installed")
    # On JAX and PyTorch nothing may need TensorFlow.
    other = "" if backend == "tensorflow" else "sys.modules['tensorflow'] = None; "
    script = f"import sys; {other}import learned_probe as probe; probe.main()"
    places = [str(PROBE.parent.parent), str(PROBE.parent)]
    done = subprocess.run(
        [python, "-c", script],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(places),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.costly
def test_the_passport_says_the_steps(tmp_path):
    path = tmp_path / "a.tflite"
    options = {"rounding": "learned", "rounding_steps": 3}
    quantization.quantize(
        tiny(), path, "static_wi4_ai8", smooth_images(30, 8), **options
    )
    told = json.loads((tmp_path / "a.tflite.json").read_text())["recipe"]
    assert told["rounding"] == "learned" and told["rounding_steps"] == 3


@pytest.mark.parametrize(
    "options, words",
    [
        ({"rounding_steps": 5}, ("second-order", "learned")),
        ({"rounding": "nearest", "rounding_steps": 5}, ("nearest", "learned")),
        ({"rounding": "learned", "rounding_steps": 0}, ("whole number >= 1", "0")),
        ({"rounding": "learned", "rounding_steps": 2.5}, ("whole number", "2.5")),
        ({"rounding": "learned", "rounding_steps": True}, ("whole number", "True")),
        ({"rounding": "Learned"}, ("learned", "'Learned'")),
    ],
    ids=str,
)
def test_bad_steps(tmp_path, options, words):
    path = tmp_path / "a.tflite"
    refusal(
        lambda: quantization.quantize(tiny(), path, "static_wi4_ai8", **options), *words
    )


def test_a_recipe_keeps_its_steps():
    recipe = RECIPE.with_rounding("learned", 7)
    assert recipe.with_rounding(None) is recipe
    assert recipe.with_rounding("learned") is recipe
    assert recipe.with_rounding("nearest").rounding_steps is None
    plan = quantization.PrecisionPlan(recipe)
    assert quantization.PrecisionPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("command", ["quantize", "qat"])
def test_steps_of_another_rounding_are_refused(capsys, command):
    words = (command, "resnet8", "--weights", "w.h5", "--data", "none.npz")
    words = (*words, "--rounding-steps")
    line = refused(*words, 5, "--rounding", "nearest", capsys=capsys)
    assert "--rounding-steps requires --rounding learned" in line
    assert "static_wi8_ai8" in refused(*words, 5, capsys=capsys)
    refused(*words, 0, "--rounding", "learned", capsys=capsys)
