"""DP-MERF: named settings. No noise but the mechanism's depends on how many images there are."""

from __future__ import annotations

from dataclasses import replace

from raysyn.data.fourier import FourierConfig
from raysyn.data.images import DataConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.dp_merf.config import Config
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries.embedding import EmbeddingConfig
from raysyn.train.embedding import MatchConfig

_SETS = ("mnist", "fashion_mnist")

_CPU = Config(
    features=FourierConfig(count=4_000, length_scales=(0.183,)),
    training=MatchConfig(unbiased=True),
    eval=EvalConfig(epochs=15, images=10_000, resnet9_width=0.125, feature_epochs=5),
    tuned_on="KMNIST",
)
_PAPER = Config(
    embedding=EmbeddingConfig(count_share=0.0), budget=Budget(accountant="rdp"), synthetic=60_000,
    tuned_on="the data sets of the paper, by its authors",
)  # fmt: skip

PRESETS: dict[str, Config] = {
    "quick": replace(
        _CPU, features=replace(_CPU.features, count=2_000), training=replace(_CPU.training, iterations=600),
        synthetic=2_000, eval=EvalConfig(epochs=30, resnet9_width=0.125), audit=NO_AUDIT,
    ),
    **{f"cpu-{name}": replace(_CPU, data=DataConfig(name=name)) for name in _SETS},
    **{
        f"paper-{name}{mark}": replace(_PAPER, data=DataConfig(name=name), budget=replace(_PAPER.budget, **spent))
        for name in _SETS
        for mark, spent in {"-eps1": {"epsilon": 1.0}, "-eps10": {"epsilon": 10.0}}.items()
    },
}  # fmt: skip
