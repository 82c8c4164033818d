"""DP-SGD as it is (`sgd.fit`), with units whose gradients are canaries.

Each unit's image has light in a pixel of its own, of a linear loss: before the clip its gradient is several times as
long as may be, and after it C long in one coordinate that is no other's. A coin puts a black image, whose gradient is
zero, in its place, so that the number of units is fixed: exactly the neighbours of the promise. The attacker knows
everything but the coin, and sees each step's gradient as the optimizer is given it, or the released weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.attacks import canaries
from raysyn.attacks.canaries import Floats, Mask
from raysyn.audits.played import Played, Watching, coins_of, secret_of
from raysyn.audits.residuals import Noise
from raysyn.compute.threads import on_ranks
from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.privacy import sgd, units
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Release
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed

CLIP = 0.5
"""max_grad_norm; not 1, or nobody would see where it is forgotten."""
LIGHT, REST = 4.0, 0.1
"""Norm of a canary's mean gradient before the clip, or more; of K copies, that of each but the first, which has the
rest: so that clipping each copy shows, whether they are summed or averaged after that."""
ALBUM = 3
"""Images of each person."""
RUNS = 256
"""Whose noise is looked at, at most."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How DP-SGD is run in a game."""

    engine: Literal["loop", "bookkeeping", "fused"] = "bookkeeping"
    copies: int = 1
    ranks: int = 1
    persons: bool = False
    adam: bool = False
    """Adam and an average of weights, in place of plain gradient descent."""
    units: int = 256
    batch: int = 64
    epochs: float = 2.0
    noise: float = 1.2
    spare: int = 0
    """Pixels that are no canary's."""

    @property
    def config(self) -> SGDConfig:
        """As a user would give it."""
        how: dict[str, Any] = {"optimizer": "adam", "ema": 0.9} if self.adam else {"optimizer": "sgd", "ema": 0.0}
        return SGDConfig(
            batch_size=self.batch, epochs=self.epochs, noise_multiplicity=self.copies, max_grad_norm=CLIP,
            learning_rate=0.1, beta1=0.9 if self.adam else 0.0, **how,
        )  # fmt: skip

    @property
    def cost(self) -> Cost:
        """What is claimed of it."""
        plain = self.config.cost(self.units)
        whole = Cost(
            mechanism=plain.mechanism, noise_multiplier=self.noise, sampling_rate=plain.sampling_rate, steps=plain.steps
        )
        return units.priced(whole, self.images(np.zeros(self.units, bool)))

    def alone(self, there_M: Mask) -> Mask:
        """Pixels to which none of these units adds."""
        free_P = np.ones(self.side**2, bool)
        free_P[: self.units] = ~there_M
        return free_P

    @property
    def side(self) -> int:
        """Pixels a side."""
        return int(np.ceil(np.sqrt(self.units + self.spare)))

    def images(self, there_M: Mask, album: int | None = None) -> Images:
        """The private images: each canary's own pixel is bright if it is there. `album` is how many the first has."""
        each_M = np.full(self.units, ALBUM if self.persons else 1)
        if album is not None:
            each_M[0] = album
        whose_N = np.repeat(np.arange(self.units), each_M)
        pixels = np.zeros((len(whose_N), self.side**2), np.uint8)
        pixels[np.arange(len(whose_N)), whose_N] = 255 * there_M[whose_N]
        labels = np.zeros(len(whose_N), np.int64)
        return Images(
            pixels.reshape(-1, self.side, self.side, 1), labels, ("canary",), whose_N if self.persons else None
        )


class Two(nn.Module):
    """A linear model of two tensors, each of which has half the square of a canary's gradient: a clip of each tensor
    alone would show."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(size, 1, bias=False), nn.Linear(size, 1, bias=False)
        for weight in self.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        both: Tensor = self.one(x) + self.other(x)
        return both


class Linear:
    """A task whose loss is linear in weights and pixels; of class 1 with the other sign."""

    def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
        # Copies are of one image, or each of one of its own.
        one = labels_B.ndim == 1
        light_BKP = (images_BHWC[:, None] if one else images_BHWC).flatten(2) / 255.0
        sign_BK = 1.0 - 2.0 * (labels_B[:, None] if one else labels_B)
        strength_K = torch.full((copies,), REST if copies > 1 else LIGHT, device=images_BHWC.device)
        strength_K[0] = LIGHT * copies
        return (light_BKP * (sign_BK * strength_K)[..., None],)

    def loss(self, model: nn.Module, *inputs_M: Any) -> Tensor:
        return -model(inputs_M[0])[:, 0]


class Watch(Watching):
    """Keeps what the optimizer was given at each step: a partner that learns nothing."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def step(self, worker: Worker, model: nn.Module, done: int) -> None:
        self.seen.append(
            torch.stack([p.grad.detach().flatten().cpu() for p in model.parameters() if p.grad is not None])
        )


