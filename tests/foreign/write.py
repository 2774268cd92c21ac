"""Writes files with torch, safetensors, timm, ..., and the logits of what is in them.

    python tests/foreign/write.py FOLDER

in an environment of `requirements.txt`. The networks are small; every tensor of them is
drawn by its name, the BN statistics too, and the counters of batches are not 0.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from foreign import catalogue
from foreign import cifar_networks
from foreign import cifar_repositories
from foreign import hub_presets
from foreign import networks
from foreign import refused
from foreign import wrappers


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for write in wrappers.WRITERS:
        for name, model in write(folder).items():
            expected[name] = networks.outputs(model)
    expected.update(hub_presets.write(folder))
    refused.write(folder)
    cifar_networks.write(folder)
    cifar_repositories.write(folder)
    wanted = (*catalogue.FILES, *catalogue.HEADLESS, *catalogue.REFUSED)
    missing = [name for name in wanted if not (folder / name).exists()]
    if missing:
        sys.exit(f"nobody wrote {', '.join(missing)}")
    np.savez(folder / "logits.npz", **expected)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
