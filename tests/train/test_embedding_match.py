"""A generator that learns an embedding: its loss against an obvious one, its steps, its continuing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysyn.compute.worker import Alone
from raysyn.data.fourier import FourierConfig, waves
from raysyn.models.upsampler import Upsampler, UpsamplerConfig
from raysyn.train.embedding import Fourier, MatchConfig, distance, draws, fit

SHAPE = (8, 8, 1)
SMALL = UpsamplerConfig(latent=4, hidden=16, channels=16)


def generator() -> Upsampler:
    torch.manual_seed(0)
    return Upsampler(SMALL, SHAPE, 2)


def black_and_white() -> tuple[np.ndarray, Fourier]:
    """Mean features of a class of black images and one of white ones, and the features."""
    of = waves(FourierConfig(count=64, length_scales=(1.0,)), SHAPE, 0)
    images = np.stack([np.zeros(SHAPE, np.uint8), np.full(SHAPE, 255, np.uint8)])
    return of.features(images), Fourier(of.radians())


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 11, 3), (28, 28, 1), (64, 64, 3)])
def test_it_makes_images_of_any_size_in_grey_and_colour(shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    made = Upsampler(SMALL, shape, 3)(torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))
    assert made.shape == (5, channels, height, width) and made.min() >= 0 and made.max() <= 1


def test_features_of_generated_images_are_those_of_real_ones() -> None:
    of = waves(FourierConfig(count=64), (5, 4, 3), 0)
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    found = Fourier(of.radians())(torch.from_numpy(images / 255).float().permute(0, 3, 1, 2))
    np.testing.assert_allclose(found, of.features(images), atol=1e-4)


def test_the_distance_is_that_of_means_class_by_class() -> None:
    features, labels, wanted = torch.randn(7, 5), torch.tensor([0, 0, 1, 0, 1, 1, 1]), torch.randn(3, 5)
    means = [features[labels == label].mean(0) for label in range(2)]
    by_hand = (3 * (means[0] - wanted[0]).square().sum() + 4 * (means[1] - wanted[1]).square().sum()) / 7
    torch.testing.assert_close(distance(features, labels, wanted, False), by_hand)


def test_without_what_chance_adds_it_is_on_average_that_of_the_mean_of_all() -> None:
    """Batches of 4 of a set of features of norm 1; within 5 standard errors."""
    torch.manual_seed(1)
    pool, labels = torch.nn.functional.normalize(torch.randn(50, 6) + 0.5), torch.zeros(4, dtype=torch.int64)
    wanted = torch.randn(1, 6)
    found = torch.stack([distance(pool[torch.randint(50, (4,))], labels, wanted, True) for _ in range(1000)])
    exact = (pool.mean(0) - wanted[0]).square().sum()
    assert abs(found.mean() - exact) < 5 * found.std() / 1000**0.5
    assert distance(pool[:1], labels[:1], wanted, True) == distance(pool[:1], labels[:1], wanted, False)


def test_a_training_that_ends_in_no_numbers_is_no_generator() -> None:
    means, waves = black_and_white()
    config = MatchConfig(iterations=4, batch_size=16)
    with pytest.raises(RuntimeError, match=r"^step \d ended with the loss .*: lower training\.learning_rate$"):
        fit(Alone(), generator(), means * np.nan, waves, config, 0)


def test_a_batch_of_one_is_refused_before_anything_is_paid_for() -> None:
    with pytest.raises(ValueError, match=r"^training\.batch_size is 1: give at least 2$"):
        MatchConfig(batch_size=1)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_it_learns_what_each_class_looks_like(ema: float) -> None:
    means, waves = black_and_white()
    made, config = generator(), MatchConfig(iterations=100, batch_size=16, ema=ema)
    trained = fit(Alone(), made, means, waves, config, 0)
    made.load_state_dict(trained["model"])
    with torch.no_grad():
        images = made.eval()(torch.randn(20, 4), torch.arange(20) % 2)
    assert images[::2].mean() < 0.3 and images[1::2].mean() > 0.7
    assert trained["history"][-1] == {"step": 100, "loss": trained["history"][-1]["loss"]}
    assert trained["history"][-1]["loss"] < trained["history"][0]["loss"]


class Stopping(Alone):
    """Dies once its third state is durable."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.state, self.saved = state, 0

    def save(self, state: dict[str, Any]) -> None:
        copied = {name: _copy(value) for name, value in state.items()}
        self.state, self.saved = copied, self.saved + 1
        if self.saved == 3:
            raise KeyboardInterrupt

    def resume(self) -> dict[str, Any] | None:
        return self.state


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: _copy(one) for name, one in value.items()}
    return list(map(_copy, value)) if isinstance(value, list) else value


