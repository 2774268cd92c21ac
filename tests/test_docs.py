"""What the documentation says is true: its examples run, its names and files exist."""

import doctest
import importlib
import inspect
import pkgutil
import re
import runpy
import sys
import types

import pytest
from commands import run_example
from conftest import ROOT

import keras_resnets
from keras_resnets.export import recipes

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(keras_resnets.__path__, "keras_resnets.")
    if not module.name.endswith("__main__")
)
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
]


# The examples of the model functions build ninety networks, from one docstring.
FUNCTIONS = [
    f"keras_resnets.models.{path.stem}"
    for path in (ROOT / "keras_resnets" / "models").glob("*.py")
    if path.stem not in ("registry", "creation")
]


# Examples that export, quantize or search.
COSTLY = [
    f"keras_resnets.{name}"
    for name in (
        "deploy.session",
        "export.compare.classifier",
        "export.compare.inspection",
        "export.compare.isolated",
        "export.keras.convert",
        "export.keras.runner",
        "export.onnx.contents",
        "export.saved_model.convert",
        "export.tflite.contents",
        "quantization.ptq",
        "quantization.search.mixed_precision",
        "quantization.search.sensitivity",
    )
]


def cost(name):
    return (pytest.mark.costly,) if name in COSTLY else ()


@pytest.mark.parametrize(
    "name",
    [
        "keras_resnets",
        *(
            pytest.param(
                name, marks=pytest.mark.slow if name in FUNCTIONS else cost(name)
            )
            for name in MODULES
        ),
    ],
)
def test_examples_in_docstrings(name):
    if name == "keras_resnets.networks.torch_ops":
        pytest.importorskip("torch", reason="the package does not depend on torch")
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


def test_costly_examples_are_in_modules():
    assert set(COSTLY) <= set(MODULES)


def test_example_of_a_model_function():
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for example in finder.find(keras_resnets.ResNeXt50, "ResNeXt50"):
        assert runner.run(example).attempted >= 3
    assert runner.summarize().failed == 0


@pytest.mark.parametrize("name", keras_resnets.__all__)
def test_public_names_are_documented(name):
    thing = getattr(keras_resnets, name)
    text = inspect.getdoc(thing)
    assert text, name
    if inspect.isfunction(thing):
        assert "Example:" in text and "Returns:" in text, name
        documented = set(re.findall(r"^    \*{0,2}(\w+):", text, re.MULTILINE))
        wanted = set(inspect.signature(thing).parameters)
        assert wanted <= documented | set(re.findall(r"`(\w+)`", text)), (name, wanted)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_of_a_page(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target
    for path in re.findall(
        r"`((?:keras_resnets|export|tests|benchmarks|docs|examples)/[\w./]+)`", text
    ):
        assert (ROOT / path).exists(), path


def test_python_in_the_readme(tmp_path, monkeypatch):
    """The README's Python blocks run, one after the other, as one session."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    session = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), session)


def test_variants_in_the_readme():
    """The README's table of families names every family, and only what there is."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"keras_resnets\.([A-Z]\w+)", text):
        assert name in keras_resnets.__all__, name
    for name in set(re.findall(r"--model (\w+)", text)):
        assert keras_resnets.get_architecture(name)


def test_ci_runs_the_tests_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (command,) = set(re.findall(r"python -m pytest[^\n`]*", readme))
    assert command in ci


def test_commits_are_checked_by_the_ruff_of_setup():
    (pinned,) = re.findall(r'"(ruff[^"]+)"', (ROOT / "setup.py").read_text("utf-8"))
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    assert re.findall(r'"(ruff[^"]+)"', hooks) == [pinned, pinned]


@pytest.mark.costly
def test_example_that_trains_and_exports(tmp_path):
    """A network that has learned something, before and after int8."""
    out = run_example("train_and_export.py", cwd=tmp_path)
    keras_accuracy, int8_accuracy = map(float, re.findall(r"([\d.]+)%", out))
    assert keras_accuracy > 90 and abs(keras_accuracy - int8_accuracy) < 2
    assert (tmp_path / "resnet8_int8.tflite").exists()


@pytest.mark.costly_but("train_cifar10")
@pytest.mark.parametrize(
    "name, said",
    [
        ("train_cifar10", r"test accuracy \d+\.\d+%\nweights in .*best.weights.h5"),
        ("finetune_photos", r"\d+ photos of disc, square, triangle[\s\S]*RGB bytes"),
        ("distill", r"student's test accuracy \d+"),
        ("feature_pyramid", r"the right one of 64 cells: \d+%"),
        ("train_distributed", r"2 processes: test accuracy \d+"),
    ],
)
def test_smoke_of_examples(name, said, tmp_path):
    found = run_example(f"{name}.py", "--smoke", cwd=tmp_path)
    assert re.search(said, found), found


@pytest.mark.costly
def test_example_of_new_variants(tmp_path):
    out = run_example("add_a_variant.py", cwd=tmp_path)
    assert "25,557,032     4,089      32" in out and "19,079       8" in out


def test_page_of_exports_has_the_structure_of_its_script(monkeypatch):
    """Every network and format of the script, in its columns, with figures."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / "exports_table.py"))
    page = (ROOT / "docs" / "exports.md").read_text("utf-8")
    assert page.startswith(script["HEAD"])
    sections = page.split("\n## ")[1:]
    assert [text.partition("\n")[0] for text in sections] == list(script["NETWORKS"])
    formats = [
        script["label"](form, recipes.format_of(recipe))
        for form, recipe, _ in script["FORMATS"]
    ]
    for text in sections:
        header, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
        assert header == f"| {' | '.join(script['HEADERS'])} |"
        assert [row[0] for row in cells] == formats
        assert all(len(row) == len(script["HEADERS"]) and all(row) for row in cells)
        for form, size, error, *_ in cells:
            assert float(size.replace(",", "")) > 0
            # A SavedModel has no logits to compare.
            assert error == "-" if "saved_model" in form else 0 <= float(error) < 1


def test_the_model_cards_are_current(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / "model_cards.py"))
    assert script["page"]() == (ROOT / "docs" / "model_cards.md").read_text("utf-8")


def test_the_papers_tables_are_current_and_compare_as_the_page_says(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / "papers.py"))
    results = script["common"].csv_rows(script["RESULTS"])
    page = (ROOT / "docs" / "papers.md").read_text("utf-8")
    assert page.startswith(script["page"](results))
    # Three seeds of errors 8.6, 8.8, 9.0: 8.80 with a standard error of 0.12.
    runs = [
        {"training": f"resnet20_he2015_s{seed}", "top1": str(top1)}
        for seed, top1 in enumerate((91.4, 91.2, 91.0))
    ]
    assert "| 8.75 | ResNet-20 | 8.80 ± 0.12 | resnet20 | 3 | agrees |" in script[
        "page"
    ](runs)
    far = [{**run, "top1": f"{float(run['top1']) - 1:.1f}"} for run in runs]
    assert "differs by +1.05" in script["page"](far)
    assert "one run" in script["page"](runs[:1])


def test_images_of_the_readme_are_on_the_site(monkeypatch):
    files = types.ModuleType("mkdocs.structure.files")
    files.File = types.SimpleNamespace(generated=lambda config, path, content: content)
    for name in ("mkdocs", "mkdocs.structure"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, files.__name__, files)
    hooks = runpy.run_path(str(ROOT / "docs" / "site" / "hooks.py"))
    pages = hooks["on_files"]([], None)
    first = next(page for page in pages if page.startswith("# keras_resnets"))
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", first)
    assert images and all((ROOT / "docs" / image).is_file() for image in images), images
