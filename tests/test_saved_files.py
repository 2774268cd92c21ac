"""Files that earlier versions wrote still load: their layers keep registered names."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

TESTS = pathlib.Path(__file__).parent
SAVED = TESTS / "data" / "saved"
LOAD = """
import sys
import keras, keras_resnets
model = keras.models.load_model(sys.argv[1])
import numpy as np
stored = np.load(sys.argv[2])
np.save("found.npy", model.predict(stored["images"], verbose=0))
"""
RESUME = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import make_saved
data = make_saved.labelled(pathlib.Path("data.npz"))
make_saved.train("run", data, epochs=2, resume=True)
"""


def python(folder, script, *arguments):
    """In a process of its own, which has imported nothing yet."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.costly_but("float")
@pytest.mark.parametrize("name", ["float", "aware"])
def test_models_of_earlier_versions_load_in_a_new_process(name, tmp_path):
    python(tmp_path, LOAD, SAVED / f"{name}.keras", SAVED / "expected.npz")
    expected = np.load(SAVED / "expected.npz")[name]
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.costly
def test_runs_of_earlier_versions_go_on(tmp_path):
    shutil.copytree(SAVED / "run", tmp_path / "run")
    python(tmp_path, RESUME, TESTS / "data")
    before = (SAVED / "run" / "history.csv").read_text().splitlines()
    after = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert after[: len(before)] == before and len(after) == len(before) + 1
