"""Fronts of files under a budget: what is chosen, what the files hold, what is refused."""

import itertools
import json

import numpy as np
import pytest
from commands import refused as refused_command
from commands import reported
from commands import run
from helpers import randomize
from helpers import refusal
from quantized import cifar

import keras_resnets
from keras_resnets import quantization
from keras_resnets.cli.arguments import options
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.quantization.search import points
from keras_resnets.quantization.search.budget import Budget
from keras_resnets.quantization.search.budget import Move
from keras_resnets.quantization.search.budget import cheapest

FOREVER = ["search", "resnet8", "--weights", "none.h5", "--data", "none.npz"]


def test_the_cheapest_moves_are_nearly_the_best():
    """Against all subsets: no more than a tenth above the least cost, and enough saved."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        saved, cost = rng.integers(1, 100, 10), rng.exponential(size=10)
        moves = [
            Move(str(i), int(s), float(c))
            for i, (s, c) in enumerate(zip(saved, cost, strict=True))
        ]
        needed = int(rng.integers(1, saved.sum() + 1))
        chosen = [int(move.name) for move in cheapest(moves, needed)]
        assert saved[chosen].sum() >= needed
        every = np.array([[n >> i & 1 for i in range(10)] for n in range(1024)])
        best = (every @ cost)[every @ saved >= needed].min()
        assert cost[chosen].sum() <= max(1.3 * best, best + cost.max())
        for one in chosen:
            # None is there for nothing.
            assert saved[chosen].sum() - saved[one] < needed
    assert cheapest(moves, 10**6) == moves
    assert cheapest(moves, 0) == cheapest(moves, -5) == []


def test_a_layer_with_two_moves_gets_the_cheaper_for_its_bytes():
    """Against all choices of nothing, 4 bits or zeros a layer; never two of one layer."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        moves, options = [], []
        for name in "abcdef":
            saved, cost = rng.integers(1, 50), rng.exponential()
            more, extra = saved + rng.integers(1, 50), cost + rng.exponential()
            both = [Move(name, saved, cost), Move(name, more, extra, "sparse")]
            moves += both
            options.append([None, *both])
        most = sum(one[2].saved for one in options)
        needed = int(rng.integers(1, most + 1))
        chosen = cheapest(moves, needed)
        assert len({move.name for move in chosen}) == len(chosen)
        assert sum(move.saved for move in chosen) >= needed
        every = [[x for x in pick if x] for pick in itertools.product(*options)]
        enough = [pick for pick in every if sum(x.saved for x in pick) >= needed]
        best = min(sum(x.cost for x in pick) for pick in enough)
        largest = max(move.cost for move in moves)
        assert sum(move.cost for move in chosen) <= max(1.3 * best, best + largest)
    assert [x.kind for x in cheapest(moves, 10**6)] == ["sparse"] * 6


def test_limits_that_are_none():
    refusal(lambda: Budget(max_size=0), "max_size", "above 0")
    refusal(lambda: Budget(max_size=True), "max_size")
    refusal(lambda: Budget(max_size="160kB"), "max_size", "160kB")
    refusal(lambda: Budget(max_seconds=float("inf")), "max_seconds")
    refusal(lambda: Budget(max_drop=100), "below 100")
    refusal(lambda: Budget(max_seconds=1, max_ratio=1), "ratio")
    assert Budget(max_drop=1).smallest and not Budget(max_size=1).smallest


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("2ms", (0.002, None)),
        ("500 us", (0.0005, None)),
        ("0.1s", (0.1, None)),
        ("1.05x", (None, 1.05)),
    ],
)
def test_latencies(text, wanted):
    assert options.latency(text) == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize(
    "text, count",
    [("160kB", 160_000), ("160 KiB", 163_840), ("1.5MiB", 1_572_864), ("9 bytes", 9)],
)
def test_sizes(text, count):
    assert options.byte_count(text) == count


