"""DP-MEPF's answers: what is asked, what they say of classes, and of single images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_mepf.config import Config
from raysyn.methods.matching import counts_of
from raysyn.methods.public_classifier import QUERY, filled, given_query
from raysyn.models.classifiers import Classifier
from raysyn.models.perceptual import Perceptual
from raysyn.privacy import units
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import perceptual
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.queries.perceptual import MEANS, SQUARES, FeatureMomentsConfig, sensitivity
from raysyn.train.perceptual import perceived

SHARD = 4000
"""Private images per unit of inference."""


def features_of(config: Config, network: Classifier) -> Perceptual:
    """What `network` sees in an image, and its squares where these are asked for."""
    return Perceptual(network, SQUARES in config.moments.stages())


def ask(setting: PrivateSetting, features: Perceptual) -> dict[str, Floats]:
    """The noisy sums, by stage: each answer is paid for, stored, and never asked for again."""
    config, private, plan = setting.config, setting.dataset.train, setting.plan
    shards = [(start, min(start + SHARD, len(private))) for start in range(0, len(private), SHARD)]
    shared = (features.cpu(), private, config.moments)
    sizes = [end - start for start, end in shards]
    look = cache(partial(setting.compute.map, seen_shard, shards, name=MEANS, shared=shared, sizes=sizes))

    def paid(stage: str) -> Tensor:
        exact = [{name: sums.numpy() for name, sums in shard.items()} for shard in look()]
        stream = Stream(setting.folder.secret, stage)
        asked = perceptual.noisy_sums(private, stage, exact, config.moments, plan.stages[stage], stream)
        return torch.from_numpy(setting.ledger.pay(stage, asked))

    found = {}
    for stage in config.moments.stages():
        found[stage] = setting.folder.stage(stage, partial(paid, stage)).numpy()
        setting.console.stage(stage, f"{found[stage].shape[1]:,} numbers of each class, {setting.spent()}")
    return found


def seen_shard(shard: tuple[int, int], shared: tuple[Perceptual, Images, FeatureMomentsConfig]) -> dict[str, Tensor]:
    """One unit of inference: the exact sums of some private images, which stay inside."""
    (start, end), (features, private, config) = shard, shared
    # Of all images: a shard may hold some of a person's.
    part, weights_N = private.select(slice(start, end)), units.weights(private)[start:end]
    rows = perceived(features, part.images_NHWC, best_device())
    sums = perceptual.class_sums(rows, part.labels_N, weights_N, part.classes, config)
    return {stage: torch.from_numpy(one) for stage, one in sums.items()}


def class_moments(answers: Mapping[str, Floats], config: Config, plan: Plan, n: int) -> Floats:
    """Mean features of each class of `n` images, or persons, and beside them its mean squares: post-processing."""
    asked, share = config.moments, config.moments.count_share
    noise_std = plan.noise(MEANS) * sensitivity(asked, MEANS)
    counts_K1 = counts_of(answers[MEANS], share, noise_std, n)[:, None]
    return np.concatenate([without_count(answers, stage, asked) / counts_K1 for stage in answers], axis=1)


def without_count(answers: Mapping[str, Floats], stage: str, config: FeatureMomentsConfig) -> Floats:
    """An answer's features alone."""
    answer_KF = answers[stage]
    return answer_KF[:, :-1] if config.constant(stage) else answer_KF


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How much each image's features point to the noisy sums of its class, which is all that was asked of them."""
    channels = like.shape[2]
    if config.query.checkpoint is None:
        network = filled(config.query, channels, answer(QUERY)["weights"])
    else:
        network = given_query(config.query, channels)
    answers = {stage: answer(stage).numpy() for stage in config.moments.stages()}
    return resemblance(config, features_of(config, network), answers, images)


def resemblance(config: Config, features: Perceptual, answers: Mapping[str, Floats], images: Images) -> Tensor:
    """That, (N, 1), each answer as far as its noise lets one see."""
    asked, share = config.moments, config.moments.squares_share
    clear = {MEANS: (1 - share) / sensitivity(asked, MEANS) ** 2, SQUARES: share / sensitivity(asked, SQUARES) ** 2}
    known = [clear[stage] * without_count(answers, stage, asked) for stage in answers]
    found, at = [np.zeros(0)], 0
    for block in perceived(features, images.images_NHWC, best_device()):
        labels_B = images.labels_N[at : at + len(block[0])]
        pairs = zip(block, known, strict=True)
        found.append(sum(np.einsum("bf,bf->b", rows_BF, known_KF[labels_B]) for rows_BF, known_KF in pairs))
        at += len(labels_B)
    return torch.from_numpy(np.concatenate(found)).float()[:, None]


def unlike(config: Config, features: Perceptual, answers: Mapping[str, Floats], images: Images) -> Tensor:
    """The same for guesses about canaries: smaller where an image was in the sums."""
    return -resemblance(config, features, answers, images)
