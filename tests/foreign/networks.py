"""timm's ResNet-18, made small, with values drawn by name."""

import drawn
from foreign import catalogue
from foreign.tools import timm
from foreign.tools import torch


def network(salt="", **options):
    """In its inference mode; another `salt` draws other values.

    Args:
        salt: stands before the names that are drawn by.
        **options: of `timm.create_model`.
    """
    options = {"num_classes": catalogue.CLASSES, **catalogue.SMALL, **options}
    return filled(timm.create_model("resnet18", **options), salt)


def filled(model, salt=""):
    """`model` with all its tensors drawn by name, in its inference mode."""
    state = {
        key: torch.tensor(7)
        if key.endswith("num_batches_tracked")
        else torch.from_numpy(drawn.tensor(salt + key, tuple(value.shape)))
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state, strict=True)
    return model.eval()


def outputs(model):
    """What it makes of `drawn.pictures`: logits, or pooled features."""
    images = torch.from_numpy(drawn.pictures()).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model.float()(images).numpy()
