"""Usefulness class by class, for the report: which classes failed, in words and rows, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysyn.report.tables import MISSING, percent
from raysyn.screen.words import shortened

NAMED = 5
"""Failed classes that are named in a sentence."""
SHOWN = 20
"""Rows of the table at most: of more classes the worst."""
WHY = {
    "chance": "no better than guessing", "few": "too few test images to tell it from guessing",
    "floor": "below the floor",
}  # fmt: skip
TITLES = {"synthetic": "Trained on synthetic images", "real": "Trained on real images"}


def failed(classes: Mapping[str, Any] | None) -> str:
    """Which classes failed, in a sentence or two; empty where none did or nothing is known."""
    told = []
    for why, words in WHY.items():
        # What is told as guessing is not told again as below the floor.
        names = [shortened(one["class"]) for one in (classes or {}).get("failed", ()) if one["why"][0] == why]
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            whose = "Class" if len(names) == 1 else "Classes"
            told.append(f"{whose} {', '.join(names[:NAMED])}{more}: {words}.")
    return " ".join(told)


def rows(classes: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    """A table of at most SHOWN classes, the worst where there are more, its heading first."""
    floor, real = classes.get("accuracy_floor"), classes.get("accuracy_real_data")
    head = ["Class", "Test images", "Synthetic", "95 % interval"]
    head += (["Floor"] if floor else []) + (["Real images"] if real else []) + ["Failed"]
    why = {one["index"]: _why(one) for one in classes["failed"]}
    found = [head]
    for label in _shown(classes["accuracy"]):
        low, high = (classes[f"accuracy_{end}"][label] for end in ("low", "high"))
        row = [names[label], f"{classes['test_images'][label]:,}", percent(classes["accuracy"][label])]
        row.append(MISSING if low is None else f"{100 * low:.0f} to {100 * high:.0f} %")
        row += [percent(other[label]) for other in (floor, real) if other]
        found.append([*row, why.get(label, "")])
    return found


def _why(one: Mapping[str, Any]) -> str:
    too = {"chance": " (from real images, too)"} if one["real_too"] else {}
    return ", ".join(WHY[why] + too.get(why, "") for why in one["why"])


def _shown(accuracy: Sequence[float | None]) -> list[int]:
    if len(accuracy) <= SHOWN:
        return list(range(len(accuracy)))
    known = [label for label, value in enumerate(accuracy) if value is not None]
    return sorted(known, key=lambda label: accuracy[label] or 0.0)[:SHOWN]


def confusions(classes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """{title, cells}: by what classifiers learned from, rows of shares of a class's images, None where it has none."""
    counted = classes.get("confusion") or {}
    return [
        {"title": title, "cells": [_shares(row) for row in counted[source]]}
        for source, title in TITLES.items()
        if source in counted
    ]


def _shares(row: Sequence[int]) -> list[float | None]:
    total = int(np.sum(row))
    return [value / total if total else None for value in row]


def mistakes(classes: Mapping[str, Any]) -> str:
    """The most frequent ones in a sentence."""
    told = [
        f"{shortened(one['class'])} for {shortened(one['taken_for'])} ({percent(one['share'])})"
        for one in classes["mistakes"][:NAMED]
    ]
    return f"Most often taken: {', '.join(told)}." if told else ""
