"""The directions in which public classes differ, beside how images differ within a class: linear discriminant analysis
(Fisher 1936; Rao 1948) of a classifier's features, of public images alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.models.classifiers import Classifier
from raysyn.models.discriminant import pooled
from raysyn.train.alone import each_alone

BATCH = 250
"""Images at a time."""
LEAST = 1e-8
"""A direction in which class means differ by less than this part of how they differ in the first tells nothing."""


def class_sums(shard: tuple[int, int], shared: tuple[Classifier, Images]) -> dict[str, Tensor]:
    """One unit: of some public images {"counts": (K,), "sums": features by class (K, D), "squares": sum of their outer
    products (D, D)}, float64."""
    (start, end), (network, public) = shard, shared
    device, part = best_device(), public.select(slice(start, end))
    network, at, found = network.to(device), 0, dict[str, Tensor]()

    def seen(pixels_BHWC: Tensor) -> list[Tensor]:
        return [pooled(network, pixels_BHWC.movedim(-1, -3).float() / 255)]

    for (rows_BD,) in each_alone(seen, part.images_NHWC[:], BATCH, device):
        rows, labels_B = torch.from_numpy(rows_BD), torch.from_numpy(part.labels_N[at : at + len(rows_BD)])
        at += len(rows)
        told = {
            "counts": torch.bincount(labels_B, minlength=part.classes).double(),
            "sums": rows.new_zeros(part.classes, rows.shape[1]).index_add_(0, labels_B, rows),
            "squares": rows.T @ rows,
        }
        found = {name: one + found[name] if found else one for name, one in told.items()}
    return found


def directions(parts: Sequence[Mapping[str, Tensor]], shrinkage: float, most: int) -> tuple[Tensor, Tensor]:
    """(centre (D,), directions (D, F)), float64: features are centred and multiplied by these.

    The covariance within classes, with `shrinkage` times its mean eigenvalue added to its diagonal, becomes the
    identity; of what is left those directions are kept in which the means of classes differ most, `most` at most, and
    none in which they do not differ: fewer than there are classes.
    """
    counts_K, sums_KD, squares_DD = (
        torch.stack([part[name] for part in parts]).sum(0) for name in ("counts", "sums", "squares")
    )
    there = counts_K > 0
    counts_K1, means_KD = counts_K[there, None], sums_KD[there] / counts_K[there, None]
    centre_D = (counts_K1 * means_KD).sum(0) / counts_K1.sum()
    within_DD = (squares_DD - means_KD.T @ (counts_K1 * means_KD)) / counts_K1.sum()
    values_D, vectors_DD = torch.linalg.eigh((within_DD + within_DD.T) / 2)
    values_D = values_D.clamp(min=0)
    # Of a network that sees the same in all images nothing is left to divide by.
    ground = max(shrinkage * float(values_D.mean()), torch.finfo(torch.float64).tiny)
    white_DD = vectors_DD / (values_D + ground).sqrt()
    _, spread_F, axes_FD = torch.linalg.svd((means_KD - centre_D) @ white_DD, full_matrices=False)
    # None where all means are the same.
    kept = axes_FD[: min(most, int((spread_F > LEAST * spread_F[0]).sum()), len(means_KD) - 1)]
    return centre_D, white_DD @ kept.T
