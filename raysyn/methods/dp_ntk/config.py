"""DP-NTK: what a run is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysyn.data.tangent import TangentConfig
from raysyn.methods.basics import Basics
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.queries.embedding import EmbeddingConfig
from raysyn.train.embedding import MatchConfig

NAME = "dp_ntk"


@dataclass(frozen=True, kw_only=True)
class Config(Basics):
    """Everything that changes the synthetic images. Defaults are the published code's for grey images."""

    features: TangentConfig = field(default_factory=TangentConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    network: UpsamplerConfig = field(default_factory=lambda: UpsamplerConfig(latent=5))
    training: MatchConfig = field(
        # The published schedule lowers a rate of 0.01 once, after its first step.
        default_factory=lambda: MatchConfig(iterations=2_000, batch_size=5_000, learning_rate=0.009, decay=1.0)
    )
