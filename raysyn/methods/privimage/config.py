"""PrivImage: what a run is told, and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from raysyn.data.images import DataConfig
from raysyn.data.streams import PublicConfig
from raysyn.methods.declared import Declared, budget_of
from raysyn.methods.drawing import Snapshots, check_drawing
from raysyn.methods.privimage.gan_config import GANModelConfig
from raysyn.methods.sweep import SweepConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.models.unet import UNetConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.central import DRAWN, CentralConfig
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.train.augment import AugmentConfig
from raysyn.train.diffusion import NoiseConfig
from raysyn.train.few_weights import ALL, rank_of
from raysyn.train.loop import LoopConfig
from raysyn.train.samplers import SamplerConfig
from raysyn.train.semantic import QueryConfig

Kind = Literal["diffusion", "gan"]

NAME = "privimage"
JUDGED_BY = ("eval", "word_vectors", "sampler_fid", "experiment", "snapshots")
"""Settings that change nothing that is released."""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(SweepConfig):
    """Whole runs to compare with this one, each with one setting changed, at this run's budget; none is released."""

    pretraining: tuple[Literal["selected", "all", "none"], ...] = ()
    """What public images to pre-train on (table 2, figure 6)."""
    ratios: tuple[float, ...] = ()
    """Shares of the public classes to select (figure 7; the paper: 0.01 to 0.5, and 1, which is all of them without a
    query)."""
    widths: tuple[int, ...] = ()
    """Widths of the diffusion model (figures 7 and 8)."""
    query_widths: tuple[int, ...] = ()
    """Widths of the classifier of public classes, with how many it recognises."""
    noise: tuple[float, ...] = ()
    """Noise multipliers of the semantic query."""
    layers: tuple[str, ...] = ()
    """Which weights learn in fine-tuning: all, attention, embedding, lora:RANK."""
    limits: bool = False
    """And without any privacy (NonPrivD, NonPrivG; table 3)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(not 0 < ratio <= 1 for ratio in self.ratios):
            raise ValueError(f"experiment.ratios is {self.ratios}: give shares above 0, up to 1")
        if any(width < 1 for width in (*self.widths, *self.query_widths)):
            raise ValueError(
                f"experiment.widths is {self.widths} and experiment.query_widths {self.query_widths}: give at least 1"
            )
        for one in self.layers:
            rank_of(one)
        if any(not 0 < noise < math.inf for noise in self.noise):
            raise ValueError(f"experiment.noise is {self.noise}: give numbers above 0")


@dataclass(frozen=True, kw_only=True)
class Config(Declared, Snapshots):
    """Everything that changes the synthetic images. Defaults are the paper's for CIFAR-10 (tables 5, 7, 8)."""

    data: DataConfig = field(default_factory=DataConfig)
    public: PublicConfig = field(default_factory=PublicConfig)
    budget: Budget = field(default_factory=Budget)
    generator: Kind = "diffusion"
    """A diffusion model (PRIVIMAGE+D) or a GAN (PRIVIMAGE+G)."""
    pretraining: Literal["selected", "all", "none"] = "selected"
    """Public images to pre-train on: those of the selected classes, all (PDP-Diffusion, DPGAN-p), or none (DPDM,
    DPGAN)."""
    private: bool = True
    """False leaves out all noise and with it the promise (NonPrivD, NonPrivG): a limit to compare with, nothing to
    share."""
    query: QueryConfig = field(default_factory=QueryConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    central: CentralConfig = field(default_factory=lambda: CentralConfig(count=0))
    """Noisy central images of DP-FETA, beside the public ones; by default none."""
    central_use: Literal["between", "mixed"] = "between"
    """Train on central images after the public ones, or on both as one set (DP-FETA 6.1)."""
    network: UNetConfig = field(default_factory=lambda: UNetConfig(multipliers=(1, 2, 2), attention=(16,)))
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    pretrain: LoopConfig = field(
        default_factory=lambda: LoopConfig(iterations=128_000, batch_size=2048, learning_rate=1e-4)
    )
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Of central images."""
    warmup: LoopConfig = field(default_factory=LoopConfig)
    """Training on central images between pre-training and fine-tuning."""
    gan: GANModelConfig = field(default_factory=GANModelConfig)
    finetune: SGDConfig = field(
        default_factory=lambda: SGDConfig(batch_size=16_384, epochs=50, noise_multiplicity=8, max_grad_norm=1e-3)
    )
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    sampler_fid: SamplerConfig | None = None
    """Draw once more, in this way, for the measures of fidelity alone; by default these are of the released images."""
    synthetic: int = 50_000
    """Synthetic images to make, shared equally among the classes: the true class counts stay private."""
    eval: EvalConfig = field(default_factory=EvalConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    word_vectors: str | None = None
    """Text file of word vectors (GloVe, word2vec, fastText) for the semantic distribution similarity (equation 5) of
    public and sensitive classes, in the report alone; without it that measure is left out."""
    seed: int = 0
    """Seed of all that is public: first weights, batches, sampling. Privacy noise never comes from it."""

    def __post_init__(self) -> None:
        check_drawing(self.synthetic, self.seed, self.eval, self.sampler, self.noise, self.sampler_fid, self.snapshots)
        self._check_comparisons()
        if self.central.kind in DRAWN:
            raise ValueError(
                f"central.kind is {self.central.kind}, which dp_feta alone has: give mean or mode, or take dp_feta "
                f"--central.kind {self.central.kind}"
            )
        if self.generator == "gan" and self.central.count:
            raise ValueError(
                f"generator is gan, but central.count is {self.central.count}: central images go with diffusion, leave "
                "them out"
            )
        if (layers := {self.finetune.layers, *self.experiment.layers} - {ALL}) and self.untaught():
            raise ValueError(
                f"finetune.layers or experiment.layers is {min(layers)}, but generator is {self.generator} and "
                f"pretraining {self.pretraining}, with no step of learning before: few weights are for a diffusion "
                "model that has learned, give all"
            )
        if not self.private and self.central.count:
            raise ValueError(
                f"private is False, but central.count is {self.central.count}: central images are noisy, leave them out"
            )
        mixed = self.central.count and not self.warms_up()
        if mixed and self.central.conditional != (self.pretraining == "all" or self.semantic.conditional):
            raise ValueError(
                f"central.conditional is {self.central.conditional}, but the public images that they are mixed with "
                "have it otherwise: say the same of both, or --central-use between"
            )

    @property
    def reads_public(self) -> bool:
        """Whether a run reads `public`."""
        return self.pretraining != "none"

    def unread(self) -> dict[str, str]:
        """{setting: why nothing reads it}: a command that gives one of them is refused."""
        found = {
            f"central.{name}": "belongs to --central.kind gaussian or evolution of dp_feta"
            for name in ("share", "draws")
        }
        if not self.shows_training():
            found["snapshots"] = "belongs to diffusion models that DP-SGD fine-tunes"
        if not self.private:
            both = ("learning_rate_warmup", "learning_rate_decay")
            found |= {f"finetune.{name}": "belongs to DP-SGD, which --no-private does without" for name in both}
        return found

    def _check_comparisons(self) -> None:
        if self.generator == "gan" and (self.sampler_fid is not None or self.experiment.widths):
            raise ValueError(
                "generator is gan, which has no sampler and no network.width: leave sampler_fid and experiment.widths "
                "out"
            )
        query = [name for name in ("ratios", "query_widths", "noise") if getattr(self.experiment, name)]
        if query and self.pretraining != "selected":
            raise ValueError(
                f"experiment.{query[0]} is about the semantic query, but pretraining is {self.pretraining}, which asks "
                "none: --pretraining selected, or leave it out"
            )
        if any(one != "none" for one in self.experiment.pretraining) and self.pretraining == "none":
            raise ValueError(
                f"experiment.pretraining is {self.experiment.pretraining}, but pretraining is none, so that no public "
                "images are read: give the run itself selected or all"
            )
        if self.experiment.query_widths and self.query.checkpoint is not None:
            raise ValueError(
                f"experiment.query_widths is {self.experiment.query_widths}, but query.checkpoint gives the "
                "classifier: leave one of them out"
            )
        if self.experiment.limits and self.central.count:
            raise ValueError(
                "experiment.limits is about runs without noise, but central.count is "
                f"{self.central.count}, and central images are noisy: leave one of them out"
            )
        if not self.private and (self.experiment.epsilons or self.experiment.noise or self.experiment.limits):
            raise ValueError(
                "private is False, which has no budget and no noise: leave experiment.epsilons, experiment.noise and "
                "experiment.limits out"
            )

    def untaught(self) -> bool:
        """Whether there is no diffusion model that has learned before it is fine-tuned."""
        steps = self.pretrain.iterations if self.reads_public else 0
        steps += self.warmup.iterations if self.warms_up() else 0
        return self.generator == "gan" or not steps

    def shows_training(self) -> bool:
        """Whether images can be drawn from moments of the fine-tuning."""
        return self.private and self.generator == "diffusion"

    def warms_up(self) -> bool:
        """Whether central images are a stage of their own: after the public ones, or in place of them."""
        return self.central.count > 0 and (self.pretraining == "none" or self.central_use == "between")


def plan(config: Config, n: int, classes: int) -> Plan:
    """Price every touch of the `n` sensitive images before the first one (theorems E.2 and E.3).

    The queries are fixed by the config; the noise multiplier of DP-SGD is what the budget leaves. Raises ValueError
    where the queries alone exceed it.
    """
    fixed = {"semantic": config.semantic.cost()} if config.pretraining == "selected" else {}
    if (central := config.central.cost(classes)) is not None:
        fixed["central"] = central
    return Plan.within(budget_of(config), n, "finetune", config.finetune.cost(n, "finetune"), fixed)


def name_of(config: Config) -> str:
    """What the papers call this run."""
    names = {
        ("diffusion", "selected"): NAME, ("diffusion", "all"): "pdp_diffusion", ("diffusion", "none"): "dpdm",
        ("gan", "selected"): f"{NAME}_gan", ("gan", "all"): "dpgan_pretrained", ("gan", "none"): "dpgan",
    }  # fmt: skip
    name = names[config.generator, config.pretraining]
    if config.central.count:
        name = "dp_feta" if config.pretraining == "none" else f"{name} with {config.central.kind} central images"
    return name if config.private else f"{name} without privacy"
