"""How well the attacked classifier and its shadow models know their images: what cannot be alike here is no shadow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.attacks.gaussians import Confidences, Mask
from raysyn.attacks.verdict import clopper_pearson
from raysyn.attacks.whose import Whose
from raysyn.data.images import Images
from raysyn.train.recipe import predict

FAR = 0.10
"""Accuracies that lie further apart, and whose intervals do not meet, are no accident of these images."""


def right(network: nn.Module, images: Images) -> Tensor:
    """(N,) bool: which images, as they are, the network labels rightly, in evaluation mode."""
    return predict(network, images.images_NHWC).argmax(1) == torch.tensor(images.labels_N)


def figures(
    target_N: Mask, shadow_MN: Mask, shadow_MNQ: Confidences, inside_MN: Mask, members_N: Mask, whose: Whose
) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracies like for like: {"target": {"seen", "unseen"}, "shadow_models": {"seen", "unseen"}} of {value, low,
    high, images}: of the median shadow model, with {lowest, highest} of all.

    `seen` are members, of a shadow model those that it was trained on; `unseen` non-members, of a shadow model those
    that it was not. Where persons are named intervals are as wide as if all images of one were right or wrong together.
    Images that lay aside for a shadow model (NaN in `shadow_MNQ`) count on no side.
    """
    outside_MN = ~inside_MN & ~np.isnan(shadow_MNQ[..., 0])
    seen_MN, unseen_MN = inside_MN & members_N, outside_MN & ~members_N
    return {
        "target": {"seen": _rate(target_N, members_N, whose), "unseen": _rate(target_N, ~members_N, whose)},
        "shadow_models": {"seen": _rates(shadow_MN, seen_MN, whose), "unseen": _rates(shadow_MN, unseen_MN, whose)},
    }


def apart(found: Mapping[str, Any]) -> float:
    """By how much the target's accuracy on images it was trained on exceeds the median shadow model's on its own; 0
    unless the two lie far apart: by more than `FAR`, with intervals that do not meet."""
    target, shadows = (found[whose]["seen"] for whose in ("target", "shadow_models"))
    meet = target["low"] <= shadows["high"] and shadows["low"] <= target["high"]
    difference = target["value"] - shadows["value"]
    return 0.0 if meet or abs(difference) <= FAR else difference


def _rate(right_N: Mask, asked_N: Mask, whose: Whose) -> dict[str, float]:
    images, right = int(asked_N.sum()), int(right_N[asked_N].sum())
    if whose.persons_N is None:
        return {**clopper_pearson(right, images).as_dict(), "images": images}
    # So many persons with equally many images tell as much (Kish); a part of one counts against the interval.
    persons = int(images**2 / (np.bincount(whose.persons_N[asked_N]) ** 2).sum() + 1e-9)
    of_persons = right * persons / images
    low = clopper_pearson(math.floor(of_persons + 1e-9), persons).low
    high = clopper_pearson(math.ceil(of_persons - 1e-9), persons).high
    return {"value": right / images, "low": low, "high": high, "images": images}


def _rates(right_MN: Mask, asked_MN: Mask, whose: Whose) -> dict[str, float]:
    """Of the median model, which one that learned nothing does not move, and of the least and the most accurate one."""
    each = [_rate(*one, whose) for one in zip(right_MN, asked_MN, strict=True) if one[1].any()]
    each.sort(key=lambda rate: rate["value"])
    return {**each[(len(each) - 1) // 2], "lowest": each[0]["value"], "highest": each[-1]["value"]}
