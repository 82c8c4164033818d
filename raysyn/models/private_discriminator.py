"""A conditional discriminator that DP-SGD can train: group normalisation, no spectral one (PRIVIMAGE+G).

The paper gives parameter counts only; the arrangement is that of published DP-GANs: residual blocks of two 3 x 3
convolutions, each halving the sides, a projection of the class on the summed features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.models.biggan import first_map
from raysyn.models.group_norm import group_norm


@dataclass(frozen=True, kw_only=True)
class PrivateDiscriminatorConfig:
    """Size of the discriminator."""

    channels: int = 80
    """The unit of all channel counts; blocks have twice as many."""

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"discriminator.channels is {self.channels}: give at least 1")


class HalvingBlock(nn.Module):
    """Normalised residual block; both ways end in the mean of 2 x 2 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm0, self.norm1 = group_norm(channels), group_norm(channels)
        self.conv0, self.conv1 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.shortcut = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv0(F.relu(self.norm0(x)))
        h = self.conv1(F.relu(self.norm1(h)))
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


class PrivateDiscriminator(nn.Module):
    """Image in [0, 1] and class to a logit, positive for "real"; no image ever sees another one."""

    def __init__(self, config: PrivateDiscriminatorConfig, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        width = 2 * config.channels
        self.conv = nn.Conv2d(shape[2], width, 3, padding=1)
        self.blocks = nn.Sequential(*(HalvingBlock(width) for _ in range(first_map(shape)[2])))
        self.norm = group_norm(width)
        self.linear, self.embedding = nn.Linear(width, 1), nn.Embedding(classes, width)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.orthogonal_(parameter)
            elif "norm" not in name:
                nn.init.zeros_(parameter)

    def forward(self, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        """Images and classes to logits (N,)."""
        h = self.blocks(self.conv(2 * images_NCHW - 1))
        h = F.relu(self.norm(h)).sum((2, 3))
        return self.linear(h)[:, 0] + (self.embedding(labels_N) * h).sum(1)
