"""DP-SGD through real Ray: one and two workers release the same weights at the same price."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raysyn.compute.doorway import Machines
from raysyn.compute.local import Local
from raysyn.data.images import DataConfig, load
from raysyn.models.unet import UNet, UNetConfig
from raysyn.on_ray.cluster import OnRay
from raysyn.privacy import sgd
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.train.diffusion import DiffusionTask

pytestmark = pytest.mark.timeout(600)


@pytest.mark.slow
def test_one_and_two_workers_release_the_same_weights(ray_session: None, tmp_path: Path) -> None:
    private = load(DataConfig(limit=200)).train
    config = SGDConfig(batch_size=20, epochs=1.0, noise_multiplicity=2)
    price = sgd.Cost(mechanism="DP-SGD", noise_multiplier=1.0, sampling_rate=0.1, steps=10)
    task, speed = DiffusionTask(classes=10), SGDSpeed(engine="bookkeeping", micro_batch=7, channels_last=True)

    def weights(compute: Local | OnRay) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = UNet(UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(), patch=2), 1, 8, 10)
        release = sgd.train(compute, model, task, private, config, price, bytes(32), speed, snapshots=(5,))
        assert release.cost == price
        kept = {f"{name} after 5 steps": value for name, value in compute.kept(sgd.at("finetune", 5)).items()}
        return release.value["model"] | kept

    alone = weights(Local(tmp_path / "local"))
    assert any(float(value.abs().max()) > 0 for value in alone.values())
    for ranks in (1, 2):
        found = weights(OnRay(Machines(workers=ranks, gpus_per_worker=0), tmp_path / f"{ranks}"))
        for name, value in found.items():
            torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-5, msg=f"{name} with {ranks} workers")
