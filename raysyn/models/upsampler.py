"""A small conditional generator without an opponent: two dense layers and two doublings, after that of DP-MERF."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class UpsamplerConfig:
    """Size of the generator."""

    latent: int = 60
    """Numbers in its noise vector."""
    hidden: int = 200
    """Numbers after the first dense layer."""
    channels: int = 16
    """Maps of a quarter of the image's height and width; half as many of half of them."""

    def __post_init__(self) -> None:
        for name, least in {"latent": 1, "hidden": 1, "channels": 2}.items():
            if (value := getattr(self, name)) < least:
                raise ValueError(f"network.{name} is {value}: give at least {least}")


class Upsampler(nn.Module):
    """(z (N, latent), classes (N,)) to images (N, C, H, W) in [0, 1], of any size.

    Batch normalisation is sound here: no private image ever passes through it."""

    def __init__(self, config: UpsamplerConfig, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.config, self.shape, self.classes = config, shape, classes
        height, width, colours = shape
        self.first = (-(-height // 4), -(-width // 4))
        area = self.first[0] * self.first[1]
        half = config.channels // 2
        self.dense = nn.Sequential(
            nn.Linear(config.latent + classes, config.hidden), nn.BatchNorm1d(config.hidden), nn.ReLU(),
            nn.Linear(config.hidden, config.channels * area), nn.BatchNorm1d(config.channels * area), nn.ReLU(),
        )  # fmt: skip
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(config.channels, half, 4, stride=2, padding=1), nn.BatchNorm2d(half), nn.ReLU(),
            nn.ConvTranspose2d(half, colours, 4, stride=2, padding=1),
        )  # fmt: skip

    def forward(self, z_NL: Tensor, labels_N: Tensor) -> Tensor:
        known = F.one_hot(labels_N, self.classes).to(z_NL.dtype)
        maps = self.dense(torch.cat([z_NL, known], 1)).view(len(z_NL), self.config.channels, *self.first)
        maps = maps.contiguous(memory_format=torch.channels_last)  # a quarter faster on a CPU
        height, width, _ = self.shape
        # Sides that no four divides: what is beyond them is cut off.
        return torch.sigmoid(self.layers(maps)[:, :, :height, :width])
