"""Writes files with torch, safetensors, timm, ..., and the logits of what is in them.

    python tests/foreign/write.py FOLDER

in an environment of `requirements.txt`. The networks are small; every tensor of them is
drawn by its name, the BN statistics too, and the counters of batches are not 0.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import drawn
import numpy as np
import safetensors.torch
from foreign import catalogue
from foreign import cifar_networks
from foreign.tools import timm
from foreign.tools import torch


def network(name):
    """timm's network in its inference mode, with values drawn by name."""
    model = timm.create_model(
        name, num_classes=catalogue.CLASSES, **catalogue.NETWORKS[name]
    )
    state = {
        key: torch.tensor(7)
        if key.endswith("num_batches_tracked")
        else torch.from_numpy(drawn.tensor(key, tuple(value.shape)))
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state, strict=True)
    return model.eval()


def logits(model):
    images = torch.from_numpy(drawn.pictures()).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model(images).numpy()


def plain(model, folder):
    state = model.state_dict()
    safetensors.torch.save_file(state, folder / "safetensors.safetensors")
    torch.save(state, folder / "torch.pth")


def timm_hub(model, folder):
    timm.models.save_for_hf(model, folder / "timm_hub", safe_serialization="both")


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name in catalogue.NETWORKS:
        expected[name] = logits(network(name))
    for write in (plain, timm_hub):
        write(network("resnet18"), folder)
    cifar_networks.write(folder)
    missing = [name for name in catalogue.FILES if not (folder / name).is_file()]
    if missing:
        sys.exit(f"nobody wrote {', '.join(missing)}")
    np.savez(folder / "logits.npz", **expected)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
