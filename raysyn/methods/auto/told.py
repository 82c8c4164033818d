"""What auto says before it spends anything: what was picked and why, what to expect, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raysyn.methods.auto.choice import MARGIN, Candidate, Case, Choice, choose
from raysyn.methods.auto.settings import JUDGES, WITH_PUBLIC
from raysyn.methods.auto.table import FLOOR, Cell, cells, floor_of
from raysyn.privacy.cost import FEWEST

CLOSE = 0.01
"""Accuracies that differ by less are the same."""


CHARACTERS = "evolution"
"""What lets images vote for characters of fonts, which are public."""
FEW = 10
"""So many times fewer images than were measured, and a figure would say nothing."""


def few(n: int, unit: str) -> tuple[float | None, list[str]]:
    """The delta to name where so many units are too few for the default, and a sentence on it; else None, and none."""
    if n >= FEWEST:
        return None, []
    delta = float(f"{0.01 / n:.0e}")
    return delta, [
        f"{n} {unit}s are few: the default δ of a promise, 1/(10 n), is there from {FEWEST} on, so that one must be "
        f"named, such as {delta:g}, and so much noise may leave little to see. A method without a promise needs no δ."
    ]


def lines(choice: Choice, case: Case) -> list[str]:
    """All of it, a paragraph each."""
    picked = choice.picked
    told = [f"Picked: {picked.method}, {how_long(picked, case)}. Why: {why(choice, case)}."]
    if choice.unmeasured:
        kind = "colour" if case.facts.shape[2] == 3 else "grey"
        told.append(f"Not in auto's table for {kind} images, and so not looked at: {_listed(choice.unmeasured)}.")
    if case.facts.shape[2] == 1 and picked.method != CHARACTERS:
        told.append(
            f"If yours are written characters, look at {CHARACTERS} with candidates that are drawn: on all of MNIST it "
            "was 2.5 points above the floor (docs/results/mnist.md)."
        )
    if case.public and picked.method not in WITH_PUBLIC:
        learn = [one for one in choice.all if one.method in WITH_PUBLIC and one.measured]
        longer = bool(learn) and all(one.minutes > case.minutes for one in learn)
        more = "; the methods that learn from them take longer than --minutes" if longer else ""
        told.append(f"The public images are not used: {picked.method} needs none{more}.")
    if choice.outside:
        told.append(
            f"Outside of what was measured: {'; '.join(choice.outside)}. What is said below is extrapolated, and may "
            "be far off."
        )
    if case.facts.n > max(cell.n for cell in cells() if cell.method != FLOOR):
        told.append(
            "Methods that train were measured on fewer images than yours. Their presets are made for 50,000 to 60,000, "
            "where they may be better than what was picked: see `raysyn dp_feta cpu-mnist --dry-run` and their cards."
        )
    told += expected(picked, case)
    if found := helps(choice, case):
        told.append(f"What would help, as it did there: {'; '.join(found)}.")
    return told


def why(choice: Choice, case: Case) -> str:
    """In one sentence, without its full stop."""
    picked, others = choice.picked, [one for one in choice.all if one.fits and one.method != FLOOR]
    where = f"on the measured images nearest to yours ({_listed([cell.told for cell in picked.near])})"
    if case.begun is not None:
        return "the folder holds a run of it, which goes on"
    if case.named is not None:
        return f"you named it; {_instead(picked, case)}"
    if picked.method != FLOOR:
        return f"{where} it was {_points(picked.gain)} the floor, {FLOOR}, and no other that fits was further above"
    if not others:
        return "no other method fits in that time"
    best = max(others, key=lambda one: one.gain)
    margin = f"{100 * MARGIN:g} points above it"
    nearest = f"{best.method} came nearest, {_points(best.gain)} it{_elsewhere(best, picked)}"
    return f"{where} no other method that fits was {margin} ({nearest})"


def _elsewhere(one: Candidate, other: Candidate) -> str:
    """Where one method was measured nearest to the case, if that is not where the other was."""
    of_one, of_other = ([cell.told for cell in each.near] for each in (one, other))
    return "" if set(of_one) == set(of_other) else f", measured on {_listed(of_one)}"


def _instead(picked: Candidate, case: Case) -> str:
    """What would have been picked, and how both were, each on the measured images nearest to the case."""
    try:
        other = choose(replace(case, named=None)).picked
    except ValueError:
        return "nothing else fits in that time"
    if other.method == picked.method:
        return "it would have been picked too"
    near = [one for one in (other, picked) if one.method != FLOOR and one.measured]
    known = [
        f"{one.method} was {_points(one.gain)} the floor, {FLOOR}, on {_listed([cell.told for cell in one.near])}"
        for one in near
    ]
    where = f"; where it was measured nearest to yours, {'; '.join(known)}" if known else ""
    return f"by itself auto would take {other.method}{where}"


def expected(picked: Candidate, case: Case) -> list[str]:
    """Accuracy and floor as ranges over the nearest measured cases, beside real images and guessing."""
    classes = case.facts.classes
    if classes == 1:
        return ["Expected: there is one class alone, so that no accuracy says anything of the images."]
    told = figures(picked, case)
    low = min(cell.accuracy for cell in picked.near)
    # Each set beside its own largest class.
    if low <= 1 / classes + CLOSE or any(cell.accuracy <= cell.largest_class + CLOSE for cell in picked.near):
        told.append(
            "WARNING: what was measured is no better than guessing: these images may teach nothing, and the budget "
            "would be spent for nothing."
        )
    if picked.method != FLOOR and any(cell.accuracy < floor_of(cell).accuracy - CLOSE for cell in picked.near):
        told.append(f"WARNING: on some of the measured images it was below the floor, {FLOOR}.")
    return told


def figures(picked: Candidate, case: Case) -> list[str]:
    """The same without its warnings."""
    classes, fewest = case.facts.classes, min(cell.n for cell in picked.near)
    if case.facts.n * FEW < fewest:
        return [
            f"Expected: far less than was measured, of {fewest:,} images at least: {case.facts.n:,} are fewer than a "
            "tenth of these, so that no figure is foretold; nor is it from which share of your largest class on "
            "answering with that class alone is better."
        ]
    reached = _range([cell.accuracy for cell in picked.near])
    floor = "" if picked.method == FLOOR else f", floor {_range([floor_of(cell).accuracy for cell in picked.near])}"
    real = _range([cell.real for cell in picked.near])
    low = min(cell.accuracy for cell in picked.near)
    told = [
        f"Expected: {reached} accuracy on real test images, the mean of {_listed(JUDGES)}{floor}, real images {real}; "
        f"one in {classes} classes at random is {100 / classes:.1f} %. Images of yours may be easier or harder.",
        f"Always answering with your largest class reaches its share, which is private and not looked at: if that is "
        f"above {100 * low:.0f} %, expect less than it.",
    ]
    if picked.method == FLOOR:
        left = [max(0.0, cell.real - cell.accuracy) for cell in picked.near]
        gap = _range(left).removesuffix(" %")
        told.append(
            f"It is the floor, the simplest method, beside which all others are measured. Real images themselves were "
            f"{gap} points above it: about all that a better method could gain from these images alone."
        )
    return told


def helps(choice: Choice, case: Case) -> list[str]:
    """What raised the accuracy in the table."""
    picked = choice.picked
    told = []
    for what, name in (("images", "n"), ("ε", "epsilon")):
        gains = [(more, more.accuracy - cell.accuracy) for cell in picked.near if (more := _more(cell, name))]
        if gains and (mean := sum(gain for _, gain in gains) / len(gains)) > CLOSE:
            told.append(f"more {what}: {100 * mean:.1f} points from {_steps(picked.near, gains, name)}")
    for one in choice.all:
        # What would not be picked then either is no help.
        if one.fits or not one.measured or one.gain - picked.gain < CLOSE or one.gain < MARGIN:
            continue
        needs = one.method
        if one.method in WITH_PUBLIC:
            given = f"{one.method} with your public images, if they resemble yours as those did"
            needs = given if case.public else f"public images that resemble yours, by {one.method}"
        time = "" if one.minutes <= case.minutes else f", with --minutes {one.minutes:.0f}"
        told.append(f"{needs}{time}: {100 * (one.gain - picked.gain):.1f} points")
    if not case.public and (tried := [one for one in choice.all if one.method in WITH_PUBLIC and one.measured]):
        best = max(tried, key=lambda one: one.gain)
        if best.gain - picked.gain < CLOSE:
            sets = _listed(sorted({cell.public or "" for cell in best.near}))
            told.append(f"public images did not: with {sets}, {best.method} was {_points(best.gain)} the floor")
    return told


def _more(cell: Cell, name: str) -> Cell | None:
    """The same case with the next larger n or epsilon, where it was measured."""
    other = "epsilon" if name == "n" else "n"
    larger = [
        one for one in cells()
        if (one.method, one.data, one.size) == (cell.method, cell.data, cell.size)
        and getattr(one, other) == getattr(cell, other) and getattr(one, name) > getattr(cell, name)
    ]  # fmt: skip
    return min(larger, key=lambda one: float(getattr(one, name)), default=None)


def _steps(near: Sequence[Cell], gains: Sequence[tuple[Cell, float]], name: str) -> str:
    """`3,000 to 10,000`, of the sets that were measured so."""
    found = [f"{getattr(cell, name):,g} to {getattr(more, name):,g}" for cell in near for more, _ in gains
             if (more.data, more.size) == (cell.data, cell.size)]  # fmt: skip
    return _listed(list(dict.fromkeys(found)))


def too_long(choice: Choice, case: Case, seconds: float) -> str | None:
    """A warning where the outlook on this machine is longer than what was given."""
    if seconds <= 60 * case.minutes:
        return None
    return (
        f"WARNING: measured on this machine, it takes about {in_minutes(seconds / 60)}, and not the "
        f"{in_minutes(choice.picked.minutes)} of the table: more than the {case.minutes:g} minutes given."
    )


def how_long(picked: Candidate, case: Case) -> str:
    """By the table, and what that leaves out."""
    workers = "on one worker" if case.workers == 1 else f"shared by {case.workers:,} workers"
    time = f"CPU time as it was measured on another machine, {workers}, without start-up"
    return f"about {in_minutes(picked.minutes)} with its judging ({time})"


def in_minutes(value: float) -> str:
    return f"{value:.1f} minutes" if value < 10 else f"{value:.0f} minutes"


def _points(gain: float) -> str:
    return f"{abs(100 * gain):.1f} points {'above' if gain >= 0 else 'below'}"


def _range(values: Sequence[float]) -> str:
    low, high = (f"{100 * end:.0f}" for end in (min(values), max(values)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
