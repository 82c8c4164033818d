"""Private evolution: named settings. How many candidates there are follows from images, classes and budget."""

from __future__ import annotations

from raysyn.data.images import DataConfig
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.evolution.config import Config, SourceConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.queries.votes import VotesConfig

_JUDGED = EvalConfig(epochs=15, images=10_000, resnet9_width=0.125, feature_epochs=5)

PRESETS: dict[str, Config] = {
    "quick": Config(
        # Digits of 8 pixels fill their image, and a stroke is two pixels wide.
        source=SourceConfig(height=0.95, pen=0.2, bend=0.12, final=0.3),
        votes=VotesConfig(blur=0.5),
        synthetic=2_000,
        eval=EvalConfig(epochs=30, resnet9_width=0.125),
        tuned_on="digits",
        audit=NO_AUDIT,
    ),
    "cpu-mnist": Config(data=DataConfig(name="mnist"), eval=_JUDGED, tuned_on="MNIST"),
}
