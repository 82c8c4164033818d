"""Prices against another accountant's: dp-accounting's privacy loss distributions (Google), on a grid.

Ours are upper bounds, so they are never below what PLD estimates from below; and they are tight, so they are no more
than 1 % and 0.01 above what PLD estimates from above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import pytest

from raysyn.privacy.cost import Cost, epsilon
from raysyn.privacy.group import epsilon_of_group

pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="dp-accounting is not installed")
Row = tuple[float, float, int]
"""(sampling rate, noise multiplier, steps)."""
DELTAS = (1e-9, 1e-5)
FEW: list[list[Row]] = [
    [(1.0, 1.5, 1)], [(0.01, 0.8, 100)], [(0.0683, 2.0, 300)], [(0.3, 10.0, 30)],
    [(0.1, 5.0, 5), (0.0683, 1.85, 300)], [(1.0, 20.0, 3), (0.02, 1.0, 50), (0.5, 9.0, 10)],
    [(1e-3, 0.5, 9)], [(1e-3, 0.45, 30)], [(3e-3, 0.4, 4), (1e-3, 0.5, 5)],
]  # fmt: skip
"""Alone and composed; the last ones have losses that are rare and large."""
RATES, NOISES, STEPS = (1e-3, 0.01, 0.0683, 0.3, 1.0), (0.6, 0.9, 2.0, 5.0, 15.0, 40.0), (1, 10, 100, 2_197, 10_000)
MANY: list[list[Row]] = [[(rate, noise, steps)] for rate in RATES for noise in NOISES for steps in STEPS]
MANY += [
    [(0.1, 5.0, 5), (4_096 / 60_000, noise, 2_197)] for noise in (13.2, 4.0, 1.85)
] + [[(1.0, 30.0, 1), (0.05, 3.0, 100), (0.01, noise, 1_000)] for noise in (0.8, 1.5, 4.0)]  # fmt: skip
WORTH = (0.02, 60.0)
"""Epsilons outside of it are not compared: PLD's own grid shows in smaller ones, and takes long for larger ones."""


def costs_of(rows: Sequence[Row]) -> list[Cost]:
    return [Cost(mechanism="x", noise_multiplier=noise, sampling_rate=rate, steps=steps) for rate, noise, steps in rows]


def composed(rows: Sequence[Row], about: float, from_above: bool) -> Any:
    """PLD of all of them, on a grid that suits an epsilon of about so much."""
    mesh = min(1e-3, about / (30 * math.sqrt(sum(steps for _, _, steps in rows))))
    parts = [
        pld.from_gaussian_mechanism(
            noise, pessimistic_estimate=from_above, value_discretization_interval=mesh, sampling_prob=rate,
            use_connect_dots=from_above,
        ).self_compose(steps)
        for rate, noise, steps in rows
    ]  # fmt: skip
    return reduce(lambda one, other: one.compose(other), parts)


def compared(rows: Sequence[Row]) -> list[tuple[float, float, float]]:
    """(ours, PLD from below, PLD from above) at each of DELTAS that is worth it."""
    ours = {delta: epsilon(costs_of(rows), delta, "prv") for delta in DELTAS}
    worth = {delta: price for delta, price in ours.items() if WORTH[0] <= price <= WORTH[1]}
    if not worth:
        return []
    below, above = (composed(rows, min(worth.values()), from_above) for from_above in (False, True))
    return [
        (price, below.get_epsilon_for_delta(delta), above.get_epsilon_for_delta(delta))
        for delta, price in worth.items()
    ]


@pytest.mark.parametrize("rows", FEW, ids=str)
def test_prices_lie_between_plds_bounds(rows: list[Row]) -> None:
    for ours, below, above in (found := compared(rows)):
        assert below <= ours <= above * 1.01 + 0.01
    assert found


@pytest.mark.slow
@pytest.mark.parametrize("rows", MANY, ids=str)
def test_prices_lie_between_plds_bounds_everywhere(rows: list[Row]) -> None:
    for ours, below, above in compared(rows):
        assert below <= ours <= above * 1.01 + 0.01


@pytest.mark.parametrize(
    ("row", "k"),
    [
        ((0.05, 8.0, 40), 2),
        ((0.0683, 12.1, 300), 4),
        pytest.param((0.0512, 0.81, 391), 2, marks=pytest.mark.slow),
        pytest.param((0.0512, 0.81, 391), 8, marks=pytest.mark.slow),
    ],
)
def test_groups_lie_between_plds_bounds(row: Row, k: int) -> None:
    """The mixture of Gaussians of k images, each sampled by a coin of its own."""
    rate, noise, steps = row
    chances = [math.comb(k, j) * rate**j * (1 - rate) ** (k - j) for j in range(k + 1)]
    ours = epsilon_of_group(costs_of([row]), k, 1e-5)
    bounds = [
        pld.from_mixture_gaussian_mechanism(
            noise, list(range(k + 1)), chances, pessimistic_estimate=from_above, value_discretization_interval=2e-3
        )
        .self_compose(steps)
        .get_epsilon_for_delta(1e-5)
        for from_above in (False, True)
    ]  # fmt: skip
    assert bounds[0] <= ours <= bounds[1] * 1.01 + 0.01
