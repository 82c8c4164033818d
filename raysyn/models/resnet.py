"""ResNet-14 for 32 x 32 images: teacher, student and shadow models of Knowledge Recycling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from raysyn.models.classifiers import Classifier

STAGES = (1, 2, 4)


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """The residual network of He et al. (2016), section 4.2: three stages of `blocks` blocks, 6 blocks + 2 layers."""

    blocks: int = 2
    """Residual blocks per stage: 2 makes ResNet-14."""
    width: int = 64
    """Channels of the first stage, doubled in the second and third. The paper does not say: 64 is our
    choice, 16 that of the original network."""

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.width < 1:
            raise ValueError(f"resnet.blocks is {self.blocks} and resnet.width {self.width}; give at least 1 for each.")

    def build(self, channels: int, classes: int) -> Classifier:
        """See `resnet`."""
        return resnet(self, channels, classes)


Norm = Callable[[int], nn.Module]
"""norm(channels): a normalisation layer."""


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a strided 1 x 1 convolution where the shape changes; each is
    followed by its normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm0 = norm(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1 = norm(outputs)
        self.stride, self.shortcut = stride, nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(self.conv1(F.relu(self.norm0(self.conv0(x)))))
        # The stride of the 1 x 1 convolution, taken by hand: PyTorch 2.15's own corrupts the heap on CPUs where
        # channels last meets channels that are no multiple of 8.
        return F.relu(y + self.shortcut(x[..., :: self.stride, :: self.stride]))


class Mean(nn.Module):
    """Mean over the pixels, (N, C, H, W) to (N, C); unlike PyTorch's pooling it can be mapped over networks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((-2, -1))


def resnet(config: ResNetConfig, channels: int, classes: int) -> Classifier:
    """A freshly initialised network for float images (N, channels, H, W) in [-1, 1], H and W at least 8."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, config.width, 3, padding=1, bias=False),
        nn.BatchNorm2d(config.width),
        nn.ReLU(),
    ]
    here = config.width
    for stage, multiple in enumerate(STAGES):
        for block in range(config.blocks):
            layers.append(Block(here, config.width * multiple, 2 if stage and not block else 1, nn.BatchNorm2d))
            here = config.width * multiple
    network = Classifier(nn.Sequential(*layers, Mean()), here, classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network
