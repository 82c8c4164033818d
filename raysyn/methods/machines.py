"""Flags of --on.* that some methods have beside those of every run."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysyn.attacks.shadows import ShadowSpeed
from raysyn.compute.doorway import Machines
from raysyn.privacy.trial import SGDSpeed


@dataclass(frozen=True, kw_only=True)
class On(Machines):
    """Where a run happens and how fast: nothing here changes the result beyond rounding."""

    sgd: SGDSpeed = field(default_factory=SGDSpeed)


@dataclass(frozen=True, kw_only=True)
class OnAttacked(Machines):
    """Where a run that ends with shadow models happens, and how fast: nothing here changes the result beyond
    rounding."""

    shadows: ShadowSpeed = field(default_factory=ShadowSpeed)
