"""int8 ONNX files whose products fit in 16 bits two by two."""

import numpy as np
import onnx
import onnxruntime
import pytest
import zoo
from helpers import KINDS
from helpers import noise
from helpers import small_model

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets import quantization
from keras_resnets.export import to_onnx
from keras_resnets.export.onnx import overflow
from keras_resnets.export.onnx import pairs
from keras_resnets.export.onnx.links import Links

IMAGES = noise(12, *zoo.SHAPE)


def written(model, path, **options):
    images = 0.4 * noise(12, *model.input_shape[1:])
    to_onnx(model, path, "static_wi8_ai8", calibration=images, **options)
    return onnx.load(path).graph


def saturates(graph):
    """Whether one of vpmaddubsw's sums saturates, with all inputs 0 or 255.

    Each kernel is laid out as an im2col matrix, inputs of a place together; also with
    the channels of each place filled up to an even number.
    """
    links = Links(graph)
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        kernel = links.constant(links.maker(node.input[1]).input[0]).astype(int)
        if node.op_type == "Gemm":
            rows = [list(column) for column in kernel.T]
        else:
            rows = []
            for channel in kernel:
                places = channel.transpose(1, 2, 0).reshape(-1, channel.shape[0])
                rows.append([weight for place in places for weight in place])
                even = [[*place, 0] if len(place) % 2 else place for place in places]
                rows.append([weight for place in even for weight in place])
        for row in rows:
            for first in range(0, len(row), 2):
                pair = row[first : first + 2]
                for sign in (1, -1):
                    total = 255 * sum(max(sign * int(weight), 0) for weight in pair)
                    if total > 32767:
                        return True
    return False


@pytest.mark.costly_but("grouped", "shortcut_a")
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_pair_of_products_saturates(kind, tmp_path):
    model = small_model(kind, input_shape=(32, 32, 3))
    graph = written(model, tmp_path / "net.onnx")
    assert not saturates(graph) and not pairs.exceeds(graph)
    full = written(model, tmp_path / "full.onnx", full_range=True)
    assert saturates(full) and pairs.exceeds(full)


@pytest.mark.costly
def test_rounding_is_finer_than_that_of_seven_bits(tmp_path):
    model = keras_resnets.create_model("resnet20", weights="cifar10")
    to_onnx(model, tmp_path / "float.onnx")
    floats = Links(onnx.load(tmp_path / "float.onnx").graph)
    errors = {}
    for options in ({}, {"full_range": True}, {"reduce_range": True}):
        name = "_".join(options) or "pairs"
        graph = written(model, tmp_path / f"{name}.onnx", **options)
        links, differences = Links(graph), []
        for node in graph.node:
            if node.op_type == "Conv":
                stored, scales, _ = links.maker(node.input[1]).input
                spread = links.constant(scales)[:, None, None, None]
                wanted = floats.constant(stored.removesuffix("_quantized"))
                error = (links.constant(stored) * spread - wanted) / np.std(wanted)
                differences.append(np.sqrt(np.mean(error**2)))
        assert len(differences) == 19
        errors[name] = np.mean(differences)
    assert errors["full_range"] < errors["pairs"] < 1.35 * errors["full_range"]
    assert errors["reduce_range"] > 1.9 * errors["full_range"]


def test_scales_grow_with_their_biases_and_others_stay(tmp_path):
    model = small_model("shortcut_a", input_shape=(32, 32, 3))
    limited = written(model, tmp_path / "net.onnx")
    full = written(model, tmp_path / "full.onnx", full_range=True)
    links, before = Links(limited), Links(full)
    factors = []
    for node in limited.node:
        if node.op_type != "Conv":
            continue
        weights, bias = (links.maker(name) for name in node.input[1:3])
        quotients = [
            links.constant(each.input[1]) / before.constant(each.input[1])
            for each in (weights, bias)
        ]
        np.testing.assert_allclose(*quotients, rtol=1e-6)
        values = [
            side.constant(bias.input[0])
            * side.constant(bias.input[1]).astype("float64")
            for side in (links, before)
        ]
        steps = links.constant(bias.input[1])
        assert (np.abs(values[0] - values[1]) <= 1.01 * steps).all()
        same = quotients[0] == 1
        kernels = [side.constant(weights.input[0]) for side in (links, before)]
        np.testing.assert_array_equal(kernels[0][same], kernels[1][same])
        factors.extend(quotients[0])
    assert 1 == min(factors) < max(factors) <= 256 / 127


