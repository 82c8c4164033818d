"""Public images are changed until a teacher sees in them what it saw in the private ones (DP-ImgSyn 3.2).

All that is known of the private images is the teacher and its layer statistics, both paid for: this is post-processing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute.worker import in_bf16
from raysyn.train.diverged import Diverged
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
    inside: bool = False
    """Bring pixels back into [-1, 1] after each step, as those of released images are. Algorithm 1 does not; what it
    then reaches is undone in part where images are rounded to what can be released."""
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
        if (self.iterations or 0) < 0 or self.batch_size < 1 or not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"alignment.iterations is {self.iterations}, alignment.batch_size {self.batch_size} and "
                f"alignment.learning_rate {self.learning_rate}: give at least 0, at least 1, and a rate above 0"
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"alignment.kernel_size is {self.kernel_size}: give an odd number of at least 1")
        for field in LOSSES:
            if not 0 <= getattr(self, field) < math.inf:
                raise ValueError(f"alignment.{field} is {getattr(self, field)}: give a finite number of at least 0")


Statistics = Sequence[tuple[Tensor, Tensor]]
"""Per normalisation layer (means, variances) of its channels, each (C_l,)."""


def targets(n: int, classes: int) -> Tensor:
    """Labels of a batch, classes in turn (A.1.3): int64 (n,)."""
    return torch.arange(n) % classes


def noise(config: AlignmentConfig, n: int, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Images to begin with that are no public ones: float32 (n, C, H, W)."""
    # Imported where it is used, not above: torchvision costs more than all of raysyn, and most need none of it.
    from torchvision.transforms.v2.functional import gaussian_blur

    height, width, channels = shape
    drawn = np.random.default_rng(seed).standard_normal((n, channels, height, width), np.float32)
    noise = torch.from_numpy(drawn)
    return noise if config.start == "gaussian" else gaussian_blur(noise, [config.kernel_size] * 2)


class Moments(torch.autograd.Function):
    """Mean and mean square of each channel, float32 (C,), of (N, C, H, W) that lies channels last.

    With a slope by hand, one pass over h each way: var_mean over (0, 2, 3) takes as long as the network itself.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(h)
        rows = h.permute(0, 2, 3, 1).flatten(0, 2).float()
        return rows.mean(0), torch.linalg.vector_norm(rows, dim=0).square() / len(rows)

    @staticmethod
    def backward(ctx: Any, of_mean: Tensor, of_squares: Tensor) -> Tensor:  # type: ignore[override]
        (h,) = ctx.saved_tensors
        count = h.numel() / h.shape[1]
        first, second = ((g / count).to(h.dtype)[:, None, None] for g in (of_mean, 2 * of_squares))
        return torch.addcmul(first, h, second)


def losses(
    teacher: nn.Module, images_NCHW: Tensor, labels_N: Tensor, wanted: Statistics
) -> tuple[dict[str, Tensor], Tensor]:
    """The four terms of equation 5, unweighted, for a batch, and the teacher's logits, float32 (N, K)."""
    with norm_inputs(teacher) as seen:
        logits = teacher(images_NCHW).float()
    feature = torch.zeros((), device=images_NCHW.device)
    for h, (mean, variance) in zip(seen, wanted, strict=True):
        m, squares = Moments.apply(h)
        v = squares - m.square()
        feature = feature + (m - mean).square().sum() + (v - variance).square().sum()
    across, down = images_NCHW.diff(dim=3)[:, :, :-1], images_NCHW.diff(dim=2)[:, :, :, :-1]
    terms = {
        "feature": feature,
        "classification": F.cross_entropy(logits, labels_N),
        # A root has no slope at 0, where neighbours are equal.
        "total_variation": (across.square() + down.square() + 1e-12).sqrt().sum(),
        "l2": images_NCHW.square().sum(),
    }
    return terms, logits


def weighted(terms: dict[str, Tensor], config: AlignmentConfig) -> Tensor:
    """Equation 5: the terms by their weights."""
    return torch.stack([getattr(config, name) * term.float() for name, term in terms.items()]).sum()


def align(
    teacher: nn.Module, images_NCHW: Tensor, labels_N: Tensor, wanted: Statistics, config: AlignmentConfig
) -> tuple[Tensor, list[dict[str, float]]]:
    """Algorithm 1: one batch, aligned, (N, C, H, W), and the losses before each step.

    The teacher is not changed. Diverged where a loss is not finite.
    """
    teacher.eval().requires_grad_(False)
    x = images_NCHW.detach().clone().contiguous(memory_format=torch.channels_last).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=config.learning_rate, betas=(0.5, 0.99))
    told = []
    assert config.iterations is not None, "chosen before"
    for _ in range(config.iterations):
        with in_bf16(x.device):
            terms, _ = losses(teacher, x, labels_N, wanted)
        total = weighted(terms, config)
        (x.grad,) = torch.autograd.grad(total, x)
        optimizer.step()
        if config.inside:
            with torch.no_grad():
                x.clamp_(-1, 1)
        told.append(in_figures(terms, total))
    return x.detach(), told


@torch.no_grad()
def label(
    teacher: nn.Module, images_NCHW: Tensor, labels_N: Tensor, wanted: Statistics, config: AlignmentConfig
) -> tuple[Tensor, dict[str, float]]:
    """What the teacher says of images as they are released, probabilities float32 (N, K), and their losses; in full
    precision. Diverged where either is not finite."""
    terms, logits = losses(teacher, images_NCHW, labels_N, wanted)
    return logits.softmax(1), in_figures(terms, weighted(terms, config))


def in_figures(terms: dict[str, Tensor], total: Tensor) -> dict[str, float]:
    """{term, "total": its value}."""
    # Together, because each figure that is read from a GPU waits for it.
    values = torch.stack([*(term.detach().float() for term in terms.values()), total.detach()]).tolist()
    told = dict(zip((*terms, "total"), values, strict=True))
    if not all(map(math.isfinite, told.values())):
        raise Diverged(
            f"the losses of a batch are {told}: lower alignment.learning_rate, or, where the teacher's training has "
            "diverged, training.learning_rate"
        )
    return told


MOST_STEPS, ENOUGH = 50, 0.9


def enough_steps(losses: Sequence[float], distances: Sequence[float], noise: float) -> int:
    """The fewest steps that bring 90 % of what all of them bring, or after which images are no farther from the
    statistics than these are from exact ones: from there on it is their noise that images would learn (Morozov's
    discrepancy principle).

    Where the paper chose k by a student's accuracy on private test images, this looks at post-processing only.

    Args:
        losses: the total loss before each step and after the last.
        distances: of these, equation 1 alone.
        noise: what of it noise explains (`Layers.noise_alone`).
    """
    brought = losses[0] - min(losses)
    enough = next(k for k, loss in enumerate(losses) if loss <= losses[0] - ENOUGH * brought)
    return next((k for k, distance in enumerate(distances[:enough]) if distance <= noise), enough)


def why_so_many(steps: int, distance: float, noise: float) -> str:
    """Why `enough_steps` took these, after which images are at `distance`, for the console."""
    if distance > noise:
        return f"which brings nine tenths of what {MOST_STEPS} steps bring"
    if steps:
        return "after which images would learn the noise of the statistics"
    return "because public images are as near to the statistics as their noise can tell: they are released as they are"
