"""DP-ImgSyn's presets: the papers' own, and some for small machines."""

from __future__ import annotations

from dataclasses import replace

from raysyn.data.images import DataConfig
from raysyn.data.streams import PublicConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.dp_imgsyn.config import Config
from raysyn.methods.machines import On
from raysyn.metrics.dissimilarity import DissimilarityConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.models.students import NAMES
from raysyn.models.teacher import TeacherConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries.layer_statistics import StatisticsConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.train.alignment import AlignmentConfig
from raysyn.train.distillation import DistillationConfig

_MNIST, _FASHION, _CIFAR = (DataConfig(name=name) for name in ("mnist", "fashion_mnist", "cifar10"))
_CELEBA, _IMAGENETTE = DataConfig(name=None, size=64), DataConfig(name=None, size=224)
Row = tuple[float, int, float, float, float, int]
"""Epochs, batch size, rate and clip of DP-SGD; epochs and batch size of the statistics."""
_TABLE_5: dict[str, tuple[DataConfig, dict[float, Row], int]] = {
    "mnist": (_MNIST, {1.0: (4, 128, 0.01, 1.0, 2, 64), 10.0: (14, 128, 0.01, 1.0, 2, 64)}, 10),
    "fashion_mnist": (_FASHION, {1.0: (30, 50, 0.01, 1.2, 2, 64), 10.0: (20, 128, 0.01, 1.2, 2, 64)}, 10),
    "celeba_hair": (_CELEBA, {1.0: (18, 128, 0.001, 1.0, 5, 128), 10.0: (22, 128, 0.001, 1.0, 3, 128)}, 1),
    "celeba_gender": (_CELEBA, {1.0: (18, 128, 0.001, 1.0, 4, 128), 10.0: (22, 128, 0.001, 1.0, 4, 128)}, 1),
    "cifar10": (_CIFAR, {10.0: (12, 128, 0.001, 1.0, 5, 128)}, 20),
    "imagenette": (_IMAGENETTE, {105.0: (57, 8, 0.001, 1.0, 3, 8)}, 20),
}
"""By data set: the rows of table 5 by epsilon, of which other budgets take the nearest, and the steps k: table 2's (for
Fashion-MNIST with MNIST as public set, where other sets do best with 1), for CIFAR-10 figure 4's; ImageNette's are not
published."""


def _nearest(rows: dict[float, Row], epsilon: float) -> Row:
    return rows[min(rows, key=lambda row: abs(row - epsilon))]


_IMAGES = {"mnist": 60_000, "fashion_mnist": 60_000, "cifar10": 50_000, "imagenette": 9_469}
"""Training images as published; of both of CelebA 162,770 (table 13), although not all are of one hair colour."""


def _paper(name: str, data: DataConfig, epsilon: float, row: Row, iterations: int) -> Config:
    """The noise multiplier is what the budget and the statistics leave. The paper's own (0.8, 0.5, 1, ...) are within
    8 % of it, and its teachers inside its budgets: by PRV, which it accounts with, and at a delta of 1e-5, which it
    does not name, they cost 0.86 of MNIST's 1, and 101.3 of ImageNette's 105."""
    epochs, batch_size, learning_rate, clip, asked_epochs, asked_batch = row
    # Published for MNIST, Fashion-MNIST and CelebA; CIFAR-10 goes with the first two, ImageNette with the last.
    large = data.size is not None
    return Config(
        # The paper names no delta.
        data=data, public=PublicConfig(name=()), budget=Budget(epsilon=epsilon),
        training=SGDConfig(
            batch_size=batch_size, epochs=epochs, noise_multiplicity=1, optimizer="sgd", learning_rate=learning_rate,
            max_grad_norm=clip, beta1=0.0, ema=0.0,
        ),
        statistics=StatisticsConfig(epochs=asked_epochs, batch_size=asked_batch),
        alignment=AlignmentConfig(iterations=iterations, batch_size=60 if large else 80),
        students=NAMES,
        distillation=DistillationConfig(temperature=10.0 if large else 100.0),
        tuned_on="the data sets of the paper, by its authors", made_for=_IMAGES.get(name, 162_770),
    )  # fmt: skip


_CPU = Config(
    teacher=TeacherConfig(width=8),
    training=SGDConfig(batch_size=512, epochs=6, noise_multiplicity=1, learning_rate=5e-3, ema=0.95),
    students=("resnet18",),
    synthetic=10_000,
    # A temperature of 100 divides gradients by as much, and students of a few hundred steps learn nothing.
    distillation=DistillationConfig(epochs=20, learning_rate=0.3, temperature=1.0, width=0.125),
    dissimilarity=DissimilarityConfig(images=1_000, learn_from=10_000, epochs=5),
    eval=EvalConfig(classifiers=(), images=10_000, feature_epochs=5),
)

PRESETS: dict[str, Config] = {
    "quick": Config(
        audit=NO_AUDIT,
        teacher=TeacherConfig(width=8),
        training=SGDConfig(
            batch_size=128, epochs=15, noise_multiplicity=1, learning_rate=5e-3, learning_rate_warmup=0.1,
            learning_rate_decay=0.5, ema=0.95,
        ),
        alignment=AlignmentConfig(iterations=None, inside=True),
        distillation=DistillationConfig(
            epochs=20, batch_size=128, learning_rate=0.2, temperature=1.0, width=0.125
        ),
        dissimilarity=DissimilarityConfig(images=500, epochs=5),
        tuned_on="digits",
    ),
    "cpu-mnist": replace(
        # Many images of many kinds, each seen less often: with 9,000 of KMNIST, twice as often, students were 1.5
        # points worse, with CIFAR-100 alone 6.
        _CPU, data=_MNIST, public=PublicConfig(name=("kmnist", "fashion_mnist", "cifar100")), synthetic=20_000,
        distillation=replace(_CPU.distillation, epochs=10, batch_size=64, learning_rate=0.1),
        tuned_on="MNIST, its number of steps by the paper",
    ),
    "cpu-fashion_mnist": replace(
        # As released images are clipped, what alignment reached outside is lost: kept inside, students of these images
        # were 4 and 9 points better. With MNIST as private set they were worse, and differed more from seed to seed.
        _CPU, data=_FASHION, public=PublicConfig(name=("mnist",)), alignment=AlignmentConfig(inside=True),
        tuned_on="Fashion-MNIST, its number of steps by the paper",
    ),
    **{
        f"paper-{name}-eps{epsilon:g}": _paper(name, data, epsilon, _nearest(rows, epsilon), steps)
        for name, (data, rows, steps) in _TABLE_5.items()
        for epsilon in dict.fromkeys((0.2, 1.0, 10.0, *rows))
    },
}  # fmt: skip

MACHINES = On()
