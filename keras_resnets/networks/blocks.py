"""Stems, shortcuts and residual units: functions of tensors, as in the papers' figures.

Each takes a tensor, what to build (`blueprint.Unit`, `blueprint.Conv`) and the `Parts`
of the network, and returns the output tensor. Shapes are given as (N, H, W, C) for
`channels_last`; with `channels_first` they are (N, C, H, W). H / s is rounded up.
"""

import keras

from keras_resnets.networks.blueprint import Conv
from keras_resnets.networks.blueprint import Pool
from keras_resnets.networks.blueprint import Unit
from keras_resnets.networks.layer_factory import Parts


def stem(x: keras.KerasTensor, parts: Parts) -> keras.KerasTensor:
    """Applies the first convolutions of the network, up to the pooling: endpoint `stem`.

    y = act(BN(conv(x))): one 7x7 of stride 2 (`"conv7"`) or 1 (`"drn"`), one 3x3
    (`"cifar"`, `"darknet"`), or three 3x3 of strides 2, 1, 1 (`"deep"`, `"deep_tiered"`:
    Bag of Tricks, arXiv:1812.01187, Fig. 2b). Without `stem_bn`, y = conv(x).

    Args:
        x: image, (N, H, W, 3), or another number of channels.
        parts: of the network.

    Returns:
        (N, H / s, W / s, `stem_filters`), s = 2 for `"conv7"` and the deep stems, else 1.
    """
    arch = parts.architecture
    width = arch.stem_filters
    if arch.stem_type in ("deep", "deep_tiered"):
        half = width // 2
        first = 3 * (half // 4) if arch.stem_type == "deep_tiered" else half
        x = parts.conv_bn_act(x, Conv(first, 3, 2), "stem", "1")
        x = parts.conv_bn_act(x, Conv(half, 3), "stem", "2")
        conv, number = Conv(width, 3), "3"
    elif arch.stem_type in ("conv7", "drn"):
        conv, number = Conv(width, 7, 2 if arch.stem_type == "conv7" else 1), ""
    else:
        conv, number = Conv(width, 3), ""
    if arch.stem_bn:
        return parts.conv_bn_act(x, conv, "stem", number)
    return parts.conv(x, conv, f"stem_conv{number}", followed_by_bn=False)


def stem_pool(x: keras.KerasTensor, parts: Parts) -> keras.KerasTensor:
    """Applies the second halving of an ImageNet stem, if the architecture has one.

    y = max over 3x3 windows of x at stride 2, or act(BN(conv3x3(x))) for `"conv"`.

    Args:
        x: (N, H, W, C), C = `stem_filters`.
        parts: of the network.

    Returns:
        (N, H / 2, W / 2, C); `x` itself where `stem_pool` is None.
    """
    arch = parts.architecture
    if arch.stem_pool is None:
        return x
    if arch.stem_pool == "conv":
        return parts.conv_bn_act(x, Conv(arch.stem_filters, 3, 2), "stem_pool")
    if arch.padding == "same":
        return parts.max_pool(x, 3, 2, "stem_pool", "same")
    if arch.stem_pool == "max_zero_pad" or (arch.stem_bn and arch.activation == "relu"):
        # Zeros never exceed the outputs of a ReLU.
        return parts.max_pool(parts.pad(x, 1, "stem_pool_pad"), 3, 2, "stem_pool")
    # Otherwise they might: "same" pads with minus infinity, evenly at stride 1.
    x = parts.max_pool(x, 3, 1, "stem_pool_dense", "same")
    return parts.max_pool(x, 1, 2, "stem_pool")


def transition(
    x: keras.KerasTensor, step: Conv | Pool, name: str, parts: Parts
) -> keras.KerasTensor:
    """Applies the subsampling before a stage of DarkNet.

    y = act(BN(conv3x3(x))) (DarkNet-53), or the maximum of 2x2 windows (DarkNet-19).

    Args:
        x: (N, H, W, C).
        step: a `blueprint.Conv` or a `blueprint.Pool`, with its stride s.
        name: of the stage.
        parts: of the network.

    Returns:
        (N, H / s, W / s, F): F = `step.filters` for a convolution; for pooling F = C,
        and an odd side is rounded down to floor(H / 2).
    """
    if isinstance(step, Conv):
        return parts.conv_bn_act(x, step, f"{name}_downsample")
    padding = "valid" if step.stride > 1 else "same"
    return parts.max_pool(x, 2, step.stride, f"{name}_downsample_pool", padding)


def shortcut(x: keras.KerasTensor, unit: Unit, parts: Parts) -> keras.KerasTensor:
    """Applies a unit's shortcut (He 2015, section 3.3; Bag of Tricks, Fig. 2c).

    By `unit.shortcut.kind`, with stride s and F filters:
    `"identity"`: y = x.
    `"subsample"`: y = x[:, ::s, ::s, :].
    `"identity_pad"`: the same, with F - C channels of zeros (option A).
    `"projection"`, `"dead_projection"`: y = BN(W x), W a 1x1 convolution of stride s
    (B, C); with `pool`, y = BN(W mean2x2(x)), the mean at stride s and W at 1 (D). There
    is no BN under full pre-activation, nor without `shortcut_bn`.

    Args:
        x: (N, H, W, C), the unit's input.
        unit: a `blueprint.Unit`.
        parts: of the network.

    Returns:
        (N, H / s, W / s, F), the shape of the branch's output.
    """
    kind, name = unit.shortcut, f"{unit.name}_shortcut"
    if kind.kind == "identity":
        return x
    if kind.kind == "subsample":
        return parts.max_pool(x, 1, kind.stride, f"{name}_pool")
    if kind.kind == "identity_pad":
        return parts.identity_pad(x, kind, f"{name}_pad")
    stride = kind.stride
    if kind.pool:
        x = parts.average_pool(x, stride, f"{name}_pool")
        stride = 1
    arch = parts.architecture
    with_bn = arch.shortcut_bn and arch.activation_order != "full_preact"
    x = parts.conv(x, Conv(kind.filters, 1, stride), f"{name}_conv", with_bn)
    return parts.bn(x, f"{name}_bn") if with_bn else x


def residual_unit(x: keras.KerasTensor, unit: Unit, parts: Parts) -> keras.KerasTensor:
    """Applies a unit in the architecture's order of BN, activation and addition.

    With the branch f of `unit.convs` and the shortcut h,
    y = act(h(x) + f(x)) for `"original"` (He 2015, arXiv:1512.03385) and
    y = h(x) + f(act(BN(x))) for `"full_preact"` (He 2016, arXiv:1603.05027); see
    `Architecture.activation_order` for the others. Without a shortcut (plain networks),
    y = act(f(x)) and y = f(act(BN(x))).

    Args:
        x: (N, H, W, C).
        unit: a `blueprint.Unit`: its convolutions, shortcut and drop path rate.
        parts: of the network.

    Returns:
        (N, H / s, W / s, F): s the product of the strides, F the filters of its last
        convolution.
    """
    if parts.architecture.preact:
        return _pre_activation_unit(x, unit, parts)
    return _post_activation_unit(x, unit, parts)


def _post_activation_unit(
    x: keras.KerasTensor, unit: Unit, parts: Parts
) -> keras.KerasTensor:
    """[conv BN act] ... conv BN, add, act: He 2015 and its three reorderings.

    With g = conv_n(act(BN(conv_n-1(...)))) and the shortcut h:
    `"original"`: y = act(h(x) + BN(g)).
    `"bn_after_add"`: y = act(BN(h(x) + g)).
    `"relu_before_add"`: y = h(x) + act(BN(g)).
    `"no_relu_after_add"`: y = h(x) + BN(g).
    """
    order = parts.architecture.activation_order
    zero = parts.architecture.zero_init_residual
    name, last = unit.name, len(unit.convs)
    adds = unit.shortcut.kind not in ("none", "dead_projection")
    y = x
    for number, conv in enumerate(unit.convs[:-1], 1):
        y = parts.conv_bn_act(y, conv, name, str(number))
        if number == 1:
            y = _block_dropout(y, name, parts)
    if not adds:
        y = parts.conv(y, unit.convs[-1], f"{name}_conv{last}")
        y = parts.bn(y, f"{name}_bn{last}")
        if unit.shortcut.kind == "dead_projection":
            y = parts.discard(y, shortcut(x, unit, parts), f"{name}_discard")
        return parts.act(y, f"{name}_out")
    bn_inside = order != "bn_after_add"
    y = parts.conv(y, unit.convs[-1], f"{name}_conv{last}", zero=zero and not bn_inside)
    if bn_inside:
        y = parts.bn(y, f"{name}_bn{last}", zero=zero)
    if order == "relu_before_add":
        y = parts.act(y, f"{name}_act{last}")
    y = parts.drop_path(y, unit.drop_path_rate, f"{name}_drop_path")
    y = parts.add(shortcut(x, unit, parts), y, f"{name}_add")
    if not bn_inside:
        y = parts.bn(y, f"{name}_bn{last}")
    if order in ("original", "bn_after_add"):
        y = parts.act(y, f"{name}_out", of_sum=bn_inside)
    return y


def _pre_activation_unit(
    x: keras.KerasTensor, unit: Unit, parts: Parts
) -> keras.KerasTensor:
    """[BN act conv] ..., add (full); [act conv BN] ..., add (ReLU only): He 2016.

    `"full_preact"`: y = h(x) + conv_n(act(BN(... conv_1(act(BN(x)))))).
    `"relu_only_preact"`: y = h(x) + BN(conv_n(act(... BN(conv_1(act(x)))))).
    If `unit.preact` is `"shared"`, h takes the input of conv_1 instead of x; if it is
    `"none"`, conv_1 takes x itself.
    """
    full = parts.architecture.activation_order == "full_preact"
    zero = parts.architecture.zero_init_residual
    name, last = unit.name, len(unit.convs)
    y = x
    for number, conv in enumerate(unit.convs, 1):
        if number > 1 or unit.preact != "none":
            if full:
                y = parts.bn(y, f"{name}_bn{number}")
            y = parts.act(y, f"{name}_act{number}")
        if number == 1 and unit.preact == "shared":
            x = y
        if number == 2:
            y = _block_dropout(y, name, parts)
        # The last convolution of a branch is followed by the addition, not by the next
        # unit's BN.
        bn_behind = not full or number < last
        zero_conv = zero and full and number == last
        y = parts.conv(y, conv, f"{name}_conv{number}", bn_behind, zero_conv)
        if not full:
            y = parts.bn(y, f"{name}_bn{number}", zero=zero and number == last)
    if unit.shortcut.kind == "none":
        return y
    y = parts.drop_path(y, unit.drop_path_rate, f"{name}_drop_path")
    if unit.shortcut.kind == "dead_projection":
        return parts.discard(y, shortcut(x, unit, parts), f"{name}_discard")
    return parts.add(shortcut(x, unit, parts), y, f"{name}_add")


def _block_dropout(y: keras.KerasTensor, name: str, parts: Parts) -> keras.KerasTensor:
    rate = parts.architecture.block_dropout_rate
    return parts.dropout(y, rate, f"{name}_dropout")


def post_activation(x: keras.KerasTensor, parts: Parts) -> keras.KerasTensor:
    """Closes a pre-activation trunk with the BN and activation of a next unit.

    y = act(BN(x)) for `"full_preact"`, act(x) for `"relu_only_preact"`, else x.

    Args:
        x: (N, H, W, C), the output of the last stage.
        parts: of the network.

    Returns:
        The same shape.
    """
    order = parts.architecture.activation_order
    if order == "full_preact":
        x = parts.bn(x, "post_bn")
    return parts.act(x, "post_act") if parts.architecture.preact else x
