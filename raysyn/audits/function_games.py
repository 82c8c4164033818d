"""Noisy functions (DP-Kernel) attacked, all rounds of a run as they are (`functions.fit`), many canaries at once.

Each canary is the only unit of a class of its own, an image or a person with a few, whose function is no other's. A
coin says whether it is absent. The attacker chooses the points, the same place beside each canary, knows everything
but the coin, and sees each round's noisy gradients and counts. What he knows of their noise he works out for himself:
a dense covariance of all directions, which shares no code with the draw.

Gradients at a few points show not all of a function: so much of it as is asked, `Rounds.shown`, and the claim that is
played is that of the same answer with so much more noise, which is exactly what the mechanism should show there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.attacks import canaries
from raysyn.attacks.canaries import Floats, Mask
from raysyn.audits.own_sgd import RUNS, as_often
from raysyn.audits.played import Case, Played, Watching, seen_of
from raysyn.audits.residuals import Noise
from raysyn.audits.who import ALBUM
from raysyn.compute.worker import Alone
from raysyn.data.images import Images
from raysyn.data.rbf import KernelConfig
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost
from raysyn.privacy.mechanisms import Functions
from raysyn.privacy.queries import functions

SHAPE, POINTS = (2, 5, 1), 5
"""Of made-up images, and how many points each class has: between these are 4 directions, and 6 beside them."""
LOOKED_AT, COUNTED = 12, 160
"""Classes of whose gradients the noise is looked at, 50 numbers each, and of whose counts."""
STEPS, TOGETHER = 1 << 10, 64
"""Rounds whose noise is looked at, at most: some that follow each other, and later some again."""
ENGINE = Functions(functions.RoundsConfig(count=12, batch_size=1), KernelConfig())
"""What `audit engine` plays."""
RATE, NOISE = 0.25, 1.0


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The noisy functions of a run."""

    asked: Functions
    price: Cost
    """Of as many rounds as are played."""
    canaries: int
    """In each run."""
    batch: int

    @classmethod
    def of(cls, asked: Functions, price: Cost, games: int, steps: int | None) -> Rounds:
        """As its plan has it, for so many games, or more where canaries are too few for its rate."""
        many, batch = as_often(Fraction(price.sampling_rate), games)
        played = min(steps or price.steps, price.steps)
        return cls(
            asked=asked, price=replace(price, sampling_rate=batch / many, steps=played), canaries=many, batch=batch
        )

    def runs(self, games: int) -> int:
        """For so many games, or more."""
        return max(RUNS, round(games / self.canaries))

    instead = ""

    @property
    def noise(self) -> float:
        """Its multiplier."""
        assert self.price.noise_multiplier is not None
        return self.price.noise_multiplier

    @property
    def config(self) -> functions.RoundsConfig:
        """The run's own, of the canaries."""
        return replace(self.asked.config, batch_size=self.batch, count=self.price.steps)

    @property
    def persons(self) -> bool:
        """Whether a canary is a person."""
        return self.price.adjacency == ADD_REMOVE_PERSON

    @property
    def cost(self) -> Cost:
        """What is claimed of the part of a canary that is seen."""
        return replace(self.price, noise_multiplier=self.noise / self.shown)

    @property
    def shown(self) -> float:
        """Norm of what is seen of a canary, in parts of the sensitivity."""
        return float(np.linalg.norm(self.adds_D))

    @cached_property
    def adds_D(self) -> Floats:
        """What a canary adds to its class' whitened answer, without noise, in parts of the sensitivity."""
        gradient = gradients(self.points_BP, np.zeros(self.points_BP.shape[1]), self.lengths)
        share = self.asked.config.count_share
        seen = np.append(np.linalg.solve(self.root, gradient.ravel()), [share] * bool(share))
        return np.asarray(seen / self.asked.config.sensitivity)

    @cached_property
    def lengths(self) -> tuple[float, ...]:
        """Widths of the kernel."""
        return tuple(one * math.sqrt(math.prod(SHAPE)) for one in self.asked.kernel.length_scales)

    @cached_property
    def points_BP(self) -> Floats:
        """Where gradients are asked for, beside a canary: in general position, about a width away."""
        ways = np.random.default_rng(0).standard_normal((POINTS, math.prod(SHAPE)))
        ways /= np.linalg.norm(ways, axis=1)[:, None]
        return np.asarray(ways * np.resize(self.lengths, POINTS)[:, None])

    @cached_property
    def root(self) -> Floats:
        """Lower triangle whose square is the covariance of a class' gradients."""
        root: Floats = np.linalg.cholesky(covariance(self.points_BP, self.lengths)).astype(np.float64)
        return root

    def images(self, there_M: Mask) -> Images:
        """One image of each canary, or an album of the same image: each class is a unit's own."""
        each = ALBUM if self.persons else 1
        whose_N = np.repeat(np.arange(self.canaries), each)
        pixels = np.random.default_rng(1).integers(0, 256, (self.canaries, *SHAPE), dtype=np.uint8)[whose_N]
        names = tuple(f"class {number}" for number in range(self.canaries))
        return Images(pixels, whose_N, names, whose_N if self.persons else None, absent_U=~there_M)


def covariance(points_BP: Floats, lengths: tuple[float, ...]) -> Floats:
    """Of all partial derivatives at these points, (B * P, B * P): the kernel's own second derivatives."""
    count, pixels = points_BP.shape
    found = np.zeros((count, pixels, count, pixels))
    for a, b in np.ndindex(count, count):
        apart = points_BP[a] - points_BP[b]
        for one in lengths:
            value = math.exp(-(apart @ apart) / (2 * one**2)) / (one**2 * len(lengths))
            found[a, :, b] += value * (np.eye(pixels) - np.outer(apart, apart) / one**2)
    return found.reshape(count * pixels, -1)


