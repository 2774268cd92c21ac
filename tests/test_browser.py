"""The page of the browser targets: its resize is Pillow's, its answers are `predict`'s."""

import base64
import json
import os
import pathlib
import shutil
import subprocess

import keras
import numpy as np
import pytest
from conftest import ROOT
from helpers import random_photo
from PIL import Image

import keras_resnets
from keras_resnets import deploy
from keras_resnets.deploy import option_checks
from keras_resnets.deploy import targets
from keras_resnets.deploy.toolchains import browser
from keras_resnets.deploy.toolchains import browser_tools
from keras_resnets.deploy.toolchains import chromium
from keras_resnets.errors import InvalidArgument
from keras_resnets.images import labels
from keras_resnets.images import loading
from keras_resnets.images import resizing
from keras_resnets.images.preprocessing import Preprocessing

WEB = pathlib.Path(browser.__file__).with_name("web")
NODE = shutil.which("node")


def settings(wanted):
    return {
        "size": list(wanted.size),
        "crop_fraction": wanted.crop_fraction,
        "letterbox": wanted.letterbox,
        "interpolation": wanted.interpolation,
        "takes_pixels": False,
        "scale": wanted.scale,
        "mean": list(wanted.mean),
        "std": list(wanted.std),
        "channel_order": wanted.channel_order,
    }


