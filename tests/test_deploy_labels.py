"""`deploy` of networks of several labels an image: every target tells all of them."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from commands import refused
from commands import run
from conftest import ROOT
from PIL import Image

import keras_resnets
from keras_resnets import deploy
from keras_resnets.deploy.targets import TARGETS
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.images import multi_label

NAMES = ("animal", "metal", "flies")
# Of CIFAR-10's classes, those that have each label.
MEMBERS = ({2, 3, 4, 5, 6, 7}, {0, 1, 8, 9}, {0, 2})
THRESHOLDS = {"animal": 0.5, "metal": 0.4, "flies": 0.3}


def pictures(folder, count):
    """(uint8 images, 0 and 1 of each label) of CIFAR-10."""
    from quantized import cifar

    pixels, classes = cifar(folder, count=count)
    return pixels, np.stack([np.isin(classes, list(x)) for x in MEMBERS], 1)


@pytest.fixture(scope="module")
def trained(shared_data):
    """(a small network of three labels trained on pictures, its images)."""
    import keras

    keras.utils.set_random_seed(0)
    pixels, labels = pictures(shared_data, 3000)
    model = keras_resnets.create_model(
        "resnet8", classes=3, classifier_activation="sigmoid"
    )
    model.labels = NAMES
    images = model.preprocessing.batch(pixels.astype("float32"), "channels_last")
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    model.fit(images, labels.astype("float32"), 64, epochs=3, verbose=0)
    figures = multi_label.measure(labels, model.predict(images, 256, verbose=0))
    assert figures.mean_average_precision > 0.75
    return model, images


def deployed(trained, target, folder, **options):
    if TARGETS[target].missing():
        pytest.skip(TARGETS[target].missing())
    model, images = trained
    options = {"compare": 40, "threshold": THRESHOLDS, **options}
    (made,) = deploy.deploy(model, target, folder, images[:120], **options)
    return made


def expected(trained, count=40):
    """The labels (count, 3) that `predict` says."""
    model, images = trained
    scores = model.predict(images[:count], verbose=0)
    return scores >= multi_label.cut(tuple(THRESHOLDS.values()))


@pytest.mark.costly
@pytest.mark.parametrize(
    "target, recipe",
    [
        ("linux-x86", "float32"),
        ("linux-x86", "static_wi8_ai8"),
        ("microcontroller", "static_wi8_ai8"),
        ("ethos-u55-128", "static_wi8_ai8"),
        ("server-onnx", "float32"),
        ("server-onnx", "static_wi8_ai8"),
        ("server-savedmodel", "float32"),
        ("gpu", "float16"),
        ("raspberry-pi", "static_wi8_ai8"),
        ("browser-onnx", "float32"),
        ("browser-litert", "static_wi8_ai8"),
        ("android", "static_wi8_ai8"),
        ("ios", "float32"),
    ],
)
def test_a_target_tells_all_labels(trained, tmp_path, target, recipe):
    made = deployed(trained, target, tmp_path, recipe=recipe)
    report = json.loads((made.folder / "report.json").read_text())
    assert report["proven"] and report["task"] == "multi-label"
    assert report["thresholds"] == [0.5, 0.4, 0.3]
    assert report["outputs"] is None or report["outputs"]["other"] == 0
    least = 1.0 if recipe == "float32" else 0.9
    assert report["agreement"] + report["at_threshold"] >= least
    assert report["label_agreement"] >= report["agreement"]
    readme = (made.folder / "README.md").read_text()
    assert "any number of labels" in readme
    assert "[0.5, 0.4, 0.3]" in readme and "predicted class" not in readme
    passport = next(made.folder.glob("*model*.json"))
    facts = json.loads(passport.read_text())
    if target not in ("browser-onnx", "browser-litert"):
        assert facts["task"] == "multi-label" and facts["thresholds"] == [0.5, 0.4, 0.3]


@pytest.mark.costly
@pytest.mark.parametrize("target", ["esp32", "rockchip", "coreml", "edgetpu"])
def test_a_toolchain_of_its_own_takes_several_labels(trained, tmp_path, target):
    unproven = target == "edgetpu"
    if not unproven and TARGETS[target].missing():
        pytest.skip(TARGETS[target].missing())
    model, images = trained
    (made,) = deploy.deploy(
        model, target, tmp_path, images[:80], compare=10, unproven=unproven
    )
    assert made.report["proven"] != unproven
    assert made.report["thresholds"] == [0.5] * 3
    assert "their thresholds, 0.5." in (made.folder / "README.md").read_text()


@pytest.mark.costly
def test_the_programs_print_the_labels_of_predict(trained, tmp_path):
    """The README's of linux-x86, and the runner of a Raspberry Pi, on photos."""
    model, images = trained
    pixels = model.preprocessing.pixels(images[:6])
    made = deployed(trained, "linux-x86", tmp_path / "out", recipe="float32")
    code = re.search(
        r"```python\n(.*?)```", (made.folder / "README.md").read_text(), re.S
    )
    (made.folder / "classify.py").write_text(code[1])
    programs = [made.folder / "classify.py"]
    (pi,) = deploy.deploy(
        model, "raspberry-pi", tmp_path / "pi", images[:80], recipe="float32",
        threshold=THRESHOLDS, unproven=True, compare=10,
    )  # fmt: skip
    programs.append(pi.folder / "run.py")
    said = expected(trained, 6)
    assert len(set(map(tuple, said.tolist()))) > 1
    for number, (image, wanted) in enumerate(zip(pixels, said, strict=True)):
        photo = tmp_path / f"{number}.png"
        Image.fromarray(image).save(photo)
        for program in programs:
            done = subprocess.run(
                [sys.executable, program.name, photo],
                cwd=program.parent, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            names = {line.split()[1] for line in done.stdout.splitlines()}
            assert names == {NAMES[k] for k in np.flatnonzero(wanted)}


@pytest.mark.costly
def test_the_sources_of_a_microcontroller_tell_the_labels(trained, tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is missing")
    folder = deployed(trained, "microcontroller", tmp_path / "out").folder
    (tmp_path / "show.cc").write_text("""#include <cstdio>
#include "test_image.h"
int main() {
  for (int i = 0; i < model::kClasses; ++i)
    if (model::Has(model::kTestOutputs[i], i)) std::puts(model::kLabels[i]);
}
""")
    program = tmp_path / "show"
    words = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{folder}"]
    sources = [folder / "test_image.cc", tmp_path / "show.cc", "-o", program]
    subprocess.run([*words, *sources], check=True)
    out = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    wanted = expected(trained, 1)[0]
    assert out.split() == [NAMES[k] for k in np.flatnonzero(wanted)]
    stub = ROOT / "tests" / "data" / "tflm_stub"
    subprocess.run(
        [*words, f"-I{stub}", "-c", folder / "main.cc", "-o", tmp_path / "main.o"],
        check=True,
    )


@pytest.mark.costly
def test_the_page_shows_every_label_that_reaches_its_threshold(trained, tmp_path):
    from keras_resnets.deploy.toolchains import browser
    from keras_resnets.deploy.toolchains import browser_tools
    from keras_resnets.deploy.toolchains import chromium

    model, images = trained
    made = deployed(trained, "browser-onnx", tmp_path / "out", recipe="float32")
    pixels = model.preprocessing.pixels(images[:8])
    said = expected(trained, 8)
    with (
        browser_tools.served(made.folder) as address,
        chromium.opened(chromium.find(), address) as page,
    ):
        browser.opened_in(page)
        for number, (image, wanted) in enumerate(zip(pixels, said, strict=True)):
            photo = tmp_path / f"{number}.png"
            Image.fromarray(image).save(photo)
            page.evaluate("document.body.dataset.state = 'waiting'")
            page.choose_file("#file", photo)
            page.wait("document.body.dataset.state === 'answered'")
            shown = page.evaluate(
                "Array.from(document.querySelectorAll('#answers .name'), x => "
                "x.textContent)"
            )
            assert set(shown) == {NAMES[k] for k in np.flatnonzero(wanted)}
            none = page.evaluate("document.getElementById('none').hidden")
            assert none == bool(wanted.any())


@pytest.mark.costly
def test_a_deployed_file_keeps_its_thresholds(trained, tmp_path, capsys):
    from keras_resnets.export import to_keras

    model, images = trained
    to_keras(model, tmp_path / "m.keras")
    np.savez(tmp_path / "x.npz", x_train=model.preprocessing.pixels(images[:60]))
    page = tmp_path / "r.html"
    words = ("deploy", tmp_path / "m.keras", "--data", tmp_path / "x.npz", "--target")
    words = (*words, "linux-x86", "--output", tmp_path / "out", "--report", page)
    assert "did you mean 'metal'" in refused(
        *words, "--threshold", "metall=0.4", capsys=capsys
    )
    code, out, err = run(*words, "--threshold", "flies=0.3,metal=0.4", capsys=capsys)
    assert code == 0, err
    assert "% of labels)" in out and "label agreement" in page.read_text("utf-8")
    photo = tmp_path / "a.png"
    Image.fromarray(model.preprocessing.pixels(images[:1])[0]).save(photo)
    file = tmp_path / "out" / "linux-x86" / "model.tflite"
    said = [
        run("predict", file, photo, "--json", *more, capsys=capsys)[1]
        for more in ((), ("--threshold", "flies=0.3,metal=0.4"), ("--threshold", "1"))
    ]
    assert said[0] == said[1] != said[2]


def test_thresholds_of_one_class_are_refused():
    model = keras_resnets.create_model("resnet8")
    images = np.zeros((10, 32, 32, 3), "float32")
    with pytest.raises(InvalidArgument, match="gives an image one class"):
        deploy.deploy(model, "linux-x86", "out", images, threshold=0.3)


def test_thresholds():
    names = ("cat", "dog")
    assert multi_label.thresholds(None, names) == (0.5, 0.5)
    assert multi_label.thresholds({None: 0.2, "dog": 0.9}, names) == (0.2, 0.9)
    assert multi_label.thresholds(np.float32([0.25, 1]), names) == (0.25, 1.0)
    for wrong in ({"cow": 0.5}, [0.5], 1.5, "0.5", True, {"cat": None}, [0.5, "x"]):
        with pytest.raises(InvalidArgument):
            multi_label.thresholds(wrong, names)


@pytest.mark.costly
def test_another_label_than_predicts_is_refused(trained, tmp_path, monkeypatch):
    from keras_resnets.deploy.toolchains import local_runtime

    prove = local_runtime.prove

    def other(job):
        proof = prove(job)
        proof.outputs[:, 0] = 1 - proof.outputs[:, 0]
        return proof

    monkeypatch.setattr(local_runtime, "prove", other)
    with pytest.raises(ExportError, match="within one rounding step"):
        deployed(trained, "linux-x86", tmp_path / "out", recipe="float32")
    assert not (tmp_path / "out").exists()
