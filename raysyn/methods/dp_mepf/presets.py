"""DP-MEPF: named settings."""

from __future__ import annotations

from dataclasses import replace

from raysyn.data.images import DataConfig
from raysyn.data.streams import PublicConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.dp_mepf.config import Config
from raysyn.metrics.utility import EvalConfig
from raysyn.models.semantic import SemanticNetConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.train.embedding import MatchConfig
from raysyn.train.semantic import QueryConfig

_WRITING = QueryConfig(
    network=SemanticNetConfig(name="resnet14", width=16), epochs=4, batch_size=128, learning_rate=0.1, flip=False
)
_CPU = Config(
    query=_WRITING,
    network=UpsamplerConfig(latent=60, hidden=200, channels=16),
    training=MatchConfig(iterations=2_000, batch_size=100, unbiased=True),
    eval=EvalConfig(epochs=15, images=10_000, resnet9_width=0.125, feature_epochs=5),
    tuned_on="KMNIST",
)
PRESETS: dict[str, Config] = {
    "quick": replace(_CPU, synthetic=2_000, eval=EvalConfig(epochs=30, resnet9_width=0.125), audit=NO_AUDIT),
    "cpu-mnist": replace(_CPU, data=DataConfig(name="mnist"), public=PublicConfig(name=("kmnist",))),
}
