"""Feature Likelihood Divergence: how well synthetic images explain real ones that nobody learned from. Pure arithmetic.

Jiralerspong et al., "Feature Likelihood Divergence: Evaluating the Generalization of Generative Models Using Samples"
(2023). A Gaussian lies on each synthetic vector, as wide as explains the training vectors best. Images that look right
explain test vectors well, varied ones explain all of them, and copies of training images get Gaussians so narrow that
they explain nothing else. Features must be of a network that saw neither: Inception's, never the CNN's trained here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from raysyn.data.rbf import squared_distances

STEPS, RATE = 50, 0.5
"""Of Adam over the widths, all training vectors at a time, as in the authors' code."""
NARROWEST, WIDEST = -40.0, 20.0
"""Logarithms of variances, lest copies divide by 0."""
BACKGROUND = 0.81
"""While widths are fitted one more Gaussian lies on the mean of all, with squared distances times this: otherwise a
training vector far from all others would decide about all widths. As in the authors' code."""
TOO_FEW = "too few images"


def feature_likelihood(made_MF: Tensor, train_NF: Tensor, test_KF: Tensor, seed: int) -> dict[str, float | None]:
    """The divergence and what tells copying, of features in any unit and precision.

    Returns {fld: 100 times what a test vector is less likely, in nats per feature, than by as many real training
    vectors, fitted to the others: 0 is as good as real images, more is worse; fld_gap: 100 times what a training vector
    is less likely than a test vector, far below 0 where training images were copied; fld_gap_real_halves: that of the
    real vectors}. Of M and N/2, whichever is less, at random by `seed`, on both sides, where the authors' code takes as
    many as there are up to 10,000. Null where there is no synthetic vector, or fewer than two on the other sides.
    """
    if not len(made_MF) or min(len(train_NF), len(test_KF)) < 2:
        return {"fld": None, "fld_gap": None, "fld_gap_real_halves": None}
    mean_F, std_F = test_KF.double().mean(0), test_KF.double().std(0)
    unit_F = torch.where(std_F > 0, std_F, 1.0)
    made, train, test = ((some.double() - mean_F) / unit_F for some in (made_MF, train_NF, test_KF))
    generator = torch.Generator().manual_seed(seed)
    train = train[torch.randperm(len(train), generator=generator)]
    count = min(len(made), len(train) // 2)
    made = made[torch.randperm(len(made), generator=generator)[:count]]
    on_train, on_test = (_surprise(some, made, widths) for widths in [_fitted(made, train)] for some in (train, test))
    real, rest = train[:count], train[len(train) // 2 :]
    on_rest, usual = (_surprise(some, real, widths) for widths in [_fitted(real, rest)] for some in (rest, test))
    return {
        "fld": 100 * (on_test - usual),
        "fld_gap": 100 * (on_train - on_test),
        "fld_gap_real_halves": 100 * (on_rest - usual),
    }


def _fitted(centres_MF: Tensor, vectors_NF: Tensor) -> Tensor:
    """Logarithm of the variance of the Gaussian on each centre, that make `vectors_NF` most likely."""
    features = vectors_NF.shape[1]
    background_N1 = BACKGROUND * (vectors_NF - vectors_NF.mean(0)).square().sum(1, keepdim=True)
    apart_NC = torch.cat([squared_distances(vectors_NF, centres_MF), background_N1], 1)
    # From the width at which each explains the vector nearest to it; the background from 1.
    widths_C = ((apart_NC.min(0).values + 1e-3) / features).log()
    widths_C[-1] = 0.0
    shares_C = torch.full_like(widths_C, -math.log(len(centres_MF)))
    shares_C[-1] = 0.0
    optimizer = torch.optim.Adam([widths_C.requires_grad_()], lr=RATE)
    apart_NC, shares_C = apart_NC.float(), shares_C.float()
    for _ in range(STEPS):
        with torch.no_grad():
            widths_C.grad = _slope(apart_NC, widths_C.float(), shares_C, features).double()
            optimizer.step()
            widths_C.clamp_(NARROWEST, WIDEST)
    return widths_C.detach()[:-1]


def _slope(apart_NC: Tensor, widths_C: Tensor, shares_C: Tensor, features: int) -> Tensor:
    """Of the mean of -log p per feature in each width: autograd would hold four more matrices of this size."""
    scaled_NC = apart_NC / widths_C.exp()
    whose_NC = torch.softmax(shares_C - 0.5 * (scaled_NC + features * widths_C), 1)
    return (whose_NC * (features - scaled_NC)).mean(0) / (2 * features)


def _surprise(vectors_NF: Tensor, centres_MF: Tensor, widths_M: Tensor) -> float:
    """Mean of -log p per feature, under the equal mixture of the Gaussians."""
    features = vectors_NF.shape[1]
    each_NM = _log_densities(squared_distances(vectors_NF, centres_MF), widths_M, features)
    return float(math.log(len(centres_MF)) - each_NM.logsumexp(1).mean()) / features


def _log_densities(squared_NM: Tensor, widths_M: Tensor, features: int) -> Tensor:
    return -0.5 * (squared_NM / widths_M.exp() + features * (widths_M + math.log(2 * math.pi)))
