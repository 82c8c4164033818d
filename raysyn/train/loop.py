"""Plain data-parallel training where nothing is secret: warm-up on central images, public pre-training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.train.diverged import Diverged
from raysyn.train.few_weights import ALL, few, merged
from raysyn.train.precision import layout, on_cpu_in_bf16

CHECKPOINTS = 20
Augment = Callable[[Tensor, Sequence[int]], Tensor]
"""augment(images_BHWC uint8, one seed per image) -> images of the same kind."""


class Task(Protocol):
    """What is learned; the same object serves private and non-private training (see `DiffusionTask`)."""

    def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
        """Inputs with leading dimensions (B, copies); the draws of example i depend on seeds[i] alone.

        Copies are of one image, or each of one of its own: then images are (B, copies, H, W, C), labels (B, copies).
        """
        ...

    def loss(self, model: nn.Module, *inputs_M: Any) -> Tensor:
        """(M,) losses, one per copy."""
        ...


class Ema:
    """Exponential moving average of a model's weights, with warm-up: decay min(decay, (1 + n) / (10 + n)).

    Call `update` once per real optimiser step; n counts these calls.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema is {decay}; give a number from 0 up to below 1.")
        self.decay, self.updates = decay, 0
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        now = model.state_dict()
        floats = [name for name, value in now.items() if value.is_floating_point()]
        averages = [self.weights[name] for name in floats]
        torch._foreach_lerp_(averages, [now[name] for name in floats], 1 - keep)
        for name in now.keys() - floats:
            self.weights[name].copy_(now[name])

    def state_dict(self) -> dict[str, Any]:
        return {"decay": self.decay, "updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.decay, self.updates = float(state["decay"]), int(state["updates"])
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)

    def copy_to(self, model: nn.Module) -> None:
        """Overwrite `model`'s weights with the average."""
        model.load_state_dict(self.weights)


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Non-private training with Adam at a constant rate (paper appendix B, table VIII)."""

    iterations: int = 2000
    """Optimiser steps."""
    batch_size: int = 64
    """Images per step over all workers."""
    learning_rate: float = 3e-4
    """Adam's learning rate."""
    ema: float = 0.999
    """Decay of the moving average of the weights."""
    copies: int = 1
    """Noisy copies of each image per step."""

    def __post_init__(self) -> None:
        if self.iterations < 0 or self.batch_size < 1 or self.copies < 1:
            raise ValueError(
                f"iterations is {self.iterations}, batch_size {self.batch_size} and copies {self.copies}; "
                "iterations must be at least 0, the others at least 1."
            )
        if not self.learning_rate > 0 or not 0 <= self.ema < 1:
            raise ValueError(
                f"learning_rate is {self.learning_rate} and ema {self.ema}; learning_rate must be above 0, ema from 0 "
                "up to below 1."
            )


def fit(
    worker: Worker, model: nn.Module, task: Task, images: Images, config: LoopConfig, seed: int,
    augment: Augment | None = None, layers: str = ALL, group: str = "warmup",
) -> dict[str, Any]:  # fmt: skip
    """Train `model` in place, or of a copy these layers; a killed run goes on from its last checkpoint and ends bit for
    bit the same. `group` is what the flags of `config` begin with.

    Batches, draws and augmentation follow from `seed` and the step alone, whatever the number of workers.

    Returns:
        {"model": weights of the last step, "ema": averaged weights, "history": [{"step", "loss"}, ...]}, on
        the CPU. The paper's second stage goes on from "model".
    """
    if not len(images):
        raise ValueError("There are 0 images to learn from; give at least one.")
    model = few(model, layers, seed)
    model.to(worker.device).to(memory_format=layout(model, worker.device, math.prod(images.shape))).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    ema, history, start, since, summed = Ema(model, config.ema), [], 0, 0, 0.0
    if (state := worker.resume()) is not None:
        start, history = state["step"], state["history"]
        # Saved between two checkpoints, it has the losses since the last one; earlier versions saved at these alone.
        since, summed = state.get("since", start), state.get("losses", 0.0)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema.load_state_dict(state["ema"])

    every = max(1, math.ceil(config.iterations / CHECKPOINTS))
    losses = torch.full((), summed, device=worker.device)
    for done in range(start + 1, config.iterations + 1):
        inputs = _inputs(worker, task, images, config, seed, done - 1, augment)
        losses += _step(worker, model, task, inputs, config.batch_size * config.copies)
        optimizer.step()
        ema.update(model)
        if at_mark := done % every == 0 or done == config.iterations:
            check_finite(model, mean := losses.item() / (done - since), done, f"{group}.learning_rate", config)
            history.append({"step": done, "loss": mean})
            since, losses = done, torch.zeros_like(losses)
        if worker.leaving() or at_mark:
            worker.save({
                "step": done, "history": history, "since": since, "losses": losses.item(), "model": model.state_dict(),
                "optimizer": optimizer.state_dict(), "ema": ema.state_dict(),
            })  # fmt: skip
        # The last checkpoint's loss: reading this step's would make a GPU wait.
        shown = {"loss": history[-1]["loss"]} if history else {}
        worker.progress(done, config.iterations, **shown)
    return {"model": merged(on_cpu(model.state_dict())), "ema": merged(on_cpu(ema.weights)), "history": history}


