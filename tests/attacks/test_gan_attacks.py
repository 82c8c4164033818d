"""Attacks on generative models: chance where nothing leaks, success where everything does, and no order in between."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from raysyn.attacks import gan_attacks
from raysyn.attacks.gan_attacks import (
    MonteCarloConfig,
    chance_of_mean,
    fit_projection,
    monte_carlo,
    share_nearby,
    total_variation,
    white_box,
)
from raysyn.data.images import DataConfig, Images, load

SMALL = MonteCarloConfig(fakes=400, suspects=40, components=10, repeats=20)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load(DataConfig()).train


def probabilities(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    return 1 / (1 + np.exp(-rng.normal(shift, 1, (n, 2))))


def within(chance: dict[str, float], value: float) -> bool:
    return chance["low"] <= value <= chance["high"]


def at_most_by_chance(misses: int, trials: int) -> bool:
    """Whether so many misses of a 95 % interval are ordinary; refused wrongly once in 1,000 sets of trials."""
    return misses <= stats.binom(trials, 0.05).ppf(0.999)


@pytest.mark.slow
def test_the_null_holds_for_scores() -> None:
    """200 draws of members and others of one distribution; error rate 1 in 1,000 for each attack."""
    rng, missed = np.random.default_rng(0), {"white box": 0, "tvd": 0}
    for seed in range(200):
        members, others = probabilities(rng, 60), probabilities(rng, 540)
        found = white_box(members, others, seed)
        assert found["chance"]["value"] == pytest.approx(0.1)
        missed["white box"] += not within(found["chance"], found["accuracy"])
    for seed in range(40):
        found = total_variation(probabilities(rng, 60), probabilities(rng, 540), seed)
        missed["tvd"] += not within(found["chance"], found["distance"])
    assert at_most_by_chance(missed["white box"], 200) and at_most_by_chance(missed["tvd"], 40), missed


def test_the_null_holds_for_monte_carlo(digits: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members, others and fakes are three random thirds of real digits, in 30 splits: chance lies where it is said to
    lie (error rate 1 in 1,000 for each attack), although all repeats of a split draw from the same small pools. Where
    that is, is simulated once: it hangs on the sizes, which all splits share."""
    simulate, known = gan_attacks._by_chance, dict[tuple[int, ...], np.ndarray]()

    def by_chance(*given: Any) -> np.ndarray:
        *sizes, _ = given
        return known[key] if (key := tuple(sizes)) in known else known.setdefault(key, simulate(*given))

    monkeypatch.setattr(gan_attacks, "_by_chance", by_chance)
    rng, missed = np.random.default_rng(1), {"single": 0, "set": 0}
    for seed in range(30):
        thirds = np.array_split(rng.permutation(len(digits)), 3)
        members, others, fakes = (digits.select(third) for third in thirds)
        found = monte_carlo(members.select(slice(150)), others, fakes.images_NHWC[:300], SMALL, seed)
        for name in missed:
            assert found[name]["chance"]["value"] == 0.5
            missed[name] += not within(found[name]["chance"], found[name]["accuracy"])
    assert all(at_most_by_chance(count, 30) for count in missed.values()), missed
    assert len(known) <= 2, "the thirds differ by one image"


def test_the_null_holds_for_means_over_splits() -> None:
    """Means over 5 splits, 200 times: outside their interval as seldom, and as often, as 95 % says (error rate 1 in
    500). The interval of a single split, which is wider, would hold all of them."""
    rng, missed, widths = np.random.default_rng(6), 0, []
    for _ in range(200):
        splits = [white_box(rng.normal(size=60), rng.normal(size=540), int(rng.integers(2**32))) for _ in range(5)]
        chance = chance_of_mean([split["chance"] for split in splits])
        assert chance["value"] == pytest.approx(0.1)
        missed += not within(chance, float(np.mean([split["accuracy"] for split in splits])))
        widths.append(chance["high"] - chance["low"])
    assert at_most_by_chance(missed, 200) and missed >= stats.binom(200, 0.05).ppf(0.001), missed
    single = splits[0]["chance"]["high"] - splits[0]["chance"]["low"]
    assert np.mean(widths) == pytest.approx(single / 5**0.5, rel=0.1)


def test_every_attack_tells_what_the_chance_of_a_mean_needs(digits: Images) -> None:
    """Of one split it is that split's; of nine it is a third as wide, whatever the attack."""
    rng = np.random.default_rng(7)
    members, others = probabilities(rng, 60), probabilities(rng, 540)
    carlo = monte_carlo(digits.select(slice(0, 300)), digits.select(slice(300, None)), digits.images_NHWC, SMALL, 0)
    found = [white_box(members, others, 0), total_variation(members, others, 0), carlo["single"], carlo["set"]]
    for chance in (one["chance"] for one in found):
        told = {name: chance[name] for name in ("value", "low", "high")}
        assert chance_of_mean([chance]) == told
        mean = chance_of_mean([chance] * 9)
        assert mean["value"] == pytest.approx(told["value"])
        third = (told["high"] - told["low"]) / 3
        assert mean["high"] - mean["low"] == pytest.approx(third, rel=0.2)
        assert mean["low"] < mean["value"] < mean["high"]


def test_small_pools_widen_what_chance_may_reach() -> None:
    """All 40 of 40 members are drawn each time: 20 repeats are little more than one."""
    rng = np.random.default_rng(0)
    small, large = (gan_attacks._by_chance(pool, pool, 40, 20, rng).std(0) for pool in (40, 4000))
    assert (small > 1.5 * large).all()


