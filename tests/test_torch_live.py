"""Against the installed torchvision and timm: into our networks, and back into theirs.

    KERAS_BACKEND=torch python -m pytest -m torch

in an environment with torch, torchvision and timm; what they compute stands for the
default run in data/torch_logits.npz.
"""

import drawn
import keras
import numpy as np
import pytest

import keras_resnets
from keras_resnets.models import creation
from keras_resnets.weights import saving
from keras_resnets.weights.readers import read

# It imports all three.
twins = pytest.importorskip(
    "data.make_torch_logits", reason="torch, torchvision or timm is not installed"
)
torch = twins.torch
pytestmark = pytest.mark.torch


def randomized(name):
    """Their network in its inference mode, every tensor of it drawn by its name."""
    model = twins.built(name).eval()
    state = {
        key: torch.from_numpy(drawn.tensor(key, tuple(value.shape)))
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    model.load_state_dict(state, strict=False)
    return model


@pytest.mark.parametrize("name", (*twins.TORCHVISION, *twins.TIMM))
def test_there_and_back(name, tmp_path):
    theirs = randomized(name)
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    options = {"input_shape": drawn.PICTURES[1:], "classifier_activation": None}
    ours, architecture, source = creation.create_described(
        name, tmp_path / "a.pth", {}, **options
    )
    pictures = drawn.pictures()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(pictures).permute(0, 3, 1, 2)).numpy()
    found = keras.ops.convert_to_numpy(ours(pictures, training=False))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    saving.save(ours, tmp_path / "b.safetensors", source, architecture)
    from safetensors.torch import load_file

    back = load_file(tmp_path / "b.safetensors")
    for key, value in theirs.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert value.numpy().tobytes() == back[key].numpy().tobytes(), key
    twins.built(name).load_state_dict(back, strict=True)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_files_that_torch_writes_now(legacy, half, tmp_path):
    state = randomized("resnet18").state_dict()
    state = {key: value.half() if half else value for key, value in state.items()}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    found = read(tmp_path / "a.pth")
    assert found["conv1.weight"].dtype == ("float16" if half else "float32")
    for key, value in found.items():
        np.testing.assert_array_equal(value, state[key].numpy())
    keras_resnets.ResNet18(weights=tmp_path / "a.pth")
