"""The queue of trainings for a lent accelerator (benchmarks/accelerator_queue.py)."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

# Padded shortcuts; groups of channels.
NETWORKS = ("resnet8", "resnext20_4x16d_w16")


@pytest.mark.costly
@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="jax is not installed")
def test_stacked_networks_compute_what_each_computes_alone():
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "stacked_probe.py", *NETWORKS],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    differences = json.loads(done.stdout.splitlines()[-1])
    assert set(differences) == set(NETWORKS)
    # Rounding differs by up to 2e-4, a channel in the wrong place by about 1.
    assert max(differences.values()) < 1e-3, differences
