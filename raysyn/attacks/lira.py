"""LiRA, the likelihood-ratio membership attack (Carlini et al., S&P 2022), for any classifier.

Shadow models show how confident a model is about an example when it was trained on it ("in") and when not ("out");
a target's confidence is then judged by the ratio of the two likelihoods. Designs say which shadow model sees which
example; confidences are logit-scaled; scores come in four variants (online or offline, variance per example or one
for all).

Shapes: M shadow models, N examples, Q queries (views) of each; U units, the persons `whose` the examples are, or these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks import rmia
from raysyn.attacks.gaussians import Confidences, Mask, Moments, Signal, TooFewModels, centred, moments
from raysyn.attacks.unseen import Unseen
from raysyn.attacks.variants import EVERY, VARIANTS, Rmia, Variant
from raysyn.attacks.verdict import area, tpr_at, verdict
from raysyn.attacks.whose import IMAGES, Whose

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLIT = (0.5, 0.1, 0.4)
BY_VIEWS_RATE = 0.01
CHOSEN_ON = 8
"""Shadow models that are attacked to choose RMIA's parameter."""


def half_design(models: int, examples: int, seed: int, labels_N: NDArray[np.int64] | None = None) -> Mask:
    """(models, examples): which model is trained on which example; every example is in exactly half of the models.

    Models come in pairs that share out all examples between them; with `labels_N` those of each class, up to one, so
    that no model knows a class better than its partner does: what it knows less well would pass for not seen. Row m
    depends on m, the seed and the labels alone, so that a sweep may grow by any number; with an odd number the last
    model has no partner yet.
    """
    _at_least(2, models, "shadow models")
    pairs = range(math.ceil(models / 2))
    if labels_N is None:
        first = np.stack([np.random.default_rng([seed, pair]).random(examples) < 0.5 for pair in pairs])
    else:
        first = np.stack([_dealt((True, False), labels_N, [seed, pair]) for pair in pairs])
    return np.stack((first, ~first), axis=1).reshape(-1, examples)[:models]


def split_design(models: int, examples: int, seed: int, labels_N: NDArray[np.int64] | None = None) -> NDArray[np.int8]:
    """(models, examples) of TRAIN, VALIDATION, TEST in the shares 50/10/40, drawn anew for each model; with `labels_N`
    in every class, as near as it goes (see `half_design`).

    Knowledge Recycling, section 3.6. Row m depends on m, the seed and the labels alone.
    """
    _at_least(2, models, "shadow models")
    if labels_N is not None:
        dealt = (TRAIN, TEST, TRAIN, TEST, TRAIN, VALIDATION, TRAIN, TEST, TRAIN, TEST)
        return np.stack([_dealt(dealt, labels_N, [seed, model]) for model in range(models)]).astype(np.int8)
    cuts = np.round(np.cumsum(SPLIT)[:2] * examples).astype(int)
    parts = np.repeat(np.array([TRAIN, VALIDATION, TEST], np.int8), np.diff([0, *cuts, examples]))
    return np.stack([np.random.default_rng([seed, model]).permutation(parts) for model in range(models)])


def _dealt(hand: tuple[int, ...], labels_N: NDArray[np.int64], key: list[int]) -> NDArray[Any]:
    """`hand` dealt out round and round to the examples, one class after the other, in random order and from a random
    place on."""
    rng = np.random.default_rng(key)
    order = np.lexsort((rng.random(len(labels_N)), labels_N))
    found = np.empty(len(labels_N), np.array(hand).dtype)
    found[order] = np.array(hand)[(np.arange(len(labels_N)) + rng.integers(len(hand))) % len(hand)]
    return found


def confidence(logits: NDArray[Any], labels_N: NDArray[np.int64]) -> Confidences:
    """ln(p / (1 - p)) of the true class's probability p, in float64: (N, Q, classes) or (N, classes) to (N, Q) or (N,).

    From the logits z it is z_y - logsumexp of the others, which never rounds p to 0 or 1.
    Raises ValueError for fewer than two classes.
    """
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy.special import logsumexp

    values = np.asarray(logits, np.float64)
    if values.shape[-1] < 2:
        raise ValueError(f"the model has {values.shape[-1]} class: membership scores need at least 2")
    at = np.broadcast_to(labels_N.reshape(-1, *[1] * (values.ndim - 1)), (*values.shape[:-1], 1))
    own = np.take_along_axis(values, at, -1)[..., 0]
    others = values.copy()
    np.put_along_axis(others, at, -np.inf, -1)
    return own - logsumexp(others, axis=-1)


