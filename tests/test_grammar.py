"""One grammar for all commands: what help says, what MODEL may be, what --json prints."""

import argparse
import json
import pathlib
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from commands import refused
from commands import run
from conftest import ROOT

import keras_resnets
from keras_resnets.cli import main as cli
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.graph import provenance
from keras_resnets.weights import metadata


def parsers(parser, name=""):
    """(name, parser) of every command that runs."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield name, parser
    for action in inner:
        for word, child in action.choices.items():
            yield from parsers(child, f"{name} {word}".strip())


PARSERS = dict(parsers(cli._parser("keras-resnets")))


def arguments():
    """(command, action) of every argument."""
    for name, parser in PARSERS.items():
        for action in parser._actions:
            yield name, action


def test_every_command_is_in_the_map(capsys):
    code, out, _ = run(capsys=capsys)
    assert code == 0
    assert {name.split()[0] for name in PARSERS} == set(cli.COMMANDS)
    for name, (_, summary) in cli.COMMANDS.items():
        # All begin in one column, below a name that is wider than its own.
        place = "\n" + " " * 15 if len(name) > 12 else " " * (13 - len(name))
        assert f"\n  {name}{place}{summary}\n" in out, name


def test_version(capsys):
    code, out, _ = run("--version", capsys=capsys)
    assert (code, out) == (0, f"keras-resnets {keras_resnets.__version__}\n")


def test_every_argument_says_what_it_is():
    shown = [(c, a) for c, a in arguments() if a.help is not argparse.SUPPRESS]
    silent = [(c, a.dest) for c, a in shown if not re.search(r"\w", a.help or "")]
    assert not silent


def test_every_default_is_shown():
    """A switch is off; what has no default of its own says nothing, or what is meant."""
    hidden = []
    for command, action in arguments():
        default = parsing.shown_default(action)
        text = PARSERS[command].format_all()
        if default is None or action.help is argparse.SUPPRESS:
            continue
        part = text.split((action.option_strings or [action.metavar])[-1], 1)[1]
        if default.strip("()") not in part:
            hidden.append((command, action.dest, default))
    assert not hidden


@pytest.mark.parametrize("name", PARSERS)
def test_examples_are_commands(name):
    assert len(options.EXAMPLES[name]) >= 2
    shown = PARSERS[name].format_help()
    for example in options.EXAMPLES[name]:
        assert f"  keras-resnets {name} {example}" in shown
        words = [*name.split(), *shlex.split(example)]
        assert callable(cli._parser("keras-resnets", words[:1]).parse_args(words).run)


@pytest.mark.parametrize("name", PARSERS)
def test_help_names_nothing_that_is_not_installed(name):
    text = PARSERS[name].format_all()
    assert not re.search(r"\b(docs|benchmarks|tests|examples)/", text)


@pytest.mark.parametrize("name", PARSERS)
def test_what_every_command_has(name):
    known = PARSERS[name]._option_string_actions
    assert {"--json", "--quiet", "--verbose", "--help", "--help-all"} <= set(known)
    assert options.FACTS[name], "what --json prints is not declared"
    if any(action.dest == "model" for action in PARSERS[name]._actions):
        assert name == "convert" or "--model" in known


def test_one_command_imports_no_other():
    """What makes `list` quick."""
    script = "from keras_resnets.cli import main as cli; cli.main(['list', '-h'])"
    code = f"import sys\ntry:\n {script}\nexcept SystemExit:\n pass\n"
    code += (
        "print(sorted(n for n in sys.modules if n.startswith('keras_resnets.cli.')))"
    )
    code += "\nassert not {'numpy', 'keras'} & set(sys.modules)"
    done = subprocess.run(
        [shutil.which("python"), "-c", code], capture_output=True, text=True, check=True
    )
    assert "commands.show" in done.stdout and "commands.train" not in done.stdout


def facts(*words, capsys, code=0):
    """The JSON object that a command prints; its keys are those that are declared."""
    found, out, err = run(*words, "--json", capsys=capsys)
    assert found == code, err
    content = json.loads(out)
    command = content.pop("command")
    assert isinstance(content.pop("notes"), list)
    assert list(content) == list(options.FACTS[command])
    return content


def test_json_of_tables(capsys):
    listed = facts("list", "--weights", "--max-macs", "50M", capsys=capsys)["models"]
    best = facts("list", "--max-macs", "50M", "--sort", "accuracy", capsys=capsys)
    assert best["models"][0]["name"] == "resnet20"
    assert 5 < len(listed) < 20 and all(m["mega_macs"] <= 50 for m in listed)
    assert {m["top1"] is None for m in listed} == {False}
    records = facts("weights", "resnet20", capsys=capsys)["weights"]
    assert records[0]["top1"] == keras_resnets.model_info("resnet20").top1 == 93.46
    recipes = facts("recipes", capsys=capsys)["recipes"]
    assert recipes["finetune"]["epochs"] > 0
    figures = facts("info", "resnet8", capsys=capsys)
    assert figures["input_size"] == [32, 32] and figures["layers"] is None


def test_filters_refuse(capsys):
    assert "none of the" in refused("list", "--max-macs", "1", capsys=capsys)
    assert "k, M or G" in refused("list", "--max-macs", "5X", capsys=capsys)
    assert "--sort must be one of" in refused("list", "--sort", "size", capsys=capsys)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with weights of one network in every kind of file, and a run."""
    folder = tmp_path_factory.mktemp("models")
    model = keras_resnets.create_model("resnet8", classes=5)
    known = provenance.of(model)
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text('{"model": "resnet8"}')
    for name in ("a.weights.h5", "run/best.weights.h5"):
        metadata.write_weights(model, folder / name, known)
    metadata.write_model(model, folder / "a.keras", known)
    model.save_weights(folder / "nameless.weights.h5")
    np.savez(
        folder / "data.npz",
        x_test=np.zeros((4, 32, 32, 3), "uint8"),
        y_test=np.zeros((4, 1), "int64"),
    )
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["a.weights.h5"],
        ["--model", "run"],
        ["--weights", "run"],
        ["--weights", "a.weights.h5"],
        ["--weights", "run", "resnet8"],
        ["a.keras"],
    ],
    ids=" ".join,
)
def test_what_a_model_may_be(words, files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    found = facts("evaluate", *words, "--data", "data.npz", capsys=capsys)
    assert found["count"] == 4
    options = [word for word in words if word != "a.keras"]
    if options:
        assert facts("info", *words[-1:], capsys=capsys)["model"] == "resnet8"


def test_a_model_that_nothing_names(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    data = ["--data", "data.npz"]
    error = refused("evaluate", *data, capsys=capsys)
    assert "MODEL is required" in error and "keras-resnets list" in error
    error = refused(
        "evaluate", "--weights", "nameless.weights.h5", *data, capsys=capsys
    )
    assert "nameless.weights.h5 does not name its network" in error
    error = refused(
        "evaluate", "run", "--weights", "a.weights.h5", *data, capsys=capsys
    )
    assert "leave out --weights" in error
    error = refused("evaluate", "run", "--model", "resnet8", *data, capsys=capsys)
    assert "MODEL was given twice" in error
    error = refused("quantize", "resnet8", *data, capsys=capsys)
    assert "--weights is required for a variant such as resnet8" in error


@pytest.mark.parametrize("command", ["quantize", "train", "search", "info"])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("a.onnx", "an exported file: give the network that it was made of"),
        ("saved", "an exported file"),
        ("run_of_another", "a folder without"),
        ("a.txt", "another file"),
        ("gone.tflite", "there is no file or folder 'gone.tflite'"),
        ("gone/", "there is no file or folder 'gone/'"),
        # Longer than a file's name may be.
        ("x" * 5000 + ".tflite", "there is no file or folder 'xxx"),
        ("wrn_" + "9" * 5000 + "_1", "a model's name has at most 200 characters"),
        ("resnet-8x", "unknown model 'resnet-8x'; did you mean"),
    ],
)
def test_a_model_that_is_no_network(
    command, model, said, capsys, tmp_path, monkeypatch
):
    """The message says what it is, not that weights are missing."""
    monkeypatch.chdir(tmp_path)
    for name in ("saved", "run_of_another"):
        pathlib.Path(name).mkdir()
    for name in ("a.onnx", "a.txt", "saved/saved_model.pb"):
        pathlib.Path(name).write_bytes(b"content")
    words = {
        "info": [],
        "train": ["--data", "d.npz", "--recipe", "finetune", "--output", "r"],
    }.get(command, ["--data", "d.npz"])
    assert said in refused(command, model, *words, capsys=capsys)
    if command == "quantize":
        words += ["--weights", "cifar10"]
        assert said in refused(command, model, *words, capsys=capsys)


