"""What `raysyn verify` computes anew of what a promise means: limits of attacks, and the sentences about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysyn.privacy.cost import Cost
from raysyn.report.meaning import attack_limits, attack_sentence, figures, told
from raysyn.report.verify_contents import Check, at_most


def attacks(claimed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    """No more is possible than is said, and the sentence is of its figures."""
    again = attack_limits(costs)
    name, found, right = "attacks", "most_found_at_false_alarms", "most_right_guesses"
    # A step of the last digit is what two machines may differ by.
    enough = [claimed[found][share] >= most - 1.5e-4 for share, most in again[found].items()]
    if not all(enough) or not claimed[right] >= again[right] - 1.5e-4:
        return Check(name, False, f"more is possible than is said: {again['sentence']}")
    if claimed["sentence"] != (sentence := attack_sentence(claimed, costs[0].adjacency)):
        return Check(name, False, f"the sentence should be: {sentence}")
    return Check(name, True, claimed["sentence"])


def meaning(signed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    """Neither more nor less than what the rows give, and each sentence is of its figures."""
    name, claimed, again = "meaning", signed["meaning"], figures(costs, signed["epsilon"], signed["delta"])
    said = {part: {key: one for key, one in known.items() if key != "sentence"} for part, known in claimed.items()}
    known, found = dict(_leaves(said)), dict(_leaves(again))
    if known.keys() != found.keys():
        return Check(name, False, f"the ledger gives other parts: {at_most(sorted(known.keys() ^ found.keys()))}")
    if others := [f"{key} is {known[key]}, not {most}" for key, most in found.items() if not _near(known[key], most)]:
        return Check(name, False, at_most(others))
    if others := [part for part, one in told(said, costs[0].adjacency).items() if one != claimed[part]]:
        return Check(name, False, f"the sentence of {' and '.join(others)} is not what its figures say")
    return Check(name, True, "figures and sentences are what the ledger gives")


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """(place, plain value) of all that is in it, lists included."""
    if not isinstance(value, dict | list):
        yield at, value
        return
    for name, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(one, f"{at}.{name}" if at else str(name))


def _near(known: Any, found: Any) -> bool:
    """The same but for a step of the last digit, which is what two machines may differ by."""
    if found is None or known is None:
        return known is found
    return math.isclose(known, found, rel_tol=1.1e-3, abs_tol=1.5e-4 if found > 1e-3 else 0)
