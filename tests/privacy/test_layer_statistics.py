"""DP-ImgSyn's layer statistics: what one image can change, noise, price, and that they are means and variances."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import RDPAccountant
from torch import Tensor, nn

from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.privacy import cost
from raysyn.privacy import layer_statistics as ls
from raysyn.privacy.layer_statistics import StatisticsConfig
from raysyn.privacy.poisson import Stream
from raysyn.train.norm_inputs import norm_inputs

CONFIG = StatisticsConfig(clip_norm=1.5, noise_multiplier=3.0)


def teacher() -> nn.Module:
    torch.manual_seed(0)
    return Teacher(TeacherConfig(width=4), (8, 8, 1), 3)


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def contributions(network: nn.Module, pixels: Tensor, clip_norm: float, scales: list[float]) -> Tensor:
    return ls.clipped(ls.moments(network, pixels), scales, clip_norm)


def channels(network: nn.Module) -> list[int]:
    with norm_inputs(network) as seen, torch.no_grad():
        network(images(1))
    return [h.shape[1] for h in seen]


@pytest.mark.parametrize("clip_norm", [0.3, 1.5])
def test_one_image_changes_each_layer_and_all_of_them_by_what_is_said(clip_norm: float) -> None:
    """Every image is dropped in turn, among them black, white and absurdly bright ones."""
    network, layers = teacher(), channels(teacher())
    pixels = torch.cat([images(9), -torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8), 1e4 * images(1, 5)])
    scales = ls.scales(ls.moments(network, images(20, 1)))
    whole = contributions(network, pixels, clip_norm, scales).sum(0)
    reached = []
    for dropped in range(len(pixels)):
        rest = torch.cat([pixels[:dropped], pixels[dropped + 1 :]])
        changed = whole - contributions(network, rest, clip_norm, scales).sum(0)
        for part in changed.split([2 * width for width in layers]):
            assert part.norm() <= clip_norm * (1 + 1e-5)
        reached.append(float(changed.norm()) / (clip_norm * math.sqrt(len(layers))))
    assert max(reached) <= 1 + 1e-5
    # The bound is no larger than it must be: images that are clipped in all layers reach it.
    assert clip_norm > 1 or max(reached) == pytest.approx(1, rel=1e-5)


def test_an_image_gives_away_the_same_in_any_company() -> None:
    network, pixels = teacher(), images(6)
    scales = ls.scales(ls.moments(network, images(20, 1)))
    together = contributions(network, pixels, 1.0, scales)
    alone = torch.cat([contributions(network, pixels[one : one + 1], 1.0, scales) for one in range(6)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_without_noise_and_clipping_they_are_the_means_and_variances_of_the_layers() -> None:
    network, pixels, layers = teacher(), images(40), channels(teacher())
    scales = ls.scales(ls.moments(network, images(20, 1)))
    config = StatisticsConfig(clip_norm=1e6, noise_multiplier=1e-12)
    exact = contributions(network, pixels, config.clip_norm, scales)
    shards = [exact[:15].sum(0).numpy(), exact[15:].sum(0).numpy()]
    found = ls.layer_statistics(shards, layers, scales, config, Stream(bytes(32), "statistics"), 40).value
    with norm_inputs(network) as seen, torch.no_grad():
        network(pixels)
    for (mean, variance), h in zip(found, seen, strict=True):
        assert torch.allclose(mean, h.mean((0, 2, 3)), atol=1e-3)
        assert torch.allclose(variance, h.var((0, 2, 3), correction=0), atol=1e-3)


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("epochs", [1.0, 4.0])
def test_noise_is_added_once_for_each_answer_however_many_shards(shards: int, epochs: float) -> None:
    layers, config = [300, 200], replace(CONFIG, epochs=epochs)
    parts = [np.zeros(1000) for _ in range(shards)]
    found = ls.layer_statistics(parts, layers, [1.0, 1.0], config, Stream(b"1" * 32, "statistics"), 50).value
    means = torch.cat([mean for mean, _ in found]).numpy()
    expected = 3.0 * 1.5 * math.sqrt(2) * math.sqrt(epochs) / (50 * epochs)
    # 500 numbers: three and a half standard errors, wrong once in 2,000 such tests; the noise is fixed.
    assert abs(means.std() / expected - 1) < 0.11 and abs(means.mean()) < 3.5 * expected / math.sqrt(500)


def test_participants_come_as_often_as_the_price_says() -> None:
    config = StatisticsConfig(epochs=3.0, batch_size=20)
    price = config.cost(400)
    assert price.sampling_rate == 0.05 and price.steps == 60
    times = ls.takes_part(config, Stream(bytes(32), "statistics"), 400)
    assert times.shape == (400,) and abs(times.mean() - 3.0) < 4 * math.sqrt(3.0 * 0.95 / 400)
    assert (ls.takes_part(replace(config, batch_size=None), Stream(bytes(32), "statistics"), 7) == 3).all()


@given(seed=st.integers(0, 2**31), clip_norm=st.floats(1e-3, 1e3), width=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_no_layer_exceeds_its_clip(seed: int, clip_norm: float, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    moments = [torch.randn(4, 2 * width, generator=random) * 10 ** (3 * layer - 3) for layer in range(3)]
    found = ls.clipped(moments, [1.0, 0.1, 10.0], clip_norm)
    for part in found.split(2 * width, dim=1):
        assert (part.norm(dim=1) <= clip_norm * (1 + 1e-9)).all()


# Table 5: epsilon, epochs, batch size and sigma of the teacher; images of the data set. With its statistics, at a noise
# multiplier of 20, priced by Opacus itself.
TABLE_5 = [
    (10, 14, 128, 0.5, 60_000), (1, 4, 128, 0.8, 60_000), (10, 20, 128, 0.5, 60_000), (1, 30, 50, 1.0, 60_000),
    (10, 12, 128, 0.5, 50_000), (1, 18, 128, 0.8, 162_770), (10, 22, 128, 0.45, 162_770),
]  # fmt: skip


@pytest.mark.parametrize(("epsilon", "epochs", "batch_size", "sigma", "n"), TABLE_5)
def test_table_5_costs_what_opacus_says(epsilon: float, epochs: int, batch_size: int, sigma: float, n: int) -> None:
    rate, steps = cost.sgd_schedule(n, batch_size, epochs)
    training = cost.Cost(mechanism="DP-SGD", noise_multiplier=sigma, sampling_rate=rate, steps=steps)
    asked = StatisticsConfig(noise_multiplier=20.0).cost(n)
    accountant = RDPAccountant()
    accountant.history = [(one.noise_multiplier, one.sampling_rate, one.steps) for one in (training, asked)]
    theirs, delta = accountant.get_epsilon(1e-5), 1e-5
    assert cost.epsilon([training, asked], delta, "rdp") == pytest.approx(theirs, rel=0.01)
    assert cost.epsilon([training, asked], delta, "prv") <= theirs
    assert cost.epsilon([training], delta, "prv") < 1.25 * epsilon


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"noise_multiplier": math.inf}, "noise_multiplier"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_settings_cost_one_sentence(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=rf"statistics\.{words}"):
        StatisticsConfig(**changes)
    with pytest.raises(ValueError, match=r"statistics\.batch_size is 50"):
        StatisticsConfig(batch_size=50).cost(10)
