"""The inception score (Salimans et al., NeurIPS 2016), in one split and, as papers print it, over ten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

SPLITS, CLASSES = 10, 1000
"""Of the score that papers print; the network's last 8 outputs stand for no class of ImageNet."""


def inception_score(count: int, probabilities_K: torch.Tensor, negative_entropy: float) -> float:
    """exp of the mean KL divergence from p(y|x) to p(y), in one split.

    From sums over `count` images: of the probabilities, and of p log p.
    """
    marginal = probabilities_K / count
    return float(torch.exp(negative_entropy / count - torch.xlogy(marginal, marginal).sum()))


def splits_of(count: int, seed: int) -> np.ndarray:
    """Which of the splits each of `count` images belongs to, at random: (count,), equally many each but for one. Their
    places alone would not do, for images may be in the order of their classes."""
    return np.random.default_rng(seed).permutation(count) * SPLITS // max(count, 1)


def split_sums(probabilities_NK: torch.Tensor, splits_N: np.ndarray) -> dict[str, torch.Tensor]:
    """What the scores need of some images' class probabilities, for each split: {count (S,), probabilities (S, K'),
    negative_entropy (S,)} over the first 1,000 classes."""
    p_NK = probabilities_NK[:, :CLASSES].double()
    p_NK = p_NK / p_NK.sum(1, keepdim=True)
    which = torch.nn.functional.one_hot(torch.from_numpy(splits_N).long(), SPLITS).double().T
    return {
        "count": which.sum(1), "probabilities": which @ p_NK, "negative_entropy": which @ torch.xlogy(p_NK, p_NK).sum(1)
    }  # fmt: skip


def over_splits(chunks: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, Any]:
    """{value, std, reason}: mean and deviation of the scores of the splits, from the sums of all chunks."""
    count, p_SK, entropy = (
        torch.stack([chunk[name] for chunk in chunks]).sum(0) for name in ("count", "probabilities", "negative_entropy")
    )
    if count.min() < 1:
        return {"value": None, "std": None, "reason": f"fewer than {SPLITS} images"}
    scores = [inception_score(int(count[one]), p_SK[one], float(entropy[one])) for one in range(SPLITS)]
    return {"value": float(np.mean(scores)), "std": float(np.std(scores)), "reason": None}