def test_a_discriminator_that_knows_its_training_set_gives_it_away() -> None:
    rng = np.random.default_rng(2)
    members, others = probabilities(rng, 50, -3), probabilities(rng, 450, -3)
    # Known to one of the two alone, while the other one prefers strangers: only the maximum tells.
    members[:, 0], members[:, 1], others[:, 1] = 0.999, 0.001, 0.998
    assert white_box(members, others, 0)["accuracy"] == 1
    found = total_variation(members, others, 0)
    assert found["distance"] > 0.4 > found["chance"]["high"]


def test_a_generator_that_copies_its_training_set_gives_it_away(digits: Images) -> None:
    members, others = digits.select(slice(0, 300)), digits.select(slice(300, None))
    copies = members.images_NHWC[np.random.default_rng(3).integers(300, size=2000)]
    found = monte_carlo(members, others, copies, SMALL, 0)
    assert found["set"]["accuracy"] == 1 > found["set"]["chance"]["high"]
    assert found["single"]["accuracy"] > 0.9 > found["single"]["chance"]["high"]


def test_trap_24_ties_say_nothing_whoever_comes_first() -> None:
    """A saturated discriminator, and fakes near nobody: chance, not 100 %, which members in front would give."""
    rates = [white_box(np.ones((100, 2)), np.ones((900, 2)), seed)["accuracy"] for seed in range(50)]
    assert abs(np.mean(rates) - 0.1) < 4 * np.std(rates) / np.sqrt(50)
    # Suspects are black or white, and so are the fakes.
    pixels = np.zeros((200, 8, 8, 1), np.uint8)
    pixels[::2] = 255
    flat, config = (
        Images(pixels, np.zeros(200, np.int64), ("0",)),
        MonteCarloConfig(suspects=50, components=1, repeats=50),
    )
    found = monte_carlo(flat, flat, pixels, config, 0)
    assert within(found["single"]["chance"], found["single"]["accuracy"])
    assert within(found["set"]["chance"], found["set"]["accuracy"])


def test_trap_24_both_sides_are_drawn_by_themselves(digits: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """The places of the suspects in one pool are not those in the other."""
    drawn: list[np.ndarray] = []

    class Watched:
        def __init__(self, seed: int) -> None:
            self.real = np.random.Generator(np.random.PCG64(seed))

        def choice(self, pool: object, size: int, replace: bool) -> np.ndarray:
            drawn.append(self.real.choice(pool, size, replace=replace))  # type: ignore[call-overload]
            return drawn[-1]

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

    monkeypatch.setattr(np.random, "default_rng", Watched)
    monte_carlo(digits, digits, digits.images_NHWC, SMALL, 0)
    for inside, outside in zip(drawn[:40:2], drawn[1:40:2], strict=True):
        assert len(inside) == len(outside) == 40 and not np.array_equal(inside, outside)


def test_trap_25_the_distance_of_few_images_is_told_beside_chance() -> None:
    rng = np.random.default_rng(4)
    found = total_variation(probabilities(rng, 30), probabilities(rng, 300), 0)
    assert found["distance"] > 0.2 and within(found["chance"], found["distance"])
    assert np.allclose(np.sum(found["histograms"]["members"], axis=1), 1)
    assert np.shape(found["histograms"]["others"]) == (2, 50)


@pytest.mark.parametrize("special", ["", "equal suspects", "copies"])
def test_shares_equal_a_brute_force_twin(special: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysyn.attacks.gan_attacks.FAKES_AT_ONCE", 7)  # several blocks, the last one short
    rng = np.random.default_rng(5)
    suspects = rng.integers(0, 256, (12, 4, 4, 1), np.uint8)
    fakes = rng.integers(0, 256, (60, 4, 4, 1), np.uint8)
    if special == "equal suspects":
        suspects[6:] = suspects[:6]
    if special == "copies":
        suspects[:8] = fakes[20:28]
    project = fit_projection(rng.integers(0, 256, (30, 4, 4, 1), np.uint8), 5, 0)

    def coordinates(image: np.ndarray) -> np.ndarray:
        return (image.reshape(-1).astype(float) - project.mean_P.numpy()) @ project.components_PD.numpy()

    distance = np.zeros((12, 60))
    for (i, suspect), (j, fake) in itertools.product(enumerate(suspects), enumerate(fakes)):
        distance[i, j] = np.sqrt(((coordinates(suspect) - coordinates(fake)) ** 2).sum())
    epsilon = np.median(distance.min(1))
    found = share_nearby(project(suspects), project(fakes))
    assert np.array_equal(found, (distance <= epsilon * (1 + 1e-9)).mean(1))
    assert special != "copies" or (found[:8] > 0).all()


def test_projections_keep_the_largest_variance() -> None:
    """The first component of points on a line is that line."""
    images = np.zeros((20, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(20) * 10
    along = fit_projection(images, 1, 0)(images).numpy()[:, 0]
    assert np.allclose(np.abs(np.diff(along)), 10)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"suspects": 1400}, "monte_carlo.suspects is 1400"), ({"components": 70}, "monte_carlo.components is 70")],
)
def test_what_cannot_be_drawn_is_refused(digits: Images, change: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        monte_carlo(digits, digits, digits.images_NHWC, MonteCarloConfig(**change), 0)


@pytest.mark.parametrize("field", ["fakes", "suspects", "components", "repeats", "fit_share"])
def test_settings_are_refused_by_name(field: str) -> None:
    with pytest.raises(ValueError, match=rf"monte_carlo\.{field} is 0"):
        MonteCarloConfig(**{field: 0})


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 scores are not numbers"):
        white_box(np.array([[np.nan]]), np.array([[0.5]]), 0)
    with pytest.raises(ValueError, match="give probabilities"):
        total_variation(np.array([[2.0]]), np.array([[0.5]]), 0)
