"""One-shot questions as they are asked, by an attacker who knows all other images.

A game is one answer with its own secret: the canary, an image that adds as much as one may, is there or not. What it
adds is known, so of the answer one number matters: how far it goes the canary's way. A person whose images are of
several classes adds less than one may, unless each class counts them anew.
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
from raysyn.audits.mixture_games import mixture_game, of_brightness
from raysyn.audits.played import Case, Game, Played, coins_of, secret_of
from raysyn.audits.residuals import Noise, some_places
from raysyn.audits.who import SEVERAL, WHO, Who, mine
from raysyn.data import fourier, tangent
from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Cost
from raysyn.privacy.mechanisms import Embedded, Perceived, Question
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import (
    central,
    counts,
    embedding,
    layer_statistics,
    mixture,
    moments,
    perceptual,
    semantic,
    votes,
)
from raysyn.train.perceptual import perceived, untaught

NOISE = 1.2
"""Of answers to everybody at once; a mean over classes of 1/NOISE in mu."""
SAMPLED = central.CentralConfig(
    count=4, sampling_rate=0.5, noise_multiplier=1.1, clip_norm=0.5, downscale=1, smooth=False
)
EMBEDDED = Embedded(embedding.EmbeddingConfig(), fourier.FourierConfig(count=8), 0)
TANGENTS = Embedded(embedding.EmbeddingConfig(), tangent.TangentConfig(widths=(2,)), 0)
MOMENTS = moments.MomentsConfig(frequencies=9, spread_frequencies=4, spread_per_class=True)
SEEN = Perceived(
    perceptual.FeatureMomentsConfig(squares_share=0.5),
    lambda pictures: perceived(untaught(1, True), pictures, torch.device("cpu")),
)
STATISTICS = layer_statistics.StatisticsConfig(epochs=2.0)
SAMPLE = layer_statistics.StatisticsConfig(epochs=0.5, batch_size=50)
LAYERS, UNITS = layer_statistics.Layers([2, 3], [0.5, 2.0]), 100
SEMANTIC, SEMANTICS = semantic.SemanticConfig(k=3, noise_multiplier=NOISE), 6
ROUNDS = 2
"""Of votes, and of EM."""
NOTHING = 1e-12
"""A noise multiplier that is as good as none."""
LOOKED_AT, MOST = 4096, 1 << 24
"""Answers whose noise is looked at, at most, and numbers of all of them together: of longer answers, some places."""


def central_game(config: central.CentralConfig, price: Cost, who: Who) -> Game:
    """Rounds of means or modes: Poisson samples. Who is not there counts nothing."""
    private = who.images
    query = (central.mean_query if config.kind == "mean" else central.mode_query)(config, private.shape)
    weights_N = units.weights(private) * mine(private)

    def answer(there: bool, stream: Stream) -> Floats:
        rounds = range(price.steps)
        sums = [central.one_round(private, weights_N * there, config, query, stream, step) for step in rounds]
        return np.stack(sums).reshape(len(sums), -1) / query.sensitivity

    def exact(there: bool) -> Floats:
        cells = [private.labels_N == label for label in range(private.classes)]
        if not config.conditional:
            cells = [np.ones(len(private), bool)]
        sums = [query.total(private.images_NHWC[cell], there * weights_N[cell]) for cell in cells]
        return np.concatenate(sums) / query.sensitivity

    return answer, exact


def moments_game(stage: str, config: moments.MomentsConfig, own: bool, price: Cost, who: Who) -> Game:
    """One of the two questions of noisy_means; `own`: whether each class is asked for a spread of its own."""

    def ask(there: bool, stream: Stream, cost: Cost) -> Floats:
        private = who.present(there)
        if stage == moments.MEANS:
            sums = moments.class_sums(private, config, cost, stream).value
            return sums.reshape(1, -1) / moments.mean_sensitivity(config, private.shape)
        means_KF = np.zeros((private.classes, private.shape[2] * moments.kept(private.shape, config.frequencies)))
        sums = moments.spread_sums(private, means_KF, config, cost, stream, own=own).value
        above = np.triu_indices(sums.shape[-1])
        return (sums[:, *above] * np.where(above[0] == above[1], 1.0, math.sqrt(2.0))).reshape(1, -1)

    return _asked(ask, price)


def embedding_game(asked: Embedded, price: Cost, who: Who) -> Game:
    """The question of DP-MERF and DP-NTK."""
    config, of = asked.config, asked.features.of(who.images.shape, asked.seed)

    def ask(there: bool, stream: Stream, cost: Cost) -> Floats:
        sums = embedding.embedding_sums(who.present(there), of, config, cost, stream).value
        return sums.reshape(1, -1) / embedding.sensitivity(config)

    return _asked(ask, price)


def features_game(stage: str, asked: Perceived, price: Cost, who: Who) -> Game:
    """One of the two questions of DP-MEPF, of what a network sees in black images and in white ones."""
    pictures = np.stack([np.full(who.shape, grey, np.uint8) for grey in (0, 255)])
    seen = [np.concatenate(blocks) for blocks in zip(*asked.look(pictures), strict=True)]
    config = asked.config

    def ask(there: bool, stream: Stream, cost: Cost) -> Floats:
        private = who.present(there)
        rows = [one[1 * mine(private)] for one in seen]
        sums = perceptual.class_sums([rows], private.labels_N, units.weights(private), private.classes, config)
        noisy = perceptual.noisy_sums(private, stage, [sums], config, cost, stream).value
        return noisy.reshape(1, -1) / perceptual.sensitivity(config, stage)

    return _asked(ask, price)


def question_game(asked: Question, price: Cost, who: Who) -> Game:
    """A question of somebody's own method."""

    def ask(there: bool, stream: Stream, cost: Cost) -> Floats:
        return np.asarray(asked.ask(who.present(there), cost, stream), np.float64).reshape(1, -1)

    return _asked(ask, price)


