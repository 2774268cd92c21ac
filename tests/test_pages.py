"""The Python of docs/*.md runs as it stands, page by page, in a folder with its data."""

import re
import shutil

import numpy as np
import pytest
import quantized
from conftest import ROOT
from PIL import Image

# A trained network with few layers, where all of them are searched.
SMALL = "mlperf_tiny/pretrainedResnet.h5"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
PAGES = {
    page.stem: blocks
    for page in sorted((ROOT / "docs").glob("*.md"))
    if (blocks := BLOCK.findall(page.read_text(encoding="utf-8")))
}


@pytest.fixture
def folder(tmp_path, monkeypatch, shared_data):
    """The current folder, with files of the names that the pages use."""
    monkeypatch.chdir(tmp_path)
    x, y = quantized.cifar(shared_data, count=1020)
    np.savez("cifar10.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    shutil.copy(ROOT / "examples" / "dog.jpg", "dog.jpg")
    for name, kind in (("deer", 4), ("dog", 5)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index, pixels in enumerate(x[y == kind][:70]):
            Image.fromarray(pixels).save(f"photos/{name}/{index}.png")
    downloaded = tmp_path / "dogs-vs-cats" / "train"
    downloaded.mkdir(parents=True)
    for name in ("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog (3).jpg"):
        Image.fromarray(x[0]).save(downloaded / name)
    shutil.copy(shared_data / SMALL, "small.h5")
    return tmp_path


@pytest.mark.costly_but("explain", "reports", "weights")
@pytest.mark.parametrize(
    "page",
    [
        # Searches, and trains in the worker of tensorflow-model-optimization.
        pytest.param(page, marks=(pytest.mark.slow,) * (page == "compression"))
        for page in PAGES
    ],
)
def test_python_of_a_page(page, folder):
    if page == "targets":
        pytest.importorskip("tflite_micro", reason="proves the microcontroller's file")
    session = {}
    for block in PAGES[page]:
        once = re.sub(r"epochs=\d+", "epochs=1", block)
        if page == "compression":
            small = '"resnet8", weights="small.h5"'
            once = re.sub('"resnet20", weights="[^"]+"', small, once)
        exec(compile(once, f"docs/{page}.md", "exec"), session)
    for name in re.findall(r'"([\w-]+\.(?:tflite|png|html))"', "".join(PAGES[page])):
        assert (folder / name).stat().st_size > 100, name