@pytest.mark.parametrize(
    "words, told",
    [
        (("--max-size", "160kg"), "256kB"),
        (("--max-size", "-1"), "number of bytes"),
        (("--max-size", "0.4"), "number of bytes"),
        (("--max-size", "160 kB 3"), "number of bytes"),
        (("--max-size", "１６０kB"), "number of bytes"),
        (("--max-latency", "2"), "1.05x"),
        (("--max-latency", "0ms"), "1.05x"),
        (("--max-latency", "2min"), "500us"),
        (("--max-size", "1MB", "--max-drop", "0"), "--max-drop"),
        (("--max-size", "1MB", "--precisions", "5"), "5"),
        (("--max-size", "1MB", "--precisions", "8"), "besides int8"),
        (("--max-size", "1MB", "--points", "1"), "--points"),
        (("--max-size", "1MB", "--plot", "a.png"), "front.png"),
        (("--max-size", "1MB", "--storage", "int8", "--prefer", "size"), "prefer goes"),
        (("--points", "3"), "--points requires a front"),
        (("--sparse",), "--sparse requires a front"),
        (("--max-size", "1MB", "--sparse", "1"), "--sparse"),
        (("--max-size", "1MB", "--sparse", "much"), "--sparse"),
        (("--storage", "conv_int4"), "--storage requires a front"),
    ],
)
def test_words_that_are_refused(words, told, capsys):
    assert told in refused_command(*FOREVER, *words, capsys=capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, shared_data):
    """A network whose own answers are the truth, its images and its weights."""
    folder = tmp_path_factory.mktemp("front")
    pixels, _ = cifar(shared_data)
    model = randomize(keras_resnets.create_model("resnet8"))
    model.save_weights(folder / "net.weights.h5")
    shown = model.preprocessing.normalize(pixels[:160], "channels_last")
    answers = model.predict(shown, verbose=0).argmax(axis=1)
    np.savez(folder / "data.npz", x_train=pixels[:160], y_train=answers)
    return folder


NETWORK = ["resnet8", "--weights", "net.weights.h5", "--data", "data.npz"]
NETWORK += ["--count", 20]


