"""What games show beside what was claimed: too much, as it should be, or suspiciously little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from raysyn.attacks import lower_bounds, verdict
from raysyn.audits import residuals
from raysyn.audits.played import Case, Played
from raysyn.privacy import tradeoff
from raysyn.privacy.cost import Cost, epsilon

DELTA = 1e-5
"""At which every epsilon here is told."""
NEAR = 0.8
"""Part of the accounted epsilon that a tight attack must reach: noise may not be far too large either."""
AROUND = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Noise, in parts of what was claimed, at which mechanisms of the same kind are priced."""
FEWEST = 64
"""Games of a row, however few are asked for: both sides must be there."""
FINE, LOOSE, REFUTED, LITTLE, UNCLEAR = "holds", "not refuted", "REFUTED", "TOO LITTLE", "too few games"
ELSE = 1 << 40
"""Added to the seed of games that are played once more."""
AGAIN = 4
"""Times as many games of a row are played once more where they were too few."""


@dataclass(frozen=True)
class Ruler:
    """How the area under the best attack's curve, and epsilon, go with the noise of a mechanism."""

    areas: tuple[float, ...]
    """Falling, at AROUND."""
    epsilons: tuple[float, ...]

    def epsilon(self, area: float) -> float:
        """Of the mechanism of this kind whose best attack has such an area; beyond the table, in proportion to mu."""
        from scipy.interpolate import PchipInterpolator

        mus = [mu_of(one) for one in self.areas][::-1]
        mu, rising = mu_of(area), self.epsilons[::-1]
        if mu <= mus[0]:
            return rising[0] * max(mu, 0.0) / mus[0]
        if mu >= mus[-1]:
            return rising[-1] * mu / mus[-1]
        return float(np.exp(PchipInterpolator(np.log(mus), np.log(rising))(np.log(mu))))


def mu_of(area: float) -> float:
    """Of the Gaussian answer whose best attack has this area under its curve."""
    from scipy.special import ndtri

    return float(np.sqrt(2.0) * ndtri(np.clip(area, 1e-6, 1 - 1e-6)))


@lru_cache(maxsize=64)
def ruler(cost: Cost) -> Ruler:
    """That of one claim."""
    assert cost.noise_multiplier is not None
    alike = [replace(cost, noise_multiplier=cost.noise_multiplier * part) for part in AROUND]
    areas = [lower_bounds.area_of(tradeoff.of([one]).missed) for one in alike]
    return Ruler(tuple(areas), tuple(epsilon([one], DELTA, "prv") for one in alike))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Of one case."""

    name: str
    games: int
    claimed: float
    """Epsilon, as it is accounted."""
    any_algorithm: float
    """Lower bound of epsilon from (epsilon, delta) alone, as of one run (Steinke et al. 2023), with 95 %."""
    one_run: float
    """The same by the trade-off curve of a Gaussian answer (Mahloujifar et al. 2024)."""
    gaussian: float
    """By mu at the best threshold, where games are independent; with the confidence of all findings together."""
    estimate: float
    """Epsilon of the mechanism of this kind, with other noise, that is attacked as well as this one was."""
    low: float
    high: float
    """Its interval: exact, with that confidence."""
    mu: float
    mu_claimed: float
    """Of a Gaussian answer of the same area under the best attack's curve: as seen, and as claimed."""
    area_over: float
    """How far the area under the attack's curve is surely above the largest that the claim allows."""
    excess: lower_bounds.Excess
    tight: bool
    noise: str
    """What is surely wrong with the noise, whatever the attack shows: also that it is too large."""
    verdict: str

    @property
    def over(self) -> float:
        """By the test that shows most: above 0 is refuted."""
        return max(self.area_over, self.excess.value)

    @property
    def unclear(self) -> bool:
        """Whether more games would say whether noise is too large."""
        return self.verdict == UNCLEAR

    @property
    def too_little(self) -> bool:
        """Whether it fails by what it does not show."""
        return self.verdict == LITTLE

    @property
    def why(self) -> str:
        """Why it fails, in a few words."""
        if self.verdict == LITTLE:
            return self.noise or (
                f"shows ε {self.high:.2f} at most, of {self.claimed:.2f}: noise is too large, a sum too small, or what "
                "was added is not what the attack looks for"
            )
        games = f"shows ε {self.low:.2f} at least, of {self.claimed:.2f} claimed" if self.over > 0 else ""
        if self.excess.value > 0:
            at = f"at {self.excess.false_alarms:.2%} of false alarms at most"
            games = f"{self.excess.found:.2%} of the canaries found, at least, {at}: more than its curve allows"
        return "; ".join(one for one in (games, self.noise) if one)

    @property
    def ratio(self) -> float:
        """Shown epsilon over the accounted one."""
        return self.estimate / self.claimed

    @property
    def fails(self) -> bool:
        """Whether something is wrong with the mechanism, or with its price."""
        return self.verdict in (REFUTED, LITTLE)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"over": self.over, "ratio": self.ratio, "fails": self.fails}