@pytest.mark.skipif(not NODE, reason="no node on the PATH")
def test_the_resize_is_pillows(tmp_path):
    """Every pixel, of every interpolation, of strips, enlarged and as it is."""
    kinds = [
        ((480, 640), {}),
        ((150, 90), {"interpolation": "bicubic"}),
        ((90, 151), {"interpolation": "lanczos", "crop_fraction": 1.0}),
        ((33, 47), {"interpolation": "nearest"}),
        ((20, 30), {"interpolation": "bicubic", "size": (24, 40)}),
        ((8, 1600), {}),
        ((36, 36), {"mode": "caffe"}),
    ]
    cases, expected = [], []
    for size, changes in kinds:
        given = {"mode": "torch", "size": (32, 32), "crop_fraction": 0.875, **changes}
        wanted, photo = Preprocessing(**given), random_photo(*size)
        text = base64.b64encode(np.asarray(photo).tobytes()).decode()
        cases.append({"how": settings(wanted), "size": size, "pixels": text})
        expected.append(wanted(photo))
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    (tmp_path / "resample.mjs").write_text((WEB / "resample.js").read_text())
    (tmp_path / "run.mjs").write_text("""
import { readFileSync } from "node:fs";
import { normalize, prepare } from "./resample.mjs";
const made = JSON.parse(readFileSync("cases.json")).map(({ how, size, pixels }) => {
  const raw = new Uint8Array(Buffer.from(pixels, "base64"));
  return Array.from(normalize(prepare(raw, ...size, how), how));
});
process.stdout.write(JSON.stringify(made));
""")
    done = subprocess.run(
        [NODE, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for found, array in zip(json.loads(done.stdout), expected, strict=True):
        # Normalization is in double precision between roundings there.
        np.testing.assert_allclose(
            found, array.ravel(), rtol=0, atol=2e-6 * np.abs(array).max()
        )


@pytest.mark.skipif(not NODE, reason="no node on the PATH")
def test_the_letterbox_is_darknets(tmp_path):
    wanted = Preprocessing("darknet", (32, 48), crop_fraction=1.0, letterbox=True)
    (tmp_path / "resample.mjs").write_text((WEB / "resample.js").read_text())
    for size in ((61, 97), (97, 61)):
        pixels = np.asarray(random_photo(*size))
        text = base64.b64encode(pixels.tobytes()).decode()
        (tmp_path / "run.mjs").write_text(f"""
import {{ prepare }} from "./resample.mjs";
const raw = new Uint8Array(Buffer.from("{text}", "base64"));
process.stdout.write(JSON.stringify(Array.from(
  prepare(raw, {size[0]}, {size[1]}, {json.dumps(settings(wanted))}))));
""")
        done = subprocess.run(
            [NODE, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        expected = resizing.letterbox(pixels, wanted.size, np)
        np.testing.assert_allclose(json.loads(done.stdout), expected.ravel(), atol=1e-3)


@pytest.mark.parametrize("io_dtype", ["int8"])
def test_litert_js_has_no_int8(io_dtype):
    with pytest.raises(InvalidArgument, match="io_dtype of browser-litert.*float32"):
        option_checks.check_io(targets.find("browser-litert"), targets.INT8, io_dtype)


def test_what_is_missing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(chromium, "find", lambda: "/a/chromium")
    monkeypatch.setenv("KERAS_RESNETS_NODE_MODULES", str(tmp_path))
    for name in ("browser-litert", "browser-onnx"):
        words = targets.find(name).missing()
        for package, release in browser_tools.PACKAGES[name].items():
            assert (
                f"npm install {package}@{release}" in words or f" {package}@" in words
            )
    for package, release in browser_tools.PACKAGES["browser-onnx"].items():
        (tmp_path / package).mkdir()
        place = tmp_path / package / "package.json"
        place.write_text(json.dumps({"version": release}))
        assert targets.find("browser-onnx").missing() is None
        place.write_text(json.dumps({"version": "0.1.0"}))
        assert "npm install" in targets.find("browser-onnx").missing()
    monkeypatch.setattr(chromium, "find", lambda: None)
    assert "apt install chromium" in targets.find("browser-onnx").missing()


@pytest.mark.costly
@pytest.mark.parametrize(
    ("target", "recipe"),
    [
        ("browser-litert", "static_wi8_ai8"),
        ("browser-litert", "float32"),
        ("browser-onnx", "float32"),
        ("browser-onnx", "static_wi8_ai8"),
    ],
)
def test_the_page_says_what_predict_says(target, recipe, shared_data, tmp_path):
    """Photos are given to the page as a user gives them, and its rows are read."""
    if browser_tools.missing(target):
        pytest.skip(browser_tools.missing(target))
    model = keras_resnets.create_model("resnet20", weights="cifar10")
    sheet = Image.open(shared_data / "cifar10" / "data_batch_1.png")
    cifar = np.asarray(sheet).reshape(-1, 32, 32, 3)[:60].astype("float32")
    images = model.preprocessing.batch(cifar, "channels_last")
    (made,) = deploy.deploy(model, target, tmp_path, images, recipe=recipe, compare=10)
    assert made.report["proven"] and made.report["agreement"] == 1
    assert made.report["outputs"]["other"] == 0
    names = [name for _, name in labels.class_names(10, model.labels)]
    scores = keras.Model(model.inputs, model.layers[-1].output)
    page_of = browser_tools.served(made.folder)
    with page_of as address, chromium.opened(chromium.find(), address) as page:
        browser.opened_in(page)
        for photo in sorted((shared_data / "photos").glob("*.jpg")):
            page.evaluate("document.body.dataset.state = 'waiting'")
            page.choose_file("#file", photo)
            page.wait("document.body.dataset.state === 'answered'")
            rows = page.evaluate(
                "Array.from(document.querySelectorAll('#answers li'), row => "
                "[row.querySelector('.name').textContent, "
                "row.querySelector('.score').textContent])"
            )
            expected = scores.predict_on_batch(
                loading.load_image(photo, model.preprocessing)[None]
            )[0]
            order = np.argsort(-expected)[:5]
            assert len(rows) == 5
            assert rows[0][0] == names[order[0]], photo
            if recipe == "float32":
                # Equal ones stand in any order.
                assert [float(row[1][:-2]) for row in rows] == pytest.approx(
                    100 * expected[order], abs=0.06
                )
        # The one photo that comes with the package: of the whole of it, a dog in front of
        # a house, a network of 32 x 32 pixels makes a cat.
        dog = Image.open(ROOT / "examples" / "dog.jpg").crop((60, 160, 320, 420))
        dog.save(tmp_path / "dog.png")
        page.choose_file("#file", tmp_path / "dog.png")
        place = os.environ.get("KERAS_RESNETS_SCREENSHOT")
        if place and target == "browser-litert" and recipe == "static_wi8_ai8":
            page.wait("document.querySelector('#answers .name').textContent === 'dog'")
            for kind, size in (
                ("", (640, 800)),
                ("_dark", (640, 800)),
                ("_phone", (360, 760)),
            ):
                png = page.screenshot(*size, dark=kind == "_dark")
                pathlib.Path(place.replace(".png", f"{kind}.png")).write_bytes(png)
