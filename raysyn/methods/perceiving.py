"""Noisy sums of what a public network sees in the private images, as methods ask for them and read the answers
(DP-MEPF, prototypes): what they say of single images, too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods import outlook as shared
from raysyn.methods.common import PrivateSetting
from raysyn.models.discriminant import Discriminant
from raysyn.models.perceptual import Perceptual
from raysyn.privacy import units
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import perceptual
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.queries.perceptual import MEANS, SQUARES, FeatureMomentsConfig, sensitivity
from raysyn.train.memory import at_once
from raysyn.train.outlook import one_thread, seconds
from raysyn.train.perceptual import BATCH, perceived

SHARD = 4000
"""Private images per unit of inference."""
Seeing = Perceptual | Discriminant
"""What sees an image as vectors of norm 1 at most, one for each question."""


def ask(setting: PrivateSetting, features: Seeing, asked: FeatureMomentsConfig) -> dict[str, Floats]:
    """The noisy sums, by stage: each answer is paid for, stored, and never asked for again."""
    private, plan = setting.dataset.train, setting.plan
    shards = [(start, min(start + SHARD, len(private))) for start in range(0, len(private), SHARD)]
    shared_by_all = (features.cpu(), private, asked)
    sizes = [end - start for start, end in shards]
    look = cache(partial(setting.compute.map, seen_shard, shards, name=MEANS, shared=shared_by_all, sizes=sizes))

    def paid(stage: str) -> Tensor:
        exact = [{name: sums.numpy() for name, sums in shard.items()} for shard in look()]
        stream = Stream(setting.folder.secret, stage)
        noisy = perceptual.noisy_sums(private, stage, exact, asked, plan.stages[stage], stream)
        return torch.from_numpy(setting.ledger.pay(stage, noisy))

    found = {}
    for stage in asked.stages():
        found[stage] = setting.folder.stage(stage, partial(paid, stage)).numpy()
        setting.console.stage(stage, f"{found[stage].shape[1]:,} numbers of each class, {setting.spent()}")
    return found


def seen_shard(shard: tuple[int, int], shared: tuple[Seeing, Images, FeatureMomentsConfig]) -> dict[str, Tensor]:
    """One unit of inference: the exact sums of some private images, which stay inside."""
    (start, end), (features, private, config) = shard, shared
    # Of all images: a shard may hold some of a person's.
    part, weights_N = private.select(slice(start, end)), units.weights(private)[start:end]
    rows = perceived(features, part.images_NHWC, best_device())
    sums = perceptual.class_sums(rows, part.labels_N, weights_N, part.classes, config)
    return {stage: torch.from_numpy(one) for stage, one in sums.items()}


def without_count(answers: Mapping[str, Floats], stage: str, config: FeatureMomentsConfig) -> Floats:
    """An answer's features alone."""
    answer_KF = answers[stage]
    return answer_KF[:, :-1] if config.constant(stage) else answer_KF


def resemblance(
    asked: FeatureMomentsConfig, features: Seeing, answers: Mapping[str, Floats], images: Images
) -> Tensor:  # fmt: skip
    """How much each image's features point to the noisy sums of its class, (N, 1), each answer as far as its noise lets
    one see."""
    share = asked.squares_share
    clear = {MEANS: (1 - share) / sensitivity(asked, MEANS) ** 2, SQUARES: share / sensitivity(asked, SQUARES) ** 2}
    known = [clear[stage] * without_count(answers, stage, asked) for stage in answers]
    found, at = [np.zeros(0)], 0
    for block in perceived(features, images.images_NHWC, best_device()):
        labels_B = images.labels_N[at : at + len(block[0])]
        pairs = zip(block, known, strict=True)
        found.append(sum(np.einsum("bf,bf->b", rows_BF, known_KF[labels_B]) for rows_BF, known_KF in pairs))
        at += len(labels_B)
    return torch.from_numpy(np.concatenate(found)).float()[:, None]


def unlike(
    asked: FeatureMomentsConfig, features: Seeing, answers: Mapping[str, Floats], images: Images
) -> Tensor:  # fmt: skip
    """The same for guesses about canaries: smaller where an image was in the sums."""
    return -resemblance(asked, features, answers, images)


def asking_seconds(asked: FeatureMomentsConfig, like: Images, features: Seeing) -> float:
    """Of the sums for all questions, on a few made-up images."""
    few = shared.made_up(like, min(len(like), at_once(BATCH, like.shape)))
    given = (features.to(best_device()), few, asked)
    with one_thread():
        spent = seconds(lambda: seen_shard((0, len(few)), given), repeats=1)
    return spent * len(like) / len(few)


def resembling_seconds(asked: FeatureMomentsConfig, like: Images, features: Seeing, count: int) -> float:
    """Of saying how like the answer `count` images are, which is most of what was asked of them before."""
    return asking_seconds(asked, like, features) * count / len(like)
