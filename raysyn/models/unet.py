"""The denoiser of the diffusion pipelines: a small NCSN++ / DDPM++ U-Net without batch norm.

Only Conv2d, Linear, GroupNorm and Embedding hold parameters and each is called once per forward pass, which
the per-sample gradient engines of the privacy room rely on. No example ever sees another one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SKIP_SCALE = 1 / math.sqrt(2)
WAVES = 12
"""Channels that `positions` adds in front of the first convolution."""
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of the U-Net. The defaults are the published MNIST network with 1.49 M parameters."""

    width: int = 32
    """Base number of channels."""
    multipliers: tuple[int, ...] = (2, 2)
    """Channels of each level as multiples of the width; every level after the first halves the side."""
    blocks: int = 2
    """Residual blocks per level on the way down; the way up has one more."""
    attention: tuple[int, ...] = (14,)
    """Feature-map sides (after `patch`) that get attention; the lowest level always has one in the middle."""
    patch: int = 1
    """Side of the pixel blocks folded into channels before the first convolution: 2 makes a step ~4 times cheaper."""
    positions: bool = False
    """Tell the first convolution where it is (waves along both axes): class outlines are learned in fewer steps."""
    factory: str | None = None
    """`module:function` that builds a network of yours in the U-Net's place, untrained: called with (channels, (height,
    width), classes) it returns a module that is called with noisy images (N, C, H, W), noise levels (N,) and labels
    (N,), of which `classes` means no class, and answers in the images' shape. `mynets:build` is found as mynets.py in
    the folder that the command starts in, or as an installed module. The other settings of the network then do
    nothing."""

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 4:
            raise ValueError(f"network.width is {self.width}; give a multiple of 4.")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"network.multipliers is {self.multipliers}; give positive whole numbers.")
        if self.blocks < 1 or self.patch < 1:
            raise ValueError(
                f"network.blocks is {self.blocks} and network.patch {self.patch}; give at least 1 for each."
            )


class UNet(nn.Module):
    """Predicts EDM's raw network output F from a noisy image, its noise level and its class.

    Args:
        config: shape of the network.
        channels: image channels.
        size: image side in pixels, or (height, width); anything from 8 up. Sides that `patch` and the levels
            do not divide are padded with zeros inside and cropped again.
        classes: number of classes; label `classes` means "no class".
    """

    def __init__(self, config: UNetConfig, channels: int, size: int | tuple[int, int], classes: int) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        self.classes: int = classes
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 8:
            raise ValueError(f"data.size is {height} x {width}; the U-Net needs at least 8 x 8 pixels.")
        self._multiple = config.patch * 2 ** (len(config.multipliers) - 1)
        side = -(-max(height, width) // self._multiple) * self._multiple // config.patch
        nf, time_width = config.width, 4 * config.width

        self.label = nn.Embedding(classes + 1, nf)
        self.time0 = _initialised(nn.Linear(nf, time_width))
        self.time1 = _initialised(nn.Linear(time_width, time_width))
        self.stem = _conv(channels * config.patch**2 + (WAVES if config.positions else 0), nf)
        self.down, skips, here = _way_down(config, nf, side, time_width)
        self.middle = nn.ModuleList([
            ResidualBlock(here, here, time_width), Attention(here), ResidualBlock(here, here, time_width)
        ])  # fmt: skip
        self.up, here = _way_up(config, skips, here, side, time_width)
        self.norm = _norm(here)
        self.head = _conv(here, channels * config.patch**2, zero=True)

    def forward(self, x_NCHW: Tensor, c_noise_N: Tensor, labels_N: Tensor) -> Tensor:
        """F(x; c_noise, label): float (N, C, H, W) of the input's shape. Labels are int64 in [0, classes]."""
        height, width = x_NCHW.shape[-2:]
        patch = self.config.patch
        x = F.pad(x_NCHW, (0, -width % self._multiple, 0, -height % self._multiple))
        time = self.time0(_sinusoid(c_noise_N, self.config.width) + self.label(labels_N))
        time = F.silu(self.time1(F.silu(time)))

        x = F.pixel_unshuffle(x, patch) if patch > 1 else x
        if self.config.positions:
            x = torch.cat((x, _waves(x)), dim=1)
        x = self.stem(x)
        skips = [x]
        for stage in self.down:
            x = stage(x, time)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, time)
        for stage in self.up:
            x = stage(torch.cat((x, skips.pop()), dim=1) if stage.takes_skip else x, time)
        x = self.head(F.silu(self.norm(x)))
        x = F.pixel_shuffle(x, patch) if patch > 1 else x
        return x[..., :height, :width]


def _way_down(config: UNetConfig, here: int, side: int, time_width: int) -> tuple[nn.ModuleList, list[int], int]:
    """The stages going down, the widths of the skip connections they leave, and the width at the bottom."""
    stages, skips = nn.ModuleList(), [here]
    for level, multiplier in enumerate(config.multipliers):
        if level:
            stages.append(Stage(here, here, time_width, resample="down"))
            skips.append(here)
        for _ in range(config.blocks):
            attend = side >> level in config.attention
            stages.append(Stage(here, config.width * multiplier, time_width, attend=attend))
            here = config.width * multiplier
            skips.append(here)
    return stages, skips, here


