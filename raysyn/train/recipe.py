"""How Knowledge Recycling trains every classifier: teacher, students and shadow models (section 3.1).

SGD from a high learning rate along a cosine, TrivialAugment, MixUp. Several networks of one kind may be trained
stacked, as one wider computation: each sees the images, draws and weights that it would see alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from raysyn.compute.worker import Worker
from raysyn.models.plain import is_plain
from raysyn.train.arrays import as_tensor
from raysyn.train.classifier import EVALUATION_BATCH, as_float
from raysyn.train.diverged import Diverged
from raysyn.train.loop import CHECKPOINTS, batch, on_cpu
from raysyn.train.memory import at_once
from raysyn.train.trivial_augment import trivial_augment
from raysyn.train.views import View, flip_and_shift, views


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Training of one classifier. Paper: SGD at 0.5, cosine, TrivialAugment, MixUp; the rest is our choice."""

    epochs: int = 500
    """Passes over the training images; of fewer than `batch_size`, steps of so many of them."""
    batch_size: int = 128
    """Images per step (the paper does not say); where there are fewer, some are taken more than once."""
    learning_rate: float = 0.5
    """Highest learning rate, reached after the warm-up and falling to 0 along a cosine."""
    warmup_epochs: int = 5
    """Epochs of linear rise before the cosine, at most a fifth of all (not in the paper; 0.5 diverges without)."""
    momentum: float = 0.9
    """Momentum of SGD (the paper does not say)."""
    weight_decay: float = 1e-4
    """Weight decay of all weights but biases and those of normalisation (the paper does not say)."""
    trivial_augment: bool = True
    """Change each image by one random operation of random strength."""
    flip: bool = False
    """Mirror half of the images, left to right (not in the paper)."""
    shift: int = 0
    """Move each image by up to so many pixels in both directions (not in the paper)."""
    mixup: float = 0.2
    """Both parameters of the Beta distribution that mixes pairs of images; 0 switches MixUp off (the paper
    does not say; 0.2 is usual)."""

    def __post_init__(self) -> None:
        lowest = {"epochs": 1, "batch_size": 2, "warmup_epochs": 0, "momentum": 0, "weight_decay": 0, "shift": 0}
        lowest["mixup"] = 0
        for field, least in lowest.items():
            if not getattr(self, field) >= least:
                raise ValueError(f"recipe.{field} is {getattr(self, field)}: give at least {least}")
        if not self.learning_rate > 0 or self.momentum >= 1:
            raise ValueError(
                f"recipe.learning_rate is {self.learning_rate} and recipe.momentum {self.momentum}: give a rate above "
                "0 and a momentum below 1"
            )

    def views(self) -> dict[str, View]:
        """Fixed views of an image that this training gives, by name, the image itself first."""
        return views(self.flip, self.shift, self.trivial_augment)

    def usual_views(self) -> int:
        """How many of them, the first ones, training keeps showing: itself, and what flips and shifts make of it.

        TrivialAugment shows a given shift once in hundreds of draws. On CIFAR-10 at 16 pixels (10 ResNet-14 of width
        16, 500 images each, 80 epochs, each model the target in turn) LiRA catches 60 % of the members at 0.1 % false
        alarms by the image itself, 37 % with four such shifts averaged in (online, global variance).
        """
        return (9 if self.shift else 1) * (2 if self.flip else 1)

    def rate(self, done: float) -> float:
        """Learning rate once `done` epochs (a fraction counts) are over."""
        warmup = min(self.warmup_epochs, self.epochs / 5)
        if done < warmup:
            return self.learning_rate * done / warmup
        return self.learning_rate * (1 + math.cos(math.pi * (done - warmup) / (self.epochs - warmup))) / 2


class Examples(NamedTuple):
    """What one network learns from."""

    images_NHWC: Tensor
    """uint8 (N, H, W, C)."""
    targets_NK: Tensor
    """Probability of each class, float32 (N, K): one-hot, or a teacher's soft labels."""


Feed = Callable[[int, int], Examples]
"""feed(epoch, m): what network m learns from in that epoch (from 0); asked for once per network and epoch."""


