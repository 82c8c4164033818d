"""The leaderboard: named comparisons."""

from __future__ import annotations

from raysyn.methods.leaderboard.config import Config, On

PRESETS: dict[str, Config] = {"quick": Config()}

MACHINES = On()
