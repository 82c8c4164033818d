"""The plan of a run's privacy costs, and the append-only record of what was paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from raysyn.privacy.cost import Cost

T = TypeVar("T")


@dataclass(frozen=True)
class Release(Generic[T]):
    """An answer about private data with its price: a mechanism hands out both, `Ledger.pay` parts them."""

    value: T
    cost: Cost
