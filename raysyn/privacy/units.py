"""Whose contribution each private answer bounds: an image's, or where persons are named a person's, with all images.

THE RULE. What a person contributes to a sum is the mean of what their images would contribute.

Why no sensitivity changes by it. Every mechanism here releases sum_i f(x_i) + noise, where f(x) is a vector of L2 norm
at most S for every image x, in which all cells of the answer (classes, pixels, layers) stand side by side. With persons
it releases sum_p F(p) + the same noise, where F(p) = (f(x_1) + ... + f(x_m)) / m over the m images of p. By the
triangle inequality |F(p)| <= (|f(x_1)| + ... + |f(x_m)|) / m <= S, however many images there are and whatever they
show. So a person who comes or goes moves the sum by at most S, as an image did before, and the Gaussian mechanism costs
the same. F(p) depends on p's images alone, and so moves nothing else: neither another's weight nor a denominator, which
are made of the number of persons, held fixed as that of images was.

Classes. Of single images, that a question to each class costs no more than one of them is parallel composition: an
image is in one class. A person may be in several, so that this fails for persons. But it is not needed: f(x), which has
one block that is not zero, has norm at most S as a vector over all classes, and so has F(p), a convex combination of
such. The same holds of layers, for which f(x) has norm at most clip in each of L blocks.

Samples. A person takes part in a step with the sampling rate, by a coin of their own, with all images or none of them:
a Poisson sample of persons, of which the price of a subsampled answer is known as it was of images. (A coin for each
image would not be one: of m images about rate * m would join, and the price would be that of a larger rate.)

DP-SGD. There f is not asked of all of a person's images in each step. Each of a person's K copies draws one of them,
uniformly and with replacement, by bits that depend on step and person alone; the copies' gradients are averaged, and
the mean is clipped to the norm C. So F(p) has norm at most C for every draw, and given the draws, which are independent
of who else takes part and of the noise, the argument above holds; what holds given every draw holds on average over
them (the price's divergences are jointly convex). Its mean over draws, before the clip, is that of all images.

Nobody named. Then each image is the one image of a person of its own, every mean is of one, and nothing changes.

ABSENT UNITS (`Images.absent_U`, of an audit's canaries). F(p) of an absent unit is 0, and p is in no sample, as if it
were blank; n, and all that is made of it, counts p as ever. Who is absent is told by coins of the run's secret that
depend on nothing but the numbers of the units, which are places. Given the coins, removing p changes nothing where p is
absent, and else is what is priced; what holds given every outcome of the coins holds on average over them (joint
convexity). So the price holds for everybody, and a unit whose coin is fair has even a smaller one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from raysyn.data.images import Images
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, COUNTED, Cost
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream
from raysyn.privacy.rounding import rounded_down
from raysyn.train import philox

Indices = NDArray[np.int64]
NOTE = "a person adds the mean of what their images would: no longer a vector, whatever classes these are in"
MaybePlan = TypeVar("MaybePlan", Plan, Plan | None)


def priced(cost: Cost, private: Images) -> Cost:
    """`cost` as one of these images' units: a price is the same, what is promised for it is not."""
    if private.persons_N is None:
        return cost
    return replace(cost, adjacency=ADD_REMOVE_PERSON, note=NOTE)


def planned(private: Images, make: Callable[[int], MaybePlan]) -> MaybePlan:
    """make(n), the plan of so many units, as one of these. A ValueError of it says what its n are."""
    try:
        plan = make(private.units)
    except ValueError as error:
        if private.persons_N is not None:
            n = private.units
            said = re.sub(
                rf"\b({n}|{n:,}) images\b", r"\1 persons", str(error).replace(COUNTED, "the number of persons")
            )
            error.args = (f"{said} (persons are what is counted here: {told(private)})",)
        raise
    if plan is None:
        return plan
    return replace(plan, stages={stage: priced(cost, private) for stage, cost in plan.stages.items()})


