"""DP-FETA-Pro's second warm-up: what a run is told of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass

from raysyn.data.fourier import FourierConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.queries.embedding import EmbeddingConfig
from raysyn.train.embedding import MatchConfig
from raysyn.train.loop import LoopConfig


@dataclass(frozen=True, kw_only=True)
class FrequencyConfig:
    """DP-FETA-Pro's second warm-up, by the frequencies of images: on those of a generator that learned to have a noisy
    mean embedding of the private ones, as DP-MERF's does. Defaults are the published ones for MNIST."""

    noise_multiplier: float | None = None
    """Ask for the noisy mean of random Fourier features of each class: noise standard deviation divided by what adding
    or removing one image changes. By default it is not asked for, and there is no second warm-up."""
    features: FourierConfig = field(default_factory=FourierConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    network: UpsamplerConfig = field(default_factory=UpsamplerConfig)
    training: MatchConfig = field(default_factory=MatchConfig)
    draws: int = 60_000
    """Images that the generator draws for the warm-up, equally many per class, at no further cost."""
    warmup: LoopConfig = field(default_factory=lambda: LoopConfig(iterations=2340, batch_size=256))
    """By default 10 epochs of 60,000 images."""

    def __post_init__(self) -> None:
        if self.noise_multiplier is not None and not 0 < self.noise_multiplier < math.inf:
            raise ValueError(
                f"frequency.noise_multiplier is {self.noise_multiplier}: give a number above 0, or leave it out"
            )
        for name, value in (("draws", self.draws), ("warmup.iterations", self.warmup.iterations)):
            if value < 1:
                raise ValueError(
                    f"frequency.{name} is {value}, so that the embedding would be paid for and teach nothing: give at "
                    "least 1, or leave out frequency.noise_multiplier"
                )

    @property
    def asked(self) -> bool:
        """Whether there is a second warm-up."""
        return self.noise_multiplier is not None

    def unread(self) -> dict[str, str]:
        """{setting: why nothing reads it}: a command that gives one of them is refused."""
        why = "belongs to the second warm-up, which --frequency.noise-multiplier asks for"
        return {} if self.asked else dict.fromkeys(("draws", *_inside(self)), why)


def _inside(config: FrequencyConfig) -> list[str]:
    """Settings of its groups, dotted."""
    groups = {one.name: getattr(config, one.name) for one in fields(config)}
    return [f"{name}.{one.name}" for name, group in groups.items() if is_dataclass(group) for one in fields(group)]
