"""P3GM: what a run is told, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysyn.data.images import Images
from raysyn.data.projection import Layout
from raysyn.methods.basics import Basics
from raysyn.methods.bearing import bearable_noise
from raysyn.methods.declared import budget_of
from raysyn.models.phased import Phased, PhasedConfig, new_phased
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.mixture import MIXTURE, MixtureConfig
from raysyn.privacy.queries.moments import HALF, MomentsConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.train.few_weights import ALL
from raysyn.train.loop import LoopConfig
from raysyn.train.phased import PhasedTask

NAME = "p3gm"
FINETUNE = "finetune"
"""The stage of DP-SGD."""
MOST = 4096
"""Numbers of a vector: of their covariance eigenvectors are taken, in a minute and half a gigabyte."""


@dataclass(frozen=True, kw_only=True)
class PCAConfig:
    """Principal directions, made of noisy class means and of how images differ from them (`moments`)."""

    share: float = 0.6
    """Share of the budget (of the sum of 1 / noise_multiplier^2) spent on both questions."""
    label_weight: float = 1.0
    """How far from 0 the number of its class is in an image's vector, in which pixels go from 0 to 1."""

    def __post_init__(self) -> None:
        if not 0.01 <= self.share <= 0.9:
            raise ValueError(f"pca.share is {self.share}: give a share from 0.01 to 0.9")
        if not 0.01 <= self.label_weight <= 1000:
            raise ValueError(f"pca.label_weight is {self.label_weight}: give 0.01 to 1000, 1 is published")


def default_moments() -> MomentsConfig:
    """One spread of all classes together: principal directions are of all images."""
    return MomentsConfig(spread_per_class=False, spread_share=HALF)


@dataclass(frozen=True, kw_only=True)
class Config(Basics):
    """Everything that changes the synthetic images. Defaults of DP-SGD are those of the authors' code for MNIST."""

    moments: MomentsConfig = field(default_factory=default_moments)
    pca: PCAConfig = field(default_factory=PCAConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    network: PhasedConfig = field(default_factory=PhasedConfig)
    warmup: LoopConfig = field(default_factory=lambda: LoopConfig(iterations=3000, batch_size=100, learning_rate=1e-3))
    finetune: SGDConfig = field(
        default_factory=lambda: SGDConfig(
            batch_size=300, epochs=4, noise_multiplicity=1, learning_rate=1e-3, max_grad_norm=1.0, ema=0.0
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.moments.spread_frequencies == 0 or self.moments.spread_per_class is not False:
            raise ValueError(
                f"moments.spread_frequencies is {self.moments.spread_frequencies} and moments.spread_per_class "
                f"{self.moments.spread_per_class}: principal directions need one spread of all classes, give at least "
                "1 and False"
            )
        if (both := self.pca.share + self.mixture.share) > 0.95:
            raise ValueError(
                f"pca.share is {self.pca.share} and mixture.share {self.mixture.share}, {both:.3g} together: leave at "
                "least 0.05 for DP-SGD"
            )
        if self.finetune.layers != ALL:
            raise ValueError(f"finetune.layers is {self.finetune.layers}, which is for diffusion models: leave it out")


def plan(config: Config, n: int) -> Plan:
    """Price every touch of the `n` private images, or persons, before the first one.

    The questions have their shares of the budget; the noise multiplier of DP-SGD is what they leave. ValueError where
    there is nothing left.
    """
    budget, steps = budget_of(config), config.mixture.iterations
    fixed = moments.costs(config.moments, bearable_noise(budget, n, 1, config.pca.share))
    fixed |= {MIXTURE: config.mixture.cost(bearable_noise(budget, n, steps, config.mixture.share))}
    return Plan.within(budget, n, FINETUNE, config.finetune.cost(n, "finetune"), fixed)


def layout_of(config: Config, shape: tuple[int, int, int], classes: int) -> Layout:
    """What stands in an image's vector."""
    kept = moments.kept(shape, config.moments.frequencies)
    return Layout(frequencies=kept, classes=classes, label_weight=config.pca.label_weight)


def size_of(layout: Layout, shape: tuple[int, int, int]) -> int:
    """How many numbers it has."""
    return shape[2] * layout.frequencies + layout.classes


def check_size(config: Config, like: Images) -> None:
    """ValueError where there are too many numbers for principal directions, or too few of them."""
    layout, channels = layout_of(config, like.shape, like.classes), like.shape[2]
    size, asked = size_of(layout, like.shape), f"{channels} channel{'s' * (channels > 1)} and {like.classes} classes"
    if size > MOST:
        most = max(1, (MOST - like.classes) // channels)
        raise ValueError(
            f"moments.frequencies is {config.moments.frequencies}: with {asked} that is a covariance of {size:,} x "
            f"{size:,} numbers, give at most {most:,} frequencies, whose images are as if averaged down"
        )
    if config.network.latent > size:
        raise ValueError(
            f"network.latent is {config.network.latent}: an image has {size} numbers here, of {asked}, give fewer"
        )


def task_of(config: Config, shape: tuple[int, int, int], classes: int) -> PhasedTask:
    """What the network learns from one image."""
    return PhasedTask(layout_of(config, shape, classes), config.network.latent)


def new_network(config: Config, shape: tuple[int, int, int], classes: int) -> Phased:
    """Untrained, for images of this shape."""
    return new_phased(config.network, size_of(layout_of(config, shape, classes), shape), config.seed)
