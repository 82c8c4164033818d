"""DP-FETA: what a run is told, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import nn

from raysyn.data.images import DataConfig, Images
from raysyn.methods.bearing import bearable_noise
from raysyn.methods.candidates_config import SourceConfig
from raysyn.methods.declared import Declared, budget_of
from raysyn.methods.dp_feta.frequency_config import FrequencyConfig
from raysyn.methods.drawing import Snapshots, check_drawing
from raysyn.methods.sweep import SweepConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.models import denoiser
from raysyn.models.unet import UNetConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Plan
from raysyn.privacy.mechanisms import Embedded
from raysyn.privacy.queries import embedding, moments
from raysyn.privacy.queries.central import DRAWN, CentralConfig, Kind
from raysyn.privacy.queries.embedding import EMBEDDING
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.privacy.queries.votes import VOTES, VotesConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.train.augment import AugmentConfig
from raysyn.train.diffusion import NoiseConfig
from raysyn.train.loop import LoopConfig
from raysyn.train.samplers import SamplerConfig

NAME = "dp_feta"
MOMENTS = MomentsConfig()
"""What `central.kind` gaussian asks for: the same as noisy_means by default."""
JUDGED_BY = ("eval", "sampler_fid", "experiment", "snapshots")
"""Settings that change nothing that is released."""


def check_draws(config: Config, classes: int) -> None:
    """ValueError where some class would have no image in a warm-up."""
    drawn = {"central": config.central.draws} if config.central.drawn else {}
    for group, draws in {**drawn, **({"frequency": config.frequency.draws} if config.frequency.asked else {})}.items():
        if draws < classes:
            raise ValueError(
                f"{group}.draws is {draws}, but there are {classes} classes, each of which needs an image: give at "
                f"least {classes}"
            )


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(SweepConfig):
    """Whole runs to compare with this one, each with one setting changed, at this run's budget; none is released."""

    kinds: tuple[Kind, ...] = ()
    """Kinds of central images to compare, with none (DPDM) beside them; every other experiment is done with each
    (tables II, IV and V, figures 4 and 6). Draws, of gaussian and evolution, are not augmented."""
    counts: tuple[int, ...] = ()
    """Numbers of central images (table V, figure 6; the paper: 0, which is DPDM, to 1250)."""
    augment: tuple[int, ...] = ()
    """Numbers of augmentations, one after another, of the central images (figure 4); 0 leaves them as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("counts", "augment"):
            if any(count < 0 for count in getattr(self, name)):
                raise ValueError(f"experiment.{name} is {getattr(self, name)}: give numbers of at least 0")


@dataclass(frozen=True, kw_only=True)
class Config(Declared, Snapshots):
    """Everything that changes the synthetic images. Defaults are the paper's for MNIST (tables VII and VIII)."""

    data: DataConfig = field(default_factory=DataConfig)
    budget: Budget = field(default_factory=Budget)
    central: CentralConfig = field(default_factory=CentralConfig)
    source: SourceConfig = field(default_factory=SourceConfig)
    """Characters that are voted for, of --central.kind evolution."""
    votes: VotesConfig = field(default_factory=VotesConfig)
    frequency: FrequencyConfig = field(default_factory=FrequencyConfig)
    network: UNetConfig = field(default_factory=UNetConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    warmup: LoopConfig = field(default_factory=LoopConfig)
    finetune: SGDConfig = field(default_factory=SGDConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    sampler_fid: SamplerConfig | None = None
    """Draw once more, in this way, for the measures of fidelity alone; by default these are of the released images."""
    synthetic: int = 60_000
    """Synthetic images to make, shared equally among the classes: the true class counts stay private."""
    eval: EvalConfig = field(default_factory=EvalConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    seed: int = 0
    """Seed of all that is public: first weights, augmentation, sampling. Privacy noise never comes from it."""

    def __post_init__(self) -> None:
        check_drawing(self.synthetic, self.seed, self.eval, self.sampler, self.noise, self.sampler_fid, self.snapshots)
        for name in ("kinds", "augment"):
            if (asked := getattr(self.experiment, name)) and not self.central.count:
                raise ValueError(
                    f"experiment.{name} is {asked}, but central.count is 0, so that all of these runs would be one: "
                    "give the run itself central images, or leave it out"
                )
        warmed = (self.central.count and self.warmup.iterations) or self.frequency.asked
        if self.finetune.layers != "all" and not warmed:
            none = "warmup.iterations" if self.central.count else "central.count"
            raise ValueError(
                f"finetune.layers is {self.finetune.layers}, but {none} is 0, so that the other layers would stay as "
                "they were drawn: give central images and steps of warm-up, or all"
            )
        drawn = [one for one in (self.central.kind, *self.experiment.kinds) if self.central.count and one in DRAWN]
        for name in ("counts", "augment"):
            if drawn and (asked := getattr(self.experiment, name)):
                raise ValueError(
                    f"experiment.{name} is {asked}, which is about central images, but a kind {drawn[0]} has none: "
                    "leave one of them out"
                )
        if self.central.drawn and not self.warmup.iterations:
            raise ValueError(
                f"warmup.iterations is 0, so that what central.kind {self.central.kind} asks for would be paid for and "
                "teach nothing: give at least 1, or --central.count 0"
            )
        if "evolution" in drawn and self.source.kind != "letters":
            raise ValueError(
                f"source.kind is {self.source.kind}, but dp_feta warms up on letters alone: leave it out, or take the "
                "method evolution"
            )

    def unread(self) -> dict[str, str]:
        """{setting: why nothing reads it}: a command that gives one of them is refused."""
        kinds = {self.central.kind, *self.experiment.kinds} if self.central.count else set()
        found = {}
        if "evolution" not in kinds:
            names = [
                *(f"source.{one.name}" for one in fields(self.source)),
                *(f"votes.{one.name}" for one in fields(self.votes)),
            ]
            found = dict.fromkeys(names, "belongs to --central.kind evolution, with central.count above 0")
        else:
            why = "belongs to --source.kind public, which dp_feta does not have"
            found = {f"source.{name}": why for name in ("light", "neighbours", "pool")}
        if not self.central.count:
            return found
        if not kinds & {*DRAWN}:
            why = "belongs to --central.kind gaussian or evolution alone"
            found |= {f"central.{name}": why for name in ("share", "draws")}
        elif kinds <= {*DRAWN}:
            why = f"belongs to central images, but central.kind is {self.central.kind}"
            read = ("kind", "share", "draws", "conditional")
            found |= {f"central.{one.name}": why for one in fields(self.central) if one.name not in read}
            if self.augment.operations:
                why += ", whose draws are never augmented"
                found |= {f"augment.{one.name}": why for one in fields(self.augment)}
        return found

    def changes(self) -> AugmentConfig:
        """What is done to an image before each step of the warm-up: to draws nothing, of which there are many."""
        return replace(self.augment, operations=0) if self.central.drawn else self.augment


def plan(config: Config, n: int, classes: int) -> Plan:
    """Price all touches of the `n` sensitive images before the first one (paper 3.3, steps 1 to 3).

    Central images and an embedding are priced by the config, Gaussians and votes by their share of the budget; the
    noise multiplier of DP-SGD is what the budget leaves. Raises ValueError where what is before it exceeds the budget.
    """
    if config.central.gaussian:
        fixed = moments.costs(MOMENTS, bearable_noise(budget_of(config), n, 1, config.central.share))
    elif config.central.evolution:
        fixed = {VOTES: replace(config.votes.cost(), noise_multiplier=votes_noise(config, n))}
    else:
        central = config.central.cost(classes)
        fixed = {} if central is None else {"central": central}
    if config.frequency.asked:
        fixed = {**fixed, EMBEDDING: embedding.cost(config.frequency.noise_multiplier)}
    return Plan.within(budget_of(config), n, "finetune", config.finetune.cost(n, "finetune"), fixed)


def votes_noise(config: Config, n: int) -> float:
    """Of a round of votes, all of which have their share of the budget."""
    return bearable_noise(budget_of(config), n, config.votes.rounds, config.central.share)


def name_of(config: Config) -> str:
    """What the papers call this run: without central images it is the baseline, or the second warm-up alone. Gaussians
    and votes are in no paper."""
    if not config.central.count:
        return f"{NAME}_frequency" if config.frequency.asked else "dpdm"
    kind = f"{NAME}_{config.central.kind}" if config.central.drawn else NAME
    return f"{kind}_pro" if config.frequency.asked else kind


def embedding_of(config: Config) -> Embedded:
    """What the second warm-up asks for."""
    return Embedded(config.frequency.embedding, config.frequency.features, config.seed)


def new_denoiser(config: Config, private: Images) -> nn.Module:
    """The network with its first weights, which `config.seed` decides; ValueError where it cannot take the images."""
    torch.manual_seed(config.seed)
    return denoiser.new_denoiser(config.network, private.shape[2], private.shape[:2], private.classes)


def _paper(epsilon: float, sampler: SamplerConfig, **differences: Any) -> Config:
    """The paper's own setting: RDP, its query, and the sampler published for this data set's accuracy."""
    budget = Budget(epsilon=epsilon, delta=differences.pop("delta", 1e-5), accountant="rdp")
    settings: dict[str, Any] = {"tuned_on": "the data sets of the paper, by its authors", "made_for": 60_000}
    return Config(budget=budget, sampler=sampler, **settings | differences)


def _edm(s_min: float) -> SamplerConfig:
    return SamplerConfig(name="edm", steps=1000, churn=10.0, s_min=s_min, s_max=50.0)


def _edm_fid(churn: float, s_min: float, guidance: float) -> SamplerConfig:
    """That of the published FID, which the authors draw by another sampler than what they train classifiers on
    (DP-FETA's own repository; Camelyon at ε 1 has one sampler for both)."""
    return replace(_edm(s_min), churn=churn, guidance=guidance)


# Batch 12,000 of n images (table VII); published steps of 13.4K are 150 epochs of 182,637 images: those of table I's
# training and validation sets together.
_CELEBA: dict[str, Any] = {
    "delta": 1e-6,
    "data": DataConfig(name=None, size=32),
    "central": CentralConfig(count=500, sampling_rate=0.0657, noise_multiplier=10.0, bins=16),
    "network": UNetConfig(attention=(16,)),
    "augment": AugmentConfig(magnitude=(1, 9)),
    "warmup": LoopConfig(iterations=2500),
    "finetune": SGDConfig(batch_size=2048),
    "made_for": 182_637,
}


# 20 epochs give table V's noise multiplier of 1.85; the 1.5K steps of table VIII would give 1.44.
_CAMELYON: dict[str, Any] = {
    **_CELEBA,
    "central": CentralConfig(count=500, sampling_rate=0.04, noise_multiplier=10.0, bins=16),
    "network": UNetConfig(multipliers=(1, 2, 2), attention=(16,)),
    "finetune": SGDConfig(batch_size=2048, epochs=20),
    "made_for": 302_436,
}

_DDIM = SamplerConfig(name="ddim", steps=1000)
_COLOUR_FID = _edm_fid(50, 0.005, 0.0)

PAPER: dict[str, Config] = {
    "paper-mnist-eps1": _paper(1, _edm(0.1), data=DataConfig(name="mnist"), sampler_fid=_edm_fid(100, 0.05, 0.0)),
    "paper-mnist-eps10": _paper(10, _edm(0.025), data=DataConfig(name="mnist"), sampler_fid=_edm_fid(50, 0.05, 0.25)),
    "paper-fashion_mnist-eps1": _paper(
        1, _edm(0.025), data=DataConfig(name="fashion_mnist"), sampler_fid=_edm_fid(50, 0.025, 1.0)
    ),
    "paper-fashion_mnist-eps10": _paper(
        10, _edm(0.1), data=DataConfig(name="fashion_mnist"), sampler_fid=_edm_fid(25, 0.2, 0.25)
    ),
    "paper-celeba-eps1": _paper(1, _DDIM, sampler_fid=_COLOUR_FID, **_CELEBA),
    "paper-celeba-eps10": _paper(10, _DDIM, sampler_fid=_COLOUR_FID, **_CELEBA),
    "paper-camelyon-eps1": _paper(1, SamplerConfig(name="ddim", steps=50), **_CAMELYON),
    "paper-camelyon-eps10": _paper(10, SamplerConfig(name="ddim", steps=50), sampler_fid=_COLOUR_FID, **_CAMELYON),
}
"""The paper's own settings, by the names of their presets."""
