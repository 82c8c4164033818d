"""The conditional DCGANs of PIGAN (its tables 4 and 5): generator, discriminator, and the classifier Q of parts.

Two arrangements, the paper's for Fashion-MNIST and for CIFAR-10; both take other sides that can be halved as often. The
membership code c is one more input of generator and discriminator where there are `parts`; without, they are those of
the non-private GAN, PrivGAN and DPGAN. Classes and codes come in as numbers and are one-hot inside.

Table 5 (b) is lost from the paper's text. With c treated as in table 5 (a) (in the discriminator as the class is, by a
dense map of the image's shape; in the generator by maps beside the 256 of noise and class) 55 to 58 maps give its total
of 2.59 million parameters; 56 are taken. 64, the ratio of table 5 (a), would give 2.61.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.models.norm import LearnedNorm
from raysyn.models.sizes import nearest

Layout = Literal["fashion_mnist", "cifar10"]
SLOPE = 0.2


@dataclass(frozen=True, kw_only=True)
class DCGANConfig:
    """Size of generator, discriminator and classifier."""

    layout: Layout = "fashion_mnist"
    """Whose layers: the paper's for Fashion-MNIST (5 x 5 kernels, batch normalisation in the generator, two doublings)
    or for CIFAR-10 (4 x 4 and 3 x 3 kernels, none, three doublings)."""
    width: float = 1.0
    """Multiplies all channel counts; 1 is the paper's."""
    latent: int = 100
    """Numbers in the generator's noise vector."""

    def __post_init__(self) -> None:
        if self.layout not in ("fashion_mnist", "cifar10"):
            raise ValueError(f"network.layout is {self.layout!r}: give fashion_mnist or cifar10")
        if not self.width > 0 or self.latent < 1:
            raise ValueError(
                f"network.width is {self.width} and network.latent {self.latent}: give a width above 0 and at least 1 "
                "number"
            )

    def scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width))

    def first_map(self, shape: tuple[int, int, int]) -> tuple[int, int]:
        """Height and width of the map that the generator begins with; ValueError where the image has no such."""
        factor = 4 if self.layout == "fashion_mnist" else 8
        if shape[0] % factor or shape[1] % factor:
            raise ValueError(
                f"images of {shape[0]}x{shape[1]} pixels cannot be halved {2 if factor == 4 else 3} times, as "
                f"network.layout {self.layout} does: rescale them with {nearest(shape, lambda side: not side % factor)}"
            )
        return shape[0] // factor, shape[1] // factor


class Generator(nn.Module):
    """(z, y[, c]) to an image (N, C, H, W) in [-1, 1]."""

    black = -1.0
    """The value of a black pixel; a white one is 1."""

    def __init__(self, config: DCGANConfig, shape: tuple[int, int, int], classes: int, parts: int = 0) -> None:
        super().__init__()
        self.config, self.shape, self.classes, self.parts = config, shape, classes, parts
        self.first = config.first_map(shape)
        plain = config.layout == "fashion_mnist"
        maps, code_maps = (128, 32) if plain else (256, 56)
        self.maps, self.code_maps = config.scaled(maps), config.scaled(code_maps) if parts else 0
        area = self.first[0] * self.first[1]
        self.dense = nn.Linear(config.latent + classes, self.maps * area)
        if parts:
            self.code = nn.Linear(parts, self.code_maps * area)
        maps = self.maps + self.code_maps
        wide, narrow, channels = config.scaled(128), config.scaled(64), shape[2]
        if plain:
            # Of single numbers, not of maps: the paper normalises before it reshapes.
            self.norm: nn.Module = LearnedNorm(maps * area)
            layers = [
                *(_doubling(maps, wide, 5), LearnedNorm(wide), nn.LeakyReLU(SLOPE)),
                *(_doubling(wide, wide, 5), LearnedNorm(wide), nn.LeakyReLU(SLOPE)),
                *(nn.ConvTranspose2d(wide, narrow, 3, padding=1), LearnedNorm(narrow), nn.LeakyReLU(SLOPE)),
            ]
        else:
            self.norm = nn.Identity()
            layers = [
                *(_doubling(maps, wide, 4), nn.LeakyReLU(SLOPE)),
                *(_doubling(wide, wide, 4), nn.LeakyReLU(SLOPE)),
                *(_doubling(wide, narrow, 4), nn.LeakyReLU(SLOPE)),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(narrow, channels, 3, padding=1), nn.Tanh())
        _initialise(self)

    def forward(self, z_NL: Tensor, labels_N: Tensor, codes_N: Tensor | None = None) -> Tensor:
        x = self.dense(torch.cat([z_NL, _one_hot(labels_N, self.classes, z_NL)], 1)).view(-1, self.maps, *self.first)
        if self.parts:
            assert codes_N is not None, "this generator takes membership codes"
            code = self.code(_one_hot(codes_N, self.parts, z_NL)).view(-1, self.code_maps, *self.first)
            x = torch.cat([x, code], 1)
        x = F.leaky_relu(self.norm(x.flatten(1)[..., None, None]).view_as(x), SLOPE)
        return self.layers(x)


