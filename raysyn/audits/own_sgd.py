"""DP-SGD of a run of the user's own, played against canaries: its engine, optimizer, noise, rate, steps and network.

Beside the user's network stand two tables in which each canary has a row of its own: before the clip its gradient is
several times as long as may be, a half of the square in each table, and nothing elsewhere. So the sum holds one
orthogonal canary beside another, and of the network's own weights nothing but noise. No image goes through the network
here: that none adds more than the clip norm there, and moves no other's gradient, is `own_network`'s.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysyn.attacks import canaries
from raysyn.attacks.canaries import Floats, Mask
from raysyn.audits.played import Played, Watching, seen_of
from raysyn.audits.residuals import WIDEST, Noise
from raysyn.compute.threads import on_ranks
from raysyn.compute.worker import Worker, best_device
from raysyn.data.images import Images
from raysyn.privacy import engines, sgd
from raysyn.privacy.cost import ADD_REMOVE_PERSON, Cost
from raysyn.privacy.mechanisms import Learned
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.train.few_weights import ALL

RUNS = 2
"""Of the mechanism, which share the games."""
NEAR = 1e-3
"""How far the rate that is played may be from the run's, in parts of it: a step expects a whole number of canaries."""
ALBUM = 3
"""Images of each person."""
LIGHT, REST = 8.0, 0.2
"""Of each half of a canary's gradient, the mean of K copies, in parts of the clip norm; of copies but the first, the
rest, so that clipping each of them would show."""
MICRO_BATCH = 256
BYTES = 4
"""Pixels of a canary's image: its number in three, and whether it is there."""
NUMBERS = 1 << 24
"""Of runs whose noise is looked at, at most, but of two at least."""
SOME, AT_LEAST = WIDEST // 3, 3
"""Places in each table, and about as many in the network, whose noise is looked at; of each tensor of that, these."""
STEPS, TOGETHER = 1 << 12, 64
"""Steps whose noise is looked at, at most: of more some that follow each other, and later some again, so that what one
step has of the next is seen, and what comes late. Scores are of all."""


