"""Noisy means: what a run is told, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysyn.methods.basics import Basics
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.queries.moments import MomentsConfig

NAME = "noisy_means"


@dataclass(frozen=True, kw_only=True)
class Config(Basics):
    """Everything that changes the synthetic images."""

    moments: MomentsConfig = field(default_factory=MomentsConfig)
    # It is the floor itself.
    eval: EvalConfig = field(default_factory=lambda: EvalConfig(floor=False))
