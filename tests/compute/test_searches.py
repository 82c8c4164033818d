"""What a search cannot do is said before its trials, and what a trial cannot be read by with its parameters."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from raysyn.compute.local import Local
from raysyn.compute.searches import Between, Search
from raysyn.compute.told import Told

SEARCH = {"metric": "score", "reports": 2}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reports": 0}, r"^search\.reports is 0: give a whole number of at least 1$"),
        ({"trials": 0}, r"^search\.trials is 0: give .* of at least 1, or leave it out to try every combination$"),
        ({"trials": -1}, r"^search\.trials is -1: "),
        ({"first_verdict": 0}, r"^search\.first_verdict is 0: give a whole number of at least 1$"),
        ({"trials": 1.5}, r"^search\.trials is 1\.5: give a whole number"),
        ({"reports": None}, r"^search\.reports is None: "),
        ({"reduction": 1}, r"^search\.reduction is 1: give a whole number of at least 2$"),
    ],
)
def test_numbers_of_a_search_that_none_can_have_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Search(**SEARCH | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((2.0, 1.0), "is no range: give its lower end first"),
        ((0.0, math.inf), "two finite numbers"),
        ((math.nan, 1.0), "two finite numbers"),
        (("a", 2), "two finite numbers"),
        ((None, 2), "two finite numbers"),
        ((0.5, 2, True), "is of whole numbers: give ends that are"),
    ],
)
def test_a_range_without_anything_in_it_is_refused(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Between(*given)
    assert Between(1.0, 1.0).low == 1 and Between(0, 3, whole=True).high == 3


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"x": [1], "y": Between(0.0, 1.0)}, r"^search\.trials is None, but y is the range .*: say how many trials"),
        ({"x": []}, r"^there are no values of x to choose from"),
    ],
)
def test_a_space_in_which_nothing_can_be_tried_is_refused_before_a_trial(
    space: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        Local(tmp_path).search(pytest.fail, space, Search(**SEARCH), name="x", shared=None)


@pytest.mark.parametrize(
    ("told", "kind", "said"),
    [
        ({"scor": 1.0}, Told, r"search\.metric is score, but it reports scor: name what it reports$"),
        ({}, Told, r"search\.metric is score, but it reports nothing: "),
        ({"score": math.nan}, Told, r"it reports that score is nan: report a number"),
        (None, RuntimeError, r"Traceback [\s\S]*TypeError"),
    ],
    ids=["another", "nothing", "nan", "a fault"],
)
def test_a_trial_that_fails_is_named_with_its_parameters(
    told: dict[str, float] | None, kind: type[Exception], said: str, tmp_path: Path
) -> None:
    def trial(worker: Any, params: dict[str, Any], shared: None) -> None:
        worker.progress(1, 2, **told)  # type: ignore[arg-type]

    with pytest.raises(
        RuntimeError, match=rf"^look: 1 trial failed, the first, of \{{'x': 7\}}, with {said}"
    ) as failed:
        Local(tmp_path).search(trial, {"x": [7, 8]}, Search(**SEARCH), name="look", shared=None)
    assert type(failed.value) is kind