def judge(case: Case, played: Played, confidence: float) -> Finding:
    """All that the games say. `confidence` is this finding's own: one of several needs more for all of them to hold.

    Refuted: hits at some threshold, or the area under the attack's curve, are surely above what the claim's whole curve
    allows, or noise is surely missing, not normal or not drawn again. Too little: the area is surely below that of NEAR
    of the claim, or noise is surely larger. Hits, both areas and all tests of noise have a quarter each of what may go
    wrong. Bounds as of one run are told beside them, each with 95 %: where games are independent, they are weaker.
    """
    part = 1 - (1 - confidence) / 4
    noise = "" if played.noise is None else residuals.fault(played.noise, part)
    if not np.isfinite(played.scores_M).all():
        noise, played = residuals.NO_NUMBER, replace(played, scores_M=np.nan_to_num(played.scores_M, nan=0.0))
    scores, coins = played.scores_M, played.coins_M
    scale, curve = ruler(case.cost), tradeoff.of([case.cost])
    claimed, most = scale.epsilons[AROUND.index(1.0)], scale.areas[AROUND.index(1.0)]
    area = verdict.auc(scores[coins], scores[~coins]).value
    low, high = _interval(played, part)
    over = lower_bounds.excess(scores, coins, played.thresholds.tolist(), curve.missed, part)
    any_algorithm, one_run = lower_bounds.in_one_run(scores, coins, DELTA, verdict.CONFIDENCE)
    gaussian = lower_bounds.gaussian_mu(scores, coins, played.thresholds.tolist(), part)
    found = Finding(
        name=f"{case.name} ({played.instead})" if played.instead else case.name, games=len(scores), claimed=claimed,
        any_algorithm=any_algorithm,
        one_run=lower_bounds.epsilon_of(one_run, DELTA), gaussian=lower_bounds.epsilon_of(gaussian, DELTA),
        estimate=scale.epsilon(area), low=scale.epsilon(low), high=scale.epsilon(high), mu=mu_of(area),
        mu_claimed=mu_of(most), area_over=low - most, excess=over, tight=case.tight,
        noise=noise, verdict="",
    )  # fmt: skip
    return replace(found, verdict=_verdict(found, case.tight))


def _interval(played: Played, confidence: float) -> tuple[float, float]:
    """Exact bounds of the area under the attack's curve, of this confidence each."""
    low = lower_bounds.area_at_least(played.scores_M, played.coins_M, confidence)
    return low, 1 - lower_bounds.area_at_least(-played.scores_M, played.coins_M, confidence)


def _verdict(found: Finding, tight: bool) -> str:
    large = found.noise.startswith(residuals.LARGE)
    if found.over > 0 or (found.noise and not large):
        return REFUTED
    if large or (tight and found.high < NEAR * found.claimed):
        return LITTLE
    if not tight:
        return LOOSE
    return FINE if found.ratio >= NEAR else UNCLEAR


def audit(
    cases: Sequence[Case], games: int, seed: int, confidence: float, tell: Callable[[int, Finding], None]
) -> list[Finding]:
    """Play and judge all; `confidence` is that of all findings together. tell(how many are done, the last one).

    Each row's games may be too few, and are then played once more, others and AGAIN times as many: each of the two has
    half of the row's part of what may go wrong.
    """
    each = 1 - (1 - confidence) / len(cases) / 2
    found: list[Finding] = []
    for case in cases:
        many = max(FEWEST, round(games * case.games))
        one = judge(case, case.play(many, seed), each)
        if one.unclear:
            one = judge(case, case.play(AGAIN * many, seed + ELSE), each)
        found.append(one)
        tell(len(found), one)
    return found
