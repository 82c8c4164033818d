"""`raysyn auto`: what it is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from raysyn.data.picture import Crop, Fit
from raysyn.data.reading import Colour
from raysyn.data.several import MultiLabel
from raysyn.data.streams import PublicConfig
from raysyn.methods.declared import ClassesConfig
from raysyn.privacy.cost import Budget
from raysyn.report.release_config import ReleaseConfig

NAME = "auto"


@dataclass(frozen=True, kw_only=True)
class ShapeConfig:
    """How the images are read."""

    image_column: str | None = None
    """Column of a Parquet file that holds the images (by default image, or else img), or of a .csv their paths."""
    label_column: str | None = None
    """Column of it that holds their classes, as numbers or names; by default label, or else labels."""
    person_column: str | None = None
    """Column of it that tells whose each image is; by default person, if there is one."""
    person_pattern: str | None = None
    """Regular expression that finds the person in the name of each file; see dp_feta --help."""
    most_per_person: int | None = None
    """Keep at most this many images of each person, chosen by a hash of their pixels."""
    labels: bool = True
    """False leaves labels unread: all images are of one class."""
    multi_label: MultiLabel | None = None
    """most-frequent or combination: how several labels of an image make a class; see dp_feta --help."""
    label_order: tuple[str, ...] = ()
    """Which labels to heed, by name or number: from the most frequent to the rarest, or those to combine."""
    crop: Crop | None = None
    """centre: of every image keep the square in its middle, before it is rescaled; by default the whole image."""
    size: int | None = None
    """Rescale every image to this many pixels a side, at least 8; by default images stay as they are."""
    fit: Fit | None = None
    """How an image that is not square comes into that size: stretch (by default), pad, or crop; see dp_feta --help."""
    window: tuple[float, float] | None = None
    """LOW HIGH: of images deeper than 8 bits these values become 0 and 255, and what is between linear."""
    colour: Colour = "auto"
    """grey or rgb: read all images as one kind; by default as they are."""
    background: str | None = None
    """white, black or #rrggbb: what shows through transparent images; by default such are refused."""
    skip_broken: int = 0
    """Leave out up to this many images that cannot be decoded."""
    limit: int | None = None
    """Keep only this many training images, always the same ones, and at most as many test images."""
    test_share: float | None = None
    """Share of the training images held out as test images where the source has none."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a user says of a run whose method and settings are picked."""

    epsilon: float | None = None
    """Budget of the whole run, which is spent once; smaller promises more. It must be given: 3 is a usual one."""
    delta: float | None = None
    """Failure probability of the promise, below 1/n for n training images; by default
    1/(n ln n) or 1/(10 n), whichever is smaller."""
    minutes: float = 30.0
    """Time that the run should take here."""
    method: str | None = None
    """Take this method, with the settings that fit your images and budget; by default the one that is picked."""
    data: ShapeConfig = field(default_factory=ShapeConfig)
    public: PublicConfig = field(default_factory=lambda: PublicConfig(name=()))
    """Public images that resemble yours, for the methods that learn from them; by default none."""
    classes: ClassesConfig = field(default_factory=ClassesConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)
    synthetic: int | None = None
    """Synthetic images to make; by default as many as there are private ones, within 3,000 and 10,000; of
    dp_prototypes 10,000, or as many as there are public ones."""
    tuned_on: str | None = None
    """Data sets by whose results you found settings, yours if it was they: the certificate lists it as uncharged."""
    chosen_among: str | None = None
    """What this run was chosen among by its results, in words such as "3 runs"; the certificate lists it, too."""
    seed: int = 0
    """Seed of all that is public. Privacy noise never comes from it."""

    def __post_init__(self) -> None:
        if self.epsilon is not None and not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"epsilon is {self.epsilon}: give a finite number above 0")
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise ValueError(f"minutes is {self.minutes}: give a finite number above 0")

    def budget(self) -> Budget:
        """The promise of the run; ValueError where no epsilon is given."""
        if self.epsilon is None:
            raise ValueError("epsilon is not given, and a budget is spent once: say how much, such as --epsilon 3")
        return Budget(epsilon=self.epsilon, delta=self.delta)

    @property
    def has_public(self) -> bool:
        """Whether public images were named."""
        return bool(self.public.path or self.public.name)