def test_trap_11_a_stopped_training_ends_bit_for_bit_the_same() -> None:
    (means, waves), config = black_and_white(), MatchConfig(iterations=40, batch_size=8, ema=0.9)
    whole = fit(Alone(), generator(), means, waves, config, 0)
    stopped = Stopping()
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, generator(), means, waves, config, 0)
    stopped.saved = 10
    ended = fit(stopped, generator(), means, waves, config, 0)
    assert ended["history"] == whole["history"]
    assert all(torch.equal(value, ended["model"][name]) for name, value in whole["model"].items())


def test_classes_are_drawn_in_turn_over_the_ends_of_batches() -> None:
    labels = torch.cat([draws(4, 3, 4, 0, step)[1] for step in range(3)])
    assert labels.bincount().tolist() == [4, 4, 4]


def test_the_rate_falls_at_the_ends_of_the_papers_epochs() -> None:
    config = MatchConfig(iterations=3000)
    assert [config.rate(step) for step in (0, 599, 600, 2999)] == pytest.approx([0.01, 0.01, 0.009, 0.01 * 0.9**4])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"iterations": 0}, r"training\.iterations is 0: give at least 1"),
        ({"batch_size": 0}, r"training\.batch_size is 0"),
        ({"decays": 0}, r"training\.decays is 0"),
        ({"learning_rate": 0.0}, r"training\.learning_rate is 0\.0: give a number above 0"),
        ({"decay": 0.0}, r"training\.decay is 0\.0 and"),
        ({"ema": 1.0}, r"training\.ema 1\.0: give"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MatchConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"latent": 0}, {"hidden": 0}, {"channels": 1}])
def test_a_network_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"^network\.{next(iter(wrong))} is \d: give at least \d$"):
        UpsamplerConfig(**wrong)


@pytest.mark.parametrize(
    ("classes", "count"), [(100, 100), (66, 100), (99, 100), (47, 100), (10, 8), (7, 2), (33, 100)]
)
def test_of_many_classes_a_step_has_several_images_of_each_that_it_has(classes: int, count: int) -> None:
    """One alone would be nearest to its class's mean where all are alike."""
    seen = torch.zeros(classes, dtype=torch.long)
    for step in range(classes):
        labels = draws(4, classes, count, 0, step)[1]
        assert len(labels) == count and labels.bincount(minlength=classes)[labels].min() >= min(3, count)
        seen += labels.bincount(minlength=classes)
    assert seen.sum() == classes * count and seen.max() - seen.min() <= 8, "in the long run all are drawn as often"


def test_of_many_classes_others_come_together_each_time() -> None:
    """Of 66 and 33 in a step it would else be two groups for ever."""
    groups = {frozenset(draws(4, 66, 100, 0, step)[1].tolist()) for step in range(20)}
    assert len(groups) == 20


def test_a_hundred_classes_keep_their_variety() -> None:
    """Two pictures to a class, left and right; batches of one image of each class came to one picture."""
    classes, shape = 100, (8, 8, 1)
    pictures = np.zeros((classes, 2, *shape), np.uint8)
    for label in range(classes):
        pictures[label, 0, label % 8, :4] = pictures[label, 1, label % 8, 4:] = 255
    of = waves(FourierConfig(count=200, length_scales=(0.183,)), shape, 0)
    means = np.stack([of.features(one).astype(np.float64).mean(0) for one in pictures])
    torch.manual_seed(0)
    made = Upsampler(UpsamplerConfig(latent=8, hidden=64, channels=8), shape, classes)
    config = MatchConfig(iterations=300, batch_size=100, unbiased=True)
    made.load_state_dict(fit(Alone(), made, means, Fourier(of.radians()), config, 0)["model"])
    with torch.inference_mode():
        labels = torch.arange(10).repeat_interleave(30)
        drawn = made.eval()(torch.randn(300, 8), labels).reshape(10, 30, -1)
    assert drawn.std(1).mean() > 0.02, "the pictures' own is 0.06"
