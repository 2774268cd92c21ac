"""SavedModel: loads without this package, serves what the model says."""

import forks
import numpy as np
import pytest
from helpers import noise
from helpers import outputs
from helpers import small_model

from keras_resnets import ExportError
from keras_resnets import InvalidArgument
from keras_resnets import Preprocessing
from keras_resnets.export import parity
from keras_resnets.export import to_saved_model
from keras_resnets.export.runners import open_runner

SHAPE = (33, 33, 3)
KINDS = (
    "bottleneck_original bottleneck_full_preact grouped dilated_grouped darknet "
    "shortcut_a shortcut_d drn_conv bare_stem"
).split()


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind, tmp_path):
    model = small_model(kind, input_shape=SHAPE)
    report = to_saved_model(model, tmp_path / "a b ü", pictures=noise(3, *SHAPE))
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
    monkeypatch.setitem(parity.TOLERANCES, "none", parity.Tolerance(probability=-1.0))
    with pytest.raises(ExportError, match="does not say"):
        to_saved_model(model, path, overwrite=True)
    assert open_runner(path).input_shape == (None, *SHAPE)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "a",
        "a.json",
        "mine",
    ]