def _way_up(config: UNetConfig, skips: list[int], here: int, side: int, time_width: int) -> tuple[nn.ModuleList, int]:
    """The stages going up (one attention per level, after its last block) and the width at the top."""
    stages, skips = nn.ModuleList(), list(skips)
    for level, multiplier in reversed(list(enumerate(config.multipliers))):
        for block in range(config.blocks + 1):
            attend = block == config.blocks and side >> level in config.attention
            wide = config.width * multiplier
            stages.append(Stage(here + skips.pop(), wide, time_width, attend=attend, takes_skip=True))
            here = wide
        if level:
            stages.append(Stage(here, here, time_width, resample="up"))
    assert not skips
    return stages, here


class Stage(nn.Module):
    """One residual block, and attention after it where asked for."""

    def __init__(
        self, wide_in: int, wide_out: int, time_width: int, resample: str = "", attend: bool = False,
        takes_skip: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.takes_skip = takes_skip
        self.block = ResidualBlock(wide_in, wide_out, time_width, resample)
        self.attention = Attention(wide_out) if attend else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.block(x, time)
        return x if self.attention is None else self.attention(x)


class ResidualBlock(nn.Module):
    """BigGAN-style: norm, swish, resample, conv, add time, norm, swish, conv (zero at first), and a skip."""

    def __init__(self, wide_in: int, wide_out: int, time_width: int, resample: str = "") -> None:
        super().__init__()
        self.resample = resample
        self.norm0, self.conv0 = _norm(wide_in), _conv(wide_in, wide_out)
        self.time = _initialised(nn.Linear(time_width, wide_out))
        self.norm1, self.conv1 = _norm(wide_out), _conv(wide_out, wide_out, zero=True)
        self.skip = _conv(wide_in, wide_out, kernel=1) if wide_in != wide_out or resample else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = _resample(F.silu(self.norm0(x)), self.resample)
        h = self.conv0(h) + self.time(time)[:, :, None, None]
        h = self.conv1(F.silu(self.norm1(h)))
        x = _resample(x, self.resample)
        return ((x if self.skip is None else self.skip(x)) + h) * SKIP_SCALE


class Attention(nn.Module):
    """Single-head self-attention over all positions, with its own norm and skip."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.norm = _norm(wide)
        self.qkv = _initialised(nn.Linear(wide, 3 * wide))
        self.out = _initialised(nn.Linear(wide, wide), zero=True)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        n, c, height, width = x.shape
        # (N, positions, C) is a free view of a channels-last tensor.
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(n, height * width, c)
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        # Plain products: fused kernels have no batching rule for vmap, with which the benchmark compares.
        weights = torch.softmax((query * c**-0.5) @ key.transpose(1, 2), dim=-1)
        h = self.out(weights @ value).reshape(n, height, width, c).permute(0, 3, 1, 2)
        return (x + h) * SKIP_SCALE


def _waves(x: Tensor) -> Tensor:
    """Cosines and sines of 1/2, 1 and 2 periods down and across: (N, WAVES, H, W) for x (N, C, H, W)."""
    n, _, height, width = x.shape
    maps = []
    for side, shape in ((height, (1, 1, height, 1)), (width, (1, 1, 1, width))):
        angle = (torch.arange(side, device=x.device, dtype=x.dtype) + 0.5) * (math.pi / side)
        maps += [
            wave(angle * k).view(shape).expand(n, 1, height, width)
            for k in (1, 2, 4)
            for wave in (torch.cos, torch.sin)
        ]
    return torch.cat(maps, dim=1)


def _resample(x: Tensor, how: str) -> Tensor:
    if how == "down":
        return F.avg_pool2d(x, 2)
    if how != "up":
        return x
    # Compiled, the gradient of `interpolate` is a slow scatter.
    return doubled(x) if x.is_cuda else F.interpolate(x, scale_factor=2.0, mode="nearest")


def doubled(x_NCHW: Tensor) -> Tensor:
    """Every pixel as four, as `interpolate` by "nearest" does it, and laid out as it was."""
    n, c, h, w = x_NCHW.shape
    if x_NCHW.stride(1) == 1:  # channels last; nothing else can be asked of a tensor that is mapped (vmap)
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        four = x_NHWC[:, :, None, :, None].expand(n, h, 2, w, 2, c).reshape(n, 2 * h, 2 * w, c)
        return four.permute(0, 3, 1, 2)
    return x_NCHW[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)


def _sinusoid(c_noise_N: Tensor, width: int) -> Tensor:
    """Cosines and sines of c_noise at `width / 2` frequencies from 1 down to 1e-4: (N, width)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=c_noise_N.device) * (-math.log(10000) / (half - 1)))
    angles = c_noise_N.float()[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=1)


def _norm(channels: int) -> nn.GroupNorm:
    groups = min(channels // 4, 32)
    while channels % groups:  # sums of skip widths need not be multiples of 32
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=1e-6)


def _conv(wide_in: int, wide_out: int, kernel: int = 3, zero: bool = False) -> nn.Conv2d:
    return _initialised(nn.Conv2d(wide_in, wide_out, kernel, padding=kernel // 2), zero)


def _initialised(layer: Layer, zero: bool = False) -> Layer:
    """Uniform with variance 1 / mean fan, or zero for the last layer of a residual branch; zero bias."""
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
