"""What shadow runs found of a run, in its report.json: put there afterwards, kept while it releases the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

MARK = "shadow runs"
"""In the names of what these attacks found."""
OF, LEFT_OUT = "shadow_runs_of", "shadow_runs_left_out"
"""In `attacks` of report.json: of what release they are, see `_of`; why none are there any more."""
WHY = (
    "What shadow runs had found was about another release than this run has now (other images, or with a network or "
    "without one), and is left out: raysyn attack with this run's folder attacks this one"
)


def added(
    attacks: Mapping[str, Any], records: Sequence[Mapping[str, Any]], released: bytes, network: bool
) -> dict[str, Any]:
    """`attacks` with these records in place of those of earlier shadow runs; `released`: the file of images; `network`:
    whether the release holds one, which some of them saw."""
    found = [one for one in attacks.get("found") or [] if MARK not in one["attack"]]
    rest = {name: value for name, value in attacks.items() if name != LEFT_OUT}
    return {**rest, "found": [*found, *records], OF: _of(released, network)}


def kept(before: Mapping[str, Any], now: Mapping[str, Any], released: bytes, network: bool) -> dict[str, Any]:
    """`attacks` of a run that is judged anew, with what shadow runs had found `before`, or why that is left out."""
    if before.get(OF) == _of(released, network):
        return added(now, [one for one in before["found"] if MARK in one["attack"]], released, network)
    return {**now, LEFT_OUT: WHY} if {OF, LEFT_OUT} & set(before) else dict(now)


def holds_network(config: Mapping[str, Any]) -> bool:
    """Of a run, by the configuration in its report."""
    return bool((config.get("release") or {}).get("network"))


def _of(released: bytes, network: bool) -> str:
    """SHA-256 of the released images, and whether a network is beside them."""
    return hashlib.sha256(released).hexdigest() + (", with a network" if network else "")
