"""Flags of --budget. that are about all runs on the same images together."""

from __future__ import annotations

import math
from dataclasses import dataclass

NONE = "none"
"""What --budget.account says where none shall be kept."""


@dataclass(frozen=True, kw_only=True)
class AccountFlags:
    """What the promise is, and what all runs on these images may cost."""

    account: str | None = None
    """File in which every run on these images is entered, with what it costs; `raysyn account` adds it up. By default
    SOURCE.account.jsonl beside --data.path, and for a set by name none; `none` keeps none. Where the usual one has a
    total, another one or none needs --budget.reason."""
    total: float | None = None
    """Epsilon that all runs in the account may come to together. Written there, it holds for every later run, which is
    refused where it would spend more; it can be lowered."""
    new_total: float | None = None
    """A higher one, with --budget.reason; both totals, the reason and the time are written there too."""
    reason: str | None = None
    """Why there is a new total, or why a run may pass by the total of the usual account, in words; it is written there.
    """

    def __post_init__(self) -> None:
        for name, value in (("total", self.total), ("new_total", self.new_total)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"budget.{name} is {value}: give a finite number above 0")
        if self.total is not None and self.new_total is not None:
            raise ValueError(
                f"budget.total is {self.total:g}, and budget.new_total {self.new_total:g}: leave one of them out"
            )
        reason = (self.reason or "").strip()
        if reason and self.new_total is None and self.account is None:
            raise ValueError(
                f"budget.reason is {reason!r}, without a new total or another account to be the reason of: leave it out"
            )
        if self.new_total is not None and not reason:
            raise ValueError(f"budget.new_total is {self.new_total:g}, without a reason: say it with --budget.reason")
        if self.account is not None and not self.account.strip():
            raise ValueError("budget.account is empty: give a file, or none")
        if self.account == NONE and (self.total is not None or self.new_total is not None):
            raise ValueError("budget.account is none, and a total is given, which an account holds: give a file")
