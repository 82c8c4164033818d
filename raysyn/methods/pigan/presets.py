"""PIGAN: named settings."""

from __future__ import annotations

from dataclasses import replace

from raysyn.attacks.gan_attacks import MonteCarloConfig
from raysyn.data.images import DataConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.machines import On
from raysyn.methods.pigan.config import Config, ExperimentConfig
from raysyn.metrics.inception import TRY
from raysyn.metrics.utility import EvalConfig
from raysyn.models.dcgan import DCGANConfig
from raysyn.privacy.cost import Budget
from raysyn.train.conditional_gans import AdversarialConfig, PenaltyConfig

_PAPER = Config(
    data=DataConfig(name="fashion_mnist"),
    budget=Budget(epsilon=10.0, delta=1e-4),
    # The papers' scores are Inception's: where the network cannot be downloaded, they are null with the reason.
    eval=replace(Config().eval, inception_weights=TRY),
    experiment=ExperimentConfig(
        lambdas=(0.0, 1.0, 5.0, 10.0, 20.0, 30.0),
        parts=(2, 3, 4, 5, 6),
        compare=True,
        equal_lambda=5.0,
        privgan_lambdas=(0.0, 0.01, 0.1, 1.0, 10.0, 20.0),
        epsilons=(1.0, 10.0, 100.0),
        # "Different clipping and noise levels" (5.2.3), of which the paper says no more.
        clips=(0.1, 1.0),
        fewer_epochs=100,
        fewer_images=0.75,
        splits=10,
    ),
    tuned_on="the paper's data sets, by its authors",
    # Members: a tenth of training and test images.
    made_for=7_000,
)


_CPU = Config(
    # A quarter of the width bears four times the rate.
    network=DCGANConfig(width=0.25),
    gan=AdversarialConfig(epochs=150, batch_size=64, learning_rate=8e-4),
    penalty=PenaltyConfig(delay_epochs=100, privgan_delay_epochs=50),
    synthetic=4000,
    monte_carlo=MonteCarloConfig(fakes=20_000),
    eval=EvalConfig(classifiers=("cnn",), floor=False, epochs=20, learning_rate=1e-3, beta1=0.5, feature_epochs=5),
    experiment=ExperimentConfig(lambdas=(0.0, 10.0)),
)


_CPU_FASHION = replace(
    _CPU,
    # 1,000 members of 10,000 images: for time, and because so narrow a discriminator remembers no more.
    data=DataConfig(name="fashion_mnist", limit=5000),
    experiment=ExperimentConfig(lambdas=(0.0, 1.0, 10.0), compare=True),
    tuned_on="fashion_mnist",
)


PRESETS: dict[str, Config] = {
    "quick": replace(
        _CPU,
        audit=NO_AUDIT,
        member_share=0.25,
        network=DCGANConfig(width=0.25, latent=32),
        # 120 epochs at a rate of 1.6e-3 took half as long again.
        gan=AdversarialConfig(epochs=75, batch_size=64, learning_rate=2.4e-3),
        penalty=PenaltyConfig(pretrain_epochs=30, delay_epochs=50, privgan_delay_epochs=25),
        monte_carlo=MonteCarloConfig(fakes=2000, suspects=50),
        synthetic=1000,
        tuned_on="digits",
    ),
    "cpu-fashion_mnist": _CPU_FASHION,
    "cpu-mnist": replace(_CPU_FASHION, data=DataConfig(name="mnist", limit=5000)),
    "paper-fashion_mnist": _PAPER,
    "paper-cifar10": replace(
        _PAPER,
        data=DataConfig(name="cifar10"),
        network=DCGANConfig(layout="cifar10"),
        gan=AdversarialConfig(epochs=500, label_smoothing=0.1),
        # Table 1's weight; table 2, of a weight of 1 and several parts, is of Fashion-MNIST alone.
        penalty=PenaltyConfig(weight=30.0, delay_epochs=400),
        synthetic=20_000,
        experiment=replace(_PAPER.experiment, parts=(), equal_lambda=30.0),
        made_for=6_000,
    ),
}

MACHINES = On()
