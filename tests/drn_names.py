"""The state dict of fyu/drn's networks, from how its drn.py puts them together."""

CHANNELS = (16, 32, 64, 128, 256, 512, 512, 512)
ENDS = (1, 2, 7, 8)
STRIDED = (2, 3, 4)


def tensors(arch, layers, bottleneck, classes=1000):
    """Name -> shape of architecture "C" or "D" with `layers` units a level."""
    stem = ("conv1", "bn1") if arch == "C" else ("layer0.0", "layer0.1")
    shapes = {**_conv(stem[0], 3, CHANNELS[0], 7), **_norm(stem[1], CHANNELS[0])}
    inputs = CHANNELS[0]
    for level, (planes, units) in enumerate(zip(CHANNELS, layers, strict=True), 1):
        for unit in range(units):
            if level in ENDS and arch == "D":
                name = f"layer{level}.{{}}"
                shapes |= _conv(name.format(3 * unit), inputs, planes, 3)
                shapes |= _norm(name.format(3 * unit + 1), planes)
                inputs = planes
                continue
            wide = bottleneck and level not in ENDS
            out = planes * (4 if wide else 1)
            name = f"layer{level}.{unit}"
            shapes |= _residual(name, inputs, planes, out, wide)
            if unit == 0 and (level in STRIDED or inputs != out):
                shapes |= _conv(f"{name}.downsample.0", inputs, out, 1)
                shapes |= _norm(f"{name}.downsample.1", out)
            inputs = out
    return {**shapes, "fc.weight": (classes, inputs, 1, 1), "fc.bias": (classes,)}


def _residual(name, inputs, planes, out, wide):
    widths = [(inputs, planes, 3), (planes, planes, 3)]
    if wide:
        widths = [(inputs, planes, 1), (planes, planes, 3), (planes, out, 1)]
    shapes = {}
    for number, (a, b, kernel) in enumerate(widths, 1):
        shapes |= _conv(f"{name}.conv{number}", a, b, kernel)
        shapes |= _norm(f"{name}.bn{number}", b)
    return shapes


def _conv(name, inputs, outputs, kernel):
    return {f"{name}.weight": (outputs, inputs, kernel, kernel)}


def _norm(name, channels):
    fields = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{field}": (channels,) for field in fields}
