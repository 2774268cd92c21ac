"""`deploy`: the table of targets, what they refuse, and folders that were proven."""

import dataclasses
import importlib.util
import json
import pathlib
import re
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest
from commands import refused
from commands import reported
from commands import run
from conftest import ROOT
from helpers import small_model
from helpers import with_large_equal_logits
from PIL import Image

from keras_resnets import deploy
from keras_resnets.deploy import agreement
from keras_resnets.deploy import option_checks
from keras_resnets.deploy import options as asking
from keras_resnets.deploy import target as rows
from keras_resnets.deploy.options import Asked
from keras_resnets.deploy.targets import TARGETS
from keras_resnets.deploy.toolchains import local_runtime
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.images.labels import class_names
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.images.preprocessing import default_for
from keras_resnets.system import child_process

LABELS = tuple(f"kind {index}" for index in range(10))


def network(kind="basic_original"):
    """A small network of random values, that knows its images and classes."""
    model = small_model(kind, input_shape=(32, 32, 3))
    model.preprocessing = Preprocessing("tf", (32, 32))
    model.labels = LABELS
    return model


def images(count=12):
    pixels = np.random.default_rng(3).integers(0, 256, (count, 32, 32, 3))
    return Preprocessing("tf", (32, 32)).normalize(pixels, "channels_last")


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_row_is_whole(target):
    assert re.fullmatch(r"[a-z0-9-]+", target.name) and target.title and target.proof
    assert (target.module is None) or target.install
    for recipe in target.recipes:
        assert option_checks.check_recipe(target, recipe) == recipe
        assert recipe not in target.refused
    for recipe in target.refused:
        with pytest.raises(InvalidArgument, match=re.escape(target.refused[recipe])):
            option_checks.check_recipe(target, recipe)
    spec = Asked().spec(target)
    assert spec.recipe == target.recipes[0] and spec.format == target.format
    if target.toolchain is None:
        assert target.missing() == f"{target.name}: {target.proof}"
        assert not target.install
        return
    assert callable(target.room.prove) and callable(target.room.snippet)


def test_targets_lists_the_table(capsys):
    code, out, _ = run("targets", capsys=capsys)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == list(TARGETS)
    code, out, _ = run("targets", "--json", capsys=capsys)
    assert [row["name"] for row in json.loads(out)["targets"]] == list(TARGETS)


REFUSED = {
    "a target that is none": (
        {"names": "linux"},
        "target must be one of .*; got 'linux'; did you mean 'linux-x86'?",
    ),
    "no target": ({"names": ()}, "at least one target"),
    "a recipe of another format": (
        {"names": "server-onnx", "recipe": "static_wi8_ai16"},
        "recipe of server-onnx must be one of 'float32', ",
    ),
    "ends of a float file": (
        {"names": "linux-x86", "recipe": "float32", "io_dtype": "uint8"},
        "io_dtype of a float32 file must be one of 'float32'; got 'uint8'",
    ),
    "photos for a microcontroller": (
        {"names": "microcontroller", "source": (480, 640)},
        "applies to linux-x86, .*; got microcontroller: the resize computes in floats",
    ),
    "photos for a page": (
        {"names": "browser-onnx", "source": (480, 640)},
        "the page crops and resizes photos of any size itself",
    ),
    "photos without pixels": (
        {"names": "linux-x86", "source": (480, 640)},
        "add --include-preprocessing",
    ),
    "memory of a server": (
        {"names": "server-onnx", "ram": 1000},
        "--ram applies to .*; got server-onnx",
    ),
}


@pytest.mark.parametrize("words, message", REFUSED.values(), ids=REFUSED)
def test_refused_at_the_door(words, message):
    words = dict(words)
    with pytest.raises(InvalidArgument, match=message):
        Asked(**{k: v for k, v in words.items() if k != "names"}).check(
            asking.find_all(words["names"])
        )


def test_a_target_twice_is_one():
    names = ["linux-x86", "server-onnx", "linux-x86"]
    assert [row.name for row in asking.find_all(names)] == names[:2]


@pytest.mark.parametrize(
    "text, size",
    [("262144", 262144), ("256kB", 256000), ("256KiB", 262144), ("1.5MB", 1500000)],
)
def test_sizes(text, size):
    from keras_resnets.cli.arguments.options import byte_count

    assert byte_count(text) == size


