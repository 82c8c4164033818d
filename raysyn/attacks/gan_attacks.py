"""Membership inference against generative models: white-box, total variation distance, Monte Carlo.

PIGAN, section 4.1; after Hayes et al. 2019 (LOGAN), Hilprecht et al. 2019, Mukherjee et al. 2021 (privGAN). Every
attack is told with what it would reach by chance, {value, low, high, draws}: the mean, the interval in which chance
puts it 95 times of 100, and draws of it, from which that of a mean over splits follows (`chance_of_mean`). Ties are
broken at random, and nothing depends on the order of the images. Where persons are named members, suspects and others
are persons, each by the mean over their images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysyn.attacks.verdict import CONFIDENCE, Interval
from raysyn.attacks.whose import Whose
from raysyn.data.by_person import in_order
from raysyn.data.images import Images

Scores = NDArray[np.float64]
BINS = 50
"""Of the histograms whose distance is the total variation (privGAN's choice)."""
PERMUTATIONS = 1000
SIMULATIONS = 500
MEANS = 10_000
"""Draws of a mean over splits."""
FAKES_AT_ONCE = 4096
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


@dataclass(frozen=True, kw_only=True)
class MonteCarloConfig:
    """The Monte Carlo attack (PIGAN 5.1.2); defaults are the paper's."""

    fakes: int = 100_000
    """Generated images that the attacker holds."""
    suspects: int = 100
    """Suspected images, or persons where these are named, drawn from each side, the paper's M."""
    components: int = 40
    """Principal components in which distances are measured."""
    fit_share: float = 0.1
    """Share of the images (or persons) held out that the components are fitted on; the others are suspects."""
    repeats: int = 20
    """Draws of suspects."""

    def __post_init__(self) -> None:
        for name in ("fakes", "suspects", "components", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"monte_carlo.{name} is {getattr(self, name)}: give at least 1")
        if not 0 < self.fit_share < 1:
            raise ValueError(f"monte_carlo.fit_share is {self.fit_share}: give a share between 0 and 1")

    def check(self, members: Images, others: Images, away: int = 0) -> None:
        """ValueError, in one sentence, where so many images (or persons) of so many pixels cannot be attacked like
        this, `away` of the members being none after all."""
        fitted = round(self.fit_share * others.units)
        of, which = ("", "") if others.persons_N is None else (" (persons)", f", those of {fitted} persons,")
        inside = members.units - away
        if self.suspects > min(inside, others.units - fitted):
            raise ValueError(
                f"monte_carlo.suspects is {self.suspects}, but there are {inside} members and "
                f"{others.units - fitted} others{of} to draw from: lower it"
            )
        # All images of those whom chance picks, who may be those with the fewest.
        whose_N = np.arange(len(others)) if others.persons_N is None else others.persons_N
        fewest, pixels = int(np.sort(np.bincount(whose_N))[:fitted].sum()), int(np.prod(members.shape))
        if self.components > min(fewest, pixels):
            raise ValueError(
                f"monte_carlo.components is {self.components}, but there are {pixels} pixels and {fewest} images{which}"
                " to fit them on: lower it, or raise monte_carlo.fit_share"
            )


def white_box(members_MK: Scores, others_NK: Scores, seed: int) -> dict[str, Any]:
    """The M images with the highest scores are called members: {accuracy, chance}.

    Args: scores of members (M, K) and of images held out (N, K) by K discriminators, or for K membership codes, of
    persons their images' means; an image's score is its maximum. Only their order matters: logits are better than
    probabilities, which saturate. accuracy is the share of members among those called so (chance M / (M + N)).
    """
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy import stats

    members, others = _of_images(members_MK).max(1), _of_images(others_NK).max(1)
    m, n = len(members), len(others)
    rng = np.random.default_rng(seed)
    found = _members_on_top(members, others, m, rng) / m
    return {"accuracy": found, "chance": _chance(stats.hypergeom(m + n, m, m), m, rng)}


def total_variation(members_MK: Scores, others_NK: Scores, seed: int) -> dict[str, Any]:
    """The distance of two histograms of discriminator scores, an upper limit on attacks that use them.

    Args: probabilities in [0, 1] of members (M, K) and of images held out (N, K) by K discriminators or for K codes.
    Returns {distance: the maximum over K, at: its place in K, chance under permuted membership,
    histograms: {members, others: K rows of shares per bin}}. Histograms of few images lie apart by chance alone, so
    compare with that.
    """
    both = np.concatenate((_of_images(members_MK), _of_images(others_NK)))
    if both.min() < 0 or both.max() > 1:
        raise ValueError(f"scores lie between {both.min():g} and {both.max():g}: give probabilities")
    bins = np.minimum((both * BINS).astype(np.int64), BINS - 1)
    inside = np.arange(len(both)) < len(members_MK)
    rng = np.random.default_rng(seed)
    by_chance = [_distances(bins, rng.permutation(inside)).max() for _ in range(PERMUTATIONS)]
    distances_K = _distances(bins, inside)
    return {
        "distance": float(distances_K.max()),
        "at": int(distances_K.argmax()),
        "chance": _interval(np.array(by_chance)),
        "histograms": {"members": _shares(bins[inside]).tolist(), "others": _shares(bins[~inside]).tolist()},
    }


def monte_carlo(
    members: Images, others: Images, fakes_NHWC: NDArray[np.uint8], config: MonteCarloConfig, seed: int
) -> dict[str, Any]:
    """Suspects near which many generated images lie are called members, one by one (single) and as a set.

    Distances are Euclidean in the top principal components of a part of `others`, the rest of which are suspects.
    Returns {single: {accuracy, chance}, set: {accuracy, chance}}, accuracies being means over the repeats.
    """
    config.check(members, others)
    rng = np.random.default_rng(seed)
    order = rng.permutation(others.units)
    fitted = round(config.fit_share * others.units)
    albums = [_albums(side) for side in (members, others)]
    fitted_on = np.concatenate([albums[1][unit] for unit in order[:fitted]])
    project = fit_projection(others.images_NHWC[fitted_on], config.components, seed)
    outside = order[fitted:]
    m = config.suspects
    suspects = [
        [rng.choice(members.units, m, replace=False), outside[rng.choice(len(outside), m, replace=False)]]
        for _ in range(config.repeats)
    ]
    fakes, told = project(fakes_NHWC), []
    for drawn in suspects:
        rows = [[album[unit] for unit in units] for album, units in zip(albums, drawn, strict=True)]
        pixels = [side.images_NHWC[np.concatenate(own)] for side, own in zip((members, others), rows, strict=True)]
        whose = Whose(np.repeat(np.arange(2 * m), [len(one) for own in rows for one in own]))
        near = whose.mean(share_nearby(project(np.concatenate(pixels)), fakes)[:, None])[:, 0]
        told.append(_told(near[:m], near[m:], rng))
    by_chance = _by_chance(members.units, len(outside), m, config.repeats, rng)
    return {
        name: {"accuracy": float(np.mean(told, 0)[index]), "chance": {**_interval(by_chance[:, index]), "value": 0.5}}
        for index, name in enumerate(("single", "set"))
    }


def _albums(side: Images) -> list[NDArray[np.int64]]:
    """The images of each unit, which are numbered as they come."""
    if side.persons_N is None:
        return list(np.arange(len(side))[:, None])
    whose_N = in_order(side.persons_N)
    return np.split(np.argsort(whose_N, kind="stable"), np.cumsum(np.bincount(whose_N))[:-1])


def chance_of_mean(chances: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """{value, low, high} of what the mean over splits reaches by chance, given the `chance` of each split.

    Where scores say nothing, splits are drawn independently, and so are the attacks' answers on them.
    """
    value = float(np.mean([one["value"] for one in chances]))
    if len(chances) == 1:
        (only,) = chances
        return {"value": value, "low": only["low"], "high": only["high"]}
    rng = np.random.default_rng(0)
    means = np.mean([rng.choice(np.asarray(one["draws"]), MEANS) for one in chances], axis=0)
    low, high = np.quantile(means, TAILS)
    return Interval(value, float(low), float(high)).as_dict()


def _told(members_M: Scores, others_M: Scores, rng: np.random.Generator) -> tuple[float, float]:
    """One draw of suspects: the share that is told rightly, and whether the set is."""
    m = len(members_M)
    caught = _members_on_top(members_M, others_M, m, rng)
    # Half and half says nothing about which set it is: a coin says it then.
    return caught / m, float(2 * caught > m) if 2 * caught != m else float(rng.integers(2))


def _by_chance(members: int, others: int, m: int, repeats: int, rng: np.random.Generator) -> Scores:
    """(SIMULATIONS, 2): what both attacks reach, as means over repeats, where scores say nothing.

    Simulated with one score per image of the pools, because all repeats draw from the same pools: means over repeats
    vary more than means of independent draws would.
    """
    found = np.empty((SIMULATIONS, 2))
    for simulation in range(SIMULATIONS):
        inside, outside = rng.random(members), rng.random(others)
        draws = [
            _told(rng.choice(inside, m, replace=False), rng.choice(outside, m, replace=False), rng)
            for _ in range(repeats)
        ]
        found[simulation] = np.mean(draws, axis=0)
    return found


def fit_projection(images_NHWC: NDArray[np.uint8], components: int, seed: int) -> Projection:
    """The principal components of pixel intensities."""
    from sklearn.decomposition import PCA

    pixels = images_NHWC.reshape(len(images_NHWC), -1).astype(np.float64)
    fitted = PCA(components, svd_solver="covariance_eigh", random_state=seed).fit(pixels)
    return Projection(torch.from_numpy(fitted.mean_.copy()), torch.from_numpy(fitted.components_.T.copy()))


@dataclass(frozen=True, eq=False)
class Projection:
    """Images to their coordinates among principal components."""

    mean_P: Tensor
    components_PD: Tensor

    def __call__(self, images_NHWC: NDArray[np.uint8]) -> Tensor:
        """uint8 (N, H, W, C) to float64 (N, D)."""
        parts = torch.from_numpy(images_NHWC.reshape(len(images_NHWC), -1)).split(FAKES_AT_ONCE)
        return torch.cat([(part.double() - self.mean_P) @ self.components_PD for part in parts])


def share_nearby(suspects_SD: Tensor, fakes_ND: Tensor) -> Scores:
    """Hilprecht et al.'s f: for each suspect, the share of fakes within the median heuristic's distance.

    That distance is the median over suspects of the distance to the nearest fake. Float64 coordinates; two passes over
    the fakes, a block at a time.
    """
    own_S = suspects_SD.square().sum(1, keepdim=True)

    def blocks() -> Any:
        for block in fakes_ND.split(FAKES_AT_ONCE):
            sizes = own_S + block.square().sum(1)
            squares = torch.addmm(sizes, suspects_SD, block.T, alpha=-2)
            # What rounding leaves of the distance between equal images is none.
            yield squares.masked_fill_(squares < 1e-12 * sizes, 0).sqrt_()

    nearest_S = torch.full((len(suspects_SD),), torch.inf, dtype=suspects_SD.dtype)
    for distances in blocks():
        nearest_S = torch.minimum(nearest_S, distances.amin(1))
    # Equal distances may differ in their last digits, and stay equal.
    epsilon = float(np.median(nearest_S.numpy())) * (1 + 1e-9)
    count_S = torch.zeros(len(suspects_SD), dtype=torch.int64)
    for distances in blocks():
        count_S += (distances <= epsilon).sum(1)
    return (count_S.double() / len(fakes_ND)).numpy()


def _of_images(scores: Scores) -> Scores:
    """(N,) or (N, K) to (N, K), every one a number."""
    values = np.asarray(scores, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.size:
        raise ValueError(f"scores have the shape {values.shape}: give one row per image, and at least one image")
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} scores are not numbers: mend the model")
    return values


def _members_on_top(members_M: Scores, others_N: Scores, top: int, rng: np.random.Generator) -> int:
    """How many of the `top` highest scores are members', equal scores being ranked by a coin."""
    scores = np.concatenate((members_M, others_N))
    order = np.lexsort((rng.random(len(scores)), -scores))
    return int((order[:top] < len(members_M)).sum())


def _distances(bins_NK: NDArray[np.int64], inside_N: NDArray[np.bool_]) -> Scores:
    return np.abs(_shares(bins_NK[inside_N]) - _shares(bins_NK[~inside_N])).sum(1) / 2


def _shares(bins_NK: NDArray[np.int64]) -> Scores:
    """(K, BINS): the share of images in each bin."""
    n, k = bins_NK.shape
    counts = np.bincount((bins_NK + BINS * np.arange(k)).ravel(), minlength=k * BINS)
    return counts.reshape(k, BINS) / n


def _chance(law: Any, whole: int, rng: np.random.Generator) -> dict[str, Any]:
    """Mean and interval of a count out of `whole` that follows `law`, and draws of it."""
    low, high = law.interval(CONFIDENCE)
    told = Interval(float(law.mean()) / whole, float(low) / whole, float(high) / whole).as_dict()
    return told | {"draws": torch.from_numpy(law.rvs(PERMUTATIONS, random_state=rng) / whole)}


def _interval(simulated: Scores) -> dict[str, Any]:
    """Mean and central interval of simulated values, and these."""
    low, high = np.quantile(simulated, TAILS)
    told = Interval(float(np.mean(simulated)), float(low), float(high)).as_dict()
    return told | {"draws": torch.from_numpy(simulated.copy())}
