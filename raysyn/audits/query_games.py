"""One-shot questions as they are asked, by an attacker who knows all other images.

A game is one answer with its own secret: the canary, an image that adds as much as one may, is there or not. What it
adds is known, so of the answer one number matters: how far it goes the canary's way. A person whose images are of
several classes adds less than one may, unless each class counts them anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from raysyn.attacks import canaries
from raysyn.attacks.canaries import Floats, Mask
from raysyn.audits.played import Case, Played, coins_of, secret_of
from raysyn.audits.residuals import Noise
from raysyn.data import fourier
from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central, counts, embedding, layer_statistics, moments, semantic

SIDE, ALBUM = 4, 3
"""Pixels a side; images of a person."""
NOISE = 1.2
"""Of answers to everybody at once; a mean over classes of 1/NOISE in mu."""
SAMPLED = central.CentralConfig(
    count=4, sampling_rate=0.5, noise_multiplier=1.1, clip_norm=0.5, downscale=1, smooth=False
)
FEATURES = fourier.FourierConfig(count=8)
MOMENTS = moments.MomentsConfig(frequencies=9, spread_frequencies=4, spread_per_class=True)
STATISTICS = layer_statistics.StatisticsConfig(epochs=2.0)
SAMPLE = layer_statistics.StatisticsConfig(epochs=0.5, batch_size=50)
SEMANTIC = semantic.SemanticConfig(k=3, noise_multiplier=NOISE)
NOTHING = 1e-12
"""A noise multiplier that is as good as none."""
LOOKED_AT = 4096
"""Answers whose noise is looked at, at most."""
TOP = ([0, 2, 4], [1, 3, 5])
"""Public classes that images of each class are among."""
Answer = Callable[[bool, Stream], Floats]
"""answer(is it there, stream) -> the noisy answers of all steps, (T, D), in units of their sensitivity."""
Exact = Callable[[bool], Floats]
"""exact(is it there) -> what they would be without noise if it took part, (D,)."""


@dataclass(frozen=True)
class Who:
    """Whose canary it is."""

    word: str
    classes: tuple[int, ...]
    """Of its images."""

    @property
    def images(self) -> Images:
        """White, and of the second class a black one of somebody else, whose place is known."""
        return self.present(True)

    @property
    def named(self) -> bool:
        """Whether persons are the units."""
        return len(self.classes) > 1

    @property
    def tight(self) -> bool:
        """Whether it adds as much as one may: of several classes, less."""
        return len(set(self.classes)) == 1

    def present(self, there: bool) -> Images:
        """The same, or the other image alone."""
        mine = self.classes if there else ()
        pixels = np.zeros((len(mine) + 1, SIDE, SIDE, 1), np.uint8)
        pixels[:-1] = 255
        whose_N = np.append(np.ones(len(mine), np.int64), [0])
        labels_N = np.array([*mine, 1], np.int64)
        names = tuple(f"class {label}" for label in range(max(*self.classes, 1) + 1))
        return Images(pixels, labels_N, names, whose_N if self.named else None)


WHO = (Who("images", (0,)), Who("persons", (0,) * ALBUM))
SEVERAL = Who("persons of several classes", (0, 1, 2, 3))


def _mine(private: Images) -> Mask:
    return private.images_NHWC[:, 0, 0, 0] == 255


def _central(kind: central.Kind, who: Who) -> tuple[Cost, Answer, Exact]:
    """Rounds of means or modes: Poisson samples. Who is not there counts nothing."""
    config, private = replace(SAMPLED, kind=kind), who.images
    query = (central.mean_query if kind == "mean" else central.mode_query)(config, private.shape)
    cost = config.cost(private.classes)
    assert cost is not None
    weights_N = units.weights(private) * _mine(private)

    def answer(there: bool, stream: Stream) -> Floats:
        rounds = range(cost.steps)
        sums = [central.one_round(private, weights_N * there, config, query, stream, step) for step in rounds]
        return np.stack(sums).reshape(len(sums), -1) / query.sensitivity

    def exact(there: bool) -> Floats:
        cells = [private.labels_N == label for label in range(private.classes)]
        sums = [query.total(private.images_NHWC[cell], there * weights_N[cell]) for cell in cells]
        return np.concatenate(sums) / query.sensitivity

    return units.priced(cost, private), answer, exact


def _moments(stage: str, who: Who) -> tuple[Cost, Answer, Exact]:
    """The two questions of noisy_means, each at a price of its own."""
    price = units.priced(replace(moments.costs(MOMENTS, NOISE)[stage], noise_multiplier=NOISE), who.images)

    def ask(there: bool, stream: Stream, cost: Cost) -> Floats:
        private = who.present(there)
        if stage == moments.MEANS:
            sums = moments.class_sums(private, MOMENTS, cost, stream).value
            return sums.reshape(1, -1) / moments.mean_sensitivity(MOMENTS, private.shape)
        means_KF = np.zeros((private.classes, MOMENTS.frequencies))
        sums = moments.spread_sums(private, means_KF, MOMENTS, cost, stream, own=True).value
        above = np.triu_indices(sums.shape[-1])
        return (sums[:, *above] * np.where(above[0] == above[1], 1.0, math.sqrt(2.0))).reshape(1, -1)

    silent = replace(price, noise_multiplier=NOTHING)
    exact = Stream(bytes(32), "exact")
    return price, lambda there, stream: ask(there, stream, price), lambda there: ask(there, exact, silent)[0]


def _embedding(who: Who) -> tuple[Cost, Answer, Exact]:
    """The question of DP-MERF."""
    config, of = embedding.EmbeddingConfig(), fourier.waves(FEATURES, who.images.shape, 0)
    plain = Cost(mechanism="noisy mean embedding", noise_multiplier=NOISE, sampling_rate=1.0, steps=1)
    price = units.priced(plain, who.images)

    def ask(there: bool, stream: Stream, cost: Cost) -> Floats:
        sums = embedding.embedding_sums(who.present(there), of, config, cost, stream).value
        return sums.reshape(1, -1) / embedding.sensitivity(config)

    silent = replace(price, noise_multiplier=NOTHING)
    exact = Stream(bytes(32), "exact")
    return price, lambda there, stream: ask(there, stream, price), lambda there: ask(there, exact, silent)[0]


def _counts(who: Who) -> tuple[Cost, Answer, Exact]:
    """The number of images of each class."""
    price = units.priced(counts.cost(NOISE), who.images)

    def exact(there: bool) -> Floats:
        private = who.present(there)
        return np.bincount(private.labels_N, units.weights(private), private.classes).astype(np.float64)

    return price, lambda there, stream: counts.class_counts(who.present(there), price, stream).value[None], exact


def _histogram(who: Who) -> tuple[Cost, Answer, Exact]:
    """Public classes that the canary's images are among the first k of."""
    price = units.priced(SEMANTIC.cost(), who.images)

    def sums(there: bool) -> Floats:
        private = who.present(there)
        top_NK = np.array(TOP)[private.labels_N % 2]
        return semantic.semantic_counts(top_NK, private.labels_N, private.classes, 6, units.weights(private))

    def answer(there: bool, stream: Stream) -> Floats:
        noisy = semantic.semantic_histogram([sums(there)], SEMANTIC, price, stream).value
        return noisy.reshape(1, -1) / math.sqrt(SEMANTIC.k)

    return price, answer, lambda there: sums(there).ravel() / math.sqrt(SEMANTIC.k)