@pytest.mark.parametrize("text", [" ", "0", "-1", "256 parsecs", "1e9", "nan"])
def test_no_sizes(text, capsys):
    words = ["deploy", "resnet8", "--weights", "a.h5", "--target", "linux-x86"]
    words += ["--data", "a.npz", "--output", "out", f"--ram={text}"]
    assert "must be a number of bytes" in refused(*words, capsys=capsys)


def test_a_step_of_rounding_is_no_other_answer():
    scale = np.float32(1 / 256)
    expected = np.float32([[10, 200], [100, 90], [128, 128], [0, 255]]) * scale
    found = expected + np.float32([[0, 0], [1, -1], [0, 2], [0, 0]]) * scale
    result = agreement.compare(expected, expected, found, float(scale), "itself")
    assert (result.equal, result.step, result.other) == (2, 1, 1)
    assert result.largest == 2 and result.same == 0.75
    assert result.record()["outputs"]["one_step"] == 1
    with pytest.raises(ExportError, match="within one rounding step; 1 of 4 images"):
        agreement.judge("chip", result, 0.5, "advice")
    expected, found = expected[:2], found[:2]
    near = agreement.compare(expected, expected, found, float(scale), "itself")
    agreement.judge("chip", near, 0.9, "advice")
    wrong = agreement.compare(1 - expected, expected, found, float(scale), "x")
    with pytest.raises(ExportError, match="another class than predict on 2 of 2"):
        agreement.judge("chip", wrong, 0.9, "advice")
    with pytest.raises(ExportError, match="NaN"):
        agreement.compare(expected, expected, expected * np.nan, 1.0, "x")
    with pytest.raises(ExportError, match="shape|array of"):
        agreement.compare(expected, expected, expected[:, :1], 1.0, "x")


def test_a_step_of_logits_is_one_of_rounding():
    """Ten steps of a softmax, where two classes are about as likely: no other answer."""
    scale, logit = 1 / 256, 0.15
    logits = np.array([[3.0, 3.0, -1.0], [6.0, 0.0, 0.0]])

    def softmax(x):
        whole = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        return (np.rint(whole / scale) * scale).astype("float32")

    moved = logits + logit * np.array([[1, -1, 1], [-1, 1, 1]])
    expected, found = softmax(logits), softmax(moved)
    assert np.abs(found - expected).max() > 15 * scale

    def compared(values, step):
        return agreement.compare(expected, expected, values, scale, "itself", 2 * step)

    assert compared(found, logit).step == 2 and compared(found, 0.0).other == 1
    further = softmax(logits + 2 * logit * np.array([[1, -1, 1], [-1, 1, 1]]))
    assert compared(further, logit).other == 1


def test_labels_a_step_from_their_threshold_are_no_others():
    step, cuts = 1 / 256, np.float32([0.5, 0.25])
    predicted = np.float32([[0.499, 0.9], [0.3, 0.9], [0.9, 0.1], [0.499, 0.9]])
    found = np.float32([[0.502, 0.9], [0.6, 0.9], [0.9, 0.1], [0.502, 0.1]])
    result = agreement.compare(predicted, found, found, step, "itself", cuts=cuts)
    # The first by rounding, the second by far, the last by both.
    assert (result.same, result.at_threshold, result.labels) == (0.25, 0.25, 0.5)
    assert result.record()["label_agreement"] == 0.5
    agreement.judge("chip", result, 0.5, "advice")
    with pytest.raises(ExportError, match="other labels than predict on 2 of 4"):
        agreement.judge("chip", result, 0.6, "advice")
    # A step of what the sigmoid gets is many of what comes out.
    wide = agreement.compare(predicted, found, found, step, "itself", 0.5, cuts)
    assert wide.at_threshold == 0.5


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """(a network, the folder of its float32 file for linux-x86, what `deploy` returned)."""
    model, folder = network(), tmp_path_factory.mktemp("deployed") / "out"
    made = deploy.deploy(
        model, "linux-x86", folder, images(), recipe="float32", min_agreement=1
    )
    return model, folder / "linux-x86", made


