"""Whole methods attacked by shadow runs: likelihood ratios from what releases say, with an image and without it.

The method itself is run again on random halves of its images, in pairs that share all of them out: of a pair one run
learned from an image, the other did not. Each run in turn is the target, all others but its partner are what the
attacker has of their own: one lucky target is no result, so that every figure is a mean over targets, and its interval
tells how much targets differ. All images of a run share its noise, so that they are no independent trials; pairs of
runs nearly are.

Coins are independent of each other, image by image: whether one is in says nothing of the others, as the promise of a
method is about one that is added or left out.

Shapes: M shadow runs, P pairs of them, U units (images, or persons), Q signals (`released`, or of weights).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks import lira, over_targets
from raysyn.attacks.found import OPEN_WEIGHTS, RELEASED, WEIGHTS, found
from raysyn.attacks.gaussians import Confidences, Moments
from raysyn.attacks.shadows import ENOUGH
from raysyn.attacks.variants import IN, OUT, Lira, Variant
from raysyn.attacks.verdict import placed
from raysyn.attacks.whose import Whose
from raysyn.data.images import Images

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
FEWEST = 6
"""Shadow runs: two pairs beside that of a target, so that how much runs differ can be known."""


class Shift(NamedTuple):
    """Above the middle between what runs say that had the image and that had not: a likelihood ratio where each image's
    values are Gaussian and every image moves them as far. Few shadow runs tell a middle well, and how far one image
    moves them badly."""

    flag: str = "shift"
    online: bool = True

    def __str__(self) -> str:
        return "one shift for all"

    def signal(self, confidence: Confidences) -> Confidences:
        return confidence

    def alone(self, target_NQ: Confidences, inside: Moments | None, out: Moments) -> Confidences:
        assert inside is not None
        return target_NQ - (inside.means(IN) + out.means(OUT)) / 2


VARIANTS: tuple[Variant, ...] = (Shift(), Lira(online=True, per_example=False), Lira(online=True, per_example=True))


def headline(runs: int) -> Variant:
    """The variant that speaks for the attack; it depends on nothing that an attack finds out."""
    return VARIANTS[2] if runs // 2 >= ENOUGH else VARIANTS[0]


def design(runs: int, images: Images, seed: int) -> Mask:
    """(M, N): which shadow run learns from which image; all images of a person together. Row m is the same however many
    runs there are."""
    return Whose.of(images).images_of(lira.half_design(runs, images.units, seed))


def check_runs(runs: int) -> None:
    """ValueError for a number of runs that makes no pairs, or too few."""
    if runs < FEWEST or runs % 2:
        raise ValueError(
            f"shadow_runs is {runs}: give an even number of at least {FEWEST}, 16 to begin with and 64 for small leaks"
        )


def of_units(signals_MNQ: Values, whose: Whose) -> Values:
    """(M, U, Q): of a person their images' together, on the scale of one image's noise."""
    if whose.persons_N is None:
        return signals_MNQ
    return np.stack([whose.joined(one) / np.sqrt(whose.images_U)[:, None] for one in signals_MNQ])


def _ahead(signals_MUQ: Values, inside_MU: Mask) -> Values:
    """(P, U, Q): of each pair, the run that had the unit less the other. How like any release the unit is cancels."""
    between = signals_MUQ[::2] - signals_MUQ[1::2]
    return np.where(inside_MU[::2, :, None], between, -between)


def _weights(ahead_PUQ: Values) -> Values:
    """(Q,): Fisher's, each signal for itself, with a little for all where nothing is known to lead."""
    spread_Q = np.maximum(ahead_PUQ.std((0, 1)), 1e-12)
    lead_Q = ahead_PUQ.mean((0, 1)) / spread_Q
    return (np.maximum(lead_Q, 0.0) + 1e-3) / spread_Q


