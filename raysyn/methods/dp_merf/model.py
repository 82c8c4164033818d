"""DP-MERF's answer: what is asked, and what it says of single images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from raysyn.data.images import Images
from raysyn.methods.dp_merf.config import Config
from raysyn.methods.embedded import resemblance
from raysyn.privacy.mechanisms import Embedded
from raysyn.privacy.queries.embedding import EMBEDDING


def asked_of(config: Config) -> Embedded:
    """The only question."""
    return Embedded(config.embedding, config.features, config.seed)


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How much each image's features point to the noisy sum of its class, which is all that was asked of them."""
    return resemblance(asked_of(config), answer(EMBEDDING).numpy(), images)
