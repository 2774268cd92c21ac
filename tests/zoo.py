"""Small models as users build them: nested, shared, with operations, gates, branches.

Every one of them is a valid Keras model; `ZOO` has them by name, `seeded` gives each
random values. All take one image of `SHAPE`.
"""

import keras
from helpers import randomize
from keras import layers
from keras import ops

SHAPE = (16, 16, 3)


def _conv(filters, name=None, **options):
    return layers.Conv2D(
        filters, 3, padding="same", use_bias=False, name=name, **options
    )


def _block(filters, name=None, shape=(16, 16, 8)):
    """Convolution, BN and ReLU as a model of its own."""
    given = keras.Input(shape)
    x = layers.BatchNormalization()(_conv(filters)(given))
    return keras.Model(given, layers.ReLU()(x), name=name)


def _classify(x, name="predictions"):
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(5, activation="softmax", name=name)(x)


def _stem(image):
    return layers.ReLU()(layers.BatchNormalization()(_conv(8)(image)))


def nested():
    image = keras.Input(SHAPE)
    return keras.Model(image, _classify(_block(8, "inner")(_stem(image))))


def nested_called_twice():
    image, inner = keras.Input(SHAPE), _block(8, "inner")
    return keras.Model(image, _classify(inner(inner(_stem(image)))))


def nested_in_nested():
    image, inner = keras.Input(SHAPE), _block(8, "inner")
    given = keras.Input((16, 16, 8))
    x = layers.Add()([inner(inner(given)), given])
    middle = keras.Model(given, x, name="middle")
    outer = keras.Sequential([keras.Input((16, 16, 8)), middle], name="outer")
    return keras.Model(image, _classify(outer(middle(_stem(image)))))


def nested_on_two_branches():
    """A Siamese network: the inner one sees the image and a blurred one."""
    image, inner = keras.Input(SHAPE), _block(8, "inner", SHAPE)
    blurred = layers.AveragePooling2D(3, 1, padding="same")(image)
    x = layers.Subtract()([inner(image), inner(blurred)])
    y = layers.Add()([inner(image), layers.LeakyReLU()(x)])
    return keras.Model(image, _classify(y))


def nested_same_names():
    """Two inner models whose layers have the names of each other and of the outer one."""

    def inner(name):
        given = keras.Input((16, 16, 8))
        x = layers.ReLU(name="relu")(_conv(8, "conv")(given))
        return keras.Model(given, x, name=name)

    image = keras.Input(SHAPE)
    x = inner("left")(_conv(8, "conv")(image))
    return keras.Model(image, _classify(inner("right")(x)))


def nested_two_outputs():
    given = keras.Input((16, 16, 8))
    x = layers.ReLU()(_conv(8)(given))
    inner = keras.Model(given, [x, layers.ReLU()(_conv(8)(x))], name="inner")
    image = keras.Input(SHAPE)
    left, right = inner(_stem(image))
    return keras.Model(image, _classify(layers.Add()([right, left])))


def shared_convolution():
    image, conv = keras.Input(SHAPE), _conv(8)
    x = layers.ReLU()(conv(_stem(image)))
    return keras.Model(image, _classify(layers.ReLU()(conv(x))))


def shared_convolution_own_norms():
    image, conv = keras.Input(SHAPE), _conv(8)
    x = layers.ReLU()(layers.BatchNormalization()(conv(_stem(image))))
    x = layers.ReLU()(layers.BatchNormalization()(conv(x)))
    return keras.Model(image, _classify(x))


def shared_norm():
    image, norm = keras.Input(SHAPE), layers.BatchNormalization()
    x = layers.ReLU()(norm(_conv(8)(image)))
    return keras.Model(image, _classify(layers.ReLU()(norm(_conv(8)(x)))))


def shared_without_weights():
    """One ReLU, one padding, one pooling and one addition for all."""
    relu, pad = layers.ReLU(), layers.ZeroPadding2D(1)
    pool, add = layers.AveragePooling2D(2), layers.Add()
    image = keras.Input(SHAPE)
    x = relu(layers.BatchNormalization()(_conv(8)(image)))
    y = relu(layers.Conv2D(8, 3)(pad(x)))
    x = pool(add([x, y]))
    y = relu(layers.Conv2D(8, 3)(pad(x)))
    return keras.Model(image, _classify(pool(relu(add([x, y])))))


def operations():
    image = keras.Input(SHAPE)
    x = ops.relu(_stem(image) + layers.BatchNormalization()(_conv(8)(image)))
    y = ops.concatenate([x, layers.ReLU()(_conv(8)(x))], axis=-1)
    y = ops.mean(y, axis=(1, 2))
    return keras.Model(image, layers.Dense(5)(ops.reshape(y, (-1, 16))))


