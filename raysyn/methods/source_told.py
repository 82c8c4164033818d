"""What a person is told of a source of images before anything is spent: how it was read, and what is in it twice.

On the console and in the report alone, which stay inside: it is of the images themselves, without noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from raysyn.data.copies import digest
from raysyn.data.images import Dataset, Images
from raysyn.data.names import there_are
from raysyn.data.persons import FEW
from raysyn.privacy.group import epsilon_of_group
from raysyn.privacy.ledger import Plan
from raysyn.privacy.rounding import rounded_up
from raysyn.report.pictures import unwritten
from raysyn.screen.console import Console

PRICED = 32
"""Copies of one image whose price together is worked out: that takes the time of their number squared."""


def say_source(console: Console, dataset: Dataset, plan: Plan | None) -> None:
    """How the source was understood; WARNINGs of copies, with what they make of what `plan` promises."""
    if dataset.told:
        console.say(f"{dataset.name}: read as {dataset.told}.")
    if dataset.own and dataset.train.classes > 1:
        console.say(f"Classes, whose names leave as they are: {there_are(dataset.train.class_names)}.")
    if dataset.own and dataset.train.persons_N is None and plan is not None:
        console.say(
            "The promise is for one image; if somebody has several, name them with --data.person-column or "
            "--data.person-pattern."
        )
    if _are_covered(dataset, plan):
        console.say(
            f"{_counted(dataset)} Copies are of one person's images, whom the promise covers with all images: they "
            "weaken nothing."
        )
    for sentence in _of_letters(dataset):
        console.say(sentence)
    for sentence in (*dataset.warned, *_of_few(dataset), *of_copies(dataset, plan)):
        console.say(f"WARNING: {sentence}")


def _of_letters(dataset: Dataset) -> list[str]:
    return unwritten(dataset.train.class_names, "samples.png")


def _of_few(dataset: Dataset) -> list[str]:
    """A sentence on persons that are hardly any."""
    n = dataset.train.units
    if dataset.train.persons_N is None or n >= FEW:
        return []
    return [
        f"There {'is 1 person' if n == 1 else f'are {n:,} persons'} to train on: noise that hides one of fewer than "
        f"{FEW} hides most of what their images have in common, and accuracy on few others says little. Look whether "
        "these are persons."
    ]


def of_copies(dataset: Dataset, plan: Plan | None) -> list[str]:
    """A sentence on copies among the private images, unless the promise covers them, and one on those of them that are
    test images too."""
    copies, tests = dataset.copies, len(dataset.test)
    said = []
    if copies.among and not _are_covered(dataset, plan):
        weaker = "" if plan is None else _weakened(copies.units, plan, dataset.train.persons_N is not None)
        said.append(f"{_counted(dataset)}{weaker}")
    if copies.tested:
        is_one = "is a training image" if copies.tested == 1 else "are training images"
        said.append(
            f"{copies.tested:,} of the {tests:,} test images {is_one} too, pixel by pixel: what is measured on such is "
            "not held out. `raysyn look` tells which they are."
        )
    return said


def _are_covered(dataset: Dataset, plan: Plan | None) -> bool:
    """Whether there are copies, and all of one image are one person's, of whom a promise is made with all images."""
    copies = dataset.copies
    return copies.among > 0 and plan is not None and dataset.train.persons_N is not None and copies.units < 2


def _counted(dataset: Dataset) -> str:
    copies, of_all = dataset.copies, f"of the {len(dataset.train):,} private images"
    if copies.among == 1:
        return f"1 {of_all} is an exact copy of another one."
    return f"{copies.among:,} {of_all} are exact copies of others; one is there {copies.most:,} times."


def _weakened(units: int, plan: Plan, of_persons: bool) -> str:
    """What several of them cost together, as the certificate says it of several images."""
    promise, whose, mend = "one image", "a person who is in several of them", "Leave the copies out"
    if of_persons:
        promise, whose = "one person with all images", "somebody who is in images of several persons"
        mend = "Give copies to one person"
    priced = min(units, PRICED)
    together = epsilon_of_group(list(plan.stages.values()), priced, plan.delta)
    larger = f"up to {rounded_up(together)}" if math.isfinite(together) else "more than can be said"
    more = f" of them, more with all {units:,}" if units > priced else ""
    return (
        f" The promise is for {promise}: for {whose} ε at the same δ is larger, {larger} with {priced:,}{more}. "
        f"{mend}, and it holds as it is printed."
    )


def source_facts(dataset: Dataset) -> dict[str, Any]:
    """The report's facts of the same."""
    facts = {"read_as": dataset.told, "warned": [*dataset.warned, *_of_letters(dataset)]}
    return {name: said for name, said in facts.items() if said}


def copies_counted(dataset: Dataset) -> Mapping[str, int]:
    """The report's counts of the same."""
    copies = dataset.copies
    more = {"copies_of_one_private": copies.most} if copies.among else {}
    if copies.tested:
        more["test_images_in_train"] = copies.tested
    return {"copies_among_private": copies.among, **more}


def equal_ones(released: Images, dataset: Dataset) -> dict[str, int]:
    """The report's count of released images that equal a private one, pixel by pixel."""
    there = frozenset(dataset.copies.different)
    return {"released_equal_to_private": sum(digest(one) in there for one in released.images_NHWC)}
