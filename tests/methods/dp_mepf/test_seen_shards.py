"""What is summed of the private images, shard by shard and block by block: as if all had been one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raysyn.data.images import Images
from raysyn.methods.dp_mepf.config import Config
from raysyn.methods.dp_mepf.model import features_of
from raysyn.methods.perceiving import resemblance, seen_shard
from raysyn.models.perceptual import Perceptual
from raysyn.models.semantic import SemanticNetConfig
from raysyn.privacy.queries.perceptual import MEANS, SQUARES, FeatureMomentsConfig
from raysyn.train import perceptual
from raysyn.train.semantic import QueryConfig

CONFIG = Config(query=QueryConfig(network=SemanticNetConfig(name="resnet14", width=1)))
N = 11


def private(persons: bool) -> Images:
    """Of two classes out of three, images of one person far apart."""
    rng = np.random.default_rng(0)
    whose = np.array([0, 1, 2, 0, 1, 3, 0, 2, 3, 3, 0]) if persons else None
    pixels, labels = rng.integers(0, 256, (N, 8, 8, 1), dtype=np.uint8), rng.integers(0, 2, N)
    return Images(pixels, labels, ("a", "b", "c"), whose, np.arange(4 if persons else N) == 1)


def seeing(config: Config) -> Perceptual:
    torch.manual_seed(0)
    return features_of(config, config.query.network.build(1, 4))


def alone(features: Perceptual, images: Images, number: int) -> list[np.ndarray]:
    """What is seen in one image by itself."""
    with torch.inference_mode():
        pixels = torch.from_numpy(images.images_NHWC[number] / 255).float().movedim(-1, 0)[None]
        return [one[0].numpy() for one in features.both(pixels, precise=True)]


@pytest.mark.parametrize(("block", "persons", "share"), [(2, True, 0.5), (3, True, 0.0), (3, False, 0.5)])
def test_shards_add_up_to_the_sum_of_images_one_at_a_time(
    block: int, persons: bool, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Persons have images in several shards, somebody is absent, and a shard is seen in several blocks."""
    monkeypatch.setattr(perceptual, "BATCH", block)
    config = replace(CONFIG, moments=FeatureMomentsConfig(squares_share=share, count_share=0.3))
    images, features = private(persons), seeing(config)
    counts = [1.0] * N if images.persons_N is None else 1 / np.bincount(images.persons_N)[images.persons_N]
    there = np.arange(N) != 1 if images.persons_N is None else images.persons_N != 1
    wanted = {MEANS: np.zeros((3, features.count((8, 8, 1)) + 1)), SQUARES: np.zeros((3, features.count((8, 8, 1))))}
    for number, (label, weight) in enumerate(zip(images.labels_N, counts * there, strict=True)):
        means, *squares = alone(features, images, number)
        wanted[MEANS][label] += weight * np.append(means, 0.3)
        for one in squares:
            wanted[SQUARES][label] += weight * one
    shards = [seen_shard(ends, (features, images, config.moments)) for ends in ((0, 5), (5, 6), (6, N))]
    for stage in config.moments.stages():
        found = sum(shard[stage].numpy() for shard in shards)
        np.testing.assert_allclose(found, wanted[stage], atol=1e-5)
    assert all(set(shard) == set(config.moments.stages()) for shard in shards)


@pytest.mark.parametrize("block", [2, 3])
def test_many_images_resemble_the_answers_as_each_does_alone(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "BATCH", block)
    images, features, rng = private(False), seeing(CONFIG), np.random.default_rng(1)
    count = features.count((8, 8, 1))
    answers = {MEANS: rng.normal(size=(3, count + 1)), SQUARES: rng.normal(size=(3, count))}
    single = [resemblance(CONFIG.moments, features, answers, images.select(slice(one, one + 1))) for one in range(N)]
    torch.testing.assert_close(resemblance(CONFIG.moments, features, answers, images), torch.cat(single))
    assert len(torch.cat(single).unique()) == N
