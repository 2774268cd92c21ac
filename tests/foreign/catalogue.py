"""The files that `write.py` makes with other people's tools, and the network in each."""

# What timm's network is called, and how it is made small.
NETWORKS = {
    "resnet18": {"channels": (8, 16, 24, 32)},
}
CLASSES = 6
# File -> network in it.
FILES = {
    "safetensors.safetensors": "resnet18",
    "torch.pth": "resnet18",
    "timm_hub/model.safetensors": "resnet18",
    "timm_hub/pytorch_model.bin": "resnet18",
}


def axes(network):
    """The arguments of `keras_resnets.create_model` for a network of this table."""
    return {"filters": NETWORKS[network]["channels"]}