@dataclass(frozen=True)
class Seen:
    """What an attacker sees of one run."""

    both_T2P: Floats
    """Noisy sums of both tensors, undone of the denominator that they should have, in units of the clip norm."""
    weights_P: Floats
    """How far the released weights went the way of each canary."""
    engine: str
    """Whose gradients these are."""

    @property
    def answers_TP(self) -> Floats:
        """How far the sums went the way of each canary."""
        return self.both_T2P.sum(1) / np.sqrt(2)


def run(setting: Setting, private: Images, secret: bytes, device: torch.device | None = None) -> Seen:
    """One run of DP-SGD on as many ranks as are asked for."""
    size, cost = int(np.prod(private.shape)), units.priced(setting.cost, private)
    speed = SGDSpeed(
        engine=setting.engine, micro_batch=setting.batch * 3 // 4 or 1, channels_last=False, precision="float32"
    )

    def on_rank(rank: Worker) -> tuple[Release[dict[str, Any]], Watch]:
        model, watch = Two(size), Watch()
        found = sgd.fit(rank, model, Linear(), private, setting.config, cost, secret, speed, partner=watch)
        return found, watch

    release, watch = on_ranks(on_rank, setting.ranks, device)[0][0]
    gradients_T2P, weights = torch.stack(watch.seen).double().numpy(), release.value["ema"]
    gone_P = sum(weights[f"{which}.weight"].double().numpy().ravel() for which in ("one", "other"))
    expected = cost.sampling_rate * private.units
    return Seen(-gradients_T2P * expected / CLIP, gone_P, release.value["engine"]["engine"])


@dataclass(frozen=True)
class Game:
    """One run, of one canary or of many."""

    scores_M: Floats
    coins_M: Mask
    seen: Seen
    alone_P: Mask
    """Where sums are noise alone."""


def _played(setting: Setting, name: str, games: int, seed: int, score: Callable[[Seen], Floats]) -> list[Game]:
    """As many runs as so many games take."""
    found = []
    for number in range(max(1, -(-games // setting.units))):
        secret = secret_of(name, seed, number)
        there = coins_of(secret, setting.units)
        seen = run(setting, setting.images(there), secret)
        found.append(Game(score(seen), there, seen, setting.alone(there)))
    return found


def joined(setting: Setting, games: Sequence[Game], fixed: Floats) -> Played:
    some = games[:RUNS]
    values_GTD = np.stack([one.seen.both_T2P.reshape(len(one.seen.both_T2P), -1) for one in some]) / setting.noise
    return Played(
        np.concatenate([one.scores_M for one in games]), np.concatenate([one.coins_M for one in games]), fixed,
        Noise(values_GTD, np.tile([one.alone_P for one in some], 2)),
        next((f"here {one.seen.engine}" for one in games if one.seen.engine != setting.engine), ""),
    )  # fmt: skip


def from_steps(setting: Setting, name: str, games: int, seed: int) -> Played:
    """By the likelihood ratio of all steps: nothing tells more."""
    cost = setting.cost

    def score(seen: Seen) -> Floats:
        own = seen.answers_TP[:, : setting.units]
        likely = canaries.log_likelihood_ratio(own, cost.sampling_rate, setting.noise)
        return likely + canaries.surely(canaries.exactly(own, 1.0), setting.noise, cost.steps)

    fixed = canaries.thresholds(cost.sampling_rate, setting.noise, cost.steps)
    return joined(setting, _played(setting, name, games, seed, score), np.append(fixed, canaries.SURE / 2))


def from_weights(setting: Setting, name: str, games: int, seed: int) -> Played:
    """By the released weights alone. What they mean depends on the optimizer, so that thresholds are those that other
    runs' absent canaries exceed; these runs are not counted."""
    runs = _played(setting, name, games + setting.units * max(1, games // setting.units // 8), seed,
                   lambda seen: seen.weights_P[: setting.units])  # fmt: skip
    first = max(1, len(runs) // 9)
    gone = np.concatenate([one.scores_M[~one.coins_M] for one in runs[:first]])
    fixed = np.quantile(gone, 1 - np.asarray(canaries.ALARMS))
    return joined(setting, runs[first:], fixed)


def play(how: Callable[..., Played], setting: Setting, name: str) -> Callable[[int, int], Played]:
    """As a case has it."""
    return partial(how, setting, name)
