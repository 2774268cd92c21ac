"""Pages of --report: what is on them, that they are whole, and how a browser shows them."""

import argparse
import json
import os
import re
import types

import numpy as np
import pytest
from commands import refused
from commands import run

import keras_resnets
from keras_resnets import reports
from keras_resnets.cli.pages import page as cli_page
from keras_resnets.cli.pages import page_compare
from keras_resnets.cli.pages import page_training
from keras_resnets.deploy.toolchains import chromium
from keras_resnets.errors import InvalidArgument
from keras_resnets.export.compare import benchmark
from keras_resnets.reports import charts
from keras_resnets.reports import thumbnails
from keras_resnets.training.recipes import get_recipe

pytest.importorskip("matplotlib")
# What names of classes may be.
NAMES = (
    "<script>alert(1)</script>",
    "Übergröße & 日本語",
    "$x^{2}",
    "x" * 5000,
    "\x1b[2J",
)
browser = pytest.mark.skipif(
    chromium.find() is None, reason="Chromium is not on the PATH (apt install chromium)"
)


@pytest.fixture
def page():
    """A page with a block of every kind, and names of every mess."""
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 9, (5, 5))
    image = thumbnails.data_uri(rng.integers(0, 256, (300, 200, 3), dtype="uint8"))
    blocks = (
        reports.Text(NAMES[0]),
        reports.Lines(NAMES),
        reports.Tiles([(NAMES[0], NAMES[1])]),
        reports.Facts(list(zip(NAMES, NAMES, strict=True))),
        reports.Code([f"keras-resnets {NAMES[0]}"]),
        reports.Table(
            ("class", NAMES[0]), [(name, "1.5 ms") for name in NAMES], "Table"
        ),
        reports.Images([reports.Thumbnail(image, name, NAMES) for name in NAMES]),
        reports.Details("more", (reports.Text("inside"),)),
        charts.bars([(name, 1.0, name) for name in NAMES], "Bars"),
        charts.layers([(f"layer{i}", 10.0**-i, NAMES[0]) for i in range(9)], "Layers"),
        charts.lines(
            [0, 1], {NAMES[0]: [0.5, None], NAMES[2]: [0.25, np.inf]}, "Lines", "loss"
        ),
        charts.confusion(matrix, NAMES, "Confusion"),
        charts.confusion(np.eye(60, dtype=int), [""] * 60, "Many classes"),
        charts.reliability([(0.5, 0.4, 10), (1.0, 0.9, 30)], 0.1),
    )
    sections = (reports.Section("Everything <b>", blocks),)
    return reports.Page("A page & more", sections, "It is good.", True)


def test_all_is_escaped_and_nothing_is_fetched(page):
    text = page.html()
    assert "<script" not in text and "<b>" not in text and "\x1b" not in text
    assert "&lt;script&gt;" in text and "日本語" in text and "$x^{2}" in text
    assert len(text) < 400_000
    # Addresses are names of namespaces, or hold what they name.
    for address in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert address.startswith(("data:", "#")), address
    assert "default-src 'none'" in text and "url(http" not in text
    # Ids are those of one thing each.
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) and len(ids) > 50
    assert "#0a0b" not in text, "a colour that does not follow the page's"


