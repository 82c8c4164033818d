"""What `raysyn look` says where some images are deeper than 8 bits and some are not: no window reads them together."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

from raysyn.data.survey import Survey
from raysyn.report.looked import printable

OF_WINDOWS = re.compile(
    r": (scale those that matter|say which values matter) with --(data\.)?window LOW HIGH( \([^)]*\))?"
    r"|: leave it out, or bring all images to one depth"
)
"""How a fault ends that a window, or none, would mend if all were of one depth."""
ONE_DEPTH = ": convert all to one depth first"


def are_two(found: Survey, windowed: bool) -> bool:
    """Whether there are both, and these cannot be read together; `windowed` is whether they were looked at through a
    window."""
    # A window is for the deeper ones alone; without one, scans that name their own are read, and so are floats.
    other = not windowed
    both = all(found.depths[deep, True] + found.depths[deep, False] for deep in (True, False))
    return both and not found.depths[other, True] and bool(found.depths[other, False])


def of_two_depths(found: Survey, windowed: bool) -> list[str]:
    """What is said of such."""
    if not are_two(found, windowed):
        return []
    numbers = {deep: found.depths[deep, True] + found.depths[deep, False] for deep in (True, False)}
    rarer = min(numbers, key=lambda deep: numbers[deep])
    told = {True: f"{numbers[True]:,} deeper than 8 bits", False: f"{numbers[False]:,} of 8 bits"}
    some = ", ".join(map(printable, found.of_depth[rarer]))
    more = f" and {rest:,} more" if (rest := numbers[rarer] - len(found.of_depth[rarer])) else ""
    told[rarer] += f" ({some}{more})"
    return [
        f"There are images of two depths, {told[rarer]} and {told[not rarer]}, which no --data.window reads together: "
        "convert all to one depth first."
    ]


def to_one_depth(text: str) -> str:
    """A fault of such images, with the mend that they have."""
    return OF_WINDOWS.sub(ONE_DEPTH, text)


def mended(found: Survey) -> Survey:
    """The same with their faults so."""
    faults = Counter[str]()
    for fault, n in found.faults.items():
        faults[to_one_depth(fault)] += n
    return replace(found, faults=faults, faulty=[(place, to_one_depth(fault)) for place, fault in found.faulty])
