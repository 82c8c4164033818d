"""DP-MEPF: named settings."""

from __future__ import annotations

from dataclasses import replace

from raysyn.data.images import DataConfig
from raysyn.data.streams import PublicConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.dp_mepf.config import Config
from raysyn.metrics.utility import QUICK, EvalConfig
from raysyn.models.semantic import SemanticNetConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries.perceptual import FeatureMomentsConfig
from raysyn.train.embedding import MatchConfig
from raysyn.train.semantic import QueryConfig

_CPU = Config(
    # On KMNIST (9,000 images, letters as public ones, noise as of MNIST's n at epsilon 1, 500 steps, one seed) a CNN
    # reached 49 %; with each layer's maps scaled apart 50 %.
    query=QueryConfig(
        network=SemanticNetConfig(name="resnet14", width=8, side=None),
        epochs=4,
        batch_size=128,
        learning_rate=0.1,
        flip=False,
    ),
    network=UpsamplerConfig(latent=60, hidden=200, channels=16),
    training=MatchConfig(iterations=1_500, batch_size=100, unbiased=True),
    eval=EvalConfig(epochs=15, images=10_000, resnet9_width=0.125, feature_epochs=5),
    tuned_on="KMNIST",
)
_PHOTOS = replace(
    _CPU, public=PublicConfig(name=("cifar100",), limit=20_000), query=replace(_CPU.query, epochs=6, flip=True)
)
_PAPER = Config(
    # ImageNet, as a folder or Parquet file that the user names, or a classifier of it (--query.checkpoint).
    public=PublicConfig(name=()),
    moments=FeatureMomentsConfig(count_share=0.0),
    tuned_on="the data sets of the paper, by its authors",
)  # fmt: skip
_PAPERS = {
    "mnist": (MatchConfig(iterations=100_000, batch_size=100, learning_rate=1e-5, decay=1.0), 60_000),
    "fashion_mnist": (MatchConfig(iterations=100_000, batch_size=100, learning_rate=1e-4, decay=1.0), 60_000),
    "cifar10": (_PAPER.training, 50_000),
}
"""Of the published private commands, and how many images each set has; they give no steps for the first two, and
100,000 are the code's default."""

PRESETS: dict[str, Config] = {
    "quick": replace(
        _CPU, training=replace(_CPU.training, iterations=600),
        synthetic=2_000, eval=QUICK, audit=NO_AUDIT,
    ),
    "cpu-mnist": replace(_CPU, data=DataConfig(name="mnist"), public=PublicConfig(name=("kmnist",))),
    "cpu-fashion_mnist": replace(_PHOTOS, data=DataConfig(name="fashion_mnist")),
    "cpu-cifar10": replace(
        _PHOTOS, data=DataConfig(name="cifar10"), network=UpsamplerConfig(latent=60, hidden=200, channels=32)
    ),
    **{
        f"paper-{name}-eps{epsilon}": replace(
            _PAPER, data=DataConfig(name=name), training=training,
            budget=Budget(epsilon=epsilon, delta=1e-5, accountant="rdp"), synthetic=count, made_for=count,
        )
        for name, (training, count) in _PAPERS.items()
        for epsilon in (1, 10)
    },
}  # fmt: skip
