"""Distances between two sets of feature vectors: Frechet and kernel distance, improved precision and recall, density
and coverage. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from raysyn.data.rbf import squared_distances

ROWS = 1000  # rows of the distance matrix held at a time: 80 MB against 10,000 columns


@dataclass(frozen=True)
class Moments:
    """Sums that give mean and covariance, so that parts made on several machines can be added. All float64."""

    count: int
    sum_F: torch.Tensor
    outer_FF: torch.Tensor

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.sum_F + other.sum_F, self.outer_FF + other.outer_FF)

    def mean(self) -> torch.Tensor:
        return self.sum_F / self.count

    def covariance(self) -> torch.Tensor:
        """Sample covariance (denominator count - 1, as in the original FID code)."""
        mean = self.mean()
        return (self.outer_FF - self.count * torch.outer(mean, mean)) / (self.count - 1)


def moments(features_NF: torch.Tensor) -> Moments:
    """Moments of the rows of `features_NF`, on the CPU."""
    exact = features_NF.double()
    return Moments(len(exact), exact.sum(0).cpu(), (exact.T @ exact).cpu())


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)): squared 2-Wasserstein distance of the fitted Gaussians.

    Dowson and Landau (1982); Heusel et al. (2017) for FID. The trace of the root is that of the symmetric
    (A^(1/2) B A^(1/2))^(1/2), so two symmetric eigenvalue problems suffice and singular covariances (fewer images
    than features) do no harm. Raises ValueError below two vectors a side.
    """
    if min(a.count, b.count) < 2:
        raise ValueError(f"a Frechet distance needs at least 2 images a side, not {a.count} and {b.count}")
    first, second = a.covariance(), b.covariance()
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    gap = (a.mean() - b.mean()).square().sum()
    return max(0.0, float(gap + first.trace() + second.trace() - 2 * shared))


def precision_recall(synthetic_NF: torch.Tensor, real_MF: torch.Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Share of synthetic vectors on the real manifold, and of real ones on the synthetic manifold.

    A manifold is the union of balls around the vectors of a set, each reaching to its `neighbours`-th nearest
    neighbour in that set (Kynkaanniemi et al. 2019, section 3). Memory is bounded by a block of ROWS rows.
    Raises ValueError where a set has no `neighbours` other vectors.
    """
    fewest = min(len(synthetic_NF), len(real_MF))
    if fewest <= neighbours:
        raise ValueError(
            f"precision and recall need more than eval.neighbours = {neighbours} images a side, not {fewest}: lower it"
        )
    synthetic, real = synthetic_NF.double(), real_MF.double()
    centre = real.mean(0)
    synthetic, real = synthetic - centre, real - centre  # small norms: less cancellation in squared distances
    # Copies of one image are at distance 0 and must stay inside a ball of radius 0 despite rounding.
    slack = 1e-12 * float(max(synthetic.square().sum(1).max(), real.square().sum(1).max()))
    return (
        _share_within(synthetic, real, _radii(real, neighbours) + slack),
        _share_within(real, synthetic, _radii(synthetic, neighbours) + slack),
    )


def _radii(vectors_NF: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Squared distance of each vector to its k-th neighbour; the nearest of all is the vector itself."""
    rows = [
        squared_distances(part, vectors_NF).kthvalue(neighbours + 1, dim=1).values for part in vectors_NF.split(ROWS)
    ]
    return torch.cat(rows)


def _share_within(points_NF: torch.Tensor, centres_MF: torch.Tensor, radii_M: torch.Tensor) -> float:
    inside = sum(int((squared_distances(part, centres_MF) <= radii_M).any(1).sum()) for part in points_NF.split(ROWS))
    return inside / len(points_NF)


def kernel_distance(a_NF: torch.Tensor, b_MF: torch.Tensor) -> float:
    """Squared maximum mean discrepancy under the kernel (x·y / F + 1)³, unbiased: about 0, also below, where both sets
    are of one kind, whatever their sizes. With Inception's features it is KID (Binkowski et al. 2018, section 4).

    Of all pairs, where KID's code takes the mean over random subsets. Raises ValueError below two vectors a side.
    """
    if min(len(a_NF), len(b_MF)) < 2:
        raise ValueError(f"a kernel distance needs at least 2 images a side, not {len(a_NF)} and {len(b_MF)}")
    a, b = a_NF.double(), b_MF.double()
    within = [(_kernel_sum(one, one) - float(_own_kernel(one).sum())) / (len(one) * (len(one) - 1)) for one in (a, b)]
    return within[0] + within[1] - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def _kernel_sum(a_NF: torch.Tensor, b_MF: torch.Tensor) -> float:
    return sum(float((part @ b_MF.T).div_(a_NF.shape[1]).add_(1).pow_(3).sum()) for part in a_NF.split(ROWS))


def _own_kernel(a_NF: torch.Tensor) -> torch.Tensor:
    return (a_NF.square().sum(1) / a_NF.shape[1] + 1) ** 3


def density_coverage(synthetic_MF: torch.Tensor, real_NF: torch.Tensor, neighbours: int = 5) -> tuple[float, float]:
    """How many of the real vectors' balls a synthetic one lies in, over `neighbours` (density, which may exceed 1), and
    the share of these balls that hold a synthetic one (coverage).

    A ball reaches from a real vector to its `neighbours`-th nearest other real one (Naeem et al. 2020, section 3.2, who
    take 5 and as many vectors on both sides: coverage depends on both). Memory is bounded by a block of ROWS rows.
    Raises ValueError where there are no `neighbours` other real vectors, or no synthetic one.
    """
    if len(real_NF) <= neighbours or not len(synthetic_MF):
        raise ValueError(
            f"density and coverage need more than {neighbours} real images and a synthetic one, not {len(real_NF)} and "
            f"{len(synthetic_MF)}"
        )
    centre = real_NF.double().mean(0)
    synthetic, real = synthetic_MF.double() - centre, real_NF.double() - centre
    slack = 1e-12 * float(max(synthetic.square().sum(1).max(), real.square().sum(1).max()))
    radii_N = _radii(real, neighbours) + slack
    held, reached_N = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for part in synthetic.split(ROWS):
        inside_BN = squared_distances(part, real) <= radii_N
        held += int(inside_BN.sum())
        reached_N |= inside_BN.any(0)
    return held / (neighbours * len(synthetic)), float(reached_N.double().mean())


def nearest_pairs(
    synthetic_MF: torch.Tensor, real_NF: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The `count` synthetic vectors that are closest to a real one, the closest first: their places, those of their
    nearest real ones, and the distances, of which 1 is the median from a real one (of at most ROWS, without exact
    twins) to its nearest other (float64), all on the CPU. Needs two real vectors."""
    centre = real_NF.double().mean(0)
    synthetic, real = synthetic_MF.double() - centre, real_NF.double() - centre
    found = [squared_distances(part, real).min(1) for part in synthetic.split(ROWS)]
    squared_M, place_M = torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])
    closest = squared_M.argsort(stable=True)[:count]
    some = real[:: -(-len(real) // ROWS)]
    apart = squared_distances(some, real).kthvalue(2, dim=1).values.sqrt()
    usual = apart[apart > 0].median() if (apart > 0).any() else torch.ones(())
    return closest.cpu(), place_M[closest].cpu(), (squared_M[closest].sqrt() / usual).cpu()
