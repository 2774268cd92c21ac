"""Microcontrollers and NPUs: what their own toolchains say of our files.

Tests that need a toolchain skip where it is missing; tests/README.md names them.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import types

import keras
import numpy as np
import pytest
from helpers import small_model

from keras_resnets import deploy
from keras_resnets import quantization
from keras_resnets.deploy import session
from keras_resnets.deploy.job import Workshop
from keras_resnets.deploy.options import Asked
from keras_resnets.deploy.targets import TARGETS
from keras_resnets.deploy.toolchains import c_files
from keras_resnets.deploy.toolchains import ethos_u
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import parity
from keras_resnets.export import passport
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.export.tflite import depthwise
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.preprocessing import Preprocessing

needs_tflm = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None,
    reason="TensorFlow Lite Micro is missing: pip install tflite-micro",
)
needs_vela = pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None,
    reason="Vela is missing: pip install ethos-u-vela",
)
CIFAR = Preprocessing("cifar", (32, 32))
LABELS = (*(f"kind {index}" for index in range(9)), 'a "quoted" \u732b?')
STUB = pathlib.Path(__file__).parent / "data" / "tflm_stub"


def network(kind="basic_original"):
    """A small network of random values, that knows its images and classes."""
    model = small_model(kind, input_shape=(32, 32, 3))
    model.preprocessing, model.labels = CIFAR, LABELS
    return model


def images(count=12):
    pixels = np.random.default_rng(3).integers(0, 256, (count, 32, 32, 3))
    return CIFAR.normalize(pixels, "channels_last")


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


# What a chip's runtime cannot do, and the words that say so before anything is made.
REFUSED = {
    "float16": (
        "microcontroller",
        {"recipe": "float16"},
        "does not support float16 weights",
    ),
    "dynamic": (
        "microcontroller",
        {"recipe": "dynamic_wi8"},
        "does not support int8 weights with",
    ),
    "float behind pixels": (
        "microcontroller",
        {"recipe": "float32", "include_preprocessing": True},
        "does not support CAST from uint8 to float32",
    ),
    "int4 of int8": (
        "microcontroller",
        {"storage": "conv_int4"},
        "static_wi4_ai8; got storage 'conv_int4' with static_wi8_ai8",
    ),
    **{
        f"{name} {recipe}": (name, {"recipe": recipe}, words)
        for name in TARGETS
        if name.startswith("ethos-u")
        for recipe, words in (
            ("float32", "the NPU computes in integers only"),
            ("static_wi8_ai16", "the CPU would run their QUANTIZE"),
        )
    },
    "float ends": (
        "ethos-u55-128",
        {"io_dtype": "float32"},
        "io_dtype of ethos-u55-128 must be one of 'int8', 'uint8'; got 'float32'",
    ),
    "int4": (
        "ethos-u55-128",
        {"recipe": "static_wi4_ai8", "storage": "conv_int4"},
        "Vela does not support 4-bit weights",
    ),
}


@pytest.mark.parametrize("name, words, message", REFUSED.values(), ids=REFUSED)
def test_refused_at_the_door(name, words, message):
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        Asked(**words, unproven=True).check([TARGETS[name]])


@pytest.mark.parametrize(
    "operator, method",
    [
        ("CONV_2D", "AddConv2D"),
        ("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D"),
        ("MAX_POOL_2D", "AddMaxPool2D"),
        ("FULLY_CONNECTED", "AddFullyConnected"),
        ("PADV2", "AddPadV2"),
        ("LEAKY_RELU", "AddLeakyRelu"),
        ("STRIDED_SLICE", "AddStridedSlice"),
        ("RELU6", "AddRelu6"),
        ("BATCH_MATMUL", "AddBatchMatMul"),
        ("HARD_SWISH", "AddHardSwish"),
    ],
)
def test_methods_of_the_resolver(operator, method):
    assert c_files.adder(operator) == method


def test_the_table_gives_a_chip_its_memory(tmp_path):
    job = types.SimpleNamespace(
        target=TARGETS["microcontroller"],
        model=types.SimpleNamespace(name="net"),
        ram=81_711,
        flash=None,
    )
    proof = types.SimpleNamespace(
        figures={"arena_bytes": 81_712, "flash_bytes": 307_600}
    )
    with pytest.raises(
        ExportError, match=r"81,712 bytes of ram .* --ram allows 81,711"
    ):
        session._check_room(job, proof)
    job.ram, job.flash = 81_712, 300_000
    with pytest.raises(ExportError, match="307,600 bytes of flash"):
        session._check_room(job, proof)
    job.flash = None
    session._check_room(job, proof)


def test_vela_that_dies_is_told_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(ethos_u, "_run", lambda words: (-8, ""))
    job = types.SimpleNamespace(
        target=TARGETS["ethos-u55-128"], model=types.SimpleNamespace(name="net")
    )
    spec = types.SimpleNamespace(recipe="static_wi4_ai8")
    made = types.SimpleNamespace(path=tmp_path / "model.tflite", spec=spec)
    with pytest.raises(
        ExportError, match="Vela failed with signal 8 on the static_wi4"
    ):
        ethos_u._compile(job, made, tmp_path)


def test_a_factor_and_an_offset_as_a_kernel_and_a_bias():
    """Exact factors; offsets however large beside them, and channels of none."""
    factor = np.array([2.0, -0.5, 1e-6, 0.0])
    offset = np.array([0.25, -3.0, 40.0, 1.5])
    kernel, bias, scales = depthwise.folded(factor, offset, 0.05)
    assert kernel.dtype == np.int8 and bias.dtype == np.int32
    assert kernel.tolist()[:2] == [127, -127] and kernel[3] == 0
    np.testing.assert_allclose(kernel * scales, factor, atol=1e-5)
    # To half a step of the bias.
    assert (np.abs(bias * scales * 0.05 - offset) <= 0.5001 * scales * 0.05).all()


@pytest.mark.costly
def test_a_bn_that_stands_alone_is_one_convolution(tmp_path):
    model = network("basic_full_preact")
    x = images(40)
    workshop = Workshop(model, CalibrationSet(x), tmp_path)
    spec = Asked().spec(TARGETS["ethos-u55-128"])
    # One scale a kernel keeps MUL and ADD; with one a channel it is so of itself.
    assert workshop.depthwise(spec) is None
    itself = workshop.export(spec)
    assert itself.report.operators["DEPTHWISE_CONV_2D"] > 0
    assert passport.read(itself.path)["recipe"]["depthwise"] is True
    spec = dataclasses.replace(spec, recipe="static_wi8_ai8_per_tensor")
    plain, joined = workshop.export(spec), workshop.depthwise(spec)
    before, after = plain.report.operators, joined.report.operators
    assert before["MUL"] == after["DEPTHWISE_CONV_2D"] > 0 and "MUL" not in after
    assert before["ADD"] - after["ADD"] == before["MUL"]
    known = passport.read(joined.path)
    assert known["recipe"]["depthwise"] is True
    assert known["recipe"]["engine"] == passport.read(plain.path)["recipe"]["engine"]
    assert workshop.depthwise(spec) is joined
    assert depthwise.rewrite(joined.path.read_bytes()) is None


@pytest.mark.costly
def test_a_bn_as_a_convolution_is_nearer_to_the_network(tmp_path, monkeypatch):
    """What is between the product and the sum is rounded no more."""
    model, x = network("basic_full_preact"), images(40)
    expected, errors = KerasRunner(model)(x)[1], {}
    for name, rewrite in (("one", depthwise.rewrite), ("two", lambda content: None)):
        monkeypatch.setattr(depthwise, "rewrite", rewrite)
        path = tmp_path / f"{name}.tflite"
        report = quantization.quantize(
            model, path, calibration=CalibrationSet(x, "x"), engine="converter"
        )
        assert ("MUL" in report.operators) == (name == "two")
        found = TFLiteRunner(report.path, 2, True)(x)
        errors[name] = parity.compare(expected, found).rmse
    assert errors["one"] < errors["two"]


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    """Folder of an int8 file for a microcontroller and two NPUs."""
    for module in ("tflite_micro", "ethosu"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("chips")
    deploy.deploy(
        network(),
        ["microcontroller", "ethos-u55-128", "ethos-u85-256"],
        folder,
        images(),
        min_agreement=0.5,
    )
    return folder


@pytest.mark.costly
def test_a_microcontrollers_arena_is_exact(chips):
    report = report_of(chips / "microcontroller")
    assert report["proven"] and report["proof"].startswith("tflite-micro ")
    outputs = report["outputs"]
    assert outputs["against"] == "LiteRT's reference kernels"
    assert (outputs["equal"], outputs["one_step"], outputs["other"]) == (12, 0, 0)
    assert report["packed"] is False
    assert report["flash_bytes"] == report["size_bytes"]

    from tflite_micro.python.tflite_micro import runtime

    path = str(chips / "microcontroller" / "model.tflite")
    runtime.Interpreter.from_file(path, arena_size=report["arena_bytes"])
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_file(path, arena_size=report["arena_bytes"] - 1)


@pytest.mark.costly
@pytest.mark.parametrize("processor", ["m4", "m7", "m55"])
def test_the_sources_compile_without_a_warning(chips, tmp_path, processor):
    compiler = shutil.which("arm-none-eabi-g++")
    if compiler is None:
        pytest.skip("arm-none-eabi-g++ is missing: apt install gcc-arm-none-eabi")
    headers = [compiler, "-E", "-x", "c++", "-include", "cmath", os.devnull]
    if subprocess.run(headers, capture_output=True).returncode:
        pytest.skip("<cmath> is missing: apt install libstdc++-arm-none-eabi-newlib")
    given = os.environ.get("KERAS_RESNETS_TFLM")
    include = [f"-isystem{path}" for path in (given or str(STUB)).split(os.pathsep)]
    strict = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    for source in sorted((chips / "microcontroller").glob("*.cc")):
        words = [compiler, f"-mcpu=cortex-{processor}", *strict, *include, "-c", source]
        done = subprocess.run(
            [*words, "-o", tmp_path / "x.o"], capture_output=True, text=True
        )
        assert done.returncode == 0 and not done.stderr, done.stderr[:2000]


@pytest.mark.costly
def test_the_sources_say_what_python_says(chips, tmp_path):
    """The array, the labels, the quantized input of pixels, and the test image."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is missing")
    folder = chips / "microcontroller"
    (tmp_path / "show.cc").write_text(
        """#include <cstdio>
#include "model_data.h"
#include "test_image.h"
int main() {
  for (unsigned i = 0; i < model::kBytes; ++i) std::printf("%02x", model::kData[i]);
  std::printf("\\n");
  for (int c = 0; c < 3; ++c)
    for (int p = 0; p < 256; ++p)
      std::printf("%d ", model::Quantize(static_cast<uint8_t>(p), c));
  std::printf("\\n");
  for (int v : model::kTestImage) std::printf("%d ", v);
  std::printf("\\n");
  for (int v : model::kTestOutputs) std::printf("%d ", v);
  std::printf("\\n");
  for (const char* label : model::kLabels) std::printf("%s|", label);
  std::printf("%zu", model::kArenaBytes);
}
"""
    )
    sources = [folder / "model_data.cc", folder / "test_image.cc", tmp_path / "show.cc"]
    subprocess.run(
        [compiler, "-std=c++17", f"-I{folder}", *sources, "-o", tmp_path / "show"],
        check=True,
    )
    out = subprocess.run([tmp_path / "show"], check=True, capture_output=True).stdout
    data, pixels, image, scores, tail = out.decode().split("\n")
    path = folder / "model.tflite"
    assert bytes.fromhex(data) == path.read_bytes()
    from keras_resnets.deploy import reference
    from keras_resnets.export.tflite import runner

    report = types.SimpleNamespace(input_shape=(1, 32, 32, 3))
    kernels = reference.ReferenceKernels(
        types.SimpleNamespace(path=path, report=report)
    )
    grey = np.repeat(np.arange(256, dtype="uint8")[:, None], 3, axis=1)[None]
    values = CIFAR.normalize(grey, "channels_last")
    expected = runner.quantize(values, kernels._input)[0].T.reshape(-1)
    assert [int(word) for word in pixels.split()] == expected.tolist()
    first = runner.quantize(images()[:1], kernels._input)
    assert [int(word) for word in image.split()] == first.reshape(-1).tolist()
    wanted = kernels.integers(images()[:1])[0]
    assert [int(word) for word in scores.split()] == wanted.tolist()
    assert tuple(tail.split("|")[:-1]) == LABELS
    arena = report_of(folder)["arena_bytes"]
    assert int(tail.split("|")[-1]) == arena


