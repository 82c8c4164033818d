"""What a run asks of its private images at each stage of its plan, for whoever asks the same of made-up ones."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.embedding import EmbeddingConfig
from raysyn.privacy.queries.layer_statistics import Layers, StatisticsConfig
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.privacy.queries.perceptual import FeatureMomentsConfig
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.privacy.queries.votes import VotesConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import Choice
from raysyn.train.loop import Task


@dataclass(frozen=True)
class Learned:
    """DP-SGD."""

    model: nn.Module
    """The network that it trains, with the weights that were released."""
    task: Task
    config: SGDConfig
    choice: Choice | None
    """How gradients were computed; None where the run did not keep it."""


@dataclass(frozen=True)
class Histogram:
    """The semantic query."""

    config: SemanticConfig
    semantics: int
    """Public classes."""


@dataclass(frozen=True)
class LayersSeen:
    """Layer statistics."""

    config: StatisticsConfig
    layers: Layers


Mechanism = (
    Learned
    | CentralConfig
    | MomentsConfig
    | Histogram
    | LayersSeen
    | VotesConfig
    | EmbeddingConfig
    | FeatureMomentsConfig
    | None
)
"""None for the noisy counts of classes, which have no setting but their noise."""
