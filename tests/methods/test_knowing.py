"""What weights know of images, of every method that says so: of each image by itself, whoever else is asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import blank_runs
import numpy as np
import pytest
import torch

from raysyn.data.images import DataConfig, Images, load
from raysyn.methods import matching
from raysyn.methods.denoising import LEVELS
from raysyn.methods.dp_feta import config as of_dp_feta
from raysyn.methods.dp_feta.model import knows as dp_feta
from raysyn.methods.dp_imgsyn.config import new_teacher
from raysyn.methods.dp_imgsyn.knowing import knows as dp_imgsyn
from raysyn.methods.dp_kernel.model import knows as dp_kernel
from raysyn.methods.dp_mepf.model import knows as dp_mepf
from raysyn.methods.dp_prototypes.model import knows as dp_prototypes
from raysyn.methods.embedded import knows as embedded
from raysyn.methods.evolution.pipeline import knows as evolution
from raysyn.methods.knowledge_recycling.config import Config as Recycling
from raysyn.methods.knowledge_recycling.knowing import knows as knowledge_recycling
from raysyn.methods.p3gm.config import new_network
from raysyn.methods.p3gm.model import knows as p3gm
from raysyn.methods.pigan.experiments import knows as pigan
from raysyn.methods.pigan.variants import released
from raysyn.methods.privimage import models
from raysyn.methods.privimage.knowing import knows as privimage
from raysyn.methods.warps import GENES
from raysyn.models.resnet import ResNetConfig
from raysyn.train import paired_networks

TINY = blank_runs.METHODS
SEEN = 576
"""Features of an image of 8 x 8 pixels: maps of the first layer and of six blocks."""
RECYCLING = Recycling(classifier=ResNetConfig(width=4))


def gan(config: Any, like: Images) -> dict[str, Any]:
    kind, parts = released(config).kind, config.penalty.parts
    return paired_networks.new_networks(kind, config.network, like.shape, like.classes, parts, 0).state_dict()


# Of each: what knows, its settings, weights by stage as a run would keep them, and how many measures.
CASES: dict[str, tuple[Callable[..., Any], Any, Callable[[Any, Images], dict[str, Any]], int]] = {
    "dp_feta": (
        dp_feta, TINY["dp_feta"].config,
        lambda config, like: {"finetune": {"ema": of_dp_feta.new_denoiser(config, like).state_dict()}}, LEVELS,
    ),
    "dp_feta_pro": (
        dp_feta, TINY["dp_feta_pro"].config,
        lambda config, like: {
            "finetune": {"ema": of_dp_feta.new_denoiser(config, like).state_dict()},
            "embedding": torch.randn(like.classes, config.frequency.features.count + 1).double(),
        }, LEVELS + 1,
    ),
    "evolution": (
        evolution, TINY["evolution"].config,
        lambda config, like: {
            "votes": {"rounds": {"genes": torch.randn(3, 10, 4, GENES).abs()}, "noisy": torch.randn(3, 10, 4).double()}
        }, 3,
    ),
    "dp_merf": (
        embedded, TINY["dp_merf"].config,
        lambda config, like: {"embedding": torch.randn(like.classes, config.features.count + 1).double()}, 1,
    ),
    "dp_ntk": (
        embedded, TINY["dp_ntk"].config,
        lambda config, like: {
            "embedding": torch.randn(like.classes, config.features.held(like.shape).features + 1).double()
        }, 1,
    ),
    "dp_mepf": (
        dp_mepf, TINY["dp_mepf"].config,
        lambda config, like: {
            "query": {"weights": config.query.network.build(1, 5).state_dict()},
            "means": torch.randn(like.classes, SEEN + 1).double(), "squares": torch.randn(like.classes, SEEN).double(),
        }, 1,
    ),
    "dp_kernel": (
        dp_kernel, TINY["dp_kernel"].config,
        lambda config, like: {
            "functions": {"model": matching.new_generator(config.network, like, config.seed).state_dict()}
        },
        1,
    ),
    "p3gm": (
        p3gm, TINY["p3gm"].config,
        lambda config, like: {"finetune": {"ema": new_network(config, like.shape, like.classes).state_dict()}}, 1,
    ),
    "privimage": (
        privimage, TINY["privimage"].config,
        lambda config, like: {"finetune": {"ema": models.new_denoiser(config, like, 12).state_dict()}}, LEVELS,
    ),
    "privimage_gan": (
        privimage, TINY["privimage_gan"].config,
        lambda config, like: {"finetune": {"model": models.new_gan(config, like)[1].state_dict()}}, 1,
    ),
    "dp_imgsyn": (
        dp_imgsyn, TINY["dp_imgsyn"].config,
        lambda config, like: {"teacher": {"ema": new_teacher(config, like).state_dict()}}, 1,
    ),
    "dp_prototypes": (
        dp_prototypes, TINY["dp_prototypes"].config,
        lambda config, like: {
            "query": {"weights": config.query.network.build(1, 5).state_dict()},
            "space": {"centre": torch.randn(32).double(), "directions": torch.randn(32, 4).double()},
            "means": torch.randn(like.classes, 4).double(),
        }, 1,
    ),
    "dpgan": (pigan, TINY["dpgan"].config, lambda config, like: {"generator": gan(config, like)}, 1),
    "knowledge_recycling": (
        knowledge_recycling, RECYCLING,
        lambda config, like: {
            stage: {"weights": config.classifier.build(like.shape[2], like.classes).state_dict()}
            for stage in ("teacher", "student")
        }, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_weights_tell_of_each_image_by_itself(name: str) -> None:
    knows, config, made, measures = CASES[name]
    digits = load(DataConfig(limit=20)).train
    torch.manual_seed(0)
    stages = made(config, digits)
    told = knows(config, digits.select([]), stages.__getitem__, digits)
    assert told.shape == (20, measures) and torch.isfinite(told).all()
    assert told[:, 0].unique().numel() > 1, "images differ"
    np.testing.assert_array_equal(told, knows(config, digits.select([]), stages.__getitem__, digits))
    few = knows(config, digits.select([]), stages.__getitem__, digits.select(np.arange(7)))
    np.testing.assert_allclose(told[:7], few, rtol=1e-4, atol=1e-4)


def test_a_generator_whose_discriminator_was_not_kept_knows_nothing() -> None:
    digits = load(DataConfig(limit=5)).train
    assert privimage(TINY["privimage_gan"].config, digits, {"finetune": {"partner": {}}}.__getitem__, digits) is None
