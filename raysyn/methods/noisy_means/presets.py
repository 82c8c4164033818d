"""Noisy means: named settings. Nothing in them depends on how many images there are."""

from __future__ import annotations

from dataclasses import replace

from raysyn.data.images import DataConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.noisy_means.config import Config
from raysyn.metrics.utility import QUICK, EvalConfig

_TUNED_ON = "KMNIST and PneumoniaMNIST"

PRESETS: dict[str, Config] = {
    "quick": Config(
        synthetic=2_000,
        eval=replace(QUICK, floor=False),
        tuned_on=_TUNED_ON,
        audit=NO_AUDIT,
    ),
    **{
        f"cpu-{name}": Config(
            data=DataConfig(name=name),
            eval=EvalConfig(epochs=15, images=10_000, resnet9_width=0.125, floor=False, feature_epochs=5),
            tuned_on=_TUNED_ON,
        )
        for name in ("mnist", "fashion_mnist", "cifar10", "pneumoniamnist")
    },
}
