"""The semantic query function: a classifier of public images, and what it sees in others (PrivImage 3.2, C.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute.worker import Worker, in_bf16
from raysyn.data.images import Images
from raysyn.models.semantic import SemanticNetConfig
from raysyn.train.alone import each_alone
from raysyn.train.classifier import as_float
from raysyn.train.diverged import Diverged
from raysyn.train.loop import CHECKPOINTS, batch, give_gradients, on_cpu

BATCH = 512


@dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """Training of the classifier of public classes; defaults are the paper's for ImageNet at 32 x 32 (table 7)."""

    network: SemanticNetConfig = field(default_factory=SemanticNetConfig)
    epochs: int = 60
    """Passes over the public images; the epoch that is best on public validation images is kept."""
    batch_size: int = 8192
    """Images per step over all workers."""
    learning_rate: float = 0.01
    """Highest rate of SGD, falling to 0 along a cosine."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay of all weights."""
    flip: bool = True
    """Mirror half of the images; not for writing."""
    shift: int = 0
    """Move each image by up to so many pixels in both directions, its edge mirrored; 4 is usual for photographs of 32
    pixels a side."""
    checkpoint: str | None = None
    """File of a classifier trained before (a state_dict of this network saved by torch.save): nothing is trained."""

    def __post_init__(self) -> None:
        for name, least in {"epochs": 1, "batch_size": 1, "momentum": 0, "weight_decay": 0, "shift": 0}.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"query.{name} is {getattr(self, name)}: give at least {least}")
        if not self.learning_rate > 0 or self.momentum >= 1:
            raise ValueError(
                f"query.learning_rate is {self.learning_rate} and query.momentum {self.momentum}: give a rate above 0 "
                "and a momentum below 1"
            )


