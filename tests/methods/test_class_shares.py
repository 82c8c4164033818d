"""How many synthetic images of each class: what is stated is what is drawn, and no true count is."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raysyn.data.images import Dataset, Images
from raysyn.methods import catalogue
from raysyn.methods.basics import Basics
from raysyn.methods.bearing import bearable_noise
from raysyn.methods.class_shares import check_counted, known, of_counts, say_few, stated, turns
from raysyn.methods.declared import ClassesConfig
from raysyn.methods.dp_feta.config import plan
from raysyn.methods.dp_feta.experiments import PARTS
from raysyn.privacy.cost import Budget
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import counts, moments
from raysyn.privacy.queries.counts import BudgetWithCounts
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.report.release_config import ReleaseConfig
from raysyn.screen.console import Console


def test_without_shares_classes_take_turns() -> None:
    assert turns(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]
    np.testing.assert_array_equal(turns(1000, 7), turns(1000, 7, (0.2,) * 7))


@pytest.mark.parametrize("counts", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [[1.0, 2.0, 3.0]], [1.0, math.nan, 2.0],
                                    [1.0, math.inf, 2.0], 3.0])  # fmt: skip
def test_counts_that_are_none_of_these_classes_are_refused(counts: Any) -> None:
    config = Basics(classes=ClassesConfig(noisy_counts=20.0))
    assert known(config, ("a", "b", "c"), lambda _: torch.tensor([3.0, -1.0, 2.0])) == (3, 0, 2)
    with pytest.raises(ValueError, match=r"^counts are not a number for each of a, b, c$"):
        known(config, ("a", "b", "c"), lambda _: torch.tensor(counts))


@pytest.mark.parametrize("shares", [(3.0, 1.0), (1.0, 999.0), (5.0, 1.0, 1.0, 0.5), tuple(range(1, 40))])
def test_any_beginning_holds_each_class_as_its_share_says(shares: tuple[float, ...]) -> None:
    parts, whole = np.array(shares) / sum(shares), turns(5000, len(shares), shares)
    for count in (1, 7, 100, 999, 5000):
        np.testing.assert_array_equal(turns(count, len(shares), shares), whole[:count])
        held = np.bincount(whole[:count], minlength=len(shares))
        # Webster's method may miss by a little more than a half where classes are many.
        assert np.abs(held - count * parts).max() < 1.5


def test_shares_are_by_name_or_in_order() -> None:
    names = ("cat", "a=b", "dog")
    assert ClassesConfig().of(names) is None
    assert ClassesConfig(shares=("1", "2", "3.5")).of(names) == (1, 2, 3.5)
    assert ClassesConfig(shares=("dog=1", "a=b=2", "cat=3")).of(names) == (3, 2, 1)
    config = Basics(classes=ClassesConfig(shares=("2", "1", "1")))
    assert np.bincount(turns(40, 3, stated(config, names))).tolist() == [20, 10, 10]
    for shares, said in (
        (("1", "2"), "has 2 numbers"), (("cat=1", "dog=1"), "lacks a=b"), (("cat=1", "cow=1", "dog=1"), "has cow"),
        (("cat=1", "cat=1", "dog=1", "a=b=1"), "twice"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            ClassesConfig(shares=shares).of(names)
    for shares in (("1e308",) * 3, ("0",), ("-1",), ("many",), ("inf",), ("nan",), ("1", "cat=2")):
        with pytest.raises(ValueError, match=r"^classes\.shares"):
            ClassesConfig(shares=shares)


def test_a_class_without_a_share_is_not_drawn() -> None:
    assert of_counts(np.array([3.5, -2.0, 1.5])) == (3.5, 0.0, 1.5) and of_counts(np.array([-1.0, -2.0])) is None
    labels = turns(50, 3, (3.5, 0.0, 1.5))
    assert np.bincount(labels, minlength=3).tolist() == [35, 0, 15]


def test_one_image_moves_noisy_counts_by_what_is_paid_for_and_noise_is_as_planned() -> None:
    price, stream = counts.cost(20.0), Stream(bytes(range(32)), counts.COUNTS)
    images = Images(np.zeros((7, 8, 8, 1), np.uint8), np.array([0, 0, 1, 1, 1, 3, 3]), ("a", "b", "c", "d"))
    whole = counts.class_counts(images, price, stream)
    assert whole.cost == price and price.noise_multiplier == 20.0 and (price.sampling_rate, price.steps) == (1.0, 1)
    for one in range(len(images)):
        less = counts.class_counts(images.select(np.arange(7) != one), price, stream).value
        moved = whole.value - less
        np.testing.assert_allclose(moved, np.eye(4)[images.labels_N[one]], atol=1e-9)
    exact, noise = np.array([2, 3, 0, 2]), stream.normal(0, "counts", 4)
    np.testing.assert_allclose(whole.value, exact + 20.0 * noise)


def test_counts_are_a_part_of_the_budget_and_no_more_than_it_is_spent() -> None:
    config = catalogue.find("dp_feta").presets()["quick"]
    config = replace(config, budget=replace(config.budget, accountant="rdp"))
    asks = replace(config, classes=ClassesConfig(noisy_counts=20.0))
    plain, whole = plan(config, 1500, 10), plan(asks, 1500, 10)
    assert list(whole.stages) == [counts.COUNTS, *plain.stages] and whole.epsilon() <= config.budget.epsilon * 1.000001
    assert whole.noise("finetune") > plain.noise("finetune")
    with pytest.raises(ValueError, match=r"^classes\.noisy_counts is 20.0, and classes\.shares"):
        ClassesConfig(noisy_counts=20.0, shares=("1", "2"))
    with pytest.raises(ValueError, match=r"at least 0\.5 images"):
        ClassesConfig(noisy_counts=0.1)
    nobody = Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), ("a", "b"))
    dataset = Dataset("set", nobody, nobody, None)
    swept = replace(asks, experiment=replace(asks.experiment, counts=(0, 10)))
    method = catalogue.find("dp_feta").method()
    with Console(io.StringIO()) as console:
        method.look_at_shares(asks, console, dataset, whole)
        for planned in (plain, None):
            with pytest.raises(ValueError, match="does not ask"):
                method.look_at_shares(asks, console, dataset, planned)
    check_counted(asks)
    with pytest.raises(ValueError, match="further runs"):
        check_counted(swept)


def test_noisy_moments_share_what_the_counts_leave() -> None:
    plain = Budget(epsilon=1.0, accountant="rdp")
    rest = moments.plan(MomentsConfig(), plain, 3000, 10, (28, 28, 1))
    for std in (100.0, 5.0):
        with_counts = BudgetWithCounts(epsilon=1.0, accountant="rdp", counts_std=std)
        planned = moments.plan(MomentsConfig(), with_counts, 3000, 10, (28, 28, 1))
        assert list(planned.stages) == [counts.COUNTS, *rest.stages] and 0.99 < planned.epsilon() <= 1.000001
        # Shares of what is left, as without counts of the whole.
        assert planned.noise("spread") == pytest.approx(3 * planned.noise("means"), rel=1e-3)
        assert bearable_noise(with_counts, 3000, 1) > bearable_noise(plain, 3000, 1)
    too_much = BudgetWithCounts(epsilon=1.0, accountant="rdp", counts_std=1.0)
    with pytest.raises(ValueError, match=r"or with more noise \(--classes\.noisy-counts\)"):
        moments.plan(MomentsConfig(), too_much, 3000, 10, (28, 28, 1))


def test_how_a_release_is_written_makes_no_other_run_to_compare() -> None:
    config = catalogue.find("dp_feta").presets()["quick"]
    other = replace(config, release=ReleaseConfig(layout=("folder",), license="mit"))
    assert PARTS.reads.whole(config) == PARTS.reads.whole(other) and PARTS.reads.begun(config) == PARTS.reads.begun(
        other
    )
    assert PARTS.reads.whole(config) != PARTS.reads.whole(replace(config, seed=7))


def said_of(counts: list[int], *shares: str, noise: float | None = None) -> str:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.zeros((len(labels), 8, 8, 1), np.uint8)
    images = Images(pixels, labels, tuple(f"class {at}" for at in range(len(counts))))
    text = io.StringIO()
    with Console(text) as console:
        say_few(
            console,
            Dataset("set", images, images, None),
            Basics(classes=ClassesConfig(shares=shares, noisy_counts=noise)),
        )
    return " ".join(text.getvalue().split())


def test_a_class_with_too_few_images_for_what_is_asked_is_warned_of() -> None:
    assert said_of([100, 90, 110]) == "" == said_of([100, 100, 0])
    told = said_of([500, 480, 20])
    assert "class 2 (20 images, 2 %, asked to be 33.3 %" in told and "class 1" not in told and "stays inside" in told
    assert said_of([500, 480, 20], "50", "48", "2") == ""
    assert said_of([500, 480, 20], noise=20) == ""
    assert "noise of 100 images drowns counts of 333" in said_of([500, 480, 20], noise=100)


@pytest.mark.parametrize("name", ["dp_imgsyn", "dp_prototypes"])
def test_methods_that_draw_no_class_that_is_asked_for_say_so(name: str) -> None:
    nobody = Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), ("a", "b"))
    entry, shares = catalogue.find(name), ClassesConfig(shares=("1", "2"))
    config = replace(entry.presets()["quick"], classes=shares)
    with Console(io.StringIO()) as console, pytest.raises(ValueError, match=rf"^classes\.shares is 1, 2, but {name}"):
        entry.method().look_at_shares(config, console, Dataset("set", nobody, nobody, None), None)


@pytest.mark.parametrize(
    "name",
    [
        "noisy_means",
        "evolution",
        "dp_merf",
        "dp_ntk",
        "dp_mepf",
        "dp_kernel",
        "p3gm",
        "dp_feta",
        "privimage",
        "pigan",
        "knowledge_recycling",
    ],
)
def test_methods_that_draw_what_is_asked_for_warn_of_few_images_and_refuse_other_classes(name: str) -> None:
    labels = np.repeat(np.arange(3), [500, 480, 20])
    images = Images(np.zeros((1000, 8, 8, 1), np.uint8), labels, ("a", "b", "c"))
    dataset, entry, text = Dataset("set", images, images, None), catalogue.find(name), io.StringIO()
    config = entry.presets()["quick"]
    with Console(text) as console:
        entry.method().look_at_shares(config, console, dataset, None)
        with pytest.raises(ValueError, match=r"^classes\.shares has 2 numbers"):
            entry.method().look_at_shares(
                replace(config, classes=ClassesConfig(shares=("1", "2"))), console, dataset, None
            )
    assert "few private images of c (20 images" in " ".join(text.getvalue().split())