def products():
    image = keras.Input(SHAPE)
    x = _stem(image)
    x = layers.Multiply()([x, layers.ReLU()(_conv(8)(x))])
    x = layers.Concatenate()([x, layers.MaxPooling2D(3, 1, padding="same")(x)])
    return keras.Model(image, _classify(layers.ReLU(6.0)(_conv(8)(x))))


def arithmetic():
    """Numbers beside tensors."""
    image = keras.Input(SHAPE)
    x = _stem(image * 2.0 - 0.5)
    return keras.Model(image, _classify(layers.ReLU()(1.5 - _conv(8)(x) / 2.0)))


def branches():
    image = keras.Input(SHAPE)
    x = _stem(image)
    a = layers.ReLU()(_conv(4)(x))
    b = layers.ReLU()(layers.BatchNormalization()(_conv(8)(x)))
    c = layers.MaxPooling2D(3, strides=1, padding="same")(x)
    x = layers.Concatenate()([a, b, c])
    return keras.Model(image, _classify(layers.ReLU()(_conv(8)(x))))


def gated():
    """Squeeze and excitation: a sigmoid gate on the channels."""
    image = keras.Input(SHAPE)
    x = _stem(image)
    g = layers.GlobalAveragePooling2D(keepdims=True)(x)
    g = layers.Conv2D(4, 1, activation="relu")(g)
    g = layers.Conv2D(8, 1, activation="sigmoid")(g)
    return keras.Model(image, _classify(layers.Multiply()([x, g])))


def gated_by_dense():
    image = keras.Input(SHAPE)
    x = _stem(image)
    g = layers.Dense(4, activation="relu")(layers.GlobalAveragePooling2D()(x))
    g = layers.Dense(8, activation="sigmoid")(g)
    return keras.Model(
        image, _classify(layers.Multiply()([x, layers.Reshape((1, 1, 8))(g)]))
    )


def pooled_behind_sigmoid():
    image = keras.Input(SHAPE)
    x = layers.Activation("sigmoid")(_stem(image))
    x = layers.AveragePooling2D(2)(x)
    return keras.Model(image, _classify(layers.ReLU()(_conv(8)(x))))


def sequential_inside():
    image = keras.Input(SHAPE)
    inner = keras.Sequential(
        [_conv(8), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2)],
        name="inner",
    )
    return keras.Model(image, _classify(inner(image)))


def sequential_called_twice():
    inner = keras.Sequential([_conv(8), layers.BatchNormalization(), layers.ReLU()])
    image = keras.Input(SHAPE)
    return keras.Model(image, _classify(inner(inner(_stem(image)))))


def inverted_residual():
    """A block of MobileNetV2: depthwise, ReLU6, linear."""
    image = keras.Input(SHAPE)
    x = _stem(image)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(16, 1)(x)))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(y))
    return keras.Model(image, _classify(layers.Add()([x, y])))


def separable():
    """Two outputs a channel, dilation, strides, and one that is applied twice."""
    image = keras.Input(SHAPE)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    shared = layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2)
    x = layers.ReLU(6.0)(shared(layers.ReLU()(shared(x))))
    x = layers.DepthwiseConv2D((5, 3), dilation_rate=2, activation="silu")(x)
    x = layers.SeparableConv2D(8, 3, strides=2, use_bias=False, activation="relu")(x)
    return keras.Model(image, _classify(x))


def swish_block():
    """A block of EfficientNet: swish, depthwise, gate, all in one."""
    image = keras.Input(SHAPE)
    x = layers.Rescaling(1 / 255.0)(image)
    x = layers.Activation("swish")(layers.BatchNormalization()(_conv(8)(x)))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.Activation("swish")(layers.BatchNormalization()(y))
    g = layers.GlobalAveragePooling2D(keepdims=True)(y)
    g = layers.Conv2D(4, 1, activation="swish")(g)
    y = layers.multiply([y, layers.Conv2D(8, 1, activation="sigmoid")(g)])
    y = layers.BatchNormalization()(layers.Conv2D(8, 1)(y))
    return keras.Model(image, _classify(layers.add([x, y])))


def swish():
    """As layers, inside of layers and as an operation; one tensor twice."""
    image = keras.Input(SHAPE)
    x = layers.Activation("silu")(layers.BatchNormalization()(_conv(8)(image)))
    y = layers.Conv2D(8, 3, padding="same", activation="swish")(x)
    x = keras.ops.silu(layers.add([x, y]))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 1)(x))
    x = layers.Dense(16, activation="silu")(x)
    return keras.Model(image, layers.Dense(5, activation="softmax")(x))


