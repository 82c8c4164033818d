"""Canaries of a run: which units there are left to a coin, what they are made into, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks import one_run
from raysyn.data.images import Dataset, Images
from raysyn.data.mapped import blanked
from raysyn.privacy import units
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream

FEWEST = 20
"""Fewer could hardly show anything."""
STAGE = "audit"
"""Of the run's secret: which units are canaries, and their coins."""
Kind = Literal["natural", "mislabelled", "noise", "blank"]
IN_WORDS: dict[Kind, str] = {
    "natural": "as they are", "mislabelled": "under the label of another class",
    "noise": "as pictures of noise", "blank": "as a plain shade with one square of another",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What the run shows of its own promise, by units that take part by a coin; the answer stays inside."""

    canaries: int | None = None
    """Units of the private set (images, or persons) that each take part by a fair coin of the run's secret, and are
    guessed about afterwards: a lower bound of epsilon, beside what is promised. By default 1 % of 5,000 units or more,
    at most 1,000; 0 audits nothing. The run learns from half of them less."""
    kind: Kind = "natural"
    """What canaries are: natural leaves them as they are; mislabelled, noise and blank put what is easier to find in
    their place, which the run then learns from, at a price in usefulness."""

    def __post_init__(self) -> None:
        if self.canaries is not None and self.canaries != 0 and self.canaries < FEWEST:
            raise ValueError(f"audit.canaries is {self.canaries}: give at least {FEWEST}, as fewer show nothing, or 0")
        if self.canaries == 0 and self.kind != "natural":
            raise ValueError(f"audit.kind is {self.kind}, but audit.canaries is 0: give a number of them, or no kind")


NO_AUDIT = AuditConfig(canaries=0)
"""Of presets that shall be quick."""


def asked(config: Any, able: bool, name: str, plan: Plan | None, private: Images) -> int:
    """How many canaries a run has; ValueError, in one sentence, where it cannot have those it was asked for. `able`:
    whether the method, called `name`, can leave units out."""
    own: AuditConfig | None = getattr(config, "audit", None)
    if own is None or own.canaries == 0:
        return 0
    whom = units.word(private)
    if own.canaries is None:
        if own.kind == "natural":
            return one_run.how_many(private.units) if able and plan is not None else 0
        if able and plan is not None and not one_run.how_many(private.units):
            raise ValueError(
                f"audit.kind is {own.kind}, but of fewer than {one_run.FROM:,} {whom}s none is a canary by itself: "
                "give --audit.canaries"
            )
    given = f"audit.canaries is {own.canaries}" if own.canaries is not None else f"audit.kind is {own.kind}"
    if not able:
        raise ValueError(f"{given}, but {name} cannot leave single {whom}s out by a coin: leave it out")
    if plan is None:
        raise ValueError(f"{given}, but nothing is promised here that a run could refute: leave it out")
    if own.canaries is not None and own.canaries > private.units:
        raise ValueError(f"{given}, but there are {private.units:,} {whom}s: give fewer")
    if own.kind == "mislabelled" and private.classes < 2:
        raise ValueError("audit.kind is mislabelled, but there is one class alone: give another kind")
    return one_run.how_many(private.units) if own.canaries is None else own.canaries


def told(count: int, config: Any, private: Images) -> str:
    """What the plan says of them; of numbers that are public alone."""
    whom, kind, half = units.word(private), config.audit.kind, f"{50 * count / private.units:.2g} %"
    learned = "" if kind == "natural" else f", and it learns from as many {IN_WORDS[kind]}"
    return (
        f"Audit: {count:,} of the {private.units:,} {whom}s are canaries. About half of them, as a coin of the run's "
        f"secret has it, take no part: the run learns from {half} of the {whom}s less{learned}. What is guessed "
        "about them afterwards stays inside; --audit.canaries 0 audits nothing."
    )


def identity(count: int, config: Any) -> dict[str, Any]:
    """What of it tells a run from another; nothing where none is audited, as of runs that knew no audit."""
    return {"audit": {"canaries": count, "kind": config.audit.kind}} if count else {}


@dataclass(frozen=True, eq=False)
class Tried:
    """The canaries of a run that has begun."""

    canaries: one_run.Canaries
    original: Dataset
    """As it was loaded: what measures of the images are about."""
    made: Images
    """Its training images, with canaries as they were made: what is guessed about."""
    dataset: Dataset
    """What the run is given: the same, and who of them is absent. Their pixels are black, so that nothing that copies
    training images, whatever weights it forgets, is told less of than it gives away."""


def drawn(count: int, config: Any, dataset: Dataset, secret: bytes) -> Tried | None:
    """Who are canaries, and who of them is in: of the run's secret, so that a run that is continued has the same."""
    if not count:
        return None
    private, stream = dataset.train, Stream(secret, STAGE)
    found = one_run.Canaries.drawn(stream.uniform(0, "canaries", private.units), stream.uniform(0, "coins", count))
    made = strange(private, images_of(private, found.units_M), config.audit.kind, stream)
    absent = images_of(private, np.sort(found.units_M[~found.there_M]))
    given = replace(
        made, images_NHWC=blanked(made.images_NHWC, absent), absent_U=found.absent(private.units)
    )  # fmt: skip
    return Tried(found, dataset, made, replace(dataset, train=given))


def images_of(private: Images, units_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of all images of these units, absent or not."""
    return units.images_of(replace(private, absent_U=None), units_M)


def strange(private: Images, places_C: NDArray[np.int64], kind: Kind, stream: Stream) -> Images:
    """The same images with others at these places. No two draws of the stream are alike, and who is in changes none."""
    if kind == "natural":
        return private
    if kind == "mislabelled":
        by = 1 + (stream.uniform(0, "labels", len(places_C)) * (private.classes - 1)).astype(np.int64)
        labels_N = private.labels_N.copy()
        labels_N[places_C] = (labels_N[places_C] + by) % private.classes
        return replace(private, labels_N=labels_N)
    pixels_NHWC = np.array(private.images_NHWC)
    make = _noise if kind == "noise" else _blank
    for place in places_C.tolist():
        pixels_NHWC[place] = make(private.shape, stream, place)
    return replace(private, images_NHWC=pixels_NHWC)


def _noise(shape: tuple[int, int, int], stream: Stream, place: int) -> NDArray[np.uint8]:
    return (stream.uniform(place, "noise", int(np.prod(shape))) * 256).astype(np.uint8).reshape(shape)


def _blank(shape: tuple[int, int, int], stream: Stream, place: int) -> NDArray[np.uint8]:
    height, width, channels = shape
    numbers = stream.uniform(place, "blank", 2 + 2 * channels)
    side = max(1, min(height, width) // 4)
    top, left = int(numbers[0] * (height - side + 1)), int(numbers[1] * (width - side + 1))
    shades = (numbers[2:] * 256).astype(np.uint8).reshape(2, channels)
    picture = np.broadcast_to(shades[0], shape).copy()
    picture[top : top + side, left : left + side] = shades[1]
    return picture
