"""What all tests share: quiet logs, seeds, a fresh Keras session, the shared data."""

import contextlib
import gc
import os
import pathlib
import subprocess

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow's default on x86 with VNNI only: the same kernels are tested everywhere.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# JAX compiles for longer than the tests run: LLVM need not try hard.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

import costs
import keras
import numpy as np
import parts
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def pytest_configure(config):
    if folder := os.environ.get(costs.FOLDER):
        config.pluginmanager.register(costs.Costs(folder))
    if minutes := os.environ.get(parts.MINUTES):
        config.pluginmanager.register(parts.Budget(minutes))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    unknown = parts.mark_costly(items)
    # Of a test that is called by its id alone, the other parameters are not here.
    if unknown and not any("::" in word for word in config.args):
        raise pytest.UsageError("\n".join(unknown))


def pytest_collection_finish(session):
    """What was imported stays: no collection of garbage need go through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_session():
    keras.backend.clear_session(free_memory=False)
    # TensorFlow's converter collects garbage itself, again and again. What the tests
    # before have left for good is no garbage: it need not be gone through each time.
    gc.collect()
    gc.freeze()
    keras.utils.set_random_seed(7)
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data; absent for a user of the published package."""
    folder = pathlib.Path(
        os.environ.get("KERAS_RESNETS_DATA", ROOT.parent / "shared/data")
    )
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (set KERAS_RESNETS_DATA)")
    return folder


@pytest.fixture(scope="session")
def foreign_files(tmp_path_factory):
    """A folder of files that other people's tools wrote; see tests/README.md."""
    python = os.environ.get("KERAS_RESNETS_TORCH_PYTHON")
    if not python:
        pytest.skip(
            "no foreign tools (set KERAS_RESNETS_TORCH_PYTHON, tests/README.md)"
        )
    base = tmp_path_factory.getbasetemp()
    # With -n each worker has a folder of its own inside that of the run.
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "foreign"
    with _locked(base / "foreign.lock"):
        if not (folder / "logits.npz").is_file():
            script = [python, ROOT / "tests" / "foreign" / "write.py", folder]
            clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            done = subprocess.run(script, capture_output=True, text=True, env=clean)
            if done.returncode:
                pytest.fail(f"the foreign tools wrote nothing: {done.stderr[-2000:]}")
    return folder


@contextlib.contextmanager
def _locked(path):
    import fcntl

    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def photos(tmp_path):
    """A folder of small made-up photos, for tests that must run everywhere."""
    from PIL import Image

    rng = np.random.default_rng(3)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(6):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype="uint8")
        Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC).save(
            folder / f"{index}.png"
        )
    return folder


@pytest.fixture
def site():
    """A server on this machine with one file, at `site.url`."""
    import local_server
    import store_site

    with local_server.running() as (address, made):
        made.files["/a.pth"] = store_site.CONTENT
        made.url = f"{address}/a.pth"
        made.address = address
        yield made


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of downloads of the test's own."""
    monkeypatch.setenv("KERAS_RESNETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_RESNETS_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def untraced():
    """Steps as they come, where they are no part of the claim: tracing takes longer."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
