"""Residual units in plain NumPy, written from the papers' figures.

Nothing here is taken from the package: convolution is a sum over kernel positions of
a picture padded alike on both sides, and each order of BN, activation and addition is
spelled out.
"""

import numpy as np


class Reference:
    """Computes with the weights of a model's named layers."""

    def __init__(self, model, slope=0.0):
        self.model = model
        self.slope = slope

    def values(self, name):
        return {
            weight.path.split("/")[-1]: np.asarray(weight, "float64")
            for weight in self.model.get_layer(name).weights
        }

    def conv(self, x, name, stride=1, dilation=1, groups=1):
        values = self.values(name)
        y = convolve(x, values["kernel"], stride, dilation, groups)
        return y + values.get("bias", 0.0)

    def bn(self, x, name):
        v = self.values(name)
        scale = v["gamma"] / np.sqrt(
            v["moving_variance"] + self.model.get_layer(name).epsilon
        )
        return (x - v["moving_mean"]) * scale + v["beta"]

    def act(self, x):
        return np.where(x > 0, x, self.slope * x)

    def conv_bn(self, x, unit, number, **geometry):
        x = self.conv(x, f"{unit}_conv{number}", **geometry)
        return self.bn(x, f"{unit}_bn{number}")

    def projection(self, x, unit, stride=1, with_bn=True):
        x = self.conv(x, f"{unit}_shortcut_conv", stride=stride)
        return self.bn(x, f"{unit}_shortcut_bn") if with_bn else x

    def post_activation(self, x, unit, geometries, around, order="original"):
        """He 2015, Fig. 5, and the re-orderings of He 2016, Fig. 4 (b, c) and the blog."""
        y = x
        for number, geometry in enumerate(geometries[:-1], 1):
            y = self.act(self.conv_bn(y, unit, number, **geometry))
        last = len(geometries)
        y = self.conv(y, f"{unit}_conv{last}", **geometries[-1])
        if order == "original":
            return self.act(around + self.bn(y, f"{unit}_bn{last}"))
        if order == "bn_after_add":
            return self.act(self.bn(around + y, f"{unit}_bn{last}"))
        if order == "relu_before_add":
            return around + self.act(self.bn(y, f"{unit}_bn{last}"))
        if order == "no_relu_after_add":
            return around + self.bn(y, f"{unit}_bn{last}")
        raise ValueError(order)

    def full_preact(self, x, unit, geometries, first_bn=True):
        """He 2016, Fig. 4e: the branch, and what it begins with."""
        y = self.act(self.bn(x, f"{unit}_bn1")) if first_bn else x
        start = y
        y = self.conv(y, f"{unit}_conv1", **geometries[0])
        for number, geometry in enumerate(geometries[1:], 2):
            y = self.act(self.bn(y, f"{unit}_bn{number}"))
            y = self.conv(y, f"{unit}_conv{number}", **geometry)
        return y, start

    def relu_only_preact(self, x, unit, geometries, first_act=True):
        """He 2016, Fig. 4d."""
        y = self.act(x) if first_act else x
        start = y
        y = self.conv_bn(y, unit, 1, **geometries[0])
        for number, geometry in enumerate(geometries[1:], 2):
            y = self.conv_bn(self.act(y), unit, number, **geometry)
        return y, start


def convolve(x, kernel, stride=1, dilation=1, groups=1):
    """Cross-correlation of NHWC `x`, padded by dilation * (k // 2) on every side."""
    x = np.asarray(x, "float64")
    size = kernel.shape[0]
    pad = dilation * (size // 2)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = (-(-side // stride) for side in x.shape[1:3])
    depth, filters = kernel.shape[2], kernel.shape[3] // groups
    out = np.zeros((len(x), height, width, kernel.shape[3]))
    for row in range(size):
        for column in range(size):
            top, left = row * dilation, column * dilation
            seen = padded[:, top:, left:][:, ::stride, ::stride][:, :height, :width]
            for group in range(groups):
                channels = seen[..., group * depth : (group + 1) * depth]
                chosen = slice(group * filters, (group + 1) * filters)
                out[..., chosen] += channels @ kernel[row, column, :, chosen]
    return out


def max_pool(x, size, stride, pad):
    """Maximum pooling; the padding never wins."""
    pads = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    padded = np.pad(x, pads, constant_values=-np.inf)
    height = (x.shape[1] + 2 * pad - size) // stride + 1
    width = (x.shape[2] + 2 * pad - size) // stride + 1
    shifted = [
        padded[:, row:, column:][:, ::stride, ::stride][:, :height, :width]
        for row in range(size)
        for column in range(size)
    ]
    return np.max(shifted, axis=0)


def average_pool_2x2(x):
    """2x2/2 average that leaves a missing last row or column out of the mean."""
    odd = [(0, side % 2) for side in x.shape[1:3]]
    pads = ((0, 0), *odd, (0, 0))
    total = np.pad(np.asarray(x, "float64"), pads)
    count = np.pad(np.ones(x.shape), pads)

    def summed(values):
        return sum(values[:, row::2, column::2] for row in (0, 1) for column in (0, 1))

    return summed(total) / summed(count)


def option_a(x, stride, filters, position="end"):
    """Every `stride`-th pixel; new channels are zero."""
    x = np.asarray(x, "float64")[:, ::stride, ::stride]
    new = filters - x.shape[-1]
    before = new // 2 if position == "both" else 0
    return np.pad(x, ((0, 0), (0, 0), (0, 0), (before, new - before)))
