"""The noisy mean embedding, as methods ask for it and read the answer (DP-MERF, and DP-FETA's second warm-up): what it
says of classes and of single images, and what asking costs in time and memory."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from raysyn.data.fourier import Waves, waves
from raysyn.data.images import Images
from raysyn.methods import matching
from raysyn.methods import outlook as shared
from raysyn.methods.common import PrivateSetting
from raysyn.methods.matching import GENERATOR, Taught, counts_of
from raysyn.methods.needs import Shape
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Plan
from raysyn.privacy.mechanisms import Embedded
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import embedding
from raysyn.privacy.queries.embedding import BLOCK, EMBEDDING, EmbeddingConfig, embedding_sums, sensitivity
from raysyn.privacy.queries.noise import Floats
from raysyn.train.embedding import Fourier
from raysyn.train.memory import Need
from raysyn.train.outlook import seconds


def ask(setting: PrivateSetting, asked: Embedded) -> tuple[Floats, Fourier]:
    """The noisy sums (K, features, and a count where there is one), as a stage that is paid for, stored, and never
    asked for again; and the features, for generated images."""
    private, plan, folder = setting.dataset.train, setting.plan, setting.folder
    of = waves(asked.features, private.shape, asked.seed)
    question = partial(embedding.embedding_sums, private, of, asked.config, plan.stages[EMBEDDING])

    def paid() -> Tensor:
        return torch.from_numpy(setting.ledger.pay(EMBEDDING, question(Stream(folder.secret, EMBEDDING))))

    answer_KF: Floats = folder.stage(EMBEDDING, paid).numpy()
    setting.console.stage(
        EMBEDDING, f"{asked.features.count:,} features of {private.classes} classes, {setting.spent()}"
    )
    return answer_KF, Fourier(of.radians())


def class_embeddings(answer_KF: Floats, config: EmbeddingConfig, plan: Plan, n: int) -> Floats:
    """Mean features of each class of `n` images, or persons, from the answer of `embedding_sums`: post-processing."""
    share, noise_std = config.count_share, plan.noise(EMBEDDING) * sensitivity(config)
    sums_KF = answer_KF[:, :-1] if share else answer_KF
    means_KF: Floats = sums_KF / counts_of(answer_KF, share, noise_std, n)[:, None]
    return means_KF


def resemblance(asked: Embedded, answer_KF: Floats, images: Images) -> Tensor:
    """How much each image's features point to the noisy sum of its class, which is all that was asked of them:
    (N, 1)."""
    of = waves(asked.features, images.shape, asked.seed)
    size = 2 * of.cycles_PW.shape[1]
    found = [np.zeros(0)]
    for at in range(0, len(images), 250):
        some = slice(at, at + 250)
        known_BF = answer_KF[images.labels_N[some], :size]
        found.append(np.einsum("nf,nf->n", of.features(images.images_NHWC[some]), known_BF))
    return torch.from_numpy(np.concatenate(found)).float()[:, None]


def unlike(asked: Embedded, answer_KF: Floats, images: Images) -> Tensor:
    """The same for guesses about canaries: smaller where an image was in the sum."""
    return -resemblance(asked, answer_KF, images)


def needs(asked: Embedded, how: Taught, shape: Shape, classes: int) -> list[Need]:
    """What the question and the training of the generator hold, on images of `shape`."""
    pixels, count = math.prod(shape), asked.features.count
    some_waves, answer = 4 * pixels * count, 8 * classes * count
    image = 4 * 2 * count + matching.image_bytes(how.network, shape)
    learning = some_waves + 2 * answer + matching.weight_bytes(how.network, shape) + how.training.batch_size * image
    return [
        Need(EMBEDDING, 2 * some_waves + 3 * answer + BLOCK * 16 * count, f"{count:,} waves of {pixels:,} pixels"),
        Need(GENERATOR, learning, f"a batch of {how.training.batch_size:,} images"),
    ]


def stages(asked: Embedded, how: Taught, like: Images) -> list[shared.Stage]:
    """Both as they would take here, from measurements that read no image."""
    features = Fourier(_some_waves(asked, like).radians())
    return [
        shared.alone(EMBEDDING, asking_seconds(asked, like)),
        shared.alone(GENERATOR, matching.learning_seconds(how, like, features, asked.features.count)),
    ]


def asking_seconds(asked: Embedded, like: Images) -> float:
    """Of the question, on a few made-up images. Its noise is thrown away with them."""
    few, stream = shared.made_up(like, min(len(like), BLOCK)), Stream(bytes(32), "outlook")
    price = Cost(mechanism="", noise_multiplier=1.0, sampling_rate=1.0, steps=1)
    of = _some_waves(asked, like)
    spent = seconds(lambda: embedding_sums(few, of, asked.config, price, stream), repeats=1)
    return spent * len(like) / len(few)


def resembling_seconds(asked: Embedded, like: Images, count: int) -> float:
    """Of saying how like the answer `count` images are, which is most of what was asked of them before."""
    return asking_seconds(asked, like) * count / len(like)


def _some_waves(asked: Embedded, like: Images) -> Waves:
    """As many as there will be, and none of them."""
    return Waves(np.zeros((math.prod(like.shape), asked.features.count // 2)))
