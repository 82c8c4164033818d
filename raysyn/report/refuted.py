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


def refuted(report: Mapping[str, Any]) -> bool:
    """Whether its canaries, or another attack on it, show more than a run promises, by its report.json."""
    attacks, claimed = report.get("attacks") or {}, report["privacy"]
    if claimed["guarantee"] != "dp":
        return False
    by_canaries = bool((attacks.get("audit") or {}).get("refuted"))
    return by_canaries or any(breaks(one, claimed) for one in attacks.get("found") or [])
