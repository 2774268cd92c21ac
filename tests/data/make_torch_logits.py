"""Writes torch_logits.npz: what torchvision and timm say with weights drawn by name.

    python tests/data/make_torch_logits.py [VARIANT ...] [--drn DRN_PY]

Needs torch, torchvision and timm; DRN_PY is the file drn.py of github.com/fyu/drn.
Variants that are not asked for keep what the file has of them.

For every variant: the names and shapes of its tensors, its logits, and values sampled
from the feature map of each stage (batch, height, width, channels).
"""

import argparse
import importlib.util
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import drawn
import numpy as np
from foreign.tools import timm
from foreign.tools import torch
from foreign.tools import torchvision

TORCHVISION = (
    "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d "
    "resnext101_64x4d wide_resnet50_2 wide_resnet101_2"
).split()
# Ours -> timm's name, where torchvision has no twin.
TIMM = {
    **{
        name: name
        for name in (
            "resnet18d resnet34d resnet50c resnet50d resnet101c resnet101d resnet152c "
            "resnet152d resnet200d resnext50d_32x4d resnext101_32x4d darknet53"
        ).split()
    },
    "resnet18v2": "resnetv2_18",
    "resnet34v2": "resnetv2_34",
    "resnet50v2": "resnetv2_50",
    "resnet101v2": "resnetv2_101",
    "resnet18v2d": "resnetv2_18d",
    "resnet34v2d": "resnetv2_34d",
    "resnet50v2d": "resnetv2_50d",
}


DRN = "drn_c_26 drn_c_42 drn_c_58 drn_d_22 drn_d_38 drn_d_54 drn_d_105".split()


def built(name, drn=None):
    if drn is not None:
        # Its pooling has a fixed size, for pictures of 224; the map here has 8.
        return getattr(drn, name)(pool_size=drawn.PICTURES[1] // 8)
    if name in TORCHVISION:
        return torchvision.models.get_model(name, weights=None)
    return timm.create_model(TIMM[name], pretrained=False)


def stages(model):
    if hasattr(model, "stages"):
        return list(model.stages)
    names = [f"layer{index}" for index in range(1, 9)]
    return [getattr(model, name) for name in names if hasattr(model, name)]


def recorded(name, drn=None):
    model = built(name, drn).eval()
    shapes = {
        key: tuple(value.shape)
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    state = {key: torch.from_numpy(drawn.tensor(key, s)) for key, s in shapes.items()}
    model.load_state_dict(state, strict=False)
    maps = []
    for stage in stages(model):
        stage.register_forward_hook(
            lambda _, __, output: maps.append(output.permute(0, 2, 3, 1).numpy())
        )
    images = torch.from_numpy(drawn.pictures()).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model(images).numpy()
    return {
        f"{name}/tensors": np.array(json.dumps(shapes)),
        f"{name}/logits": logits,
        **{
            f"{name}/stage{index}": drawn.sampled(value)
            for index, value in enumerate(maps, 1)
        },
    }


def loaded(path):
    spec = importlib.util.spec_from_file_location("drn", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--drn", help="drn.py of github.com/fyu/drn")
    parser.add_argument(
        "variants", nargs="*", help="those of torchvision and timm (all)"
    )
    arguments = parser.parse_args()
    drn_path = arguments.drn
    path = pathlib.Path(__file__).with_name("torch_logits.npz")
    found = dict(np.load(path)) if path.exists() else {}
    wanted = arguments.variants or (DRN if drn_path else (*TORCHVISION, *TIMM))
    drn_module = loaded(drn_path) if drn_path else None
    for variant in wanted:
        found.update(recorded(variant, drn_module))
        print(variant, float(np.abs(found[f"{variant}/logits"]).max()), flush=True)
    np.savez_compressed(path, **found)
    print(path, path.stat().st_size)
