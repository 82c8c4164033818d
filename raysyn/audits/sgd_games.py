"""DP-SGD as it is (`sgd.fit`), with units whose gradients are canaries.

Each unit's image has light in a pixel of its own, of a linear loss: before the clip its gradient is several times as
long as may be, and after it C long in one coordinate that is no other's. A coin puts a black image, whose gradient is
zero, in its place, so that the number of units is fixed: exactly the neighbours of the promise. The attacker knows
everything but the coin, and sees each step's gradient as the optimizer is given it, or the released weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.attacks import canaries
from raysyn.attacks.canaries import Floats, Mask
from raysyn.audits.played import Played, coins_of, secret_of
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
LARGE_ALBUM = 8
SILENT = 100.0
"""What a step without any noise weighs, which no likelihood does."""


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

    def images(self, there_M: Mask, album: int | None = None) -> Images:
        """The private images: each canary's own pixel is bright if it is there. `album` is how many the first has."""
        each_M = np.full(self.units, ALBUM if self.persons else 1)
        if album is not None:
            each_M[0] = album
        whose_N = np.repeat(np.arange(self.units), each_M)
        side = int(np.ceil(np.sqrt(self.units + self.spare)))
        pixels = np.zeros((len(whose_N), side * side), np.uint8)
        pixels[np.arange(len(whose_N)), whose_N] = 255 * there_M[whose_N]
        labels = np.zeros(len(whose_N), np.int64)
        return Images(pixels.reshape(-1, side, side, 1), labels, ("canary",), whose_N if self.persons else None)


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


