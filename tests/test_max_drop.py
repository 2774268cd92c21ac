"""Mixes of precisions: the simulation against the file, the search, what it refuses."""

import dataclasses
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from commands import refused as refused_command
from commands import reported
from commands import run
from hardened import harden
from hardened import makers
from helpers import noise
from helpers import randomize
from helpers import refusal
from mixed_simulation import computing
from quantized import CHECKPOINTS
from quantized import CIFAR
from quantized import KINDS
from quantized import PER_TENSOR
from quantized import TRAINED
from quantized import cifar
from quantized import classifying_model
from quantized import logits_of
from quantized import rounded_model

import keras_resnets
from keras_resnets import quantization
from keras_resnets.cli.commands import search
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import parity
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.pruning import magnitude
from keras_resnets.quantization import choices
from keras_resnets.quantization.backends import mixed_file
from keras_resnets.quantization.search import accuracy_gate
from keras_resnets.quantization.search import lowering
from keras_resnets.quantization.search.sensitivity import measurable


@pytest.fixture(scope="module")
def pictures(shared_data):
    pixels, labels = cifar(shared_data)
    return CIFAR.normalize(pixels, "channels_last"), labels


def rounded_network(kind, x, labels, recipe=PER_TENSOR, **axes):
    """What `rounded_model` says of a small network."""
    return rounded_model(
        classifying_model(kind, x[:300], labels[:300], **axes), x, recipe
    )


def simulated(rounded, graph, precisions, x):
    with computing(graph, precisions):
        found = measurable(rounded)(x, training=False)
    return keras.ops.convert_to_numpy(found)


@pytest.fixture(scope="module")
def network(pictures):
    """With a BN that stands alone: all kinds of operators."""
    return rounded_network(KINDS["pre-activation"], *pictures, depths=(1, 1))


def test_layers_go_back_by_multiply_adds_for_their_error():
    """Thirty operators with errors that add up: nearly the best of all mixes, soon."""
    rng = np.random.default_rng(0)
    costs, macs = rng.exponential(size=30), rng.integers(1, 100, 30)
    every = [f"op{i}" for i in range(30)]
    limit, files = 0.4 * costs.sum(), []

    def tried(precisions):
        files.append(precisions)
        shares = {"int8": 1, "int16": 0.1, "float": 0}
        parts = [shares[precisions[f"op{i}"]] for i in range(30)]
        return float(parts @ costs)

    def attempt(precisions):
        error = tried(precisions)
        return error if error <= limit else None

    raised, drop = lowering.lower(
        dict.fromkeys(every, "float"),
        0.0,
        dict(zip(every, costs, strict=True)),
        dict(zip(every, macs, strict=True)),
        choices.PRECISIONS,
        attempt,
    )
    assert drop == tried({x: raised.get(x, "int8") for x in every}) <= limit
    assert len(files) <= 30
    # What could go back in parts, if operators had any.
    order, left, best = np.argsort(costs / macs), limit, 0
    for i in order:
        best += macs[i] * min(1, left / costs[i])
        left = max(0, left - costs[i])
    assert (
        sum(m for x, m in zip(every, macs, strict=True) if x not in raised)
        >= 0.95 * best
    )


def test_refusal_says_how_many_pictures_would_tell():
    trial = accuracy_gate.Trial(1500, 0.909, 0.1, 0.2, 0.99, 0.01)
    text = accuracy_gate.refusal(trial, 30, 0.2, 0.91)
    assert "0.10 points" in text and "91.00%" in text and "6,000 images" in text
    worse = dataclasses.replace(trial, drop=0.3)
    worse = accuracy_gate.refusal(worse, 30, 0.2, 0.91)
    assert "allow more than 0.2; nothing was written" in worse


