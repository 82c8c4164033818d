"""Knowledge Recycling: named settings."""

from __future__ import annotations

from dataclasses import replace

from raysyn.attacks.shadows import AttackConfig
from raysyn.data.images import DataConfig
from raysyn.methods.knowledge_recycling.config import Config, On, TuningConfig
from raysyn.models.biggan import BigGANConfig
from raysyn.models.resnet import ResNetConfig
from raysyn.train.gan import GANConfig
from raysyn.train.recipe import RecipeConfig


def _paper(name: str) -> Config:
    data = DataConfig(name=name, size=32)
    return Config(data=data, tuned_on="the paper's data sets, by its authors", made_for=_PAPER[name])


_PAPER = {
    "cifar10": 50_000, "cifar100": 50_000, "fashion_mnist": 60_000, "bloodmnist": 11_959, "dermamnist": 7_007,
    "organcmnist": 12_975, "organsmnist": 13_932, "pneumoniamnist": 4_708, "retinamnist": 1_080,
}  # fmt: skip
"""Training images as published."""


# Two cores: narrow networks, small images, few epochs; the pipeline and its updates are the paper's. The high rates and
# the discriminator's head start are what keeps a GAN this small and this briefly trained from repeating itself.
_CPU = Config(
    classifier=ResNetConfig(width=8),
    recipe=RecipeConfig(epochs=40, batch_size=64, learning_rate=0.2),
    search_epochs=15,
    network=BigGANConfig(channels=16, depth=2, latent=64, embedding=64),
    gan=GANConfig(
        epochs=200, batch_size=64, learning_rate=2e-3, discriminator_learning_rate=3e-3, ema=0.99, checkpoint_every=40
    ),
    tuning=TuningConfig(trials=12, cardinality_scale=(1, 4)),
    attack=AttackConfig(shadow_models=16, design="half"),
)


PRESETS: dict[str, Config] = {
    "quick": replace(
        _CPU,
        recipe=replace(_CPU.recipe, epochs=16, batch_size=128, learning_rate=0.4),
        search_epochs=4,
        network=BigGANConfig(channels=16, depth=1, latent=32, embedding=32),
        gan=replace(_CPU.gan, epochs=51, checkpoint_every=17, learning_rate=4e-3, discriminator_learning_rate=4e-3),
        tuning=TuningConfig(trials=4, cardinality_scale=(1, 2), first_verdict=2),
        attack=AttackConfig(shadow_models=8, design="half"),
        tuned_on="digits",
    ),
    "cpu-mnist": replace(_CPU, data=DataConfig(name="mnist", limit=2500, size=16), valid_share=0.2, tuned_on="mnist"),
    "cpu-pneumoniamnist": replace(_CPU, data=DataConfig(name="pneumoniamnist", limit=2500, size=16), tuned_on="mnist"),
    **{f"paper-{name}": _paper(name) for name in _PAPER},
}

MACHINES = On()