def _statistics(config: layer_statistics.StatisticsConfig, who: Who) -> tuple[Cost, Answer, Exact]:
    """What layers see: means that are clipped, of two layers. All answers are known by their sum alone, which is taken
    as one, of their noise."""
    layers, n = layer_statistics.Layers([2, 3], [0.5, 2.0]), 100
    plain = config.cost(n)
    price = units.priced(replace(plain, noise_multiplier=NOISE * math.sqrt(plain.steps)), who.images)
    unit = layers.sensitivity(config) * math.sqrt(price.steps)

    def vectors(private: Images) -> Floats:
        seen = [torch.zeros(len(private), 2 * channels) for channels in layers.channels]
        for one in seen:
            one[:, 0] = 100.0 * torch.from_numpy(_mine(private))
        return layer_statistics.clipped(seen, layers.scales, config.clip_norm).numpy()

    def answer(there: bool, stream: Stream) -> Floats:
        private = who.present(there)
        times_N = layer_statistics.takes_part(price, stream, private)
        total = (vectors(private) * times_N[:, None]).sum(0)
        found = layer_statistics.layer_statistics([total], layers, config, price, stream, n).value
        # Of variances, noise and what is known are not to be told apart.
        means = [mean.double().numpy() / scale for (mean, _), scale in zip(found, layers.scales, strict=True)]
        return np.concatenate(means)[None] * (price.sampling_rate * price.steps * n / unit)

    def exact(there: bool) -> Floats:
        private = who.present(there)
        parts = np.split((vectors(private) * units.weights(private)[:, None]).sum(0), [2 * layers.channels[0]])
        firsts = [part[:channels] for part, channels in zip(parts, layers.channels, strict=True)]
        return np.concatenate(firsts) * (price.steps / unit)

    return price, answer, exact


