"""How DP-SGD trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raysyn.privacy.cost import Cost, sgd_schedule
from raysyn.train.few_weights import ALL, rank_of

DP_SGD = "DP-SGD"
"""The mechanism by which networks are trained."""

MARKS = 50
"""How often, at least, a stage saves its state and asks for the epsilon spent so far."""


def marks(steps: int) -> int:
    """After every so many of its steps a stage does that."""
    return max(1, steps // MARKS)


def snapshots(steps: int, count: int) -> tuple[int, ...]:
    """About `count` steps at equal distances, the first before all of them, at which a state is saved."""
    every = marks(steps)
    found = {round(steps * at / count / every) * every for at in range(count)}
    return tuple(sorted(step for step in found if step < steps))


@dataclass(frozen=True, kw_only=True)
class SGDConfig:
    """DP-SGD fine-tuning. Every field changes the result; defaults are DP-FETA's for MNIST."""

    batch_size: int = 4096
    """Expected images, or persons where these are named, per step: each takes part with probability batch_size / n."""
    epochs: float = 150.0
    """Expected number of times each image takes part."""
    noise_multiplicity: int = 32
    """Copies of each image per step, with their own diffusion noise and time; averaged before the clip. Of a person
    each is of one of their images, drawn at random."""
    max_grad_norm: float = 1.0
    """L2 norm to which the gradient of each image, or person, is clipped."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam, or plain stochastic gradient descent."""
    learning_rate: float = 3e-4
    """Learning rate of the optimizer: constant, but for the next two."""
    learning_rate_warmup: float | None = None
    """Share of the steps, the first ones, over which the learning rate rises to that in equal parts, so that a high one
    does not undo at once what a model has learned before; by default it is there from the first step."""
    learning_rate_decay: float | None = None
    """Share of the steps, the last ones, over which it falls towards 0 in equal parts; by default it stays."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is used of the model; 0 uses the last ones."""
    beta1: float = 0.9
    """Adam's first decay, or the momentum of stochastic gradient descent."""
    layers: str = ALL
    """Which weights of a diffusion model learn, and so are clipped and get noise: `all`; `attention`, which is the
    label and time embedding, the first convolution and attention (DP-LDM); `embedding`, the label and time embedding
    alone; or `lora:RANK`, updates of that rank beside attention and convolutions (DP-LoRA), put into the weights
    afterwards. For a model that has learned before."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}: give at least 1")
        if self.noise_multiplicity < 1:
            raise ValueError(f"noise_multiplicity is {self.noise_multiplicity}: give at least 1")
        for field in ("epochs", "max_grad_norm", "learning_rate"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} is {getattr(self, field)}: give a number above 0")
        if self.optimizer not in ("adam", "sgd"):
            raise ValueError(f"optimizer is {self.optimizer!r}: give adam or sgd")
        for field in ("ema", "beta1"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}: give a decay in [0, 1)")
        for field in ("learning_rate_warmup", "learning_rate_decay"):
            if not 0 <= (getattr(self, field) or 0) <= 1:
                raise ValueError(f"{field} is {getattr(self, field)}: give a share of the steps, from 0 to 1")
        rank_of(self.layers)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of one of so many steps, counted from 0."""
        rise, fall = (round((share or 0) * steps) for share in (self.learning_rate_warmup, self.learning_rate_decay))
        risen = 1.0 if step >= rise else (step + 1) / rise
        left = 1.0 if steps - step > fall else (steps - step) / fall
        return self.learning_rate * min(risen, left)

    def cost(self, n: int, group: str = "") -> Cost:
        """What fine-tuning on `n` images costs, with the noise multiplier still to be calibrated.

        Raises ValueError for a batch_size above n, which names the `group` of flags that these are.
        """
        rate, steps = sgd_schedule(n, self.batch_size, self.epochs, group)
        return Cost(mechanism=DP_SGD, noise_multiplier=None, sampling_rate=rate, steps=steps)
