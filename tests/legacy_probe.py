"""Runs in a process with legacy Keras: how far rebuilt networks are from Keras 3's."""

import json
import pathlib
import sys

import numpy as np

from keras_resnets.tfmot.worker import main as worker


def main(root):
    """Writes a line of JSON: folder to distance, and whether Keras 3 was loaded."""
    found = {}
    for folder in sorted(pathlib.Path(root).iterdir()):
        job = json.loads((folder / "job.json").read_text())
        with (
            np.load(folder / "weights.npz") as weights,
            np.load(folder / "probe.npz") as probe,
        ):
            found[folder.name] = worker.distance(
                job["description"], dict(weights), probe["images"], probe["logits"]
            )
    said = {"apart": found, "keras 3": "keras" in sys.modules}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