@pytest.mark.costly
@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u85-256"])
def test_an_npu_has_it_all(chips, name):
    report = report_of(chips / name)
    assert report["proven"] and report["npu_percent"] == 100
    assert report["file"] == "model_vela.tflite" and report["outputs"] is None
    compiled = chips / name / "model_vela.tflite"
    assert report["flash_bytes"] == compiled.stat().st_size
    assert report["cycles"] == min(report["cycles_by_layout"].values())
    assert "packed" in report["cycles_by_layout"]
    assert report["inference_ms"] == pytest.approx(
        1e3 * report["cycles"] / report["clock_hz"], rel=1e-3
    )
    assert report["sram_bytes"] > 0


def bypassed(monkeypatch, name):
    """The row of a target, as if it took everything."""
    row = TARGETS[name]
    free = dataclasses.replace(
        row,
        recipes=TARGETS["linux-x86"].recipes,
        refused={},
        float_pixels=True,
        storages=TARGETS["linux-x86"].storages,
        io_dtypes=("int8", "uint8", "float32"),
    )
    monkeypatch.setitem(TARGETS, name, free)


# What the toolchains themselves say where nothing is refused before: the facts behind the
# table.
FACTS = {
    "tflm float16": ("microcontroller", {"recipe": "float16"}, "DEQUANTIZE"),
    "tflm dynamic": ("microcontroller", {"recipe": "dynamic_wi8"}, "Hybrid models are"),
    "tflm float behind pixels": (
        "microcontroller",
        {"recipe": "float32", "include_preprocessing": True},
        "CAST",
    ),
    "vela float": (
        "ethos-u55-128",
        {"recipe": "float32"},
        "CONV_2D.* would run on the CPU",
    ),
    "vela int16x8": (
        "ethos-u55-128",
        {"recipe": "static_wi8_ai16"},
        "would run these operators .* on the CPU: .*QUANTIZE",
    ),
    "vela int4": (
        "ethos-u55-128",
        {"recipe": "static_wi4_ai8", "storage": "conv_int4"},
        "does not support the 4-bit weights of CONV_2D, FULLY_CONNECTED",
    ),
}


