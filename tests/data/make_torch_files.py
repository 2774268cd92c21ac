"""Writes small files of the real torch and safetensors, and what stands in them.

python tests/data/make_torch_files.py      (torch and safetensors installed)
"""

import collections
import pathlib

import numpy as np
import safetensors.torch
import torch

HERE = pathlib.Path(__file__).parent


def tensors():
    torch.manual_seed(0)
    whole = torch.randn(4, 6)
    return collections.OrderedDict(
        {
            "module.whole.weight": torch.nn.Parameter(whole),
            "module.view.weight": whole[1:3, ::2],
            "module.transposed.weight": torch.randn(3, 5).T,
            "module.half.weight": torch.randn(7).half(),
            "module.bfloat.weight": torch.randn(2, 3).bfloat16(),
            "module.double.weight": torch.randn(3).double(),
            "module.scalar.weight": torch.tensor(2.5),
            "module.empty.weight": torch.zeros(0, 3),
            "module.ints.weight": torch.arange(5, dtype=torch.int32),
            "module.bn.num_batches_tracked": torch.tensor(7),
        }
    )


if __name__ == "__main__":
    made = tensors()
    wrapped = {"epoch": 3, "state_dict": made, "best_prec1": torch.tensor(91.5)}
    torch.save(wrapped, HERE / "torch_zip.pth")
    torch.save(wrapped, HERE / "torch_stream.pth", _use_new_zipfile_serialization=False)
    plain = {name: t.detach().clone().contiguous() for name, t in made.items()}
    safetensors.torch.save_file(plain, HERE / "real.safetensors", {"format": "pt"})
    arrays = {name: t.detach().float().numpy() for name, t in made.items()}
    np.savez(HERE / "torch_files.npz", **arrays)
