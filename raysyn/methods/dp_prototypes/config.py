"""Prototypes: what a run is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from raysyn.data.streams import PublicConfig
from raysyn.methods.basics import Basics
from raysyn.methods.soft_config import check_students
from raysyn.metrics.dissimilarity import DissimilarityConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.models import students
from raysyn.models.semantic import SemanticNetConfig
from raysyn.privacy.queries.perceptual import FeatureMomentsConfig
from raysyn.train.distillation import DistillationConfig
from raysyn.train.semantic import QueryConfig

NAME = "dp_prototypes"


@dataclass(frozen=True, kw_only=True)
class PrototypesConfig:
    """How prototypes are asked for, and how they label public images."""

    features: int = 64
    """Directions, at most, along which images are seen: those in which public classes differ most, and so fewer than
    there are of these."""
    shrinkage: float = 0.03
    """Added to how much images of a public class differ in each direction, as a part of the mean of all directions:
    directions in which they hardly differ would count for too much."""
    count_share: float = 0.1
    """With the prior, of the norm of features, how long the constant beside them is that counts images, for 0.5 % more
    noise; without it nothing is counted."""
    prior: bool = False
    """Labels are the likelier, the more private images a class has, by the noisy counts. With `random` choice only."""
    temperature: float = 0.3
    """By how much the scores, whose spread over the public images is 1, are divided before the softmax."""
    choice: Literal["surest", "random"] = "surest"
    """Which public images are released: of each class those whose label says it most, or any."""

    def __post_init__(self) -> None:
        if self.features < 1:
            raise ValueError(f"prototypes.features is {self.features}: give at least 1")
        for name in ("shrinkage", "temperature"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"prototypes.{name} is {value}: give a number above 0")
        if not 0 <= self.count_share < math.inf:
            raise ValueError(f"prototypes.count_share is {self.count_share}: give 0 or more, 0.1 is usual")
        if self.prior and not self.count_share:
            raise ValueError("prototypes.prior is True, but prototypes.count_share is 0: give 0.1 or leave one out")
        if self.prior and self.choice == "surest":
            raise ValueError(
                "prototypes.prior is True, but prototypes.choice is surest, which releases equally many of each class: "
                "give --prototypes.choice random"
            )
        if self.choice not in ("surest", "random"):
            raise ValueError(f"prototypes.choice is {self.choice!r}: give surest or random")

    def asked(self) -> FeatureMomentsConfig:
        """The question: sums of features, none of their squares, and counts where these are read."""
        return FeatureMomentsConfig(squares_share=0.0, count_share=self.count_share if self.prior else 0.0)


@dataclass(frozen=True, kw_only=True)
class Config(Basics):
    """Everything that changes the release, and how it is judged."""

    public: PublicConfig = field(default_factory=PublicConfig)
    """Labelled public images: the classifier learns from them, and some of them are released."""
    query: QueryConfig = field(default_factory=lambda: QueryConfig(network=SemanticNetConfig(side=None)))
    """The classifier of public classes whose last features see the images, trained on the public ones; or
    query.checkpoint."""
    prototypes: PrototypesConfig = field(default_factory=PrototypesConfig)
    students: tuple[students.Name, ...] = ("resnet18",)
    """Students trained on the release and tested on real images, for the report alone."""
    real_students: bool = True
    """Train each student, by the same recipe, also on as many real images, to compare with. What learns from the
    floor's images is decided by eval.floor."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    dissimilarity: DissimilarityConfig = field(default_factory=DissimilarityConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    """Its classifiers learn from the likeliest labels alone."""
    reads_public: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_students(self.students)

    def unread(self) -> dict[str, str]:
        """{setting: why nothing reads it}: a command that gives one of them is refused."""
        counted = {} if self.prototypes.prior else {"prototypes.count_share": "belongs to --prototypes.prior"}
        if self.query.checkpoint is None:
            return counted
        taught = [one.name for one in fields(QueryConfig) if one.name not in ("network", "checkpoint")]
        why = "is not read with --query.checkpoint"
        return {**counted, **dict.fromkeys((f"query.{name}" for name in taught), why)}
