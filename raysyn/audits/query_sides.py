"""A one-shot question from another side: what central images are divided by, once their noisy sums are known."""

from __future__ import annotations

from functools import partial

import numpy as np

from raysyn.attacks.canaries import Floats
from raysyn.audits.played import Case, Played, coins_of, secret_of
from raysyn.audits.sgd_sides import LARGE_ALBUM, without
from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central

SIDE, UNITS = 8, 2
CONFIG = central.CentralConfig(
    count=2, sampling_rate=1.0, noise_multiplier=3.0, clip_norm=0.125, downscale=1, count_share=0.0, smooth=False
)
PARTS = (1.5, 1.3, 1.15, 1.0, 0.87, 0.75, 0.6)
"""Of what pixels are on average, at which thresholds are."""


def _private(named: bool, album: int) -> Images:
    """Black, so that they add nothing and all that is seen is noise. `album`: how many images the first person has."""
    whose_N = np.repeat(np.arange(UNITS), [album, 1] if named else 1)
    pixels = np.zeros((len(whose_N), SIDE, SIDE, 1), np.uint8)
    return Images(pixels, np.zeros(len(whose_N), np.int64), ("canary", "other"), whose_N if named else None)


def _thresholds(cost: Cost) -> Floats:
    """Of the brightness, where sums are divided by what they should be."""
    from scipy.special import ndtri

    assert cost.noise_multiplier is not None and CONFIG.clip_norm is not None
    spread = cost.noise_multiplier * CONFIG.clip_norm * 2 / (cost.sampling_rate * UNITS)
    light = np.clip(spread * ndtri((np.arange(1000) + 0.5) / 1000), 0, 1).mean()
    return -light * np.array(PARTS)


def denominator(named: bool, cost: Cost, name: str, games: int, seed: int) -> Played:
    """Who is there if the coin says so is a person of many images, or an image. The attacker looks at the size of the
    noise alone, which must not tell that: it does where sums are divided by how many took part, or by all images."""
    scores, coins = np.empty(games), np.empty(games, bool)
    for number in range(games):
        secret = secret_of(name, seed, number)
        coins[number] = there = bool(coins_of(secret, 1)[0])
        with without([] if there else [0], central):
            found = central.central_images(
                _private(named, LARGE_ALBUM if there else 1), CONFIG, Stream(secret, "audit")
            )
        scores[number] = -found.value.images_NHWC.mean() / 255
    return Played(scores, coins, _thresholds(cost))


def cases(games: float) -> list[Case]:
    """For images and for persons."""
    found = []
    for named, word in enumerate(("images", "persons")):
        plain, name = CONFIG.cost(UNITS), f"central means, their denominator, {word}"
        assert plain is not None
        cost = units.priced(plain, _private(bool(named), 1))
        play = partial(denominator, bool(named), cost, name)
        found.append(Case(name=name, cost=cost, play=play, games=games, tight=False))
    return found
