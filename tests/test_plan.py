"""Precision plans: as text, refused, found by a search, and carried out again."""

import dataclasses
import json
import pickle

import keras
import numpy as np
import pytest
from hardened import harden
from helpers import refusal
from helpers import small_model
from quantized import CIFAR
from quantized import PER_TENSOR
from quantized import cifar
from quantized import classifying_model

import keras_resnets
from keras_resnets import quantization
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import passport
from keras_resnets.export.recipes import RECIPES
from keras_resnets.export.recipes import Recipe
from keras_resnets.export.tflite import file_editor
from keras_resnets.quantization import operators
from keras_resnets.quantization.backends import mixed_file
from keras_resnets.quantization.plan import LayerBits
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.qat import rewrite

SOME = {"conv1": LayerBits(8, 16), "predictions": LayerBits(None, None)}
HARD, FEW = "stage1_block2_conv1", "stage2_block1_conv2"


@pytest.mark.parametrize(
    "recipe", [*RECIPES.values(), Recipe(name="own", weight_bits=4)]
)
def test_text_says_the_whole_plan(recipe):
    layers = SOME if recipe.quantize == "int8" else {}
    plan = PrecisionPlan(recipe, layers, "net", "0123456789abcdef")
    assert PrecisionPlan.from_json(plan.to_json()) == plan
    assert PrecisionPlan.from_json(plan.to_json().encode()) == plan
    assert pickle.loads(pickle.dumps(plan)) == plan
    # A layer a line: to be edited by hand.
    lines = plan.to_json().splitlines()
    assert sum("weight_bits" in x and '": {' in x for x in lines) >= len(layers)


def test_a_recipe_is_a_plan_of_one_rule():
    plan = PrecisionPlan.of("static_wi4_ai8")
    assert plan.recipe == RECIPES["static_wi4_ai8"] and not plan.layers
    assert plan.precisions == {}
    assert PrecisionPlan.of(plan) is plan
    with pytest.raises(AttributeError):
        plan.network = "other"
    with pytest.raises(TypeError):
        plan.layers["conv1"] = LayerBits()


def text(**changes):
    """The JSON of a plan with other entries."""
    content = json.loads(PrecisionPlan("static_wi8_ai8", SOME).to_json())
    content |= {k: v for k, v in changes.items() if v is not ...}
    for key in (k for k, v in changes.items() if v is ...):
        del content[key]
    return json.dumps(content)