def test_a_page_is_written_whole_or_not_at_all(page, tmp_path, monkeypatch):
    page.write(tmp_path / "a.html")
    first = (tmp_path / "a.html").read_text("utf-8")
    monkeypatch.setattr(os, "fsync", lambda descriptor: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reports.Page("other", ()).write(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text("utf-8") == first
    assert os.listdir(tmp_path) == ["a.html"]


def test_places(tmp_path):
    (tmp_path / "own.html").write_text("<html>a page of one's own</html>")
    (tmp_path / "own.json").write_text('{"model": "resnet20"}')
    for name in ("own.html", "own.json"):
        with pytest.raises(InvalidArgument, match="is not a report of keras_resnets"):
            reports.check_place(tmp_path / name)
    for name in ("a.pdf", "report", "a.html.gz"):
        with pytest.raises(
            InvalidArgument, match=r"must end in \.html \(a page\) or \.json"
        ):
            reports.check_place(tmp_path / name)
    with pytest.raises(InvalidArgument, match="there is no folder"):
        reports.check_place(tmp_path / "nowhere" / "a.html")
    (tmp_path / "d.html").mkdir()
    with pytest.raises(InvalidArgument, match="is a folder"):
        reports.check_place(tmp_path / "d.html")
    assert reports.check_place(tmp_path / "B.HTML").name == "B.HTML"


def test_thumbnails_of_other_channels_and_types():
    for shape in ((8, 8, 1), (8, 8, 7), (8, 8, 2)):
        assert thumbnails.data_uri(np.ones(shape, "float32")).startswith(
            "data:image/png"
        )
    bad = np.array([[[np.nan, np.inf, 0.0]]])
    assert thumbnails.data_uri(bad).startswith("data:image/png")
    large = thumbnails.data_uri(np.zeros((3000, 2000, 3), "uint8"))
    assert large.startswith("data:image/jpeg") and len(large) < 10_000


@pytest.mark.costly
@browser
def test_a_browser_shows_it(page, tmp_path):
    place = tmp_path / "a.html"
    page.write(place)
    with chromium.opened(chromium.find(), place.as_uri()) as shown:
        text, errors = look(shown)
        assert "Everything <b>" in text and NAMES[0] in text and "It is good." in text
        assert not errors


def look(shown):
    """(text, errors of the console) of a page that is shown in three ways."""
    shown.call("Log.enable")
    shown.call("Runtime.enable")
    shown.wait("document.readyState == 'complete'")
    pixels = []
    for width, dark in ((1100, False), (1100, True), (360, False)):
        pixels.append(shown.screenshot(width, 800, dark))
        wide = shown.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} pixels on a screen of {width}"
    assert len(set(pixels)) == 3 and all(x.startswith(b"\x89PNG") for x in pixels)
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert shown.evaluate(broken) == 0
    unnamed = (
        "document.querySelectorAll('img:not([alt]), svg:not([aria-label])').length"
    )
    assert shown.evaluate(unnamed) == 0
    text = shown.evaluate("document.body.innerText")
    told = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    return text, [event for event in shown.events if event["method"] in told]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A folder with a network of three classes with messy names, and labelled images."""
    folder = tmp_path_factory.mktemp("labelled")
    model = keras_resnets.create_model("resnet8", classes=3)
    model.labels = NAMES[:3]
    keras_resnets.export.to_keras(model, folder / "m.keras")
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (40, 32, 32, 3), dtype="uint8")
    labels = rng.integers(0, 2, 40)
    np.savez(
        folder / "d.npz", x_train=images, y_train=labels, x_test=images, y_test=labels
    )
    return folder


def test_evaluate(labelled, tmp_path, capsys):
    words = ("evaluate", labelled / "m.keras", "--data", labelled / "d.npz")
    code, out, _ = run(*words, "--report", tmp_path / "r.html", capsys=capsys)
    assert code == 0 and f"report       {tmp_path / 'r.html'}" in out
    text = (tmp_path / "r.html").read_text("utf-8")
    for part in (
        "Confusion matrix",
        "Reliability diagram",
        "ECE",
        "The most confident errors",
    ):
        assert part in text, part
    # Four tiles, and of each of at most 24 mistakes its label and the answer.
    count = text.count("data:image/png;base64")
    assert 0 < count <= 24 and text.count("<span>label: ") == count
    assert "keras-resnets evaluate" in text and "sha256" in text
    assert "<script" not in text and "日本語" in text
    # JSON is what --json prints, and one report replaces the other.
    for _ in range(2):
        code, out, _ = run(
            *words, "--json", "--report", tmp_path / "r.json", capsys=capsys
        )
        assert code == 0
        assert json.loads(out) == json.loads((tmp_path / "r.json").read_text("utf-8"))


def test_refused_before_the_work(labelled, tmp_path, capsys, monkeypatch):
    words = ("evaluate", labelled / "m.keras", "--data", labelled / "d.npz", "--report")
    line = refused(*words, tmp_path / "r.pdf", capsys=capsys)
    assert ".html (a page) or .json (the figures); got" in line
    assert "no folder" in refused(*words, tmp_path / "no" / "r.html", capsys=capsys)
    (tmp_path / "d.json").write_text("{}")
    taken = ("benchmark", labelled / "m.keras", "--output", tmp_path / "e.json")
    line = refused(*taken, "--report", tmp_path / "e.json", capsys=capsys)
    assert "is also --output" in line
    # Also that of the default output, and the plan.
    made = ("quantize", "resnet8", "--weights", "cifar10", "--data", labelled / "d.npz")
    for ending, what in ((".json", "passport"), (".plan.json", "plan")):
        place = tmp_path / f"q.tflite{ending}"
        more = ("--output", tmp_path / "q.tflite", "--report", place)
        assert f"is the {what} of" in refused(*made, *more, capsys=capsys)
        monkeypatch.chdir(tmp_path)
        place = f"resnet8_static_wi8_ai8.tflite{ending}"
        assert f"is the {what} of" in refused(*made, "--report", place, capsys=capsys)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    line = refused(*words, tmp_path / "r.html", capsys=capsys)
    assert "pip install 'keras-resnets[report]'" in line
    assert sorted(os.listdir(tmp_path)) == ["d.json"]


def test_a_command_that_fails_leaves_no_page(labelled, tmp_path, capsys):
    words = ("evaluate", labelled / "m.keras", "--data", tmp_path / "nothing.npz")
    refused(*words, "--report", tmp_path / "r.html", capsys=capsys)
    assert os.listdir(tmp_path) == []


@pytest.fixture
def figures(tmp_path):
    """A function that makes a page of what another adds to it, and its text."""

    def made(add):
        place = tmp_path / "made.html"
        with cli_page.collected(argparse.Namespace(report=place), "x", ()):
            add()
        return place.read_text("utf-8")

    return made


def test_a_benchmark_names_each_file_and_no_memory_that_is_not_known(figures, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.tflite").write_bytes(name.encode() * 1000)
    timings = [
        benchmark.Timing(str(tmp_path / f"{name}.tflite"), 0.1, 0.2, 1, 1, 0, 1000)
        for name in "ab"
    ]
    text = figures(lambda: page_compare.timings(timings))
    assert all(f"{tmp_path}/{name}.tflite, 1.00 kB" in text for name in "ab")
    assert "Peak memory" not in text and "Size of the file" in text


def test_losses_of_two_kinds_are_not_drawn_together(figures):
    history = [
        {"epoch": n, "loss": 12.0, "val_loss": 0.1, "accuracy": 1.0} for n in (1, 2)
    ]
    part = types.SimpleNamespace(count=2, skipped=(), labels=[0, 1])
    opened = types.SimpleNamespace(
        name="d.npz",
        classes=((0, "a"), (1, "b")),
        train=part,
        validation=None,
        test=None,
        is_multi_label=False,
    )
    made = types.SimpleNamespace(
        history=history,
        figures={"seconds": 1.0},
        folder=types.SimpleNamespace(path="run"),
    )
    recipe = get_recipe("qat")
    apart, together = (
        figures(
            lambda taught=taught: page_training.trained(made, recipe, opened, taught)
        )
        for taught in (True, False)
    )
    assert "Training loss (labels and teacher)" in apart
    assert "Validation loss (labels only)" in apart
    assert "labels and teacher" not in together and ">Loss<" in together
    # The axis of shares ends at 100.
    assert ">100<" in apart and ">102<" not in apart and ">104<" not in apart
