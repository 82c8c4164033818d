"""What many runs on the same images come to, whatever order they come in, and which of them may begin."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysyn.privacy.account import Account, Run, paid_line, planned_line, read
from raysyn.privacy.admission import admit, check_prices, lacking, totals, why_not_all
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost, epsilon
from raysyn.privacy.rounding import rounded_down, rounded_up
from raysyn.privacy.sketch import SIZE, Sketch
from raysyn.report import account_told

KEY = bytes(32)
HEAD = {"raysyn_account": 2, "id": "a", "key": KEY.hex(), "begun": "2026-01-01T00:00:00+00:00"}
DELTA = 1e-5


@dataclass(frozen=True)
class Asked:
    total: float | None = None
    new_total: float | None = None
    reason: str | None = None


def cost(noise: float = 10.0, adjacency: str = ADD_REMOVE) -> Cost:
    return Cost(mechanism="m", noise_multiplier=noise, sampling_rate=1.0, steps=1, adjacency=adjacency)


def images(*numbers: int) -> list[bytes]:
    return [str(number).encode() for number in numbers]


def run(name: str, *noise: float, adjacency: str = ADD_REMOVE, **more: Any) -> Run:
    """One that has planned a stage of each noise; without any it promises nothing."""
    given: dict[str, Any] = {
        "run": name, "method": "m", "preset": "p", "folder": f"/runs/{name}", "time": "t", "adjacency": adjacency,
        "units": 100, "images": 100, "shape": (8, 8, 1), "guarantee": "dp" if noise else "none",
        "delta": DELTA if noise else None, "sketch": Sketch.of(images(1, 2), KEY),
        "reserved": {f"s{at}": cost(one, adjacency) for at, one in enumerate(noise)},
    }  # fmt: skip
    return Run(**given | more)


def plain(*lines: Any) -> list[Any]:
    """As a file holds them."""
    return [json.loads(json.dumps(line)) for line in (HEAD, *lines)]


def holding(*runs: Run, total: float | None = None) -> Account:
    """An account that these runs were entered in."""
    now = read(plain())
    for at, one in enumerate(runs):
        lines = admit(now, one, Asked(total=total if at == 0 else None))
        assert lines
        now = read(plain(*(one.line() for one in now.runs.values()), *lines))
        now = replace(now, totals=now.totals or ())
    return now


noises = st.lists(st.lists(st.sampled_from([2.0, 5.0, 11.0]), min_size=1, max_size=3), min_size=1, max_size=4)


@settings(max_examples=15, deadline=None)
@given(plans=noises)
def test_all_runs_together_cost_what_all_their_rows_composed_do_in_any_order(plans: list[list[float]]) -> None:
    runs = [run(f"r{at}", *plan) for at, plan in enumerate(plans)]
    every = epsilon([cost(one) for plan in plans for one in plan], DELTA, "prv")
    for some in list(permutations(runs))[:3]:
        assert holding(*some).together(ADD_REMOVE, DELTA) == every
    assert holding(*runs).spent(ADD_REMOVE, DELTA) == 0.0


def test_a_run_counts_from_its_plan_on_and_once() -> None:
    one = run("a", 5.0, 7.0)
    paid = [paid_line("a", "s0", cost(5.0), "t"), paid_line("a", "s1", cost(7.0), "t")]
    both = epsilon([cost(5.0), cost(7.0)], DELTA, "prv")
    for lines, spent in (([], []), (paid[:1], [5.0]), ([*paid, paid[0]], [5.0, 7.0])):
        found = read(plain(one.line(), *lines))
        assert found.together(ADD_REMOVE, DELTA) == both
        assert found.spent(ADD_REMOVE, DELTA) == epsilon([cost(noise) for noise in spent], DELTA, "prv")
    # What is entered asks for nothing more, whatever is said of totals.
    assert admit(found, one, Asked(total=0.001)) == []


def test_a_run_that_is_entered_does_not_come_back_with_another_price() -> None:
    """As from a copy of its folder whose plan was changed: its stages are called the same."""
    there = holding(run("r", 5.0, 9.0), total=3.0)
    for same in (run("r", 5.0, 9.0), run("other", 1.0, 2.0), run("r")):
        check_prices(there, same)
    words = replace(cost(9.0), note="said otherwise", noise_multiplier=9.0 * (1 + 1e-12))
    check_prices(there, run("r", reserved={"s0": cost(5.0), "s1": words}))
    for dearer in (cost(8.9), replace(cost(9.0), steps=2), replace(cost(9.0), sampling_rate=0.5)):
        other = run("r", guarantee="dp", delta=DELTA, reserved={"s0": cost(5.0), "s1": dearer})
        with pytest.raises(ValueError, match=r"^/runs/r plans another price for s1 than the account holds of this run"):
            check_prices(there, other)


def test_a_run_comes_back_from_its_line() -> None:
    one = run("a", 5.0, chosen_among="3 runs", looks=("x",), adjacency=ADD_REMOVE_PERSON)
    back = read(plain(one.line())).runs["a"]
    assert replace(back, sketch=one.sketch) == one and np.array_equal(back.sketch.hashes, one.sketch.hashes)


@pytest.mark.parametrize(
    ("total", "more", "refused"),
    [
        (None, 1.0, None),
        (3.0, 2.0, None),
        (2.0, 2.0, "budget.total is 2 at delta"),
        (2.0, 2000.0, None),
    ],
)
def test_what_would_exceed_the_total_is_refused_with_what_is_spent_reserved_and_left(
    total: float | None, more: float, refused: str | None
) -> None:
    first = run("a", 3.2)
    lines = admit(read(plain()), first, Asked(total=total))
    now = read(plain(*lines, paid_line("a", "s0", cost(3.2), "t")))
    if refused is None:
        assert [one["run"] for one in admit(now, run("b", more), Asked())] == ["b"]
        return
    with pytest.raises(ValueError, match=refused) as error:
        admit(now, run("b", more), Asked())
    alone, both = (epsilon([cost(one) for one in some], DELTA, "prv") for some in ((3.2,), (3.2, more)))
    assert float(f"{alone:.4g}") < alone, "to nearest it would be below"
    for said in (
        f"spent {rounded_up(alone, 4)}, and with this run",
        f"it would be {rounded_up(both, 4)}",
        "--budget.new-total",
    ):
        assert said in str(error.value)
    # A plan of what is said to be left has room.
    left = now.left(ADD_REMOVE, now.totals[0])
    assert f"room for about {rounded_down(left)}, or" in str(error.value) and alone + left > 2.0


@pytest.mark.parametrize(
    ("asked", "written", "refused"),
    [
        (Asked(), None, None),
        (Asked(total=10.0), None, None),
        (Asked(total=9.0), {"total": 9.0, "was": 10.0, "reason": None}, None),
        (
            Asked(total=11.0),
            None,
            "10, which may be lowered and not raised.*--budget.new-total 11 with --budget.reason",
        ),
        (
            Asked(new_total=11.0, reason="a second study"),
            {"total": 11.0, "was": 10.0, "reason": "a second study"},
            None,
        ),
        (Asked(total=0.1), None, "budget.total is 0.1 at delta 1e-5, of"),
    ],
)
def test_a_total_is_lowered_and_raised_only_with_a_reason(
    asked: Asked, written: dict[str, Any] | None, refused: str | None
) -> None:
    now = read(plain(*admit(read(plain()), run("a", 5.0), Asked(total=10.0))))
    if refused is not None:
        with pytest.raises(ValueError, match=refused):
            admit(now, run("b", 6.0), asked)
        return
    *totals, entered = admit(now, run("b", 6.0, delta=1e-4), asked)
    assert entered["run"] == "b"
    # Later totals are at the first one's delta: another one would compare what cannot be.
    assert [one | (written or {}) for one in totals] == totals and len(totals) == (written is not None)
    assert all(one["delta"] == DELTA and one["time"] == "t" for one in totals)


@pytest.mark.parametrize(
    ("held", "paid", "rest"),
    [
        # What an account that was lost held, and what a refused run has paid, is spent; the rest waits for room.
        ((), ((), ()), 4),
        ((), (("s0", "s1"), ("s0", "s1")), 0),
        ((), (("s0", "s1"), ("s0",)), 1),
        ((), (("s0", "s1"), ()), 2),
        # Of a run that was refused with a part paid, the account holds that part.
        ((("s0",), ()), (("s0",), ()), 3),
        ((("s0", "s1"), ("s0",)), (("s0",), ("s0",)), 1),
        ((("s0", "s1"), ("s0", "s1")), ((), ()), 0),
    ],
)
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_of_runs_that_are_declared_together_the_unpaid_rest_is_refused_whatever_their_order(
    held: Any, paid: Any, rest: int, asked: bool, before: bool
) -> None:
    """Two runs of two stages each and one that promises nothing, which may come first."""
    total = 0.5
    every = [run("a", 10.0, 10.0), run("b", 10.0, 10.0)]
    reserved = [
        replace(one, reserved={stage: one.reserved[stage] for stage in stages})
        for one, stages in zip(every, held, strict=False)
        if stages
    ]
    lines = [] if asked else [{"total": total, "delta": DELTA, "time": "t"}]
    now = read(plain(*lines, *(one.line() for one in reserved)))
    declared = [(one, Asked(total=total if asked else None), stages) for one, stages in zip(every, paid, strict=True)]
    nothing = (run("n"), Asked(total=total if asked else None), ())
    declared = [nothing, *declared] if before else [*declared, nothing]
    if asked and all(not lacking(now, one) and one.run in now.runs for one in every):
        with pytest.raises(ValueError, match="promises nothing, and so has no delta"):
            why_not_all(now, declared)
        return
    told = why_not_all(now, declared)
    assert [one.total for one in totals(now, declared)] == [total] * asked
    if rest == 0:
        assert told is None
        return
    spent, alone, after = (epsilon([cost()] * many, DELTA, "prv") if many else 0 for many in (4 - rest, rest, 4))
    runs = "2 runs" if rest > 2 else "run"
    assert told is not None and f"have spent or reserved {rounded_up(spent, 4)}, and the {runs} still to begin" in told
    assert f" to {rounded_up(alone, 4)}, {rounded_up(after, 4)} with those" in told


def test_a_first_total_is_no_new_one_and_needs_a_delta() -> None:
    with pytest.raises(ValueError, match=r"has no total yet: give --budget\.total"):
        admit(read(plain()), run("a", 5.0), Asked(new_total=3.0, reason="r"))
    with pytest.raises(ValueError, match="promises nothing, and so has no delta"):
        admit(read(plain()), run("a"), Asked(total=3.0))
    # A lower one is at the smaller delta of the run that lowers it.
    now = read(plain(*admit(read(plain()), run("a", 9.0), Asked(total=9.0))))
    lower = admit(now, run("b", 9.0, delta=1e-8), Asked(total=5.0))
    assert (lower[0]["total"], lower[0]["delta"]) == (5.0, 1e-8)
    # The smallest delta of all runs: the strongest of the promises.
    now = read(plain(run("a", 9.0, delta=1e-7).line()))
    assert admit(now, run("b", 9.0), Asked(total=30.0))[0]["delta"] == 1e-7


def test_images_and_persons_are_told_apart_and_never_added() -> None:
    both = read(plain(run("a", 5.0).line(), run("b", 6.0, adjacency=ADD_REMOVE_PERSON).line(), run("c").line()))
    assert both.private() == ["a", "b"] and both.private(ADD_REMOVE_PERSON) == ["b"]
    assert both.together(ADD_REMOVE, DELTA) == epsilon([cost(5.0)], DELTA, "prv")
    assert both.together(ADD_REMOVE_PERSON, DELTA) == epsilon([cost(6.0)], DELTA, "prv")
    first = read(plain(*admit(read(plain()), run("a", 5.0), Asked(total=10.0))))
    with pytest.raises(ValueError, match="10 for the images of these runs, and this one promises to persons"):
        admit(first, run("b", 6.0, adjacency=ADD_REMOVE_PERSON), Asked())
    # What promises nothing is entered as what it is, whatever its images are of.
    assert admit(first, run("c", adjacency=ADD_REMOVE_PERSON), Asked())


TWENTY, HUNDRED = ({one: one // 2 for one in range(many)} for many in (20, 100))
VISITS, SHIFTED = {one: one for one in TWENTY}, {one: (one + 1) // 2 for one in TWENTY}
EIGHT = {one: one for one in (*range(8), *range(200, 300))}
PATIENTS = {1: 0, 2: 0, 3: 1, 4: 1, 5: 2, 6: 2}


def named(name: str, units: int, persons: dict[int, int] | None, *pictures: int) -> Run:
    """A run that promises to persons: whose each picture is, or not said, as in earlier lines."""
    whose = None if persons is None else [persons[one] for one in pictures]
    return run(
        name, 6.0, adjacency=ADD_REMOVE_PERSON, units=units, sketch=Sketch.of(images(*pictures), KEY, whose)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "mine", "otherwise"),
    [
        # Nothing known of who is whose: the same images of another number of persons.
        (named("a", 100, None, 1, 2), named("b", 50, None, 1, 2), True),
        (named("a", 100, None, 1, 2), named("b", 100, None, 1, 2), False),
        (named("a", 100, None, 1, 2), named("b", 50, None, 1, 3), False),
        (named("a", 3, PATIENTS, 1, 2, 3, 4, 5, 6), named("b", 6, None, 1, 2, 3, 4, 5), False),
        # Parts of the images, each person with another number in each: the same persons.
        (named("a", 3, PATIENTS, *PATIENTS), named("b", 2, PATIENTS, 3, 4, 6), False),
        (named("a", 2, PATIENTS, 1, 2, 3), named("b", 2, PATIENTS, 2, 3, 4), False),
        (named("a", 2, PATIENTS, 1, 2, 3), named("b", 2, {3: 9, 1: 1, 2: 1, 7: 4}, 1, 2, 3, 7), False),
        (named("a", 1, PATIENTS, 1, 2), named("b", 1, PATIENTS, 3, 4), False),
        # Visits: apart what was together, or the other way round, or both with as many.
        (named("a", 10, TWENTY, *TWENTY), named("b", 12, VISITS, *range(8, 20)), True),
        (named("a", 12, VISITS, *range(8, 20)), named("b", 10, TWENTY, *TWENTY), True),
        (named("a", 10, TWENTY, *TWENTY), named("b", 11, SHIFTED, *TWENTY), True),
        (named("a", 10, TWENTY, *TWENTY), named("b", 20, VISITS, *TWENTY), True),
        (named("a", 10, TWENTY, *TWENTY), named("b", 20, None, *TWENTY), True),
        # A blank scan of two persons, of whom each run has another one; three of them; and somebody who has no other.
        (named("a", 10, TWENTY, *TWENTY), named("b", 10, TWENTY | {0: 9}, *TWENTY), False),
        (named("a", 10, TWENTY, *TWENTY), named("b", 10, TWENTY | {0: 9, 2: 7, 4: 8}, *TWENTY), False),
        (named("a", 10, TWENTY | {0: -1}, *TWENTY), named("b", 11, TWENTY | {0: -1}, *TWENTY), False),
        # Of other people, blank ones alone.
        (named("a", 3, {0: 0, 1: 0, 2: 1, 3: 2}, *range(4)), named("b", 4, {0: 5, 1: 6, 9: 5}, 0, 1, 9), False),
        (named("a", 50, HUNDRED, *HUNDRED), named("b", 99, EIGHT, *EIGHT), False),
        # A picture that several have is nobody's.
        (named("a", 2, {1: 0, 2: -1, 3: 1}, 1, 2, 3), named("b", 2, {1: 0, 2: 1, 3: 1}, 1, 2, 3), False),
    ],
)
@pytest.mark.parametrize("written", [True, False])
def test_persons_named_otherwise_on_images_that_both_have_are_refused_with_a_total(
    first: Run, mine: Run, otherwise: bool, written: bool
) -> None:
    now = read(plain(*admit(read(plain()), first, Asked(total=10.0))))
    if written:
        (mine,) = read(plain(mine.line())).runs.values()
    if otherwise:
        with pytest.raises(ValueError, match=f"for the {first.units} persons that /runs/a names on these images, and"):
            admit(now, mine, Asked())
    else:
        assert admit(now, mine, Asked())
    assert ("holds for no person of either" in account_told.recognised(now, mine)) == otherwise
    both = read(plain(now.runs["a"].line(), mine.line()))
    assert (account_told.of_run(both, mine, DELTA) == {"sentence": account_told.OTHERWISE}) == otherwise


def test_persons_of_a_large_set_are_told_by_a_sample() -> None:
    """Of 20,000 images of five a person, of which the runs share half; others share no person's two images."""
    fives, ones = np.arange(20_000) // 5, np.arange(20_000)
    mine = Sketch.of(images(*range(20_000)), KEY, fives.tolist())
    for shift, whose, otherwise in ((10_000, fives + 2_000, False), (10_000, ones, True), (20_000, ones, False)):
        other = Sketch.of(images(*range(shift, shift + 20_000)), KEY, whose.tolist())
        assert mine.divides_otherwise(other) == other.divides_otherwise(mine) == otherwise


