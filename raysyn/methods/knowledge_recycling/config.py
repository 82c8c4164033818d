"""Knowledge Recycling: what a run is told, and on what images it acts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks.shadows import AttackConfig
from raysyn.compute.searches import Between
from raysyn.data.images import DataConfig, Dataset
from raysyn.methods.declared import Declared
from raysyn.methods.machines import OnAttacked
from raysyn.models.biggan import BigGANConfig
from raysyn.models.resnet import ResNetConfig
from raysyn.train.classifier import held_out, hold_out
from raysyn.train.gan import GANConfig
from raysyn.train.recipe import RecipeConfig
from raysyn.train.students import (
    Labels,
    Real,
    RecyclingConfig,
)

NAME = "knowledge_recycling"


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """The search for generation parameters (3.5): TPE with Hyperband pruning."""

    trials: int = 50
    """Students to train; 0 keeps the default parameters."""
    regeneration_rate: tuple[int, int] = (1, 10)
    """Range searched, ends included."""
    cardinality_scale: tuple[int, int] = (1, 10)
    """Range searched, ends included."""
    standard_deviation: tuple[float, float] = (1.0, 2.5)
    """Range searched."""
    first_verdict: int = 4
    """Epochs before a trial may be pruned."""

    def __post_init__(self) -> None:
        if self.trials < 0 or self.first_verdict < 1:
            raise ValueError(
                f"tuning.trials is {self.trials} and tuning.first_verdict {self.first_verdict}: give at least 0 and 1"
            )
        for name, (low, high) in self.ranges().items():
            if not 0 < low <= high:
                raise ValueError(f"tuning.{name} is {low} to {high}: give two rising numbers above 0")

    def ranges(self) -> dict[str, tuple[float, float]]:
        names = ("regeneration_rate", "cardinality_scale", "standard_deviation")
        return {name: getattr(self, name) for name in names}

    def space(self) -> dict[str, Between]:
        ranges = self.ranges()
        return {name: Between(*ranges[name], whole=name != "standard_deviation") for name in ranges}


@dataclass(frozen=True, kw_only=True)
class Config(Declared):
    """Everything that changes the result. Defaults are the paper's where it says."""

    data: DataConfig = field(default_factory=DataConfig)
    valid_share: float = 0.1
    """Training images held out for validation where the data has no validation images of its own."""
    classifier: ResNetConfig = field(default_factory=ResNetConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    """Training of teacher, final student and shadow models."""
    search_epochs: int = 100
    """Epochs of the students that judge checkpoints and generation parameters."""
    network: BigGANConfig = field(default_factory=BigGANConfig)
    gan: GANConfig = field(default_factory=GANConfig)
    recycling: RecyclingConfig = field(default_factory=RecyclingConfig)
    compare_labels: tuple[Labels, ...] = ("soft", "hard", "agree", "confident")
    """Kinds of labels to compare on the best checkpoint; none skips the comparison."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    floor: bool = True
    """Train a student also on what `noisy_means` would release at epsilon 10, to compare with."""
    distances: int = 2_000
    """Attack the released images by their distances to at most so many training images (or persons), and to as many
    held-out ones, for the report; 0 leaves it out."""
    synthetic: int | None = None
    """Images to release; by default as many as the tuned student learns from at a time, and where persons are named, so
    many times their number: how many images they have is theirs."""
    seed: int = 0
    """Seed of everything: weights, order, augmentation, generation, shadow designs."""

    def __post_init__(self) -> None:
        if not 0 < self.valid_share < 1:
            raise ValueError(f"valid_share is {self.valid_share}: give a share between 0 and 1")
        if self.search_epochs < 1:
            raise ValueError(f"search_epochs is {self.search_epochs}: give at least 1")
        if self.distances < 0:
            raise ValueError(f"distances is {self.distances}: give at least 0")
        if self.synthetic is not None and self.synthetic < 1:
            raise ValueError(f"synthetic is {self.synthetic}: give at least 1, or leave it out")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}")


@dataclass(frozen=True, kw_only=True)
class On(OnAttacked):
    """Where a run happens and how fast. Nothing here changes the result beyond rounding, but for the tuning: what it
    tries next depends on which trials have ended."""

    gan_alone: bool | None = None
    """Train the GAN on one worker, with the CPUs of all, instead of on all workers. By default where there are no GPUs:
    the workers exchange the statistics of every normalisation, which takes small networks longer than it saves."""


def split(config: Config, dataset: Dataset) -> Real:
    """Training and validation images: the source's own, or a part of its training images held out."""
    if dataset.val is not None:
        return Real(dataset.train, dataset.val)
    return Real(*hold_out(dataset.train, config.valid_share, config.seed))


def set_apart(config: Config, dataset: Dataset) -> NDArray[np.bool_]:
    """See `Method.held_out`: what `split` holds out."""
    return held_out(dataset.train, config.valid_share, config.seed)
