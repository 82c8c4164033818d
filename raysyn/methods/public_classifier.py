"""A classifier of public classes, trained on public images alone, or given: what PrivImage asks, and what DP-MEPF sees
images by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.common import Setting
from raysyn.models.classifiers import Classifier
from raysyn.train import semantic
from raysyn.train.naming import Naming
from raysyn.train.outlook import measure
from raysyn.train.semantic import QueryConfig

QUERY = "query"
"""The stage that trains it."""
MOST_SHARED = 0.01
"""Share of the private images that may be public ones too: a few are where both were gathered from the web."""
GIVEN = "query.checkpoint: the classifier of public classes was given, and counts as made without the private images"


def check_shift(config: QueryConfig, shape: tuple[int, int, int]) -> None:
    """ValueError where images of this shape would be moved further than their mirrored edges reach while it learns."""
    side = min(shape[:2])
    if config.checkpoint is None and config.shift >= side:
        raise ValueError(
            f"query.shift is {config.shift}, but public images are taken as {side} pixels a side: give at most "
            f"{side - 1}, an eighth of the side is usual"
        )


def new_query(config: Any, public: Public) -> Classifier:
    """It with its first weights, or those of `query.checkpoint`; ValueError where these do not fit."""
    torch.manual_seed(config.seed)
    network: Classifier = config.query.network.build(public.train.shape[2], public.train.classes)
    if config.query.checkpoint is not None:
        fill(network, given_weights(config.query), config.query, public.train.classes)
    return network


def given_weights(config: QueryConfig) -> dict[str, Tensor]:
    """Those of `query.checkpoint`; ValueError, in one sentence, where it holds none, or such as are not finite."""
    assert config.checkpoint is not None
    try:
        weights = dict(torch.load(Path(config.checkpoint).expanduser(), map_location="cpu", weights_only=True))
    except Exception as error:  # unpickling raises anything
        raise ValueError(
            f"query.checkpoint={config.checkpoint!r} holds no weights ({str(error).strip().splitlines()[0]})"
        ) from error
    for name, value in weights.items():
        if isinstance(value, Tensor) and not value.isfinite().all():
            raise ValueError(
                f"query.checkpoint={config.checkpoint!r} holds weights that are not finite, as {name}: its training "
                "went wrong, so give one that did not"
            )
    return weights


def fill(network: nn.Module, weights: dict[str, Tensor], config: QueryConfig, classes: int) -> None:
    """Load given weights; ValueError, in one sentence, where they are of another network."""
    try:
        network.load_state_dict(weights)
    except Exception as error:  # as may be what was pickled
        raise ValueError(
            f"query.checkpoint={config.checkpoint!r} holds no weights of query.network for {classes} classes "
            f"({str(error).strip().splitlines()[0]})"
        ) from error


def filled(config: QueryConfig, channels: int, weights: dict[str, Tensor]) -> Classifier:
    """One of so many colour channels, and of as many classes as these weights are of."""
    head = weights.get("head.weight")
    classes = len(head) if isinstance(head, Tensor) and head.ndim == 2 and len(head) else 1
    network = config.network.build(channels, classes)
    fill(network, weights, config, classes)
    return network


def given_query(config: QueryConfig, channels: int) -> Classifier:
    """That of `query.checkpoint`, where no public images are read; ValueError where it holds none."""
    return filled(config, channels, given_weights(config))


def check_sees(config: QueryConfig, seen: Callable[[Tensor], Tensor], like: Images) -> None:
    """ValueError, in one sentence, where the classifier that was given sees nothing in a made-up image, by what `seen`
    says of images (N, C, H, W) in [0, 1]: that would be paid for."""
    with torch.inference_mode():
        noise = torch.rand(1, like.shape[2], *like.shape[:2], generator=torch.Generator().manual_seed(0))
        rows = seen(noise)
    if not rows.isfinite().all() or not rows.any():
        what = "nothing" if rows.isfinite().all() else "what is not finite"
        raise ValueError(
            f"query.checkpoint={config.checkpoint!r} is a classifier that sees {what} in a made-up image of noise: "
            "give one that was trained"
        )


def train_query(setting: Setting, public: Public) -> tuple[Classifier, list[dict[str, float]]]:
    """It, trained on public images unless it was given, and how that went."""
    config = setting.config
    network = new_query(config, public)
    if config.query.checkpoint is not None:
        return network, []
    fit = partial(setting.compute.train, semantic.fit, network, public.train, public.valid, config.query)
    trained = setting.folder.stage(QUERY, lambda: fit(config.seed, name=QUERY))
    network.load_state_dict(trained["weights"])
    setting.console.stage(QUERY, f"{100 * trained['accuracy']:.1f} % of {len(public.valid):,} public images recognised")
    return network, trained["history"]


def teaching_seconds(config: Any, like: Images, public: Public) -> float:
    """Of the classifier of public images, in the shape of others."""
    network: nn.Module = new_query(config, public)
    pace = measure(network, Naming(), like.shape)
    return float(config.query.epochs * (len(public.train) * pace.gradient_s + len(public.valid) * pace.call_s))
