"""RMIA, the membership attack by pairwise likelihood ratios (Zarifzadeh, Liu, Shokri, ICML 2024), from probabilities.

There an image x is held against images z that the target never saw: it scores the share of them for which
(p_target(x) / p(x)) / (p_target(z) / p(z)) >= gamma, p being what a model gives the true class by softmax (of
temperature 1: stored confidences are of that class alone) and p(x) the mean over models with and without x.

All x meet the same z, so that the order of images is that of their ratios alone, whatever z and gamma are: the score
here is ln(p_target(x) / p(x)), which needs neither. A share among the non-members beside x would know who they are, as
each is left out of its own: of equal ratios those of members would score higher, and nothing that leaks would be found.

Shapes: N images, Q queries (views) of each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
USUAL_A = 0.3
"""The paper's for CIFAR-10, where shadow models are too few to choose one."""
TRIED_A = tuple(tenth / 10 for tenth in range(11))
LEAST = 1e-10
"""Probabilities below pass for this one: sums over all models, less those of a target, resolve nothing smaller."""


def probability(confidence: Values) -> Values:
    """Of the true class, from its logit."""
    from scipy.special import expit

    return np.clip(expit(confidence), LEAST, None)


def log_ratio(confidence_NQ: Values, out_NQ: Values, inside_NQ: Values | None, a: float) -> Values:
    """ln(p_target(x) / p(x)) from mean probabilities of models that never saw x and, online, of those that did.

    Both sides weigh half, however many models each has: how many saw x must not tell whether the target did. Offline
    those that saw x are taken to give it 1 - a (1 - p_out), the paper's linear approximation.
    """
    if inside_NQ is None:
        inside_NQ = a * out_NQ + 1 - a
    return np.log(probability(confidence_NQ)) - np.log(np.maximum((inside_NQ + out_NQ) / 2, LEAST))
