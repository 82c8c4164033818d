"""What every method that makes images is told, for the configuration of a new one to begin with."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysyn.data.images import DataConfig
from raysyn.methods.declared import Declared
from raysyn.methods.drawing import check_drawing
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.cost import Budget


@dataclass(frozen=True, kw_only=True)
class Basics(Declared):
    """Which images, what they may cost, how many to make, how they are judged. The leaderboard sets some of it.

    A configuration of its own that checks more calls `super().__post_init__()` first.
    """

    data: DataConfig = field(default_factory=DataConfig)
    budget: Budget = field(default_factory=Budget)
    synthetic: int = 10_000
    """Synthetic images to make, shared equally among the classes: the true class counts stay private."""
    eval: EvalConfig = field(default_factory=EvalConfig)
    seed: int = 0
    """Seed of all that is public. Privacy noise never comes from it."""

    def __post_init__(self) -> None:
        check_drawing(self.synthetic, self.seed, self.eval)
