"""The networks of chenyaofo/pytorch-cifar-models, in our words.

Their class (`pytorch_cifar_models/resnet.py` there, BSD-3-Clause) is torchvision's
ResNet with three stages of 16, 32 and 64 channels behind a 3x3 stem, and a 1x1
convolution with BN for a shortcut wherever a stage begins with a stride. The names of
its modules are kept, and the files are written as its training code writes them: by
`torch.save` of the state dict.
"""

import drawn
import numpy as np
from foreign.tools import torch

nn = torch.nn

# File -> (units a stage, classes).
FILES = {
    "cifar10_resnet20.pt": (3, 10),
    "cifar100_resnet20.pt": (3, 100),
    "cifar10_resnet32.pt": (5, 10),
}


class Block(nn.Module):
    """Two 3x3 convolutions, and a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)) + shortcut)


class CifarResNet(nn.Module):
    """ResNet-(6n+2) for CIFAR, n units a stage."""

    def __init__(self, units, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, units, 1)
        self.layer2 = self._stage(16, 32, units, 2)
        self.layer3 = self._stage(32, 64, units, 2)
        self.fc = nn.Linear(64, classes)

    def _stage(self, inputs, outputs, units, stride):
        first = Block(inputs, outputs, stride)
        return nn.Sequential(
            first, *(Block(outputs, outputs, 1) for _ in range(units - 1))
        )

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean(dim=(2, 3)))


def write(folder):
    """Writes the files and `logits.npz` into `folder/cifar`."""
    folder = folder / "cifar"
    folder.mkdir(exist_ok=True)
    images = drawn.pictures()[:, :32, :32]
    expected = {}
    for name, (units, classes) in FILES.items():
        model = CifarResNet(units, classes).eval()
        state = {
            key: torch.tensor(7)
            if key.endswith("num_batches_tracked")
            else torch.from_numpy(drawn.tensor(key, tuple(value.shape)))
            for key, value in model.state_dict().items()
        }
        model.load_state_dict(state, strict=True)
        with torch.no_grad():
            found = model(torch.from_numpy(images).permute(0, 3, 1, 2))
        expected[name] = found.numpy()
        torch.save(model.state_dict(), folder / name)
    np.savez(folder / "logits.npz", **expected)