def test_files_say_what_the_simulation_says(network, pictures):
    check_files(*network, pictures[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAINED)
def test_files_of_trained_networks(kind, shared_data):
    model = keras_resnets.create_model(TRAINED[kind], weights="cifar10")
    x = model.preprocessing.normalize(cifar(shared_data)[0], "channels_last")
    check_files(*rounded_model(model, x), x)


def check_files(model, rounded, graph, content, x):
    every = [x.name for x in graph.operators]
    assert mixed_file.names(content, graph) == set(every)
    rng = np.random.default_rng(0)
    plans = [dict.fromkeys(every, p) for p in ("int8", "int16", "float")]
    plans += [
        dict(zip(every, rng.choice(choices.PRECISIONS, len(every)), strict=True))
        for _ in range(2)
    ]
    shown = x[300:330]
    expected = logits_of(model).predict(shown, verbose=0)
    errors = []
    for plan in plans:
        mixed = mixed_file.mix(content, graph, plan)
        assert mixed_file.kinds(mixed, graph) == plan
        found = TFLiteRunner(mixed, 1, logits=True)(shown)
        ours = simulated(rounded, graph, plan, shown)
        assert parity.compare(ours, found).rmse < 0.03, plan
        errors.append(parity.compare(expected, found).rmse)
    # All float: only picture and logits are rounded, and both sides say the same.
    every_float = simulated(rounded, graph, plans[2], shown)
    floats = TFLiteRunner(mixed_file.mix(content, graph, plans[2]), 1, True)(shown)
    step = np.diff(np.unique(floats)).min()
    assert (np.abs(every_float - floats) > 0.01 * step).mean() < 0.01
    assert errors[2] < errors[0] and errors[1] < errors[0]
    # Nothing of it stays behind.
    np.testing.assert_array_equal(
        simulated(rounded, graph, {}, shown), simulated(rounded, graph, {}, shown)
    )
    assert all(x.output.enabled and x.output.bits == 8 for x in graph.operators)


def test_tensors_keep_the_coarsest_of_their_ends(network):
    _, _, graph, content = network
    by_label = {one.label: one for one in graph.operators}
    first, second = (by_label[f"stage1_block1_conv{i}"] for i in (1, 2))
    plan = {first.name: "float", second.name: "int16"}
    assert graph.precision_of(first.output, plan) == "int16"
    assert graph.precision_of(second.output, plan) == "int8"
    assert graph.precision_of(graph.fixed[0], dict.fromkeys(plan, "float")) == "int8"
    assert set(graph.touching(first.output)) == {first.name, second.name}
    assert graph.touching(first.weights) == (first.name,)
    with pytest.raises(ExportError, match="no operator elsewhere"):
        mixed_file.mix(content, graph, {"elsewhere": "float"})


def hard_network(x, labels, name):
    """A network whose own answers are the truth, with channels apart in one layer."""
    model = classifying_model("basic_original", x[:300], labels[:300], depths=(2, 1))
    reader = harden(model, name, [1, 4])
    return model, reader, model.predict(x, verbose=0).argmax(axis=1)


@pytest.mark.costly
@pytest.mark.parametrize(
    "name",
    [
        "stage1_block2_conv1",
        pytest.param("stage2_block1_conv1", marks=pytest.mark.slow),
    ],
)
def test_the_hard_layer_is_found(name, tmp_path, pictures):
    x, labels = pictures
    model, reader, answers = hard_network(x, labels, name)
    assert name in makers(model)
    stages = []
    mix = quantization.find_mix(
        model,
        x[:50],
        (x[100:700], answers[100:700]),
        8.0,
        PER_TENSOR,
        io_dtype="uint8",
        threads=1,
        progress=lambda stage, done, total: stages.append((stage, done, total)),
    )
    assert mix.float_top1 == 1.0
    # One scale a tensor collapses, and the hard layer is the reason.
    assert mix.int8.drop - mix.int8.error > 8
    assert mix.raised and set(mix.raised) <= {name, reader}
    assert mix.mix.drop + mix.mix.error <= 8 and mix.mix.count == 600
    assert mix.share() >= 0.6 and mix.conversions == 1 and mix.files <= 12
    assert sum(mix.share(p) for p in choices.PRECISIONS) == pytest.approx(1)
    costliest = max(mix.layers, key=lambda row: max(row.weights or 0, row.output))
    assert costliest.name in (name, reader)
    # Every stage knows its total and reaches it, unless a mix is given up.
    last = {stage: (done, total) for stage, done, total in stages}
    assert last["layers"][0] == last["layers"][1] > 20
    assert last["ranges"] == (50, 50) and last["file 1"][1] == 600
    assert f"file {mix.files}" in last

    report = mix.write(tmp_path / "mixed.tflite")
    assert report.operators["DEQUANTIZE"] >= 1
    passport = json.loads((tmp_path / "mixed.tflite.json").read_text())["recipe"]
    kept = {k: v for k, v in passport["precisions"].items() if v != "int8"}
    assert kept == mix.raised and passport["max_drop"] == 8.0
    assert passport["calibration"]["images"] == 50
    found = TFLiteRunner(report.path.read_bytes(), 1)(x[100:700]).argmax(axis=1)
    drop = 100 * (found != answers[100:700]).mean()
    assert drop == pytest.approx(mix.mix.drop)


@pytest.mark.costly
def test_an_easy_network_stays_int8(pictures):
    x, labels = pictures
    model = classifying_model("basic_original", x[:500], labels[:500], depths=(1, 1))
    answers = model.predict(x, verbose=0).argmax(axis=1)
    mix = quantization.find_mix(model, x[:20], (x[100:300], answers[100:300]), 10.0)
    assert mix.raised == {} and mix.share() == 1.0
    assert mix.content == mix.int8_content and mix.files == 1


def test_held_out_pictures_are_others(tmp_path, photos):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype="uint8")
    path = tmp_path / "data.npz"
    np.savez(path, x_train=pixels, y_train=np.arange(60))
    chosen = quantization.choose(path, CIFAR, 20, seed=3)
    held = quantization.hold_out(path, CIFAR, chosen, 30)
    again = quantization.hold_out(path, CIFAR, chosen, 30)
    assert len(held.labels) == 30 and (held.labels == again.labels).all()
    found = np.concatenate(list(held.batches(7)))
    # A label is the index of its picture here.
    wanted = CIFAR.normalize(pixels[held.labels], "channels_last")
    np.testing.assert_array_equal(found, wanted)
    used = {one.tobytes() for one in chosen.images}
    assert not used & {one.tobytes() for one in found}
    assert len(quantization.hold_out(path, CIFAR, chosen).labels) == 40
    every = quantization.choose(path, CIFAR, 60)
    refusal(
        lambda: quantization.hold_out(path, CIFAR, every), "none can be held out", "60"
    )
    array = quantization.CalibrationSet(chosen.images)
    refusal(lambda: quantization.hold_out(path, CIFAR, array), "array")
    np.savez(tmp_path / "bare.npz", x_train=pixels)
    bare = quantization.choose(tmp_path / "bare.npz", CIFAR, 20)
    refusal(
        lambda: quantization.hold_out(tmp_path / "bare.npz", CIFAR, bare), "y_train"
    )