def test_photos_of_weights_that_name_their_network(files, photos, capsys):
    two = [photos / "0.png", photos / "1.png"]
    found = facts("predict", *two, "--weights", files / "run", capsys=capsys)
    assert [len(image["classes"]) for image in found["images"]] == [5, 5]


def test_a_file_of_ones_own_is_a_model(files, tmp_path, capsys, monkeypatch):
    import keras

    from keras_resnets.export import to_keras

    monkeypatch.chdir(tmp_path)
    image = keras.Input((16, 16, 3))
    maps = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(maps), name="mine")
    model.preprocessing = keras_resnets.Preprocessing(mode="tf", size=(16, 16))
    to_keras(model, "mine.keras")
    assert facts("info", "mine.keras", capsys=capsys)["classes"] == 3
    found = facts("export", "tflite", "mine.keras", capsys=capsys)["file"]
    assert found["path"] == "mine.tflite" and found["size"] > 1000
    assert found["outputs"]["top1"] == 1.0
    error = refused("export", "tflite", "mine.keras", "--classes", "4", capsys=capsys)
    assert "and weights: leave out --classes" in error
    model.save("strange.keras")
    error = refused("export", "tflite", "strange.keras", capsys=capsys)
    assert "does not record its preprocessing" in error


def test_quiet_and_failures(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    words = ["evaluate", "run", "--data", "data.npz"]
    _, out, _ = run(*words, "--quiet", capsys=capsys)
    assert out.count("\n") == 1 and "top-1" in out
    code, out, err = run("info", "no_such_network", "--json", capsys=capsys)
    assert (code, out) == (2, "") and err.count("\n") == 1
    code, _, err = run("info", "no_such_network", "--verbose", capsys=capsys)
    assert code == 2 and "Traceback" in err


PAGE = ROOT / "docs" / "commands.md"


def jq_examples():
    """(words of the command, words of jq) of each pipe on the page."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^keras-resnets .*\| jq .*", text, re.M):
        command, _, program = line.partition("|")
        yield shlex.split(command)[1:], shlex.split(program)


JQ = list(jq_examples())


def test_the_page_has_pipes():
    assert len(JQ) >= 3


@pytest.mark.parametrize("words, program", JQ, ids=lambda words: " ".join(words))
def test_pipes_of_the_page(words, program, files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    code, out, err = run(*words, capsys=capsys)
    assert code == 0, err
    assert json.loads(out)["command"]
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    done = subprocess.run(
        program, input=out, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() and "null" not in done.stdout


def test_the_page_has_every_command():
    """Else: python tests/data/make_commands_page.py"""
    import runpy

    script = runpy.run_path(str(ROOT / "tests" / "data" / "make_commands_page.py"))
    assert PAGE.read_text(encoding="utf-8") == script["page"]()


def test_recommend(capsys):
    words = ["recommend", "--target", "linux-x86", "--dataset", "cifar10"]
    found = facts(*words, "--size", "210kB", capsys=capsys)["networks"]
    assert found and all(network["size"] <= 210_000 for network in found)
    assert [n["top1"] for n in found] == sorted(
        (n["top1"] for n in found), reverse=True
    )
    by_name = {network["name"]: network for network in found}
    assert by_name["resnet14d"]["measured"]
    # Another number of classes is another file than the one that was measured.
    own = facts(*words, "--classes", "5", "--count", "200", capsys=capsys)["networks"]
    assert not any(network["measured"] for network in own)
    code, out, _ = run(
        *("recommend", "--target", "raspberry-pi", "--ms", "50", "--classes", "5"),
        capsys=capsys,
    )
    assert code == 0 and "estimated: half of 32" in out
    assert "next: keras-resnets train " in out


def test_recommend_refuses(capsys):
    error = refused("recommend", "--target", "toaster", capsys=capsys)
    assert "--target must be one of" in error
    words = ["recommend", "--target", "microcontroller", "--flash", "1kB"]
    error = refused(*words, capsys=capsys)
    assert "the fastest, " in error and "increase the limits" in error


def test_estimates_scale_with_the_images():
    from keras_resnets.models import costs

    small, large = (
        costs.cost("resnet18", "raspberry-pi", input_size=side) for side in (112, 224)
    )
    assert large.ms == pytest.approx(4 * small.ms) and small.size == large.size
    # 1.8 G multiply-adds at half of 2.4 GHz times 32.
    assert large.ms == pytest.approx(1814 / 38.4, rel=0.01)


def test_every_row_of_the_measured_costs_is_a_variant():
    from keras_resnets.models import costs

    rows = costs.measured_rows()
    assert set(rows) <= set(keras_resnets.list_models()) and len(rows) > 8
    for name in rows:
        cost = costs.cost(name, "linux-x86")
        assert cost.measured and cost.ms > 0
        # The estimate of sizes holds to a fifth where it can be compared.
        known = keras_resnets.model_info(name)
        assert known.total_params <= cost.size <= 2.2 * known.total_params


def test_json_of_a_command_that_fails_is_nothing(tmp_path, monkeypatch, capsys):
    """Not the half of a result that there was before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jpg").write_text("no image")
    words = ("predict", "resnet20", "--weights", "cifar10", "bad.jpg", "--json")
    code, out, err = run(*words, capsys=capsys)
    assert (code, out) == (2, "") and "not a readable image" in err
