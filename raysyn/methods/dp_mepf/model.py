"""DP-MEPF's answers: what is asked, what they say of classes, and of single images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from raysyn.data.images import Images
from raysyn.methods.dp_mepf.config import Config
from raysyn.methods.matching import counts_of
from raysyn.methods.perceiving import resemblance, without_count
from raysyn.methods.public_classifier import QUERY, filled, given_query
from raysyn.models.classifiers import Classifier
from raysyn.models.perceptual import Perceptual
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.queries.perceptual import MEANS, SQUARES, sensitivity


def features_of(config: Config, network: Classifier) -> Perceptual:
    """What `network` sees in an image, and its squares where these are asked for."""
    return Perceptual(network, SQUARES in config.moments.stages())


def class_moments(answers: Mapping[str, Floats], config: Config, plan: Plan, n: int) -> Floats:
    """Mean features of each class of `n` images, or persons, and beside them its mean squares: post-processing."""
    asked, share = config.moments, config.moments.count_share
    noise_std = plan.noise(MEANS) * sensitivity(asked, MEANS)
    counts_K1 = counts_of(answers[MEANS], share, noise_std, n)[:, None]
    return np.concatenate([without_count(answers, stage, asked) / counts_K1 for stage in answers], axis=1)


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How much each image's features point to the noisy sums of its class, which is all that was asked of them."""
    channels = like.shape[2]
    if config.query.checkpoint is None:
        network = filled(config.query, channels, answer(QUERY)["weights"])
    else:
        network = given_query(config.query, channels)
    answers = {stage: answer(stage).numpy() for stage in config.moments.stages()}
    return resemblance(config.moments, features_of(config, network), answers, images)