@pytest.mark.parametrize("blanks", [0.05, 0.2])
@pytest.mark.parametrize("each", [1.5, 4.0])
@pytest.mark.parametrize(("many", "draws"), [(60, 8), (400, 8), (6_000, 2)])
def test_blank_scans_of_several_persons_are_no_other_naming_and_visits_are(
    blanks: float, each: float, many: int, draws: int
) -> None:
    """Parts of one set, by persons, by images, and of other people; a share of its images are blank, in few kinds."""
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        persons = rng.integers(0, max(2, int(many / each)), many)
        visits, pictures = persons * 3 + rng.integers(0, 3, many), np.arange(many)
        blank = rng.random(many) < blanks
        pictures[blank] = -rng.integers(1, many // 3, blank.sum())

        def part(kept: Any, whose: Any, pictures: Any = pictures) -> Sketch:
            owners = dict[int, set[int]]()
            for picture, who in zip(pictures[kept].tolist(), whose[kept].tolist(), strict=True):
                owners.setdefault(picture, set()).add(who)
            return Sketch.of(images(*owners), KEY, [min(one) if len(one) == 1 else -1 for one in owners.values()])

        some, others = (rng.random(many) < 0.5)[persons], (rng.random(many) < 0.5)[persons]
        most, more = rng.random((2, many)) < 0.8
        first = part(some, persons)
        for other in (part(~some, persons), part(others, persons), part(more, persons)):
            assert not first.divides_otherwise(other) and not other.divides_otherwise(first)
        assert not part(most, persons).divides_otherwise(part(more, persons))
        assert part(most, persons).divides_otherwise(part(more, visits)) or (many == 60 and each < 2)


@pytest.mark.parametrize(
    ("looks", "chosen", "told"),
    [
        (("x",), "3 runs", None), ((), None, None), (("x", "y"), "3 runs", (("x", "y"), "3 runs")),
        (("y",), None, (("x", "y"), "3 runs")), (("x",), "9 runs", (("x",), "3 runs; 9 runs")),
        (("x",), "3 noises; 2 sizes", (("x",), "3 runs; 3 noises; 2 sizes")),
    ],
)  # fmt: skip
def test_what_a_later_command_looks_at_is_entered_too_and_once(looks: Any, chosen: str | None, told: Any) -> None:
    now = read(plain(run("a", 5.0, looks=("x",), chosen_among="3 runs").line()))
    again = run("a", 5.0, looks=looks, chosen_among=chosen)
    lines = admit(now, again, Asked())
    assert len(lines) == (told is not None)
    later = read(plain(now.runs["a"].line(), *lines))
    assert (later.runs["a"].looks, later.runs["a"].chosen_among) == (told or (("x",), "3 runs"))
    assert admit(later, again, Asked()) == [] and later.together(ADD_REMOVE, DELTA) == now.together(ADD_REMOVE, DELTA)


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([], 1),
        ([{**HEAD, "raysyn_account": 3}], 1),
        ([{"run": "a"}], 1),
        ([HEAD, 7], 2),
        ([HEAD, None], 2),
        ([HEAD, HEAD], 2),
        ([HEAD, {"total": -1.0, "delta": 1e-5, "time": "t"}], 2),
        ([HEAD, paid_line("a", "s0", cost(), "t")], 2),
        ([HEAD, run("a", 5.0).line(), run("a", 5.0).line()], 3),
        ([HEAD, run("a", 5.0).line() | {"guarantee": "none"}], 2),
        ([HEAD, run("a", 5.0).line() | {"adjacency": ADD_REMOVE_PERSON}], 2),
        ([HEAD, run("a", 5.0).line() | {"more": 1}], 2),
        ([HEAD, run("a", 5.0).line() | {"sketch": {"images": 5, "smallest": "AAAA"}}], 2),
        ([HEAD, run("a", 5.0).line() | {"sketch": run("a").line()["sketch"] | {"persons": "AAAA"}}], 2),
        ([HEAD, run("a", 5.0).line(), planned_line("a", {"more": cost(adjacency=ADD_REMOVE_PERSON)}, "t")], 3),
        ([HEAD, planned_line("a", {"more": cost()}, "t")], 2),
        ([HEAD, {"behind": "a"}], 2),
        ([HEAD, run("a", 5.0).line(), paid_line("a", "s", cost(adjacency=ADD_REMOVE_PERSON), "t")], 3),
        ([HEAD, run("a", 5.0).line(), paid_line("a", "s", cost(), "t"), paid_line("a", "s", cost(2.0), "t")], 4),
    ],
)
def test_what_is_no_account_is_refused_by_its_line(lines: list[Any], line: int) -> None:
    with pytest.raises(ValueError, match=f"^line {line} "):
        read(json.loads(json.dumps(lines)))