class Watch:
    """Keeps what the optimizer was given at each step: a partner that learns nothing."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def join(self, worker: Worker) -> None:
        pass

    def step(self, worker: Worker, model: nn.Module, done: int) -> None:
        self.seen += [p.grad.detach().flatten().cpu() for p in model.parameters() if p.grad is not None]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def released(self) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class Seen:
    """What an attacker sees of one run."""

    answers_TP: Floats
    """Noisy sums, undone of the denominator that they should have, in units of the clip norm."""
    weights_P: Floats
    """How far each released weight went the way of its canary."""


def run(setting: Setting, private: Images, secret: bytes, device: torch.device | None = None) -> Seen:
    """One run of DP-SGD on as many ranks as are asked for."""
    size, cost = int(np.prod(private.shape)), units.priced(setting.cost, private)
    speed = SGDSpeed(
        engine=setting.engine, micro_batch=setting.batch * 3 // 4 or 1, channels_last=False, precision="float32"
    )

    def on_rank(rank: Worker) -> tuple[Release[dict[str, Any]], Watch]:
        model, watch = nn.Linear(size, 1, bias=False), Watch()
        nn.init.zeros_(model.weight)
        found = sgd.fit(rank, model, Linear(), private, setting.config, cost, secret, speed, partner=watch)
        return found, watch

    release, watch = on_ranks(on_rank, setting.ranks, device)[0][0]
    gradients_TP = torch.stack(watch.seen).double().numpy()
    expected = cost.sampling_rate * private.units
    return Seen(-gradients_TP * expected / CLIP, release.value["ema"]["weight"].double().numpy().ravel())


def _played(
    setting: Setting, name: str, games: int, seed: int, score: Callable[[Seen], Floats]
) -> list[tuple[Floats, Mask]]:
    """(scores, coins) of each run, of as many runs as so many games take."""
    found = []
    for number in range(max(1, -(-games // setting.units))):
        secret = secret_of(name, seed, number)
        there = coins_of(secret, setting.units)
        found.append((score(run(setting, setting.images(there), secret)), there))
    return found


def _joined(runs: Sequence[tuple[Floats, Mask]], fixed: Floats) -> Played:
    return Played(np.concatenate([one for one, _ in runs]), np.concatenate([one for _, one in runs]), fixed)


def from_steps(setting: Setting, name: str, games: int, seed: int) -> Played:
    """By the likelihood ratio of all steps: nothing tells more."""
    cost = setting.cost

    def score(seen: Seen) -> Floats:
        own = seen.answers_TP[:, : setting.units]
        return canaries.log_likelihood_ratio(own, cost.sampling_rate, setting.noise)

    runs = _played(setting, name, games, seed, score)
    fixed = canaries.thresholds(cost.sampling_rate, setting.noise, cost.steps)
    return _joined(runs, fixed)


def from_weights(setting: Setting, name: str, games: int, seed: int) -> Played:
    """By the released weights alone. What they mean depends on the optimizer, so that thresholds are those that other
    runs' absent canaries exceed; these runs are not counted."""
    runs = _played(setting, name, games + setting.units * max(1, games // setting.units // 8), seed,
                   lambda seen: seen.weights_P[: setting.units])  # fmt: skip
    first = max(1, len(runs) // 9)
    gone = np.concatenate([scores[~there] for scores, there in runs[:first]])
    fixed = np.quantile(gone, 1 - np.asarray(canaries.ALARMS))
    return _joined(runs[first:], fixed)


@contextmanager
def without(gone: Sequence[int]) -> Iterator[None]:
    """Within, these units take part in nothing, as those who were removed do while the number of units is held fixed:
    all that is changed of DP-SGD here."""
    takes = sgd.participants
    sgd.participants = lambda *args: np.setdiff1d(takes(*args), gone)
    try:
        yield
    finally:
        sgd.participants = takes


def _one_each(games: int, name: str, seed: int, score: Callable[[bool, bytes], float]) -> tuple[Floats, Mask]:
    """(scores, coins) of games that take a run each."""
    secrets = [secret_of(name, seed, number) for number in range(games)]
    coins, scores = np.array([coins_of(secret, 1)[0] for secret in secrets]), np.empty(games)
    for number, secret in enumerate(secrets):
        scores[number] = score(bool(coins[number]), secret)
    return scores, coins


def alone(setting: Setting, name: str, games: int, seed: int) -> Played:
    """Nobody else is there, so that most steps are empty: a step without noise would say so."""
    cost = setting.cost
    private = setting.images(np.eye(setting.units, dtype=bool)[0])

    def score(there: bool, secret: bytes) -> float:
        with without(range(0 if not there else 1, setting.units)):
            seen = run(setting, private, secret)
        noiseless = int((seen.answers_TP == 0).all(axis=1).sum())
        likely = canaries.log_likelihood_ratio(seen.answers_TP[:, :1], cost.sampling_rate, setting.noise)[0]
        return float(likely) - SILENT * noiseless

    fixed = canaries.thresholds(cost.sampling_rate, setting.noise, cost.steps)
    silent = -SILENT * (np.arange(cost.steps) + 0.5)
    return Played(*_one_each(games, name, seed, score), np.append(fixed, silent))


def against(setting: Setting, name: str, games: int, seed: int) -> Played:
    """All others pull one way, and the canary the other: where the sum is divided by the number that take part, one who
    joins changes it twice."""
    cost, others = setting.cost, setting.units - 1
    pixels = setting.images(np.zeros(setting.units, bool)).images_NHWC
    pixels[:, 0, 0] = 255
    private = Images(pixels, np.append([0], np.ones(others, np.int64)), ("canary", "other"))

    def score(there: bool, secret: bytes) -> float:
        with without([] if there else [0]):
            seen = run(setting, private, secret)
        return float(np.sum(seen.answers_TP[:, 0] + others))

    even = np.sqrt(cost.steps) * setting.noise
    return Played(*_one_each(games, name, seed, score), even * np.linspace(-2.5, 3.5, 8))


def albums(setting: Setting, name: str, games: int, seed: int) -> Played:
    """One person of many images, or of one that is black: the attacker looks at the size of the noise alone, which must
    not tell how many images there are."""

    def score(there: bool, secret: bytes) -> float:
        private = setting.images(there * np.eye(setting.units, dtype=bool)[0], LARGE_ALBUM if there else 1)
        return -float(np.sqrt(np.mean(np.square(run(setting, private, secret).answers_TP[:, setting.units :]))))

    fixed = -setting.noise * np.array([1.5, 1.2, 1.0, 0.8, 0.67, 0.5, 0.33])
    return Played(*_one_each(games, name, seed, score), fixed)


def play(how: Callable[..., Played], setting: Setting, name: str) -> Callable[[int, int], Played]:
    """As a case has it."""
    return partial(how, setting, name)
