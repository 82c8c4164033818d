"""Noisy expectation-maximisation (DP-EM, Park et al., 2017; of P3GM, Takagi et al., 2021): a Gaussian mixture of a few
numbers of each image, z, from noisy sums of what its M-steps read.

What one step asks. A mixture of M components with diagonal covariances is fixed: it is made of earlier noisy answers
and of what is public. Its E-step gives each image responsibilities g_m(z) >= 0 that add up to 1. The answer is the sum,
over images, of the vector that has for each component m the block g_m(z) * a(z), where a(z) = (c, z, s z*z) with the
constants c = COUNT and s = SQUARES, and z*z is z with each number squared. From these sums counts, means and second
moments of all components are read together.

Why the sensitivity is sqrt(c^2 + 1 + s^2). z is a function of the image and its class alone and has L2 norm at most 1
(`Projection` scales it down to that). Then |z*z|^2 = sum_j z_j^4 <= (sum_j z_j^2)^2 <= 1, so |a(z)|^2 <= c^2 + 1 + s^2.
The image's vector over all components side by side is as long as the root of sum_m g_m^2 |a(z)|^2, and since every g_m
is in [0, 1] and they add up to 1, sum_m g_m^2 <= sum_m g_m = 1: no longer than |a(z)|. The responsibilities of an image
depend on it and on the mixture, and on no other image, so that adding or removing it moves the sum by its own vector
alone. That is one Gaussian answer over all components, and over counts, means and second moments: none of them has a
price of its own. A person adds the mean of such vectors, a convex combination of vectors that are no longer
(`units.py`). Who is absent adds nothing.

Why steps compose. The mixture of step t is a function of the noisy answers before it alone, so that the steps are T
Gaussian answers asked one after the other, each knowing those before: adaptive composition, which is what the
accountant prices as T steps. As 1 / noise_multiplier^2 adds up, they cost as one answer with noise_multiplier /
sqrt(T).

n, by which counts become shares, is public and the same for both neighbours. A component that nobody is in is answered
with noise alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from raysyn.data.images import Images
from raysyn.data.projection import Projection
from raysyn.privacy import units
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.noise import Floats, noisy_sum

BLOCK = 512
"""Images whose responsibilities are made at once: part of the sum's rounding, so a constant."""
COUNT, SQUARES = 0.5, 2.0
"""How long, beside z of norm 1, the constant that counts is, and how long squares are at most: of noise in all of them,
that in squares matters most, as squares of many numbers are far from their bound, and that in counts least."""
LEAST = 0.05
"""Of what a variance usually is, and of an equal share of the images: no variance and no component is taken to be
smaller."""
MIXTURE = "mixture"
"""The stage of a plan."""


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """How the mixture is asked for."""

    iterations: int = 20
    """Steps of noisy expectation-maximisation."""
    share: float = 0.1
    """Share of the budget (of the sum of 1 / noise_multiplier^2) spent on all of them."""
    norm: float = 1.5
    """Latents are scaled down to at most this root mean square over their numbers, each of which has a variance of
    about 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.iterations <= 1000:
            raise ValueError(f"mixture.iterations is {self.iterations}: give 1 to 1000, 20 is published")
        if not 0.01 <= self.share <= 0.9:
            raise ValueError(f"mixture.share is {self.share}: give a share from 0.01 to 0.9")
        if not 0.1 <= self.norm <= 100:
            raise ValueError(f"mixture.norm is {self.norm}: give 0.1 to 100, 1.5 is usual")

    def cost(self, noise_multiplier: float | None) -> Cost:
        """Of all steps."""
        return Cost(
            mechanism="noisy EM statistics", noise_multiplier=noise_multiplier, sampling_rate=1.0,
            steps=self.iterations,
            note="counts, means and squares of all components are one vector: an image's responsibilities add up to 1",
        )  # fmt: skip

    def usual(self, latent: int) -> float:
        """Variance that each of so many numbers has where all of them are scaled to norm 1."""
        return 1 / (self.norm**2 * latent)


@dataclass(frozen=True)
class Mixture:
    """Gaussians with diagonal covariances, of latents of norm 1 at most."""

    weights_M: Floats
    """Positive, of sum 1."""
    means_ML: Floats
    variances_ML: Floats


def sensitivity() -> float:
    """Of one step."""
    return math.sqrt(COUNT**2 + 1 + SQUARES**2)


def first(components: int, latent: int, config: MixtureConfig, seed: int) -> Mixture:
    """What the first E-step begins with: reads nothing private. Means are drawn as latents are spread."""
    usual = config.usual(latent)
    means_ML = np.random.default_rng(seed).standard_normal((components, latent)) * math.sqrt(usual)
    return Mixture(np.full(components, 1 / components), means_ML, np.full((components, latent), usual))


def responsibilities(latents_NL: Floats, mixture: Mixture) -> Floats:
    """Of each component for each row, (N, M): at least 0, of sum 1; of each row alone."""
    away_NML = (latents_NL[:, None] - mixture.means_ML) ** 2 / mixture.variances_ML
    log_NM = np.log(mixture.weights_M) - 0.5 * (away_NML + np.log(mixture.variances_ML)).sum(axis=2)
    likely_NM = np.exp(log_NM - log_NM.max(axis=1, keepdims=True))
    found: Floats = likely_NM / likely_NM.sum(axis=1, keepdims=True)
    return found


def statistics(latents_NL: Floats, weights_N: Floats, mixture: Mixture) -> Iterator[Floats]:
    """Parts of the exact sum, not to leave, each (M, 1 + 2 L): counts, latents, their squares, each by the
    responsibility of the component and by what the image counts. latents_NL: of norm 1 at most."""
    for at in range(0, len(latents_NL), BLOCK):
        rows_BL = latents_NL[at : at + BLOCK]
        shares_BM = responsibilities(rows_BL, mixture) * weights_N[at : at + BLOCK, None]
        seen_BX = np.concatenate([np.full((len(rows_BL), 1), COUNT), rows_BL, SQUARES * rows_BL**2], 1)
        # Not a matrix product, whose rounding depends on the number of threads.
        yield np.einsum("bm,bx->mx", shares_BM, seen_BX)


Parts = Callable[[int, Sequence[Floats]], Iterable[Floats]]
"""parts(step, noisy answers of the steps before): exact sums of shards of the private images, by `statistics`, for a
mixture that is made of nothing private but these answers."""


def noisy_statistics(
    private: Images, price: Cost, stream: Stream, size: tuple[int, int], parts: Parts
) -> Release[Floats]:  # fmt: skip
    """Noisy sums of all steps, float64 (T, M, 1 + 2 L), with their price; `size` is (M, 1 + 2 L).

    Guarantee: T Gaussian answers of `sensitivity`, each asked with knowledge of those before.
    """
    units.check(price, private)
    assert price.noise_multiplier is not None and price.sampling_rate == 1.0
    answered = list[Floats]()
    for step in range(price.steps):
        noise = stream.normal(step, "mixture", math.prod(size)).reshape(size)
        # Given a copy: what was answered must not be changed by who makes a mixture of it.
        sums = parts(step, [one.copy() for one in answered])
        answered.append(noisy_sum(sums, sensitivity(), price.noise_multiplier, noise))
    return Release(np.stack(answered), price)


def fitted(answer_MX: Floats, n: int, usual: float) -> Mixture:
    """The M-step on a noisy answer of `n` images or persons: post-processing. `usual`: what a variance is."""
    components, latent = len(answer_MX), answer_MX.shape[1] // 2
    counts_M = np.maximum(answer_MX[:, 0] / COUNT, LEAST * n / components)
    means_ML = np.clip(answer_MX[:, 1 : 1 + latent] / counts_M[:, None], -1, 1)
    squares_ML = answer_MX[:, 1 + latent :] / (SQUARES * counts_M[:, None])
    return Mixture(counts_M / counts_M.sum(), means_ML, np.clip(squares_ML - means_ML**2, LEAST * usual, 1))


def asked(
    private: Images, projection: Projection, begin: Mixture, config: MixtureConfig, price: Cost, stream: Stream
) -> Release[Floats]:
    """`noisy_statistics` of the private images, from a mixture to begin with; `fitted` makes the next one of each
    answer."""
    latent, weights_N = begin.means_ML.shape[1], units.weights(private)
    parts = [
        projection.latents(private.images_NHWC[at : at + BLOCK], private.labels_N[at : at + BLOCK])
        for at in range(0, len(private), BLOCK)
    ]
    latents_NL = np.concatenate(parts) / projection.largest

    def sums(step: int, answered: Sequence[Floats]) -> Iterator[Floats]:
        mixture = fitted(answered[-1], private.units, config.usual(latent)) if answered else begin
        return statistics(latents_NL, weights_N, mixture)

    return noisy_statistics(private, price, stream, (len(begin.weights_M), 1 + 2 * latent), sums)
