"""One-shot questions as they are asked, by an attacker who knows all other images.

A game is one answer with its own secret: the canary, an image that adds as much as one may, is there or not. What it
adds is known, so of the answer one number matters: how far it goes the canary's way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from raysyn.attacks import canaries
from raysyn.attacks.canaries import Floats
from raysyn.audits.played import Case, Played, coins_of, secret_of
from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central, counts, layer_statistics, moments, semantic

SIDE, ALBUM = 4, 3
"""Pixels a side; images of a person."""
NOISE = 1.2
"""Of answers to everybody at once; a mean over classes of 1/NOISE in mu."""
SAMPLED = central.CentralConfig(
    count=4, sampling_rate=0.5, noise_multiplier=1.1, clip_norm=0.5, downscale=1, smooth=False
)
MOMENTS = moments.MomentsConfig(frequencies=9, spread_frequencies=4, spread_per_class=True)
STATISTICS = layer_statistics.StatisticsConfig(epochs=2.0)
SEMANTIC = semantic.SemanticConfig(k=3, noise_multiplier=NOISE)
NOTHING = 1e-12
"""A noise multiplier that is as good as none."""
Answer = Callable[[bool, Stream], Floats]
"""answer(is it there, stream) -> for each step how far it went the canary's way, (T,), in units of what this adds."""


def canary(persons: bool, there: bool = True) -> Images:
    """White images of class 0, one or one person's; and of another class a black one, whose place is known."""
    many = (ALBUM if persons else 1) * there
    pixels = np.zeros((many + 1, SIDE, SIDE, 1), np.uint8)
    pixels[:many] = 255
    whose_N = np.append(np.full(many, 1), [0]) if there else np.zeros(1, np.int64)
    return Images(pixels, np.append(np.zeros(many, np.int64), [1]), ("canary", "other"), whose_N if persons else None)


def _along(answer: Floats, alone: Floats) -> float:
    """How far an answer goes the way of what the canary alone adds to it."""
    return float(np.vdot(answer, alone) / np.vdot(alone, alone))


def _central(kind: central.Kind, persons: bool) -> tuple[Cost, Answer]:
    """Rounds of means or modes: Poisson samples. Who is not there counts nothing."""
    config, private = replace(SAMPLED, kind=kind), canary(persons)
    query = (central.mean_query if kind == "mean" else central.mode_query)(config, private.shape)
    cost = config.cost(private.classes)
    assert cost is not None
    mine_N, weights_N = private.labels_N == 0, units.weights(private)
    alone = np.zeros((private.classes, query.size))
    alone[0] = query.total(private.images_NHWC[mine_N], weights_N[mine_N])

    def answer(there: bool, stream: Stream) -> Floats:
        counted_N = weights_N * mine_N * there
        sums = (central.one_round(private, counted_N, config, query, stream, step) for step in range(cost.steps))
        return np.array([_along(one, alone) for one in sums])

    return units.priced(cost, private), answer


def _moments(stage: str, persons: bool) -> tuple[Cost, Answer]:
    """The two questions of noisy_means, each at a price of its own."""
    price = units.priced(replace(moments.costs(MOMENTS, NOISE)[stage], noise_multiplier=NOISE), canary(persons))

    def ask(there: bool, stream: Stream, cost: Cost) -> Floats:
        private = canary(persons, there)
        if stage == moments.MEANS:
            return moments.class_sums(private, MOMENTS, cost, stream).value[0]
        means_KF = np.zeros((private.classes, MOMENTS.frequencies))
        return moments.spread_sums(private, means_KF, MOMENTS, cost, stream, own=True).value[0]

    alone = ask(True, Stream(bytes(32), "alone"), replace(price, noise_multiplier=NOTHING))
    return price, lambda there, stream: np.array([_along(ask(there, stream, price), alone)])


def _counts(persons: bool) -> tuple[Cost, Answer]:
    """The number of images of each class."""
    price = units.priced(counts.cost(NOISE), canary(persons))
    return price, lambda there, stream: counts.class_counts(canary(persons, there), price, stream).value[:1]


def _histogram(persons: bool) -> tuple[Cost, Answer]:
    """Public classes that the canary's images are among the first k of."""
    price = units.priced(SEMANTIC.cost(), canary(persons))

    def answer(there: bool, stream: Stream) -> Floats:
        private = canary(persons, there)
        top_NK = np.where(private.labels_N[:, None] == 0, [0, 2, 4], [1, 3, 5])
        exact = semantic.semantic_counts(top_NK, private.labels_N, 2, 6, units.weights(private))
        noisy = semantic.semantic_histogram([exact], SEMANTIC, price, stream).value
        return np.array([noisy[0, [0, 2, 4]].mean()])

    return price, answer


def _statistics(persons: bool) -> tuple[Cost, Answer]:
    """What layers see: means that are clipped, of two layers. All answers are known by their sum alone."""
    layers, n = layer_statistics.Layers([2, 3], [0.5, 2.0]), 100
    price = units.priced(STATISTICS.cost(n, NOISE * math.sqrt(2)), canary(persons))

    def answer(there: bool, stream: Stream) -> Floats:
        private = canary(persons, there)
        seen = [torch.zeros(len(private), 2 * channels) for channels in layers.channels]
        for one in seen:
            one[:, 0] = 100.0 * torch.from_numpy(private.labels_N == 0)
        clipped_ND = layer_statistics.clipped(seen, layers.scales, STATISTICS.clip_norm).numpy()
        exact = (clipped_ND * layer_statistics.takes_part(price, stream, private)[:, None]).sum(0)
        found = layer_statistics.layer_statistics([exact], layers, STATISTICS, price, stream, n).value
        means = [float(mean[0]) / scale for (mean, _), scale in zip(found, layers.scales, strict=True)]
        return np.full(price.steps, np.mean(means) * n / STATISTICS.clip_norm)

    return price, answer


def _play(price: Cost, answer: Answer, name: str, games: int, seed: int) -> Played:
    """A secret for each game."""
    assert price.noise_multiplier is not None
    coins, answers = np.empty(games, bool), np.empty((price.steps, games))
    for number in range(games):
        secret = secret_of(name, seed, number)
        coins[number] = coins_of(secret, 1)[0]
        answers[:, number] = answer(bool(coins[number]), Stream(secret, "audit"))
    scores = canaries.log_likelihood_ratio(answers, price.sampling_rate, price.noise_multiplier)
    return Played(scores, coins, canaries.thresholds(price.sampling_rate, price.noise_multiplier, price.steps))


def cases(games: float) -> list[Case]:
    """All of them, for images and for persons."""
    made: dict[str, Callable[[bool], tuple[Cost, Answer]]] = {
        "central means": partial(_central, "mean"),
        "central modes": partial(_central, "mode"),
        "class sums of noisy_means": partial(_moments, moments.MEANS),
        "spread of noisy_means": partial(_moments, moments.SPREAD),
        "noisy class counts": _counts,
        "semantic histogram": _histogram,
        "layer statistics": _statistics,
    }
    found = []
    for mechanism, make in made.items():
        for persons in (False, True):
            price, answer = make(persons)
            name = f"{mechanism}, {'persons' if persons else 'images'}"
            found.append(Case(name=name, cost=price, play=partial(_play, price, answer, name), games=games))
    return found
