"""A row of an audit, for tests that play none."""

from __future__ import annotations

from raysyn.attacks.lower_bounds import Excess
from raysyn.audits.findings import Finding

ROW_OF_AUDIT = Finding(
    name="row", games=1024, claimed=1.0, any_algorithm=0.0, one_run=0.0, gaussian=0.0, estimate=1.0, low=0.5, high=1.5,
    mu=0.5, mu_claimed=0.5, area_over=-0.1, excess=Excess(-0.1, 0.0, 0.0), tight=True, noise="", verdict="",
)  # fmt: skip
