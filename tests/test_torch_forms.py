"""State dicts that name tensors otherwise than the network's class (`torch_forms`)."""

import functools

import numpy as np
import pytest

from keras_resnets import WeightsError
from keras_resnets.weights import contents
from keras_resnets.weights import torch_forms
from keras_resnets.weights.readers import Checkpoint

NORM = ("weight", "bias", "running_mean", "running_var")


def state(*, head="fc", prefix=""):
    """The tensors of a network of four units, each with numbers of its own."""
    names = ["conv1.weight", *(f"bn1.{field}" for field in NORM)]
    for stage in range(1, 5):
        for conv in (1, 2):
            unit = f"layer{stage}.0"
            names += [f"{unit}.conv{conv}.weight"]
            names += [f"{unit}.bn{conv}.{field}" for field in NORM]
        if stage > 1:
            names += [f"{unit}.downsample.0.weight"]
            names += [f"{unit}.downsample.1.{field}" for field in NORM]
    tensors = {
        f"{prefix}{n}": np.arange(6.0).reshape(2, 3) + 7 * i
        for i, n in enumerate(names)
    }
    if head:
        tensors[f"{head}.weight"] = np.arange(6.0).reshape(2, 3) - 5
        tensors[f"{head}.bias"] = np.ones(2)
    return tensors


def found(tensors):
    makers = {name: functools.partial(np.asarray, a) for name, a in tensors.items()}
    return contents.find(Checkpoint("a.pth", "torch", makers))


def pruned(tensors, name):
    """`tensors` as `torch.nn.utils.prune` leaves them: the values and a mask of them."""
    mask = np.float32([[1, 0, 1], [0, 0, 1]])
    original = tensors.pop(name)
    return {**tensors, f"{name}_orig": original, f"{name}_mask": mask}, original * mask


@pytest.mark.parametrize(
    "wrapper", ["_orig_mod", "_fsdp_wrapped_module._checkpoint_wrapped_module"]
)
def test_modules_that_are_wrapped_one_by_one_get_their_names_back(wrapper):
    """`layer1.compile()` alone keeps them; `layer1 = torch.compile(layer1)` does not."""
    wrapped = {
        name.replace("layer1.0", f"layer1.{wrapper}.0").replace(
            "bn1.", f"bn1.{wrapper}."
        ): a
        for name, a in state(prefix="module.").items()
    }
    network, plain = found(wrapped), found(state(prefix="module."))
    assert network.tensors.keys() == plain.tensors.keys()
    both = {**state(), **state(prefix="_orig_mod.")}
    with pytest.raises(WeightsError, match="2 networks"):
        found(both)


@pytest.mark.parametrize(
    "name", ["conv1.weight", "layer2.0.downsample.0.weight", "fc.weight"]
)
def test_pruned_tensors_are_multiplied_by_their_masks(name):
    tensors, expected = pruned(state(), name)
    network = found(tensors)
    key = tuple(name.rsplit(".", 1))
    np.testing.assert_array_equal(network.tensors[key], expected)
    assert network.tensors.keys() == found(state()).tensors.keys()
    assert network.classes == 2 and not network.remarks


def test_a_mask_of_another_shape_is_refused():
    tensors, _ = pruned(state(), "conv1.weight")
    tensors["conv1.weight_mask"] = np.ones((3, 2))
    with pytest.raises(
        WeightsError, match=r"conv1.weight_mask must have the shape \(2, 3\)"
    ):
        found(tensors)


@pytest.mark.parametrize("module", ["fc", "conv1", "layer1.0.conv1"])
@pytest.mark.parametrize(
    "fields, undone",
    [
        (("weight_g", "weight_v"), "remove_weight_norm"),
        (("weight_orig", "weight_u", "weight_v"), "remove_spectral_norm"),
        (("weight_orig",), "prune.remove"),
        (
            ("parametrizations.weight.original0", "parametrizations.weight.original1"),
            "remove_parametrizations",
        ),
        (
            ("parametrizations.weight.original", "parametrizations.weight.0._u"),
            "remove_parametrizations",
        ),
    ],
)
def test_computed_weights_are_refused_with_the_call_that_stores_them(
    module, fields, undone
):
    tensors = state()
    weight = tensors.pop(f"{module}.weight")
    tensors |= {f"{module}.{field}": weight for field in fields}
    with pytest.raises(WeightsError, match=undone) as caught:
        found(tensors)
    assert f"{module}." in str(caught.value) and "\n" not in str(caught.value)


def test_networks_in_quantization_aware_training_are_named():
    tensors = {**state(), "layer1.0.conv1.weight_fake_quant.scale": np.ones(2)}
    with pytest.raises(
        WeightsError, match="quantization-aware training; save the state"
    ):
        found(tensors)


def test_computed_weights_outside_the_network_do_not_matter():
    tensors = {
        **state(head="", prefix="backbone."),
        "head.last.weight_g": np.ones((2, 1)),
    }
    tensors["head.last.weight_v"] = np.ones((2, 3))
    assert found(tensors).classes is None


@pytest.mark.parametrize("prefix", ["", "feature_extractor.", "0."])
def test_networks_in_a_sequential_get_their_names_back(prefix):
    """As `nn.Sequential(*list(resnet.children())[:-1])` numbers the modules."""
    numbers = {"conv1": 0, "bn1": 1, **{f"layer{n}": n + 3 for n in range(1, 5)}}

    def numbered(name):
        first, rest = name.split(".", 1)
        return f"{prefix}{numbers[first]}.{rest}"

    plain = state(head="")
    network = found({numbered(name): array for name, array in plain.items()})
    expected = found(plain).tensors
    assert network.tensors.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(network.tensors[key], array)


def test_other_sequential_networks_keep_their_numbers():
    """Without its pooling the stages of a network have other numbers."""
    names = {("0", "weight"): "a", ("1", "weight"): "b", ("6.0.conv1", "weight"): "c"}
    assert torch_forms.named(names) == {key: (name,) for key, name in names.items()}


def test_weights_of_a_loss_beside_a_classifier_are_ignored():
    """A LightningModule holds its loss, too: `CrossEntropyLoss(weight=...)`."""
    tensors = state(head="classifier", prefix="backbone.")
    network = found({**tensors, "criterion.weight": np.ones(2)})
    assert network.classes == 2
    assert [r for r in network.remarks if "criterion.weight" in r]
    two = {**tensors, "head.weight": np.ones((2, 3))}
    assert found(two).classes is None


def test_a_normalization_in_front_is_said():
    tensors = state(head="1.fc", prefix="1.")
    network = found({**tensors, "0.mean": np.ones(3), "0.std": np.ones(3)})
    assert any("images must be normalized by them" in r for r in network.remarks)