def test_the_runtime_computes_the_same_with_and_without_its_exact_mode(tmp_path):
    """On a processor with VNNI that is always so; without, of these files."""
    written(zoo.seeded("swish"), tmp_path / "net.onnx")
    outputs = []
    for number in ("0", "1"):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry(overflow.EXACT[0], number)
        session = onnxruntime.InferenceSession(tmp_path / "net.onnx", options)
        name = session.get_inputs()[0].name
        outputs.append([session.run(None, {name: x[None]})[0] for x in IMAGES])
    np.testing.assert_array_equal(*outputs)


def test_one_range_at_a_time(tmp_path):
    with pytest.raises(InvalidArgument, match="reduce_range and full_range are two"):
        written(
            zoo.seeded("swish"),
            tmp_path / "net.onnx",
            full_range=True,
            reduce_range=True,
        )
    assert not list(tmp_path.iterdir())


def test_symmetric_activations_are_in_range_too(tmp_path):
    """Where the runtime computes them in integers, it makes them uint8."""
    model = small_model("shortcut_d", input_shape=(32, 32, 3))
    for full in (False, True):
        path = tmp_path / f"{full}.onnx"
        graph = written(model, path, symmetric=True, full_range=full)
        assert saturates(graph) == full
        assert overflow.may_overflow(path) == full


@pytest.mark.costly
@pytest.mark.parametrize("symmetric", [False, True])
def test_quantization_aware_networks_are_in_range_too(symmetric, tmp_path):
    model = small_model("shortcut_d", input_shape=(16, 16, 3), axes={"depths": (1, 1)})
    images = 0.4 * noise(12, 16, 16, 3)
    aware = quantization.quantize_aware(model, calibration=images)
    graphs, errors = [], []
    for full in (False, True):
        path = tmp_path / f"{full}.onnx"
        options = {"symmetric": symmetric, "full_range": full}
        report = to_onnx(aware, path, images=images, **options)
        errors.append(report.logits.sqnr)
        graphs.append(onnx.load(path).graph)
        assert saturates(graphs[-1]) == pairs.exceeds(graphs[-1]) == full
        assert overflow.may_overflow(path) == full
    assert 25 < errors[0] < errors[1] + 3
    limited, full = map(Links, graphs)
    same = []
    for node in graphs[0].node:
        if node.op_type == "Conv":
            stored, scales, _ = limited.maker(node.input[1]).input
            ours, theirs = (
                side.constant(stored).astype(int) for side in (limited, full)
            )
            sums = np.array([pairs.largest_pair(x, 0, "Conv") for x in (ours, theirs)])
            # Channels whose pairs are in range keep the integers they were trained with.
            kept = (ours == theirs).all(axis=(1, 2, 3))
            assert kept[sums[1] <= pairs.LARGEST].all()
            same.extend(kept)
    assert any(same) and not all(same)


@pytest.mark.parametrize("operator", ["Conv", "Gemm", "MatMul"])
def test_the_largest_pair_of_each_channel(operator):
    if operator == "Conv":
        kernel = np.zeros((3, 3, 1, 2), "int8")
        kernel[0, :, 0, 0] = 100, 100, 120
        # The third channel of one place and the first of the next.
        kernel[1, 2, 0, 0], kernel[1, 0, 0, 1] = -90, -80
        kernel[2, :2, 0, 0] = 100, -100
        assert pairs.largest_pair(kernel, 0, operator).tolist() == [200, 170, 100]
    else:
        kernel = np.array([[1, 2], [3, -4], [5, -6], [7, 8], [9, 10]], "int8")
        assert pairs.largest_pair(kernel, 1, operator).tolist() == [12, 10]
