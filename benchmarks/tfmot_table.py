"""Accuracy after tensorflow-model-optimization, by tool and number of training images.

    python benchmarks/tfmot_table.py --data cifar10.npz [--only WORD]

Networks that this project trained with images and labels alone (`plain`), fine-tuned by
`tfmot.tfmot_quantize_aware`, `tfmot_cluster` and `tfmot_prune` on training images drawn by
chance (seed 0), shifted by up to 4 pixels and mirrored, run on all test images. Prints the
rows of the table in docs/compression.md: top-1, points lost, and the size of the weights
file after gzip relative to that of the float network.
"""

import gzip
import pathlib
import tempfile

import common
import fine_tuning

WEIGHTS = "keras_resnets_cifar10_plain"
# Network, tool, its setting, training images, epochs, images per step.
CASES = (
    ("resnet20", "quantize", None, 50_000, 1, 128),
    ("resnet20", "cluster", 32, 12_800, 1, 128),
    ("resnet20", "cluster", 32, 1_920, 1, 32),
    ("resnet14v2", "cluster", 32, 1_920, 1, 32),
    ("resnet20", "prune", 0.5, 50_000, 3, 128),
    ("resnet20", "prune", 0.5, 50_000, 1, 128),
    ("resnet20", "prune", 0.5, 16_000, 1, 128),
    ("resnet20", "prune", 0.5, 3_840, 1, 32),
)
HEADERS = ("network (float)", "tool", "images, epochs", "top-1", "lost", "gzip")


def training_images(subject, count):
    """Preprocessed images and labels of `count` training images."""
    import numpy as np

    with np.load(subject.data) as file:
        pixels, labels = file["x_train"], np.ravel(file["y_train"])
    drawn = np.random.default_rng(0).permutation(len(labels))[:count]
    x = subject.model.preprocessing.normalize(pixels[drawn], "channels_last")
    return x, labels[drawn]


def gzip_size(model, folder):
    """Bytes of the weights file after gzip."""
    path = pathlib.Path(folder) / "net.weights.h5"
    model.save_weights(path, overwrite=True)
    return len(gzip.compress(path.read_bytes(), 9))


def measure(subject, folder, tool, setting, data, tuning):
    """(top-1, share of the float file's bytes after gzip; None for a TFLite file)."""
    from keras_resnets import tfmot
    from keras_resnets.images import evaluation

    if tool == "quantize":
        path = pathlib.Path(folder) / "net.tflite"
        tfmot.tfmot_quantize_aware(subject.model, path, data, tuning, overwrite=True)
        return subject.figures(path).file_top1, None
    call = {"cluster": tfmot.tfmot_cluster, "prune": tfmot.tfmot_prune}[tool]
    made = call(subject.model, data, setting, tuning)
    size = gzip_size(made, folder) / gzip_size(subject.model, folder)
    return evaluation.evaluate(made, subject.test, 500).top1, size


def one(name, tool, setting, images, epochs, batch, data):
    """A row of the table, and its figures."""
    from keras_resnets import tfmot
    from keras_resnets.images import evaluation

    tuning = tfmot.Tuning(epochs=epochs, batch_size=batch, crop=4)
    with tempfile.TemporaryDirectory() as folder:
        subject = fine_tuning.Subject(f"{name}={WEIGHTS}", data, folder)
        train = training_images(subject, images)
        before = evaluation.evaluate(subject.model, subject.test, 500).top1
        top1, size = measure(subject, folder, tool, setting, train, tuning)
    row = (
        f"{name} ({100 * before:.2f})",
        tool if setting is None else f"{tool} {setting}",
        f"{images:,}, {epochs}",
        f"{100 * top1:.2f}",
        f"{100 * (before - top1):.2f}",
        "" if size is None else f"{size:.3f}",
    )
    return row, {"float": before, "top1": top1, "gzip": size}


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ")
    parser.add_argument("--only", default="", help="cases whose name has this word")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    rows, figures = [], {}
    for name, tool, *rest in CASES:
        label = " ".join(map(str, (name, tool, *rest)))
        if arguments.only in label:
            found, figures[label] = one(name, tool, *rest, arguments.data)
            rows.append(found)
            print(*found, sep=" | ", flush=True)
    common.show(HEADERS, rows)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
