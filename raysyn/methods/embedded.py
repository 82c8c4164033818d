"""The noisy mean embedding, as methods ask for it and read the answer (DP-MERF, DP-NTK, and DP-FETA's second warm-up):
what it says of classes and of single images, and what asking costs in time and memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.data.fourier import FourierConfig, Waves
from raysyn.data.images import Images
from raysyn.data.tangent import Tangent, TangentConfig
from raysyn.methods import matching
from raysyn.methods import outlook as shared
from raysyn.methods.common import PrivateSetting
from raysyn.methods.matching import GENERATOR, Taught, counts_of
from raysyn.methods.needs import Shape
from raysyn.metrics.utility import EvalConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Plan
from raysyn.privacy.mechanisms import Embedded, Mechanism
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import embedding
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.queries.embedding import BLOCK, EMBEDDING, EmbeddingConfig, embedding_sums, sensitivity
from raysyn.privacy.queries.noise import Floats
from raysyn.screen.words import so_many
from raysyn.train.embedding import Fourier, MatchConfig
from raysyn.train.memory import Need
from raysyn.train.outlook import seconds
from raysyn.train.tangent import Tangents


class MeanEmbedding(Protocol):
    """The settings of a method that asks this."""

    @property
    def embedding(self) -> EmbeddingConfig: ...
    @property
    def features(self) -> FourierConfig | TangentConfig: ...
    @property
    def network(self) -> UpsamplerConfig: ...
    @property
    def training(self) -> MatchConfig: ...
    @property
    def eval(self) -> EvalConfig: ...
    @property
    def synthetic(self) -> int: ...
    @property
    def seed(self) -> int: ...


def asked_of(config: MeanEmbedding) -> Embedded:
    """The only question."""
    return Embedded(config.embedding, config.features, config.seed)


def ask(setting: PrivateSetting, asked: Embedded) -> tuple[Floats, nn.Module]:
    """The noisy sums (K, features, and a count where there is one), as a stage that is paid for, stored, and never
    asked for again; and the features, for generated images."""
    private, plan, folder = setting.dataset.train, setting.plan, setting.folder
    of = asked.features.of(private.shape, asked.seed)
    question = partial(embedding.embedding_sums, private, of, asked.config, plan.stages[EMBEDDING])

    def paid() -> Tensor:
        return torch.from_numpy(setting.ledger.pay(EMBEDDING, question(Stream(folder.secret, EMBEDDING))))

    answer_KF: Floats = folder.stage(EMBEDDING, paid).numpy()
    setting.console.stage(EMBEDDING, f"{of.size:,} features of {so_many(private.classes, 'class')}, {setting.spent()}")
    return answer_KF, generated(of)


def generated(of: Waves | Tangent) -> nn.Module:
    """The same features, of generated images."""
    return Fourier(of.radians()) if isinstance(of, Waves) else Tangents(of)


def class_embeddings(answer_KF: Floats, config: EmbeddingConfig, plan: Plan, n: int) -> Floats:
    """Mean features of each class of `n` images, or persons, from the answer of `embedding_sums`: post-processing."""
    share, noise_std = config.count_share, plan.noise(EMBEDDING) * sensitivity(config)
    sums_KF = answer_KF[:, :-1] if share else answer_KF
    means_KF: Floats = sums_KF / counts_of(answer_KF, share, noise_std, n)[:, None]
    return means_KF


def mechanisms(config: MeanEmbedding, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`."""
    return {EMBEDDING: asked_of(config), COUNTS: None}


def knows(config: MeanEmbedding, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How much each image's features point to the noisy sum of its class, which is all that was asked of them."""
    return resemblance(asked_of(config), answer(EMBEDDING).numpy(), images)


def resemblance(asked: Embedded, answer_KF: Floats, images: Images) -> Tensor:
    """That, (N, 1)."""
    of, found = asked.features.of(images.shape, asked.seed), [np.zeros(0)]
    for at in range(0, len(images), 250):
        some = slice(at, at + 250)
        found.append(of.along(images.images_NHWC[some], images.labels_N[some], answer_KF))
    return torch.from_numpy(np.concatenate(found)).float()[:, None]


def unlike(asked: Embedded, answer_KF: Floats, images: Images) -> Tensor:
    """The same for guesses about canaries: smaller where an image was in the sum."""
    return -resemblance(asked, answer_KF, images)


def needs(asked: Embedded, how: Taught, shape: Shape, classes: int) -> list[Need]:
    """What the question and the training of the generator hold, on images of `shape`."""
    held = asked.features.held(shape)
    weights, answer = 8 * held.weights, 8 * classes * held.features
    image = 4 * held.image + matching.image_bytes(how.network, shape)
    batch = how.training.batch_size
    # Of each class and layer products of any two images, twice, until gradients are known, and what these need; or,
    # where they are fewer numbers, sums of features.
    pairs = 4 * (2 * classes + 3) * min(held.layers * math.ceil(batch / classes) ** 2, held.features)
    learning = weights + 2 * answer + matching.weight_bytes(how.network, shape) + batch * image + pairs
    return [
        Need(EMBEDDING, 2 * weights + 3 * answer + BLOCK * 8 * held.image, held.words),
        Need(GENERATOR, learning, f"a batch of {batch:,} images"),
    ]


def stages(asked: Embedded, how: Taught, like: Images) -> list[shared.Stage]:
    """Both as they would take here, from measurements that read no image."""
    of = asked.features.blank(like.shape)
    return [
        shared.alone(EMBEDDING, asking_seconds(asked, like)),
        shared.alone(GENERATOR, matching.learning_seconds(how, like, generated(of), of.size)),
    ]


def asking_seconds(asked: Embedded, like: Images) -> float:
    """Of the question, on a few made-up images. Its noise is thrown away with them."""
    few, stream = shared.made_up(like, min(len(like), BLOCK)), Stream(bytes(32), "outlook")
    price = Cost(mechanism="", noise_multiplier=1.0, sampling_rate=1.0, steps=1)
    of = asked.features.blank(like.shape)
    spent = seconds(lambda: embedding_sums(few, of, asked.config, price, stream), repeats=1)
    return spent * len(like) / len(few)


def resembling_seconds(asked: Embedded, like: Images, count: int) -> float:
    """Of saying how like the answer `count` images are, which is most of what was asked of them before."""
    return asking_seconds(asked, like) * count / len(like)
