"""What a report begins with: how good its figures are, beside guessing and beside the floor."""

from __future__ import annotations

from typing import Any

import pytest
from report_stand_in import digits, report

from raysyn.report.classes import failed, mistakes, rows
from raysyn.report.run_page import render
from raysyn.report.verdict import usefulness, verdict

GUESSING = {"chance": 0.1, "largest_class": 0.6}


def told(
    accuracy: float, floor: float | None = None, guessing: dict[str, float] | None = GUESSING, guarantee: str = "dp"
) -> str:
    mean = {"accuracy": accuracy, "accuracy_real_data": 0.95} | ({} if floor is None else {"accuracy_floor": floor})
    metrics = {"utility_mean": mean, "utility_guessing": guessing}
    return usefulness({"metrics": metrics, "privacy": {"guarantee": guarantee}})


@pytest.mark.parametrize(
    ("accuracy", "floor", "sentence"),
    [
        (0.9, 0.84, "is 6.0 points above the floor, noisy class means of the same budget (84.0 %)."),
        (
            *(0.8, 0.84),
            "is 4.0 points below the floor, noisy class means of the same budget (84.0 %): use noisy_means instead of "
            'it, another release, whose epsilon adds, and say so with --chosen-among "2 methods".',
        ),
        (0.845, 0.84, "is no better than the floor, noisy class means of the same budget (84.0 %)."),
        (0.835, 0.84, "is no better than the floor, noisy class means of the same budget (84.0 %)."),
    ],
)
def test_it_stands_beside_the_floor(accuracy: float, floor: float, sentence: str) -> None:
    assert told(accuracy, floor) == f"The mean over classifiers, {100 * accuracy:.1f} %, {sentence}"


def test_a_run_that_promises_nothing_has_a_floor_that_does() -> None:
    assert told(0.9, 0.84, guarantee="none").endswith("the floor, noisy class means at epsilon 10 (84.0 %).")


@pytest.mark.parametrize("accuracy", [0.3, 0.6, 0.605])
def test_what_is_no_better_than_guessing_is_said_to_be_so(accuracy: float) -> None:
    sentence = (
        f"The mean over classifiers, {100 * accuracy:.1f} %, is no better than always answering with the largest "
    )
    assert told(accuracy) == sentence + "class (60.0 %)."
    assert told(accuracy, 0.2).startswith(sentence) and "points above the floor" in told(accuracy, 0.2)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-0.02, 0.14, "which may be chance (95 % interval -2.0 to +14.0 points)."), (0.01, 0.11, "(84.0 %).")],
)
def test_a_difference_within_its_interval_is_said_to_be(low: float, high: float, said: str) -> None:
    mean = {"accuracy": 0.9, "accuracy_floor": 0.84}
    metrics = {"utility_mean": mean, "utility_guessing": GUESSING, "utility_above_floor": {"low": low, "high": high}}
    sentence = usefulness({"metrics": metrics, "privacy": {"guarantee": "dp"}})
    assert "is 6.0 points above the floor" in sentence and sentence.endswith(said)


def test_what_few_test_images_show_is_not_said_to_be_better_than_guessing() -> None:
    metrics = {"utility_mean": {"accuracy": 0.7}, "utility_guessing": GUESSING, "utility_interval": {"low": 0.55}}
    said = usefulness({"metrics": metrics, "privacy": {"guarantee": "dp"}})
    assert said.endswith("is not surely better than always answering with the largest class (60.0 %).")


FAILED = [("a", 0, ["chance", "floor"], True), ("b", 1, ["floor"], False)]


def classes() -> dict[str, Any]:
    return {
        "test_images": [40, 40, 0], "accuracy": [0.1, 0.5, None], "accuracy_real_data": [0.2, 0.95, None],
        "accuracy_low": [0.04, 0.35, None], "accuracy_high": [0.23, 0.65, None],
        "failed": [dict(zip(("class", "index", "why", "real_too"), one, strict=True)) for one in FAILED],
        "mistakes": [{"class": "a", "taken_for": "c", "share": 0.75}],
        "confusion": {"synthetic": [[4, 6, 30], [20, 20, 0], [0, 0, 0]], "real": [[8, 32, 0], [2, 38, 0], [0, 0, 0]]},
    }  # fmt: skip


