"""Candidates, their votes and descendants; then images of the last ones that were voted for.

`answered`, noisy counts that the ledger is paid for, is all that is known of private images here but in `count_shard`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from raysyn.data.images import Images
from raysyn.methods.candidates import Painter, Source, painter_of
from raysyn.methods.candidates_config import SourceConfig
from raysyn.methods.common import PrivateSetting
from raysyn.methods.warps import varied
from raysyn.privacy import units
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import votes as query
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.queries.votes import VOTES, VotesConfig
from raysyn.train.memory import at_once

SHARD = 5000
"""Private images per unit of voting, of usual size."""


class Evolving(Protocol):
    """What is needed of a method's settings."""

    @property
    def source(self) -> SourceConfig: ...
    @property
    def votes(self) -> VotesConfig: ...
    @property
    def seed(self) -> int: ...


class Breeding:
    """The candidates of each round, made of the noisy counts of the rounds before."""

    def __init__(self, source: Source, config: Evolving, noise_multiplier: float, size: tuple[int, int]) -> None:
        self._source, self._config, self._noise, self._size = source, config, noise_multiplier, size
        self._genes = list[Tensor]()

    def genes(self, answered: Sequence[Floats]) -> Tensor:
        """Of the candidates after so many rounds, (K, M, GENES)."""
        for step in range(len(self._genes), len(answered) + 1):
            made = [self._class(label, step, answered) for label in range(self._size[0])]
            self._genes.append(torch.stack(made))
        return self._genes[len(answered)]

    def images(self, answered: Sequence[Floats]) -> np.ndarray:
        """Of the same, uint8 (K, M, H, W, C)."""
        classes, each = self._size
        labels = torch.arange(classes).repeat_interleave(each)
        painted = self._source.painter()(self.genes(answered).flatten(0, 1), labels)
        return painted.reshape(classes, each, *painted.shape[1:]).numpy()

    def weights(self, counts_KM: Floats) -> Tensor:
        """How many descendants each candidate has, in parts of those of its class, float64 (K, M)."""
        return torch.from_numpy(shares(counts_KM, self._config.votes.threshold * self._noise))

    def _class(self, label: int, step: int, answered: Sequence[Floats]) -> Tensor:
        seed = np.random.SeedSequence([self._config.seed, step, label]).generate_state(1, np.uint64)[0]
        generator, each = torch.Generator().manual_seed(int(seed >> 1)), self._size[1]
        if step == 0:
            return self._source.begin(label, each, generator)
        parents = torch.multinomial(self.weights(answered[step - 1])[label], each, True, generator=generator)
        strength = self._config.source.strength(step)
        return self._source.vary(self._genes[step - 1][label, parents], label, strength, generator)


def shares(counts_KM: Floats, threshold: float) -> Floats:
    """Noisy counts as shares of each class: what exceeds the threshold; where nothing does, what exceeds nothing; equal
    ones where that is none either."""
    found = np.empty_like(counts_KM)
    for row, counts_M in zip(found, counts_KM, strict=True):
        above = [np.maximum(counts_M - least, 0) for least in (threshold, 0.0)]
        chosen = next((one for one in above if one.sum() > 0), np.ones_like(counts_M))
        row[:] = chosen / chosen.sum()
    return found


def evolve(setting: PrivateSetting, source: Source) -> dict[str, Any]:
    """The stage's answer: the noisy counts of all rounds, which are paid for, and what is made of them: the
    candidates of all rounds, and the last ones with their shares."""
    config, private, price = setting.config, setting.dataset.train, setting.plan.stages[VOTES]
    size = size_of(config, private, setting.plan.noise(VOTES))
    breeding = Breeding(source, config, setting.plan.noise(VOTES), size)
    shard = at_once(SHARD, private.shape)
    shards = [(at, min(at + shard, len(private))) for at in range(0, len(private), shard)]

    def count(step: int, answered: Sequence[Floats]) -> list[Floats]:
        shared = (private, breeding.images(answered), config.votes.blur)
        # Each shard of each round is durable, so that a run that was killed goes on with the round it was in.
        counted = setting.compute.map(
            count_shard, shards, name=f"{VOTES}-{step + 1}", shared=shared, sizes=[end - at for at, end in shards]
        )
        return [one.numpy() for one in counted]

    release = query.votes(private, price, Stream(setting.folder.secret, VOTES), size, count)
    noisy_TKM = setting.ledger.pay(VOTES, release)
    every_TKMG = torch.stack([breeding.genes(list(noisy_TKM[:step])) for step in range(len(noisy_TKM))])
    return {
        "noisy": torch.from_numpy(noisy_TKM),
        "rounds": kept(source, every_TKMG),
        "population": {**kept(source, every_TKMG[-1]), "shares": breeding.weights(noisy_TKM[-1])},
    }