def word(private: Images) -> str:
    """What is counted, in a word."""
    return "image" if private.persons_N is None else "person"


def told(private: Images) -> str:
    """How many private images there are, and how many persons where these are named."""
    persons = "" if private.persons_N is None else f"{private.units:,} persons with "
    return f"{persons}{len(private):,} private images"


def check(cost: Cost, private: Images) -> None:
    """ValueError for a price of other units than these images': no answer is sold under the wrong promise."""
    wanted = ADD_REMOVE if private.persons_N is None else ADD_REMOVE_PERSON
    if cost.adjacency != wanted:
        raise ValueError(
            f"the price of {cost.mechanism} is for adjacency {cost.adjacency!r}, but these images need {wanted!r}: "
            "plan with units.planned, or name no persons"
        )


def check_plan(plan: Plan, private: Images) -> None:
    """The same of every price in it, and ValueError for a plan of another number of units than there are, or of a delta
    that promises nothing for so many."""
    for stage, cost in plan.stages.items():
        try:
            check(cost, private)
        except ValueError as error:
            error.args = (f"stage {stage!r} of the plan: {error}",)
            raise
    if plan.n is not None and plan.n != private.units:
        there = f"{private.units:,} {word(private)}s"
        raise ValueError(
            f"the plan is for n = {plan.n:,}, but there are {there}: give Plan.within the n that units.planned hands "
            "on, and Prepared as dataset.train the images that are asked"
        )
    if plan.delta * private.units >= 1:
        raise ValueError(
            f"the plan's delta is {plan.delta:g}, but there are {told(private)}, and with 1/n or more the promise "
            f"holds for publishing one of them outright: plan with a delta below {rounded_down(1 / private.units, 2)}"
        )


def weights(private: Images) -> NDArray[np.float64]:
    """What each image counts in a sum, (N,): one part of the images of its person; 1 where nobody is named. 0 of those
    who are absent."""
    there_U = np.ones(private.units) if private.absent_U is None else 1.0 - private.absent_U
    if private.persons_N is None:
        return there_U
    return (there_U / np.bincount(private.persons_N))[private.persons_N]


def present(private: Images, taking: Indices) -> Indices:
    """Of the units that a sample has drawn, those who are not absent."""
    return taking if private.absent_U is None else taking[~private.absent_U[taking]]


def images_of(private: Images, taking: Indices) -> Indices:
    """All images of the units that take part and are not absent, in the order in which they lie."""
    taking = present(private, taking)
    if private.persons_N is None:
        return taking
    there_U = np.zeros(private.units, bool)
    there_U[taking] = True
    return np.flatnonzero(there_U[private.persons_N])


@dataclass(frozen=True)
class Albums:
    """The images of each person, to draw from."""

    order_N: Indices
    """Images, one person's after another's."""
    start_U: Indices
    count_U: Indices

    @staticmethod
    def of(private: Images) -> Albums | None:
        """None where nobody is named."""
        if private.persons_N is None:
            return None
        count_U = np.bincount(private.persons_N)
        return Albums(np.argsort(private.persons_N, kind="stable"), np.cumsum(count_U) - count_U, count_U)

    def draw(self, stream: Stream, step: int, persons_B: Indices, copies: int) -> Indices:
        """For each copy of each person one of their images, uniformly and with replacement: (B, copies).

        A function of secret, stage, step and person: neither the cut into micro-batches and ranks nor who else takes
        part changes it.
        """
        seeds = [stream.seed(step, "images", person) for person in persons_B.tolist()]
        words = philox.words(torch.tensor(seeds, dtype=torch.int64), torch.arange(-(-copies // 4)))
        # Of 32 bits: below the number of images, and as often each but for one part in 2**32 of that number.
        places_BK = (words.flatten(1)[:, :copies].numpy() * self.count_U[persons_B, None]) >> 32
        return self.order_N[self.start_U[persons_B, None] + places_BK]