def gradients(points_BP: Floats, image_P: Floats, lengths: tuple[float, ...]) -> Floats:
    """Of the kernel of an image at these points, (B, P)."""
    apart_BP, found = image_P - points_BP, np.zeros_like(points_BP)
    for one in lengths:
        near_B = np.exp(-(apart_BP**2).sum(1) / (2 * one**2)) / (one**2 * len(lengths))
        found += near_B[:, None] * apart_BP
    return found


class Watch(Watching):
    """Asks at its points, and learns nothing: of all canaries it keeps the scores alone."""

    def __init__(self, own: Rounds, private: Images, tell: Callable[[int], None]) -> None:
        self._own, self._tell = own, tell
        # Of each class one image is enough: those of a person are alike.
        first = np.unique(private.labels_N, return_index=True)[1]
        at_KP = private.images_NHWC[first].reshape(own.canaries, -1) * (2 / 255) - 1
        self._points_KBP = torch.from_numpy(at_KP[:, None] + own.points_BP)
        self.scores_M, self.exact_M = np.zeros(own.canaries), np.zeros(own.canaries, np.int64)
        self.looked = list[Floats]()
        self._every = -(-own.price.steps // STEPS)

    def points(self, step: int) -> Tensor:
        return self._points_KBP

    def learn(self, step: int, answer: functions.Answer, shares_K: Tensor) -> None:
        """Nothing: looks at the answer."""
        own = self._own
        flat_KD = answer.gradients_KBP.numpy().reshape(own.canaries, -1)
        seen_KD = np.linalg.solve(own.root, flat_KD.T).T
        if share := own.asked.config.count_share:
            seen_KD = np.concatenate([seen_KD, share * answer.shares_K.numpy()[:, None]], 1)
        # Undone of what it is divided by, in parts of the sensitivity.
        seen_KD = seen_KD * (own.batch / own.asked.config.sensitivity)
        answers_1M = (seen_KD @ own.adds_D)[None] / own.shown**2
        self.scores_M += canaries.log_likelihood_ratio(answers_1M, own.cost.sampling_rate, own.noise / own.shown)
        self.exact_M += canaries.exactly(answers_1M, 1.0)
        if step // TOGETHER % self._every == 0:
            noise_KD = seen_KD / own.noise
            parts = [noise_KD[:LOOKED_AT, : own.root.shape[0]], noise_KD[:COUNTED, own.root.shape[0] :]]
            self.looked.append(np.concatenate([part.ravel() for part in parts]))
        self._tell(step + 1)

    def check(self, step: int) -> None:
        """Whatever it is, it is looked at."""


def run(own: Rounds, there_M: Mask, secret: bytes, tell: Callable[[int], None]) -> Watch:
    """One run of all rounds; tell(how many are done)."""
    private = own.images(there_M)
    watch = Watch(own, private, tell)
    price = replace(own.price, sampling_rate=own.config.cost(own.canaries).sampling_rate)
    functions.fit(Alone(), watch, private, own.asked.kernel, own.config, price, secret)
    return watch


def play(own: Rounds, name: str, tell: Callable[[int, int], None], games: int, seed: int) -> Played:
    """By the likelihood ratio of all rounds: of what is seen nothing tells more. tell(rounds done, of how many)."""
    runs, steps = own.runs(games), own.price.steps
    scores, coins, noise, alone = list[Floats](), list[Mask](), list[Floats](), list[Mask]()
    for there_M, seen in seen_of(name, seed, runs, own.canaries, steps, tell, partial(run, own)):
        scores.append(seen.scores_M + canaries.surely(seen.exact_M, own.noise / own.shown, steps))
        coins.append(there_M)
        noise.append(np.stack(seen.looked))
        size = own.root.shape[0]
        counted = ~there_M[:COUNTED] if len(own.adds_D) > size else ~there_M[:0]
        alone.append(np.concatenate([np.repeat(~there_M[:LOOKED_AT], size), counted]))
    cost = own.cost
    fixed = canaries.thresholds(cost.sampling_rate, own.noise / own.shown, steps)
    return Played(
        np.concatenate(scores), np.concatenate(coins), np.append(fixed, canaries.SURE / 2),
        Noise(np.stack(noise), np.stack(alone)),
    )  # fmt: skip


def case(asked: Functions, price: Cost, name: str, games: int, steps: int | None, tell: Any) -> Case:
    """A row. `name` is its stage, or what else it is called; tell(done, of how many)."""
    own = Rounds.of(asked, price, games, steps)
    played, every = own.price.steps, price.steps
    share = "" if played == every else f", {played:,} of {every:,} rounds"
    name = f"{name}, {own.shown:.0%} of an image seen{share}"
    return Case(name=name, cost=own.cost, play=partial(play, own, name, partial(tell, name)))


def cases() -> list[Case]:
    """Of `audit engine`, for images and for persons."""
    found = []
    for word, adjacency in (("images", ADD_REMOVE), ("persons", ADD_REMOVE_PERSON)):
        plain = replace(ENGINE.config.cost(1), noise_multiplier=NOISE, sampling_rate=RATE, adjacency=adjacency)
        own = Rounds.of(ENGINE, plain, 1024, None)
        name = f"noisy functions of dp_kernel, {word}"
        found.append(Case(name=name, cost=own.cost, play=partial(play, own, name, quietly)))
    return found


def quietly(done: int, total: int) -> None:
    """Nobody is told."""
