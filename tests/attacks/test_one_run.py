"""The audit of one run by its own units: nothing is found where nothing was learned, and copies are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr, ndtri

from raysyn.attacks import lower_bounds, one_run
from raysyn.attacks.one_run import Canaries, Claim
from raysyn.data.images import Images
from raysyn.privacy import tradeoff
from raysyn.train.near import flat

NOTHING, MUCH = Claim(0.0, 1e-5, 0.0), Claim(100.0, 1e-5, None)
RANDOM = np.random.default_rng(0)


def pictures(count: int, classes: int = 3) -> Images:
    pixels = RANDOM.integers(0, 256, (count, 6, 6, 1), dtype=np.uint8)
    return Images(pixels, np.arange(count) % classes, tuple("abc"))


def by_distance(own: Images, released: Images, out: Images) -> np.ndarray:
    return one_run.by_distance(flat, own, released, out)


def drawn(units: int, count: int, seed: int = 0) -> Canaries:
    random = np.random.default_rng(seed)
    return Canaries.drawn(random.random(units), random.random(count))


@pytest.mark.parametrize(("units", "count"), [(100, 0), (4999, 0), (5000, 50), (60_000, 600), (10**6, 1000)])
def test_how_many_there_are_by_default(units: int, count: int) -> None:
    assert one_run.how_many(units) == count


def test_canaries_are_any_units_and_half_of_them_are_in() -> None:
    often, there = np.zeros(40), 0
    for seed in range(300):
        found = drawn(40, 10, seed)
        assert (np.diff(found.units_M) > 0).all() and len(found.units_M) == 10
        absent = found.absent(40)
        assert absent.sum() == (~found.there_M).sum() and absent[found.units_M].tolist() == (~found.there_M).tolist()
        often[found.units_M] += 1
        there += int(found.there_M.sum())
    assert often.min() > 40 and often.max() < 115 and abs(there - 1500) < 5 * 750**0.5


@pytest.mark.parametrize("attacks", [1, 3])
def test_of_scores_that_know_nothing_more_than_0_is_shown_in_at_most_5_percent_of_200_runs(attacks: int) -> None:
    """All attacks of a run together, also where their scores are one another's, and have ties."""
    wrong = refuted = 0
    for seed in range(200):
        random = np.random.default_rng([seed, 1])
        coins, scores = random.random(120) < 0.5, random.integers(0, 9, 120).astype(float)
        found = [one_run.shown(scores + at * random.random(120), coins, NOTHING, attacks) for at in range(attacks)]
        wrong += max(one.epsilon for one in found) > 0
        refuted += any(one.refuted for one in found)
    assert wrong <= 10 and refuted <= 10, (wrong, refuted)


@pytest.mark.parametrize("canaries", [20, 50, 333, 1000])
def test_of_fair_coins_alone_more_than_0_is_shown_with_5_percent_at_most(canaries: int) -> None:
    """Exactly, for right guesses are binomial then: the parts of all numbers of guesses, added up."""
    level, chance = 0.05 / len(one_run.GUESSES), 0.0
    for share, both in one_run.GUESSES:
        guesses, _ = one_run._guessed(np.ones(canaries, bool), share, both)
        for right in range(guesses + 1):
            tail = float(stats.binom.sf(right - 1, guesses, 0.5))
            if lower_bounds.of_one_run(canaries, guesses, right, 0.0, 1 - level) > 0:
                chance += tail
                break
    assert 0 < chance <= 0.05


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_an_exact_claim_is_refuted_no_more_often_than_is_said(mu: float) -> None:
    claim, wrong = Claim(lower_bounds.epsilon_of(mu, 1e-3), 1e-3, mu), np.zeros(3, int)
    for seed in range(60):
        random = np.random.default_rng(seed)
        coins = random.random(200) < 0.5
        found = one_run.shown(mu * coins + random.standard_normal(200), coins, claim)
        wrong += [found.refuted, found.epsilon > claim.epsilon, found.gaussian > claim.epsilon]
    assert (wrong <= 7).all(), wrong


