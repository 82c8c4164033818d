"""Ways to score an image by what the target and shadow models say of it: LiRA's four, RMIA's two, and the loss alone.

Shapes: N examples, Q queries (views) of each.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from raysyn.attacks import rmia
from raysyn.attacks.gaussians import Confidences, Mask, Moments
from raysyn.attacks.whose import Whose

IN, OUT = "were trained on", "never saw"


class Variant(Protocol):
    """Scores, higher meaning "rather a member"; persons have the sum of their images'."""

    @property
    def flag(self) -> str:
        """What it is called on the command line."""

    @property
    def online(self) -> bool:
        """Whether it asks models that were trained on the example; offline needs only those that never saw it."""

    def signal(self, confidence: Confidences) -> Confidences:
        """What of confidences is summed over shadow models."""

    def alone(
        self, target_NQ: Confidences, inside: Moments | None, out: Moments, others_N: Mask, whose: Whose
    ) -> Confidences:
        """(N, Q), each image and view by itself. `others_N` are images that the target is known never to have seen."""


class Lira(NamedTuple):
    """One way to the likelihoods."""

    online: bool
    per_example: bool

    @property
    def flag(self) -> str:
        return f"{'online' if self.online else 'offline'}-{'per-example' if self.per_example else 'global'}"

    def __str__(self) -> str:
        return f"{'online' if self.online else 'offline'}, {'per-example' if self.per_example else 'global'} variance"

    def signal(self, confidence: Confidences) -> Confidences:
        return confidence

    def alone(
        self, target_NQ: Confidences, inside: Moments | None, out: Moments, others_N: Mask, whose: Whose
    ) -> Confidences:
        """Online the log-likelihood ratio; offline how many standard deviations the target lies above "out"."""
        unseen = out.gaussians(self.per_example, OUT)
        if inside is None:
            return (target_NQ - unseen.mean_NQ) / unseen.std_NQ
        seen = inside.gaussians(self.per_example, IN)
        return seen.log_density(target_NQ) - unseen.log_density(target_NQ)


class Rmia(NamedTuple):
    """Pairwise likelihood ratios against non-members: the normal quantile of the share that an image is above.

    Quantiles of views are averaged and of a person's images added up (Stouffer). Shares themselves end at 1: a sum of 6
    lies further above its mean than one alone ever does, in standard deviations, and those with most images would be
    first at few false alarms.
    """

    online: bool
    a: float = rmia.USUAL_A
    """Offline alone; see `rmia.log_ratio`."""

    @property
    def flag(self) -> str:
        return f"rmia-{'online' if self.online else 'offline'}"

    def __str__(self) -> str:
        return f"RMIA, {'online' if self.online else 'offline'}"

    def signal(self, confidence: Confidences) -> Confidences:
        return rmia.probability(confidence)

    def alone(
        self, target_NQ: Confidences, inside: Moments | None, out: Moments, others_N: Mask, whose: Whose
    ) -> Confidences:
        # Imported where it is used, not above: who only asks for help must not wait for it.
        from scipy.special import ndtri

        seen_NQ = None if inside is None else inside.means(IN)
        ratio_NQ = rmia.log_ratio(target_NQ, out.means(OUT), seen_NQ, self.a)
        whose_N = np.arange(len(target_NQ)) if whose.persons_N is None else whose.persons_N
        return ndtri(rmia.shares(ratio_NQ, others_N, whose_N, rmia.GAMMA))


class Loss(NamedTuple):
    """No shadow model: members are those of whom the target is sure (Yeom et al. 2018)."""

    online: bool = False

    @property
    def flag(self) -> str:
        return "loss"

    def __str__(self) -> str:
        return "loss, one threshold for all"

    def signal(self, confidence: Confidences) -> Confidences:
        return confidence

    def alone(
        self, target_NQ: Confidences, inside: Moments | None, out: Moments, others_N: Mask, whose: Whose
    ) -> Confidences:
        """The confidence, which falls as the loss rises."""
        return target_NQ


VARIANTS = tuple(Lira(online, per_example) for online in (True, False) for per_example in (True, False))
"""LiRA's, of which the most effective one is called so."""
BESIDE: tuple[Variant, ...] = (Rmia(online=True), Rmia(online=False), Loss())
EVERY: tuple[Variant, ...] = (*VARIANTS, *BESIDE)
