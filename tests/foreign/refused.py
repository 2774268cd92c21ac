"""Files whose numbers are no weights, and files that hold something else."""

import safetensors.torch
from foreign.networks import network
from foreign.tools import torch


def write(folder):
    """Writes the files of `catalogue.REFUSED` into `folder`."""
    changes = {
        "nan.pth": (
            "bn1.running_mean",
            lambda t: t.index_fill(0, t.new_ones(1).long(), torch.nan),
        ),
        "infinite.safetensors": ("conv1.weight", lambda t: t / 0),
        "huge.pth": ("conv1.weight", lambda t: t.double() * 1e300),
        "complex.pth": ("conv1.weight", lambda t: t.cfloat()),
        "complex.safetensors": ("conv1.weight", lambda t: t.cfloat()),
        "float8.safetensors": ("conv1.weight", lambda t: t.to(torch.float8_e4m3fn)),
        "float8.pth": ("conv1.weight", lambda t: t.to(torch.float8_e4m3fn)),
        "int8.safetensors": ("conv1.weight", lambda t: (t * 100).to(torch.int8)),
        "quantized.pth": ("conv1.weight", quantized),
    }
    for name, (key, change) in changes.items():
        state = network().state_dict()
        state[key] = change(state[key])
        save = torch.save if name.endswith(".pth") else safetensors.torch.save_file
        save(state, folder / name)
    normed, spectral = network(), network()
    torch.nn.utils.weight_norm(normed.fc)
    torch.save(normed.state_dict(), folder / "weight_norm.pth")
    torch.nn.utils.parametrizations.spectral_norm(spectral.layer1[0].conv1)
    torch.save(spectral.state_dict(), folder / "spectral.pth")
    pair = {"a": network(), "b": network("other.")}
    torch.save(torch.nn.ModuleDict(pair).state_dict(), folder / "two.pth")
    torch.save(network(), folder / "whole_model.pth")
    torch.jit.save(torch.jit.script(network()), folder / "script.pt")


def quantized(tensor):
    scales = torch.full((len(tensor),), 0.1)
    points = torch.zeros(len(tensor), dtype=torch.long)
    return torch.quantize_per_channel(tensor, scales, points, 0, torch.qint8)