def test_held_out_pictures_of_a_folder(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for index in range(24):
        folder = tmp_path / "tree" / ("cat", "dog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 256, (32, 32, 3), dtype="uint8")
        Image.fromarray(picture).save(folder / f"{index:02}.png")
    chosen = quantization.choose(tmp_path / "tree", CIFAR, 10)
    held = quantization.hold_out(tmp_path / "tree", CIFAR, chosen)
    assert len(held.labels) == 14 and set(held.labels) == {0, 1}
    used = {one.tobytes() for one in chosen.images}
    found = np.concatenate(list(held.batches(5)))
    assert not used & {one.tobytes() for one in found}
    flat = quantization.choose(tmp_path / "tree" / "cat", CIFAR, 10)
    refusal(
        lambda: quantization.hold_out(tmp_path / "tree" / "cat", CIFAR, flat), "labels"
    )


def test_what_is_refused():
    model = keras_resnets.create_model("resnet8")
    x = noise(40, 32, 32, 3) * 20 + 125
    labels = np.zeros(30, int)

    def call(data=(x[10:], labels), drop=50, recipe="static_wi8_ai8", **options):
        return lambda: quantization.find_mix(
            model, x[:10], data, drop, recipe, **options
        )

    refusal(call(drop=-1), "max_drop", "-1")
    refusal(call(drop=0), "above 0")
    refusal(call(drop="0.2"), "max_drop")
    refusal(call(drop=0.2), "500 labelled images", "30")
    refusal(call(data=x), "labels")
    refusal(call(data=(x, None)), "labels")
    refusal(call(data=(x, labels)), "(30,) for 40")
    refusal(call(data=(x[10:], labels + 0.5)), "integer")
    refusal(call(data=(x[10:], labels + 10)), "0..9", "10")
    refusal(call(data=(x[:30], labels)), "calibration set", "10 of the 30")
    refusal(call(data=(x[10:, :16], labels)), "32, 32, 3")
    refusal(call(recipe="float16"), "int8 recipe", "float16")
    refusal(call(recipe="static_wi4_ai8"), "int8 recipe", "wi4")
    refusal(call(precisions=("int8",)), "finer")
    refusal(call(io_dtype="int7"), "io_dtype", "int8")
    refusal(call(precisions=("int8", "int4")), "int4")


@pytest.mark.costly
def test_command(tmp_path, monkeypatch, capsys, shared_data):
    monkeypatch.chdir(tmp_path)
    pixels, _ = cifar(shared_data)
    model = randomize(keras_resnets.create_model("resnet8"))
    harden(model, "stage2_block1_conv1", [0, 3])
    model.save_weights("net.weights.h5")
    shown = model.preprocessing.normalize(pixels[:260], "channels_last")
    answers = model.predict(shown, verbose=0).argmax(axis=1)
    np.savez("data.npz", x_train=pixels[:260], y_train=answers)
    words = ["search", "resnet8", "--weights", "net.weights.h5", "--data", "data.npz"]
    words += ["--recipe", PER_TENSOR, "--count", 20, "--max-drop", 30]
    more = ["--plot", "mix.png", "--report", "mix.html"]
    code, out, err = run(*words, *more, capsys=capsys)
    assert code == 0, err
    reported(
        tmp_path / "mix.html", "held-out images", "stage2_block1_conv1", "all int8"
    )
    assert "240 other labelled training images of data.npz" in out
    assert "stage2_block1_conv1 " in out and "not in int8" in out
    assert "1 conversion" in out and "standard error" in out
    path = tmp_path / f"resnet8_{PER_TENSOR}_mixed.tflite"
    assert path.exists() and (tmp_path / "mix.png").stat().st_size > 10_000
    passport = json.loads((tmp_path / f"{path.name}.json").read_text())["recipe"]
    assert set(passport["precisions"].values()) <= set(choices.PRECISIONS)
    assert {"stage1_block1_conv1", "predictions"} < set(passport["precisions"])

    plan = [*words[:6], "--count", 20, "--plan", f"{path.name}.plan.json"]
    plan[0] = "quantize"
    code, out, err = run(*plan, "--output", "again.tflite", capsys=capsys)
    assert code == 0, err
    assert (tmp_path / "again.tflite").read_bytes() == path.read_bytes()
    both = refused_command(*plan, "--recipe", "static_wi8_ai8", capsys=capsys)
    assert "leave out --recipe" in both

    before = sorted(tmp_path.iterdir())
    again = [*words, "--overwrite"]
    assert "--max-drop" in refused_command(*again, "--max-drop", -1, capsys=capsys)
    assert "1,000" in refused_command(*again, "--max-drop", 0.1, capsys=capsys)
    assert "int9" in refused_command(*again, "--precisions", "int9", capsys=capsys)
    assert ".png" in refused_command(*again, "--plot", "mix.pdf", capsys=capsys)
    assert "float16" in refused_command(*again, "--recipe", "float16", capsys=capsys)
    assert sorted(tmp_path.iterdir()) == before


def test_report_of_pruning_lists_what_vanished():
    model = keras_resnets.create_model("resnet8")
    before = magnitude.pruning_report(model)
    assert before.vanished(before) == ()
    layer = model.get_layer("stage1_block1_conv1")
    layer.kernel.assign(0 * layer.kernel)
    after = magnitude.pruning_report(model)
    assert after.vanished(before) == ("stage1_block1_conv1",)
    small = keras.Model(model.inputs, model.get_layer("stage2_block1_out").output)
    gone = magnitude.pruning_report(small).vanished(before)
    assert "predictions" in gone and "stage3_block1_conv1" in gone


@pytest.mark.slow
@pytest.mark.parametrize("seed", [9, 11])
def test_trained_network_made_hard(seed, shared_data):
    """Chosen by training pictures; told by 2,000 test pictures."""
    model = keras_resnets.create_model(
        "resnet20", weights=shared_data / CHECKPOINTS["resnet20"]
    )
    rng = np.random.default_rng(seed)
    name = str(rng.choice(makers(model)))
    width = model.get_layer(name).filters
    reader = harden(model, name, rng.choice(width, 3, replace=False))
    pixels, labels = cifar(shared_data, "train", 5500)
    x = model.preprocessing.normalize(pixels, "channels_last")
    mix = quantization.find_mix(
        model, x[:500], (x[500:], labels[500:]), 0.2, PER_TENSOR
    )
    assert mix.int8.drop - mix.int8.error > 0.2 and mix.mix.drop <= 0.2
    assert mix.share() >= 0.8 and set(mix.raised) & {name, reader}
    pixels, labels = cifar(shared_data, "test", 2000)
    x = model.preprocessing.normalize(pixels, "channels_last")
    found = TFLiteRunner(mix.content, 2)(x).argmax(axis=1)
    expected = model.predict(x, batch_size=250, verbose=0).argmax(axis=1)
    assert ((found == labels).mean() - (expected == labels).mean()) > -0.006
    assert (found == expected).mean() > 0.97


@pytest.mark.parametrize(
    "taken, left, held_out, advice",
    [
        (
            500,
            100,
            5000,
            "few has 600, of which .* takes 500 .* --count 100 makes room",
        ),
        (40, 20, 5000, "few has 60, .* --count 10 --max-drop 2.0. makes room"),
        (10, 1, 5000, "few has 11, .*: give more images"),
        (500, 4000, 300, "give --held-out 500 or more; got 300"),
    ],
)
def test_which_option_makes_room(taken, left, held_out, advice):
    options = SimpleNamespace(max_drop=0.2, held_out=held_out, data="few", count=500)
    chosen = SimpleNamespace(taken=taken)
    with pytest.raises(
        InvalidArgument, match=f"shows on 500 labelled images.*{advice}"
    ):
        search._check_room(options, chosen, left)


def test_a_small_folder_is_told_what_makes_room(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype="uint8")
    np.savez(tmp_path / "few.npz", x_train=pixels, y_train=np.arange(60) % 10)
    words = ["search", "resnet20", "--weights", "cifar10", "--output"]
    words += [tmp_path / "a.tflite", "--data", tmp_path / "few.npz"]
    line = refused_command(*words, "--max-drop", 2, capsys=capsys)
    assert "few.npz has 60" in line and "--count 10 makes room" in line
    assert not (tmp_path / "a.tflite").exists()