def as_often(rate: Fraction, games: int) -> tuple[int, int]:
    """(canaries of each run, expected ones in a step) for so many games, or more where they are too few for a rate as
    near as NEAR."""
    most = max(1, games // RUNS)
    while abs(rate.limit_denominator(most) - rate) > NEAR * rate:
        most *= 2
    rate = rate.limit_denominator(most)
    times = max(1, round(games / RUNS / rate.denominator))
    return times * rate.denominator, times * rate.numerator


@dataclass(frozen=True, kw_only=True)
class Own:
    """One stage of DP-SGD as a run has it."""

    learned: Learned
    cost: Cost
    """What is claimed of as many steps as are played."""
    canaries: int
    """In each run."""
    batch: int
    ranks: int = 1

    @classmethod
    def of(cls, learned: Learned, price: Cost, games: int, steps: int | None, ranks: int) -> Own:
        """As its plan has it, for so many games, or more where canaries are too few for a rate as near as NEAR."""
        many, batch = as_often(Fraction(price.sampling_rate), games)
        played = min(steps or price.steps, price.steps)
        cost = replace(price, sampling_rate=batch / many, steps=played)
        return cls(learned=learned, cost=cost, canaries=many, batch=batch, ranks=ranks)

    def runs(self, games: int) -> int:
        """For so many games, or more."""
        return max(RUNS, round(games / self.canaries))

    @property
    def noise(self) -> float:
        """Its multiplier."""
        assert self.cost.noise_multiplier is not None
        return self.cost.noise_multiplier

    @property
    def config(self) -> SGDConfig:
        """The run's own, of the canaries, beside a network of which few weights learn already."""
        epochs = self.cost.steps * self.cost.sampling_rate
        return replace(self.learned.config, batch_size=self.batch, epochs=epochs, layers=ALL)

    @property
    def speed(self) -> SGDSpeed:
        """How gradients were computed in the run, as far as this machine can."""
        if self.learned.choice is None:
            return SGDSpeed(engine="bookkeeping", micro_batch=self.batch, channels_last=False, precision="float32")
        # No image goes through the network, so that many canaries have room where few images had.
        choice: dict[str, Any] = self.learned.choice.on(best_device()).as_dict()
        return SGDSpeed(**choice | {"micro_batch": max(MICRO_BATCH, choice["micro_batch"])})

    @property
    def instead(self) -> str:
        """What the run computed gradients by, where another way is played here; nothing where it is the same."""
        ran, here = self.learned.choice, self.speed
        if ran is None:
            return f"run: not known; here {here.engine}, {here.precision}"
        if (ran.engine, ran.precision) == (here.engine, here.precision):
            return ""
        return f"run: {ran.engine}, {ran.precision}; here {here.engine}, {here.precision}"

    def images(self, there_M: Mask) -> Images:
        """One image of each canary, or an album of each person."""
        named = self.cost.adjacency == ADD_REMOVE_PERSON
        whose_N = np.repeat(np.arange(self.canaries), ALBUM if named else 1)
        number = whose_N[:, None] >> np.array([0, 8, 16]) & 255
        pixels = np.concatenate([number, 255 * there_M[whose_N, None]], 1).astype(np.uint8)
        labels_N = np.zeros(len(whose_N), np.int64)
        return Images(pixels.reshape(-1, 1, BYTES, 1), labels_N, ("canary",), whose_N if named else None)

    def task(self) -> Task:
        """What the canaries ask of the tables."""
        return Task(self.canaries, self.learned.config.max_grad_norm)


class Beside(nn.Module):
    """The network between two tables of the canaries."""

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.one, self.network, self.other = nn.Embedding(count, 1), network, nn.Embedding(count, 1)
        for table in (self.one, self.other):
            nn.init.zeros_(table.weight)

    def forward(self, which_M: Tensor) -> Tensor:
        both: Tensor = self.one(which_M) + self.other(which_M)
        return both[:, 0]


@dataclass(frozen=True)
class Task:
    """Each canary pulls at its own rows."""

    count: int
    clip: float

    def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
        bytes_BKP = images_BHWC.flatten(-3).long()
        if bytes_BKP.ndim == 2:
            bytes_BKP = bytes_BKP[:, None].expand(-1, copies, -1)
        which_BK = (bytes_BKP[..., :3] * bytes_BKP.new_tensor([1, 256, 65536])).sum(-1) % self.count
        strength_K = torch.full((copies,), (REST if copies > 1 else LIGHT) * self.clip, device=images_BHWC.device)
        strength_K[0] = LIGHT * self.clip * copies
        return which_BK, bytes_BKP[..., 3] / 255.0 * strength_K

    def loss(self, model: nn.Module, *inputs_M: Any) -> Tensor:
        which_M, light_M = inputs_M
        return -model(which_M) * light_M


class Watch(Watching):
    """Sees at each step what the optimizer is given, at some places: a partner that learns nothing. Of all canaries it
    keeps the scores alone, or a run of many steps would have no room."""

    def __init__(self, own: Own, places: NDArray[np.int64], tell: Callable[[int], None]) -> None:
        self._own, self._places, self._tell = own, torch.from_numpy(places), tell
        self.scores_M, self.exact_M = np.zeros(own.canaries), np.zeros(own.canaries, np.int64)
        self.looked: list[Floats] = []
        self._done, self._every = 0, -(-own.cost.steps // STEPS)

    def looks_at(self, step: int) -> bool:
        """Whether the noise of this one is kept."""
        return step // TOGETHER % self._every == 0

    def join(self, worker: Worker) -> None:
        self._places = self._places.to(worker.device)

    def step(self, worker: Worker, model: nn.Module, done: int) -> None:
        if worker.rank == 0:
            given = torch.cat([p.grad.detach().reshape(-1) for p in engines.trained(model) if p.grad is not None])
            self._look(given[self._places].double().cpu().numpy())
            self._tell(done)

    def scores(self) -> Floats:
        """Of each canary, (M,)."""
        return self.scores_M + canaries.surely(self.exact_M, self._own.noise, self._own.cost.steps)

    def _look(self, given_P: Floats) -> None:
        """At a noisy sum, undone of the denominator, in units of the clip norm."""
        own, many = self._own, self._own.canaries
        sum_P = given_P * (-own.batch / own.learned.config.max_grad_norm)
        answer_1M = (sum_P[None, :many] + sum_P[None, -many:]) / np.sqrt(2)
        self.scores_M += canaries.log_likelihood_ratio(answer_1M, own.cost.sampling_rate, own.noise)
        self.exact_M += canaries.exactly(answer_1M, 1.0)
        self._done += 1
        if not self.looks_at(self._done - 1):
            return
        ends = sum_P[: min(SOME, many)], sum_P[many:-many], sum_P[-min(SOME, many) :]
        self.looked.append(np.concatenate(ends) / own.noise)


def places_of(network: nn.Module, count: int) -> NDArray[np.int64]:
    """Weights of the network whose noise is looked at, as they lie behind a table of so many canaries: some of each
    tensor, some all over, and those half of all away from the first canaries, where a half that repeats another lies.
    """
    sizes = [p.numel() for p in engines.trained(network)]
    ends, each = np.cumsum([0, *sizes]), max(1, min(AT_LEAST, SOME // (2 * len(sizes))))
    some = [np.unique(np.linspace(start, end - 1, each).astype(np.int64)) for start, end in pairwise(ends)]
    over, away = np.linspace(0, ends[-1] - 1, SOME // 4), np.arange(SOME // 4) + (ends[-1] // 2)
    found = np.unique(np.concatenate([*some, over.astype(np.int64), away]))
    return count + found[found < ends[-1]]


@dataclass(frozen=True)
class Seen:
    """What an attacker sees of one run."""

    scores_M: Floats
    """How much likelier all noisy sums are if the canary was there."""
    noise_TD: Floats
    """Of the first canaries in one table, some of the network's own weights, where there is nothing but noise, and the
    last canaries in the other table: in units of the noise."""
    engine: str
    """Whose gradients these are."""

    def alone(self, there_M: Mask) -> Mask:
        """Where there is noise alone."""
        first, last = ~there_M[:SOME], ~there_M[-SOME:]
        return np.concatenate([first, np.ones(self.noise_TD.shape[1] - len(first) - len(last), bool), last])


def run(own: Own, there_M: Mask, secret: bytes, tell: Callable[[int], None]) -> Seen:
    """One run of DP-SGD; tell(steps done)."""
    network, many = own.learned.network(), own.canaries
    size, middle = sum(p.numel() for p in engines.trained(network)), places_of(network, many)
    places = np.concatenate([np.arange(many), middle, many + size + np.arange(many)])
    private, config = own.images(there_M), own.config

    def on_rank(rank: Worker) -> tuple[Any, Watch]:
        model, watch = Beside(copy.deepcopy(network), many), Watch(own, places, tell)
        return sgd.fit(rank, model, own.task(), private, config, own.cost, secret, own.speed, partner=watch), watch

    release, watch = on_ranks(on_rank, own.ranks)[0][0]
    return Seen(watch.scores(), np.stack(watch.looked), release.value["engine"]["engine"])


def play(own: Own, name: str, tell: Callable[[int, int], None], games: int, seed: int) -> Played:
    """By the likelihood ratio of all steps: nothing tells more. tell(steps done, of how many)."""
    runs, rate, steps = own.runs(games), own.cost.sampling_rate, own.cost.steps
    scores, coins, noise, alone, engine = list[Floats](), list[Mask](), list[Floats](), list[Mask](), ""
    for number, (there_M, seen) in enumerate(seen_of(name, seed, runs, own.canaries, steps, tell, partial(run, own))):
        scores.append(seen.scores_M)
        coins.append(there_M)
        engine = seen.engine
        if number < RUNS or seen.noise_TD.size * number < NUMBERS:
            noise.append(seen.noise_TD)
            alone.append(seen.alone(there_M))
    asked, fixed = own.speed.engine, canaries.thresholds(rate, own.noise, steps)
    return Played(
        np.concatenate(scores), np.concatenate(coins), np.append(fixed, canaries.SURE / 2),
        Noise(np.stack(noise), np.stack(alone)), "" if engine == asked else f"here {engine}",
    )  # fmt: skip