def fit(
    worker: Worker, network: nn.Module, train: Images, valid: Images, config: QueryConfig, seed: int
) -> dict[str, Any]:
    """Train `network` in place on public images: {"weights": those of its best epoch on `valid`, on the CPU, "epoch",
    "accuracy": on `valid`, "history": [{"epoch", "loss", "accuracy"}, ...]}.

    Batches and mirroring follow from `seed` and the step. Batch statistics are each rank's own within an epoch, as is
    usual, and running ones are shared after it; a killed run goes on from its last state. Raises Diverged where the
    loss is not finite.
    """
    network.to(worker.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    best: dict[str, Any] = {"weights": {}, "epoch": 0, "accuracy": -1.0}
    start, history = 0, list[dict[str, float]]()
    if (state := worker.resume()) is not None:
        start, history, best = state["epoch"], state["history"], state["best"]
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    # Two for each rank at least, as batch statistics need them: of fewer images some are taken more than once.
    size = min(config.batch_size, max(len(train), 2 * worker.world_size))
    steps = math.ceil(len(train) / size)
    every = math.ceil(config.epochs / CHECKPOINTS)
    for epoch in range(start, config.epochs):
        total = torch.zeros((), device=worker.device)
        for step in range(epoch * steps, (epoch + 1) * steps):
            optimizer.param_groups[0]["lr"] = config.learning_rate * _cosine(step / (config.epochs * steps))
            total += _step(worker, network.train(), train, config, size, seed, step)
            optimizer.step()
        _share_statistics(worker, network)
        shown = {"loss": float(total / steps), "accuracy": accuracy(worker, network, valid)}
        if not math.isfinite(shown["loss"]):
            raise Diverged(f"epoch {epoch + 1} ended with the loss {shown['loss']}: lower query.learning_rate")
        history.append({"epoch": epoch + 1, **shown})
        if shown["accuracy"] >= best["accuracy"]:
            best = {"weights": on_cpu(network.state_dict()), "epoch": epoch + 1, "accuracy": shown["accuracy"]}
        if worker.leaving() or (epoch + 1) % every == 0 or epoch + 1 == config.epochs:
            worker.save({
                "epoch": epoch + 1, "history": history, "best": best,
                "network": network.state_dict(), "optimizer": optimizer.state_dict(),
            })  # fmt: skip
        worker.progress(epoch + 1, config.epochs, **shown)
    return {**best, "history": history}


def _share_statistics(worker: Worker, network: nn.Module) -> None:
    """Give every rank the mean of all ranks' running statistics: one network is judged, kept and gone on from."""
    for buffer in network.buffers():
        if worker.world_size > 1 and buffer.is_floating_point():
            buffer.copy_(worker.sum_(buffer.clone()) / worker.world_size)


def _cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def _step(
    worker: Worker, network: nn.Module, train: Images, config: QueryConfig, size: int, seed: int, step: int
) -> Tensor:
    """Leave the gradient of the mean loss of `size` images in each rank's `.grad`; the loss."""
    share = slice(worker.rank, None, worker.world_size)
    chosen = batch(len(train), size, seed, step)[share]
    mirrored = np.random.default_rng([seed, 1, step]).random(size)[share] < 0.5
    images = as_float(torch.from_numpy(train.images_NHWC[chosen]).to(worker.device))
    if config.flip:
        flags = torch.from_numpy(mirrored).to(worker.device)
        images = torch.where(flags[:, None, None, None], images.flip(3), images)
    if config.shift:
        # Drawn of the whole batch, so that they do not depend on the number of workers.
        moves_B2 = np.random.default_rng([seed, 2, step]).integers(0, 2 * config.shift + 1, (size, 2))
        images = moved(images, torch.from_numpy(moves_B2[share]).to(worker.device), config.shift)
    labels = torch.from_numpy(train.labels_N[chosen]).to(worker.device)
    with in_bf16(worker.device):
        logits = network(images.contiguous(memory_format=torch.channels_last))
    loss = F.cross_entropy(logits.float(), labels, reduction="sum") / size
    parameters = list(network.parameters())
    return give_gradients(worker, parameters, loss, torch.autograd.grad(loss, parameters))


def moved(images_NCHW: Tensor, moves_N2: Tensor, most: int) -> Tensor:
    """Each image moved by its two numbers, from 0 to twice `most`, of which `most` is no move; edges are mirrored."""
    height, width = images_NCHW.shape[2:]
    padded_NHWC = F.pad(images_NCHW, (most,) * 4, mode="reflect").movedim(1, -1)
    rows_NH = moves_N2[:, :1] + torch.arange(height, device=moves_N2.device)
    columns_NW = moves_N2[:, 1:] + torch.arange(width, device=moves_N2.device)
    each = torch.arange(len(padded_NHWC), device=moves_N2.device)[:, None, None]
    return padded_NHWC[each, rows_NH[:, :, None], columns_NW[:, None, :]].movedim(-1, 1)


def accuracy(worker: Worker, network: nn.Module, valid: Images) -> float:
    """Share of `valid` that is classified rightly, each rank doing its part."""
    right = torch.zeros((), device=worker.device)
    own = np.arange(len(valid))[worker.rank :: worker.world_size]
    for part in np.array_split(own, max(1, math.ceil(len(own) / BATCH))):
        told = top_classes(network, valid.images_NHWC[part], 1, worker.device)[:, 0]
        right += int((told == valid.labels_N[part]).sum())
    return float(worker.sum_(right)) / len(valid)


def top_classes(network: nn.Module, images_NHWC: np.ndarray, k: int, device: torch.device) -> np.ndarray:
    """The k most probable classes of each image, uint8 (N, H, W, C), a function of that image alone: int64 (N, k)."""
    network = network.to(device).eval()

    def top(pixels_BHWC: Tensor) -> list[Tensor]:
        return [network(as_float(pixels_BHWC)).topk(k, 1).indices]

    found = [block for (block,) in each_alone(top, images_NHWC, BATCH, device)]
    return np.concatenate(found) if found else np.empty((0, k), np.int64)
