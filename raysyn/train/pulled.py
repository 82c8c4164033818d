"""A generator that learns from noisy functions (DP-Kernel): where a private function rises, its images are pulled to,
and pushed apart by each other. No private image is seen here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from raysyn.compute.worker import Worker
from raysyn.data.rbf import Kernel, KernelConfig, squared_distances
from raysyn.models.upsampler import Upsampler
from raysyn.train.diverged import Diverged
from raysyn.train.loop import Ema, on_cpu

LOOKED_AT = 4
"""Images of each class that are drawn to see whether they are finite numbers."""
MOST_CROWD = 64
"""Of whose gradients in all directions between them a table is held."""


@dataclass(frozen=True, kw_only=True)
class PullConfig:
    """How the generator learns."""

    crowd: int = 10
    """Images generated of each class in a round, at which its function is asked about; the same for all classes,
    whatever their size."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Adam, or RMSprop as published."""
    learning_rate: float = 0.01
    """The optimizer's, at the start."""
    final: float = 0.1
    """What part of that the last step has; between them it falls evenly. 1 leaves it as it is."""
    ema: float = 0.99
    """Decay of the moving average of the weights that images are drawn from; 0 draws from the last ones."""

    def __post_init__(self) -> None:
        if not 2 <= self.crowd <= MOST_CROWD:
            raise ValueError(
                f"training.crowd is {self.crowd}: give 2 to {MOST_CROWD}, as images of a class are pushed apart by "
                "each other"
            )
        if self.optimizer not in ("adam", "rmsprop"):
            raise ValueError(f"training.optimizer is {self.optimizer!r}: give adam or rmsprop")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"training.learning_rate is {self.learning_rate}: give a number above 0, 0.01 is usual")
        if not 0 < self.final <= 1 or not 0 <= self.ema < 1:
            raise ValueError(
                f"training.final is {self.final} and training.ema {self.ema}: give a final above 0 up to 1, and an ema "
                "from 0 up to below 1"
            )


class Answered(Protocol):
    """What a round answers (`privacy.queries.functions.Answer`)."""

    @property
    def gradients_KBP(self) -> Tensor: ...


class Pulled:
    """The generator in training: one that asks for functions where its images are."""

    def __init__(self, generator: Upsampler, kernel: KernelConfig, config: PullConfig, steps: int, seed: int) -> None:
        self.generator, self.config, self.steps, self.seed = generator, config, steps, seed
        self.kernel = Kernel.of(kernel, generator.shape)
        self.images: Tensor | None = None
        self.points_KBP = torch.empty(0)

    def join(self, worker: Worker) -> None:
        """To the worker's device, untrained."""
        self.generator.to(worker.device).train()
        self.device, self.ema = worker.device, Ema(self.generator, self.config.ema)
        make = torch.optim.Adam if self.config.optimizer == "adam" else torch.optim.RMSprop
        self.optimizer: torch.optim.Optimizer = make(self.generator.parameters(), lr=self.config.learning_rate)

    def points(self, step: int) -> Tensor:
        """New images of each class, as vectors of pixels in [-1, 1]: float64 (classes, crowd, pixels)."""
        self.images = self._drawn(np.random.default_rng([self.seed, 43, step]), self.config.crowd)
        vectors = self.images.detach().permute(0, 2, 3, 1).flatten(1).double() * 2 - 1
        self.points_KBP = vectors.view(self.generator.classes, self.config.crowd, -1).cpu()
        return self.points_KBP

    def _drawn(self, rng: np.random.Generator, each: int) -> Tensor:
        labels_N = torch.arange(self.generator.classes, device=self.device).repeat_interleave(each)
        z_NL = torch.from_numpy(rng.standard_normal((len(labels_N), self.generator.config.latent), np.float32))
        images: Tensor = self.generator(z_NL.to(self.device), labels_N)
        return images

    def learn(self, step: int, answer: Answered, shares_K: Tensor) -> None:
        """One step down the squared distance of kernel means, with classes in these shares: of a class

            share^2 / (B (B - 1)) * sum of k over pairs of generated images - 2 share / B * sum of the function at them,

        whose gradient by the generated images is exact, but for the function's, which is as noisy as it was paid for.
        """
        assert self.images is not None
        height, width, colours = self.generator.shape
        wanted_KBP = descent(self.points_KBP, answer.gradients_KBP, shares_K, self.kernel)
        pixels = wanted_KBP.view(-1, height, width, colours).permute(0, 3, 1, 2)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (1 - (1 - self.config.final) * step / max(1, self.steps - 1))
        self.optimizer.zero_grad()
        # Of pixels in [0, 1], whose steps are half as long: the optimizers do not see by how much all is multiplied.
        self.images.backward(pixels.to(self.images))
        self.optimizer.step()
        self.ema.update(self.generator)
        self.images = None

    def check(self, step: int) -> None:
        """Diverged where weights, or images as they will be drawn, are no finite numbers."""
        finite = all(bool(one.isfinite().all()) for one in self.weights().values())
        if finite:
            now = {name: value.clone() for name, value in self.generator.state_dict().items()}
            self.generator.load_state_dict(self.weights())
            self.generator.eval()
            with torch.no_grad():
                finite = bool(self._drawn(np.random.default_rng(0), LOOKED_AT).isfinite().all())
            self.generator.train().load_state_dict(now)
        if not finite:
            raise Diverged(f"round {step} ended with no finite numbers: lower training.learning_rate")

    def weights(self) -> dict[str, Tensor]:
        """Those that images are drawn from."""
        return self.ema.weights if self.config.ema else self.generator.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """All that a restart needs."""
        return {
            "model": self.generator.state_dict(), "optimizer": self.optimizer.state_dict(), "ema": self.ema.state_dict()
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.generator.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])

    def released(self) -> dict[str, Tensor]:
        """What leaves: weights to draw from, on the CPU."""
        weights: dict[str, Tensor] = on_cpu(self.weights())
        return weights


def descent(points_KBP: Tensor, gradients_KBP: Tensor, shares_K: Tensor, kernel: Kernel) -> Tensor:
    """Gradient by the generated images, over which each class' part is summed: (K, B, P)."""
    count = points_KBP.shape[1]
    pull_KBB = kernel.weighted(squared_distances(points_KBP, points_KBP), 2)
    # Of k(a, b) by a: (b - a) times the pull.
    together_KBP = pull_KBB @ points_KBP - pull_KBB.sum(2, keepdim=True) * points_KBP
    shares_K11 = shares_K[:, None, None]
    return 2 / count * (shares_K11**2 / (count - 1) * together_KBP - shares_K11 * gradients_KBP)
