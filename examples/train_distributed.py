"""Trains on several machines, each with its devices, as one (docs/distributed.md).

    KERAS_BACKEND=jax python examples/train_distributed.py --data cifar10.npz \
        --output run --coordinator 10.0.0.1:9000 --processes 2 --process 0

Start it on every machine with the same words, but `--process` counting up from 0; the
folders must be the same (a shared file system). It takes as long as one machine does,
divided by their number. `--smoke` starts two processes on this machine, for seconds.
"""

import argparse
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import shapes

import keras_resnets
from keras_resnets.training import devices
from keras_resnets.training import get_recipe
from keras_resnets.training import open_dataset
from keras_resnets.training import train


def main():
    options = parse()
    if options.smoke:
        sys.exit(smoke())
    devices.connect(options.coordinator, options.processes, options.process)
    # All processes begin with the same weights.
    keras.utils.set_random_seed(0)
    with devices.use("all"):
        recipe = get_recipe(options.recipe)
        if options.epochs:
            recipe = recipe.replace(epochs=options.epochs)
        data = open_dataset(options.data, validation=0.1)
        model = keras_resnets.create_model(
            options.model,
            classes=len(data.classes),
            classifier_activation=None,
            **recipe.axes,
        )
        run = train(
            model,
            data,
            recipe,
            options.output,
            batch_size=options.batch_size,
            verbose=2 if options.process == 0 else 0,
        )
    if options.process == 0:
        print(
            f"{options.processes} processes: test accuracy "
            f"{run.figures['test_accuracy']:.2%}"
        )


def smoke():
    """Two processes on 127.0.0.1; returns the worse exit code."""
    folder = pathlib.Path(tempfile.mkdtemp())
    data = shapes.write_npz(folder / "shapes.npz", train=128)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["--data", data, "--output", folder / "run", "--coordinator", address]
    words += ["--processes", 2, "--model", "resnet8", "--epochs", 1, "--batch-size", 32]
    words += ["--recipe", "he2015_cifar"]
    started = [
        subprocess.Popen(
            [sys.executable, __file__, *map(str, words), "--process", str(process)]
        )
        for process in range(2)
    ]
    return max(process.wait() for process in started)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help=".npz file, or cifar10")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--recipe", default="he2015_cifar")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--batch-size", type=int, help="over all devices")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--coordinator", help="host:port of process 0")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="two processes, seconds")
    options = parser.parse_args()
    if not options.smoke and not all(
        (options.data, options.output, options.coordinator)
    ):
        parser.error("--data, --output and --coordinator are needed (or --smoke)")
    return options


if __name__ == "__main__":
    main()
