"""Full disks, small ones and places that take nothing: one line, nothing half-written."""

import json
import os
import stat
import threading
import zipfile

import h5py
import keras
import numpy as np
import pytest
from helpers import noise
from helpers import small_model

from keras_resnets.cli.main import main
from keras_resnets.errors import NotWritten
from keras_resnets.errors import TrainingError
from keras_resnets.export import to_tflite
from keras_resnets.graph.provenance import Provenance
from keras_resnets.io import files
from keras_resnets.io import keras_archive
from keras_resnets.training.run_folder import RunFolder

SHAPE = (16, 16, 3)


@pytest.fixture
def quota():
    """A function that says how many bytes any file may have from now on."""
    resource = pytest.importorskip("resource", reason="Windows has no such quota")
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("size", [0, 100, 3_000, 20_000])
def test_best_weights_on_a_full_disk(size, there, tmp_path, quota):
    """The HDF5 library alone would end the process here."""
    model = small_model("basic_original", input_shape=SHAPE)
    folder = RunFolder(tmp_path)
    if there:
        folder.weights("best").write_bytes(b"older")
    quota(size)
    with pytest.raises(TrainingError) as told:
        folder.write_weights("best", model, Provenance())
    quota(-1)
    kept = "the previous content was kept" if there else "nothing was written"
    line = f"{folder.weights('best')} could not be written: File too large; {kept}"
    assert str(told.value) == line
    assert [file.name for file in tmp_path.iterdir()] == ["best.weights.h5"] * there
    assert not there or folder.weights("best").read_bytes() == b"older"


def test_weights_made_in_memory_are_those_of_keras(tmp_path):
    model = small_model("basic_original", input_shape=SHAPE)
    keras_archive.write_weights(model, tmp_path / "ours", {"note": "x" * 5_000})
    (tmp_path / "ours").rename(tmp_path / "ours.weights.h5")
    with h5py.File(tmp_path / "ours.weights.h5") as file:
        assert file.attrs["note"] == "x" * 5_000
    other = small_model("basic_original", seed=1, input_shape=SHAPE)
    other.load_weights(tmp_path / "ours.weights.h5")
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    keras_archive.write_model(model, tmp_path / "a", {"note.json": "{}"})
    (tmp_path / "a").rename(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        assert archive.read("note.json") == b"{}"
    loaded = keras.saving.load_model(tmp_path / "a.keras", compile=False)
    images = noise(2, *SHAPE)
    np.testing.assert_array_equal(loaded.predict(images), model.predict(images))


def test_permissions_are_those_of_the_system_and_nobody_elses(tmp_path):
    """Threads that make files meanwhile get the same ones: the mask is never changed."""
    before, odd, stop = os.umask(0o027), [], threading.Event()

    def others():
        count = 0
        while not stop.is_set():
            count += 1
            place = tmp_path / f"other{count}"
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o666))
            odd.append(stat.S_IMODE(place.stat().st_mode))
            place.unlink()

    thread = threading.Thread(target=others)
    thread.start()
    try:
        for _ in range(300):
            with files.atomic_file(tmp_path / "a") as temporary:
                temporary.write_text("b")
    finally:
        stop.set()
        thread.join()
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert set(odd) == {0o640}


def test_only_errors_of_the_file_itself_are_told_as_such(tmp_path):
    with pytest.raises(FileNotFoundError, match="photo.jpg"):
        with files.atomic_file(tmp_path / "a"):
            open(tmp_path / "photo.jpg")
    with pytest.raises(BrokenPipeError):
        with files.atomic_file(tmp_path / "a"):
            raise BrokenPipeError
    with pytest.raises(NotWritten, match="a could not be written: No space"):
        with files.atomic_file(tmp_path / "a"):
            raise OSError(28, "No space left on device")
    with pytest.raises(NotWritten, match="TMPDIR names the folder.*No space"):
        with files.atomic_file(tmp_path / "a"), files.scratch_folder():
            raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_long_as_a_file_system_takes(tmp_path):
    place = tmp_path / ("ü" * 120)
    with files.atomic_file(place) as temporary:
        temporary.write_text("whole")
    assert place.read_text() == "whole"


@pytest.mark.costly
def test_a_second_output_that_fails_says_that_the_first_stands(tmp_path, quota, capsys):
    to_tflite(small_model("basic_original", input_shape=SHAPE), tmp_path / "a.tflite")
    words = ["benchmark", str(tmp_path / "a.tflite"), "--runs", "2"]
    words += ["--output", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]
    quota(5_000)
    code = main(words)
    quota(-1)
    told = (
        f"a.png could not be written: File too large; {tmp_path / 'a.json'} was written"
    )
    assert code == 1 and told in capsys.readouterr().err
    assert json.loads((tmp_path / "a.json").read_text())
    assert not (tmp_path / "a.png").exists()