@pytest.mark.parametrize("epsilon", [1.0, 2.0])
def test_much_less_noise_than_claimed_is_refuted_also_where_epsilon_alone_is_too_slack(epsilon: float) -> None:
    """A claim by its whole curve, of 1,000 canaries of a Gaussian answer with a third of the noise."""
    mu = 1e-3
    while lower_bounds.epsilon_of(mu, 1e-5) < epsilon:
        mu *= 1.01
    random = np.random.default_rng(1)
    coins = random.random(1000) < 0.5
    found = one_run.shown(3 * mu * coins + random.standard_normal(1000), coins, Claim(epsilon, 1e-5, mu), 3)
    assert found.refuted and found.gaussian > epsilon
    alone = one_run.shown(3 * mu * coins + random.standard_normal(1000), coins, Claim(epsilon, 1e-5, None), 3)
    assert alone.refuted == (alone.epsilon > epsilon)


def test_as_many_right_guesses_as_can_be_show_what_so_many_can() -> None:
    coins = np.arange(400) % 2 == 0
    found = one_run.shown(coins.astype(float), coins, MUCH)
    each = (0.05 / len(one_run.GUESSES)) ** (1 / 400)
    assert found.guesses == found.right == 400 and not found.refuted
    assert found.epsilon == pytest.approx(math.log(each / (1 - each)), abs=0.2) and found.gaussian > found.epsilon
    wrong = one_run.shown(-coins.astype(float), coins, MUCH)
    assert (wrong.guesses, wrong.right, wrong.epsilon, wrong.gaussian) == (400, 0, 0.0, 0.0)


def test_few_that_were_learned_by_heart_show_by_the_surest_guesses() -> None:
    """Of 800 canaries 40 that were in are known for sure, and of the others nothing."""
    random = np.random.default_rng(0)
    coins, scores = random.random(800) < 0.5, random.random(800)
    scores[np.flatnonzero(coins)[:40]] = 5.0
    found = one_run.shown(scores, coins, MUCH)
    assert found.guesses == 50 and found.right >= 40 and found.epsilon > 0.5


@pytest.mark.parametrize("epsilon", [0.3, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3])
def test_a_pairs_curve_is_the_inverse_of_what_it_allows(epsilon: float, delta: float) -> None:
    alarms_of = lower_bounds.pair_alarms(epsilon, delta)
    for alarms in np.linspace(0, 1, 50):
        missed = max(0.0, 1 - delta - math.exp(epsilon) * alarms, math.exp(-epsilon) * (1 - delta - alarms))
        assert alarms_of(1 - missed) <= alarms + 1e-12
    found = np.linspace(0, 1, 200)
    assert (np.diff([alarms_of(one) for one in found], 2) >= -1e-12).all(), "convex"


@pytest.mark.parametrize(("right", "guesses"), [(30, 30), (80, 100), (400, 600), (3, 3)])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_both_bounds_of_a_pair_hold_and_the_larger_one_is_told(right: int, guesses: int, delta: float) -> None:
    told = 600, guesses, right
    found = lower_bounds.of_one_run(*told, delta, 0.95)
    assert found >= lower_bounds.epsilon_at_least(*told, delta, 0.95) - 2e-3
    # No more than independent guesses of randomised response would show.
    each = 1 / (1 + math.exp(-found - 0.02))
    assert found == 0 or stats.binom.sf(right - 1, guesses, each + delta) > 0.05 * 0.5


def test_the_rarest_errors_of_a_claim_are_those_that_its_mu_is_made_for() -> None:
    assert one_run.RAREST == tradeoff.RAREST
    alarms_of = one_run._claimed(1.0)
    for alarms in np.concatenate([np.geomspace(1e-9, 0.5, 40), 1 - np.geomspace(1e-9, 0.5, 40)]):
        lowest = 0.0 if alarms < one_run.RAREST else float(ndtr(ndtri(1 - alarms) - 1.0))
        lowest = float(ndtr(ndtri(1 - one_run.RAREST) - 1.0)) if alarms < one_run.RAREST else lowest
        lowest = 0.0 if lowest < one_run.RAREST else lowest
        assert alarms_of(1 - lowest) <= alarms + 1e-12


