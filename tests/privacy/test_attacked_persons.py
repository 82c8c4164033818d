"""An attack on DP-SGD, by one who knows all others and all images of the person: within the certificate's curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import test_sgd
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from raysyn.compute.worker import Alone
from raysyn.data.images import Images
from raysyn.privacy import sgd, units
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.tradeoff import tradeoff

SIZES = (12, 1, 2, 1, 3, 1, 1, 1)
"""Images of each person; the first one is attacked."""
CONFIG = SGDConfig(
    batch_size=4, epochs=1.0, noise_multiplicity=2, max_grad_norm=1.0, optimizer="sgd", learning_rate=0.5, beta1=0.0,
    ema=0.0,
)  # fmt: skip
NOISE = 0.75
# At a rate of 1/2, two steps: half the noise, and persons who join as often as one of twelve images does, are both far
# beyond the curve somewhere.
ALPHAS = (0.02, 0.05, 0.2, 0.4)
SURELY = 3.3
"""Standard deviations: wrong once in 500 where the curve is just met, by all ALPHAS together."""
Takes = Callable[[Stream, int, int, float], NDArray[np.int64]]


def people() -> Images:
    """What the first one's images show nobody else's do, as a model would remember it best: where theirs are bright
    others' are dark, so that who else takes part hides nothing."""
    random = np.random.default_rng(0)
    whose_N = np.repeat(np.arange(len(SIZES)), SIZES)
    pixels = random.integers(0, 60, (len(whose_N), 8, 8, 1), dtype=np.uint8)
    pixels[whose_N == 0, ::2] += 190
    pixels[whose_N == 0, 1::2] = 0
    pixels[whose_N > 0, ::2] = 0
    return Images(pixels, np.where(whose_N == 0, 0, random.integers(1, 3, len(whose_N))), ("a", "b", "c"), whose_N)


def trained(private: Images, there: bool, run: int, noise: float, takes: Takes = participants) -> np.ndarray:
    """A linear network's weights, with the first person's images or without: who is left out takes part in nothing, as
    n is public and held fixed."""
    gone = [] if there else (np.flatnonzero(people().persons_N == 0) if private.persons_N is None else [0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False))
    torch.nn.init.zeros_(model[1].weight)
    # The same rate for images and for persons.
    config = replace(CONFIG, batch_size=CONFIG.batch_size * private.units // len(SIZES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sgd, "participants", lambda *args: np.setdiff1d(takes(*args), gone))
        price = units.priced(test_sgd.priced(config, private.units, noise), private)
        secret = run.to_bytes(32, "big")
        answer = sgd.fit(Alone(), model, test_sgd.Classify(), private, config, price, secret, test_sgd.QUICK)
    return np.concatenate([value.double().numpy().ravel() for value in answer.value["model"].values()])


@dataclass(frozen=True)
class Calls:
    """Of so many runs with the person and without, those in which the attack says that they are in, at a threshold that
    a share `alpha` of those without should pass."""

    alpha: float
    hits: int
    alarms: int
    of: int

    def beyond(self) -> bool:
        """Whether the attack surely finds more than the price allows: the curve lies below its tangents."""
        price = units.priced(test_sgd.priced(CONFIG, len(SIZES), NOISE), people())
        near = (self.alpha - 0.01, self.alpha, self.alpha + 0.01)
        low, allowed, high = tradeoff([price], near).found.values()
        slope, hits, alarms = (high - low) / 0.02, self.hits / self.of, self.alarms / self.of
        variance = sum(weight * _variance(n, self.of) for weight, n in ((1, self.hits), (slope**2, self.alarms)))
        return hits - allowed - slope * (alarms - self.alpha) > SURELY * variance**0.5


def _variance(found: int, of: int) -> float:
    """Of the share, which one that is all or nothing has too."""
    share = (found + 1) / (of + 2)
    return share * (1 - share) / of


def attack(private: Images, runs: int, noise: float = NOISE, takes: Takes = participants) -> list[Calls]:
    """Weights are projected on what the person moves them by, which one who knows all images computes without noise."""
    moved = [trained(private, True, run, 1e-4, takes) - trained(private, False, run, 1e-4, takes) for run in range(8)]
    towards = np.mean(moved, 0)

    def scores(there: bool, numbers: range) -> np.ndarray:
        return np.array([trained(private, there, run, noise, takes) @ towards for run in numbers])

    members, others = scores(True, range(100, 100 + runs)), scores(False, range(10_000, 10_000 + runs))
    levels = np.quantile(others, 1 - np.array(ALPHAS))
    return [
        Calls(alpha, int((members > level).sum()), int((others > level).sum()), runs)
        for alpha, level in zip(ALPHAS, levels, strict=True)
    ]


def by_image(stream: Stream, step: int, n: int, rate: float) -> NDArray[np.int64]:
    """What would be wrong: a coin for each image, and a person takes part if one of theirs does."""
    whose_N = np.repeat(np.arange(len(SIZES)), SIZES)
    return np.unique(whose_N[participants(stream, step, len(whose_N), rate)])


def test_the_attack_stays_within_the_curve_of_persons_and_is_beyond_it_where_images_were_protected() -> None:
    """The same noise for single images is no promise to somebody with twelve."""
    named = attack(people(), 100)
    assert not any(calls.beyond() for calls in named), named
    # It is an attack: members are caught more often than others.
    told = [[count, named[2].of - count] for count in (named[2].hits, named[2].alarms)]
    assert stats.fisher_exact(told, "greater").pvalue < 0.01, named
    unnamed = attack(replace(people(), persons_N=None), 40)
    assert any(calls.beyond() for calls in unnamed), unnamed


@pytest.mark.slow
def test_half_the_noise_and_a_coin_for_each_image_are_beyond_the_curve() -> None:
    named = attack(people(), 300)
    assert not any(calls.beyond() for calls in named), named
    print(named)
    half, coins = attack(people(), 300, NOISE / 2), attack(people(), 100, takes=by_image)
    print(half, coins)
    assert any(calls.beyond() for calls in half), half
    assert any(calls.beyond() for calls in coins), coins
