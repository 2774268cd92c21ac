"""What can go wrong around an export: kills, full disks, races, strange pictures."""

import logging
import signal
import threading
import time
import warnings

import forks
import keras
import numpy as np
import pytest
from helpers import ONE_UNIT
from helpers import noise
from helpers import outputs
from helpers import small_model
from PIL import Image

from keras_resnets import ExportError
from keras_resnets import InvalidArgument
from keras_resnets import export
from keras_resnets.cli import main as cli
from keras_resnets.export import passport
from keras_resnets.export import random_weights
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.io import files
from keras_resnets.quantization.plan import PrecisionPlan

SHAPE = (32, 32, 3)
ENDINGS = {
    "to_tflite": ".tflite",
    "to_onnx": ".onnx",
    "to_saved_model": "",
    "to_keras": ".keras",
}


def exporting(connection, write, path):
    """Exports to `path` for each word that it gets, and answers.

    The word is `whole`, `midway` (to stop where the file is complete and not yet in
    its place) or the most bytes that a file may have.
    """
    import resource

    def midway(*arguments):
        connection.send("midway")
        connection.recv()

    export_to = getattr(export, write)
    model = small_model("basic_original", input_shape=SHAPE)
    export_to(model, path.with_name(f"warm{ENDINGS[write]}"))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    connection.send("ready")
    while True:
        word = connection.recv()
        if word == "midway":
            passport.write = midway
        elif word != "whole":
            resource.setrlimit(resource.RLIMIT_FSIZE, (word, limits[1]))
        try:
            export_to(model, path, overwrite=True)
            connection.send("done")
        except Exception as error:
            connection.send(type(error).__name__)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def start(write, path):
    """A process that is `exporting`, and the connection to it."""
    pytest.importorskip("resource", reason="Windows has no quota for a process")
    ours, theirs = forks.CONTEXT.Pipe()
    process = forks.start(exporting, theirs, write, path)
    theirs.close()
    assert ours.recv() == "ready"
    return process, ours


def end(process):
    process.kill()
    process.join()


def check_whole_or_absent(path):
    """Whether it is there; then it runs, and a passport, if any, is its own."""
    if not path.exists():
        return False
    assert open_runner(path)(noise(1, *SHAPE)).shape == (1, 10)
    passport.read(path)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("write", ENDINGS)