@pytest.mark.parametrize("form", [1, 2])
def test_accounts_of_an_earlier_form_are_read_and_added_to(form: int) -> None:
    lines = [{**HEAD, "raysyn_account": form}, run("a", 5.0).line(), planned_line("a", {"more": cost()}, "t")]
    assert list(read(json.loads(json.dumps(lines))).stages("a")) == ["s0", "more"]


@pytest.mark.parametrize(("mine", "theirs"), [(100, 100), (3_000, 3_000), (3_000, 9_000), (9_000, 3_000)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_run_on_some_of_the_same_images_is_recognised(mine: int, theirs: int, share: float) -> None:
    same = round(share * min(mine, theirs))
    one = Sketch.of(images(*range(mine)), KEY)
    other = Sketch.of(images(*range(mine - same, mine - same + theirs)), KEY)
    found = one.share_in(other)
    # Six deviations of a sample, whose part that both can tell of shrinks where one set is larger.
    assert found is not None and found.exact == (mine == 100) and found.of <= mine
    assert found.share == pytest.approx(same / mine, abs=0 if share in (0, 1) and mine <= theirs else 0.17)
    assert len(one.hashes) == min(mine, SIZE) and one.images == mine


def test_what_samples_cannot_tell_is_not_told_and_copies_count_once() -> None:
    few, many = Sketch.of(images(*range(20)), KEY), Sketch.of(images(*range(50_000)), KEY)
    assert few.share_in(many) is None and Sketch.of([], KEY).share_in(few) is None
    assert Sketch.of(images(1, 1, 2), KEY).images == 2
    # Under another key the same images draw others: without it a sample tells nothing.
    assert Sketch.of(images(*range(50)), b"other").share_in(Sketch.of(images(*range(50)), KEY)) == (0.0, 50, True)
