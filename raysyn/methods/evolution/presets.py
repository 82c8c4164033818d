"""Private evolution: named settings. How many candidates there are follows from images, classes and budget."""

from __future__ import annotations

from dataclasses import replace

from raysyn.data.images import DataConfig
from raysyn.data.streams import PublicConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.evolution.config import Config, SourceConfig
from raysyn.metrics.utility import QUICK, EvalConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries.votes import VotesConfig

_CPU = Config(
    data=DataConfig(name="mnist"),
    eval=EvalConfig(epochs=15, images=10_000, resnet9_width=0.125, feature_epochs=5),
    tuned_on="MNIST",
)


def _paper(epsilon: float, threshold: float) -> Config:
    """Sim-PE on MNIST: 60,000 candidates in each of four rounds, whose fonts, sizes and turns change less and less, and
    which need one vote; spreads of its uniform ranges as standard deviations. Nothing is bent, and strokes are those of
    fonts or one pen."""
    return Config(
        data=DataConfig(name="mnist"),
        budget=Budget(epsilon=epsilon, accountant="rdp"),
        source=SourceConfig(variation=(0.8, 0.4, 0.2), final=0.0, turn=17.0, size=0.3, shear=0.0, shift=0.0, bend=0.0),
        votes=VotesConfig(rounds=4, candidates=6_000, threshold=threshold, blur=0.0),
        synthetic=60_000,
        tuned_on="MNIST",  # how characters are drawn
        made_for=60_000,
    )


PRESETS: dict[str, Config] = {
    "quick": Config(
        # Digits of 8 pixels fill their image, and a stroke is two pixels wide.
        source=SourceConfig(height=0.95, pen=0.2, bend=0.12, final=0.3),
        votes=VotesConfig(blur=0.5),
        synthetic=2_000,
        eval=QUICK,
        tuned_on="digits",
        audit=NO_AUDIT,
    ),
    "cpu-mnist": _CPU,
    "cpu-fashion_mnist": replace(
        _CPU,
        data=DataConfig(name="fashion_mnist"),
        source=SourceConfig(kind="public"),
        public=PublicConfig(name=("kmnist", "cifar100")),
        tuned_on="MNIST and Fashion-MNIST",
    ),
    "cpu-cifar10": replace(
        _CPU,
        data=DataConfig(name="cifar10"),
        source=SourceConfig(kind="public", bend=0.03, turn=4.0, shear=0.05, final=0.4),
        public=PublicConfig(name=("cifar100",)),
    ),
    # One vote, in standard deviations of the noise.
    "paper-mnist-eps1": _paper(1.0, 0.112),
    "paper-mnist-eps10": _paper(10.0, 0.888),
}
