"""The notebooks of examples/ run, cell by cell, and hold what they printed."""

import json
import os

import matplotlib
import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
# The others print sizes, versions and accuracies, which are not the same everywhere.
EXACT = ("1_choose_and_build",)


def cells(path):
    """(source, text that it printed) of the cells with code."""
    content = json.loads(path.read_text("utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            printed = [o for o in cell["outputs"] if o["output_type"] == "stream"]
            yield (
                "".join(cell["source"]),
                "".join("".join(output["text"]) for output in printed),
            )


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_has_run(path):
    content = json.loads(path.read_text("utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    order = [cell["execution_count"] for cell in code]
    assert order == list(range(1, len(code) + 1))
    assert not any("traceback" in o for cell in code for o in cell["outputs"])


@pytest.mark.costly
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("TMPDIR", os.fspath(tmp_path))
    monkeypatch.syspath_prepend(path.parents[1])
    matplotlib.use("agg")
    names = {"__name__": "__main__"}
    for source, printed in cells(path):
        capsys.readouterr()
        exec(compile(source, path.name, "exec"), names)
        now = capsys.readouterr().out
        if path.stem in EXACT:
            assert now == printed
        else:
            assert bool(now) == bool(printed)
