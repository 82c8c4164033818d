"""DP-ImgSyn: what a run is told, and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch

from raysyn.data.images import DataConfig, Images
from raysyn.data.streams import PublicConfig
from raysyn.methods import soft_config
from raysyn.methods.declared import Declared
from raysyn.methods.soft_config import check_students
from raysyn.metrics.dissimilarity import DissimilarityConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.models import students
from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.privacy import cost
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.layer_statistics import StatisticsConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.train.alignment import AlignmentConfig
from raysyn.train.distillation import DistillationConfig


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """What to compare beside the release, each judged by the first of --students."""

    iterations: tuple[int, ...] = ()
    """Numbers of steps k to compare (figure 4; the paper: 0 to 100), over further public sets and budgets too."""
    public: tuple[str, ...] = ()
    """Further public sets, each with no, with --alignment.iterations and with --experiment.iterations steps (table 2):
    names that --public.name knows, or paths."""
    epsilons: tuple[float, ...] = ()
    """Further budgets, each with a teacher of its own, trained with this run's settings, over all public sets (tables 1
    and 2)."""
    students: bool = False
    """Train every one of --students on each public set at each budget (table 4)."""
    losses: bool = False
    """Leave out terms of the loss, beginning with public images and with Gaussian noise (table 8)."""
    factors: tuple[float, ...] = ()
    """Multiply each weight of the loss in turn, beginning with public images and with noise (table 6)."""
    starts: bool = False
    """Compare public images with Gaussian noise (table 9)."""
    kernel_sizes: tuple[int, ...] = ()
    """And with noise that is blurred by kernels of so many pixels (table 11; the paper: 3, 7, 11, 15)."""
    plane: bool = False
    """Draw what alignment does to points of a plane (figure 5); takes no private image."""
    repeats: int = 1
    """Seeds to repeat each synthesis and its student with, under one teacher (the paper: 3)."""

    def __post_init__(self) -> None:
        if any(not 0 < epsilon < math.inf for epsilon in self.epsilons):
            raise ValueError(f"experiment.epsilons is {self.epsilons}: give finite budgets above 0")
        if any(not factor >= 0 for factor in self.factors):
            raise ValueError(f"experiment.factors is {self.factors}: give numbers of at least 0")
        if any(steps < 0 for steps in self.iterations):
            raise ValueError(f"experiment.iterations is {self.iterations}: give numbers of at least 0")
        if any(size < 1 or size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(f"experiment.kernel_sizes is {self.kernel_sizes}: give odd numbers")
        if self.repeats < 1:
            raise ValueError(f"experiment.repeats is {self.repeats}: give at least 1")

    def trains(self) -> bool:
        """Whether anything is compared that needs a student."""
        return replace(self, plane=False, repeats=1) != ExperimentConfig()


NAME = "dp_imgsyn"


@dataclass(frozen=True, kw_only=True)
class Config(Declared):
    """Everything that changes the release. Defaults of the training and the alignment are the paper's for MNIST at
    epsilon 10 (table 5, A.1.2); statistics are asked of all images at once."""

    data: DataConfig = field(default_factory=DataConfig)
    public: PublicConfig = field(default_factory=PublicConfig)
    budget: Budget = field(default_factory=Budget)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    training: SGDConfig = field(
        default_factory=lambda: SGDConfig(
            batch_size=128, epochs=14, noise_multiplicity=1, optimizer="sgd", learning_rate=0.01, beta1=0.0, ema=0.0
        )
    )
    """DP-SGD of the teacher."""
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    synthetic: int | None = None
    """Images to release; by default as many as there are private ones, or public ones if these are fewer."""
    students: tuple[students.Name, ...] = ("resnet18",)
    """Students trained on the release and tested on real images, for the report alone."""
    real_students: bool = True
    """Train each student, by the same recipe, also on as many real images, to compare with. What learns from the
    floor's images is decided by eval.floor."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    dissimilarity: DissimilarityConfig = field(default_factory=DissimilarityConfig)
    eval: EvalConfig = field(default_factory=lambda: EvalConfig(classifiers=()))
    """How faithful the released images are, which are not meant to be (table 12); its classifiers learn from the most
    probable labels alone."""
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    seed: int = 0
    """Seed of all that is public: first weights, batches, noise to begin with. Privacy noise never comes from it."""

    def __post_init__(self) -> None:
        if self.synthetic is not None and self.synthetic < 10:
            raise ValueError(f"synthetic is {self.synthetic}: give at least 10, or leave it out")
        check_students(self.students)
        if self.training.layers != "all":
            raise ValueError(
                f"training.layers is {self.training.layers}, but the teacher has learned nothing before: leave it out"
            )
        if self.experiment.trains() and not self.students:
            raise ValueError("students is empty, but experiments are judged by the first of them: name one")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}")

    @property
    def reads_public(self) -> bool:
        """Whether a run reads `public`."""
        return self.alignment.start == "public"


JUDGED_BY = (*soft_config.JUDGED_BY, "experiment")
"""Settings that change nothing that is released."""


def plan(config: Config, n: int, epsilon: float | None = None) -> Plan:
    """Price every touch of the `n` private images before the first one, within `epsilon` or the run's own budget.

    The statistics have their share of it; the noise multiplier of DP-SGD is what they leave. ValueError in one sentence
    where there is too little for both.
    """
    delta, accountant, share = config.budget.delta_for(n), config.budget.accountant, config.statistics.share
    field = "budget.epsilon" if epsilon is None else "experiment.epsilons"
    epsilon = epsilon or config.budget.epsilon
    wanted = config.statistics.cost(n), config.training.cost(n, "training")
    try:
        asked = cost.calibrate(share * epsilon, delta, accountant, [], wanted[0])
        training = cost.calibrate(epsilon, delta, accountant, [asked], wanted[1])
    except cost.Overspent as error:
        raise ValueError(
            f"{field} is {epsilon:g} with {share:g} of it for the layer statistics (statistics.share): too little for "
            f"these or for the teacher, raise it"
        ) from error
    stages = {"teacher": training, "statistics": asked}
    return Plan(stages=stages, delta=delta, accountant=accountant, epsilon_budget=epsilon, n=n)


def new_teacher(config: Config, private: Images) -> Teacher:
    """The teacher with its first weights, which `config.seed` decides."""
    torch.manual_seed(config.seed)
    return Teacher(config.teacher, private.shape, private.classes)