def each_as_target(signals_MUQ: Values, inside_MU: Mask, variant: Variant) -> Values:
    """(M, U): scores of every shadow run as the target, higher meaning "rather learned from it"."""
    ahead_PUQ, runs = _ahead(signals_MUQ, inside_MU), np.arange(len(signals_MUQ))
    scores = []
    for run, target_UQ in enumerate(signals_MUQ):
        others = runs[runs // 2 != run // 2]
        weights_Q = _weights(np.delete(ahead_PUQ, run // 2, axis=0))
        shadow_MU1, target_U1 = (signals_MUQ[others] @ weights_Q)[..., None], (target_UQ @ weights_Q)[:, None]
        scores.append(lira.scores(shadow_MU1, inside_MU[others], target_U1, variant))
    return np.stack(scores)


def of_a_release(signals_MUQ: Values, inside_MU: Mask, target_UQ: Values, members_U: Mask) -> Values:
    """(U,): scores of a release that learned from all of `members_U`, offline: how far it lies above shadow runs that
    had not the unit.

    Members were in half of the shadow runs and others in none, so that for these `inside_MU` are coins too, and it is
    compared with as many runs: how many had a unit must not tell whether the release had.
    """
    weights_Q = _weights(_ahead(signals_MUQ[:, members_U], inside_MU[:, members_U]))
    values_MU, out_MU = signals_MUQ @ weights_Q, ~inside_MU
    return target_UQ @ weights_Q - np.where(out_MU, values_MU, 0.0).sum(0) / out_MU.sum(0)


class Asked(NamedTuple):
    """What is known of everybody: training images, then test images."""

    shadows_MNQ: Values
    target_NQ: Values
    """The attacked run's own."""


class Crowd(NamedTuple):
    """Who was asked about."""

    train: Images
    test: Images
    inside_MN: Mask
    """Of the training images: which shadow run learned from which."""
    seed: int
    left_out_U: Mask | None = None
    """Of the training units, whom the attacked run did not learn from, or not as they are."""


NONE_SHOWN = slice(0)
MORE = {RELEASED: "", OPEN_WEIGHTS: ", released weights too", WEIGHTS: ", weights too"}
"""What the name of an attack says of what it sees."""


def looks(released: Asked, weights: Asked | None, shown: slice) -> dict[str, Asked]:
    """What is asked, by who sees it: released images; these and those signals of the weights that are `shown` by the
    release; and all weights, where there are others."""
    found = {RELEASED: released}
    if weights is None:
        return found
    everything = range(weights.target_NQ.shape[1])
    for sees, some in ((OPEN_WEIGHTS, everything[shown]), (WEIGHTS, everything)):
        if len(some) and (sees == OPEN_WEIGHTS or len(everything[shown]) < len(everything)):
            pairs = zip(released, weights, strict=True)
            found[sees] = Asked(*(np.concatenate((one, other[..., some]), -1) for one, other in pairs))
    return found


def records(
    released: Asked, weights: Asked | None, crowd: Crowd, delta: float | None, shown: slice = NONE_SHOWN
) -> tuple[list[dict[str, Any]], dict[str, Values]]:
    """What attacks find that see the released images, and weights beside them (`looks`): on each shadow run in turn,
    and on the attacked run itself (`found.found`). Beside that of each training image {"runs", "this_run"}: the share
    of non-members below it, by released images, where it was learned from."""
    runs, each = len(crowd.inside_MN), dict[str, Values]()
    told = []
    for sees, asked in looks(released, weights, shown).items():
        more = MORE[sees]
        scores_MU, inside_MU = _on_each(asked, crowd)
        note = (
            "each in turn is the target, all others but one help the attacker; they learned from half of the images "
            "each; figures are means over targets, by thresholds that the others tell, and intervals over pairs of "
            f"them ({headline(runs)})"
        )
        whose = Whose.of(crowd.train)
        facts: dict[str, Any] = {"unit": whose.word, "delta": delta}
        told.append(over_targets.record(f"{runs} shadow runs{more}", sees, scores_MU, inside_MU, **facts, note=note))
        members, others = _on_this(asked, crowd)
        learned = members if crowd.left_out_U is None else members[~crowd.left_out_U]
        note = "one target alone, whose members share what chance did to it"
        told.append(found(f"this run, by {runs} shadow runs{more}", sees, learned, others, **facts, note=note))
        if sees == RELEASED:
            below_U = {"runs": over_targets.exposed(scores_MU, inside_MU), "this_run": placed(members, others)}
            each = {name: whose.images_of(one) for name, one in below_U.items()}
    return told, each


def _on_each(asked: Asked, crowd: Crowd) -> tuple[Values, Mask]:
    """Scores (M, U) of the training units in each shadow run, and which it had."""
    n, whose = len(crowd.train), Whose.of(crowd.train)
    signals_MUQ = of_units(asked.shadows_MNQ[:, :n], whose)
    inside_MU = np.stack([whose.one_each(one) for one in crowd.inside_MN])
    return each_as_target(signals_MUQ, inside_MU, headline(len(inside_MU))), inside_MU


def _on_this(asked: Asked, crowd: Crowd) -> tuple[Values, Values]:
    """Scores of the training units for the attacked run, and of the others."""
    sides = [(crowd.train, slice(None, len(crowd.train))), (crowd.test, slice(len(crowd.train), None))]
    signals, coins = [], []
    for number, (side, part) in enumerate(sides):
        whose = Whose.of(side)
        signals.append(of_units(np.concatenate((asked.shadows_MNQ[:, part], asked.target_NQ[None, part])), whose))
        inside_MN = design(len(crowd.inside_MN), side, crowd.seed + number)
        coins.append(np.stack([whose.one_each(one) for one in inside_MN]))
    all_MUQ = np.concatenate(signals, 1)
    members_U = np.arange(all_MUQ.shape[1]) < signals[0].shape[1]
    scores_U = of_a_release(all_MUQ[:-1], np.concatenate(coins, 1), all_MUQ[-1], members_U)
    return scores_U[members_U], scores_U[~members_U]