def scores(
    shadow_MNQ: Confidences, inside_MN: Mask, target_NQ: Confidences, variant: Variant, whose: Whose = IMAGES
) -> Confidences:
    """(U,) membership scores of the target's examples, higher meaning "rather a member".

    Online: ln p(target | in) - ln p(target | out) under Gaussians fitted to the shadow models (paper, equation 4).
    Offline: how many standard deviations the target lies above the mean of "out" (one-sided, monotone in the tail
    probability). The mean over queries stands for independent views. Other variants: see `variants`.

    Args:
        shadow_MNQ: confidences of the shadow models.
        inside_MN: whether model m was trained on example n; `~inside_MN` are those it never saw. Where a model saw
            an example in another role (validation), set its confidence to NaN: it counts on neither side.
        target_NQ: confidences of the attacked model.
    Raises TooFewModels, a ValueError, where an example has too few models on a side.
    """
    return by_views(shadow_MNQ, inside_MN, target_NQ, variant, whose)[:, -1]


def by_views(
    shadow_MNQ: Confidences, inside_MN: Mask, target_NQ: Confidences, variant: Variant, whose: Whose = IMAGES
) -> Confidences:
    """(U, Q): `scores` from the first view, from the first two, ..., from all. Of persons with unequally many images as
    standard deviations of those whom a model never saw (`unseen`)."""
    out = centred(shadow_MNQ, ~inside_MN, variant.signal)
    inside = centred(shadow_MNQ, inside_MN, variant.signal) if variant.online else None
    score_UQ = _judged(target_NQ, inside, out, variant, whose)
    if not whose.unequal:
        return score_UQ
    unseen = Unseen.together(_unseen(shadow_MNQ, inside_MN, variant, whose))
    return unseen.standardised(score_UQ, whose.images_U)


def _judged(
    target_NQ: Confidences, inside: Moments | None, out: Moments, variant: Variant, whose: Whose
) -> Confidences:
    score_UQ = whose.joined(variant.alone(target_NQ, inside, out))
    return np.stack([score_UQ[:, : views + 1].mean(1) for views in range(score_UQ.shape[1])], 1)


def _unseen(shadow_MNQ: Confidences, inside_MN: Mask, variant: Variant, whose: Whose) -> list[Unseen]:
    """For each shadow model, what the others' help says of persons whom it never saw."""
    most = int(whose.images_U.max())
    return [
        Unseen.of(one.score_UQ[~one.members_U], one.whose.images_U[~one.members_U], most)
        for one in _each_judged(shadow_MNQ, inside_MN, variant, whose)
    ]


def attack(
    shadow_MNQ: Confidences, inside_MN: Mask, target_NQ: Confidences, members_N: Mask, whose: Whose = IMAGES,
    asked: Sequence[Variant] = EVERY,
) -> dict[str, Any]:  # fmt: skip
    """Every variant's verdict on one target, and which of LiRA's was most effective: {variants: {name: verdict}, best:
    name}.

    `best` is the one of the highest AUC, as in Knowledge Recycling 3.6; picked on the outcome, so it flatters the
    attacker. `members_N` is the truth about the target.
    """
    found, members_U = {}, whose.one_each(members_N)
    for variant in asked:
        score_U = scores(shadow_MNQ, inside_MN, target_NQ, variant, whose)
        found[str(variant)] = verdict(*_sides(score_U, members_U))
    best = max(map(str, VARIANTS), key=lambda name: found[name]["auc"]["value"])
    return {"variants": found, "best": best}


class Judged(NamedTuple):
    """One shadow model as the target: of the units whose role in it is known, what `by_views` says, and the truth."""

    score_UQ: Confidences
    members_U: Mask
    whose: Whose


def each_as_target(
    shadow_MNQ: Confidences, inside_MN: Mask, variant: Variant, whose: Whose = IMAGES
) -> Iterator[Judged]:
    """Every shadow model in turn, attacked with the help of the others.

    Without the partner of `half_design`: its images are just those that the target never saw, so that how many models
    saw an image would give away whether the target did. Sums over all models are made once; what helps no attacker on
    this target is taken away again.
    """
    judged = _each_judged(shadow_MNQ, inside_MN, variant, whose)
    if not whose.unequal:
        yield from judged
        return
    unseen = _unseen(shadow_MNQ, inside_MN, variant, whose)
    for target, one in enumerate(judged):
        others = Unseen.together(unseen[:target] + unseen[target + 1 :])
        yield one._replace(score_UQ=others.standardised(one.score_UQ, one.whose.images_U))


class _Helped(NamedTuple):
    """One shadow model as the target, and what the others say of the images whose role in it is known."""

    target_NQ: Confidences
    members_N: Mask
    known_N: Mask
    inside: Moments
    out: Moments


