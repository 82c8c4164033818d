"""BigGAN-deep for small images (Brock et al., ICLR 2019) as Knowledge Recycling changes it: sigmoid or tanh.

Class and whole latent condition every normalisation of the generator; the discriminator compares an image with its
class by projection. Spectral normalisation in both. Channel counts follow the published 32 x 32 arrangement: every
block has 4 `channels` in and out, and a quarter of that inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from raysyn.models.norm import LearnedNorm, Norm
from raysyn.models.sizes import nearest

BOTTLENECK = 4
SMALLEST_MAP, LARGEST_MAP = 4, 8
POWER_ITERATIONS = 20
EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class BigGANConfig:
    """Size of generator and discriminator."""

    channels: int = 64
    """The unit of all channel counts; blocks have 4 times as many. The paper does not say: 64 is the usual choice
    for 32 x 32."""
    depth: int = 2
    """Residual blocks per resolution."""
    latent: int = 128
    """Numbers in the generator's noise vector."""
    embedding: int = 128
    """Numbers that stand for a class in the generator."""
    output: Literal["tanh"] | None = None
    """The generator's last function: by default a sigmoid, as Knowledge Recycling has it; tanh is the original's."""

    def __post_init__(self) -> None:
        for field in ("channels", "depth", "latent", "embedding"):
            if getattr(self, field) < 1:
                raise ValueError(f"network.{field} is {getattr(self, field)}: give at least 1")


