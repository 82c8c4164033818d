"""Ways to score an image by what the target and shadow models say of it: LiRA's four, RMIA's two, and the loss alone.

Shapes: N examples, Q queries (views) of each.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from raysyn.attacks import rmia
from raysyn.attacks.gaussians import Confidences, Moments

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

    def alone(self, target_NQ: Confidences, inside: Moments | None, out: Moments) -> Confidences:
        """(N, Q), each image and view by itself."""


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

    def alone(self, target_NQ: Confidences, inside: Moments | None, out: Moments) -> Confidences:
        """Online the log-likelihood ratio; offline how many standard deviations the target lies above "out"."""
        unseen = out.gaussians(self.per_example, OUT)
        if inside is None:
            return (target_NQ - unseen.mean_NQ) / unseen.std_NQ
        seen = inside.gaussians(self.per_example, IN)
        return seen.log_density(target_NQ) - unseen.log_density(target_NQ)


class Rmia(NamedTuple):
    """The ratio of pairwise likelihood ratios, by its logarithm: see `rmia`. Views are averaged."""

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

    def alone(self, target_NQ: Confidences, inside: Moments | None, out: Moments) -> Confidences:
        seen_NQ = None if inside is None else inside.means(IN)
        return rmia.log_ratio(target_NQ, out.means(OUT), seen_NQ, self.a)


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

    def alone(self, target_NQ: Confidences, inside: Moments | None, out: Moments) -> Confidences:
        """The confidence, which falls as the loss rises."""
        return target_NQ


VARIANTS = tuple(Lira(online, per_example) for online in (True, False) for per_example in (True, False))
"""LiRA's, of which the most effective one is called so."""
BESIDE: tuple[Variant, ...] = (Rmia(online=True), Rmia(online=False), Loss())
EVERY: tuple[Variant, ...] = (*VARIANTS, *BESIDE)
