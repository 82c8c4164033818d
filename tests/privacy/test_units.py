"""One rule for persons: the mean of what their images would contribute, so that no sensitivity changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Budget, Cost
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.queries.functions import RoundsConfig
from raysyn.privacy.queries.layer_statistics import StatisticsConfig
from raysyn.privacy.sgd_config import SGDConfig

STREAM = Stream(bytes(range(32)), "persons")
SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=8)


def of_sizes(sizes: list[int], seed: int = 0) -> Images:
    """Persons with so many images each, in no order and of any classes."""
    random = np.random.default_rng(seed)
    persons = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    pixels = random.integers(0, 256, (len(persons), 4, 4, 1), dtype=np.uint8)
    return Images(pixels, random.integers(0, 3, len(persons)), ("a", "b", "c"), persons)


@settings(max_examples=50, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 9))
def test_the_weights_of_a_persons_images_make_one(sizes: list[int], seed: int) -> None:
    private = of_sizes(sizes, seed)
    sums = np.bincount(private.persons_N, units.weights(private))
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)
    assert units.weights(replace(private, persons_N=None)).tolist() == [1.0] * sum(sizes)


@settings(max_examples=50, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 9))
def test_who_takes_part_does_so_with_all_images(sizes: list[int], seed: int) -> None:
    private = of_sizes(sizes, seed)
    taking = np.flatnonzero(np.random.default_rng(seed).random(len(sizes)) < 0.5)
    found = units.images_of(private, taking)
    assert found.tolist() == [at for at, person in enumerate(private.persons_N) if person in taking]
    alone = replace(private, persons_N=None)
    some = np.arange(0, len(private), 2)
    assert units.images_of(alone, some) is some


@settings(max_examples=50, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 9), copies=st.integers(1, 5))
def test_copies_are_of_the_persons_own_images(sizes: list[int], seed: int, copies: int) -> None:
    private = of_sizes(sizes, seed)
    albums = units.Albums.of(private)
    assert albums is not None and units.Albums.of(replace(private, persons_N=None)) is None
    persons = np.arange(len(sizes))
    drawn = albums.draw(STREAM, seed, persons, copies)
    assert drawn.shape == (len(sizes), copies)
    assert (persons == private.persons_N[drawn].T).all()
    # Whoever else is asked, and in whatever order.
    np.testing.assert_array_equal(albums.draw(STREAM, seed, persons[::-2], copies), drawn[::-2])


def test_copies_draw_a_persons_images_uniformly_and_independently() -> None:
    """Chi-square over images, and over pairs of them in two copies, in two steps and of two persons of as many images:
    each wrong once in 10^5."""
    private = of_sizes([5, 3, 5, 1])
    albums = units.Albums.of(private)
    assert albums is not None
    rank = np.zeros(len(private), int)
    for person in range(4):
        mine = np.flatnonzero(private.persons_N == person)
        rank[mine] = np.arange(len(mine))
    drawn = np.stack([rank[albums.draw(STREAM, step, np.arange(4), 2)] for step in range(2000)])  # (step, person, copy)
    for person, count in enumerate((5, 3, 5)):
        seen = np.bincount(drawn[:, person].ravel(), minlength=count)
        assert stats.chisquare(seen).pvalue > 1e-5
    pairs = {
        "two copies": (drawn[:, 0, 0], drawn[:, 0, 1]),
        "two steps": (drawn[:-1, 0, 0], drawn[1:, 0, 0]),
        "two persons": (drawn[:, 0, 0], drawn[:, 2, 0]),
    }
    for name, (first, second) in pairs.items():
        assert stats.chisquare(np.bincount(5 * first + second, minlength=25)).pvalue > 1e-5, name
    assert (drawn[:, 3] == 0).all()


def test_persons_join_at_the_rate_whatever_they_hold() -> None:
    """In 4,000 steps at rate 0.3 each of six persons, with 1 to 20 images: two-sided binomial, each wrong once in
    10^5; and all their images join, or none."""
    private = of_sizes([1, 2, 5, 10, 20, 1])
    joined = np.zeros(6, int)
    for step in range(4000):
        taking = participants(STREAM, step, private.units, 0.3)
        joined[taking] += 1
        there = np.bincount(private.persons_N[units.images_of(private, taking)], minlength=6)
        assert set(there[taking] - np.bincount(private.persons_N)[taking]) <= {0} and there.sum() == there[taking].sum()
    assert all(stats.binomtest(int(times), 4000, 0.3).pvalue > 1e-5 for times in joined)


def plan(n: int) -> Plan:
    config = SGDConfig(batch_size=20, epochs=2)
    query = Cost(mechanism="means", noise_multiplier=20.0, sampling_rate=1.0, steps=1, note="disjoint classes")
    return Plan.within(Budget(delta=1e-4), n, "finetune", config.cost(n), {"means": query})


def test_a_plan_is_of_the_units_that_are_there() -> None:
    """The same numbers as of so many images, under the name of what they promise."""
    private = of_sizes([5] * 40)
    of_persons = units.planned(private, plan)
    assert {cost.adjacency for cost in of_persons.stages.values()} == {ADD_REMOVE_PERSON}
    assert {cost.note for cost in of_persons.stages.values()} == {units.NOTE}
    assert of_persons.epsilon() == plan(40).epsilon() and of_persons.noise("finetune") == plan(40).noise("finetune")
    of_images = units.planned(replace(private, persons_N=None), plan)
    assert of_images == plan(200)
    assert units.planned(private, lambda n: None) is None


def test_a_plan_that_mixes_units_is_refused() -> None:
    private = of_sizes([5] * 40)
    of_images, of_persons = plan(40).stages, units.planned(private, plan).stages
    with pytest.raises(ValueError, match="adjacency is mixed"):
        replace(plan(40), stages={"means": of_persons["means"], "finetune": of_images["finetune"]})
    units.check(of_persons["means"], private)
    units.check(of_images["means"], replace(private, persons_N=None))
    with pytest.raises(ValueError, match="the price of means is for adjacency 'add/remove one image"):
        units.check(of_images["means"], private)
    with pytest.raises(ValueError, match="the price of means is for adjacency 'add/remove one image"):
        units.check_plan(plan(40), private)
    units.check_plan(units.planned(private, plan), private)
    with pytest.raises(ValueError, match="the price of means is for adjacency 'add/remove one person"):
        units.check(of_persons["means"], replace(private, persons_N=None))
    assert ADD_REMOVE != ADD_REMOVE_PERSON


@pytest.mark.parametrize("cost", [
    lambda n: SGDConfig().cost(n, "finetune"), RoundsConfig(batch_size=4096).cost,
    StatisticsConfig(batch_size=4096).cost,
])  # fmt: skip
def test_a_batch_above_the_persons_is_refused_as_that(cost: Callable[[int], Cost]) -> None:
    def made(n: int) -> Plan:
        return Plan.within(Budget(), n, "it", cost(n), {})

    private = of_sizes([5] * 40)
    with pytest.raises(
        ValueError, match=r"batch_size is 4096: give 1 to 40, the number of persons.* 200 private"
    ) as no:
        units.planned(private, made)
    assert "training images" not in str(no.value)
    with pytest.raises(ValueError, match="batch_size is 4096: give 1 to 200, the number of training images"):
        units.planned(replace(private, persons_N=None), made)


def test_what_is_wrong_with_a_plan_says_what_it_counts() -> None:
    private = of_sizes([5] * 10)
    with pytest.raises(ValueError, match=r"give 1 to 10, .* \(persons are what is counted here: 10 persons with 50 "):
        units.planned(private, plan)
    with pytest.raises(ValueError, match=r"^the data has 10 persons, too few for the default delta"):
        units.planned(private, lambda n: Budget(epsilon=1.0).delta_for(n))  # type: ignore[type-var,arg-type,return-value]
    alone = of_sizes([1] * 10)
    with pytest.raises(ValueError, match=r"give 1 to 10, the number of training images$"):
        units.planned(replace(alone, persons_N=None), plan)


def test_a_plan_for_another_number_of_units_is_refused() -> None:
    private = of_sizes([5] * 40)
    of_images = replace(private, persons_N=None)
    for n in (100, 201):
        with pytest.raises(ValueError, match=rf"^the plan is for n = {n}, but there are 200 images: give Plan\.within"):
            units.check_plan(plan(n), of_images)
    query = units.priced(Cost(mechanism="sum", noise_multiplier=None, sampling_rate=1.0, steps=1), private)
    by_images = Plan.within(Budget(delta=1e-4), len(private), "sum", query)
    with pytest.raises(
        ValueError, match=r"^the plan is for n = 200, but there are 40 persons: give Plan\.within the n"
    ):
        units.check_plan(by_images, private)
    units.check_plan(plan(200), of_images)


def test_a_delta_that_allows_to_publish_somebody_is_refused_whoever_made_the_plan() -> None:
    private = of_sizes([5] * 40)
    query = Cost(mechanism="sum", noise_multiplier=20.0, sampling_rate=1.0, steps=1)
    by_hand = Plan({"sum": query}, delta=1 / 200, accountant="rdp", epsilon_budget=5.0)
    with pytest.raises(
        ValueError, match=r"^the plan's delta is 0\.005, but there are 200 private images, and with 1/n"
    ):
        units.check_plan(by_hand, replace(private, persons_N=None))
    units.check_plan(replace(by_hand, delta=1 / 201), replace(private, persons_N=None))
    many = replace(of_sizes([1] * 201), persons_N=None)
    with pytest.raises(ValueError, match=r"plan with a delta below 0\.0049$"):  # 1/201 is 0.004975
        units.check_plan(replace(by_hand, delta=0.005), many)
