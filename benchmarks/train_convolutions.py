"""Convolutions in training, one by one: TensorFlow's against matrix products.

    python benchmarks/train_convolutions.py --batch 16 --side 224

The 1x1 convolutions of ResNet-50, and the 3x3 ones of its deeper stages, on the
TensorFlow backend with two threads: the best milliseconds of the output and both
gradients as TensorFlow's convolution operators, relative to `layers.PlainConv2D` with
every limit on the number of pixels removed. `tensorflow_ops.trained_conv2d` takes its
limits from this table.
"""

import common

THREADS = 2
# Kernel, stride, input channels, output channels, the image's side over the input's.
GEOMETRIES = (
    (1, 1, 64, 64, 4),
    (1, 1, 64, 256, 4),
    (1, 1, 256, 64, 4),
    (1, 1, 512, 128, 8),
    (1, 1, 256, 1024, 16),
    (1, 1, 1024, 256, 16),
    (1, 1, 512, 2048, 32),
    (1, 2, 256, 512, 4),
    (1, 2, 1024, 2048, 16),
    (3, 2, 128, 128, 4),
    (3, 2, 256, 256, 8),
    (3, 2, 512, 512, 16),
    (3, 1, 256, 256, 16),
    (3, 1, 512, 512, 32),
)


def steps(geometry, arguments):
    """The same convolution with its gradients, as TensorFlow's and as a product."""
    import keras
    import tensorflow as tf

    from keras_resnets.networks import layers
    from keras_resnets.networks import tensorflow_ops

    kernel, stride, channels, filters, share = geometry
    side = arguments.side // share
    # A 3x3 window of stride 2 comes padded.
    side += 2 if (kernel, stride) == (3, 2) else 0
    padding = "valid" if stride == 2 else "same"
    shape = (arguments.batch, side, side, channels)
    for limit in ("_PIXELS_1X1", "_PIXELS_3X3", "_PIXELS_3X3_STRIDE_2"):
        setattr(tensorflow_ops, limit, float("inf"))
    images = tf.cast(tf.random.normal(shape), arguments.dtype)

    def step(kind):
        layer = kind(
            filters,
            kernel,
            strides=stride,
            padding=padding,
            use_bias=False,
            dtype=arguments.dtype,
        )
        layer.build(shape)

        @tf.function(autograph=False)
        def run(images):
            with tf.GradientTape() as tape:
                tape.watch(images)
                outputs = layer(images, training=True)
            sources = [images, layer.kernel.value]
            return tape.gradient(outputs, sources, output_gradients=outputs)

        return lambda: run(images)

    return step(keras.layers.Conv2D), step(layers.PlainConv2D)


def main():
    parser = common.parser(__doc__, rounds=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=96, help="of the images")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    lines, figures = [], {}
    for geometry in GEOMETRIES:
        pair = dict(zip(("conv", "product"), steps(geometry, arguments), strict=True))
        # The first two calls trace and make the kernels.
        common.interleave(pair, 2)
        spent = common.interleave(pair, arguments.rounds)
        conv, product = (1e3 * min(spent[name]) for name in ("conv", "product"))
        kernel, stride, channels, filters, share = geometry
        what = f"{kernel}x{kernel}/{stride} {channels} to {filters}"
        side = arguments.side // share
        lines.append((what, side, conv, product, common.times(conv / product)))
        figures[f"{what} at {side}"] = conv / product
    header = ("convolution", "side", "ms, convolution", "product", "ratio")
    common.show(header, lines)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
