"""DP-MEPF: what a run is told."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from raysyn.data.streams import PublicConfig
from raysyn.methods.basics import Basics
from raysyn.models.semantic import SemanticNetConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.queries.perceptual import FeatureMomentsConfig
from raysyn.train.embedding import MatchConfig
from raysyn.train.semantic import QueryConfig

NAME = "dp_mepf"


@dataclass(frozen=True, kw_only=True)
class Config(Basics):
    """Everything that changes the synthetic images. Defaults are the published code's for CIFAR-10."""

    public: PublicConfig = field(default_factory=PublicConfig)
    query: QueryConfig = field(default_factory=lambda: QueryConfig(network=SemanticNetConfig(side=None)))
    """The classifier of public classes whose layers see the private images, as PrivImage trains it; or
    query.checkpoint. It sees images as large as they are: detail that it does not see, no generator learns."""
    moments: FeatureMomentsConfig = field(default_factory=FeatureMomentsConfig)
    network: UpsamplerConfig = field(default_factory=lambda: UpsamplerConfig(latent=100, hidden=1_024, channels=128))
    training: MatchConfig = field(
        default_factory=lambda: MatchConfig(iterations=200_000, batch_size=128, learning_rate=1e-3, decay=1.0)
    )

    @property
    def reads_public(self) -> bool:
        """Whether a run reads `public`."""
        return self.query.checkpoint is None

    def unread(self) -> dict[str, str]:
        """{setting: why nothing reads it}: a command that gives one of them is refused."""
        if self.reads_public:
            return {}
        taught = [one.name for one in fields(QueryConfig) if one.name not in ("network", "checkpoint")]
        names = [*(f"public.{one.name}" for one in fields(PublicConfig)), *(f"query.{name}" for name in taught)]
        return dict.fromkeys(names, "is not read with --query.checkpoint")