def kept(source: Source, genes: Tensor) -> dict[str, Tensor]:
    """Genes (..., GENES), and what drawing them needs once their source is gone."""
    rows_NG, more = source.kept(genes.flatten(0, -2))
    return {"genes": rows_NG.reshape(genes.shape), **more}


def size_of(config: Evolving, private: Images, noise_multiplier: float) -> tuple[int, int]:
    """(classes, candidates of each)."""
    return private.classes, config.votes.counted(private.units, private.classes, noise_multiplier)


def count_shard(shard: tuple[int, int], shared: tuple[Images, np.ndarray, float]) -> Tensor:
    """One unit of voting: the exact votes of some private images, which stay inside."""
    (start, end), (private, candidates, blur) = shard, shared
    # Weights of all images: a shard may hold some of a person's.
    weights_N = units.weights(private)[start:end]
    pixels, labels_N = private.images_NHWC[start:end], private.labels_N[start:end]
    return torch.from_numpy(query.ballots(pixels, labels_N, weights_N, candidates, blur))


def drawn_from(config: Evolving, like: Images, population: Mapping[str, Any]) -> tuple[Painter, Tensor, Tensor, float]:
    """What `draw_chunk` shares between its units; ValueError for a population of other classes."""
    genes, shares = population["genes"], population["shares"]
    if genes.shape[:2] != shares.shape or len(shares) != like.classes:
        raise ValueError(f"{VOTES} holds candidates of other classes than {', '.join(like.class_names)}")
    return painter_of(config.source, like.class_names, like.shape, population), genes, shares, config.source.final


def best_of(config: Evolving, like: Images, population: Mapping[str, Any]) -> Images:
    """The candidate of each class with the most noisy votes, as it is."""
    labels = torch.arange(like.classes)
    painter = painter_of(config.source, like.class_names, like.shape, population)
    best = population["genes"][labels, population["shares"].argmax(1)]
    return Images(painter(best, labels).numpy(), labels.numpy(), like.class_names)


def draw_chunk(chunk: tuple[int, np.ndarray], shared: tuple[Painter, Tensor, Tensor, float]) -> Tensor:
    """One unit of synthesis: (seed, labels) to uint8 (N, H, W, C), each a variation of one of the last candidates."""
    (seed, labels_N), (painter, genes_KMG, shares_KM, strength) = chunk, shared
    generator, labels = torch.Generator().manual_seed(seed), torch.from_numpy(labels_N)
    parents = torch.multinomial(shares_KM[labels], 1, generator=generator)[:, 0]
    return painter(varied(genes_KMG[labels, parents], strength, generator), labels)


def unvoted(painter: Painter, genes_TKMG: Tensor, noisy_TKM: Tensor, blur: float, images: Images) -> Tensor:
    """How few noisy votes the candidates have that each image would vote for, (N, T): what an attacker who has all that
    was paid for would look at; smaller where an image is likelier to have voted."""
    found, labels_N = torch.empty(len(images), len(noisy_TKM), dtype=torch.float64), images.labels_N
    for step, (genes_KMG, noisy_KM) in enumerate(zip(genes_TKMG, noisy_TKM, strict=True)):
        for label in np.unique(labels_N).tolist():
            mine, genes_MG = np.flatnonzero(labels_N == label), genes_KMG[label]
            candidates = painter(genes_MG, torch.full((len(genes_MG),), label)).numpy()
            chosen = query.nearest(images.images_NHWC[mine], candidates, blur)
            found[torch.from_numpy(mine), step] = -noisy_KM[label, torch.from_numpy(chosen)]
    return found


def asked(config: Evolving, like: Images, found: Mapping[str, Any]) -> tuple[Painter, Tensor, Tensor, float]:
    """What each round asked, and what it was answered, for `unvoted`."""
    painter = painter_of(config.source, like.class_names, like.shape, found["rounds"])
    return painter, found["rounds"]["genes"], found["noisy"], config.votes.blur


def by_chance(setting: PrivateSetting, noisy_TKM: Tensor) -> list[str]:
    """Which classes have no last candidate that the threshold leaves a vote; from noisy counts alone."""
    least = setting.config.votes.threshold * setting.plan.noise(VOTES)
    silent = (noisy_TKM[-1] <= least).all(1).tolist()
    names = [name for name, none in zip(setting.dataset.train.class_names, silent, strict=True) if none]
    if not names:
        return []
    return [
        f"No candidate of class {', '.join(names)} had more noisy votes than --votes.threshold takes off: what is "
        "drawn of it was chosen by noise."
    ]
