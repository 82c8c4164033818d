"""What looking at private data has shaped and no code knows of: users and presets say it, certificates list it."""

from __future__ import annotations

from dataclasses import dataclass

from raysyn.report import choices


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Settings of every method that releases images."""

    tuned_on: str | None = None
    """Data set whose results shaped these settings; the report lists it as an uncharged choice."""
    chosen_among: str | None = None
    """What this run was chosen among by its results, in words such as "12 runs of a leaderboard"; the certificate lists
    it as an uncharged choice."""
    made_for: int | None = None
    """Training images that these settings were made for; a run on many more or fewer is warned of before it starts."""


def declared(config: Declared) -> list[str]:
    """Both as the uncharged choices that they are."""
    told = [choices.tuned(config.tuned_on)] if config.tuned_on else []
    return told + ([choices.chosen(config.chosen_among)] if config.chosen_among else [])
