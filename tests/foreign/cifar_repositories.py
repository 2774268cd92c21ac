"""Networks of other repositories for CIFAR, in our words, with their modules' names.

weiaicunzai/pytorch-cifar100 (`models/resnet.py`), xternalz/WideResNet-pytorch
(`wideresnet.py`; TRADES and RobustBench add `sub_block1`, which nothing calls),
bearpaw/pytorch-classification (`models/cifar/resnext.py`, from prlz77/ResNeXt.pytorch)
and RobustBench's ResNeXt, whose units are torchvision's blocks.
"""

import drawn
import numpy as np
from foreign import networks
from foreign.tools import torch

nn = torch.nn


def conv(inputs, outputs, size=3, stride=1, groups=1):
    """A convolution without a bias that keeps the size at stride 1."""
    padding = size // 2
    return nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)


class Weiaicunzai(nn.Module):
    """ResNet-10: one basic unit in each of four stages."""

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.residual_function = nn.Sequential(
                conv(inputs, outputs, 3, stride),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                conv(outputs, outputs),
                nn.BatchNorm2d(outputs),
            )
            self.shortcut = nn.Sequential()
            if stride != 1 or inputs != outputs:
                norm = nn.BatchNorm2d(outputs)
                self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), norm)

        def forward(self, x):
            return torch.relu(self.residual_function(x) + self.shortcut(x))

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(conv(3, 64), nn.BatchNorm2d(64), nn.ReLU())
        self.conv2_x = nn.Sequential(self.Unit(64, 64, 1))
        self.conv3_x = nn.Sequential(self.Unit(64, 128, 2))
        self.conv4_x = nn.Sequential(self.Unit(128, 256, 2))
        self.conv5_x = nn.Sequential(self.Unit(256, 512, 2))
        self.fc = nn.Linear(512, 100)

    def forward(self, x):
        x = self.conv3_x(self.conv2_x(self.conv1(x)))
        return self.fc(self.conv5_x(self.conv4_x(x)).mean(dim=(2, 3)))


class Wide(nn.Module):
    """WRN-10-2: one unit in each of three stages."""

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.bn1, self.conv1 = (
                nn.BatchNorm2d(inputs),
                conv(inputs, outputs, 3, stride),
            )
            self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs)
            self.convShortcut = conv(inputs, outputs, 1, stride)

        def forward(self, x):
            x = torch.relu(self.bn1(x))
            return self.conv2(torch.relu(self.bn2(self.conv1(x)))) + self.convShortcut(
                x
            )

    class Stage(nn.Module):
        def __init__(self, *arguments):
            super().__init__()
            self.layer = nn.Sequential(Wide.Unit(*arguments))

        def forward(self, x):
            return self.layer(x)

    def __init__(self, uncalled=False):
        super().__init__()
        self.conv1, self.block1 = conv(3, 16), self.Stage(16, 32, 1)
        if uncalled:
            self.sub_block1 = self.Stage(16, 32, 1)
        self.block2, self.block3 = self.Stage(32, 64, 2), self.Stage(64, 128, 2)
        self.bn1, self.fc = nn.BatchNorm2d(128), nn.Linear(128, 10)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(torch.relu(self.bn1(x)).mean(dim=(2, 3)))


class ResNeXt(nn.Module):
    """ResNeXt-11 2x16d on 16 filters: one bottleneck in each of three stages."""

    class Unit(nn.Module):
        def __init__(self, shortcut, inputs, inner, stride):
            super().__init__()
            outputs = 4 * inner // 2
            self.conv_reduce, self.bn_reduce = (
                conv(inputs, inner, 1),
                nn.BatchNorm2d(inner),
            )
            self.conv_conv = conv(inner, inner, 3, stride, groups=2)
            self.bn = nn.BatchNorm2d(inner)
            self.conv_expand = conv(inner, outputs, 1)
            self.bn_expand = nn.BatchNorm2d(outputs)
            names = {"shortcut": ("shortcut_conv", "shortcut_bn")}.get(shortcut, "01")
            layers = conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            self.projection = shortcut
            setattr(self, shortcut, nn.Sequential())
            for name, layer in zip(names, layers, strict=True):
                getattr(self, shortcut).add_module(name, layer)

        def forward(self, x):
            shortcut = getattr(self, self.projection)(x)
            x = torch.relu(self.bn_reduce(self.conv_reduce(x)))
            x = torch.relu(self.bn(self.conv_conv(x)))
            return torch.relu(self.bn_expand(self.conv_expand(x)) + shortcut)

    def __init__(self, shortcut, unit):
        super().__init__()
        self.conv_1_3x3, self.bn_1 = conv(3, 16), nn.BatchNorm2d(16)
        for stage, sizes in enumerate(((16, 32, 1), (64, 64, 2), (128, 128, 2)), 1):
            module = nn.Sequential()
            module.add_module(unit.format(stage=stage), self.Unit(shortcut, *sizes))
            setattr(self, f"stage_{stage}", module)
        self.classifier = nn.Linear(256, 10)

    def forward(self, x):
        x = torch.relu(self.bn_1(self.conv_1_3x3(x)))
        x = self.stage_3(self.stage_2(self.stage_1(x)))
        return self.classifier(x.mean(dim=(2, 3)))


def write(folder):
    """Writes a file of each, and `repositories.npz` with logits, into `folder/cifar`."""
    images = torch.from_numpy(drawn.pictures()[:, :32, :32]).permute(0, 3, 1, 2)
    expected = {}
    for name, model in {
        "weiaicunzai": Weiaicunzai(),
        "wide": Wide(),
        "trades": Wide(uncalled=True),
        "bearpaw": ResNeXt("shortcut", "stage_{stage}_bottleneck_0"),
        "robustbench": ResNeXt("downsample", "0"),
    }.items():
        networks.filled(model)
        with torch.no_grad():
            expected[name] = model(images).numpy()
        state = {f"module.{key}": value for key, value in model.state_dict().items()}
        torch.save({"state_dict": state, "epoch": 1}, folder / "cifar" / f"{name}.pth")
    np.savez(folder / "cifar" / "repositories.npz", **expected)
