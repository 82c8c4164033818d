"""RMIA, the membership attack by pairwise likelihood ratios (Zarifzadeh, Liu, Shokri, ICML 2024), from probabilities.

An image x is held against images z that the target never saw: it scores the share of them for which
(p_target(x) / p(x)) / (p_target(z) / p(z)) >= gamma, p being what a model gives the true class by softmax (of
temperature 1: stored confidences are of that class alone) and p(x) the mean over models with and without x.

All x meet the same z, so that of one view the order of images is that of their ratios alone, whatever gamma is: what z
add is a scale on which views, and images of a person, can be joined. Where so few z leave a tie, above all beyond the
last of them, the ratio itself decides, as more of them would.

Shapes: N images, Q queries (views) of each; O of the images are the z.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
GAMMA = 1.0
"""As in the authors' code; in their paper 2, which orders images of one view alike."""
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


def shares(log_ratio_NQ: Values, others_N: NDArray[np.bool_], whose_N: NDArray[np.int64], gamma: float) -> Values:
    """(N, Q): the share of the z (`others_N`) that x is above by `gamma`, but for x itself and all images of its person
    (`whose_N`); of k among n such it is (k + t) / (n + 1), where t in (0, 1) rises with the ratio."""
    from scipy.special import expit

    z = np.flatnonzero(others_N)
    # Of one person after the other, in the order of their ratios: all that lie below are counted by two look-ups.
    first_N, step = whose_N * (len(z) + 1), len(z) + 1
    others = len(z) - np.bincount(whose_N[z], minlength=int(whose_N.max(initial=0)) + 1)[whose_N]
    found_NQ = np.empty_like(log_ratio_NQ)
    for view, ratio_N in enumerate(log_ratio_NQ.T):
        order = np.argsort(ratio_N[z], kind="stable")
        below_N = np.searchsorted(ratio_N[z][order], ratio_N - np.log(gamma), "right")
        place = np.empty(len(z), np.int64)
        place[order] = np.arange(len(z))
        keys = np.sort(whose_N[z] * step + place)
        own_N = np.searchsorted(keys, first_N + below_N) - np.searchsorted(keys, first_N)
        found_NQ[:, view] = (below_N - own_N + expit(ratio_N)) / (others + 1)
    return found_NQ
