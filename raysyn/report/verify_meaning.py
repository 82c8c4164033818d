"""What `raysyn verify` computes anew of what a promise means: limits of attacks, and the sentences about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysyn.privacy.cost import Cost
from raysyn.privacy.group import FINE
from raysyn.report.meaning import attack_limits, attack_sentence, figures, told
from raysyn.report.verify_contents import Check, at_most


def attacks(claimed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    """No more is possible than is said, and the sentence is of its figures."""
    again = attack_limits(costs)
    name, found, right = "attacks", "most_found_at_false_alarms", "most_right_guesses"
    # A step of the last digit is what two machines may differ by.
    enough = [claimed[found][share] >= most - 1.5e-4 for share, most in again[found].items()]
    if claimed.keys() != again.keys() or claimed[found].keys() != again[found].keys():
        return Check(name, False, f"it should say {', '.join(again)}, at false alarms of {', '.join(again[found])}")
    if not all(enough) or not claimed[right] >= again[right] - 1.5e-4:
        return Check(name, False, f"more is possible than is said: {again['sentence']}")
    if claimed["sentence"] != (sentence := attack_sentence(claimed, costs[0].adjacency)):
        return Check(name, False, f"the sentence should be: {sentence}")
    return Check(name, True, claimed["sentence"])


def meaning(signed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    """No more is promised than what the rows give, and each sentence is of its figures."""
    name, claimed, again = "meaning", signed["meaning"], figures(costs, signed["epsilon"], signed["delta"])
    said = {part: {key: one for key, one in known.items() if key != "sentence"} for part, known in claimed.items()}
    known, found = dict(_leaves(said)), dict(_leaves(again))
    if known.keys() != found.keys():
        return Check(name, False, f"the ledger gives other parts: {at_most(sorted(known.keys() ^ found.keys()))}")
    if others := [f"{key} is {known[key]}, not {one}" for key, one in found.items() if _flatters(key, known[key], one)]:
        return Check(name, False, at_most(others))
    if others := [part for part, one in told(said, costs[0].adjacency).items() if one != claimed[part]]:
        return Check(name, False, f"the sentence of {' and '.join(others)} is not what its figures say")
    return Check(name, True, "no figure promises more than the ledger gives, and sentences are of their figures")


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """(place, plain value) of all that is in it, lists included."""
    if not isinstance(value, dict | list):
        yield at, value
        return
    for name, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(one, f"{at}.{name}" if at else str(name))


SHARES = ("trade_off", "advantage", "best_guess")
"""Parts whose figures are multiples of 1e-4."""
STEP = 1.1e-3
"""Of the last of four digits, relative to a figure: two machines may differ by it."""


def _flatters(place: str, known: Any, found: Any) -> bool:
    """Whether it promises more than what was found; to promise less is honest."""
    part = place.split(".")[0]
    if part in SHARES:
        # Of what is missed, more flatters; of everything else less.
        better = known - found if part == "trade_off" else found - known
        return not better <= 1.5e-4
    if place.endswith(".epsilon"):
        return bool(known != found)
    if known is None or found is None:
        # What is endless promises nothing.
        return known is not None
    # Prices of several images are found to within FINE, on either machine.
    return not known >= found * (1 - STEP - (FINE if part == "several_images" else 0))
