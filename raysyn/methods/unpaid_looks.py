"""What of a run looks at real images and is paid for by nobody, as the account over all runs holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raysyn.methods.declared import Declared, declared
from raysyn.report import choices

ALWAYS_LOOKS = "accuracy on real images"


def unpaid(config: Any, uncharged: Sequence[str]) -> tuple[str, ...]:
    """What of a run looks at real images and is paid for by nobody: what its certificate lists as `uncharged`, but what
    it was chosen among, which the account holds by itself, and that its report looks at all."""
    told = [ALWAYS_LOOKS] if getattr(getattr(config, "eval", None), "classifiers", ()) else []
    among = getattr(config, "chosen_among", None)
    return (*told, *(one for one in uncharged if not among or one != choices.chosen(among)))


def usual(config: Any) -> list[str]:
    """What a method of somebody else's looks at that does not say it: experiments, and what is declared."""
    tuned = getattr(config, "tuned_on", None)
    told = declared(config) if isinstance(config, Declared) else choices.tuned(tuned) if tuned else []
    return [*(["experiments with further models"] if _asks(config) else []), *told]


def _asks(config: Any) -> bool:
    """Whether experiments are asked for: where their class does not say it, others than its own usual ones. What
    cannot be told is said rather than left out."""
    if (asked := getattr(config, "experiment", None)) is None:
        return False
    try:
        return bool(asked.asks() if hasattr(asked, "asks") else asked != type(asked)())
    except Exception:  # of code that is not raysyn's, as of a class with required settings
        return True