def curves():
    """Activations that are no pieces of a line, but for one that goes below zero."""
    image = keras.Input(SHAPE)
    x = layers.Activation("gelu")(layers.BatchNormalization()(_conv(8)(image)))
    y = layers.Conv2D(8, 3, padding="same", activation="hard_silu")(x)
    x = keras.ops.gelu(layers.add([x, y]), approximate=False)
    x = layers.Activation("leaky_relu")(layers.Conv2D(16, 1)(x))
    x = keras.ops.hard_silu(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(16, activation="leaky_relu")(x)
    return keras.Model(image, layers.Dense(5, activation="softmax")(x))


def hyperbolic():
    """tanh as a layer, inside of layers, as an operation, and in front of merges."""
    image = keras.Input(SHAPE)
    x = _stem(image)
    gate = layers.Conv2D(8, 1, activation="tanh")(x)
    x = layers.add([x, layers.multiply([_conv(8)(x), gate])])
    x = layers.concatenate([layers.Activation("tanh")(layers.Conv2D(16, 1)(x)), x])
    x = keras.ops.tanh(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(16, activation="tanh")(x)
    return keras.Model(image, layers.Dense(5, activation="softmax")(x))


def hard_sigmoids():
    """As layers, one of them applied twice, inside of layers and as an operation."""
    image = keras.Input(SHAPE)
    x = _stem(image)
    gate = layers.Activation("hard_sigmoid")
    y = layers.multiply([x, gate(layers.Conv2D(8, 1)(x))])
    x = layers.add([y, gate(_conv(8)(y))])
    x = layers.Conv2D(8, 3, padding="same", activation="hard_sigmoid")(x)
    x = layers.SeparableConv2D(8, 3, activation="hard_sigmoid")(x)
    x = keras.ops.hard_sigmoid(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(16, activation="hard_sigmoid")(x)
    return keras.Model(image, layers.Dense(5, activation="softmax")(x))


def two_outputs():
    image = keras.Input(SHAPE)
    x = _stem(image)
    y = layers.ReLU(name="second")(_conv(8)(x))
    return keras.Model(image, [_classify(y), y, x])


def named_outputs():
    image = keras.Input(SHAPE)
    x = _stem(image)
    y = layers.ReLU()(_conv(4)(x))
    return keras.Model(image, {"wide": x, "narrow": y, "classes": _classify(y)})


def output_between():
    """What a convolution and a BN put out, before what they are joined with."""
    image = keras.Input(SHAPE)
    x = _conv(8, "raw")(image)
    y = layers.BatchNormalization(name="normed")(x)
    return keras.Model(image, {"y": y, "x": x, "out": _classify(layers.ReLU()(y))})


def resized():
    """Preprocessing in front, as in Keras' tutorials, and a decoder's way back."""
    image = keras.Input(SHAPE)
    x = layers.RandomFlip("horizontal")(ops.image.resize(image, (24, 20)))
    x = _stem(layers.Rescaling(0.5, 0.25)(x))
    y = layers.UpSampling2D(interpolation="bilinear")(layers.MaxPooling2D()(x))
    z = layers.UpSampling2D(2)(layers.Conv2D(8, 1)(layers.AveragePooling2D(2)(x)))
    x = layers.Cropping2D(((1, 2), (3, 0)))(layers.Add()([x, y, z]))
    x = layers.Resizing(16, 16)(_conv(8)(x))
    return keras.Model(image, _classify(layers.ReLU()(_conv(12)(x))))


def unused_branch():
    """A layer that nobody reads is no part of the model."""
    image = keras.Input(SHAPE)
    x = _stem(image)
    _conv(8, "nobody")(x)
    return keras.Model(image, _classify(x))


ZOO = {
    make.__name__: make
    for make in (
        nested,
        nested_called_twice,
        nested_in_nested,
        nested_on_two_branches,
        nested_same_names,
        nested_two_outputs,
        shared_convolution,
        shared_convolution_own_norms,
        shared_norm,
        shared_without_weights,
        operations,
        products,
        arithmetic,
        branches,
        gated,
        gated_by_dense,
        pooled_behind_sigmoid,
        sequential_inside,
        sequential_called_twice,
        inverted_residual,
        separable,
        swish_block,
        swish,
        curves,
        hyperbolic,
        hard_sigmoids,
        two_outputs,
        named_outputs,
        output_between,
        unused_branch,
        resized,
    )
}


def seeded(name, seed=0):
    """The model of that name with random values everywhere."""
    return randomize(ZOO[name](), seed)
