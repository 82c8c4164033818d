"""A student learns the soft labels of released images (DP-ImgSyn 3.3, A.1.4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute.worker import in_bf16
from raysyn.train.classifier import as_float
from raysyn.train.diverged import Diverged
from raysyn.train.loop import batch

MILESTONES, DECAY = (0.6, 0.75, 0.9), 0.1
"""After these shares of the epochs (120, 150 and 180 of 200) the rate falls to a tenth."""


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Training of one student (A.1.4); nothing here changes the release."""

    epochs: int = 200
    """Passes over the released images."""
    batch_size: int = 256
    """Images per step."""
    learning_rate: float = 0.1
    """First rate of SGD; it falls to a tenth three times."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 1e-4
    """Weight decay of all weights."""
    temperature: float = 100.0
    """T: the student's logits are divided by it, and are so much larger in the end (equations 6 and 7). Gradients are
    so much smaller, which takes the paper's number of steps."""
    width: float = 1.0
    """Multiplies the channels of the students; 0.25 is affordable on a CPU. The report states it."""

    def __post_init__(self) -> None:
        for field, least in {"epochs": 1, "batch_size": 2, "momentum": 0, "weight_decay": 0}.items():
            if not getattr(self, field) >= least:
                raise ValueError(f"distillation.{field} is {getattr(self, field)}: give at least {least}")
        if (
            not self.learning_rate > 0
            or self.momentum >= 1
            or not 0 < self.temperature < math.inf
            or not self.width > 0
        ):
            raise ValueError(
                f"distillation.learning_rate is {self.learning_rate}, distillation.momentum {self.momentum}, "
                f"distillation.temperature {self.temperature} and distillation.width {self.width}: give a rate, a "
                "temperature and a width above 0, and a momentum below 1"
            )

    def rate(self, epoch: int) -> float:
        """Learning rate in `epoch`, counted from 0."""
        return self.learning_rate * DECAY ** sum(epoch >= share * self.epochs for share in MILESTONES)


def distill(
    student: nn.Module, images_NHWC: np.ndarray, soft_NK: np.ndarray, config: DistillationConfig, seed: int,
    device: torch.device, show: Callable[[int, float], None] | None = None,
) -> nn.Module:  # fmt: skip
    """Train `student` in place on uint8 (N, H, W, C) images and their probabilities (N, K); after the last epoch, in
    evaluation mode. The last and not the best, because choosing would need labelled private images.

    Raises Diverged where the loss is not finite.
    """
    student = student.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        student.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    pixels, soft = torch.tensor(images_NHWC, device=device), torch.tensor(soft_NK, dtype=torch.float32, device=device)
    size = min(config.batch_size, len(pixels))
    steps = math.ceil(len(pixels) / size)
    for epoch in range(config.epochs):
        optimizer.param_groups[0]["lr"] = config.rate(epoch)
        total = torch.zeros((), device=device)
        for step in range(epoch * steps, (epoch + 1) * steps):
            chosen = torch.from_numpy(batch(len(pixels), size, seed, step)).to(device)
            loss = divergence(student, as_float(pixels[chosen]), soft[chosen], config.temperature)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        if not math.isfinite(mean := float(total / steps)):
            raise Diverged(
                f"epoch {epoch + 1} of a student ended with the loss {mean}: lower distillation.learning_rate"
            )
        if show is not None:
            show(epoch + 1, mean)
    return student.eval()


def divergence(student: nn.Module, images_NCHW: Tensor, soft_NK: Tensor, temperature: float) -> Tensor:
    """Mean KL divergence of the student's answer, at `temperature`, from the soft labels."""
    with in_bf16(images_NCHW.device):
        logits = student(images_NCHW.contiguous(memory_format=torch.channels_last))
    return F.kl_div((logits.float() / temperature).log_softmax(1), soft_NK, reduction="batchmean")
