"""The network of "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (Jordan 2024, arXiv 2404.00498), section 3.

A convolution over patches of 2 x 2 pixels whose filters whiten the training images' patches, three blocks of two
convolutions without a shortcut that begin as identities, GELU, normalisation without learned scales, and a maximum over
what is left of the image. Any images of 8 pixels and more: where hardly any pixel is left nothing is pooled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 2
"""Pixels of a patch, both ways."""
SCALE = 1 / 9
"""Of the logits."""
LEAST = 5e-4
"""Added to the variances that patches are divided by."""
AT_ONCE = 2**18
"""Pixels whose patches are written out at once, of images that together are many more."""
BATCH_NORM = 0.4
"""Share of a batch in the running statistics: training is short."""


@dataclass(frozen=True, kw_only=True)
class FastNetConfig:
    """Widths of the three blocks, and whether answers are those about an image and its mirror image, averaged."""

    widths: tuple[int, int, int] = (64, 256, 256)
    mirrored: bool = False

    def build(self, channels: int, classes: int) -> FastNet:
        """See `FastNet`."""
        return FastNet(self, channels, classes)


class FastNet(nn.Module):
    """For float images (N, C, H, W) in [-1, 1], H and W at least 8, to logits; it learns nothing before `whiten`."""

    centre: Tensor
    spread: Tensor

    def __init__(self, config: FastNetConfig, channels: int, classes: int) -> None:
        super().__init__()
        self.mirrored = config.mirrored
        patch = channels * SIDE * SIDE
        self.register_buffer("centre", torch.zeros(channels, 1, 1))
        self.register_buffer("spread", torch.ones(channels, 1, 1))
        self.patches = nn.Conv2d(channels, 2 * patch, SIDE)
        self.patches.weight.requires_grad_(False)
        nn.init.zeros_(self.patches.bias)  # type: ignore[arg-type]
        inputs = (2 * patch, *config.widths[:2])
        self.blocks = nn.ModuleList(Block(*pair) for pair in zip(inputs, config.widths, strict=True))
        self.head = nn.Linear(config.widths[-1], classes, bias=False)

    @torch.no_grad()
    def whiten(self, images_NCHW: Tensor) -> None:
        """Set the first filters by what `images_NCHW` have in common: the principal components of their patches, each
        divided by its deviation, and the negatives of these (the paper's 3.2)."""
        channels, device = images_NCHW.shape[1], images_NCHW.device
        self.centre.copy_(images_NCHW.mean((0, 2, 3)).view(-1, 1, 1))
        self.spread.copy_(images_NCHW.std((0, 2, 3)).clamp_min(1e-3).view(-1, 1, 1))
        size, patches = channels * SIDE**2, 0
        # In double precision, so that where patches hardly vary the order of a sum does not show.
        products = torch.zeros(size, size, dtype=torch.float64, device=device)
        for part in images_NCHW.split(max(1, AT_ONCE // images_NCHW[0, 0].numel())):
            whole = (part - self.centre.to(device)) / self.spread.to(device)
            rows = whole.unfold(2, SIDE, 1).unfold(3, SIDE, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
            products += rows.T @ rows
            patches += len(rows)
        variances, components = torch.linalg.eigh((products / patches).cpu())
        filters = (components / (variances.clamp_min(0) + LEAST).sqrt()).T.reshape(-1, channels, SIDE, SIDE)
        self.patches.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        if self.training or not self.mirrored:
            return self._logits(images_NCHW)
        return (self._logits(images_NCHW) + self._logits(images_NCHW.flip(-1))) / 2

    def _logits(self, images_NCHW: Tensor) -> Tensor:
        x = F.gelu(self.patches((images_NCHW - self.centre) / self.spread))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x.amax((-2, -1))) * SCALE
        return logits


class Block(nn.Module):
    """Convolution, pooling, normalisation, GELU; convolution, normalisation, GELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm0, self.norm1 = _norm(outputs), _norm(outputs)
        for convolution in (self.conv0, self.conv1):
            # The first channels pass as they are, all others are random (the paper's 3.3).
            nn.init.dirac_(convolution.weight[: convolution.in_channels])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        if min(x.shape[-2:]) > 2:
            x = F.max_pool2d(x, 2)
        x = F.gelu(self.norm0(x))
        x = F.gelu(self.norm1(self.conv1(x)))
        return x


def _norm(channels: int) -> nn.BatchNorm2d:
    """Biases are learned, and no scales."""
    norm = nn.BatchNorm2d(channels, momentum=BATCH_NORM)
    norm.weight.requires_grad_(False)
    return norm
