"""Settings that were made for another number of images than there are, told before anything is spent.

All of it follows from what is public: number and shape of the images, classes, settings.
"""

from __future__ import annotations

import math

from raysyn.data.images import Images
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.central import CentralConfig, mean_query, mode_query

FEW_STEPS = 100
"""Steps of DP-SGD below which a network has hardly learned: a preset for 60,000 images took 35 on 5,312, and its images
were grey blobs."""
DROWNED = 0.4
"""Noise in a number of a central image, where 1 is all of its range, from which on nothing is seen in it."""
LEAST_BATCH = 64
"""No smaller one is advised: noise is added at every step."""


def few_steps(plan: Plan, stage: str, n: int, group: str) -> list[str]:
    """A warning where `stage` has few steps, with the flags of its `group` that mend it."""
    price = plan.stages[stage]
    if price.steps >= FEW_STEPS:
        return []
    batch = price.sampling_rate * n
    # Twice as many steps as are few, in round numbers.
    advised = 2 ** math.floor(math.log2(max(1.0, batch * price.steps / (2 * FEW_STEPS))))
    mend = f"--{group}.batch-size {advised}" if advised >= LEAST_BATCH else f"a higher --{group}.epochs"
    return [
        f"{stage} has {price.steps} steps of DP-SGD on {n:,} images, too few to learn much: a batch of {batch:,.0f} is "
        f"for more images; give {mend}, or take noisy_means, which trains nothing"
    ]


def drowned(config: CentralConfig, private: Images) -> list[str]:
    """A warning where central images would be noise, with the flags that mend it."""
    if config.count == 0:
        return []
    cells = private.classes if config.conditional else 1
    query = (mean_query if config.kind == "mean" else mode_query)(config, private.shape)
    asked = config.sampling_rate * len(private) / cells
    noise = config.noise_multiplier * query.sensitivity / asked
    if noise < DROWNED:
        return []
    rounds, whose = config.rounds(private.classes), "of a class" if config.conditional else "of all classes together"
    fewer = f"--central.sampling-rate 1 --central.count {cells * min(rounds, 2)}"
    mend = (
        f"give {fewer}" if config.sampling_rate < 1 else "give a lower --central.noise-multiplier, or --central.count 0"
    )
    return [
        f"central images would be mostly noise: each is made of about {asked:,.0f} images {whose}, and its noise is "
        f"{100 * noise:.0f} % of the way from black to white; {mend}"
    ]
