"""P3GM's network (Takagi et al., ICDE 2021): a variational autoencoder whose encoder's mean is a fixed projection and
whose prior is a fixed Gaussian mixture; the encoder's variance and the decoder learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

QUIETEST, LOUDEST = -8.0, 4.0
"""Where the logarithm of the encoder's variance is cut off: weights with noise could else make it endless."""


@dataclass(frozen=True, kw_only=True)
class PhasedConfig:
    """The network. Defaults are those that are said to be the paper's for MNIST, and the units of its authors' code."""

    latent: int = 10
    """Numbers that an image is projected to: principal directions."""
    components: int = 3
    """Gaussians of the mixture that these are drawn from."""
    hidden: int = 1000
    """Units of the hidden layer of the encoder's variance, and of the decoder."""

    def __post_init__(self) -> None:
        for name, most in (("latent", 1000), ("components", 100), ("hidden", 100_000)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"network.{name} is {getattr(self, name)}: give 1 to {most}")


class Phased(nn.Module):
    """Vectors v of `size` numbers to and from latents z. Its buffers are the projection, z = (v - centre) directions
    scaled down to norm `largest`, and the mixture of z; they do not learn."""

    def __init__(self, config: PhasedConfig, size: int) -> None:
        super().__init__()
        self.config = config
        latent, hidden = config.latent, config.hidden
        self.variance = nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, size))
        fixed = {
            "centre_D": torch.zeros(size), "directions_DL": torch.zeros(size, latent), "largest": torch.ones(()),
            "weights_M": torch.full((config.components,), 1 / config.components),
            "means_ML": torch.zeros(config.components, latent),
            "variances_ML": torch.ones(config.components, latent),
        }  # fmt: skip
        for name, value in fixed.items():
            self.register_buffer(name, value)

    def fix(self, values: Mapping[str, Tensor]) -> None:
        """Set the buffers of these names."""
        for name, value in values.items():
            self.get_buffer(name).copy_(value)

    def mean(self, vectors_ND: Tensor) -> Tensor:
        """The encoder's mean, (N, L)."""
        latents_NL = (vectors_ND - self.get_buffer("centre_D")) @ self.get_buffer("directions_DL")
        return self.cut(latents_NL)

    def cut(self, latents_NL: Tensor) -> Tensor:
        """Scaled down to the norm that there is, where they are longer."""
        largest = self.get_buffer("largest")
        return latents_NL * (largest / torch.maximum(latents_NL.norm(dim=1, keepdim=True), largest))

    def log_variance(self, vectors_ND: Tensor) -> Tensor:
        """Of the encoder, (N, L)."""
        found: Tensor = self.variance(vectors_ND - self.get_buffer("centre_D"))
        return found.clamp(QUIETEST, LOUDEST)

    def decode(self, latents_NL: Tensor) -> Tensor:
        """(N, D)."""
        found: Tensor = self.get_buffer("centre_D") + self.decoder(latents_NL)
        return found

    def divergence(self, means_NL: Tensor, log_variances_NL: Tensor) -> Tensor:
        """From a Gaussian to the mixture, (N,), approximately: minus the logarithm of the weighted sum of exp(-KL) to
        its components (Hershey and Olsen, 2007), as published."""
        variances_ML = self.get_buffer("variances_ML")
        away_NML = (means_NL[:, None] - self.get_buffer("means_ML")) ** 2 + log_variances_NL.exp()[:, None]
        each_NML = variances_ML.log() - log_variances_NL[:, None] - 1 + away_NML / variances_ML
        return -torch.logsumexp(self.get_buffer("weights_M").log() - 0.5 * each_NML.sum(2), dim=1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Latents from the mixture, cut off as the encoder's means are, (count, L): noise may have made it far wider
        than what the decoder has seen."""
        component_N = torch.multinomial(self.get_buffer("weights_M"), count, True, generator=generator)
        noise_NL = torch.randn(count, self.config.latent, generator=generator)
        away_NL = self.get_buffer("variances_ML")[component_N].sqrt() * noise_NL
        return self.cut(self.get_buffer("means_ML")[component_N] + away_NL)


def new_phased(config: PhasedConfig, size: int, seed: int) -> Phased:
    """Untrained, the same for one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Phased(config, size)