def test_killed_at_any_moment(write, tmp_path):
    """Twenty kills spread over an export: the file is whole, or there is none."""
    duration, there = None, []
    for attempt in range(-1, 20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        path = folder / f"a{ENDINGS[write]}"
        process, connection = start(write, path)
        connection.send("whole")
        begin = time.perf_counter()
        if duration is None:
            assert connection.recv() == "done"
            duration = time.perf_counter() - begin
        else:
            # Beyond the end too, on a machine that has become slower.
            time.sleep(duration * 1.3 * attempt / 19)
        end(process)
        there.append(check_whole_or_absent(path))
    assert there[0] and 5 < there.count(False) < 20


@pytest.mark.costly_but("to_tflite")
@pytest.mark.parametrize("write", ENDINGS)
def test_a_full_disk_and_a_kill(write, tmp_path):
    """No file may grow beyond a quota: one clear error, and nothing is left.

    Then the same process is killed where the file is whole but not in its place.
    """

    def left():
        return [e.name for e in tmp_path.iterdir() if not e.name.startswith("warm")]

    path = tmp_path / f"a{ENDINGS[write]}"
    process, connection = start(write, path)
    for quota in (1_000, 20_000):
        connection.send(quota)
        assert connection.recv() in ("ExportError", "OSError", "NotWritten")
        assert left() == []
    connection.send("midway")
    assert connection.recv() == "midway"
    end(process)
    assert left() and all(name.startswith(".a") for name in left())


def test_two_at_a_time(tmp_path):
    """Both finish, one of them stays, its passport is its own, and nothing is left on."""
    before = logging.getLogger("tf2onnx").level, list(warnings.filters)
    models = [
        small_model("basic_original", seed, input_shape=SHAPE, axes=ONE_UNIT)
        for seed in (0, 1)
    ]
    path = tmp_path / "a.onnx"
    threads = [
        threading.Thread(target=to_onnx, args=(model, path), kwargs={"overwrite": True})
        for model in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (logging.getLogger("tf2onnx").level, list(warnings.filters)) == before
    assert passport.read(path)["format"] == "onnx"
    found = open_runner(path)(noise(1, *SHAPE))
    assert any(
        np.allclose(found, outputs(model, noise(1, *SHAPE)), atol=1e-5)
        for model in models
    )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "a.onnx",
        "a.onnx.json",
    ]


@pytest.mark.parametrize("write", [to_tflite, to_saved_model])
def test_a_file_that_came_meanwhile_stays(write, tmp_path, monkeypatch):
    model = small_model("basic_original", input_shape=SHAPE, axes=ONE_UNIT)
    path = tmp_path / f"a{ENDINGS[write.__name__]}"
    real = passport.write

    def late(*arguments):
        real(*arguments)
        path.write_text("somebody else's")

    monkeypatch.setattr(passport, "write", late)
    with pytest.raises(InvalidArgument, match="exists; --overwrite"):
        write(model, path)
    assert path.read_text() == "somebody else's"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.costly
def test_an_old_passport_does_not_outlive_its_file(tmp_path):
    model = small_model("basic_original", input_shape=SHAPE, axes=ONE_UNIT)
    to_tflite(model, tmp_path / "a.tflite")
    other = small_model("basic_original", seed=1, input_shape=SHAPE, axes=ONE_UNIT)
    to_tflite(other, tmp_path / "a.tflite", overwrite=True)
    assert passport.read(tmp_path / "a.tflite")["format"] == "tflite"


@pytest.mark.parametrize(
    ("text", "is_left"),
    [
        (PrecisionPlan("static_wi8_ai8").to_json(), False),
        ('\ufeff{"schema": "keras_resnets.precision_plan", "layers": 5}', False),
        ('{"schema": "mine"}', True),
        ("not JSON", True),
        ("[" * 100_000, True),
    ],
    ids=["plan", "edited", "foreign", "text", "nested"],
)
def test_a_plan_does_not_outlive_its_file(text, is_left, tmp_path):
    path, plan = tmp_path / "a.tflite", tmp_path / "a.tflite.plan.json"
    plan.write_text(text, "utf-8")
    for has_replaced in (False, True):
        landing = files.atomic_file(path)
        with passport.beside(path, has_replaced, landing) as (file, proof):
            file.write_bytes(b"file")
            proof.write_text("passport")
        assert plan.exists() is (is_left or not has_replaced)


@pytest.mark.parametrize("write", [to_tflite, to_onnx, to_saved_model])
def test_places(write, tmp_path):
    """Spaces and other alphabets are fine; a folder that takes nothing is told."""
    model = small_model("basic_original", input_shape=SHAPE, axes=ONE_UNIT)
    folder = tmp_path / "Bilder für 学校"
    folder.mkdir()
    path = folder / f"a b é{ENDINGS[write.__name__]}"
    write(model, path)
    assert check_whole_or_absent(path)
    with pytest.raises(InvalidArgument, match="there is no folder"):
        write(model, tmp_path / "missing" / path.name)
    with pytest.raises(InvalidArgument, match="not writable"):
        write(model, f"/proc/{path.name}")


@pytest.mark.parametrize("write", [to_tflite, to_onnx], ids=["tflite", "onnx"])
def test_calibration_without_a_range(write, tmp_path):
    """A tensor that was always zero has no range; nothing divides by it."""
    model = small_model("basic_original", input_shape=SHAPE, axes=ONE_UNIT)
    # A dead channel, and a dead tensor: ReLU of negative numbers alone.
    layer = model.get_layer("stage1_block1_bn1")
    layer.gamma.assign(0 * layer.gamma)
    layer.beta.assign(0 * layer.beta - 1)
    pictures, path = noise(1, *SHAPE), tmp_path / f"a{ENDINGS[write.__name__]}"
    with pytest.warns(UserWarning, match="computed from 1 images"):
        report = write(model, path, "int8", calibration=pictures)
    found = open_runner(report.path)(pictures[:1])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, outputs(model, pictures[:1]), atol=0.05)
    for value in (0.0, 0.7):
        with pytest.raises(InvalidArgument, match="a single colour; all of them are"):
            write(model, path, "int8", np.full((4, *SHAPE), value), overwrite=True)


@pytest.mark.costly
def test_calibration_with_pictures_of_every_mode(tmp_path, capsys):
    """Those that can be read are taken as RGB, turned upright; the others are named."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    colour = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype="uint8"))
    for mode, ending in (("L", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("P", "gif")):
        colour.convert(mode).save(folder / f"{mode}.{ending}")
    deep = rng.integers(0, 65536, (40, 50), dtype="uint16")
    Image.fromarray(deep).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    colour.save(folder / "turned.jpg", exif=exif)
    content = (folder / "turned.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").write_bytes(b"")
    words = ["export", "tflite", "--model", "resnet8", "--quantize", "int8"]
    words += ["--calibration", folder, "--output", tmp_path / "a.tflite"]
    assert cli.main(list(map(str, words))) == 0
    said = capsys.readouterr().out
    assert "6 images" in said and "2 skipped, unreadable" in said
    assert "cut.jpg" in said and "empty.png" in said


def test_a_file_that_its_runtime_refuses(tmp_path):
    """The converter is content, LiteRT is not: an error, and no file."""
    import tensorflow as tf

    class Fourier(keras.layers.Layer):
        def call(self, inputs):
            return tf.math.real(tf.signal.fft(tf.cast(inputs, "complex64")))

    image = keras.Input((8, 8, 4))
    model = keras.Model(image, keras.layers.Flatten()(Fourier()(image)), name="mine")
    with pytest.raises(ExportError, match="mine cannot be loaded in its runtime"):
        to_tflite(model, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.costly
def test_models_stay_as_they_were(tmp_path):
    """The exporters change neither the model nor its statistics."""
    model = small_model("grouped", input_shape=SHAPE, axes=ONE_UNIT)
    random_weights.settle(model, noise(4, *SHAPE))
    before = [np.array(weight) for weight in model.get_weights()]
    for write in (to_tflite, to_onnx, to_saved_model):
        write(model, tmp_path / f"a{ENDINGS[write.__name__]}")
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
