"""A machine that is told to go: a training saves what it has done, beside the states that it saves anyway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from halves import halves

from raysyn.compute.local import LocalWorker, Store
from raysyn.compute.worker import Worker
from raysyn.data.fourier import FourierConfig, waves
from raysyn.models.biggan import BigGANConfig
from raysyn.models.dcgan import DCGANConfig
from raysyn.models.resnet import ResNetConfig, resnet
from raysyn.models.semantic import SemanticNetConfig
from raysyn.models.upsampler import Upsampler, UpsamplerConfig
from raysyn.train import conditional_gans, embedding, gan, recipe, semantic

Fit = Callable[[Worker], Any]


def matched(worker: Worker) -> Any:
    torch.manual_seed(0)
    features = waves(FourierConfig(count=8), (8, 8, 1), 0)
    wanted = features.features(np.stack([np.zeros((8, 8, 1), np.uint8), np.full((8, 8, 1), 255, np.uint8)]))
    network = Upsampler(UpsamplerConfig(latent=4, hidden=16, channels=16), (8, 8, 1), 2)
    config = embedding.MatchConfig(iterations=12, batch_size=8)
    return embedding.fit(worker, network, wanted, embedding.Fourier(features.radians()), config, 0)


def classified(worker: Worker) -> Any:
    torch.manual_seed(0)
    small = SemanticNetConfig(name="resnet14", width=4)
    config = semantic.QueryConfig(network=small, epochs=12, batch_size=20, learning_rate=0.1, flip=False)
    return semantic.fit(worker, small.build(1, 2), halves(40), halves(20), config, 0)


def by_recipe(worker: Worker) -> Any:
    torch.manual_seed(0)
    images = halves(40)
    ready = recipe.one_hot(images.images_NHWC, images.labels_N, 2)
    config = recipe.RecipeConfig(epochs=12, batch_size=20, learning_rate=0.1)
    network = resnet(ResNetConfig(blocks=1, width=4), 1, 2)
    return recipe.fit(worker, [network], lambda epoch, m: ready, 40, config, [0])


def played(worker: Worker) -> Any:
    network = BigGANConfig(channels=4, depth=1, latent=4, embedding=4)
    config = gan.GANConfig(epochs=12, batch_size=16, discriminator_steps=1, checkpoint_every=12)
    answer = gan.fit(worker, network, halves(32), config, 0)
    return answer, worker.kept(gan.checkpoint_name(12))


def penalised(worker: Worker) -> Any:
    config = conditional_gans.AdversarialConfig(epochs=12, batch_size=16)
    penalty = conditional_gans.PenaltyConfig(pretrain_epochs=1, delay_epochs=1)
    return conditional_gans.fit(worker, "pigan", DCGANConfig(width=0.125, latent=4), halves(32), config, penalty, 0)


class Leaving(LocalWorker):
    """Told before its fifth step or epoch has ended, and gone after the sixth."""

    asked = 0

    def leaving(self) -> bool:
        self.asked += 1
        return self.asked == 5

    def progress(self, done: int, total: int, **metrics: float) -> None:
        if self.asked == 6:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("fit", "room", "interval"),
    [
        (matched, embedding, "CHECKPOINTS"), (classified, semantic, "CHECKPOINTS"), (by_recipe, recipe, "CHECKPOINTS"),
        (penalised, conditional_gans, "SAVES"), (played, gan, None),
    ],
)  # fmt: skip
def test_a_training_whose_machine_goes_loses_no_more_than_a_step(
    fit: Fit, room: Any, interval: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if interval is not None:
        monkeypatch.setattr(room, interval, 1)  # no state but the last one
    whole = fit(LocalWorker("t", Store(tmp_path / "whole")))
    with pytest.raises(KeyboardInterrupt):
        fit(Leaving("t", Store(tmp_path / "gone")))
    state = LocalWorker("t", Store(tmp_path / "gone")).resume()
    assert state is not None and state.get("step", state.get("epoch")) == 5, state and state.keys()
    same(fit(LocalWorker("t", Store(tmp_path / "gone"))), whole)


def same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        same(list(one.values()), list(other.values()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    else:
        assert one == other
