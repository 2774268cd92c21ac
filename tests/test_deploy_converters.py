"""Targets whose toolchain converts: ESP-PPQ, RKNN, Core ML; the Edge TPU's rules."""

import json
import pathlib
import sys
import types

import numpy as np
import pytest
from helpers import noise
from helpers import small_model
from quantized import cifar

import keras_resnets
from keras_resnets.deploy import deploy
from keras_resnets.deploy import option_checks
from keras_resnets.deploy import targets
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.toolchains import core_ml
from keras_resnets.deploy.toolchains import edge_tpu
from keras_resnets.deploy.toolchains import other_python
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export.tflite import file_editor
from keras_resnets.images.preprocessing import Preprocessing


def network(kind="basic_original"):
    """A small network of random values, that knows its images."""
    model = small_model(kind, input_shape=(32, 32, 3))
    model.preprocessing = Preprocessing("tf", (32, 32))
    return model


def images():
    return np.tanh(noise(12, 32, 32, 3))


def proven(name, folder, data):
    """What `deploy` makes of ResNet-20 for a target, whose toolchain must be there."""
    lacking = targets.find(name).missing()
    if lacking:
        pytest.skip(lacking)
    model = keras_resnets.create_model("resnet20", weights="cifar10")
    pixels, _ = cifar(data, count=64)
    given = model.preprocessing.batch(pixels.astype("float32"), "channels_last")
    (made,) = deploy(model, name, folder / "out", given, compare=20)
    report = json.loads((made.folder / "report.json").read_text())
    assert report == made.report and report["proven"] and report["target"] == name
    assert report["compiled_bytes"] > 0
    assert (made.folder / report["file"]).exists()
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["esp32", "rockchip"])
def test_a_toolchain_that_quantizes_by_itself(name, shared_data, tmp_path):
    made = proven(name, tmp_path, shared_data)
    assert made.report["agreement"] >= 0.95 and made.report["compared"] == 20
    # It rounds: no float network.
    assert made.report["largest_difference"] > 1e-5
    assert made.report["outputs"] is None and made.report["calibrated_on"] == 64
    assert (
        "the toolchain quantizes the network itself"
        in (made.folder / "README.md").read_text()
    )


@pytest.mark.slow
def test_core_ml_is_converted_and_not_compared(shared_data, tmp_path):
    made = proven("coreml", tmp_path, shared_data)
    assert made.report["compared"] is False and made.report["agreement"] is None
    assert made.report["core_ml_operators"]["conv"] == 19
    assert made.report["input"] == [1, 32, 32, 3] and made.report["output"] == [1, 10]
    text = (made.folder / "README.md").read_text()
    assert "converted and not run" in text and "images: " not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"output": [1, 9]}, "output must be"),
        ({"finite": False}, "finite must be True"),
        ({"kernels": []}, "kernels must be"),
    ],
)
def test_core_ml_of_another_network_is_refused(change, words):
    model, kernels = network(), [[16, 3, 3, 3]]
    facts = {
        "input": [1, 32, 32, 3],
        "output": [1, 10],
        "finite": True,
        "kernels": kernels,
        "expected_kernels": kernels,
    }
    job = types.SimpleNamespace(model=model, labels=tuple(range(10)))
    core_ml._check(job, facts)
    with pytest.raises(ExportError, match=words):
        core_ml._check(job, {**facts, **change})


def test_pixels_are_refused_where_the_toolchain_has_none():
    for name in ("esp32", "rockchip", "coreml"):
        with pytest.raises(InvalidArgument, match="--include-preprocessing"):
            option_checks.check_pixels(targets.find(name), "float32")


def test_a_worker_that_fails_is_told_in_a_line(tmp_path, monkeypatch):
    worker = types.ModuleType("worker")
    worker.__file__ = str(tmp_path / "worker.py")
    script = "import sys; sys.exit('first\\nno such operator: Foo')"
    pathlib.Path(worker.__file__).write_text(script)
    monkeypatch.setenv("KERAS_RESNETS_ESP_PYTHON", sys.executable)
    model = types.SimpleNamespace(name="a")
    spec, workshop = types.SimpleNamespace(recipe="float32"), types.SimpleNamespace()
    workshop.model = model
    job = Job(targets.find("esp32"), spec, workshop, tmp_path, np.zeros(1), ())
    words = "ESP-PPQ failed on the float32 file of a: no such operator: Foo; nothing"
    with pytest.raises(ExportError, match=words):
        other_python.run(job, worker, (), tmp_path, 60)


@pytest.fixture(scope="module")
def coral(tmp_path_factory):
    """A file that the Edge TPU takes, and what it was made for."""
    folder = tmp_path_factory.mktemp("coral")
    (made,) = deploy(
        network("shortcut_d"), "edgetpu", folder / "out", images(), unproven=True
    )
    return made


@pytest.mark.costly
def test_what_the_edge_tpu_takes(coral, tmp_path):
    report = coral.report
    assert report["proven"] is False and "edgetpu_compiler" in report["reason"]
    assert "fixed shapes" in report["checked"] and report["operators"]["CONV_2D"] > 3
    # Option A's slices stride by 2, which Coral's table has not.
    with pytest.raises(
        ExportError, match="STRIDED_SLICE with strides of 2.*shortcut_type=B"
    ):
        deploy(
            network("shortcut_a"), "edgetpu", tmp_path / "b", images(), unproven=True
        )
    assert not (tmp_path / "b").exists()


@pytest.mark.costly
@pytest.mark.parametrize("kind", ["float", "open", "batch", "dilated"])
def test_what_the_edge_tpu_leaves_to_the_cpu(coral, kind):
    editor = file_editor.Editor((coral.folder / "model.tflite").read_bytes())
    schema, tensor = editor.schema, editor.graph.tensors[editor.graph.inputs[0]]
    assert not [*edge_tpu._tensors(editor), *edge_tpu._operators(editor)]
    words = "has a batch size above 1"
    if kind == "float":
        tensor.type, words = schema.TensorType.FLOAT32, "not int8 or uint8"
    if kind == "open":
        tensor.shapeSignature, words = [1, -1, -1, 3], "is not fixed"
    if kind == "batch":
        tensor.shape = [2, 32, 32, 3]
    if kind == "dilated":
        op = next(o for o in editor.graph.operators if editor.code(o) == "CONV_2D")
        op.builtinOptions.dilationHFactor, words = 2, "different dilations"
    found = [*edge_tpu._tensors(editor), *edge_tpu._operators(editor)]
    assert len(found) == 1 and words in found[0]
