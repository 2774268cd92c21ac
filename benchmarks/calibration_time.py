"""Seconds that calibration takes.

    python benchmarks/calibration_time.py [--model resnet50] [--count 500]

What `keras_resnets.quantization.quantize` does with calibration images before anything
is converted: the network rewritten, ranges sought, biases corrected. Images of noise in
the network's size, in memory; random weights, settled BN statistics; all cores.

Target: 500 images of ResNet-50 in at most 60 s on two cores.
"""

import common


def measure(name, count, method):
    """Seconds for so many images."""
    import numpy as np

    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export import session
    from keras_resnets.images import samples
    from keras_resnets.quantization.backends import engines
    from keras_resnets.quantization.options import Options

    model = keras_resnets.create_model(name)
    shape = model.input_shape[1:]
    random_weights.settle(model, samples.default_images(shape))
    images = np.random.default_rng(0).standard_normal((count, *shape))
    images = images.astype("float32")
    ready = session.make_ready(model, "int8", images, images[:4])
    options = Options.of("static_wi8_ai8", method=method)
    return common.seconds(lambda: engines.ranged(ready, options))


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--count", type=int, default=500)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    rows = []
    for method in ("mse", "minmax"):
        taken = measure(arguments.model, arguments.count, method)
        rows.append((method, *common.target(taken, 60, at_most=True, unit="s")))
    headers = (f"{arguments.count} images, {arguments.model}", "taken", "target", "")
    common.show(headers, rows)


if __name__ == "__main__":
    main()