def first_map(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(height, width, doublings): the smallest map of at least 4 x 4 from which doubling leads to the image.

    Raises ValueError for a side that is not even at least once.
    """
    height, width, doublings = shape[0], shape[1], 0
    while height % 2 == width % 2 == 0 and min(height, width) >= 2 * SMALLEST_MAP:
        height, width, doublings = height // 2, width // 2, doublings + 1
    if not doublings:
        raise ValueError(
            f"images of {shape[0]}x{shape[1]} pixels cannot be doubled to from a smaller map: rescale them with "
            f"{nearest(shape, lambda side: not side % 2)}"
        )
    return height, width, doublings


class ConditionalNorm(Norm):
    """Gain and bias are linear in a condition vector."""

    def __init__(self, channels: int, condition: int, linear: Callable[[int, int], nn.Module]) -> None:
        super().__init__(channels)
        self.gain, self.bias = linear(condition, channels), linear(condition, channels)

    def forward(self, x: Tensor, condition_NE: Tensor) -> Tensor:
        return self.normalise(x, 1 + self.gain(condition_NE), self.bias(condition_NE))


class Up(nn.Module):
    """Generator block: 1x1 to a quarter of the channels, two 3x3, 1x1 back; beside it x itself, doubled if asked."""

    def __init__(self, channels: int, condition: int, double: bool, conv: Any, linear: Any) -> None:
        super().__init__()
        hidden, self.doubles = max(1, channels // BOTTLENECK), double
        widths, sides = (channels, hidden, hidden, hidden, channels), (1, 3, 3, 1)
        self.norms = nn.ModuleList([ConditionalNorm(width, condition, linear) for width in widths[:-1]])
        self.convs = nn.ModuleList(
            [
                conv(inputs, outputs, side, padding=side // 2)
                for inputs, outputs, side in zip(widths, widths[1:], sides, strict=False)
            ]
        )

    def forward(self, x: Tensor, condition_NE: Tensor) -> Tensor:
        h = x
        for index, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            h = F.relu(norm(h, condition_NE))
            if index == 1 and self.doubles:
                h, x = F.interpolate(h, scale_factor=2.0), F.interpolate(x, scale_factor=2.0)
            h = conv(h)
        return h + x


class Down(nn.Module):
    """Discriminator block: the mirror image without normalisation; halves the sides if asked."""

    def __init__(self, channels: int, halve: bool, conv: Any) -> None:
        super().__init__()
        hidden, self.halves = max(1, channels // BOTTLENECK), halve
        self.into, self.out = conv(channels, hidden, 1), conv(hidden, channels, 1)
        self.inner = nn.ModuleList([conv(hidden, hidden, 3, padding=1) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.into(F.relu(x))
        for conv in self.inner:
            h = conv(F.relu(h))
        h = F.relu(h)
        if self.halves:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        return self.out(h) + x


class Generator(nn.Module):
    """Noise and class to image. `spectral` False: the same function with the normalisation worked in (see `plain`)."""

    black = 0.0
    """The value of a black pixel; a white one is 1."""

    def __init__(self, config: BigGANConfig, shape: tuple[int, int, int], classes: int, spectral: bool = True) -> None:
        super().__init__()
        conv, linear = _layers(spectral)
        self.config, self.shape, self.classes, self.spectral = config, shape, classes, spectral
        self.map = first_map(shape)
        condition, width = config.latent + config.embedding, 4 * config.channels
        self.embedding = nn.Embedding(classes, config.embedding)
        self.linear = linear(condition, width * self.map[0] * self.map[1])
        unconditional = partial(linear, bias=False)
        self.blocks = nn.ModuleList(
            [
                Up(width, condition, at == config.depth - 1, conv, unconditional)
                for _ in range(self.map[2])
                for at in range(config.depth)
            ]
        )
        self.norm = LearnedNorm(width)
        self.conv = conv(width, shape[2], 3, padding=1)
        _initialise(self)
        # As large as the latent beside it: orthogonal rows of length 1 would take long to be noticed.
        nn.init.normal_(self.embedding.weight)

    def forward(self, latent_NZ: Tensor, labels_N: Tensor) -> Tensor:
        """float (N, latent), int64 (N,) to images (N, C, H, W) in [0, 1]."""
        condition = torch.cat([latent_NZ, self.embedding(labels_N)], 1)
        h = self.linear(condition).view(len(latent_NZ), -1, *self.map[:2])
        for block in self.blocks:
            h = block(h, condition)
        last = self.conv(F.relu(self.norm(h)))
        return (torch.tanh(last) + 1) / 2 if self.config.output == "tanh" else torch.sigmoid(last)

    def __reduce__(self) -> tuple[Any, ...]:
        # Parametrised layers do not travel; what they are made of does.
        return _rebuilt, (self.config, self.shape, self.classes, self.spectral, self.state_dict(), self.training)

    def plain(self) -> dict[str, Tensor]:
        """The weights of the same function as a network with `spectral` False: smaller, and faster to draw from."""
        with torch.random.fork_rng(devices=[]):
            # Not a deep copy: it would share its layers' classes, which losing the normalisation changes.
            twin = Generator(self.config, self.shape, self.classes).to(self.linear.bias.device)
        twin.load_state_dict(self.state_dict())
        for module in twin.modules():
            if parametrize.is_parametrized(module):
                # Averaged weights come with averaged singular vectors, which are those of no matrix.
                module.train()
                for _ in range(POWER_ITERATIONS):
                    getattr(module, "weight")  # noqa: B009 - reading it takes a step of the power iteration
                module.eval()
                parametrize.remove_parametrizations(module, "weight")
        return {name: value.detach().cpu().clone() for name, value in twin.state_dict().items()}


def _rebuilt(
    config: BigGANConfig, shape: tuple[int, int, int], classes: int, spectral: bool, weights: dict[str, Tensor],
    training: bool,
) -> Generator:  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        generator = Generator(config, shape, classes, spectral)
    generator.load_state_dict(weights)
    return generator.train(training)


class Discriminator(nn.Module):
    """Image and class to a logit, positive for "real"."""

    def __init__(self, config: BigGANConfig, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        conv, linear = _layers(True)
        width, side, blocks = 4 * config.channels, min(shape[:2]), []
        for _ in range(first_map(shape)[2]):
            halve = side > LARGEST_MAP
            side = side // 2 if halve else side
            blocks += [Down(width, halve and not at, conv) for at in range(config.depth)]
        self.conv, self.blocks = conv(shape[2], width, 3, padding=1), nn.Sequential(*blocks)
        self.linear = linear(width, 1)
        self.embedding = parametrizations.spectral_norm(nn.Embedding(classes, width), eps=EPS)
        _initialise(self)

    def forward(self, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        """Images in [0, 1] and classes to logits (N,)."""
        h = F.relu(self.blocks(self.conv(2 * images_NCHW - 1))).sum((2, 3))
        return self.linear(h)[:, 0] + (self.embedding(labels_N) * h).sum(1)


def _layers(spectral: bool) -> tuple[Any, Any]:
    """Convolution and linear layer, spectrally normalised if asked."""
    if not spectral:
        return nn.Conv2d, nn.Linear

    def normalised(layer: Any, *sizes: int, **more: Any) -> nn.Module:
        return parametrizations.spectral_norm(layer(*sizes, **more), eps=EPS)

    return partial(normalised, nn.Conv2d), partial(normalised, nn.Linear)


def _initialise(network: nn.Module) -> None:
    """Orthogonal weights, as published; biases 0."""
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            nn.init.orthogonal_(parameter)
        elif "bias" in name:
            nn.init.zeros_(parameter)