class Judge:
    """Measures the first network after every epoch; a restart keeps what was measured before it."""

    def __init__(self, measure: Callable[[nn.Module], float]) -> None:
        self._measure = measure
        self.values: list[float] = []
        """One per epoch."""

    def __call__(self, network: nn.Module) -> float:
        self.values.append(self._measure(network))
        return self.values[-1]


def one_hot(images_NHWC: np.ndarray, labels_N: np.ndarray, classes: int) -> Examples:
    """Images with hard labels."""
    return Examples(as_tensor(images_NHWC), F.one_hot(torch.tensor(labels_N), classes).float())


def fit(
    worker: Worker, networks: Sequence[nn.Module], feed: Feed, size: int, config: RecipeConfig, seeds: Sequence[int],
    judge: Judge | None = None,
) -> list[dict[str, Tensor]]:  # fmt: skip
    """Train `networks` (all of one architecture) and return the weights of each after the last epoch, on the CPU.

    The last epoch, not the best: the rate falls to 0, so that choosing an epoch would gain little and look at the
    validation images once more. A killed run goes on from its last state and ends the same.

    Args:
        size: images that make an epoch: ceil(size / batch) steps, however many `feed` gives.
        seeds: one per network: order, augmentation and MixUp of its images follow from it and the step alone.
        judge: asked about the first network after every epoch; its last value is shown as `accuracy`.
    Raises Diverged where the weights became infinite.
    """
    stack = _Stack(networks, worker.device)
    optimizer = torch.optim.SGD(stack.groups(config.weight_decay), lr=config.learning_rate, momentum=config.momentum)
    steps, start, shown = math.ceil(size / config.batch_size), 0, {}
    if (state := worker.resume()) is not None:
        start, shown = state["epoch"], state["shown"]
        stack.load(state["networks"])
        optimizer.load_state_dict(state["optimizer"])
        if judge is not None:
            judge.values = list(state["judged"])

    every = max(1, math.ceil(config.epochs / CHECKPOINTS))
    for epoch in range(start, config.epochs):
        examples = [feed(epoch, m) for m in range(len(networks))]
        stack.train()
        for step in range(epoch * steps, (epoch + 1) * steps):
            for group in optimizer.param_groups:
                # The rate after the last step is 0, of which an only step would learn nothing.
                group["lr"] = config.learning_rate if config.epochs * steps == 1 else config.rate((step + 1) / steps)
            drawn = [_draw(one, step, config, seed, worker.device) for one, seed in zip(examples, seeds, strict=True)]
            images_SBCHW, targets_SBK = (torch.stack(part) for part in zip(*drawn, strict=True))
            with torch.autocast(worker.device.type, torch.bfloat16, enabled=worker.device.type == "cuda"):
                logits_SBK = stack(images_SBCHW)
            loss = -(targets_SBK * logits_SBK.float().log_softmax(-1)).sum(-1).mean(1).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if not math.isfinite(value := loss.item()):
            raise Diverged(f"epoch {epoch + 1} ended with the loss {value}: lower recipe.learning_rate")
        shown = {"loss": value / len(networks)}
        if judge is not None:
            shown["accuracy"] = judge(stack.first())
        # First told, then saved: a search that goes on hears again what was told before the state that it has.
        worker.progress(epoch + 1, config.epochs, **shown)
        if worker.leaving() or (epoch + 1) % every == 0 or epoch + 1 == config.epochs:
            state = {"epoch": epoch + 1, "shown": shown, "judged": [] if judge is None else judge.values}
            worker.save(state | {"networks": stack.states(), "optimizer": optimizer.state_dict()})
    return stack.states()