def test_a_folder_for_linux(deployed):
    model, folder, (made,) = deployed
    assert {path.name for path in folder.iterdir()} == {
        "model.tflite",
        "model.tflite.json",
        "labels.txt",
        "README.md",
        "report.json",
    }
    report = report_of(folder)
    assert report == made.report and made.folder == folder
    assert report["proven"] is True and report["target"] == "linux-x86"
    assert report["agreement"] == 1 and report["compared"] == 12
    assert report["outputs"]["other"] == 0 and report["outputs"]["against"] == "predict"
    assert report["file"] == "model.tflite" and report["latency_ms"] > 0
    assert report["size_bytes"] == (folder / "model.tflite").stat().st_size
    from keras_resnets.export import passport

    assert passport.read(folder / "model.tflite")["model"] == model.name
    assert (folder / "labels.txt").read_text().splitlines() == list(LABELS)
    assert "Proven by ai-edge-litert" in (folder / "README.md").read_text()


def test_the_readmes_program_says_what_predict_says(deployed, tmp_path):
    model, folder, _ = deployed
    assert_its_program_is_right(folder, model, tmp_path)
    deep = np.full((40, 40), 40_000, "uint16")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    done = said_by_its_program(folder, tmp_path / "deep.png", tmp_path)
    assert done.returncode == 1 and "more than 8 bits" in done.stderr


@pytest.mark.costly
def test_a_file_of_photos_of_one_size(tmp_path):
    """The photo goes in as it is; one of another size is refused by the program."""
    model, out = network(), tmp_path / "out"
    given = {"include_preprocessing": True, "recipe": "float32", "min_agreement": 1}
    (made,) = deploy.deploy(model, "linux-x86", out, images(), source=[45, 61], **given)
    assert made.report["source"] == [45, 61] and made.report["outputs"]["other"] == 0
    assert_its_program_is_right(made.folder, model, tmp_path)
    done = said_by_its_program(made.folder, ROOT / "docs" / "explained.jpg", tmp_path)
    assert "takes photos 61 wide and 45 high" in done.stderr and not done.stdout
    for source, words in [
        ("any", "one size per file; got 'any'"),
        ((480, 0), "source"),
        ((9, 9, 9), "one size per file"),
    ]:
        with pytest.raises(InvalidArgument, match=words):
            deploy.deploy(
                model, "linux-x86", tmp_path / "b", images(), source=source, **given
            )
    assert not (tmp_path / "b").exists()


def said_by_its_program(folder, photo, scratch):
    """What the program of a folder's README says of a photo."""
    (program,) = re.findall(
        r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S
    )
    (scratch / "run.py").write_text(program)
    return subprocess.run(
        [sys.executable, scratch / "run.py", photo],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def assert_its_program_is_right(folder, model, tmp_path):
    rng = np.random.default_rng(5)
    photo = Image.fromarray(rng.integers(0, 256, (61, 45, 3)).astype("uint8"))
    # As a telephone lays it on its side.
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "photo.png", exif=exif)
    done = said_by_its_program(folder, tmp_path / "photo.png", tmp_path)
    from keras_resnets.images import loading

    x = loading.load_image(tmp_path / "photo.png", model.preprocessing)
    expected = model.predict(x[None], verbose=0)[0]
    best = np.argsort(-expected)[:5]
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [name for _, name in lines] == [LABELS[index] for index in best], done.stderr
    found = [float(value) for value, _ in lines]
    np.testing.assert_allclose(found, expected[best], atol=1e-4)


def test_a_folder_that_stands_is_not_replaced_unasked(deployed):
    model, folder, _ = deployed
    before = (folder / "report.json").read_bytes()
    with pytest.raises(InvalidArgument, match="exists"):
        deploy.deploy(model, "linux-x86", folder.parent, images())
    assert (folder / "report.json").read_bytes() == before


@pytest.mark.parametrize("existed", [True, False])
def test_nothing_is_written_for_a_target_that_answers_otherwise(
    tmp_path, monkeypatch, existed
):
    real = local_runtime.prove

    def other(job):
        proof = real(job)
        proof.outputs[0] = proof.outputs[0][::-1]
        return proof

    monkeypatch.setattr(local_runtime, "prove", other)
    folder = tmp_path / "out"
    if existed:
        folder.mkdir()
    with pytest.raises(
        ExportError, match="outputs of linux-x86 must equal those of predict .*; 1 of"
    ):
        deploy.deploy(network(), "linux-x86", folder, images(), recipe="float32")
    assert list(tmp_path.iterdir()) == ([folder] if existed else [])
    assert not existed or not list(folder.iterdir())


