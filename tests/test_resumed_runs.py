"""Which run folders may be resumed with which options, and what a refusal leaves."""

import dataclasses
import os

import keras
import numpy as np
import pytest
from keras.layers import BatchNormalization
from training_helpers import WANTED
from training_helpers import classifier
from training_helpers import open_small
from training_helpers import run
from training_helpers import short
from training_helpers import write_npz

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.graph import copies
from keras_resnets.graph import provenance
from keras_resnets.images import evaluation
from keras_resnets.training import run_facts
from keras_resnets.training.run_folder import FIXED
from keras_resnets.training.run_folder import RunFolder
from keras_resnets.training.session import train

pytestmark = [pytest.mark.usefixtures("untraced"), pytest.mark.torch]

FACTS = {
    **dict.fromkeys(FIXED, "a"),
    "data": {"name": "photos", "fingerprint": "1", "train": 9},
    "recipe": dataclasses.asdict(short("cifar_cosine")),
}


def resume(folder, facts, **changes):
    """Opens a run of `facts` again, with some of them changed."""
    made = RunFolder(folder / "run")
    if not made.path.exists():
        made.open(facts, resume=False)
        made.close()
    try:
        return made.open({**FACTS, **changes}, resume=True)
    finally:
        made.close()


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"preprocessing": {"size": (48, 48)}},
            "other preprocessing: size was [32, 32], now [48, 48]; resume it with its own "
            "options (command in run.json), or name another --output",
        ),
        (
            {"axes": {"activation": "silu"}},
            "other axes of the architecture: activation",
        ),
        (
            {"data": {"name": "photos", "fingerprint": "2", "train": 8}},
            "other data: train was 9, now 8;",
        ),
        (
            {"data": {"name": "photos", "fingerprint": "2", "train": 9}},
            "other data: its files, labels or held-out images differ;",
        ),
        (
            {"recipe": dataclasses.asdict(short("cifar_cosine", mixup=0.25))},
            "another recipe: mixup was 0.0, now 0.25;",
        ),
        # The seed chooses the held-out images.
        (
            {"seed": "b", "data": {**FACTS["data"], "fingerprint": "2"}},
            "another seed: it was 'a', now 'b'",
        ),
    ],
)
def test_a_run_is_not_resumed_with_other_options(changes, words, tmp_path):
    facts = {**FACTS, "preprocessing": {"size": (32, 32)}, "axes": {}}
    others = {"preprocessing": facts["preprocessing"], "axes": {}, **changes}
    with pytest.raises(InvalidArgument) as caught:
        resume(tmp_path, facts, **others)
    assert f"contains a run with {words}" in str(caught.value)


def test_the_facts_tell_image_size_and_axes(tmp_path):
    model, data = classifier(), open_small(tmp_path)
    bigger = dataclasses.replace(WANTED, size=(24, 24))
    provenance.give(model, provenance.Provenance(axes={"activation": "silu"}))
    facts = [
        run_facts.of(model, data, short("cifar_cosine"), fit, None, 8, 0, "")
        for fit in (WANTED, bigger)
    ]
    assert facts[0]["axes"] == {"activation": "silu"}
    assert [found["preprocessing"]["size"] for found in facts] == [(16, 16), (24, 24)]


def test_a_run_without_these_facts_is_resumed(tmp_path):
    """Runs of earlier versions have neither axes nor preprocessing."""
    older = {k: v for k, v in FACTS.items() if k not in ("axes", "preprocessing")}
    assert resume(tmp_path, older)["preprocessing"] == "a"


def test_renamed_data_are_the_same_data(tmp_path):
    moved = {**FACTS["data"], "name": "moved"}
    assert resume(tmp_path, FACTS, data=moved)["data"]["name"] == "moved"


@pytest.mark.parametrize("result", ["history.csv", "last.weights.h5"])
def test_results_without_a_state_are_not_trained_over(result, tmp_path):
    """Somebody deleted the largest file of a finished run."""
    resume(tmp_path, FACTS)
    (tmp_path / "run" / result).write_text("x")
    before = (tmp_path / "run" / "run.json").read_text()
    with pytest.raises(InvalidArgument, match="its last.state.npz is missing; train"):
        resume(tmp_path, FACTS)
    assert (tmp_path / "run" / "run.json").read_text() == before


@pytest.mark.parametrize("content, said", [(None, "it is missing"), ("x", "")])
def test_best_weights_that_are_gone_are_named(content, said, tmp_path):
    folder = RunFolder(tmp_path)
    if content:
        folder.weights("best").write_text(content)
    with pytest.raises(TrainingError) as caught:
        folder.load_weights("best", classifier())
    message = f"best.weights.h5 of this run cannot be read: {said}"
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_batch_that_is_too_large_leaves_no_folder(tmp_path):
    with pytest.raises(InvalidArgument, match="at most the 30 training images; got 99"):
        run(tmp_path, "run", short("cifar_cosine"), batch_size=99)
    assert os.listdir(tmp_path) == ["small.npz"]


@pytest.mark.costly
def test_the_test_accuracy_is_what_evaluate_measures(tmp_path):
    """In float32, whatever the precision of the training."""
    source = write_npz(tmp_path / "small.npz", train=40, test=1000)
    model, recipe = classifier(dtype="mixed_bfloat16"), short("cifar_cosine", 2)
    options = {"preprocessing": WANTED, "verbose": 0}
    train(model, source, recipe, tmp_path / "first", **options)
    # The same logits from features near 10,000, where bfloat16 has steps of 64.
    [*_, last] = (x for x in model.layers if isinstance(x, BatchNormalization))
    last.beta.assign(1e4 + last.beta)
    kernel, bias = model.layers[-1].weights
    bias.assign(bias - 1e4 * keras.ops.sum(kernel, axis=0))
    recipe = dataclasses.replace(recipe, learning_rate=1e-9)
    done = train(model, source, recipe, tmp_path / "run", **options)
    single = classifier()
    single.load_weights(done.folder.weights("best"))
    measured = [
        evaluation.evaluate(network, evaluation.open_data(source, WANTED)).top1
        for network in (single, model)
    ]
    assert done.figures["test_accuracy"] == pytest.approx(measured[0], abs=1e-6)
    assert measured[0] - measured[1] > 0.05, measured


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float32"])
def test_a_copy_in_float32_computes_as_the_loaded_network(dtype):
    model, single = classifier(dtype=dtype), classifier()
    single.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
    copy = copies.in_float32(model)
    here, loaded, there = (
        keras.ops.convert_to_numpy(net(images)) for net in (copy, single, model)
    )
    np.testing.assert_array_equal(here, loaded)
    assert np.array_equal(here, there) == (dtype == "float32")
