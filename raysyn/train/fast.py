"""A fast recipe for classifiers: "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (Jordan 2024, arXiv 2404.00498).

Written from the paper and its published settings. For shadow models, which are many; its network is `models.fast_net`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.models.fast_net import FastNet, FastNetConfig
from raysyn.train.arrays import as_tensor
from raysyn.train.classifier import as_float
from raysyn.train.diverged import Diverged
from raysyn.train.views import View, flip_and_shift, mirrored, views

MOMENTUM = 0.85
BIAS_RATE = 64.0
"""Rate of the normalisation's biases, as a multiple of all others'."""
WEIGHT_DECAY = 0.0153
"""Per 1,024 images, as the rate."""
SMOOTHING = 0.2
PATCHES_OF = 5000
"""Training images whose patches are looked at."""
BIAS_EPOCHS = 3
"""After which the biases of the first convolution stay as they are."""
START, PEAK, END = 0.2, 0.23, 0.07
"""The learning rate as a share of the highest: at first and at last; and where in training that is."""
AHEAD = 5
"""Steps between two looks of the slow weights."""
STEPS = 49
"""Of an epoch, where a batch of the highest size would make fewer."""
RATE = 11.5
"""The paper's."""
MOST = 4.0
"""Times as high, for small sets."""
FEWEST = 64
"""Images per step, below which normalisation by a batch is too coarse."""


@dataclass(frozen=True, kw_only=True)
class FastConfig:
    """The recipe of --recipe fast: its own network and training (Jordan 2024)."""

    epochs: int = 10
    """Passes over the training images (paper: 9.9)."""
    batch_size: int = 1024
    """Images per step, of fewer than 50,000 so many that an epoch has 49 steps, as the paper's has, but at least 64."""
    learning_rate: float | None = None
    """Highest learning rate, per 1,024 images of a step: it rises to 23 % of training and falls, both along a line. By
    default the paper's 11.5, and where images are so few that an epoch has fewer than 49 steps, as many times more, at
    most four times."""
    widths: tuple[int, int, int] = (64, 256, 256)
    """Channels of the three blocks; fewer do for small or grey images, and are what a CPU has time for."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(
                f"fast.epochs is {self.epochs} and fast.batch_size {self.batch_size}: give at least 1 and 2"
            )
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"fast.learning_rate is {self.learning_rate}: give a number above 0")
        if min(self.widths) < 1:
            raise ValueError(f"fast.widths is {' '.join(map(str, self.widths))}: give at least 1 for each")

    def images_per_step(self, images: int) -> int:
        return min(self.batch_size, max(FEWEST, math.ceil(images / STEPS)), images)

    def steps(self, images: int) -> int:
        """Of an epoch, whose images they share out evenly, at least two to each."""
        return max(1, min(round(images / self.images_per_step(images)), images // 2))

    def rate(self, images: int) -> float:
        """The highest, per 1,024 images of a step."""
        if self.learning_rate is not None:
            return self.learning_rate
        return RATE * min(max(1.0, STEPS / max(1, round(images / self.images_per_step(images)))), MOST)


@dataclass(frozen=True, kw_only=True)
class FastRecipe:
    """The recipe with what --recipe.* says of flips and shifts (the paper: flipped, and shifted by 2 pixels)."""

    config: FastConfig
    flip: bool = False
    shift: int = 0

    @property
    def epochs(self) -> int:
        return self.config.epochs

    def network(self) -> FastNetConfig:
        """Where training mirrors images, answers are about both."""
        return FastNetConfig(widths=self.config.widths, mirrored=self.flip)

    def views(self) -> dict[str, View]:
        """As `RecipeConfig.views`; an image and its mirror image have one answer."""
        return views(False, self.shift, False)

    def usual_views(self) -> int:
        return 9 if self.shift else 1

    def identity(self) -> object:
        """What its answers depend on, beside images, network and seed."""
        return "fast", asdict(self)


def fit(worker: Worker, network: FastNet, images: Images, recipe: FastRecipe, seed: int) -> FastNet:
    """Train `network` on `images`, on the worker's device, and return it.

    A short work, done again where it is killed. Raises Diverged where the weights became infinite.
    """
    config, device = recipe.config, worker.device
    pixels, labels = as_tensor(images.images_NHWC), torch.tensor(images.labels_N, device=device)
    count, rng = len(images), np.random.default_rng([seed, 8])
    network = network.to(device).train()
    network.whiten(as_float(pixels[torch.from_numpy(rng.permutation(count)[:PATCHES_OF])]).to(device))
    network = network.to(memory_format=torch.channels_last)
    steps = config.steps(count)
    optimizer = _optimizer(network, config.rate(count), config.images_per_step(count))
    total = config.epochs * steps
    rates = [group["lr"] for group in optimizer.param_groups]
    ahead, done = _Ahead(network, total), 0
    turned = torch.from_numpy(rng.random(count) < 0.5)
    for epoch in range(config.epochs):
        network.patches.bias.requires_grad_(epoch < BIAS_EPOCHS)  # type: ignore[union-attr]
        for chosen in np.array_split(rng.permutation(count), steps):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * triangle(done / total)
            x = pixels[chosen].to(device)
            if recipe.flip:
                # Every other epoch shows each image mirrored, so that two of them show it both ways (paper, 3.6).
                x = torch.where((turned[chosen] ^ (epoch % 2 == 1)).to(device)[:, None, None, None], mirrored(x), x)
            x = as_float(flip_and_shift(x, False, recipe.shift, rng)).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = network(x)
            loss = F.cross_entropy(logits.float(), labels[chosen], reduction="sum", label_smoothing=SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
            ahead.look(done)
        if not math.isfinite(value := loss.item()):
            raise Diverged(f"epoch {epoch + 1} ended with the loss {value}: lower fast.learning_rate")
        worker.progress(epoch + 1, config.epochs, loss=value / len(x))
    return network.eval()


def triangle(done: float) -> float:
    """Share of the highest learning rate once a share `done` of training is over."""
    return float(np.interp(done, [0, PEAK, 1], [START, 1, END]))


def _optimizer(network: nn.Module, highest: float, size: int) -> torch.optim.SGD:
    """Nesterov's, for losses that are summed over a batch of `size`: rate and decay are said per 1,024 images and freed
    of what momentum adds up (the paper's 3.1)."""
    rate = highest / (1024 * (1 + 1 / (1 - MOMENTUM)))
    decay = WEIGHT_DECAY * size / highest
    biases = [one.bias for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
    fast = {id(one) for one in biases}
    others = [one for one in network.parameters() if one.requires_grad and id(one) not in fast]
    groups = [
        {"params": biases, "lr": BIAS_RATE * rate, "weight_decay": decay / BIAS_RATE},
        {"params": others, "lr": rate, "weight_decay": decay},
    ]
    return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)


class _Ahead:
    """Lookahead (Zhang et al. 2019): slow weights follow the fast ones, which go on from there; the later, the slower,
    and after the last step the slow ones stay (the paper's 3.4)."""

    def __init__(self, network: nn.Module, total: int) -> None:
        self._state = [value for value in network.state_dict().values() if value.is_floating_point()]
        self._slow: list[Tensor] = [value.clone() for value in self._state]
        self._total, self._every = total, min(AHEAD, total)

    @torch.no_grad()
    def look(self, done: int) -> None:
        if done % self._every and done < self._total:
            return
        keep = 0.95**AHEAD * (done / self._total) ** 3
        for slow, fast in zip(self._slow, self._state, strict=True):
            if done % self._every == 0:
                slow.lerp_(fast, 1 - keep)
            fast.copy_(slow)