def test_a_missing_toolchain_is_named_and_unproven_is_marked(
    tmp_path, monkeypatch, capsys
):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        rows.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "onnxruntime" else real(name, *rest),
    )
    words = ["deploy", "resnet8", "--weights", "a.h5", "--target", "server-onnx"]
    words += ["--data", "a.npz", "--output", tmp_path / "out"]
    line = refused(*words, capsys=capsys)
    assert 'missing: pip install "keras-resnets[onnx]"' in line and "--unproven" in line
    assert not (tmp_path / "out").exists()
    row = TARGETS["linux-x86"]
    lacking = dataclasses.replace(
        row, module="no_such_module", install="pip install it"
    )
    monkeypatch.setitem(TARGETS, "linux-x86", lacking)
    (made,) = deploy.deploy(
        network(),
        "linux-x86",
        tmp_path / "out",
        images(),
        recipe="float32",
        unproven=True,
    )
    report = report_of(made.folder)
    assert report["proven"] is False and report["agreement"] is None
    assert "missing" in report["reason"]
    assert "**Not proven**" in (made.folder / "README.md").read_text()


def test_models_that_cannot_be_deployed(tmp_path):
    model = network()
    del model.preprocessing
    with pytest.raises(InvalidArgument, match="requires the preprocessing"):
        deploy.deploy(model, "linux-x86", tmp_path, images())
    with pytest.raises(InvalidArgument, match="at least 10"):
        deploy.deploy(network(), "linux-x86", tmp_path, images(9))
    one = keras.Model(model.inputs, keras.layers.Dense(1)(model.outputs[0]))
    one.preprocessing = network().preprocessing
    with pytest.raises(InvalidArgument, match="one output without a sigmoid"):
        deploy.deploy(one, "linux-x86", tmp_path, images())
    assert not list(tmp_path.iterdir())


def test_operators_that_a_target_does_not_run(tmp_path, monkeypatch):
    few = frozenset({"CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"})
    row = dataclasses.replace(TARGETS["linux-x86"], operators=few)
    monkeypatch.setitem(TARGETS, "linux-x86", row)
    with pytest.raises(
        ExportError, match="linux-x86 does not support .*SOFTMAX.*, which the"
    ):
        deploy.deploy(network(), "linux-x86", tmp_path, images(), recipe="float32")
    assert not list(tmp_path.iterdir())


def test_what_a_toolchain_lacks(monkeypatch):
    row = dataclasses.replace(TARGETS["raspberry-pi"], program="ls", holds=())
    monkeypatch.setenv("KERAS_RESNETS_ARM64", "/somewhere")
    assert row.missing() is None
    monkeypatch.delenv("KERAS_RESNETS_ARM64")
    assert "set KERAS_RESNETS_ARM64 to a folder" in row.missing()
    monkeypatch.setenv("KERAS_RESNETS_ARM64", "/somewhere")
    lacking = dataclasses.replace(row, program="no-such-program-here")
    assert "apt install qemu-user-static" in lacking.missing()


def test_another_program(tmp_path):
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    words = [sys.executable, "-c", script]
    assert child_process.run(words, tmp_path, 60) == (3, "out\n", "err\n")
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    code, out, errors = child_process.run(words, tmp_path, 0.1)
    assert code == -9 and out == "" and "more than 0 seconds" in errors


def test_the_page_of_targets_is_current():
    """Else: python benchmarks/targets_table.py --page"""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        script = runpy.run_path(str(ROOT / "benchmarks" / "targets_table.py"))
    page = script["PAGE"].read_text("utf-8")
    found = json.loads(script["FIGURES"].read_text("utf-8"))
    assert script["written"](page, found) == page
    assert set(found) <= {*script["NETWORKS"], *script["LARGE"]}
    assert set(script["TARGETS"]) <= set(TARGETS)
    for name, reports in found.items():
        assert set(reports) <= set(script["TARGETS"]), name
        for target, report in reports.items():
            known = {"refused", "checked"} & set(report) or report["proven"]
            assert known, (name, target)