def _play(price: Cost, answer: Answer, exact: Exact, name: str, games: int, seed: int) -> Played:
    """A secret for each game."""
    assert price.noise_multiplier is not None
    base, coins, along, noise = exact(False), np.empty(games, bool), list[Floats](), list[Floats]()
    adds = exact(True) - base
    own = float(np.linalg.norm(adds))
    for number in range(games):
        secret = secret_of(name, seed, number)
        coins[number] = coins_of(secret, 1)[0]
        more_TD = answer(bool(coins[number]), Stream(secret, "audit")) - base
        along.append(more_TD @ adds / own)
        if not coins[number] and len(noise) < LOOKED_AT:
            noise.append(more_TD / price.noise_multiplier)
    along_TM, alone_GTD = np.stack(along, 1), np.stack(noise)
    steps = len(along_TM)
    scores = canaries.log_likelihood_ratio(along_TM, price.sampling_rate, price.noise_multiplier)
    scores += canaries.SURE * canaries.exactly(along_TM, own) - canaries.SILENT * canaries.exactly(along_TM, 0.0)
    fixed = canaries.thresholds(price.sampling_rate, price.noise_multiplier, steps)
    silent = -canaries.SILENT * (np.arange(steps) + 0.5)
    alone_GD = np.ones((len(noise), len(base)), bool)
    return Played(scores, coins, np.concatenate([fixed, [canaries.SURE / 2], silent]), Noise(alone_GTD, alone_GD))


def cases(games: float) -> list[Case]:
    """All of them, for images, for persons, and where classes are asked, for persons with images of several."""
    asked: dict[str, Callable[[Who], tuple[Cost, Answer, Exact]]] = {
        "central means": partial(_central, "mean"),
        "central modes": partial(_central, "mode"),
        "class sums of noisy_means": partial(_moments, moments.MEANS),
        "spread of noisy_means": partial(_moments, moments.SPREAD),
        "mean embedding of dp_merf": _embedding,
        "noisy class counts": _counts,
        "semantic histogram": _histogram,
    }
    layers = {
        "layer statistics": partial(_statistics, STATISTICS),
        "layer statistics of a sample": partial(_statistics, SAMPLE),
    }
    found = []
    for mechanism, make in (asked | layers).items():
        for who in (*WHO, SEVERAL) if mechanism in asked else WHO:
            price, answer, exact = make(who)
            name = f"{mechanism}, {who.word}"
            play = partial(_play, price, answer, exact, name)
            found.append(Case(name=name, cost=price, play=play, games=games, tight=who.tight))
    return found
