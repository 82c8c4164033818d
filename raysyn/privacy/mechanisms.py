"""What a run asks of its private images at each stage of its plan, for whoever asks the same of made-up ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from raysyn.data.fourier import FourierConfig
from raysyn.data.images import Images
from raysyn.data.projection import Projection
from raysyn.data.rbf import KernelConfig
from raysyn.data.tangent import TangentConfig
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.embedding import EmbeddingConfig
from raysyn.privacy.queries.functions import RoundsConfig
from raysyn.privacy.queries.layer_statistics import Layers, StatisticsConfig
from raysyn.privacy.queries.mixture import Mixture
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.queries.perceptual import FeatureMomentsConfig
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.privacy.queries.votes import VotesConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import Choice
from raysyn.train.few_weights import few
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

    def network(self) -> nn.Module:
        """What learned of the model, with what did not: low-rank updates are new ones, as those of the run are in the
        weights by now."""
        return few(self.model, self.config.layers)


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


@dataclass(frozen=True)
class Embedded:
    """The mean embedding."""

    config: EmbeddingConfig
    features: FourierConfig | TangentConfig
    seed: int
    """Of the features."""


@dataclass(frozen=True)
class Perceived:
    """The moments of what a network sees."""

    config: FeatureMomentsConfig
    look: Callable[[NDArray[np.uint8]], Iterable[Sequence[Floats]]]
    """Images, uint8 (N, H, W, C), to their features as `perceptual.class_sums` takes them."""


@dataclass(frozen=True)
class Mixed:
    """Noisy expectation-maximisation."""

    projection: Projection
    mixture: Mixture
    """By which images are divided among components: of a run the last one, which is played at each step, where the run
    began with others. What one image adds has the same bound whatever the mixture is."""


@dataclass(frozen=True)
class Question:
    """A question of a method outside of raysyn: one Gaussian answer to all images."""

    ask: Callable[[Images, Cost, Stream], Floats]
    """ask(private, cost, stream): the noisy sums as the run asks for them, with the noise of `cost`, in units of their
    sensitivity: what one image adds is 1 long at most. Any shape."""


@dataclass(frozen=True)
class Functions:
    """Noisy functions."""

    config: RoundsConfig
    kernel: KernelConfig


Asked = CentralConfig | MomentsConfig | Histogram | LayersSeen | VotesConfig | Embedded | Perceived | Mixed | Question
"""A question that is asked a few times."""
Mechanism = Learned | Functions | Asked | None
"""None for the noisy counts of classes, which have no setting but their noise."""
