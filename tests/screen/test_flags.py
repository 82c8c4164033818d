"""Groups of flags that may be left out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from raysyn.screen.flags import assigned, restored


@dataclass(frozen=True, kw_only=True)
class Inner:
    steps: int = 3


@dataclass(frozen=True, kw_only=True)
class Outer:
    size: int = 1
    again: Inner | None = None


def test_a_group_that_may_be_left_out_is_made_by_its_flags_and_left_out_by_none() -> None:
    made = assigned(Outer(), ["--again.steps", "5", "--size", "2"], "x")
    assert made == Outer(size=2, again=Inner(steps=5)) == restored(Outer(), {"size": 2, "again": {"steps": 5}})
    for words in (["--again", "None"], ["--again=None"]):
        assert assigned(made, [*words, "--size", "3"], "x") == Outer(size=3)
        with pytest.raises(ValueError, match=r"^again is None, but there is --again\.steps too: say one of both$"):
            assigned(made, [*words, "--again.steps", "4"], "x")
    with pytest.raises(ValueError, match=r"^--again is no flag of x"):
        assigned(made, ["--again", "4"], "x")
