"""Initial weights of a deeper network that computes what a shallower trained one does.

The blocks of the shallower network are spread over each stage of the deeper one, and
the other blocks start as the identity: the scale of their last batch normalization is
zero (Net2DeeperNet, Chen 2015, arXiv:1511.05641; the zero as in Goyal 2017).

    python benchmarks/deepen.py resnet32 cifar10 resnet56 deeper.weights.h5
"""

import argparse
import collections
import re

import common

common.quiet_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402

import keras_resnets  # noqa: E402


def blocks(model):
    """The block numbers of each stage, `{1: [1, 2, 3], ...}`, by layer names."""
    found = collections.defaultdict(set)
    for layer in model.layers:
        if match := re.match(r"stage(\d+)_block(\d+)_", layer.name):
            found[int(match[1])].add(int(match[2]))
    return {stage: sorted(numbers) for stage, numbers in found.items()}


def places(trained, deeper):
    """Which block of `deeper` takes each block of `trained`, by (stage, block).

    The first block stays the first, as it alone has a stride or a projection.
    """
    return {
        (stage, round(i * (len(deeper[stage]) - 1) / max(len(numbers) - 1, 1)) + 1): (
            stage,
            number,
        )
        for stage, numbers in trained.items()
        for i, number in enumerate(numbers)
    }


def deepen(trained, deeper):
    """Sets the weights of `deeper` so that it computes what `trained` computes."""
    sources = places(blocks(trained), blocks(deeper))
    for layer in deeper.layers:
        match = re.match(r"stage(\d+)_block(\d+)_(.*)", layer.name)
        if not layer.weights:
            continue
        if match is None:
            layer.set_weights(trained.get_layer(layer.name).get_weights())
        elif source := sources.get((int(match[1]), int(match[2]))):
            name = "stage{}_block{}_".format(*source) + match[3]
            layer.set_weights(trained.get_layer(name).get_weights())
        elif match[3] == last_bn(deeper, match[1], match[2]):
            layer.gamma.assign(np.zeros(layer.gamma.shape))


def last_bn(model, stage, block):
    """The part `bn2` or `bn3` of a block's layer names."""
    start = f"stage{stage}_block{block}_"
    return max(
        layer.name.removeprefix(start)
        for layer in model.layers
        if layer.name.startswith(start + "bn")
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained", help="variant")
    parser.add_argument("weights", help="its weights, such as cifar10")
    parser.add_argument("deeper", help="variant with more blocks of the same kind")
    parser.add_argument("output", help=".weights.h5")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    trained = keras_resnets.create_model(arguments.trained, weights=arguments.weights)
    deeper = keras_resnets.create_model(
        arguments.deeper,
        weights=None,
        classes=trained.output_shape[-1],
        input_shape=trained.input_shape[1:],
    )
    deepen(trained, deeper)
    images = np.random.default_rng(0).normal(size=(64, *trained.input_shape[1:]))
    difference = np.abs(
        trained.predict(images, verbose=0) - deeper.predict(images, verbose=0)
    ).max()
    if difference > 1e-5:
        # As for pre-activation blocks, which do not end in a batch normalization.
        raise SystemExit(
            f"{arguments.deeper} computes something else: outputs differ by "
            f"{difference:.2g}"
        )
    print(f"largest difference of the outputs: {difference:.2g}")
    deeper.save_weights(arguments.output)


if __name__ == "__main__":
    main()