def _asked(ask: Callable[[bool, Stream, Cost], Floats], price: Cost) -> Game:
    """The same without noise is what would be without it."""
    silent, exact = replace(price, noise_multiplier=NOTHING), Stream(bytes(32), "exact")
    return lambda there, stream: ask(there, stream, price), lambda there: ask(there, exact, silent)[0]


def counts_game(price: Cost, who: Who) -> Game:
    """The number of images of each class."""

    def exact(there: bool) -> Floats:
        private = who.present(there)
        return np.bincount(private.labels_N, units.weights(private), private.classes).astype(np.float64)

    return lambda there, stream: counts.class_counts(who.present(there), price, stream).value[None], exact


def histogram_game(config: semantic.SemanticConfig, semantics: int, price: Cost, who: Who) -> Game:
    """Public classes that the canary's images are among the first k of."""
    top = np.stack([np.arange(config.k), np.arange(semantics - config.k, semantics)])

    def sums(there: bool) -> Floats:
        private = who.present(there)
        rows_N = private.labels_N if config.conditional else np.zeros(len(private), np.int64)
        top_NK, rows = top[private.labels_N % 2], config.rows(private.classes)
        return semantic.semantic_counts(top_NK, rows_N, rows, semantics, units.weights(private))

    def answer(there: bool, stream: Stream) -> Floats:
        noisy = semantic.semantic_histogram([sums(there)], config, price, stream).value
        return noisy.reshape(1, -1) / math.sqrt(config.k)

    return answer, lambda there: sums(there).ravel() / math.sqrt(config.k)


def votes_game(blur: float, price: Cost, who: Who) -> Game:
    """Rounds of votes for white, black and grey. All are known by the canary's own candidate alone."""

    def sums(there: bool) -> Floats:
        private = who.present(there)
        offered = np.zeros((private.classes, 3, *private.shape), np.uint8)
        offered[:, 1:] = np.array([128, 255], np.uint8)[:, None, None, None]
        weights_N = units.weights(private)
        return votes.ballots(private.images_NHWC, private.labels_N, weights_N, offered, blur)

    def answer(there: bool, stream: Stream) -> Floats:
        private, exact = who.present(there), sums(there)
        noisy = votes.votes(private, price, stream, exact.shape[:2], lambda step, answered: [exact]).value
        return noisy.reshape(price.steps, -1)

    return answer, lambda there: sums(there).ravel()


def statistics_game(
    config: layer_statistics.StatisticsConfig, layers: layer_statistics.Layers, n: int, price: Cost, who: Who
) -> Game:
    """What layers see: clipped means over `n` units. All answers are known by their sum alone, which is taken as one,
    of their noise."""
    unit = layers.sensitivity(config) * math.sqrt(price.steps)

    def vectors(private: Images) -> Floats:
        seen = [torch.zeros(len(private), 2 * channels) for channels in layers.channels]
        for one in seen:
            one[:, 0] = 100.0 * max(layers.scales) * config.clip_norm * torch.from_numpy(mine(private))
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
        ends = np.cumsum([2 * channels for channels in layers.channels])[:-1]
        parts = np.split((vectors(private) * units.weights(private)[:, None]).sum(0), ends)
        firsts = [part[:channels] for part, channels in zip(parts, layers.channels, strict=True)]
        return np.concatenate(firsts) * (price.steps / unit)

    return answer, exact


