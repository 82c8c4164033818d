"""DP-MERF: what a run is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysyn.data.fourier import FourierConfig
from raysyn.methods.basics import Basics
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.queries.embedding import EmbeddingConfig
from raysyn.train.embedding import MatchConfig

NAME = "dp_merf"


@dataclass(frozen=True, kw_only=True)
class Config(Basics):
    """Everything that changes the synthetic images. Defaults are the paper's for images of 28 pixels."""

    features: FourierConfig = field(default_factory=FourierConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    network: UpsamplerConfig = field(default_factory=UpsamplerConfig)
    training: MatchConfig = field(default_factory=MatchConfig)
