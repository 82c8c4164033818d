"""A network behind the normalisation it was trained with: pixel values in [0, 1], less a mean, by a deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


class _Builds(Protocol):
    def build(self, channels: int, classes: int) -> nn.Module: ...


@dataclass(frozen=True)
class Normalised:
    """An architecture whose networks see (x - mean) / std of pixel values x in [0, 1], channel by channel."""

    inner: _Builds
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """One value for all channels, or one for each."""

    def build(self, channels: int, classes: int) -> Behind:
        """The inner network behind its normalisation, for float images (N, channels, H, W) in [-1, 1]."""
        for field, values in {"mean": self.mean, "std": self.std}.items():
            if len(values) not in (1, channels):
                raise ValueError(
                    f"target.{field} has {len(values)} values, but the images have {channels} channels: give one for "
                    "each, or one for all"
                )
        return Behind(self.inner.build(channels, classes), self.mean, self.std)


class Behind(nn.Module):
    """`network` behind a fixed normalisation, which is part of the state, so that a state says what it was made for."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        centre, deviation = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        # Images come in [-1, 1]: ((x + 1) / 2 - mean) / std.
        self.register_buffer("scale", (0.5 / deviation).float()[:, None, None])
        self.register_buffer("shift", ((0.5 - centre) / deviation).float()[:, None, None])

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.network(images_NCHW * self.scale + self.shift)