@pytest.mark.costly
def test_command(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = ["search", *NETWORK, "--max-size", "60kB", "--points", 2, "--json"]
    page = ("--report", "front.html")
    code, out, err = run(*words, "--output", "small.tflite", *page, capsys=capsys)
    assert code == 0, err
    reported(folder / "front.html", "Pareto front of size", "chosen for the budget")
    said = json.loads(out)
    told, front = said["front"], folder / "small_front"
    assert said["mix"] is None and told["folder"] == "small_front"
    # Three at most: all in 8 bits, all in 4, and that of the budget in between.
    sizes = [one["size"] for one in told["points"]]
    assert 2 <= len(sizes) <= 3 and sizes == sorted(sizes)
    errors = [one["rmse"] for one in told["points"]]
    assert errors == sorted(errors, reverse=True)
    (chosen,) = (one for one in told["points"] if one["chosen"])
    within = [one for one in told["points"] if one["size"] <= 60_000]
    assert chosen == min(within, key=lambda one: one["rmse"])
    assert (front / "front.png").stat().st_size > 10_000
    assert json.loads((front / "front.json").read_text()) == told
    for one in told["points"]:
        path = front / one["file"]
        assert path.stat().st_size == one["size"]
        for beside in points.beside(path):
            assert beside.is_file()
    check_chosen(folder, front / chosen["file"], chosen)
    check_plan(folder, capsys)
    left = sorted(folder.rglob("*"))
    check_refused(words, capsys)
    assert sorted(folder.rglob("*")) == left


def check_chosen(folder, path, chosen):
    """The file that was written is the front's, and does what is said of it."""
    written = folder / "small.tflite"
    assert written.read_bytes() == path.read_bytes()
    editor = file_editor.Editor(written.read_bytes())
    named = [tensor for tensor in editor.graph.tensors if tensor.name]
    assert len(named) == 2
    stored = [t.type == editor.schema.TensorType.INT4 for t in editor.graph.tensors]
    assert sum(stored) == chosen["layers"]["4"] > 0
    with np.load(folder / "data.npz") as data:
        pixels, labels = data["x_train"], data["y_train"]
    order = np.random.default_rng(0).permutation(len(pixels))[20:]
    preprocessing = keras_resnets.create_model("resnet8").preprocessing
    shown = preprocessing.normalize(pixels[order], "channels_last")
    found = TFLiteRunner(written, 1)(shown).argmax(axis=1)
    assert (found == labels[order]).mean() == pytest.approx(chosen["top1"])


def check_plan(folder, capsys):
    """The plan makes the same bytes, other ones when edited, and is of one network."""
    plan = folder / "small.tflite.plan.json"
    words = ["quantize", *NETWORK, "--plan", plan, "--output"]
    code, _, err = run(*words, "again.tflite", capsys=capsys)
    assert code == 0, err
    small = (folder / "small.tflite").read_bytes()
    assert (folder / "again.tflite").read_bytes() == small
    content = json.loads(plan.read_text())
    assert (content["storage"], content["prefer"]) == ("conv_int4", "size")
    for bits in content["layers"].values():
        bits["weight_bits"] = 8
    plan = folder / "edited.json"
    plan.write_text(json.dumps(content), "utf-8")
    words[words.index("--plan") + 1] = plan
    code, _, err = run(*words, "edited.tflite", capsys=capsys)
    assert code == 0, err
    assert (folder / "edited.tflite").stat().st_size > len(small) + 10_000
    words[1:4] = ["resnet20", "--weights", "cifar10"]
    told = refused_command(*words, "other.tflite", capsys=capsys)
    assert "the plan is of 'resnet8'" in told
    plan.write_bytes(b"\xff{")
    told = refused_command(*words, "other.tflite", capsys=capsys)
    assert "edited.json" in told and "precision plan" in told


def check_refused(words, capsys):
    """What cannot be met says the least that can, in one line; nothing is written."""
    again = refused_command(*words, "--output", "small.tflite", capsys=capsys)
    assert "small.tflite exists" in again
    words = [*words[:-1], "--output", "none.tflite"]
    words[words.index("--max-size") + 1] = "30kB"
    code, _, err = run(*words, capsys=capsys)
    assert code == 1 and "has at least" in err and "30,000" in err
    assert err.count("\n") == 1 and "nothing was written" in err


@pytest.mark.costly
def test_zeros_as_moves(folder, monkeypatch, capsys):
    """Files of sparse layers hold the plan's zeros, are run, and are made again by it."""
    monkeypatch.chdir(folder)
    words = ["search", *NETWORK, "--front", "zeros_front", "--points", 2, "--json"]
    words += ["--sparse", "0.5", "--precisions", "8,float", "--output", "zeros.tflite"]
    code, out, err = run(*words, capsys=capsys)
    assert code == 0, err
    points_told = json.loads(out)["front"]["points"]
    assert max(one["layers"]["sparse"] for one in points_told) > 0
    for one in points_told:
        path = folder / "zeros_front" / one["file"]
        plan = quantization.PrecisionPlan.read(f"{path}.plan.json")
        shares = [bits.sparsity for bits in plan.layers.values()]
        assert shares.count(0.5) == one["layers"]["sparse"] and set(shares) <= {0, 0.5}
        editor = file_editor.Editor(path.read_bytes())
        codes = [editor.code(op) for op in editor.graph.operators]
        # A kernel stays dense where its zeros would not save a byte.
        assert 0 < codes.count("DENSIFY") <= one["layers"]["sparse"] or not any(shares)
    smallest = folder / "zeros_front" / points_told[0]["file"]
    words = ["quantize", *NETWORK, "--plan", f"{smallest}.plan.json", "--output"]
    code, _, err = run(*words, "zeros_again.tflite", capsys=capsys)
    assert code == 0, err
    assert (folder / "zeros_again.tflite").read_bytes() == smallest.read_bytes()


def test_a_front_is_not_written_over_other_files(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.txt").write_text("cat")
    model = keras_resnets.create_model("resnet8")
    x = np.zeros((20, 32, 32, 3), "float32")

    def call(folder, **more):
        return lambda: quantization.find_front(
            model, x[:10], (x[10:], [0] * 10), Budget(max_size=1), folder, **more
        )

    refusal(call(tmp_path / "photos", overwrite=True), "photos", "front.json")
    refusal(call(tmp_path / "nowhere" / "front"), "nowhere")
    refusal(call(tmp_path / "front", points=1), "points")
    refusal(call(tmp_path / "front", precisions=("int8",)), "besides int8")
    refusal(call(tmp_path / "front", recipe="float16"), "int8 recipe")
    refusal(call(tmp_path / "front", storage="int5"), "storage")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
