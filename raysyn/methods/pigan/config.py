"""PIGAN: what a run is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from raysyn.attacks.gan_attacks import MonteCarloConfig
from raysyn.data.images import DataConfig
from raysyn.methods.declared import Declared
from raysyn.metrics.utility import EvalConfig
from raysyn.models.dcgan import DCGANConfig
from raysyn.privacy.cost import Budget
from raysyn.train.conditional_gans import AdversarialConfig, PenaltyConfig

Model = Literal["gan", "pigan", "privgan", "dpgan"]


NAMES = {"gan": "GAN", "pigan": "PIGAN", "privgan": "PrivGAN", "dpgan": "DPGAN"}


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """What to compare beside the released GAN; every GAN is trained and attacked anew for each split."""

    lambdas: tuple[float, ...] = ()
    """Weights of PIGAN's penalty to compare, beside the GAN without (figure 1); also for training efficiency."""
    parts: tuple[int, ...] = ()
    """Numbers of parts N of PIGAN to compare, at --penalty.weight (table 2)."""
    compare: bool = False
    """Compare GAN, PIGAN, PrivGAN and DPGAN (figure 2), and pick those of equal white-box accuracy (table 1)."""
    equal_lambda: float | None = None
    """PIGAN's weight whose white-box accuracy the others are to equal in table 1; by default --penalty.weight."""
    privgan_lambdas: tuple[float, ...] = (0.01, 1.0)
    """PrivGAN's weights in that comparison, and for training efficiency."""
    epsilons: tuple[float, ...] = (10.0,)
    """DPGAN's budgets in that comparison."""
    clips: tuple[float, ...] = ()
    """DPGAN's clipping norms in that comparison, each with each budget; by default --max-grad-norm alone."""
    fewer_epochs: int | None = None
    """Training efficiency 1: PIGAN with so many epochs less, of which its delay loses as many, beside PrivGAN with all
    (the paper: 100; table 3 a)."""
    fewer_images: float | None = None
    """Training efficiency 2: PIGAN on this share of the members beside PrivGAN on all (the paper: 0.75; table 3 b)."""
    splits: int = 1
    """Splits into members and others to repeat every experiment over (the paper: 10)."""

    def __post_init__(self) -> None:
        weights = {"lambdas": self.lambdas, "privgan_lambdas": self.privgan_lambdas}
        weights |= {"equal_lambda": () if self.equal_lambda is None else (self.equal_lambda,)}
        for name, values in weights.items():
            if not all(0 <= weight < math.inf for weight in values):
                raise ValueError(f"experiment.{name} is {getattr(self, name)}: give finite weights of at least 0")
        if any(parts < 2 for parts in self.parts):
            raise ValueError(f"experiment.parts is {self.parts}: give at least 2 parts each")
        if any(not epsilon > 0 for epsilon in self.epsilons):
            raise ValueError(f"experiment.epsilons is {self.epsilons}: give budgets above 0")
        if any(not 0 < clip < math.inf for clip in self.clips) or len(set(self.clips)) != len(self.clips):
            raise ValueError(f"experiment.clips is {self.clips}: give norms above 0, each once")
        if self.splits < 1:
            raise ValueError(f"experiment.splits is {self.splits}: give at least 1")
        if self.fewer_images is not None and not 0 < self.fewer_images < 1:
            raise ValueError(f"experiment.fewer_images is {self.fewer_images}: give a share between 0 and 1")
        if self.fewer_epochs is not None and self.fewer_epochs < 1:
            raise ValueError(f"experiment.fewer_epochs is {self.fewer_epochs}: give at least 1")
        efficiency = self.fewer_epochs is not None or self.fewer_images is not None
        for name, needed in {"privgan_lambdas": self.compare or efficiency, "epsilons": self.compare}.items():
            if needed and not getattr(self, name):
                raise ValueError(f"experiment.{name} is empty: give at least one, or ask for no comparison")


NAME = "pigan"


JUDGED_BY = ("experiment", "monte_carlo", "eval")


@dataclass(frozen=True, kw_only=True)
class Config(Declared):
    """Everything that changes the result. Defaults are the paper's for Fashion-MNIST."""

    data: DataConfig = field(default_factory=DataConfig)
    model: Model = "pigan"
    """The GAN whose images are released: gan, pigan, privgan or dpgan. Only dpgan promises differential privacy."""
    member_share: float | None = 0.1
    """Share of the images loaded, training and test, that the GANs learn from; the others are the attacks' non-members.
    None takes the data's own training and test images."""
    network: DCGANConfig = field(default_factory=DCGANConfig)
    gan: AdversarialConfig = field(default_factory=AdversarialConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    budget: Budget = field(default_factory=lambda: Budget(epsilon=10.0))
    """Of dpgan."""
    max_grad_norm: float = 1.0
    """L2 norm to which dpgan clips the gradient of each member (and the image generated beside it)."""
    synthetic: int = 10_000
    """Images to release, equally many per class; the scores are measured on as many."""
    monte_carlo: MonteCarloConfig = field(default_factory=MonteCarloConfig)
    # Every GAN is judged here, beside other GANs and not beside the floor.
    eval: EvalConfig = field(
        default_factory=lambda: EvalConfig(classifiers=("cnn",), floor=False, learning_rate=2e-4, beta1=0.5)
    )
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    seed: int = 0
    """Seed of all that is public: splits, weights, batches, noise vectors. Privacy noise never comes from it."""

    def __post_init__(self) -> None:
        if self.member_share is not None and not 0 < self.member_share < 1:
            raise ValueError(f"member_share is {self.member_share}: give a share between 0 and 1, or None")
        if self.synthetic < 10 or self.synthetic <= self.eval.neighbours:
            raise ValueError(
                f"synthetic is {self.synthetic}: give at least 10 images, and more than eval.neighbours, "
                f"{self.eval.neighbours}"
            )
        if self.eval.floor:
            raise ValueError("eval.floor is True, but pigan compares GANs with each other alone: leave it out")
        if self.eval.nearest:
            raise ValueError(f"eval.nearest is {self.eval.nearest}, but pigan draws no pairs: leave it out")
        if not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm is {self.max_grad_norm}: give a number above 0")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}")
        if self.member_share is None and self.experiment.splits > 1:
            raise ValueError(
                f"experiment.splits is {self.experiment.splits}, but member_share is None, which is one split: set one"
            )
        less = self.experiment.fewer_epochs
        if less is not None and less >= self.gan.epochs:
            raise ValueError(f"experiment.fewer_epochs is {less}: give less than gan.epochs, {self.gan.epochs}")

    def unread(self) -> dict[str, str]:
        """{setting: why nothing reads it}: a command that gives one of them is refused. Who asks for an epsilon must
        not get a GAN without."""
        if self.model == "dpgan":
            return {}
        why = f"belongs to --model dpgan, and a {self.model} has no differential privacy"
        compared = () if self.experiment.compare else ("budget.delta", "budget.accountant", "max_grad_norm")
        return dict.fromkeys(("budget.epsilon", *compared), why)
