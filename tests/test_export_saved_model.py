"""SavedModel: loads without this package, serves what the model says."""

import importlib.util

import forks
import numpy as np
import pytest
from helpers import noise
from helpers import outputs
from helpers import small_model

from keras_resnets import ExportError
from keras_resnets import InvalidArgument
from keras_resnets import Preprocessing
from keras_resnets.cli import main as cli
from keras_resnets.export import number_formats
from keras_resnets.export import to_saved_model
from keras_resnets.export.compare import inspection
from keras_resnets.export.compare.open_runner import open_runner

SHAPE = (33, 33, 3)
KINDS = (
    "bottleneck_original bottleneck_full_preact grouped dilated_grouped darknet "
    "shortcut_a shortcut_d drn_conv bare_stem"
).split()


@pytest.mark.costly
@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind, tmp_path):
    model = small_model(kind, input_shape=SHAPE)
    report = to_saved_model(model, tmp_path / "a b ü", images=noise(3, *SHAPE))
    assert report.outputs.max_error <= 1e-5
    assert report.input_shape == (None, *SHAPE)
    assert not any("SpaceToBatch" in name for name in report.operators)
    # Each variable once: model.export() writes it twice.
    assert report.size < 4.2 * model.count_params() + 2_000_000
    pictures = noise(5, *SHAPE)
    found = open_runner(report.path)(pictures)
    np.testing.assert_allclose(found, outputs(model, pictures), atol=1e-5)


LOADED = """
import sys
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
functions = loaded.signatures["serving_default"].graph.as_graph_def().library.function
assert not any(f.attr["_XlaMustCompile"].b for f in functions)
pixels = np.load(sys.argv[2])
serve = loaded.signatures["serving_uint8"]
np.save(sys.argv[2], serve(image=tf.constant(pixels))["predictions"])
assert "keras_resnets" not in sys.modules
"""


def test_alone_and_from_pixels(tmp_path):
    model = small_model("dilated_grouped", input_shape=SHAPE)
    wanted = Preprocessing("caffe", SHAPE[:2])
    to_saved_model(model, tmp_path / "a", preprocessing=wanted)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("uint8")
    np.save(tmp_path / "b.npy", pixels)
    (tmp_path / "loaded.py").write_text(LOADED)
    done = forks.run_script(tmp_path / "loaded.py", "a", "b.npy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = outputs(model, wanted.normalize(pixels))
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), expected, atol=1e-5)


CORE_ML = """
import sys
import coremltools
made = coremltools.convert(sys.argv[1], source="tensorflow", convert_to="mlprogram")
print([port.name for port in made.get_spec().description.input])
"""


@pytest.mark.costly
def test_core_ml_takes_the_folder(tmp_path):
    """coremltools takes a SavedModel of one function alone."""
    model = small_model("basic_original", input_shape=SHAPE)
    report = to_saved_model(model, tmp_path / "a", batch=1)
    loaded = inspection.inspect(report.path)
    assert list(loaded.signatures) == ["serving_default"]
    if not importlib.util.find_spec("coremltools"):
        pytest.skip("coremltools is not installed")
    (tmp_path / "core_ml.py").write_text(CORE_ML)
    done = forks.run_script(tmp_path / "core_ml.py", "a", cwd=tmp_path)
    assert done.returncode == 0 and "['image']" in done.stdout, done.stderr


@pytest.mark.costly
def test_inspect_shows_every_signature(tmp_path, capsys):
    model = small_model("basic_original", input_shape=SHAPE)
    wanted = Preprocessing("caffe", SHAPE[:2])
    to_saved_model(model, tmp_path / "a", preprocessing=wanted, batch=2)
    found = inspection.inspect(tmp_path / "a").signatures
    assert list(found) == ["serving_default", "serving_uint8"]
    for name, dtype in (("serving_default", "float32"), ("serving_uint8", "uint8")):
        (given,), (made,) = found[name]
        assert (given.name, given.shape, given.dtype) == ("image", (2, *SHAPE), dtype)
        assert (made.name, made.shape) == ("predictions", (2, 10))
    assert cli.main(["inspect", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "signature  serving_default" in said and "signature  serving_uint8" in said


def test_inspect_of_a_savedmodel_of_others(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.half = tf.function(lambda x: {"half": x / 2}, [tf.TensorSpec((None, 3))])
    tf.saved_model.save(module, str(tmp_path / "a"), {"halve": module.half})
    found = inspection.inspect(tmp_path / "a")
    assert list(found.signatures) == ["halve"] and found.outputs[0].name == "half"
    tf.saved_model.save(module, str(tmp_path / "b"), {})
    with pytest.raises(InvalidArgument, match="without a signature"):
        inspection.inspect(tmp_path / "b")


@pytest.mark.costly
def test_what_is_replaced_and_what_is_not(tmp_path, monkeypatch):
    model = small_model("basic_original", input_shape=SHAPE)
    path = tmp_path / "a"
    to_saved_model(model, path, batch=2)
    with pytest.raises(InvalidArgument, match="exists; --overwrite"):
        to_saved_model(model, path)
    report = to_saved_model(model, path, overwrite=True)
    assert report.input_shape[0] is None
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(InvalidArgument, match="is not replaced"):
        to_saved_model(model, tmp_path / "mine", overwrite=True)
    strict = number_formats.NumberFormat(
        "none", "float32", number_formats.Tolerance(-1.0, per_logit=-1.0)
    )
    monkeypatch.setitem(number_formats.NUMBER_FORMATS, "none", strict)
    with pytest.raises(ExportError, match="differs from the model"):
        to_saved_model(model, path, overwrite=True)
    assert open_runner(path).input_shape == (None, *SHAPE)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "a",
        "a.json",
        "mine",
    ]