@pytest.mark.slow
@needs_tflm
@needs_vela
@pytest.mark.parametrize("name, words, message", FACTS.values(), ids=FACTS)
def test_what_the_toolchains_refuse(tmp_path, monkeypatch, name, words, message):
    bypassed(monkeypatch, name)
    with pytest.raises(ExportError, match=message):
        deploy.deploy(
            network(), name, tmp_path / "out", images(), min_agreement=0, **words
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.costly
@needs_vela
def test_an_operator_of_the_cpu_is_not_answered_by_the_recipe_it_has(tmp_path):
    """Vela enlarges by powers of two only."""
    image = keras.Input((32, 32, 3))
    inner = small_model("basic_original", input_shape=(48, 48, 3))
    model = keras.Model(image, inner(keras.layers.Resizing(48, 48)(image)))
    model.preprocessing, model.labels = CIFAR, LABELS
    with pytest.raises(ExportError, match="RESIZE_BILINEAR: use other layers"):
        deploy.deploy(model, "ethos-u55-128", tmp_path / "out", images())


@pytest.mark.slow
@needs_tflm
@pytest.mark.parametrize(
    "words",
    [
        {"recipe": "float32"},
        {"recipe": "static_wi8_ai16"},
        {"recipe": "static_wi4_ai8", "storage": "conv_int4"},
        {"include_preprocessing": True},
        {"io_dtype": "float32"},
    ],
    ids=lambda words: " ".join(map(str, words.values())),
)
def test_a_microcontroller_runs(tmp_path, words):
    (made,) = deploy.deploy(
        network(),
        "microcontroller",
        tmp_path / "out",
        images(),
        min_agreement=0,
        **words,
    )
    outputs = made.report["outputs"]
    assert outputs["other"] == 0 and outputs["equal"] + outputs["one_step"] == 12
    assert made.report["arena_bytes"] > 10_000


@pytest.mark.slow
@needs_tflm
def test_weights_of_4_bits_are_unpacked_into_the_arena(chips, tmp_path):
    (made,) = deploy.deploy(
        network(),
        "microcontroller",
        tmp_path / "out",
        images(),
        min_agreement=0,
        recipe="static_wi4_ai8",
        storage="conv_int4",
    )
    int8 = report_of(chips / "microcontroller")
    assert made.report["arena_bytes"] > int8["arena_bytes"]
    assert made.report["flash_bytes"] < int8["flash_bytes"]