@pytest.mark.parametrize("by", ["images", "losses"])
def test_what_was_learned_by_heart_is_shown_and_refutes_a_claim(by: str) -> None:
    found, own, out = drawn(2000, 300), pictures(300), pictures(100)
    if by == "images":
        noise = RANDOM.integers(-20, 20, (int(found.there_M.sum()), 6, 6, 1))
        near = np.clip(own.images_NHWC[found.there_M].astype(int) + noise, 0, 255).astype(np.uint8)
        others = pictures(100)
        released = Images(
            np.concatenate([others.images_NHWC, near]), np.append(others.labels_N, own.labels_N[found.there_M]),
            own.class_names,
        )  # fmt: skip
        scores = by_distance(own, released, out)
    else:
        size, usual = np.array([0.1, 1.0, 10.0]), RANDOM.normal(3, 0.2, (100, 3))
        learned = RANDOM.normal(3, 0.2, (300, 3)) - 2.0 * found.there_M[:, None]
        scores = one_run.by_losses(size * learned, size * usual, own, out)
    shown = one_run.shown(scores, found.there_M, Claim(1.0, 1e-5, None))
    assert 2 < shown.epsilon <= shown.gaussian and shown.refuted
    assert not one_run.shown(scores, found.there_M, MUCH).refuted


def test_near_is_judged_by_images_that_were_out_and_of_the_same_class() -> None:
    """A picture like many others is near to what is released also when it was not there; and what is near, but of
    another class, says nothing."""
    plain, odd = np.full((1, 6, 6, 1), 100, np.uint8), pictures(1).images_NHWC
    close = np.clip(odd.astype(int) + 40, 0, 255).astype(np.uint8)

    def of(*pixels: np.ndarray, labels: list[int]) -> Images:
        return Images(np.concatenate(pixels).astype(np.uint8), np.array(labels), tuple("abc"))

    own, out = of(plain, odd, labels=[0, 0]), of(plain + 2, plain + 4, plain + 3, labels=[0, 0, 0])
    usual, remembered = by_distance(own, of(plain + 3, close, labels=[0, 0]), out)
    assert remembered > usual + 0.5
    _, other_class = by_distance(own, of(plain + 3, close, labels=[0, 1]), out)
    assert other_class < remembered - 0.5
    assert np.isfinite(by_distance(own, of(plain + 3, labels=[2]), of(plain, labels=[1]))).all()


def test_a_level_of_large_losses_counts_no_more_than_one_of_small_ones_and_a_hard_class_not_as_out() -> None:
    own, out = pictures(50), pictures(40)
    losses, usual = RANDOM.normal(0, 1, (50, 4)), RANDOM.normal(0, 1, (40, 4))
    scores = one_run.by_losses(losses, usual, own, out)
    size = np.array([1e-3, 1, 50, 1e4])
    assert one_run.by_losses(losses * size + 7, usual * size + 7, own, out) == pytest.approx(scores)
    harder = (own.labels_N == 2)[:, None], (out.labels_N == 2)[:, None]
    moved = one_run.by_losses(losses + 5 * harder[0], usual + 5 * harder[1], own, out)
    assert np.corrcoef(moved, scores)[0, 1] > 0.8 and abs(np.mean(moved[own.labels_N == 2])) < 0.5
    assert one_run.by_losses(np.zeros((50, 2)), np.zeros((40, 2)), own, out).tolist() == [0.0] * 50


def test_a_persons_score_is_that_of_the_surest_image_or_the_mean() -> None:
    told = np.array([1.0, -2.0, 5.0, 0.5]), np.array([0, 1, 0, 1]), 2
    assert one_run.of_units(*told, surest=True).tolist() == [5.0, 0.5]
    assert one_run.of_units(*told, surest=False).tolist() == [3.0, -0.75]


def test_there_is_something_to_compare_with() -> None:
    with pytest.raises(ValueError, match=r"^there are no images to compare canaries with: give at least one$"):
        by_distance(pictures(2), pictures(0), pictures(3))