class Discriminator(nn.Module):
    """(x, y[, c]) to a logit (N,) that the image is real; no batch normalisation, so DP-SGD can train it."""

    def __init__(self, config: DCGANConfig, shape: tuple[int, int, int], classes: int, parts: int = 0) -> None:
        super().__init__()
        self.config, self.shape, self.classes, self.parts = config, shape, classes, parts
        config.first_map(shape)
        channels, area = shape[2], shape[0] * shape[1]
        self.label_map = nn.Linear(classes, channels * area)
        if parts:
            self.code_map = nn.Linear(parts, channels * area)
        joined = channels * (2 if parts else 1)
        self.before, self.layers, width = _trunk(config, shape, joined)
        self.head = nn.Linear(width, 1)
        _initialise(self)

    def forward(self, images_NCHW: Tensor, labels_N: Tensor, codes_N: Tensor | None = None) -> Tensor:
        n, _, height, width = images_NCHW.shape
        maps = [self.label_map(_one_hot(labels_N, self.classes, images_NCHW))]
        if self.parts:
            assert codes_N is not None, "this discriminator takes membership codes"
            maps.append(self.code_map(_one_hot(codes_N, self.parts, images_NCHW)))
        joined = [one.view(n, -1, height, width) for one in maps]
        return self.head(self.layers(torch.cat([self.before(images_NCHW), *joined], 1)).flatten(1))[:, 0]


class PartClassifier(nn.Module):
    """Q: logits (N, parts) that an image (N, C, H, W) in [-1, 1] belongs to each part of the training images."""

    def __init__(self, config: DCGANConfig, shape: tuple[int, int, int], parts: int) -> None:
        super().__init__()
        self.before, self.layers, width = _trunk(config, shape, 0)
        self.head = nn.Linear(width, parts)
        _initialise(self)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.head(self.layers(self.before(images_NCHW)).flatten(1))


def _trunk(config: DCGANConfig, shape: tuple[int, int, int], joined: int) -> tuple[nn.Module, nn.Sequential, int]:
    """What comes before `joined` more channels are concatenated, what comes after, and how many numbers leave it."""
    narrow, wide, widest = config.scaled(64), config.scaled(128), config.scaled(256)
    if config.layout == "fashion_mnist":
        before: nn.Module = nn.Identity()
        counts, kernel = (shape[2] + joined, narrow, wide, wide), 5
    else:
        before = nn.Sequential(nn.Conv2d(shape[2], narrow, 3, padding=1), nn.LeakyReLU(SLOPE))
        counts, kernel = (narrow + joined, wide, wide, widest), 3
    layers: list[nn.Module] = []
    height, width = shape[0], shape[1]
    for inside, outside in pairwise(counts):
        layers += [nn.Conv2d(inside, outside, kernel, stride=2, padding=kernel // 2), nn.LeakyReLU(SLOPE)]
        height, width = -(-height // 2), -(-width // 2)
    return before, nn.Sequential(*layers), counts[-1] * height * width


def _doubling(inside: int, outside: int, kernel: int) -> nn.Module:
    """Twice the height and width."""
    return nn.ConvTranspose2d(inside, outside, kernel, stride=2, padding=(kernel - 1) // 2, output_padding=kernel % 2)


def _initialise(network: nn.Module) -> None:
    """Glorot's uniform weights and no biases, as Keras has them, which the paper used (of its other defaults, batch
    normalisation's epsilon of 1e-3 is not taken: it is 1e-5 here)."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def _one_hot(numbers_N: Tensor, count: int, like: Tensor) -> Tensor:
    return F.one_hot(numbers_N, count).to(like.dtype)
