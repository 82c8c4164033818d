"""What the layers of a network see of the private images, with noise: means and variances (DP-ImgSyn 3.1).

The paper clips "the input to all group norm layers" and adds noise, and leaves open what one image can change. Here it
is written down. Of each image x, layer l gives away two vectors, the mean over its pixels of each of its C_l channels
and the mean of their squares. Both together, divided by a scale s_l that depends on public images alone, are clipped to
the L2 norm `clip_norm`:

    u_l(x) = v_l(x) / s_l * min(1, clip_norm / |v_l(x) / s_l|),  v_l(x) = (mean(h), mean(h ** 2))

and the one thing released is the sum of (u_1(x), ..., u_L(x)) over a Poisson sample, with noise. Adding or removing one
image changes layer l by at most clip_norm, and all L layers together by clip_norm * sqrt(L), which the noise is scaled
to. A person, where these are named, adds the mean of their images' vectors, no longer in any layer and so none in all.
That is stricter than the paper, whose noise is scaled to C, as if an image showed itself in one layer only. It is
also another mechanism: the paper clips whole feature maps and adds noise to each image's, so that the noise in their
mean depends on how many images take part. That answer has no price under adding or removing one image, and cannot be
chosen here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysyn.compute.worker import full_float32
from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import COUNTED, Cost
from raysyn.privacy.ledger import Release
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.queries.noise import noisy_sum
from raysyn.train.norm_inputs import norm_inputs

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StatisticsConfig:
    """How the statistics are asked for."""

    epochs: float = 1.0
    """Expected number of times each image, or person, takes part."""
    batch_size: int | None = None
    """Expected images per answer; by default all images take part in every answer."""
    clip_norm: float = 2.0
    """L2 norm to which what a layer sees of an image is clipped; 1 is the median of public images."""
    share: float = 0.1
    """Epsilon of the statistics alone, as a share of budget.epsilon; what is left is the teacher's."""

    def __post_init__(self) -> None:
        for field in ("epochs", "clip_norm"):
            if not 0 < getattr(self, field) < math.inf:
                raise ValueError(f"statistics.{field} is {getattr(self, field)}: give a number above 0")
        if not 0 < self.share < 1:
            raise ValueError(f"statistics.share is {self.share}: give a share of the budget between 0 and 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"statistics.batch_size is {self.batch_size}: give at least 1, or leave it out")

    def cost(self, n: int, noise_multiplier: float | None = None) -> Cost:
        """Rounds of the subsampled Gaussian mechanism over `n` images; ValueError for a batch_size above n."""
        if self.batch_size is not None and self.batch_size > n:
            raise ValueError(f"statistics.batch_size is {self.batch_size}: give 1 to {n}, {COUNTED}")
        rate = 1.0 if self.batch_size is None else self.batch_size / n
        return Cost(
            mechanism="layer statistics", noise_multiplier=noise_multiplier, sampling_rate=rate,
            steps=max(1, round(self.epochs / rate)),
            note="one image changes each layer by clip_norm at most, all of them by clip_norm * sqrt(layers)",
        )  # fmt: skip


@dataclass(frozen=True)
class Layers:
    """What is public about the layers that are asked about."""

    channels: list[int]
    """C_l."""
    scales: list[float]
    """s_l: the median over public images of |v_l|."""

    @staticmethod
    def of(network: nn.Module, images_NCHW: Tensor) -> Layers:
        """As `network` sees some images, none of them private."""
        seen = moments(network, images_NCHW)
        sizes = [float(torch.linalg.vector_norm(v, dim=1).median()) for v in seen]
        return Layers([v.shape[1] // 2 for v in seen], [max(size, 1e-6) for size in sizes])

    def sensitivity(self, config: StatisticsConfig) -> float:
        """What one image changes in all layers together, in L2 norm."""
        return config.clip_norm * math.sqrt(len(self.channels))

    def noise_to_signal(self, config: StatisticsConfig, cost: Cost, n: int) -> list[float]:
        """Per layer, the expected norm of the noise in the means over `n` images, beside |v_l| of a public image."""
        return [self._std(config, cost, n) * math.sqrt(2 * channels) for channels in self.channels]

    def noise_alone(
        self, config: StatisticsConfig, cost: Cost, n: int, answer: Sequence[tuple[Tensor, Tensor]]
    ) -> float:
        """How far, by equation 1, exact statistics would be from such an `answer` of them: an estimate of the expected
        square of its noise over all layers, for how near images need not come, and nothing that the promise rests on.
        With noise e of the mean m and f of the second moment, variances are wrong by f - 2 m e - e^2. That they are
        cut off at 0, which makes the noise less, and what clipping changes, is left out."""
        std, found = self._std(config, cost, n), 0.0
        for (mean, _), scale in zip(answer, self.scales, strict=True):
            square = (std * scale) ** 2
            # 2 s + 4 m^2 s + 3 s^2 of the exact m, for which mean^2 stands, which is larger by s; and no less than what
            # m = 0 has.
            told = float((square * (2 + 4 * mean.double().square() - square)).sum())
            found += max(told, len(mean) * square * (2 + 3 * square))
        return found

    def _std(self, config: StatisticsConfig, cost: Cost, n: int) -> float:
        """Of the noise in each mean over `n` images, as a share of its layer's scale."""
        assert cost.noise_multiplier is not None
        return cost.noise_multiplier * self.sensitivity(config) / (cost.sampling_rate * math.sqrt(cost.steps) * n)


@torch.no_grad()
def moments(network: nn.Module, images_NCHW: Tensor) -> list[Tensor]:
    """v_l of each image: per layer float32 (N, 2 C_l), the mean over pixels of each channel, then of its square."""

    def see(h: Tensor) -> Tensor:
        return torch.cat([h.float().mean((2, 3)), h.float().square().mean((2, 3))], 1)

    # In full precision: what one image gives away is its own.
    with norm_inputs(network.eval(), see) as seen, full_float32(images_NCHW.device):
        network(images_NCHW)
    return seen


def clipped(moments_L: Sequence[Tensor], scales_L: Sequence[float], clip_norm: float) -> Tensor:
    """u of each image: float64 (N, sum of 2 C_l), each layer's part of norm `clip_norm` at most."""
    parts = []
    for v, scale in zip(moments_L, scales_L, strict=True):
        # What is not finite would slip through the clipping.
        u = v.double().nan_to_num(0.0, 0.0, 0.0) / scale
        parts.append(u * (clip_norm / torch.linalg.vector_norm(u, dim=1, keepdim=True).clamp(min=clip_norm)))
    return torch.cat(parts, 1)


def takes_part(cost: Cost, stream: Stream, private: Images) -> Floats:
    """What each image counts in all answers together, (N,): in how many it takes part; where persons are named, in how
    many its person does, divided by the number of their images."""
    units.check(cost, private)
    times_N = np.zeros(len(private))
    for step in range(cost.steps):
        taking = participants(stream, step, private.units, cost.sampling_rate)
        times_N[units.images_of(private, taking)] += 1
    return times_N * units.weights(private)


def layer_statistics(
    shards: Sequence[Floats], layers: Layers, config: StatisticsConfig, cost: Cost, stream: Stream, n: int
) -> Release[list[tuple[Tensor, Tensor]]]:
    """Per layer (means, variances) of its channels over the private images, float32 (C_l,), and their price.

    Args:
        shards: exact sums of `clipped` over the images that took part, each times `takes_part`; not to leave.
        cost: `config.cost` with its noise multiplier, the noise's standard deviation divided by the sensitivity.
        n: private images, or persons where these are named, which is public.

    All answers are asked of the same features, so that only their sum matters: noise of sqrt(steps) times that of one.
    """
    assert cost.noise_multiplier is not None
    noise = np.zeros(shards[0].size)
    for step in range(cost.steps):
        noise += stream.normal(step, "layer statistics", noise.size)
    total = noisy_sum(shards, layers.sensitivity(config), cost.noise_multiplier, noise)
    # The expected number of images, not that of the sample, whose size is private.
    mean = torch.from_numpy(total / (cost.sampling_rate * cost.steps * n))
    found = []
    parts = mean.split([2 * channels for channels in layers.channels])
    for part, scale, channels in zip(parts, layers.scales, layers.channels, strict=True):
        first, second = (part * scale).float().split(channels)
        found.append((first, (second - first.square()).clamp(min=0.0)))
    return Release(found, cost)
