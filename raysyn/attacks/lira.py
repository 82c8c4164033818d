"""LiRA, the likelihood-ratio membership attack (Carlini et al., S&P 2022), for any classifier.

Shadow models show how confident a model is about an example when it was trained on it ("in") and when not ("out");
a target's confidence is then judged by the ratio of the two likelihoods. Designs say which shadow model sees which
example; confidences are logit-scaled; scores come in four variants (online or offline, variance per example or one
for all).

Shapes: M shadow models, N examples, Q queries (views) of each example.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from raysyn.attacks.verdict import verdict

Confidences = NDArray[np.float64]
Mask = NDArray[np.bool_]

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLIT = (0.5, 0.1, 0.4)
SMALLEST_STD = 1e-6
"""Saturated confidences may agree in every shadow model; their likelihoods must stay finite."""


class Variant(NamedTuple):
    """One way to the likelihoods. Offline needs only models that never saw the example."""

    online: bool
    per_example: bool

    def __str__(self) -> str:
        return f"{'online' if self.online else 'offline'}, {'per-example' if self.per_example else 'global'} variance"


VARIANTS = tuple(Variant(online, per_example) for online in (True, False) for per_example in (True, False))


def half_design(models: int, examples: int, seed: int) -> Mask:
    """(models, examples): which model is trained on which example; every example is in exactly half of the models.

    Models come in pairs that share out all examples between them. Row m depends on m and the seed alone, so that a
    sweep may grow by any number; with an odd number the last model has no partner yet.
    """
    _at_least(2, models, "shadow models")
    pairs = range(math.ceil(models / 2))
    first = np.stack([np.random.default_rng([seed, pair]).random(examples) < 0.5 for pair in pairs])
    return np.stack((first, ~first), axis=1).reshape(-1, examples)[:models]


def split_design(models: int, examples: int, seed: int) -> NDArray[np.int8]:
    """(models, examples) of TRAIN, VALIDATION, TEST in the shares 50/10/40, drawn anew for each model.

    Knowledge Recycling, section 3.6. Row m depends on m and the seed alone.
    """
    _at_least(2, models, "shadow models")
    cuts = np.round(np.cumsum(SPLIT)[:2] * examples).astype(int)
    parts = np.repeat(np.array([TRAIN, VALIDATION, TEST], np.int8), np.diff([0, *cuts, examples]))
    return np.stack([np.random.default_rng([seed, model]).permutation(parts) for model in range(models)])


def confidence(logits: NDArray[Any], labels_N: NDArray[np.int64]) -> Confidences:
    """ln(p / (1 - p)) of the true class's probability p, in float64: (N, Q, classes) or (N, classes) to (N, Q) or (N,).

    From the logits z it is z_y - logsumexp of the others, which never rounds p to 0 or 1.
    Raises ValueError for fewer than two classes.
    """
    values = np.asarray(logits, np.float64)
    if values.shape[-1] < 2:
        raise ValueError(f"the model has {values.shape[-1]} class: membership scores need at least 2")
    at = np.broadcast_to(labels_N.reshape(-1, *[1] * (values.ndim - 1)), (*values.shape[:-1], 1))
    own = np.take_along_axis(values, at, -1)[..., 0]
    others = values.copy()
    np.put_along_axis(others, at, -np.inf, -1)
    return own - special.logsumexp(others, axis=-1)


def scores(shadow_MNQ: Confidences, inside_MN: Mask, target_NQ: Confidences, variant: Variant) -> Confidences:
    """(N,) membership scores of the target's examples, higher meaning "rather a member".

    Online: ln p(target | in) - ln p(target | out) under Gaussians fitted to the shadow models (paper, equation 4).
    Offline: how many standard deviations the target lies above the mean of "out" (one-sided, monotone in the tail
    probability). The mean over queries stands for independent views.

    Args:
        shadow_MNQ: confidences of the shadow models.
        inside_MN: whether model m was trained on example n; `~inside_MN` are those it never saw. Where a model saw
            an example in another role (validation), set its confidence to NaN: it counts on neither side.
        target_NQ: confidences of the attacked model.
    Raises ValueError where an example has too few models on a side.
    """
    out = _fit(shadow_MNQ, ~inside_MN, variant.per_example, "never saw")
    if not variant.online:
        return ((target_NQ - out.mean_NQ) / out.std_NQ).mean(1)
    inside = _fit(shadow_MNQ, inside_MN, variant.per_example, "were trained on")
    return (inside.log_density(target_NQ) - out.log_density(target_NQ)).mean(1)


def attack(shadow_MNQ: Confidences, inside_MN: Mask, target_NQ: Confidences, members_N: Mask) -> dict[str, Any]:
    """Every variant's verdict on one target, and which was most effective: {variants: {name: verdict}, best: name}.

    `best` is the variant of the highest AUC, as in Knowledge Recycling 3.6; picked on the outcome, so it flatters the
    attacker. `members_N` is the truth about the target.
    """
    found = {}
    for variant in VARIANTS:
        score_N = scores(shadow_MNQ, inside_MN, target_NQ, variant)
        found[str(variant)] = verdict(score_N[members_N], score_N[~members_N])
    return {"variants": found, "best": max(found, key=lambda name: found[name]["auc"]["value"])}


def leave_one_out(shadow_MNQ: Confidences, inside_MN: Mask, variant: Variant) -> list[dict[str, Any]]:
    """The verdict on every shadow model in turn, attacked with the help of the others: M verdicts, not one.

    Without the partner of `half_design`: its images are just those that the target never saw, so that how many models
    saw an image would give away whether the target did.
    """
    answers = []
    for target in range(len(shadow_MNQ)):
        others = (inside_MN != ~inside_MN[target]).any(1)
        others[target] = False
        rest, seen = shadow_MNQ[others], inside_MN[others]
        known_N = ~np.isnan(shadow_MNQ[target]).any(1)
        score_N = scores(rest[:, known_N], seen[:, known_N], shadow_MNQ[target][known_N], variant)
        members_N = inside_MN[target][known_N]
        answers.append(verdict(score_N[members_N], score_N[~members_N]))
    return answers


def spread(shadow_MNQ: Confidences, inside_MN: Mask) -> dict[str, dict[str, float]]:
    """How the AUC varies over targets: {variant: {auc_mean, auc_std, auc_low, auc_high}} of `leave_one_out`.

    Variants that would lack models on a side once a target is taken out are left out.
    """
    found = {}
    for variant in VARIANTS:
        try:
            values = [one["auc"]["value"] for one in leave_one_out(shadow_MNQ, inside_MN, variant)]
        except ValueError:
            continue
        found[str(variant)] = {
            "auc_mean": float(np.mean(values)),
            "auc_std": float(np.std(values, ddof=1)),
            "auc_low": min(values),
            "auc_high": max(values),
        }
    return found


class _Gaussians(NamedTuple):
    mean_NQ: Confidences
    std_NQ: Confidences

    def log_density(self, x_NQ: Confidences) -> Confidences:
        return -np.log(self.std_NQ) - ((x_NQ - self.mean_NQ) / self.std_NQ) ** 2 / 2


def _fit(shadow_MNQ: Confidences, side_MN: Mask, per_example: bool, did: str) -> _Gaussians:
    """Mean per example and view; standard deviation per example and view, or one per view pooled over examples."""
    counted_MNQ = side_MN[:, :, None] & ~np.isnan(shadow_MNQ)
    count_NQ = counted_MNQ.sum(0)
    needed = 2 if per_example else 1
    if (least := int(count_NQ.min())) < needed:
        raise ValueError(f"only {least} shadow models {did} some example, {needed} are needed: train more of them")
    values = np.where(counted_MNQ, shadow_MNQ, 0.0)
    mean_NQ = values.sum(0) / count_NQ
    squares_NQ = (np.where(counted_MNQ, shadow_MNQ - mean_NQ, 0.0) ** 2).sum(0)
    if per_example:
        variance = squares_NQ / (count_NQ - 1)
    else:
        # Deviations from each example's own mean: how much examples differ says nothing about membership.
        variance = np.broadcast_to(squares_NQ.sum(0) / np.maximum(1, (count_NQ - 1).sum(0)), mean_NQ.shape)
    return _Gaussians(mean_NQ, np.maximum(np.sqrt(variance), SMALLEST_STD))


def _at_least(least: int, value: int, what: str) -> None:
    if value < least:
        raise ValueError(f"{value} {what}: give at least {least}")