def _each_helped(shadow_MNQ: Confidences, inside_MN: Mask, signal: Signal) -> Iterator[_Helped]:
    """See `each_as_target`."""
    centre_NQ = moments(shadow_MNQ, np.ones_like(inside_MN), np.zeros(shadow_MNQ.shape[1:]), signal).mean()
    everything = [moments(shadow_MNQ, side_MN, centre_NQ, signal) for side_MN in (inside_MN, ~inside_MN)]
    for target in range(len(shadow_MNQ)):
        useless = (inside_MN == ~inside_MN[target]).all(1)
        useless[target] = True
        known_N = ~np.isnan(shadow_MNQ[target]).any(1)
        inside, out = (
            whole.without(moments(shadow_MNQ[useless], side_MN[useless], centre_NQ, signal)).only(known_N)
            for whole, side_MN in zip(everything, (inside_MN, ~inside_MN), strict=True)
        )
        yield _Helped(shadow_MNQ[target][known_N], inside_MN[target][known_N], known_N, inside, out)


def _each_judged(shadow_MNQ: Confidences, inside_MN: Mask, variant: Variant, whose: Whose) -> Iterator[Judged]:
    """`each_as_target`, persons by the sums over their images."""
    for one in _each_helped(shadow_MNQ, inside_MN, variant.signal):
        asked = whose.only(one.known_N)
        score_UQ = _judged(one.target_NQ, one.inside if variant.online else None, one.out, variant, asked)
        yield Judged(score_UQ, asked.one_each(one.members_N), asked)


def with_chosen_a(shadow_MNQ: Confidences, inside_MN: Mask) -> tuple[Variant, ...]:
    """All variants, RMIA's `a` chosen on shadow models, never on a target: of those tried the one whose mean area is
    the highest where the first of them are attacked with the others' help, image by image and in one view; the usual
    one where they are too few."""
    by_nearness = sorted(rmia.TRIED_A, key=lambda a: abs(a - rmia.USUAL_A))
    tried = [Rmia(False, a) for a in by_nearness]
    try:
        # Sums over models are the same whatever a is, and dear.
        areas_TA = [
            [area(*_sides(_judged(one.target_NQ, None, one.out, each, IMAGES)[:, 0], one.members_N)) for each in tried]
            for one in islice(_each_helped(shadow_MNQ[:, :, :1], inside_MN, tried[0].signal), CHOSEN_ON)
        ]
        chosen = tried[int(np.mean(areas_TA, 0).argmax())]
    except TooFewModels:
        chosen = Rmia(False)
    return tuple(chosen if one == Rmia(False) else one for one in EVERY)


def spread(
    shadow_MNQ: Confidences, inside_MN: Mask, whose: Whose, views: int | None = None
) -> dict[str, dict[str, Any]]:
    """How the AUC varies over targets when the first `views` are averaged, by default all:
    {variant: {auc_mean, auc_std, auc_low, auc_high, by_views}} of `each_as_target`.

    `by_views` is the mean of the AUC from the first view, the first two, ..., all, and of the share of members caught
    at a false-positive rate of 1 %. Variants that would lack models on a side once a target is taken out are left out.
    RMIA's `a` is the usual one: that chosen on the first of these very targets would be flattered by them.
    """
    found = {}
    for variant in EVERY:
        areas_TQ, caught_TQ = np.empty((2, len(shadow_MNQ), shadow_MNQ.shape[2]))
        try:
            for target, judged in enumerate(each_as_target(shadow_MNQ, inside_MN, variant, whose)):
                for last, score_U in enumerate(judged.score_UQ.T):
                    sides = _sides(score_U, judged.members_U)
                    areas_TQ[target, last] = area(*sides)
                    caught_TQ[target, last] = tpr_at(BY_VIEWS_RATE, *sides)[0] / len(sides[0])
        except TooFewModels:
            continue
        whole = areas_TQ[:, (views or areas_TQ.shape[1]) - 1]
        found[str(variant)] = {
            "auc_mean": float(whole.mean()),
            "auc_std": float(whole.std(ddof=1)),
            "auc_low": float(whole.min()),
            "auc_high": float(whole.max()),
            "by_views": [
                {"auc_mean": float(area), "tpr_mean": float(caught)}
                for area, caught in zip(areas_TQ.mean(0), caught_TQ.mean(0), strict=True)
            ],
        }
    return found


def _sides(score_N: Confidences, members_N: Mask) -> tuple[Confidences, Confidences]:
    return score_N[members_N], score_N[~members_N]


def _at_least(least: int, value: int, what: str) -> None:
    if value < least:
        raise ValueError(f"{value} {what}: give at least {least}")
