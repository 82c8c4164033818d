"""The figures that speak for an attack: those of one variant, named before its outcome, beside what chance gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks import lira
from raysyn.attacks.gaussians import Confidences, Mask
from raysyn.attacks.variants import Variant
from raysyn.attacks.verdict import CONFIDENCE, verdict
from raysyn.attacks.whose import Whose

PERMUTATIONS = 400


def headline(
    shadow_MNQ: Confidences, inside_MN: Mask, target_NQ: Confidences, members_N: Mask,
    labels_N: NDArray[np.int64], variant: Variant, views: int, seed: int, whose: Whose,
) -> dict[str, Any]:  # fmt: skip
    """{variant, views, auc, tpr, null, by_views, score_U}: the verdict from the first `views`, what membership at
    random would give (see `permuted`), auc and tpr from the first view, the first two, ..., all, and the scores."""
    score_UQ = lira.by_views(shadow_MNQ, inside_MN, target_NQ, variant, whose)
    by_views, members_U = [], whose.one_each(members_N)
    for score_U in score_UQ.T:
        found = verdict(score_U[members_U], score_U[~members_U])
        by_views.append({"auc": found["auc"], "tpr": found["tpr"]})
    return {
        "variant": str(variant),
        "views": views,
        **by_views[views - 1],
        "null": permuted(score_UQ[:, views - 1], members_U, whose.classes(labels_N), seed),
        "by_views": by_views,
        "score_U": score_UQ[:, views - 1],
    }


def permuted(score_U: Confidences, members_U: Mask, labels_U: NDArray[np.int64], seed: int) -> dict[str, float]:
    """The area under the ROC curve where membership says nothing: {mean, low, high, share_as_high}.

    Who is a member is dealt out anew among the images (or persons) of each class, PERMUTATIONS times, so that a mix of
    classes that differs between the sides shows here as it would in the area itself. `low` to `high` holds 95 % of the
    draws; `share_as_high` is that of draws at least as high as the truth, itself counted (a p-value).
    """
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy import stats

    ranks_U, rng = stats.rankdata(score_U), np.random.default_rng(seed)
    sums_P, true_sum = np.zeros(PERMUTATIONS), 0.0
    for label in np.unique(labels_U):
        own = labels_U == label
        true_sum += float(ranks_U[own & members_U].sum())
        dealt_PU = rng.permuted(np.tile(ranks_U[own], (PERMUTATIONS, 1)), axis=1)
        sums_P += dealt_PU[:, : int(members_U[own].sum())].sum(1)
    members = int(members_U.sum())
    others = len(members_U) - members

    def area(sums: Any) -> Any:
        """Mann and Whitney's statistic as a share, from the sum of the members' ranks."""
        return (sums - members * (members + 1) / 2) / (members * others)

    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(area(sums_P), [tail, 1 - tail])
    # Sums in another order round otherwise: what differs by rounding alone is as high.
    as_high = int((area(sums_P) >= area(true_sum) - 1e-12).sum())
    return {
        "mean": float(area(sums_P).mean()),
        "low": float(low),
        "high": float(high),
        "share_as_high": (1 + as_high) / (1 + PERMUTATIONS),
    }
