"""Prototypes: named settings."""

from __future__ import annotations

from dataclasses import replace

from raysyn.data.images import DataConfig
from raysyn.data.streams import PublicConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.dp_prototypes.config import Config
from raysyn.metrics.dissimilarity import DissimilarityConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.models.semantic import SemanticNetConfig
from raysyn.train.distillation import DistillationConfig
from raysyn.train.semantic import QueryConfig

_CPU = Config(
    query=QueryConfig(
        network=SemanticNetConfig(name="resnet14", width=16, side=None),
        epochs=5, batch_size=128, learning_rate=0.1, flip=False, shift=2,
    ),
    synthetic=5_000,
    distillation=DistillationConfig(epochs=15, batch_size=64, temperature=1.0, width=0.125),
    dissimilarity=DissimilarityConfig(images=500, learn_from=10_000, epochs=5),
    eval=EvalConfig(classifiers=("cnn", "mlp", "logreg"), epochs=15, images=10_000, feature_epochs=5),
    tuned_on="CIFAR-100",
)  # fmt: skip

PRESETS: dict[str, Config] = {
    "quick": replace(
        _CPU, query=replace(_CPU.query, network=SemanticNetConfig(name="resnet14", width=8, side=None), shift=1),
        synthetic=1_000, audit=NO_AUDIT,
    ),
    "cpu-mnist": replace(_CPU, data=DataConfig(name="mnist"), public=PublicConfig(name=("kmnist",), limit=20_000)),
    "cpu-fashion_mnist": replace(
        _CPU, data=DataConfig(name="fashion_mnist"), public=PublicConfig(name=("mnist",), limit=20_000)
    ),
    "cpu-cifar10": replace(
        _CPU, data=DataConfig(name="cifar10"), public=PublicConfig(name=("cifar100",), limit=20_000),
        # Of 50 classes of CIFAR-100 the prototypes of ten others recognise 61 % after 12 epochs, 53 % after 5.
        query=replace(_CPU.query, epochs=12, flip=True, shift=4), tuned_on="CIFAR-100, CIFAR-10",
    ),
}  # fmt: skip