def _draw(
    examples: Examples, step: int, config: RecipeConfig, seed: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """One step's batch: images (B, C, H, W) in [-1, 1] and targets (B, K), augmented and mixed."""
    rng, count = np.random.default_rng([seed, 1, step]), len(examples.images_NHWC)
    chosen = torch.from_numpy(batch(count, config.batch_size, seed, step))
    pixels, targets = examples.images_NHWC[chosen].to(device), examples.targets_NK[chosen].to(device)
    if config.trivial_augment:
        pixels = trivial_augment(pixels, rng)
    pixels = flip_and_shift(pixels, config.flip, config.shift, rng)
    images = as_float(pixels)
    if config.mixup:
        # Batches are drawn in random order, so that a neighbour is a random partner.
        keep = float(rng.beta(config.mixup, config.mixup))
        images = torch.lerp(images.roll(1, 0), images, keep)
        targets = torch.lerp(targets.roll(1, 0), targets, keep)
    return images.contiguous(memory_format=torch.channels_last), targets


def _stackable(norm: nn.BatchNorm2d, device: torch.device) -> None:
    """Let a batch norm be mapped over networks: it wants inputs as precise as its statistics, and on a GPU torch's own
    kernel, as what goes before cuDNN's asks for a layout that a mapped tensor cannot tell."""
    if device.type == "cuda":
        norm.forward = partial(_batch_norm, norm)  # type: ignore[method-assign]
    else:
        norm.register_forward_pre_hook(lambda _, args: (args[0].float(),))


def _batch_norm(norm: nn.BatchNorm2d, x_NCHW: Tensor) -> Tensor:
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    assert norm.momentum is not None
    answer: Tensor = torch.native_batch_norm(
        x_NCHW.float(), norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.training, norm.momentum,
        norm.eps,
    )[0]  # fmt: skip
    return answer


class _Stack:
    """S networks of one architecture as one function (S, B, C, H, W) -> (S, B, K)."""

    def __init__(self, networks: Sequence[nn.Module], device: torch.device) -> None:
        self._networks = [network.to(device) for network in networks]
        for network in self._networks:
            if not is_plain(network):
                network.to(memory_format=torch.channels_last)
        self._parameters: dict[str, Any] = dict(self._networks[0].named_parameters())
        self._buffers: dict[str, Any] = {}
        if len(networks) > 1:
            self._parameters, self._buffers = stack_module_state(self._networks)
            for module in self._networks[0].modules():
                if isinstance(module, nn.BatchNorm2d):
                    _stackable(module, device)

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups: biases and normalisation do not decay."""
        own = dict(self._networks[0].named_parameters())
        decays: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, parameter in self._parameters.items():
            decays[own[name].ndim > 1].append(parameter)
        return [{"params": decays[True], "weight_decay": weight_decay}, {"params": decays[False]}]

    def __call__(self, images_SBCHW: Tensor) -> Tensor:
        if len(self._networks) == 1:
            return self._networks[0](images_SBCHW[0])[None]

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images_BCHW: Tensor) -> Tensor:
            return functional_call(self._networks[0], (parameters, buffers), (images_BCHW,))

        return torch.vmap(one)(self._parameters, self._buffers, images_SBCHW)

    def train(self) -> None:
        self._networks[0].train()

    def first(self) -> nn.Module:
        """The first network in evaluation mode."""
        self._unstack()
        return self._networks[0].eval()

    def states(self) -> list[dict[str, Tensor]]:
        self._unstack()
        return [on_cpu(network.state_dict()) for network in self._networks]

    def load(self, states: Sequence[dict[str, Tensor]]) -> None:
        for network, state in zip(self._networks, states, strict=True):
            network.load_state_dict(state)
        if len(self._networks) > 1:
            parameters, buffers = stack_module_state(self._networks)
            with torch.no_grad():
                for mine, theirs in ((self._parameters, parameters), (self._buffers, buffers)):
                    for name, value in theirs.items():
                        mine[name].copy_(value)

    @torch.no_grad()
    def _unstack(self) -> None:
        """Copy the stacked weights into the networks."""
        if len(self._networks) > 1:
            for index, network in enumerate(self._networks):
                for name, value in network.state_dict().items():
                    value.copy_((self._parameters | self._buffers)[name][index])


@torch.inference_mode()
def predict(network: nn.Module, images_NHWC: np.ndarray | Tensor) -> Tensor:
    """Logits (N, K), float32 on the CPU, of uint8 images (N, H, W, C), in evaluation mode."""
    device, network = next(network.parameters()).device, network.eval()
    images = images_NHWC if isinstance(images_NHWC, Tensor) else as_tensor(images_NHWC)
    parts = images.split(at_once(EVALUATION_BATCH, images.shape[1:]))
    return torch.cat([network(as_float(part.to(device)).float()).float().cpu() for part in parts])