def play(price: Cost, game: Game, name: str, tell: Callable[[int, int], None], games: int, seed: int) -> Played:
    """A secret for each game; tell(how many are done, of how many)."""
    (answer, exact), noise_std = game, price.noise_multiplier
    assert noise_std is not None
    base, coins, along, noise = exact(False), np.empty(games, bool), list[Floats](), list[Floats]()
    adds, places = exact(True) - base, some_places(len(base))
    own, looked_at = float(np.linalg.norm(adds)), min(LOOKED_AT, MOST // (len(places) * price.steps))
    for number in range(games):
        secret = secret_of(name, seed, number)
        coins[number] = coins_of(secret, 1)[0]
        more_TD = answer(bool(coins[number]), Stream(secret, "audit")) - base
        along.append(more_TD @ adds / own)
        if not coins[number] and len(noise) < max(2, looked_at):
            noise.append(more_TD[:, places] / noise_std)
        tell(number + 1, games)
    along_TM, alone_GTD = np.stack(along, 1), np.stack(noise)
    steps = len(along_TM)
    scores = canaries.log_likelihood_ratio(along_TM, price.sampling_rate, noise_std)
    scores += canaries.SURE * canaries.exactly(along_TM, own) - canaries.SILENT * canaries.exactly(along_TM, 0.0)
    fixed = canaries.thresholds(price.sampling_rate, noise_std, steps)
    silent = -canaries.SILENT * (np.arange(steps) + 0.5)
    alone_GD = np.ones((len(noise), len(places)), bool)
    return Played(scores, coins, np.concatenate([fixed, [canaries.SURE / 2], silent]), Noise(alone_GTD, alone_GD))


def quietly(done: int, total: int) -> None:
    """Nobody is told."""


def cases(games: float) -> list[Case]:
    """All of them, for images, for persons, and where classes are asked, for persons with images of several."""
    modes, both = replace(SAMPLED, kind="mode"), moments.costs(MOMENTS, NOISE)
    means, spread = (replace(both[stage], noise_multiplier=NOISE) for stage in (moments.MEANS, moments.SPREAD))
    rounds = replace(votes.VotesConfig(rounds=ROUNDS).cost(), noise_multiplier=NOISE * math.sqrt(ROUNDS))
    steps = mixture.MixtureConfig(iterations=ROUNDS).cost(NOISE * math.sqrt(ROUNDS))
    embedded = Cost(mechanism="noisy mean embedding", noise_multiplier=NOISE, sampling_rate=1.0, steps=1)
    seen = perceptual.costs(SEEN.config, NOISE / math.sqrt(2))
    prices: dict[str, tuple[Callable[[int], Cost | None], Callable[[Cost, Who], Game]]] = {
        "central means": (SAMPLED.cost, partial(central_game, SAMPLED)),
        "central modes": (modes.cost, partial(central_game, modes)),
        "class sums of noisy_means": (lambda _: means, partial(moments_game, moments.MEANS, MOMENTS, True)),
        "spread of noisy_means": (lambda _: spread, partial(moments_game, moments.SPREAD, MOMENTS, True)),
        "mean embedding of dp_merf": (lambda _: embedded, partial(embedding_game, EMBEDDED)),
        "mean embedding of dp_ntk": (lambda _: embedded, partial(embedding_game, TANGENTS)),
        "mean features of dp_mepf": (lambda _: seen[perceptual.MEANS], partial(features_game, perceptual.MEANS, SEEN)),
        "mean squares of dp_mepf": (
            lambda _: seen[perceptual.SQUARES],
            partial(features_game, perceptual.SQUARES, SEEN),
        ),
        "noisy class counts": (lambda _: counts.cost(NOISE), counts_game),
        "semantic histogram": (lambda _: SEMANTIC.cost(), partial(histogram_game, SEMANTIC, SEMANTICS)),
        "votes of evolution": (lambda _: rounds, partial(votes_game, 0.0)),
        "EM statistics of p3gm": (
            lambda _: steps,
            lambda price, who: mixture_game(of_brightness(who.images.classes), price, who),
        ),
    }
    found = []
    for mechanism, (price_of, make) in prices.items():
        for who in (*WHO, SEVERAL):
            plain = price_of(who.images.classes)
            assert plain is not None
            found.append(_case(f"{mechanism}, {who.word}", plain, make, who, games))
    for mechanism, config in {"layer statistics": STATISTICS, "layer statistics of a sample": SAMPLE}.items():
        plain = config.cost(UNITS)
        price = replace(plain, noise_multiplier=NOISE * math.sqrt(plain.steps))
        found += [
            _case(f"{mechanism}, {who.word}", price, partial(statistics_game, config, LAYERS, UNITS), who, games)
            for who in WHO
        ]  # fmt: skip
    return found


def _case(name: str, plain: Cost, make: Callable[[Cost, Who], Game], who: Who, games: float) -> Case:
    price = units.priced(plain, who.images)
    played = partial(play, price, make(price, who), name, quietly)
    return Case(name=name, cost=price, play=played, games=games, tight=who.tight)
