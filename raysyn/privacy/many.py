"""The price of very many answers of different kinds, in a second: fewer kinds, which together cost no less. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raysyn.privacy.cost import ROUGH, Cost, Priced, kinds_of, priced
from raysyn.privacy.prv import FINE
from raysyn.privacy.rdp import Kind

MANY = 20
"""Different kinds of answers up to which all are priced as they are, on the finest grid, within seconds."""
GRID = 0.001
"""How far two noise multipliers may lie apart to be taken for the smaller one, relatively; doubled as needed."""


def composed(costs: Sequence[Cost], delta: float, rough: bool = False) -> Priced:
    """Epsilon by PRV, or by RDP where that is smaller: an upper bound, which of more than MANY kinds of answers, or a
    `rough` one, is some percent above what can be shown."""
    kinds = kinds_of(costs)
    if len(kinds) <= MANY:
        return priced(costs, delta, "prv", ROUGH if rough else FINE)
    few = [
        Cost(mechanism="", sampling_rate=rate, noise_multiplier=noise, steps=steps, adjacency=costs[0].adjacency)
        for rate, noise, steps in fewer(kinds)
    ]
    exact = len(few) == 1
    return priced(few, delta, "prv", FINE if exact and not rough else ROUGH)


def fewer(kinds: Sequence[Kind]) -> list[Kind]:
    """At most MANY kinds, of not too many sampling rates, which cost no less.

    Gaussian answers on all records are together one, exactly: the squares of their signals add up. Of the others those
    of a rate whose noise is about the same are taken for those of the smallest noise among them; less noise is a
    stronger answer, from which the weaker one can be made.
    """
    signal = math.fsum(steps / noise**2 for rate, noise, steps in kinds if rate == 1)
    whole = [(1.0, (1 - 1e-12) / math.sqrt(signal), 1)] if signal else []
    sampled, grid = [one for one in kinds if one[0] < 1], GRID
    while True:
        found = dict[tuple[float, int], tuple[float, int]]()
        for rate, noise, steps in sampled:
            alike = (rate, math.floor(math.log(noise) / math.log1p(grid)))
            least, many = found.get(alike, (noise, 0))
            found[alike] = (min(least, noise), many + steps)
        if len(found) < MANY or grid > 1:
            return whole + [(rate, *found[rate, at]) for rate, at in sorted(found)]
        grid *= 2
