"""What a private answer costs, and how much noise a budget leaves: pure arithmetic, no data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from opacus.accountants import RDPAccountant
from opacus.accountants.analysis import prv as opacus_prv
from opacus.accountants.analysis import rdp as opacus_rdp
from scipy.special import gammaln, logsumexp, ndtr

ADD_REMOVE = "add/remove one image"
PRV_LIMIT = 200.0
"""Largest epsilon priced by PRV: its grid grows with epsilon, and such a promise means nothing anyway."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The privacy promise of a whole run."""

    epsilon: float = 10.0
    """Total (epsilon, delta) budget of all stages together; smaller promises more."""
    delta: float | None = None
    """Failure probability of the promise; by default 1/(n ln n) for n training images."""
    accountant: Literal["prv", "rdp"] = "prv"
    """`prv` (numerical, tight) or `rdp` (Renyi, as in most papers; needs about 8 % more noise)."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"budget.epsilon is {self.epsilon}: give a finite number above 0")
        if self.delta is not None:
            _check_delta(self.delta)
        _check_accountant(self.accountant)

    def delta_for(self, n: int) -> float:
        """The delta in force for `n` training images; n counts as public."""
        if self.delta is not None:
            return self.delta
        if n < 3:
            raise ValueError(f"the data has {n} images: set --budget.delta, the default 1/(n ln n) needs 3 or more")
        return 1.0 / (n * math.log(n))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The price of one release: `steps` Poisson-subsampled Gaussian answers (SGM, Mironov et al. 2019).

    Each answer sums contributions of L2 norm at most S over a Poisson sample and adds noise of standard
    deviation noise_multiplier * S. A one-shot query on all records is sampling_rate 1, steps 1.

    A round of per-class queries is one step whatever the number of classes: adding or removing one image
    touches one class only (parallel composition). This needs label-preserving add/remove adjacency; changing
    a label would touch two classes. Class sizes are not released by this.
    """

    mechanism: str
    """What is released, in words a reader of the certificate understands."""
    noise_multiplier: float | None
    """Noise standard deviation divided by the L2 sensitivity; None until `calibrate` fills it in."""
    sampling_rate: float
    """Probability in (0, 1] that a record takes part in one step."""
    steps: int
    """Number of noisy answers, each with its own Poisson sample."""
    adjacency: str = ADD_REMOVE
    """Which two data sets the promise calls neighbours; costs with different ones do not compose."""
    note: str = ""
    """Why the price is right where that is not plain, e.g. parallel composition over classes."""

    def __post_init__(self) -> None:
        if self.noise_multiplier is not None and not 0 < self.noise_multiplier < math.inf:
            raise ValueError(f"noise_multiplier of {self.mechanism} is {self.noise_multiplier}: give a number above 0")
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"sampling_rate of {self.mechanism} is {self.sampling_rate}: give a rate in (0, 1]")
        if self.steps < 1:
            raise ValueError(f"steps of {self.mechanism} is {self.steps}: give at least 1")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"budget.delta is {delta}: give a probability between 0 and 1, usually below 1/n")


def _check_accountant(accountant: str) -> None:
    if accountant not in ("prv", "rdp"):
        raise ValueError(f"budget.accountant is {accountant!r}: choose prv or rdp")
