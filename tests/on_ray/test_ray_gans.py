"""GANs through real Ray: two workers train what one does, batch statistics included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raysyn.compute.doorway import Machines
from raysyn.compute.local import Local
from raysyn.data.images import DataConfig, load
from raysyn.models.dcgan import DCGANConfig
from raysyn.on_ray.cluster import OnRay
from raysyn.train import conditional_gans as gans
from raysyn.train import paired_networks
from raysyn.train.conditional_gans import AdversarialConfig, PenaltyConfig

pytestmark = pytest.mark.timeout(300)


@pytest.mark.slow  # ranks of Ray: test_ray_train.py; ranks of these networks: tests/train/test_conditional_gans.py
def test_two_workers_train_the_same_pigan_as_one(group_of_tasks: None, tmp_path: Path) -> None:
    members = load(DataConfig(limit=100)).train
    # A rate so low that Adam's first steps, which magnify rounding, move no weight far.
    config = AdversarialConfig(epochs=2, batch_size=50, learning_rate=1e-5)
    penalty = PenaltyConfig(weight=1.0, pretrain_epochs=1, delay_epochs=1)

    def weights(compute: Local | OnRay) -> dict[str, torch.Tensor]:
        network = DCGANConfig(width=0.125, latent=8)
        answer = compute.train(gans.fit, "pigan", network, members, config, penalty, 0, name="generator")
        assert [row["epoch"] for row in answer["history"]] == [1, 2] and "classifier_loss" in answer["history"][1]
        return answer["weights"]

    alone = weights(Local(tmp_path / "local"))
    found = weights(OnRay(Machines(workers=2, gpus_per_worker=0), tmp_path / "two"))
    first = paired_networks.new_networks(
        "pigan", DCGANConfig(width=0.125, latent=8), members.shape, 10, 2, 0
    ).state_dict()
    assert found.keys() == alone.keys()
    # Alike but for a few weights: where a slope is almost nothing, rounding decides the sign of Adam's steps.
    close = [torch.isclose(found[name], value, rtol=1e-3, atol=2e-5).flatten() for name, value in alone.items()]
    assert float(torch.cat(close).float().mean()) > 0.999
    moved = sum(float((alone[name] - first[name]).abs().sum()) for name in alone)
    apart = sum(float((alone[name] - found[name]).abs().sum()) for name in alone)
    assert apart < 0.02 * moved
