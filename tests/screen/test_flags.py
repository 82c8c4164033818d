"""Groups of flags that may be left out, flags whose values are flags, and what no flag can be."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from raysyn.methods.catalogue import METHODS, TOOLS, find
from raysyn.screen.flags import ADDS, assigned, check_flags, restored


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
class Promise:
    epsilon: float = 10.0
    delta: float | None = None


@dataclass(frozen=True, kw_only=True)
class Grouped:
    budget: Promise = Promise()


def test_a_budget_is_understood_with_its_group_and_without_where_one_of_both_is_a_flag() -> None:
    assert assigned(Grouped(), ["--epsilon", "3", "--delta=1e-5"], "x").budget == Promise(epsilon=3, delta=1e-5)
    assert assigned(Promise(), ["--budget.epsilon=3", "--budget.delta", "1e-5"], "x") == Promise(epsilon=3, delta=1e-5)
    for config, words in (
        (Grouped(), ["--epsilonn", "3"]),
        (Outer(), ["--epsilon", "3"]),
        (Promise(), ["--b.delta=1"]),
    ):
        with pytest.raises(ValueError, match=rf"^{words[0].partition('=')[0]} is no flag of x"):
            assigned(config, words, "x")


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


@dataclass(frozen=True, kw_only=True)
class Checked:
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"{SAYS[-1]} is {self.size}: give at least 1")


@dataclass(frozen=True, kw_only=True)
class Around:
    model: Checked = field(default_factory=Checked)


@dataclass(frozen=True, kw_only=True)
class Whole:
    outer: Around = field(default_factory=Around)
    model: Checked = field(default_factory=Checked)


SAYS: list[str] = []


@pytest.mark.parametrize("says", ["size", "model.size", "the whole"])
@pytest.mark.parametrize("around", ["", "outer."])
def test_a_check_of_a_group_names_the_group_or_leaves_that_to_the_flags(says: str, around: str) -> None:
    SAYS.append(says)
    told = f"{around}model.size" if "size" in says else says
    with pytest.raises(ValueError, match=rf"^{told} is 0: give at least 1$"):
        assigned(Whole(), [f"--{around}model.size", "0"], "x")
    stored = {"model": {"size": 0}}
    with pytest.raises(ValueError, match=rf"^{told} is 0: give at least 1$"):
        restored(Whole(), {"outer": stored} if around else stored)


@dataclass(frozen=True, kw_only=True)
class Odd:
    table: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HoldsOdd:
    inner: Odd = field(default_factory=Odd)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (HoldsOdd(), "inner.table, a field of Odd: no flag is of type dict[str, int]: use str, int"),
        (Typed(number="1"), "number is '1': give a number"),  # type: ignore[arg-type]
        (Typed(several=[1.0]), "several is [1.0]: give numbers"),  # type: ignore[arg-type]
        (3, "it is a int: give an object of a dataclass"),
        (Typed(), None),
    ],
)
def test_what_no_flag_gives_is_told_of_a_preset_with_its_field(config: Any, said: str | None) -> None:
    with nullcontext() if said is None else pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        check_flags(config)


@pytest.mark.parametrize("name", [one.name for one in (*METHODS, *TOOLS)])
def test_every_preset_of_raysyns_own_is_what_its_flags_give(name: str) -> None:
    for preset in find(name).presets().values():
        check_flags(preset)