def check_finite(model: nn.Module, loss: float, step: int, field: str, config: LoopConfig) -> None:
    """Diverged where a training has come to no numbers: what follows, DP-SGD it may be, would pay for nothing."""
    if not math.isfinite(loss) or not all(bool(one.isfinite().all()) for one in model.parameters()):
        raise Diverged(f"{field} is {config.learning_rate:g}, and step {step} ended with the loss {loss}: lower it")


def batch(n: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Indices of the step's images: int64 (batch_size,), through one shuffle of 0..n-1 after another."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    rounds = positions // n
    shuffles = {r: _shuffle(n, seed, r) for r in np.unique(rounds).tolist()}
    return np.array([shuffles[r][p % n] for r, p in zip(rounds.tolist(), positions.tolist(), strict=True)])


@lru_cache(maxsize=4)
def _shuffle(n: int, seed: int, number: int) -> np.ndarray:
    # Kept for the steps that share it: of a million images it takes longer than a step of a small network.
    return np.random.default_rng([seed, 0, number]).permutation(n)


def _inputs(
    worker: Worker, task: Task, images: Images, config: LoopConfig, seed: int, step: int,
    augment: Augment | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """This rank's share of the step's inputs, copies flattened into the batch."""
    share = slice(worker.rank, None, worker.world_size)
    chosen = batch(len(images), config.batch_size, seed, step)[share]
    seeds = np.random.default_rng([seed, 1, step]).integers(2**63, size=(config.batch_size, 2))[share]
    pixels = torch.from_numpy(images.images_NHWC[chosen])
    if augment is not None and len(chosen):
        pixels = augment(pixels, seeds[:, 0].tolist())
    labels = torch.from_numpy(images.labels_N[chosen]).to(worker.device)
    inputs = task.draw(pixels.to(worker.device), labels, seeds[:, 1].tolist(), config.copies)
    return tuple(value.flatten(0, 1) for value in inputs)


def _step(worker: Worker, model: nn.Module, task: Task, inputs: tuple[Tensor, ...], total: int) -> Tensor:
    """Leave the gradient of the mean loss over all `total` copies in each rank's `.grad`; return the loss."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = torch.zeros((), device=worker.device)
    gradients = [torch.zeros_like(p) for p in parameters]
    if len(inputs[0]):  # a rank beyond the batch size has nothing to add
        with on_cpu_in_bf16(model, worker.device, inputs[0][0].numel()):
            losses = task.loss(model, *inputs)
        loss = losses.float().sum() / total
        gradients = list(torch.autograd.grad(loss, parameters))
    return give_gradients(worker, parameters, loss, gradients)


def give_gradients(
    worker: Worker, parameters: Sequence[nn.Parameter], loss: Tensor, gradients: Sequence[Tensor]
) -> Tensor:
    """Leave the sum over all ranks of `gradients` in `parameters`' `.grad`; return the sum of the losses."""
    if worker.world_size > 1:
        flat = worker.sum_(torch.cat([loss.detach().view(1), *(g.flatten() for g in gradients)]))
        loss, *pieces = flat.split([1, *(g.numel() for g in gradients)])
        gradients = [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=True)]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        # In the parameter's memory layout: fused Adam pairs elements by address and checks nothing.
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    return loss.detach().view(())


def on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy on the CPU in the default memory layout, so that its bytes do not tell how it was computed."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
