"""DP-FETA: named settings."""

from __future__ import annotations

from dataclasses import replace

from raysyn.data.images import DataConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.dp_feta.config import PAPER, Config
from raysyn.methods.machines import On
from raysyn.metrics.utility import EvalConfig
from raysyn.models.unet import UNetConfig
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.train.augment import AugmentConfig
from raysyn.train.diffusion import NoiseConfig
from raysyn.train.loop import LoopConfig
from raysyn.train.samplers import SamplerConfig

# Two cores afford 400,000 gradients: a small network that knows positions, noise levels shifted to where classes
# are decided, one copy per image. 60,000 images assumed. Central images changed at random teach less: on 10,000 of
# MNIST at epsilon 1, 100 steps, one seed, mean accuracy 78 % as they are, 46 % after two operations of strength up to
# 9, 57 % without central images.
_CPU = Config(
    network=UNetConfig(width=16, multipliers=(1, 2), blocks=1, attention=(), patch=2, positions=True),
    noise=NoiseConfig(p_mean=0.3),
    augment=AugmentConfig(operations=0),
    warmup=LoopConfig(iterations=800, learning_rate=2e-3),
    finetune=SGDConfig(batch_size=1024, epochs=6.83, noise_multiplicity=1, learning_rate=2e-3, ema=0.98),
    # Guidance would make the images alike: CNN 87 % with guidance 1, 90 % with 0.25, 91 % without, on 3,000 images.
    sampler=SamplerConfig(steps=16),
    synthetic=10_000,
    eval=EvalConfig(epochs=15, images=10_000, resnet9_width=0.125, feature_epochs=5),
    tuned_on="MNIST",
)


_QUICK = Config(
    network=UNetConfig(width=16, multipliers=(1, 2), blocks=1, attention=(), positions=True),
    noise=NoiseConfig(p_mean=0.3),
    # 150 images per class: all of them are asked, twice, or the noise would drown the outline.
    central=CentralConfig(count=20, sampling_rate=1.0, downscale=1, smooth=False),
    # Changed at random, they teach less: mean accuracy 89 % as they are, 87 % with the published strength, 80 % with
    # that of colour images, 82 to 85 % without central images.
    augment=AugmentConfig(operations=0), warmup=LoopConfig(iterations=250, learning_rate=2e-3),
    finetune=SGDConfig(batch_size=256, epochs=20, noise_multiplicity=1, learning_rate=2e-3, ema=0.97),
    synthetic=2_000, eval=EvalConfig(epochs=30, resnet9_width=0.125), tuned_on="digits",
    audit=NO_AUDIT,
)  # fmt: skip

PRESETS: dict[str, Config] = {
    "quick": _QUICK,
    "cpu-mnist": replace(_CPU, data=DataConfig(name="mnist")),
    "cpu-fashion_mnist": replace(_CPU, data=DataConfig(name="fashion_mnist")),
    **PAPER,
}

MACHINES = On()
