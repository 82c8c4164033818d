"""ResNet-18 and -34 with group normalisation: the teachers that DP-SGD can train (DP-ImgSyn 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.models.group_norm import group_norm
from raysyn.models.resnet import Block, Norm

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
LARGE_SIDE = 96
"""From this side on, ImageNet's first layers: a stride and a pooling that smaller images could not bear."""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Size of the teacher."""

    name: Literal["resnet18", "resnet34"] = "resnet18"
    """The paper's ResNet-18, or the ResNet-34 of its section 4.2."""
    width: int = 64
    """Channels of the first of four stages, each of which has twice as many as the one before; 64 is the paper's."""

    def __post_init__(self) -> None:
        if self.name not in BLOCKS or self.width < 1:
            raise ValueError(
                f"teacher.name is {self.name!r} and teacher.width {self.width}: give resnet18 or resnet34, and at "
                "least 1"
            )


def wide_groups(channels: int) -> nn.GroupNorm:
    """Groups of eight channels at least: on digits, whose maps end as one pixel, a narrow teacher of pairs reached 36 %
    where this one reaches 94 %."""
    return group_norm(channels, least=8)


class Teacher(nn.Module):
    """Float images (N, channels, H, W) in [-1, 1], sides of at least 8, to logits (N, classes).

    No image ever sees another one, unless another `norm` is asked for, which no DP path may.
    """

    def __init__(
        self, config: TeacherConfig, shape: tuple[int, int, int], classes: int, norm: Norm = wide_groups
    ) -> None:
        super().__init__()
        width, large = config.width, min(shape[:2]) >= LARGE_SIDE
        self.conv = nn.Conv2d(
            shape[2], width, 7 if large else 3, 2 if large else 1, padding=3 if large else 1, bias=False
        )
        self.norm = norm(width)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if large else nn.Identity()
        blocks, here = [], width
        for stage, count in enumerate(BLOCKS[config.name]):
            for index in range(count):
                blocks.append(Block(here, width << stage, 2 if stage and not index else 1, norm))
                here = width << stage
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(here, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images_NCHW: Tensor) -> Tensor:
        """What the last layer sees: (N, 8 width)."""
        x = self.pool(F.relu(self.norm(self.conv(images_NCHW))))
        return self.blocks(x).mean((2, 3))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.head(self.features(images_NCHW))
