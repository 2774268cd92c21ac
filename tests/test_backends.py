"""The same network on the JAX and PyTorch backends, without TensorFlow."""

import importlib.util
import os
import subprocess
import sys

import backend_probe
import numpy as np
import pytest
from conftest import ROOT


@pytest.mark.costly
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backend(backend, tmp_path):
    python = sys.executable
    if importlib.util.find_spec(backend) is None:
        # The environment of the foreign tools has torch; tests/README.md.
        python = os.environ.get("KERAS_RESNETS_TORCH_PYTHON")
        if backend != "torch" or not python:
            pytest.skip(f"{backend} is not installed")
    path = tmp_path / "outputs.npz"
    done = subprocess.run(
        [python, ROOT / "tests" / "backend_probe.py", path],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = np.load(path)
    for kind, ours in backend_probe.predictions().items():
        np.testing.assert_allclose(theirs[kind], ours, atol=2e-5, err_msg=kind)


@pytest.mark.costly
def test_preprocessing_within_tf_data(photos):
    """`dataset.map(preprocess_input)` hands over TensorFlow's tensors on every backend."""
    for name in ("a", "b"):
        (photos / name).mkdir()
    for index, path in enumerate(sorted(photos.glob("*.png"))):
        path.rename(photos / "ab"[index % 2] / path.name)
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "tf_data_probe.py", photos],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]
