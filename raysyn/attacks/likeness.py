"""How well the attacked classifier and its shadow models know their images: what cannot be alike here is no shadow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.attacks.lira import Confidences, Mask
from raysyn.attacks.verdict import clopper_pearson
from raysyn.data.images import Images
from raysyn.train.recipe import predict

FAR = 0.10
"""Accuracies that lie further apart, and whose intervals do not meet, are no accident of these images."""


def right(network: nn.Module, images: Images) -> Tensor:
    """(N,) bool: which images, as they are, the network labels rightly, in evaluation mode."""
    return predict(network, images.images_NHWC).argmax(1) == torch.tensor(images.labels_N)


def figures(
    target_N: Mask, shadow_MN: Mask, shadow_MNQ: Confidences, inside_MN: Mask, members_N: Mask
) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracies like for like: {"target": {"seen", "unseen"}, "shadow_models": {"seen", "unseen"}} of {value, low,
    high, images}: of the median shadow model, with {lowest, highest} of all.

    `seen` are members, of a shadow model those that it was trained on; `unseen` non-members, of a shadow model those
    that it was not. Images that lay aside for a shadow model (NaN in `shadow_MNQ`) count on no side.
    """
    outside_MN = ~inside_MN & ~np.isnan(shadow_MNQ[..., 0])
    seen_MN, unseen_MN = inside_MN & members_N, outside_MN & ~members_N
    return {
        "target": {"seen": _rate(target_N[members_N]), "unseen": _rate(target_N[~members_N])},
        "shadow_models": {"seen": _rates(shadow_MN, seen_MN), "unseen": _rates(shadow_MN, unseen_MN)},
    }


def apart(found: Mapping[str, Any]) -> float:
    """By how much the target's accuracy on images it was trained on exceeds the median shadow model's on its own; 0
    unless the two lie far apart: by more than `FAR`, with intervals that do not meet."""
    target, shadows = (found[whose]["seen"] for whose in ("target", "shadow_models"))
    meet = target["low"] <= shadows["high"] and shadows["low"] <= target["high"]
    difference = target["value"] - shadows["value"]
    return 0.0 if meet or abs(difference) <= FAR else difference


def _rate(right_N: Mask) -> dict[str, float]:
    return {**clopper_pearson(int(right_N.sum()), len(right_N)).as_dict(), "images": len(right_N)}


def _rates(right_MN: Mask, asked_MN: Mask) -> dict[str, float]:
    """Of the median model, which one that learned nothing does not move, and of the least and the most accurate one."""
    each = [right_N[asked_N] for right_N, asked_N in zip(right_MN, asked_MN, strict=True) if asked_N.any()]
    each.sort(key=lambda right_n: float(right_n.mean()))
    return {**_rate(each[(len(each) - 1) // 2]), "lowest": float(each[0].mean()), "highest": float(each[-1].mean())}
