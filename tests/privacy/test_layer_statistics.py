"""DP-ImgSyn's layer statistics: what one image can change, noise, price, and that they are means and variances."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant, RDPAccountant
from torch import Tensor, nn

from raysyn.data.images import Images
from raysyn.methods.dp_imgsyn.units import sum_shard
from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.privacy import cost
from raysyn.privacy.ledger import Ledger, Plan, Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import layer_statistics as ls
from raysyn.privacy.queries.layer_statistics import Layers, StatisticsConfig
from raysyn.train.norm_inputs import norm_inputs

CONFIG, NOISE = StatisticsConfig(clip_norm=1.5), 3.0


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
    scales = Layers.of(network, images(20, 1)).scales
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
    scales = Layers.of(network, images(20, 1)).scales
    together = contributions(network, pixels, 1.0, scales)
    alone = torch.cat([contributions(network, pixels[one : one + 1], 1.0, scales) for one in range(6)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_what_shards_answer_and_what_is_released_change_by_no_more_than_the_sensitivity() -> None:
    """Every image is dropped in turn, from the very units and the very answer of the pipeline, noise left out."""
    network = teacher()
    layers = Layers.of(network, images(20, 1))
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8)
    pixels[0], pixels[1] = 0, 255
    times_N = np.array([1, 2, 1, 3, 1, 0, 1, 1, 2])
    for clip_norm in (0.2, 1.5):
        config = StatisticsConfig(epochs=3.0, clip_norm=clip_norm)
        price, sensitivity = config.cost(9, 1e-12), layers.sensitivity(config)
        assert sensitivity == clip_norm * math.sqrt(len(layers.channels))

        def sums(kept: np.ndarray) -> np.ndarray:
            own = Images(pixels[kept], np.zeros(kept.sum(), np.int64), ("a",))
            shared = (network, own, times_N[kept], layers.scales, clip_norm)  # noqa: B023
            half = kept.sum() // 2
            return sum(sum_shard(shard, shared).numpy() for shard in ((0, half), (half, kept.sum())))

        whole, ratios = sums(np.ones(9, bool)), []
        for dropped in range(9):
            change = np.linalg.norm(whole - sums(np.arange(9) != dropped))
            assert change <= times_N[dropped] * sensitivity * (1 + 1e-5) + 1e-12
            if times_N[dropped]:
                ratios.append(change / times_N[dropped] / sensitivity)
        assert clip_norm > 1 or max(ratios) == pytest.approx(1, rel=1e-4)
        # What is released is that sum divided by the expected number, and nothing else of the images.
        found = ls.layer_statistics([whole], layers, config, price, Stream(bytes(32), "statistics"), 9).value
        expected = torch.from_numpy(whole / 27).split([2 * c for c in layers.channels])
        for (mean, _), part, scale in zip(found, expected, layers.scales, strict=True):
            assert torch.allclose(mean, (part[: len(mean)] * scale).float(), atol=1e-6)


def test_values_that_are_not_finite_do_not_slip_through_the_clipping() -> None:
    wild = torch.tensor([[math.inf, 1.0], [math.nan, 1.0], [1e30, 1e30], [-math.inf, math.nan]])
    u = ls.clipped([wild], [1.0], 0.5)
    assert u.isfinite().all() and (u.norm(dim=1) <= 0.5 * (1 + 1e-9)).all()


def test_without_noise_and_clipping_they_are_the_means_and_variances_of_the_layers() -> None:
    network, pixels = teacher(), images(40)
    layers = Layers.of(network, images(20, 1))
    assert layers.channels == channels(network)
    config = StatisticsConfig(clip_norm=1e6)
    exact = contributions(network, pixels, config.clip_norm, layers.scales)
    shards = [exact[:15].sum(0).numpy(), exact[15:].sum(0).numpy()]
    stream = Stream(bytes(32), "statistics")
    found = ls.layer_statistics(shards, layers, config, config.cost(40, 1e-12), stream, 40).value
    with norm_inputs(network) as seen, torch.no_grad():
        network(pixels)
    for (mean, variance), h in zip(found, seen, strict=True):
        assert torch.allclose(mean, h.mean((0, 2, 3)), atol=1e-3)
        assert torch.allclose(variance, h.var((0, 2, 3), correction=0), atol=1e-3)


@pytest.mark.parametrize("noise", [0.3, 30.0])
def test_what_noise_explains_of_a_distance_is_how_far_exact_statistics_are(noise: float) -> None:
    """Over 400 answers, whose exact variances are so large that none is cut off at 0."""
    layers, n, runs = Layers([20, 10], [1.0, 4.0]), 50, 400
    price = CONFIG.cost(n, noise)
    m = [torch.linspace(-2, 2, channels, dtype=torch.float64) * scale for channels, scale in zip(
        layers.channels, layers.scales, strict=True)]  # fmt: skip
    second = [one.square() + 1e4 for one in m]
    pairs = zip(m, second, layers.scales, strict=True)
    whole = n * torch.cat([torch.cat([first, square]) / scale for first, square, scale in pairs]).numpy()
    distances, told = [], []
    for run in range(runs):
        stream = Stream(run.to_bytes(32, "big"), "statistics")
        found = ls.layer_statistics([whole], layers, CONFIG, price, stream, n).value
        far = [(a.double() - first).square().sum() + (v.double() - 1e4).square().sum()
               for (a, v), first in zip(found, m, strict=True)]  # fmt: skip
        distances.append(float(sum(far)))
        told.append(layers.noise_alone(CONFIG, price, n, found))
    # Three and a half standard errors of both, wrong once in 2,000 such tests; the noise is fixed.
    both = math.hypot(np.std(distances), np.std(told)) / math.sqrt(runs)
    assert abs(np.mean(distances) - np.mean(told)) < 3.5 * both < 0.2 * np.mean(distances)


@pytest.mark.parametrize("noise", [1e-3, 1.0, 1e3, 1e6])
def test_what_noise_explains_is_no_less_than_of_means_of_zero(noise: float) -> None:
    layers, price = Layers([3, 2], [1.0, 4.0]), CONFIG.cost(50, noise)
    none = [(torch.zeros(channels), torch.zeros(channels)) for channels in layers.channels]
    std = noise * 1.5 * math.sqrt(2) / 50
    least = sum(channels * (std * scale) ** 2 * (2 + 3 * (std * scale) ** 2) for channels, scale in ((3, 1), (2, 4)))
    assert layers.noise_alone(CONFIG, price, 50, none) == pytest.approx(least)
    far = [(mean + 100 * std, variance) for mean, variance in none]
    assert layers.noise_alone(CONFIG, price, 50, far) > least


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("epochs", [1.0, 4.0])
def test_noise_is_added_once_for_each_answer_however_many_shards(shards: int, epochs: float) -> None:
    layers, config = Layers([300, 200], [1.0, 1.0]), replace(CONFIG, epochs=epochs)
    parts, price = [np.zeros(1000) for _ in range(shards)], config.cost(50, NOISE)
    found = ls.layer_statistics(parts, layers, config, price, Stream(b"1" * 32, "statistics"), 50).value
    means = torch.cat([mean for mean, _ in found]).numpy()
    expected = NOISE * 1.5 * math.sqrt(2) * math.sqrt(epochs) / (50 * epochs)
    # 500 numbers: three and a half standard errors, wrong once in 2,000 such tests; the noise is fixed.
    assert abs(means.std() / expected - 1) < 0.11 and abs(means.mean()) < 3.5 * expected / math.sqrt(500)
    # What the report says of it: the norm of the noise of a layer, means and mean squares together.
    told = layers.noise_to_signal(config, price, 50)
    assert told == pytest.approx([expected * math.sqrt(600), expected * math.sqrt(400)])


def test_noise_is_in_every_number_that_leaves() -> None:
    """In the means of squares as in the means: signal enough that no variance is cut at 0, and at a rate below 1."""
    layers, config = Layers([300, 200], [2.0, 0.5]), replace(CONFIG, epochs=2.0, batch_size=20)
    price = config.cost(50, NOISE)
    assert price.sampling_rate == 0.4 and price.steps == 5
    exact = np.concatenate([np.repeat([0.0, 1e4], 300), np.repeat([0.0, 1e4], 200)])
    found = ls.layer_statistics([exact], layers, config, price, Stream(b"2" * 32, "statistics"), 50).value
    for part, (mean, variance), scale in zip(np.split(exact, [600]), found, layers.scales, strict=True):
        read = torch.cat([mean, variance + mean.square()]).double().numpy() / scale
        noise = (read - part / 100) / (NOISE * 1.5 * math.sqrt(2) * math.sqrt(5) / 100)
        for half in np.split(noise, 2):
            # 300 or 200 numbers: five standard errors, wrong once in a million such tests; the noise is fixed.
            assert abs(half.std() - 1) < 5 / math.sqrt(2 * len(half)) and abs(half.mean()) < 5 / math.sqrt(len(half))


def test_participants_come_as_often_as_the_price_says() -> None:
    config = StatisticsConfig(epochs=3.0, batch_size=20)
    price = config.cost(400)
    assert price.sampling_rate == 0.05 and price.steps == 60
    private = Images(np.zeros((400, 8, 8, 1), np.uint8), np.zeros(400, np.int64), ("a",))
    times = ls.takes_part(price, Stream(bytes(32), "statistics"), private)
    assert times.shape == (400,) and abs(times.mean() - 3.0) < 4 * math.sqrt(3.0 * 0.95 / 400)
    few = private.select(slice(0, 7))
    assert (ls.takes_part(replace(config, batch_size=None).cost(7), Stream(bytes(32), "statistics"), few) == 3).all()


@example(seed=0, clip_norm=1e-3, width=3)
@example(seed=1, clip_norm=0.3, width=1)
@given(seed=st.integers(0, 2**31), clip_norm=st.floats(1e-3, 1e3), width=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_no_layer_exceeds_its_clip(seed: int, clip_norm: float, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    moments = [torch.randn(4, 2 * width, generator=random) * 10 ** (3 * layer - 3) for layer in range(3)]
    found = ls.clipped(moments, [1.0, 0.1, 10.0], clip_norm)
    for part in found.split(2 * width, dim=1):
        assert (part.norm(dim=1) <= clip_norm * (1 + 1e-9)).all()


# Table 5: epochs, batch size and sigma of the teacher, epochs and batch size of the statistics; images of the data set;
# epsilon of the teacher's training alone at delta 1e-5, which Opacus' RDP accountant was asked for once. By it, the
# paper's sigmas cost more than its epsilons in six rows.
TABLE_5 = [
    (4, 128, 0.8, 2, 64, 60_000, 1.544),
    (14, 128, 0.5, 2, 64, 60_000, 9.42),
    (30, 50, 1.0, 2, 64, 60_000, 0.954),
    (20, 128, 0.5, 2, 64, 60_000, 10.641),
    (18, 128, 0.8, 5, 128, 162_770, 1.413),
    (22, 128, 0.45, 3, 128, 162_770, 11.231),
    (18, 128, 0.8, 4, 128, 162_770, 1.413),
    (22, 128, 0.5, 4, 128, 162_770, 7.237),
    (12, 128, 0.5, 5, 128, 50_000, 9.625),
    (57, 8, 0.3, 3, 8, 9_469, 112.985),
]


@pytest.mark.parametrize(("epochs", "batch_size", "sigma", "asked_epochs", "asked_batch", "n", "golden"), TABLE_5)
def test_table_5_costs_what_opacus_says_and_the_ledger_pays_it(
    tmp_path: Path, epochs: int, batch_size: int, sigma: float, asked_epochs: int, asked_batch: int, n: int,
    golden: float,
) -> None:  # fmt: skip
    """Training alone, and composed with the statistics at the same noise multiplier."""
    # Steps as Opacus' users count them, by hand.
    training = cost.Cost(
        mechanism="DP-SGD", noise_multiplier=sigma, sampling_rate=batch_size / n, steps=round(epochs * n / batch_size)
    )
    assert cost.sgd_schedule(n, batch_size, epochs) == (training.sampling_rate, training.steps)
    asked = StatisticsConfig(epochs=asked_epochs, batch_size=asked_batch).cost(n, sigma)
    assert (asked.sampling_rate, asked.steps) == (asked_batch / n, round(asked_epochs * n / asked_batch))
    theirs = RDPAccountant()
    theirs.history = [(sigma, batch_size / n, training.steps)]
    assert theirs.get_epsilon(1e-5) == pytest.approx(golden, rel=0.01)
    assert cost.epsilon([training], 1e-5, "rdp") == pytest.approx(golden, rel=0.01)
    theirs.history.append((sigma, asked_batch / n, asked.steps))
    both = theirs.get_epsilon(1e-5)
    plan = Plan(
        stages={"teacher": training, "statistics": asked}, delta=1e-5, accountant="rdp", epsilon_budget=both * 2
    )
    assert plan.epsilon() == pytest.approx(both, rel=0.01)
    ledger = Ledger(plan, tmp_path / "ledger.jsonl")
    for stage, price in plan.stages.items():
        ledger.pay(stage, Release(None, price))
    assert ledger.epsilon() == pytest.approx(both, rel=0.01)


@pytest.mark.parametrize("row", TABLE_5[:2])
def test_both_accountants_price_table_5_as_opacus_does(row: tuple[float, ...]) -> None:
    epochs, batch_size, sigma, asked_epochs, asked_batch, n, _ = row
    training = cost.Cost(
        mechanism="DP-SGD", noise_multiplier=sigma, sampling_rate=batch_size / n, steps=round(epochs * n / batch_size)
    )
    asked = StatisticsConfig(epochs=asked_epochs, batch_size=int(asked_batch)).cost(int(n), sigma)
    theirs = PRVAccountant()
    theirs.history = [(one.noise_multiplier, one.sampling_rate, one.steps) for one in (training, asked)]
    prv = cost.epsilon([training, asked], 1e-5, "prv")
    assert prv == pytest.approx(theirs.get_epsilon(1e-5), rel=0.02)
    assert prv <= cost.epsilon([training, asked], 1e-5, "rdp")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"share": 1.0}, "share"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_settings_cost_one_sentence(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=rf"statistics\.{words}"):
        StatisticsConfig(**changes)
    with pytest.raises(ValueError, match=r"statistics\.batch_size is 50"):
        StatisticsConfig(batch_size=50).cost(10)
