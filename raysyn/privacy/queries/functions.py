"""Noisy functions: in each round a sample of the private images as a sum of kernels, with one path of a Gaussian
process (DP-Kernel, Jiang et al.; functional mechanism of Hall, Rinaldo and Wasserman, 2013).

THE ANSWER. An image x of class y adds the function k(., x) to the sum of class y, and nothing to others, and beside it
the constant c = count_share, which counts it. A round draws a Poisson sample of the images, sums what they add, and
adds to each class one path of a Gaussian process of mean 0 and covariance k, times noise_multiplier * S, and as much
normal noise to each count. Nobody asks for the whole path: the gradient of the noisy sum is given at points that are
chosen before the round, of nothing but earlier answers.

WHY A ROUND COSTS AS MUCH AS A SUBSAMPLED GAUSSIAN ANSWER. Take any finite number of linear functionals of a function,
here the partial derivatives at the points; each is the product with some r_j of the kernel's Hilbert space, as the
kernel is smooth. Their values on the path are jointly normal with covariance C_jm = <r_j, r_m>. Of an image they are
g_j = <r_j, k(., x)>, so that g lies in the range of C and g' C^+ g is the squared norm of the projection of k(., x) on
the span of all r_j: at most |k(., x)|^2 = k(x, x) = 1. So C^(-1/2) makes of the answer a sum of vectors of norm at most
1 with independent standard normal noise times noise_multiplier * S. Classes are orthogonal blocks, of which an image is
in one, and the count is one number more: the norm is at most S = sqrt(1 + c^2), and a round is one answer of the
subsampled Gaussian mechanism with this noise multiplier. Later rounds choose their points by what earlier ones
answered, which is adaptive composition; noise and sample are drawn anew in each. Where persons are named, a person
takes part with all images or none and adds their mean, of norm at most S by the triangle inequality (`units.py`), also
over several classes. Who is absent adds nothing. The expected number q n, by which sums are divided, is public.

THE DRAW is exact, up to the jitter below. For a kernel that is a mean over l of exp(-|a - b|^2 / (2 l^2)),

    C[(a, i), (b, j)] = mean over l of k_l(a, b) / l^2 * (delta_ij - (a - b)_i (a - b)_j / l^2).

All a - b of a class lie in the span of its points' differences, of dimension r. For directions i, j in it this is a
dense matrix of size points * r; for directions orthogonal to it, it is (mean of k_l / l^2) times delta_ij, and between
both it is 0. A square root of each is taken by Cholesky's method, and times independent normal numbers it is the noise.

JITTER. Before that each diagonal gets JITTER of its own size, so that points that are nearly the same can be served:
noise of its own, which only adds to what is needed (C + j I is at least C). It is 10^4 times what rounding of 64-bit
numbers makes of C, and larger than the square of what it makes of g. Where the root cannot be taken all the same, the
run ends with an error: there is no draw with less noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from raysyn.compute.doorway import Compute
from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.data.rbf import Kernel, KernelConfig, as_vectors, squared_distances
from raysyn.privacy import units
from raysyn.privacy.cost import COUNTED, Cost
from raysyn.privacy.ledger import Release, plain, refuse_another_price
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.queries.central import shrunk
from raysyn.privacy.sgd_config import MARKS
from raysyn.train.diverged import Diverged

FUNCTIONS = "functions"
"""The stage of a plan."""
JITTER = 1e-10
"""Part of its diagonal that is added to a covariance."""
MOST_SHARE = 1.0
"""Of a count beside a function of norm 1."""
BLOCK = 4096
"""Images of a class whose distances are held at once."""


@dataclass(frozen=True, kw_only=True)
class RoundsConfig:
    """How the functions are asked for."""

    count: int = 600
    """Rounds, each of which is a noisy answer and a step of the generator."""
    batch_size: int = 3_000
    """Expected private images, or persons where these are named, per round: each takes part with probability
    batch_size / n."""
    count_share: float = 0.1
    """Of an image's function, whose norm is 1, how long the constant beside it is that counts images: unbalanced
    classes are learned as large as they are, for 0.5 % more noise; 0 takes all classes as equally large."""

    def __post_init__(self) -> None:
        for name in ("count", "batch_size"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"rounds.{name} is {value}: give at least 1")
        if not 0 <= self.count_share <= MOST_SHARE:
            raise ValueError(f"rounds.count_share is {self.count_share}: give 0 to {MOST_SHARE:g}, 0.1 is usual")

    @property
    def sensitivity(self) -> float:
        """Of a round's sum: a function of norm 1 beside the constant."""
        return math.sqrt(1 + self.count_share**2)

    def cost(self, n: int) -> Cost:
        """Of all rounds on `n` images, with the noise multiplier still to be calibrated; ValueError where they are
        fewer than a batch."""
        if self.batch_size > n:
            raise ValueError(f"rounds.batch_size is {self.batch_size}: give 1 to {n}, {COUNTED}")
        note = "a round's noisy function is priced as a subsampled Gaussian answer: an image's has norm 1 in its space"
        return Cost(
            mechanism="noisy functions", noise_multiplier=None, sampling_rate=self.batch_size / n, steps=self.count,
            note=note,
        )  # fmt: skip


