"""DP-SGD from other sides, where a game takes a run: for faults that many canaries at once cannot show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks import canaries
from raysyn.attacks.canaries import Mask
from raysyn.audits.played import Played, coins_of, secret_of
from raysyn.audits.sgd_games import Game, Seen, Setting, joined, run
from raysyn.data.images import Images
from raysyn.privacy import sgd
from raysyn.privacy.poisson import Stream

LARGE_ALBUM = 8
"""Images of a person who has many."""


@contextmanager
def without(gone: Sequence[int], asking: ModuleType = sgd) -> Iterator[None]:
    """Within, these units take part in nothing, as those who were removed do while the number of units is held fixed:
    all that is changed of DP-SGD here, or of another mechanism that is `asking`, and of all in this process.
    RuntimeError where nobody asked who does."""
    takes, asked = asking.participants, 0

    def others(stream: Stream, step: int, n: int, sampling_rate: float) -> NDArray[np.int64]:
        nonlocal asked
        asked += 1
        return np.setdiff1d(takes(stream, step, n, sampling_rate), gone)

    asking.participants = others  # type: ignore[attr-defined]
    try:
        yield
    finally:
        asking.participants = takes  # type: ignore[attr-defined]
    if not asked:
        raise RuntimeError(f"nobody was removed: {asking.__name__} no longer asks its participants who takes part")


def _one_each(games: int, name: str, seed: int, play: Callable[[bool, bytes], Game]) -> list[Game]:
    """Games that take a run each."""
    secrets = (secret_of(name, seed, number) for number in range(games))
    return [play(bool(coins_of(secret, 1)[0]), secret) for secret in secrets]


def _one(score: float, there: bool, seen: Seen, alone_P: Mask) -> Game:
    return Game(np.array([score]), np.array([there]), seen, alone_P)


def alone(setting: Setting, name: str, games: int, seed: int) -> Played:
    """Nobody else is there, so that most steps are empty: a step without noise would say so."""
    cost, first = setting.cost, np.eye(setting.units, dtype=bool)[0]
    private = setting.images(first)

    def one(there: bool, secret: bytes) -> Game:
        with without(range(0 if not there else 1, setting.units)):
            seen = run(setting, private, secret)
        noiseless = int((seen.both_T2P == 0).all(axis=(1, 2)).sum())
        likely = canaries.log_likelihood_ratio(seen.answers_TP[:, :1], cost.sampling_rate, setting.noise)[0]
        return _one(float(likely) - canaries.SILENT * noiseless, there, seen, setting.alone(there & first))

    fixed = canaries.thresholds(cost.sampling_rate, setting.noise, cost.steps)
    silent = -canaries.SILENT * (np.arange(cost.steps) + 0.5)
    return joined(setting, _one_each(games, name, seed, one), np.append(fixed, silent))


def against(setting: Setting, name: str, games: int, seed: int) -> Played:
    """All others pull one way, and the canary the other: where the sum is divided by the number that take part, one who
    joins changes it twice."""
    cost, others, free = setting.cost, setting.units - 1, setting.alone(np.eye(setting.units, dtype=bool)[0])
    pixels = setting.images(np.zeros(setting.units, bool)).images_NHWC
    pixels[:, 0, 0] = 255
    private = Images(pixels, np.append([0], np.ones(others, np.int64)), ("canary", "other"))

    def one(there: bool, secret: bytes) -> Game:
        with without([] if there else [0]):
            seen = run(setting, private, secret)
        return _one(float(np.sum(seen.answers_TP[:, 0] + others)), there, seen, free)

    even = np.sqrt(cost.steps) * setting.noise
    return joined(setting, _one_each(games, name, seed, one), even * np.linspace(-2.5, 3.5, 8))


def albums(setting: Setting, name: str, games: int, seed: int) -> Played:
    """One person of many images, or of one that is black: the attacker looks at the size of the noise alone, which must
    not tell how many images there are."""
    first = np.eye(setting.units, dtype=bool)[0]

    def one(there: bool, secret: bytes) -> Game:
        seen = run(setting, setting.images(there * first, LARGE_ALBUM if there else 1), secret)
        score = -float(np.sqrt(np.mean(np.square(seen.answers_TP[:, setting.units :]))))
        return _one(score, there, seen, setting.alone(first))

    fixed = -setting.noise * np.array([1.5, 1.2, 1.0, 0.8, 0.67, 0.5, 0.33])
    return joined(setting, _one_each(games, name, seed, one), fixed)
