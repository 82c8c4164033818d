"""Whether attacks show more than a run promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysyn.privacy.cost import unit_of


def breaks(one: Mapping[str, Any], claimed: Mapping[str, Any]) -> bool:
    """Whether what one attack found is above the promise: it is about the same units, and at no smaller delta."""
    told = one["epsilon"]
    fits = unit_of(claimed["adjacency"]) == one["unit"] and told and told["delta"] >= claimed["delta"]
    return bool(fits and (told["value"] or 0) > claimed["epsilon"])


def by_canaries(report: Mapping[str, Any]) -> bool:
    """Whether the canaries of a run show more than it promises, by its report.json."""
    audit: Mapping[str, Any] = (report.get("attacks") or {}).get("audit") or {}
    return bool(audit.get("refuted"))


def refuted(report: Mapping[str, Any]) -> bool:
    """Whether they, or another attack on it, do."""
    claimed, found = report["privacy"], (report.get("attacks") or {}).get("found") or []
    return claimed["guarantee"] == "dp" and (by_canaries(report) or any(breaks(one, claimed) for one in found))
