"""Stems, shortcuts and residual units: functions of tensors, as in the papers' figures.

Each takes the tensor, what to build (`blueprint.Unit`, `blueprint.Shortcut`) and the
`Parts` of the network, and returns the tensor behind it.
"""

from keras_resnets.networks.blueprint import Conv


def stem(x, parts):
    """First convolutions of the network, up to the pooling: the endpoint `stem`."""
    arch = parts.architecture
    width = arch.stem_filters
    if arch.stem_type in ("deep", "deep_tiered"):
        half = width // 2
        first = 3 * (half // 4) if arch.stem_type == "deep_tiered" else half
        x = parts.conv_bn_act(x, Conv(first, 3, 2), "stem", 1)
        x = parts.conv_bn_act(x, Conv(half, 3), "stem", 2)
        conv, number = Conv(width, 3), 3
    elif arch.stem_type in ("conv7", "drn"):
        conv, number = Conv(width, 7, 2 if arch.stem_type == "conv7" else 1), ""
    else:
        conv, number = Conv(width, 3), ""
    if arch.stem_bn:
        return parts.conv_bn_act(x, conv, "stem", number)
    return parts.conv(x, conv, f"stem_conv{number}", followed_by_bn=False)


def stem_pool(x, parts):
    """Second halving of an ImageNet stem, where the architecture has one."""
    arch = parts.architecture
    if arch.stem_pool is None:
        return x
    if arch.stem_pool == "conv":
        return parts.conv_bn_act(x, Conv(arch.stem_filters, 3, 2), "stem_pool")
    if arch.padding == "same":
        return parts.max_pool(x, 3, 2, "stem_pool", "same")
    if arch.stem_pool == "max_zero_pad" or (arch.stem_bn and arch.activation == "relu"):
        # Zeros never win a maximum behind a ReLU.
        return parts.max_pool(parts.pad(x, 1, "stem_pool_pad"), 3, 2, "stem_pool")
    # Elsewhere they might: "same" pads with minus infinity, evenly at stride 1.
    x = parts.max_pool(x, 3, 1, "stem_pool_dense", "same")
    return parts.max_pool(x, 1, 2, "stem_pool")


def transition(x, step, name, parts):
    """What subsamples before a stage of DarkNet."""
    if isinstance(step, Conv):
        return parts.conv_bn_act(x, step, f"{name}_downsample")
    padding = "valid" if step.stride > 1 else "same"
    return parts.max_pool(x, 2, step.stride, f"{name}_downsample_pool", padding)


def shortcut(x, unit, parts):
    """The way around the branch (He 2015, section 3.3; Bag of Tricks, Fig. 2c)."""
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


def residual_unit(x, unit, parts):
    """A unit in the architecture's order of BN, activation and addition."""
    if parts.architecture.preact:
        return _pre_activation_unit(x, unit, parts)
    return _post_activation_unit(x, unit, parts)


def _post_activation_unit(x, unit, parts):
    """[conv BN act] ... conv BN, add, act: He 2015 and its three re-orderings."""
    order = parts.architecture.activation_order
    zero = parts.architecture.zero_init_residual
    name, last = unit.name, len(unit.convs)
    adds = unit.shortcut.kind not in ("none", "dead_projection")
    y = x
    for number, conv in enumerate(unit.convs[:-1], 1):
        y = parts.conv_bn_act(y, conv, name, number)
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
        y = parts.act(y, f"{name}_out")
    return y


def _pre_activation_unit(x, unit, parts):
    """[BN act conv] ..., add (full); [act conv BN] ..., add (ReLU only): He 2016."""
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
        # Only a convolution whose output meets the next unit's BN counts as followed
        # by one: the last of a branch meets the addition.
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


def _block_dropout(y, name, parts):
    rate = parts.architecture.block_dropout_rate
    return parts.dropout(y, rate, f"{name}_dropout")


def post_activation(x, parts):
    """What closes a pre-activation trunk: the BN and activation of a next unit."""
    order = parts.architecture.activation_order
    if order == "full_preact":
        x = parts.bn(x, "post_bn")
    return parts.act(x, "post_act") if parts.architecture.preact else x
