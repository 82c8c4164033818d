"""What leaves of progress: nothing that tells how many images persons have together, or a step had."""

from __future__ import annotations

from typing import Any

import pytest

from raysyn.compute.doorway import Outside, Tally

PLAN = frozenset(["votes", "finetune"])


def told(stage: str, total: int, private: frozenset[str] | None = PLAN, since: int = 0, first: int = 1) -> list[Any]:
    """Of each step of DP-SGD that tells its epsilon at every fiftieth of the way; none before `first`, or before the
    first of these after the run was continued at `since`."""
    outside, marks, metrics, heard = Outside(private), max(1, total // 50), dict[str, float](), []
    for step in range(since + 1, total + 1):
        if (step % marks == 0 and step >= first) or step == total:
            metrics = {"epsilon": float(step)}
        heard.append(outside.told(stage, step, total, {"loss": 0.3, **metrics}))
    return [one for one in heard if one is not None]


@pytest.mark.parametrize(
    ("total", "since", "steps"),
    [
        (73, 0, [20, 40, 73]), (101, 0, [20, 40, 60, 80, 101]), (61, 0, [20, 40, 61]), (41, 0, [20, 41]), (5, 0, [5]),
        (2197, 0, [*range(43, 2177, 43), 2197]), (2197, 1000, [*range(1032, 2177, 43), 2197]), (73, 60, [73]),
    ],
)  # fmt: skip
def test_of_dp_sgd_some_tens_of_steps_are_told_together(total: int, since: int, steps: list[int]) -> None:
    """Also the last ones, and of a continued run the first."""
    heard = told("finetune", total, since=since)
    assert [step for _, step, _ in heard] == steps
    assert all(figures == {"progress": step / total, "epsilon": float(step)} for _, step, figures in heard)


def test_how_many_images_persons_have_together_is_not_told() -> None:
    outside, heard = Outside(PLAN), list[Any]()
    tally = Tally("votes-1", 3, [5000, 5000, 2345], lambda *what: heard.append(outside.told(*what)))
    for index in range(3):
        tally.add([index])
    assert heard == [None, None, ("votes", 1, {"progress": 1.0})]
    # The same question, asked for an experiment.
    assert outside.told("experiments-1.0-statistics", 5000, 12_345, {}) is None
    assert outside.told("experiments-1.0-statistics", 12_345, 12_345, {}) == ("experiments", 1, {"progress": 1.0})


@pytest.mark.parametrize("stage", ["fidelity-1a2b", "utility", "distances", "attacks", "something new"])
def test_what_judges_by_private_images_tells_no_more_than_its_end(stage: str) -> None:
    """Whose units are chunks of these images, of which persons may have any number."""
    outside, name = Outside(PLAN), stage.partition("-")[0]
    heard = [outside.told(stage, done, 7, {"finetune_share": 0.5}) for done in range(8)]
    assert heard == [None] * 7 + [(name, 1, {"progress": 1.0})]
    assert Outside(None).told(stage, 3, 7, {}) == (name, 3, {"progress": 3 / 7})


def test_a_stage_of_the_plan_is_private_whatever_it_is_called() -> None:
    assert Outside(frozenset(["generator"])).told("generator", 3, 9, {}) is None
    assert Outside(PLAN).told("generator", 3, 9, {}) == ("generator", 3, {"progress": 3 / 9})


def test_experiments_tell_no_epsilon_nor_how_long_steps_take() -> None:
    """It is none that the release costs; before the first mark there is none in what is shown."""
    assert told("experiments-1.0-teacher", 2197) == [("experiments", 1, {"progress": 1.0})]


def test_what_touches_no_private_image_and_what_has_no_plan_is_told_as_it_is() -> None:
    assert Outside(PLAN).told("warmup", 3, 9, {"loss": 0.5}) == ("warmup", 3, {"progress": 3 / 9})
    assert Outside(PLAN).told("warmup: looking", 0, 0, {}) is None
    for nothing in (None, frozenset[str]()):
        assert [step for _, step, _ in told("experiments-1", 30, nothing)] == list(range(1, 31))
