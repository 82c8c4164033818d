"""DP-Kernel: what a run is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysyn.data.rbf import KernelConfig
from raysyn.methods.basics import Basics
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.queries.functions import RoundsConfig
from raysyn.train.pulled import PullConfig

NAME = "dp_kernel"


@dataclass(frozen=True, kw_only=True)
class Config(Basics):
    """Everything that changes the synthetic images."""

    kernel: KernelConfig = field(default_factory=KernelConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    network: UpsamplerConfig = field(default_factory=UpsamplerConfig)
    training: PullConfig = field(default_factory=PullConfig)