def test_failed_classes_are_named_once_and_many_are_counted() -> None:
    assert failed(classes()) == "Class a: no better than guessing. Class b: below the floor."
    many = {"failed": [{"class": str(at), "why": ["chance"]} for at in range(7)]}
    assert failed(many) == "Classes 0, 1, 2, 3, 4 and 2 more: no better than guessing."
    long = "a" * 203
    assert failed({"failed": [{"class": long, "why": ["few"]}]}).startswith(f"Class {long[:39]}…: too few")
    taken = {"class": "b", "taken_for": long, "share": 1}
    assert mistakes({"mistakes": [taken]}) == f"Most often taken: b for {long[:39]}… (100.0 %)."
    assert failed(None) == failed({"failed": []}) == ""


def test_the_page_tells_of_each_class_and_of_what_it_is_taken_for() -> None:
    made = content(floor=False)
    made["dataset"]["classes"], made["metrics"]["utility_classes"] = ["a", "b", "c"], classes()
    page = render(made, digits(20))
    assert "no better than guessing (from real images, too)" in page and "4 to 23 %" in page
    assert "Most often taken: a for c (75.0 %)." in page and page.count('class="confusion"') == 2
    assert "Class a: no better than guessing. Class b: below the floor." in page


def test_of_many_classes_the_worst_are_shown() -> None:
    reached = [1 - at / 100 for at in range(30)]
    many = {"accuracy": reached, "accuracy_low": reached, "accuracy_high": reached, "test_images": [9] * 30}
    shown = rows({**many, "failed": []}, [f"class {at}" for at in range(30)])
    assert [row[0] for row in shown[1:]] == [f"class {at}" for at in range(29, 9, -1)]


def test_what_is_not_known_is_not_said() -> None:
    assert told(0.9) == ""
    assert told(0.9, 0.5, None) == ""
    assert usefulness({"metrics": {"utility_mean": None, "utility_guessing": None}}) == ""
    assert usefulness({"metrics": {}}) == ""


def content(floor: bool) -> dict[str, Any]:
    made = report().as_dict()
    made["metrics"]["utility_guessing"] = {"chance": 0.1, "largest_class": 0.11}
    if floor:
        for entry in (*made["metrics"]["utility"].values(), made["metrics"]["utility_mean"]):
            entry["accuracy_floor"] = 0.7
        # As of DP-ImgSyn's students, which have none.
        del made["metrics"]["utility"]["mlp"]["accuracy_floor"]
    return made


def test_the_verdict_ends_with_it() -> None:
    said = verdict(content(floor=True), 600)
    assert said.endswith("real images 97.1 %. The mean over classifiers, 91.1 %, is 21.1 points above the floor, noisy "
                         "class means of the same budget (70.0 %).")  # fmt: skip
    assert verdict(content(floor=False), 600).endswith("real images 97.1 %.")
    alone = content(floor=False)
    alone["metrics"]["utility"] = {"mlp": {"accuracy": 0.9}}
    assert "; an MLP trained on them reaches 90.0 % on real test images" in verdict(alone, 600)
    alone["metrics"]["utility"] = {"logreg": {"accuracy": 0.9}}
    assert "; a logistic regression trained on them" in verdict(alone, 600)
    # An old report of several, without their mean.
    old = {"utility": {"logreg": {"accuracy": 0.9}, "cnn": {"accuracy": 0.8}}}
    assert "; a CNN trained on them reaches 80.0 %" in verdict({**alone, "metrics": old}, 600)


@pytest.mark.parametrize("floor", [True, False])
def test_the_page_has_a_column_for_it_where_there_is_one(floor: bool) -> None:
    page = render(content(floor), digits(20))
    assert ("the floor's" in page) == floor and page.count("70.0 %") == (5 if floor else 0)
    assert "Guessing reaches 10.0 %" in page and "class 11.0 %" in page
