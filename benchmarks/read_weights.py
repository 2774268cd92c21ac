"""Reading a .pth of ResNet-50 (102 MB) and setting its weights, over torch doing so.

    python benchmarks/read_weights.py --torch-python PYTHON

PYTHON is an interpreter with torch and torchvision; without them only our seconds are
shown. Both read the same file from the page cache, in turns, each in a process of its
own: `open_source(path).load(model)` against `load_state_dict(torch.load(path))`.
"""

import pathlib
import subprocess
import sys
import tempfile

from common import Worker
from common import parser
from common import quiet_tensorflow
from common import serve
from common import show
from common import target
from common import write

LIMIT = 1.5
MAKE = """
import sys, torch, torchvision
torch.save(torchvision.models.resnet50(weights=None).state_dict(), sys.argv[1])
"""


def ours(path):
    quiet_tensorflow()
    import keras_resnets
    from keras_resnets.weights import open_source

    model = keras_resnets.ResNet50(kernel_initializer="zeros")
    serve(lambda: open_source(path, "resnet50").load(model))


def torchs(path):
    import torch
    import torchvision

    model = torchvision.models.resnet50(weights=None)
    serve(lambda: model.load_state_dict(torch.load(path, weights_only=True)))


def measure(options, path):
    subprocess.run([options.torch_python, "-c", MAKE, path], check=True)
    workers = [
        Worker(__file__, f"ours {path}"),
        Worker(__file__, f"torch {path}", options.torch_python),
    ]
    asked = {worker.name: lambda worker=worker: worker.ask(1) for worker in workers}
    best = {name: [] for name in asked}
    for _ in range(options.rounds):
        for name, ask in asked.items():
            best[name].append(ask())
    for worker in workers:
        worker.close()
    return [min(seconds) for seconds in best.values()]


def main():
    arguments = parser(__doc__, rounds=9)
    arguments.add_argument("--torch-python", default=sys.executable)
    arguments.add_argument("--worker", nargs=1)
    options = arguments.parse_args()
    if options.worker:
        kind, _, path = options.worker[0].partition(" ")
        return {"ours": ours, "torch": torchs}[kind](path)
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "resnet50.pth")
        mine, theirs = measure(options, path)
        size = pathlib.Path(path).stat().st_size / 1e6
    row = target(mine / theirs, LIMIT, at_most=True)
    show(
        ("ResNet-50", "MB", "ours s", "torch s", "ratio", "target", ""),
        [("read and set", f"{size:.0f}", f"{mine:.3f}", f"{theirs:.3f}", *row)],
    )
    return write(options.json, {"ours": mine, "torch": theirs})


if __name__ == "__main__":
    main()
