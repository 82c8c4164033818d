"""Private evolution: what a run is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysyn.data.streams import PublicConfig
from raysyn.methods.basics import Basics
from raysyn.methods.candidates_config import SourceConfig
from raysyn.privacy.queries.votes import VotesConfig

NAME = "evolution"


@dataclass(frozen=True, kw_only=True)
class Config(Basics):
    """Everything that changes the synthetic images."""

    source: SourceConfig = field(default_factory=SourceConfig)
    public: PublicConfig = field(default_factory=PublicConfig)
    votes: VotesConfig = field(default_factory=VotesConfig)

    @property
    def reads_public(self) -> bool:
        """Whether a run reads `public`."""
        return self.source.kind == "public"