@pytest.mark.costly
@pytest.mark.parametrize("name, shape", [("esp32", [1, 3, 32, 32])])
def test_a_row_without_its_toolchain_is_written_unproven(
    tmp_path, monkeypatch, name, shape
):
    import onnx

    monkeypatch.delenv(TARGETS[name].variable, raising=False)
    with pytest.raises(InvalidArgument, match="pip install esp-ppq.*--unproven"):
        deploy.deploy(network(), name, tmp_path / "out", images())
    (made,) = deploy.deploy(network(), name, tmp_path / "out", images(), unproven=True)
    assert made.report["proven"] is False and made.report["reason"].startswith(name)
    (given,) = onnx.load(made.folder / "model.onnx").graph.input
    assert [side.dim_value for side in given.type.tensor_type.shape.dim] == shape


@pytest.mark.slow
def test_a_raspberry_pi_says_what_this_machine_says(tmp_path):
    lacking = TARGETS["raspberry-pi"].missing()
    if lacking:
        pytest.skip(lacking)
    (made,) = deploy.deploy(
        network(), "raspberry-pi", tmp_path / "out", images(), min_agreement=0.5
    )
    report = report_of(made.folder)
    assert report["processors"] == ["cortex-a72", "cortex-a76"] and report["emulated"]
    assert report["outputs"]["other"] == 0 and "aarch64" in report["proof"]
    assert (made.folder / "run.py").read_text().startswith('"""Classifies a photo')


@pytest.mark.costly_but("server-onnx")
@pytest.mark.parametrize("target", ["linux-x86", "server-onnx", "server-savedmodel"])
def test_the_rounding_of_large_logits_is_no_other_answer(tmp_path, target):
    """A probability of equal classes changes by more than 1e-5, as the batch does."""
    pixels = np.random.default_rng(3).integers(0, 256, (12, 32, 32, 3))
    given = default_for("cifar", (32, 32)).normalize(pixels, "channels_last")
    model, _ = with_large_equal_logits(given)
    (made,) = deploy.deploy(
        model, target, tmp_path / "out", given, recipe="float32", min_agreement=0.9
    )
    assert made.report["outputs"]["other"] == 0


@pytest.mark.costly
@pytest.mark.parametrize("pixels", [False, True])
def test_servers_and_int8(tmp_path, pixels):
    servers = ["linux-x86", "server-onnx", "server-savedmodel"]
    made = deploy.deploy(
        network(),
        servers,
        tmp_path / "out",
        images(),
        include_preprocessing=pixels,
        min_agreement=0.7,
    )
    assert [one.target for one in made] == servers
    for one in made:
        report = report_of(one.folder)
        assert report["proven"] and report["outputs"]["other"] == 0, report
        assert (one.folder / report["file"]).exists()
    assert made[0].report["recipe"] == "static_wi8_ai8"
    assert made[1].report["batches"] == [1, 12]


@pytest.mark.costly
def test_the_command(tmp_path, capsys, shared_data):
    from quantized import cifar

    pixels, _ = cifar(shared_data)
    np.savez(tmp_path / "data.npz", x_train=pixels[:60], y_train=np.zeros(60, int))
    words = ["deploy", "resnet20", "--weights", "cifar10", "--target", "linux-x86"]
    words += ["--data", tmp_path / "data.npz", "--output", tmp_path / "out"]
    page = tmp_path / "out" / "report.html"
    code, out, err = run(*words, "--report", page, capsys=capsys)
    assert code == 0, err
    told = ("Every file was run", "ai-edge-litert", "another class", "latency")
    reported(page, *told)
    assert "proven by ai-edge-litert" in out and "latency_ms" in out
    report = report_of(tmp_path / "out" / "linux-x86")
    assert report["agreement"] >= 0.95 and report["compared"] == 60
    named = (tmp_path / "out" / "linux-x86" / "labels.txt").read_text().split()
    assert named == [name for _, name in class_names(10, "cifar10")]
    assert pathlib.Path(tmp_path / "out" / "linux-x86" / "model.tflite.json").is_file()


def test_the_recipe_of_a_file_is_not_advised_for_it():
    file = asking.Spec("tflite", "float16")
    assert file.advice("static_wi8_ai8") == "use the recipe static_wi8_ai8"
    assert "recipe" not in file.advice("float16")
