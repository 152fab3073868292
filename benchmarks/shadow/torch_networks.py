"""The networks of ``sam_jax.models`` in PyTorch, for the benchmarks."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def make(name: str, shape: tuple[int, ...], options: dict[str, Any]) -> nn.Module:
    """Returns a network for images of ``shape`` [H, W, C] and 10 classes."""
    if name == "resnet18":
        return resnet18(shape[-1], options["width"])
    if name == "fast_cifar":
        return fast_cifar(shape[-1], options["width"])
    return cnn(shape, options["widths"], options["hidden"])


def cnn(shape: tuple[int, ...], widths: tuple[int, ...], hidden: int) -> nn.Module:
    """Blocks of convolution, batch norm, ReLU and pooling; two dense layers."""
    side, _, channels = shape
    layers: list[nn.Module] = []
    for width in widths:
        conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        side, channels = side // 2, width
    dense = [nn.Linear(side * side * channels, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), *dense, nn.Linear(hidden, 10))


class BasicBlock(nn.Module):
    """Of ResNet-18."""

    def __init__(self, channels: int, features: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(features), nn.BatchNorm2d(features)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != features:
            conv = nn.Conv2d(channels, features, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the block's output."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet18(channels: int, width: int) -> nn.Module:
    """ResNet-18 with the stem for small images."""
    stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
    layers: list[nn.Module] = [stem, nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage in range(4):
        for block in range(2):
            features = width * 2**stage
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(BasicBlock(channels, features, stride))
            channels = features
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]
    return nn.Sequential(*layers, *head)


def fast_cifar(channels: int, width: int) -> nn.Module:
    """A 2 x 2 stem and three stages of conv, pool, norm, GELU, conv, norm, GELU."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 8 * channels, 2), nn.GELU("tanh")]
    channels *= 8
    for multiple in (1, 4, 4):
        features = width * multiple
        first = nn.Conv2d(channels, features, 3, padding=1, bias=False)
        second = nn.Conv2d(features, features, 3, padding=1, bias=False)
        layers += [first, nn.MaxPool2d(2), nn.BatchNorm2d(features), nn.GELU("tanh")]
        layers += [second, nn.BatchNorm2d(features), nn.GELU("tanh")]
        channels = features
    head = [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels, 10, bias=False)]
    return nn.Sequential(*layers, *head)
