"""Where candidates come from that private images vote for, and how they are varied."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["letters", "public"]


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Where candidates come from, and how they are varied. Nothing of it has seen a private image."""

    kind: Kind = "letters"
    """`letters` draws the character that a class is named after, in many fonts and by a pen: for writing alone.
    `public` takes images of --public.*, and as a variation others near them."""
    variation: tuple[float, ...] = (0.8, 0.6, 0.4)
    """How much descendants differ from what was voted for, after the first round, the second and so on, the last one
    for all that follow: from 0, copies, to 1, drawn anew."""
    final: float = 0.6
    """How much synthetic images differ from the last candidates that were voted for: post-processing."""
    turn: float = 10.0
    """Candidates are turned by this many degrees: here and below the standard deviation, of candidates as they are
    first drawn."""
    size: float = 0.18
    """They are larger or smaller by this factor's logarithm, and by as much wider or higher."""
    shear: float = 0.22
    """Slanted, in pixels per pixel."""
    shift: float = 0.06
    """Shifted, in parts of half a side."""
    bend: float = 0.1
    """Bent, smoothly and differently at 4 x 4 places, in parts of half a side."""
    height: float = 0.7
    """Height of a capital letter, in parts of the image's side. `letters` only."""
    pen: float = 0.11
    """Half the width of a pen's stroke, in parts of half a side. `letters` only."""
    ground: Literal["dark", "light"] = "dark"
    """Light characters on dark ground or the other way round. `letters` only."""
    light: float = 0.1
    """Brightness and contrast of public images change by this much. `public` only."""
    neighbours: int = 100
    """Public images near a parent out of which one takes its place, as many of these as the variation says.
    `public` only."""
    pool: int = 50_000
    """Public images that are looked at, at most, chosen at random. `public` only."""

    def __post_init__(self) -> None:
        if not self.variation or any(not 0 <= one <= 1 for one in (*self.variation, self.final)):
            raise ValueError(
                f"source.variation is {self.variation} and source.final {self.final}: give numbers from 0 to 1"
            )
        for name in ("turn", "size", "shear", "shift", "bend", "light"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"source.{name} is {getattr(self, name)}: give 0 or more")
        for name in ("height", "pen"):
            if not 0 < getattr(self, name) < 10:
                raise ValueError(f"source.{name} is {getattr(self, name)}: give a number above 0, at most 10")
        for name, least in {"neighbours": 1, "pool": 2}.items():
            if getattr(self, name) < least:
                raise ValueError(f"source.{name} is {getattr(self, name)}: give at least {least}")

    def strength(self, step: int) -> float:
        """How much the candidates of round `step` differ from those of the one before."""
        return self.variation[min(step, len(self.variation)) - 1]