HOSTILE = {
    "empty": ("", "not JSON"),
    "not utf-8": (b"\xff\xfe{", "not JSON"),
    "nested": ("[" * 100_000, "nested too deeply"),
    "nested object": ('{"a":' * 100_000, "nested too deeply"),
    "large": (" " * (5 << 20), "at most 4,194,304 bytes"),
    "a list": ("[1]", "must be an object"),
    "NaN": (text().replace(": 1,", ": NaN,"), "NaN is not a number"),
    "infinity": (text().replace(": 16", ": -Infinity"), "Infinity is not a number"),
    "long number": (text().replace(": 16", ": " + "9" * 5000), "not JSON"),
    "twice": (text().replace('"predictions"', '"conv1"'), "'conv1' occurs twice"),
    "nothing": (" \n", "it is empty"),
    "a comma too many": (text()[:-2] + ",\n}}", "a comma too many"),
    "a comma too many in a list": ("[1,\n]", "a comma too many in front of line"),
    "bits of text": (
        text(layers={"a": {"weight_bits": "4", "activation_bits": 8}}),
        "got '4'/8; bits are numbers without quotes",
    ),
    "3 bits": (text(layers={"a": {"weight_bits": 3, "activation_bits": 8}}), "got 3/8"),
    "mistyped bits": (
        text(layers={"a": {"weigth_bits": 4, "activation_bits": 8}}),
        "layer 'a'",
        "did you mean 'weight_bits'?",
    ),
    "no version": (text(version=...), "lacks version"),
    "other version": (text(version=2), "1; got", "2"),
    "true version": (text(version=True), "got", "True"),
    "other schema": (text(schema="a"), "keras_resnets.precision_plan"),
    "unknown key": (text(layer=1), "did you mean 'layers'"),
    "unknown recipe": (text(recipe="static_wi8_ai9"), "did you mean 'static_wi8_ai8'"),
    "recipe of a list": (text(recipe=[1]), "recipe must be one of"),
    "nameless recipe": (text(recipe={}), "recipe lacks name"),
    "unknown field": (text(recipe={"name": "a", "bits": 8}), "'bits'"),
    "wrong field": (text(recipe={"name": "a", "quantize": "int9"}), "int9"),
    "escapes": (text(recipe={"name": "\x1b[2J"}), "printable"),
    "float recipe": (text(recipe="float16"), "float16 is float16"),
    "layers of a list": (text(layers=[]), "layers must be an object"),
    "bits of a number": (text(layers={"conv1": 8}), "'conv1'", "an object"),
    "half of the bits": (text(layers={"a": {"weight_bits": 8}}), "lacks activation"),
    "no such bits": (
        text(layers={"a": {"weight_bits": 8, "activation_bits": 4}}),
        "one of 8/8, 4/8, 2/8, 8/16, 4/16, None/None; got 8/4",
    ),
    "float bits": (
        text(layers={"a": {"weight_bits": 8.0, "activation_bits": 8}}),
        "got 8.0/8",
    ),
    "true bits": (
        text(layers={"a": {"weight_bits": True, "activation_bits": 8}}),
        "got True/8",
    ),
    "network of a list": (text(network=[1]), "network of a plan must be text"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_in_one_line(name, tmp_path):
    content, *words = HOSTILE[name]
    refusal(lambda: PrecisionPlan.from_json(content), *words)
    path = tmp_path / "plan.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidArgument) as caught:
        PrecisionPlan.read(path)
    line = str(caught.value)
    assert "plan.json" in line and "\n" not in line and len(line) < 700


def test_what_is_no_file_is_refused(tmp_path):
    refusal(lambda: PrecisionPlan.read(tmp_path), "folder")
    refusal(lambda: PrecisionPlan.read(tmp_path / "none"), "must be a precision plan")


@pytest.fixture(scope="module")
def hard(shared_data):
    """A network that int8 is too coarse for, its images, and a mix that was found."""
    pixels, labels = cifar(shared_data)
    x = CIFAR.normalize(pixels, "channels_last")
    model = classifying_model("basic_original", x[:300], labels[:300], depths=(2, 1))
    harden(model, HARD, [1, 4])
    answers = model.predict(x, verbose=0).argmax(axis=1)
    data = (x[100:700], answers[100:700])
    return model, x, quantization.find_mix(model, x[:50], data, 8.0, PER_TENSOR)


@pytest.mark.costly
def test_a_found_plan_gives_the_same_bytes_again(hard, tmp_path):
    model, x, mix = hard
    mix.write(tmp_path / "found.tflite", packed=False)
    plan = PrecisionPlan.read(tmp_path / "found.tflite.plan.json")
    assert plan == mix.plan and plan.network == model.name
    assert {k: plan.layers[k].precision for k in mix.raised} == mix.raised
    assert list(plan.layers) == [row.name for row in mix.layers]
    again = tmp_path / "again.tflite"
    quantization.quantize(model, again, plan, x[:50], packed=False)
    assert again.read_bytes() == (tmp_path / "found.tflite").read_bytes()
    written = (tmp_path / "found.tflite.plan.json").read_text()
    assert passport.plan_of(again).read_text() == written
    passports = [
        json.loads((tmp_path / f"{name}.tflite.json").read_text())["recipe"]
        for name in ("found", "again")
    ]
    assert passports[0]["precisions"] == passports[1]["precisions"]
    # Plain files have no plan, also where one had been.
    quantization.quantize(model, again, "float16", overwrite=True)
    assert again.exists() and not passport.plan_of(again).exists()


@pytest.mark.costly
def test_a_plan_is_carried_out_on_another_training(hard, tmp_path):
    model, x, mix = hard
    trained = keras.models.clone_model(model)
    rng = np.random.default_rng(0)
    trained.set_weights(
        [v * rng.uniform(0.98, 1.02, v.shape) for v in model.get_weights()]
    )
    plan = PrecisionPlan(
        mix.plan.recipe,
        {**mix.plan.layers, "predictions": LayerBits(8, 16), FEW: LayerBits(4, 8)},
        mix.plan.network,
        mix.plan.fingerprint,
    )
    path = tmp_path / "net.tflite"
    quantization.quantize(trained, path, plan, x[:50], packed=False)
    content = path.read_bytes()
    graph = operators.read(rewrite.rewrite(trained, plan.recipe), x.shape[1:])
    held = mixed_file.kinds(content, graph)
    wanted = {graph.names[label]: bits.precision for label, bits in plan.layers.items()}
    assert held == wanted and set(held.values()) == {"int8", "int16", "float"}
    assert sorted(largest_weights(content))[0] == 7
    # That one kernel can be stored in half the space.
    options = {"packed": False, "storage": "conv_int4", "overwrite": True}
    quantization.quantize(trained, path, plan, x[:50], **options)
    editor = file_editor.Editor(path.read_bytes())
    types = [tensor.type for tensor in editor.graph.tensors]
    assert types.count(editor.schema.TensorType.INT4) == 1
    assert path.stat().st_size < len(content)


def largest_weights(content):
    """Of every int8 kernel the largest integer."""
    editor = file_editor.Editor(content)
    kernels = [
        x.inputs[1] for x in editor.graph.operators if editor.code(x) == "CONV_2D"
    ]
    return [
        int(np.abs(editor.data(index).view("int8")).max())
        for index in kernels
        if editor.graph.tensors[index].type == editor.schema.TensorType.INT8
    ]


def test_a_plan_of_two_halves_of_a_bn_fits_the_whole():
    """As earlier releases wrote it; the finer half counts."""
    halves = {
        "bn_scale": LayerBits(8, 16),
        "bn_offset": LayerBits(),
        "end": LayerBits(),
    }
    plan = PrecisionPlan("static_wi8_ai8", halves)
    assert plan.fitted(["bn", "end"]).layers == {
        "bn": LayerBits(8, 16),
        "end": LayerBits(),
    }
    # Where a network has the halves, they stay what they are.
    assert plan.fitted(["bn_scale", "bn_offset", "end"]).layers == halves
    refusal(lambda: plan.fitted(["norm", "end"]), "'bn_scale'", "among norm")


def test_plans_of_other_networks_are_refused(hard, tmp_path):
    model, x, mix = hard
    path = tmp_path / "net.tflite"

    def call(plan, of=model, **options):
        return lambda: quantization.quantize(of, path, plan, x[:50], **options)

    wider = small_model("wide", input_shape=(32, 32, 3))
    refusal(call(mix.plan, wider), "the plan is of", "fingerprint", wider.name)
    int16 = LayerBits(8, 16)
    misspelt = PrecisionPlan(PER_TENSOR, {"stage1_block2_conv_1": int16})
    refusal(call(misspelt), "'stage1_block2_conv_1'", f"did you mean {HARD!r}")
    plan = PrecisionPlan(PER_TENSOR, {HARD: int16})
    refusal(call(plan, engine="converter"), "'ranges'", "'converter'")
    refusal(call(plan, storage="conv_int4"), "4-bit")
    path.with_name("net.tflite.plan.json").write_text("mine")
    refusal(call(plan, overwrite=True), "net.tflite.plan.json exists")
    assert [x.name for x in tmp_path.iterdir()] == ["net.tflite.plan.json"]


@pytest.mark.costly_but("all")
@pytest.mark.parametrize(
    "options",
    [
        {"batch": "dynamic"},
        {"logits": True},
        {"preprocessing": CIFAR},
        {"batch": "dynamic", "logits": True, "preprocessing": CIFAR},
    ],
    ids=["batch", "logits", "preprocessing", "all"],
)
def test_a_plan_goes_with_other_ends(options, hard, tmp_path):
    model, x, mix = hard
    path = tmp_path / "net.tflite"
    report = quantization.quantize(model, path, mix.plan, x[:50], **options)
    assert report.operators["DEQUANTIZE"] >= 1
    if "batch" in options:
        assert report.input_shape[0] is None
    assert report.takes_pixels == ("preprocessing" in options)


def test_training_by_a_plan():
    """Its layers have its bits, with learned ranges; float layers are not trained."""
    model = keras_resnets.create_model("resnet8")
    images = np.random.default_rng(0).uniform(0, 255, (10, 32, 32, 3)).astype("float32")
    plan = quantization.PrecisionPlan(
        "static_wi8_ai8",
        {
            "stage1_block1_conv1": quantization.LayerBits(4, 8),
            "predictions": quantization.LayerBits(8, 8),
        },
        storage="conv_int4",
        prefer="size",
    )
    made = quantization.quantize_aware(model, plan, images)
    done = {x.of[0]: x.done for x in quantization.report(made) if "weights" in x.done}
    few = [name for name, words in done.items() if "of 4 bits" in words]
    assert few == ["stage1_block1_conv1"] and "(learned)" in done[few[0]]
    assert plan.storage_words() == ("conv_int4", "size")
    assert plan.storage_words("int8") == ("int8", None)
    again = quantization.PrecisionPlan.from_json(plan.to_json())
    assert again == plan and again.stored().kind == "conv_int4"
    assert not again.stored().is_explicit
    high = dataclasses.replace(
        plan, layers={"stem_conv": quantization.LayerBits(8, 16)}
    )
    refusal(
        lambda: quantization.quantize_aware(model, high, images), "stem_conv", "int16"
    )
    text = plan.to_json().replace('"conv_int4"', '"conv_int5"')
    refusal(lambda: quantization.PrecisionPlan.from_json(text), "storage", "conv_int4")
    other = dataclasses.replace(plan, layers={"stem": quantization.LayerBits(4, 8)})
    refusal(lambda: quantization.quantize_aware(model, other, images), "stem_conv")