class Answer(NamedTuple):
    """What leaves of a round, sums divided by the expected number of the sample."""

    gradients_KBP: Tensor
    """Float64, of the noisy function of each class at its points."""
    shares_K: Tensor
    """Noisy part of all images that each class has; empty with count_share 0."""


def sums(private: Images, taking: units.Indices, points_KBP: Tensor, kernel: Kernel) -> Answer:
    """The exact sums of the units of a sample, which stay inside: gradients at the points, and how many there are."""
    weights_N, members = units.weights(private), units.images_of(private, taking)
    gradients_KBP, counts_K = torch.zeros_like(points_KBP), torch.zeros(private.classes, dtype=torch.float64)
    labels_M = private.labels_N[members]
    # Only those that the sample has: an audit has hundreds, most of them empty.
    for label in np.unique(labels_M).tolist():
        mine, at_BP = members[labels_M == label], points_KBP[label]
        for start in range(0, len(mine), BLOCK):
            some = mine[start : start + BLOCK]
            x_MP, weight_M = as_vectors(private.images_NHWC[some]), torch.from_numpy(weights_N[some])
            pull_BM = kernel.weighted(squared_distances(at_BP, x_MP), 2) * weight_M
            gradients_KBP[label] += pull_BM @ x_MP - pull_BM.sum(1, keepdim=True) * at_BP
        counts_K[label] = float(weights_N[mine].sum())
    return Answer(gradients_KBP, counts_K)


def path_gradients(points_KBP: Tensor, kernel: Kernel, normal_KBP: Tensor) -> Tensor:
    """Gradients at the points of a path of a Gaussian process for each class, made of standard normal numbers.

    Raises Diverged where a covariance has no square root.
    """
    classes, count, _ = points_KBP.shape
    apart_KBP = points_KBP - points_KBP[:, :1]
    # Columns of an orthonormal matrix whose span holds all differences, also where these are fewer in rank.
    basis_KPR = torch.linalg.qr(apart_KBP[:, 1:].transpose(1, 2)).Q
    rank = basis_KPR.shape[2]
    within_KBR = apart_KBP @ basis_KPR
    between_KBBR = within_KBR[:, :, None] - within_KBR[:, None]
    squared_KBB = between_KBBR.square().sum(3)
    outer_KBB = kernel.weighted(squared_KBB, 2)
    curve_KBB, same_RR = kernel.weighted(squared_KBB, 4), torch.eye(rank, dtype=torch.float64)
    inner = torch.einsum("kab,ij->kaibj", outer_KBB, same_RR)
    inner -= torch.einsum("kab,kabi,kabj->kaibj", curve_KBB, between_KBBR, between_KBBR)
    inner_root = root(inner.reshape(classes, count * rank, count * rank), kernel.steepest)
    normal_KBR = normal_KBP @ basis_KPR
    inside_KBR = (inner_root @ normal_KBR.reshape(classes, -1, 1)).view(classes, count, rank)
    outside_KBP = root(outer_KBB, kernel.steepest) @ (normal_KBP - normal_KBR @ basis_KPR.transpose(1, 2))
    return inside_KBR @ basis_KPR.transpose(1, 2) + outside_KBP


def root(covariance: Tensor, diagonal: float) -> Tensor:
    """Lower triangles whose squares are these matrices, with JITTER of their `diagonal` added to it."""
    jitter = JITTER * diagonal * torch.eye(covariance.shape[-1], dtype=torch.float64)
    found, failed = torch.linalg.cholesky_ex(covariance + jitter)
    if failed.any() or not found.isfinite().all():
        raise Diverged(
            "the noise of a round cannot be drawn: generated images are too alike, or no finite numbers; lower "
            "training.learning_rate or training.crowd, or begin a new run"
        )
    return found


def one_round(
    private: Images, points_KBP: Tensor, kernel: Kernel, config: RoundsConfig, price: Cost, stream: Stream, step: int
) -> Answer:
    """The noisy answer of a round at points, float64 (classes, points of each, pixels) in [-1, 1]; one of the price's
    steps. No points but at least two of each class."""
    assert price.noise_multiplier is not None
    taking = participants(stream, step, private.units, price.sampling_rate)
    exact, expected = sums(private, taking, points_KBP, kernel), price.sampling_rate * private.units
    scale = price.noise_multiplier * config.sensitivity
    drawn = torch.from_numpy(stream.normal(step, "path", points_KBP.numel())).view(points_KBP.shape)
    gradients_KBP = exact.gradients_KBP + scale * path_gradients(points_KBP, kernel, drawn)
    if not (share := config.count_share):
        return Answer(gradients_KBP / expected, exact.shares_K[:0])
    noise_K = torch.from_numpy(stream.normal(step, "class counts", private.classes))
    return Answer(gradients_KBP / expected, (exact.shares_K + scale / share * noise_K) / expected)


