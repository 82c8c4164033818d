"""Groups of flags that may be left out, and flags whose values are flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from raysyn.screen.flags import ADDS, assigned, restored


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


@dataclass(frozen=True, kw_only=True)
class Typed:
    whole: int = 1
    number: float = 1.0
    switch: bool = False
    place: Path = Path("x")
    mode: Literal["a", "b"] = "a"
    perhaps: int | None = None
    several: tuple[float, ...] = ()
    pair: tuple[int, str] = (1, "a")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("whole", [2], [2.0, True, None, "2", []]),
        ("number", [2, 2.5], [True, "2", None]),
        ("switch", [True], [1, "True", None]),
        ("place", ["y"], [1, None]),
        ("mode", ["b"], ["c", 1, ["a"]]),
        ("perhaps", [2, None], ["2", 2.5]),
        ("several", [[], [1, 2.5]], [1.0, ["1"], [None]]),
        ("pair", [[2, "b"]], [[2], [2, 3], ["b", 2], []]),
    ],
)
def test_what_is_restored_is_of_the_type_of_its_field(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(restored(Typed(), {name: value}), name) == (tuple(value) if isinstance(value, list) else value)
    for value in bad:
        with pytest.raises(ValueError, match=rf"^{name} is .*: give "):
            restored(Typed(), {name: value})


@dataclass(frozen=True, kw_only=True)
class Adding:
    more: tuple[str, ...] = field(default=(), metadata=ADDS)
    size: int = 1


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["--more", "--data.no-labels"], ("--data.no-labels",)),
        (["--more", "--data.path=x", "--size", "2"], ("--data.path=x",)),
        (["--more", "--size", "--size", "2"], ("--size",)),
        (["--more", "a", "b", "--more=--c"], ("a", "b", "--c")),
        (["--size", "2", "--more"], ()),
    ],
)
def test_a_flag_that_adds_takes_the_next_word_as_its_value(words: list[str], more: tuple[str, ...]) -> None:
    found = assigned(Adding(), words, "x")
    assert found == Adding(more=more, size=2 if "2" in words else 1)
