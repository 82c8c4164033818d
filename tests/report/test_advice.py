"""What a report advises: each rule where its condition holds, and nowhere else."""

from __future__ import annotations

import math
from typing import Any

import pytest
from report_stand_in import digits, report

from raysyn.report.advice import FEW_STEPS, GAINS, advice, scale
from raysyn.report.run_page import render


def content(
    *, accuracy: float = 0.6, real: float | None = 0.9, n: int = 3000, epsilon: float = 1.0, steps: int = 500,
    method: str = "noisy_means", high: float = 0.62, channels: int = 1, **metrics: Any,
) -> dict[str, Any]:  # fmt: skip
    """A run of ten classes."""
    made = report().as_dict()
    made["method"], made["dataset"]["n_train"], made["config"] = method, n, {}
    made["dataset"]["shape"] = [8, 8, channels]
    made["privacy"]["epsilon_budget"] = epsilon
    made["privacy"]["ledger"][-1]["steps"] = steps
    made["metrics"]["utility_mean"] = {"accuracy": accuracy} | ({} if real is None else {"accuracy_real_data": real})
    made["metrics"]["utility_interval"] = {"low": accuracy - 0.02, "high": high}
    made["metrics"] |= metrics
    return made


def told(**changes: Any) -> list[str]:
    return [one.what for one in advice(content(**changes))]


BUDGET, CLASSES, STEPS = "More ε or more images", "Fewer classes", "More steps"
PUBLIC = "Public images that resemble yours"


def test_more_budget_images_and_fewer_classes_where_noise_is_what_is_missing() -> None:
    assert scale(content()) == 300
    assert told(n=2000) == [BUDGET, CLASSES]
    assert told(n=3000)[0] == BUDGET and CLASSES not in told(n=3000)
    (budget, *_) = advice(content(n=2000))
    assert "is 200. Where that was 100 to 300" in budget.why and "+1 to +20 points, +7 in the middle" in budget.why
    assert "0 to 50" in advice(content(n=100))[0].why
    # Persons are called so, and what was measured stays of images.
    persons = content(n=9000)
    persons["dataset"]["n_persons"] = 2000
    (more, *_) = advice(persons)
    assert more.what == "More ε or more persons"
    assert more.why.startswith(
        "ε times persons per class is 200. Where ε times images per class, of a person each, was"
    )
    # Two classes are the fewest.
    two = content(n=200)
    two["dataset"]["classes"] = ["a", "b"]
    assert CLASSES not in [one.what for one in advice(two)]


def test_not_more_budget_where_there_is_enough_or_nothing_is_missing() -> None:
    assert told(n=20_000) == ["Not more ε"]
    assert "at least 1,000" in advice(content(n=20_000))[0].why
    assert told(n=20_000, real=0.65) == []
    assert told(real=0.615) == ["Not more ε"]
    # Image by image, as the floor is: the same images told both.
    behind = {"value": 0.04, "low": -0.01, "high": 0.09}
    assert told(real=0.61, utility_below_real=behind) == ["Not more ε"]
    assert BUDGET in told(real=0.64, high=0.7, utility_below_real={**behind, "low": 0.01})
    assert advice(content(real=0.61))[0].why == "From real images classifiers learned 1.0 points more."
    (same,) = advice(content(real=0.59, utility_below_real=behind))
    (less,) = advice(content(real=0.55, utility_below_real={"value": -0.05, "low": -0.08, "high": -0.02}))
    assert less.why == "From real images classifiers learned nothing more."
    assert same.why == "From real images classifiers learned nothing more (at most 9.0, by a 95 % interval)."


@pytest.mark.parametrize(("real", "high"), [(0.75, 0.31), (0.64, 0.09), (0.6, 0.17)])
def test_that_a_gap_is_open_is_no_evidence_that_there_is_none(real: float, high: float) -> None:
    behind = {"value": real - 0.6, "low": -0.01, "high": high}
    (one,) = advice(content(real=real, utility_below_real=behind))
    assert one.what == "Whether more ε would help cannot be told"
    assert f"open from -1.0 to {100 * high:+.1f} points" in one.why and "more of them would tell" in one.why


