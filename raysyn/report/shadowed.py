"""What shadow runs found of a run, in its report.json: put there afterwards, kept while it releases the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

MARK = "shadow runs"
"""In the names of what these attacks found."""
OF, LEFT_OUT = "shadow_runs_of", "shadow_runs_left_out"
"""In `attacks` of report.json: the SHA-256 of the released images that they are about; why none are there any more."""
WHY = (
    "What shadow runs had found was about other released images than this run has now, and is left out: raysyn attack "
    "with this run's folder attacks these"
)


def added(attacks: Mapping[str, Any], records: Sequence[Mapping[str, Any]], released: bytes) -> dict[str, Any]:
    """`attacks` with these records in place of those of earlier shadow runs; `released`: the file of images."""
    found = [one for one in attacks.get("found") or [] if MARK not in one["attack"]]
    rest = {name: value for name, value in attacks.items() if name != LEFT_OUT}
    return {**rest, "found": [*found, *records], OF: hashlib.sha256(released).hexdigest()}


def kept(before: Mapping[str, Any], now: Mapping[str, Any], released: bytes) -> dict[str, Any]:
    """`attacks` of a run that is judged anew, with what shadow runs had found `before`, or why that is left out."""
    if before.get(OF) == hashlib.sha256(released).hexdigest():
        return added(now, [one for one in before["found"] if MARK in one["attack"]], released)
    return {**now, LEFT_OUT: WHY} if {OF, LEFT_OUT} & set(before) else dict(now)
