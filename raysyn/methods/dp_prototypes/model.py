"""Prototypes: the space that public classes span, what noisy sums in it say of public images, and which are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_prototypes.config import Config
from raysyn.methods.matching import counts_of
from raysyn.methods.perceiving import resemblance, without_count
from raysyn.methods.public_classifier import QUERY, filled, given_query
from raysyn.models.classifiers import Classifier
from raysyn.models.discriminant import Discriminant
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.queries.perceptual import MEANS, sensitivity
from raysyn.screen.ended import Ended
from raysyn.train.discriminant import class_sums, directions
from raysyn.train.perceptual import perceived

SPACE, LABELS = "space", "label"
"""Stages that read public images alone, and what was paid for."""
SHARD = 4000
"""Public images per unit of inference."""


class SeesNoClasses(Ended, ValueError):
    """The classifier of public images sees no difference between their classes."""


def shards(images: Images) -> list[tuple[int, int]]:
    """Parts of the public images."""
    return [(start, min(start + SHARD, len(images))) for start in range(0, len(images), SHARD)]


def space_of(setting: PrivateSetting, network: Classifier, public: Public) -> Discriminant:
    """How images are seen: the features of the classifier along the directions that tell public classes apart."""
    asked, parts = setting.config.prototypes, shards(public.train)

    def found() -> dict[str, Tensor]:
        sums = setting.compute.map(class_sums, parts, name=SPACE, shared=(network, public.train))
        centre_D, directions_DF = directions(sums, asked.shrinkage, asked.features)
        return {"centre": centre_D, "directions": directions_DF}

    stored = setting.folder.stage(SPACE, found)
    seen, kept = stored["directions"].shape
    if not kept:
        given = setting.config.query.checkpoint is not None
        mend = "another one" if given else "another --query.learning-rate or more --query.epochs"
        raise SeesNoClasses(
            "the classifier sees no difference between public classes, so that nothing is asked: its training went "
            f"wrong, so give {mend}"
        )
    setting.console.stage(SPACE, f"{kept} of {seen} directions, in which public classes differ most")
    return Discriminant(network, stored["centre"], stored["directions"])


def blank_space(config: Config, like: Images) -> Discriminant:
    """One of a classifier that has learned nothing, of as many features as there may be; always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = config.query.network.build(like.shape[2], 1)
        width = network.head.in_features
        axes_DF = torch.linalg.qr(torch.randn(width, width)).Q[:, : config.prototypes.features]
    return Discriminant(network, torch.zeros(width), axes_DF)


def prototypes(answers: Mapping[str, Floats], config: Config) -> Floats:
    """A direction for each private class, (K, F) of norm 1: post-processing of the noisy sums."""
    sums_KF = without_count(answers, MEANS, config.prototypes.asked())
    units_KF: Floats = sums_KF / np.linalg.norm(sums_KF, axis=1, keepdims=True)
    return units_KF


def log_shares(answers: Mapping[str, Floats], config: Config, plan: Plan, n: int) -> Floats:
    """How likely each class is before an image is seen, (K,), of `n` images or persons: alike unless the prior is asked
    for."""
    share, asked = config.prototypes.count_share, config.prototypes.asked()
    if not config.prototypes.prior:
        return np.zeros(len(answers[MEANS]))
    noisy_K: Floats = np.log(counts_of(answers[MEANS], share, plan.noise(MEANS) * sensitivity(asked, MEANS), n))
    return noisy_K


def along(space: Discriminant, prototypes_KF: Floats, images: Images) -> NDArray[np.float32]:
    """The cosine of each image to each prototype, (N, K)."""
    found = [np.zeros((0, len(prototypes_KF)), np.float32)]
    for (rows_BF,) in perceived(space, images.images_NHWC[:], best_device()):
        found.append((rows_BF @ prototypes_KF.T).astype(np.float32))
    return np.concatenate(found)


def score_shard(shard: tuple[int, int], shared: tuple[Discriminant, Floats, Images]) -> Tensor:
    """One unit: `along` of some public images."""
    (start, end), (space, prototypes_KF, public) = shard, shared
    return torch.from_numpy(along(space, prototypes_KF, public.select(slice(start, end))))


def standing(scores_NK: NDArray[np.float32]) -> tuple[Floats, float]:
    """(mean score of each class over the public images, the mean of their standard deviations), at least tiny."""
    scores = scores_NK.astype(np.float64)
    return scores.mean(0), max(float(scores.std(0).mean()), 1e-12)


def soft_labels(
    scores_NK: NDArray[np.float32], config: Config, shares_K: Floats, stand: tuple[Floats, float]
) -> NDArray[np.float32]:  # fmt: skip
    """Probabilities of each private class, (N, K), from scores that are centred by class and divided by their spread,
    by the `standing` of all public images: else a class that all of these resemble would have them all."""
    means_K, spread = stand
    logits_NK = (scores_NK - means_K) / (spread * config.prototypes.temperature) + shares_K
    odds_NK = np.exp(logits_NK - logits_NK.max(1, keepdims=True))
    return (odds_NK / odds_NK.sum(1, keepdims=True)).astype(np.float32)


def chosen(soft_NK: NDArray[np.float32], count: int, choice: str, seed: int) -> NDArray[np.int64]:
    """Which public images are released, in random order: each class in turn takes the image whose label says it most
    of those that are left, or any are."""
    rng = np.random.default_rng([seed, 7])
    order = rng.permutation(len(soft_NK))
    if choice == "random":
        return order[:count]
    # Of those alike the first of a random order.
    wishes_NK = order[np.argsort(-soft_NK[order], axis=0, kind="stable")]
    at_K, taken, found = np.zeros(soft_NK.shape[1], np.int64), np.zeros(len(soft_NK), bool), list[int]()
    for turn in range(count):
        label = turn % len(at_K)
        while taken[one := wishes_NK[at_K[label], label]]:
            at_K[label] += 1
        taken[one] = True
        found.append(int(one))
    return rng.permutation(np.array(found, np.int64))


def share_right(_: None, shared: tuple[Discriminant, Floats, Config, Floats, tuple[Floats, float], Images]) -> float:
    """One unit: how many of the real test images the prototypes themselves name rightly."""
    space, prototypes_KF, config, shares_K, stand, test = shared
    soft = soft_labels(along(space, prototypes_KF, test), config, shares_K, stand)
    return float((soft.argmax(1) == test.labels_N).mean())


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How much each image's features point to the noisy sum of its class, which is all that was asked of them."""
    channels = like.shape[2]
    if config.query.checkpoint is None:
        network = filled(config.query, channels, answer(QUERY)["weights"])
    else:
        network = given_query(config.query, channels)
    stored, asked = answer(SPACE), config.prototypes.asked()
    space = Discriminant(network, stored["centre"], stored["directions"])
    return resemblance(asked, space, {MEANS: answer(MEANS).numpy()}, images)


def looks(config: Config, like: Images) -> Any:
    """Images to their features, as a question of made-up ones takes them: by first weights, which see no more than
    others by norm."""
    return partial(perceived, blank_space(config, like), device=torch.device("cpu"))