def test_public_photographs_are_advised_where_they_helped() -> None:
    photographs = "If these are photographs: public ones of a like kind, with dp_prototypes"
    assert photographs in told(channels=3) and photographs not in told()
    assert photographs in told(channels=3, n=10_000) and photographs in told(channels=3, epsilon=10.0)
    assert photographs not in told(channels=3, n=10_000, epsilon=10.0) + told(channels=3, method="dp_prototypes")
    assert photographs not in told(channels=3, real=0.69)


def test_steps_are_few_or_not() -> None:
    assert STEPS in told(steps=FEW_STEPS - 1, method="dp_feta") and STEPS not in told(steps=FEW_STEPS, method="dp_feta")
    assert "The stage finetune took 35 steps" in advice(content(steps=35))[0].why


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        ({"public": {"name": ["glyphs"], "path": []}}, True),
        ({"public": {"name": ["glyphs"], "path": ["letters.parquet"]}}, False),
        ({"public": {"name": ["kmnist"], "path": []}}, False),
        ({"public": {"name": ["glyphs"], "path": []}, "pretraining": "none"}, False),
        ({"public": {"name": ["glyphs"], "path": []}, "alignment": {"start": "gaussian"}}, False),
        ({}, False),
    ],
)
def test_letters_are_no_public_images(config: dict[str, Any], asked: bool) -> None:
    made = content(method="dp_imgsyn") | {"config": config}
    assert (PUBLIC in [one.what for one in advice(made)]) == asked


def test_what_real_images_do_not_teach_and_few_test_images() -> None:
    failed = [{"class": "a", "why": ["chance"], "real_too": True}, {"class": "b", "why": ["chance"], "real_too": False}]
    assert told(utility_classes={"failed": failed})[-1] == "More real images of a"
    many = [{"class": "a" * 203, "why": ["chance"], "real_too": True}] * 98
    assert told(utility_classes={"failed": many})[-1].endswith("a…, " + "a" * 39 + "… and 93 more")
    few = advice(content(utility_interval={"low": 0.5, "high": 0.62}))[-1]
    assert few.what == "More test images" and "open by 12 points" in few.why


@pytest.mark.parametrize(
    ("above", "n", "asked"),
    [(0.05, 1000, True), (-0.09, 1000, True), (0.11, 1000, False), (0.05, 10_000, False), (0.01, 1000, False)],
)
def test_one_release_is_not_called_better_than_another_by_a_little(above: float, n: int, asked: bool) -> None:
    sentences = told(n=n, utility_above_floor={"value": above, "low": above, "high": above})
    known = f"Several seeds, before you call it {'better' if above > 0 else 'worse'} than the floor"
    assert (known in sentences) == asked


def test_what_is_not_known_is_not_advised() -> None:
    assert told(utility_mean=None) == []
    none = content(n=100) | {"privacy": report(dp=False).as_dict()["privacy"]}
    assert advice(none) == []
    assert told(real=None, n=100) == [BUDGET, CLASSES]
    assert [limit for limit, _ in GAINS] == sorted(limit for limit, _ in GAINS) and GAINS[-1][0] == math.inf


def test_the_page_begins_with_it() -> None:
    page = render(content(n=2000), digits(20))
    assert page.index("What would help") < page.index("Privacy budget") and f"<b>{BUDGET}.</b>" in page
    assert "What would help" not in render(content(n=20_000, real=0.65), digits(20))


def test_released_images_that_are_private_ones_come_first() -> None:
    (first, *_) = advice(content(released_equal_to_private=3))
    assert first.what == "Before anything leaves: look at the 3 released images that equal a private one"
    assert "Blank images" in first.why and "handed on" in first.why
    assert first.what in render(content(released_equal_to_private=3), digits())
    assert not any("equal" in one for one in told(released_equal_to_private=0))
    unjudged = content(released_equal_to_private=1)
    unjudged["metrics"]["utility_mean"] = None
    (only,) = advice(unjudged)
    assert "1 released image that equals a private one" in only.what
