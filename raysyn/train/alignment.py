"""Public images are changed until a teacher sees in them what it saw in the private ones (DP-ImgSyn 3.2).

All that is known of the private images is the teacher and its layer statistics, both paid for: this is post-processing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from raysyn.train.norm_inputs import norm_inputs

Start = Literal["public", "gaussian", "low-pass"]
LOSSES = ("feature", "classification", "total_variation", "l2")
"""The terms of equation 5, and the names of their weights."""


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig:
    """Algorithm 1, with the paper's values (A.1.2, table 7)."""

    start: Start = "public"
    """Begin with public images, with standard normal noise, or with such noise after a Gaussian blur (A.6)."""
    kernel_size: int = 3
    """Side of that blur's kernel in pixels, odd; its sigma follows as 0.15 * kernel_size + 0.35."""
    iterations: int | None = 10
    """Steps of the optimization, the paper's k; 0 releases public images as they are, with soft labels. None: as many
    as `enough_steps` says, by what was paid for alone."""
    batch_size: int = 80
    """Images that are aligned together: their statistics are those of the batch."""
    learning_rate: float = 0.1
    """Adam's rate, for pixels in [-1, 1]."""
    feature: float = 10.0
    """Weight alpha_f of the distance between layer statistics (equation 1)."""
    classification: float = 1.0
    """Weight alpha_c of the cross-entropy with uniform targets (equation 2)."""
    total_variation: float = 2.5e-5
    """Weight alpha_tv of the total variation (equation 3)."""
    l2: float = 3e-8
    """Weight alpha_l2 of the squared norm (equation 4)."""

    def __post_init__(self) -> None:
        if self.start not in ("public", "gaussian", "low-pass"):
            raise ValueError(f"alignment.start is {self.start!r}: give public, gaussian or low-pass")
        if (self.iterations or 0) < 0 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"alignment.iterations is {self.iterations}, alignment.batch_size {self.batch_size} and "
                f"alignment.learning_rate {self.learning_rate}: give at least 0, at least 1, and a rate above 0"
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"alignment.kernel_size is {self.kernel_size}: give an odd number of at least 1")
        for field in LOSSES:
            if not getattr(self, field) >= 0:
                raise ValueError(f"alignment.{field} is {getattr(self, field)}: give at least 0")


Statistics = Sequence[tuple[Tensor, Tensor]]
"""Per normalisation layer (means, variances) of its channels, each (C_l,)."""


def targets(n: int, classes: int) -> Tensor:
    """Labels of a batch, classes in turn (A.1.3): int64 (n,)."""
    return torch.arange(n) % classes


def noise(config: AlignmentConfig, n: int, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Images to begin with that are no public ones: float32 (n, C, H, W)."""
    height, width, channels = shape
    drawn = np.random.default_rng(seed).standard_normal((n, channels, height, width), np.float32)
    noise = torch.from_numpy(drawn)
    return noise if config.start == "gaussian" else gaussian_blur(noise, [config.kernel_size] * 2)


def losses(teacher: nn.Module, images_NCHW: Tensor, labels_N: Tensor, wanted: Statistics) -> dict[str, Tensor]:
    """The four terms of equation 5, unweighted, for a batch."""
    with norm_inputs(teacher) as seen:
        logits = teacher(images_NCHW)
    feature = torch.zeros((), device=images_NCHW.device)
    for h, (mean, variance) in zip(seen, wanted, strict=True):
        v, m = torch.var_mean(h.float(), (0, 2, 3), correction=0)
        feature = feature + (m - mean).square().sum() + (v - variance).square().sum()
    across, down = images_NCHW.diff(dim=3)[:, :, :-1], images_NCHW.diff(dim=2)[:, :, :, :-1]
    return {
        "feature": feature,
        "classification": F.cross_entropy(logits.float(), labels_N),
        # A root has no slope at 0, where neighbours are equal.
        "total_variation": (across.square() + down.square() + 1e-12).sqrt().sum(),
        "l2": images_NCHW.square().sum(),
    }


def align(
    teacher: nn.Module, images_NCHW: Tensor, labels_N: Tensor, wanted: Statistics, config: AlignmentConfig
) -> tuple[Tensor, list[dict[str, float]]]:
    """Algorithm 1: one batch, aligned, (N, C, H, W), and the losses before each step and after the last.

    The teacher is not changed. Images begin and stay around [-1, 1], but nothing keeps them inside.
    """
    teacher.eval().requires_grad_(False)
    x = images_NCHW.detach().clone().contiguous(memory_format=torch.channels_last).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=config.learning_rate, betas=(0.5, 0.99))
    weights = {name: getattr(config, name) for name in LOSSES}
    told = []
    assert config.iterations is not None, "chosen before"
    for step in range(config.iterations + 1):
        last = step == config.iterations
        with torch.set_grad_enabled(not last), torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
            terms = losses(teacher, x, labels_N, wanted)
        total = sum((weights[name] * term for name, term in terms.items()), torch.zeros((), device=x.device))
        told.append({name: float(term.detach()) for name, term in terms.items()} | {"total": float(total.detach())})
        if not last:
            (x.grad,) = torch.autograd.grad(total, x)
            optimizer.step()
    return x.detach(), told


MOST_STEPS, ENOUGH = 50, 0.9


def enough_steps(losses: Sequence[float]) -> int:
    """The fewest steps that bring 90 % of what all of them bring, given the total loss before each and after the last.

    Where the paper chose k by a student's accuracy on private test images, this looks at post-processing only.
    """
    brought = losses[0] - min(losses)
    return next(k for k, loss in enumerate(losses) if loss <= losses[0] - ENOUGH * brought)