class Learner(Protocol):
    """Who chooses the points, and learns from the answers alone."""

    def join(self, worker: Worker) -> None:
        """Come to the worker's device; called once, before anything else."""
        ...

    def points(self, step: int) -> Tensor:
        """Where the function of each class is asked about in this round: float64 (classes, points, pixels)."""
        ...

    def learn(self, step: int, answer: Answer, shares_K: Tensor) -> None:
        """From the answer at these points; `shares_K` is what all counts so far say of the classes, of sum 1."""
        ...

    def check(self, step: int) -> None:
        """Diverged where what it has learned is no use."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a restart needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def released(self) -> dict[str, Tensor]:
        """What it has learned."""
        ...


def train(
    compute: Compute, learner: Learner, private: Images, kernel: KernelConfig, config: RoundsConfig, cost: Cost,
    secret: bytes, epsilon_at: Callable[[int], float] | None = None,
) -> Release[dict[str, Any]]:  # fmt: skip
    """`fit` on a worker of `compute`."""
    args = (learner, private, kernel, config, cost, secret, FUNCTIONS, epsilon_at)
    answer = compute.once(_plain_fit, *args, name=FUNCTIONS)
    refuse_another_price(answer["cost"], cost)
    return Release(value=answer["value"], cost=cost)


def _plain_fit(worker: Worker, *args: Any) -> dict[str, Any]:
    return plain(fit(worker, *args))


def fit(
    worker: Worker, learner: Learner, private: Images, kernel: KernelConfig, config: RoundsConfig, cost: Cost,
    secret: bytes, stage: str = FUNCTIONS, epsilon_at: Callable[[int], float] | None = None,
) -> Release[dict[str, Any]]:  # fmt: skip
    """All rounds, and what `learner` has learned of them: {"model": that, "history": rows with step and, where
    `epsilon_at(step)` is given, the epsilon spent by then}.

    A run that was killed and continued gives the same bytes on the same machine. Raises ValueError for a cost that is
    of other rounds, Diverged where noise cannot be drawn or nothing of use was learned.
    """
    _check(config, cost, private.units)
    units.check(cost, private)
    stream, of = Stream(secret, stage), Kernel.of(kernel, private.shape)
    learner.join(worker)
    done, history, told_K = 0, list[dict[str, float]](), torch.zeros(private.classes, dtype=torch.float64)
    if (saved := worker.resume()) is not None:
        refuse_another_price(saved["cost"], cost)
        done, history, told_K = saved["done"], list(saved["history"]), saved["told"]
        learner.load_state_dict(saved["learner"])
    every = max(1, cost.steps // MARKS)
    spent: dict[str, float] = {}
    while done < cost.steps:
        answer = one_round(private, learner.points(done), of, config, cost, stream, done)
        if config.count_share:
            told_K = told_K + answer.shares_K
        learner.learn(done, answer, shares(told_K, done + 1, private.units, config, cost))
        done += 1
        if done % every == 0 or done == cost.steps:
            learner.check(done)
            spent = {"epsilon": epsilon_at(done)} if epsilon_at else {}
            history.append({"step": done, **spent})
            worker.save({
                "done": done, "history": history, "told": told_K, "learner": learner.state_dict(), "cost": asdict(cost)
            })  # fmt: skip
        worker.progress(done, cost.steps, **spent)
    return Release(value={"model": learner.released(), "history": history}, cost=cost)


def _check(config: RoundsConfig, cost: Cost, n: int) -> None:
    if cost.noise_multiplier is None:
        raise ValueError("noise_multiplier is not set: calibrate the cost before training")
    planned = config.cost(n)
    if (cost.sampling_rate, cost.steps) != (planned.sampling_rate, planned.steps):
        raise ValueError(
            f"cost is for rate {cost.sampling_rate} and {cost.steps} rounds, but these settings on {n} images take "
            f"rate {planned.sampling_rate} and {planned.steps} rounds: calibrate rounds.cost({n})"
        )


def shares(told_K: Tensor, rounds: int, n: int, config: RoundsConfig, cost: Cost) -> Tensor:
    """What part of all images each class has, of sum 1, by the sum of the noisy shares of so many rounds, shrunk
    towards equal ones as far as noise explains the differences; post-processing."""
    classes, share = len(told_K), config.count_share
    if not share:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    assert cost.noise_multiplier is not None
    expected = cost.sampling_rate * n
    noise_std = cost.noise_multiplier * config.sensitivity / share
    counts_K = shrunk(told_K.numpy() * (expected / rounds), rounds, expected / classes, noise_std, cost.sampling_rate)
    return torch.from_numpy(counts_K / counts_K.sum())
