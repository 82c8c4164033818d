"""Weights to go on from where what was learned before tells little of what comes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

OF_ALL_CLASSES = 0.1
"""Share kept of a warm-up on central images of all classes together, where images of several classes are to be made.

Such images are nearly one image. On digits (quick preset, epsilon 10, one seed) the network that learned it made images
that hardly depend on their class: classifiers reached 32 %, with the classes' rows drawn near the one of no class 9 %,
after a fifth of the steps 35 %, with labels in turn 19 %; without a warm-up 82 %. DP-SGD's few steps do not lead away
from there. That fresh weights learn better than those of a poorer task is known (Ash and Adams, "On Warm-Starting
Neural Network Training", NeurIPS 2020), and so is this mend: shrink, and perturb by fresh weights. A tenth reached 82 %
and a Frechet distance of 3.1, where it is 3.6 without a warm-up and 2.7 with one on images per class."""


def lessened(fresh: Mapping[str, Tensor], taught: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """`share` of the way from the `fresh` weights to the `taught` ones; what is no float as taught."""
    return {
        name: fresh[name].lerp(value.to(fresh[name].device), share) if value.is_floating_point() else value
        for name, value in taught.items()
    }
