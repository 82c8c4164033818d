"""Labelled images as every part of raysyn sees them: uint8 NHWC in NumPy, which Ray shares without copying.

The number of images, their shape and the list of classes are treated as public throughout raysyn.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysyn.data import persons
from raysyn.data.by_person import first_of_each
from raysyn.data.copies import Copies, digest, find_copies
from raysyn.data.labels import check_gap, empty
from raysyn.data.mapped import taken
from raysyn.data.opening import kept_of, naming_of, opened
from raysyn.data.persons import Persons
from raysyn.data.picture import Crop, Fit, chosen_fit
from raysyn.data.pixels import brightest, check_seen, pixels_of
from raysyn.data.reading import Colour
from raysyn.data.several import MultiLabel
from raysyn.data.shares import left_out_by


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which labelled images to use."""

    name: str | None = "digits"
    """digits (built in), or mnist, fashion_mnist, kmnist, cifar10, cifar100 or a 2D MedMNIST flag such as bloodmnist,
    which are downloaded on first use."""
    path: str | None = None
    """Own data instead of a name: a Parquet file (columns image, label, split) or a folder of them as Hugging Face
    exports it, WebDataset shards (.tar), a .csv beside its images, a MedMNIST-style .npz file, or a folder with train/
    and test/, each with one sub-folder of images per class. Where classes are named (the sub-folders of train/, the
    Parquet file's metadata, the array class_names), one of them may have no image. Without test images, also a folder
    of class folders: see --data.test-share."""
    test_share: float | None = None
    """Share of the training images held out as test images where the source has none; the others are left to train.
    Always the same ones, by their places alone, or the same persons, by their names alone. A synthetic.parquet of
    raysyn has 0.1 held out by itself."""
    image_column: str | None = None
    """Column of a Parquet file that holds the images (by default image, or else img), or of a .csv their paths."""
    label_column: str | None = None
    """Column of it that holds their classes, as numbers or names; by default label, or else labels."""
    person_column: str | None = None
    """Column of it that tells whose each image is (a person's, a household's), by numbers or names: then everybody is
    in training or in test with all images, and what is promised is promised to them, not to an image. By default
    person, if there is such a column; of a .npz the arrays train_persons and test_persons."""
    person_pattern: str | None = None
    """Regular expression that finds the person in the name of each file instead: its group, or all that it finds. Names
    are paths in the folder of the split, in the archive, or as Hugging Face's Parquet files tell them."""
    most_per_person: int | None = None
    """Keep at most this many images of each person, in every split: by a hash of their pixels, whoever else is there.
    By default all."""
    multi_label: MultiLabel | None = None
    """Of images with several labels each, or none: most-frequent gives an image the class of the one of its labels that
    comes first in --data.label-order, combination that of its combination of the labels named there. Images with none
    of them are a class too. Nothing is counted, so nothing of rare labels shows."""
    label_order: tuple[str, ...] = ()
    """Labels by name, or number where they have no names: from the most frequent to the rarest, as publicly known, or
    those to combine, at most 6. Others are not heeded. chestmnist has an order by itself."""
    crop: Crop | None = None
    """centre: of every image keep the square in its middle, before it is rescaled; by default the whole image."""
    size: int | None = None
    """Rescale every image to this many pixels a side, at least 8; by default images stay as they are."""
    fit: Fit | None = None
    """How an image that is not square comes into that size: stretch (by default: its proportions are lost), pad (as a
    whole, in the middle of black), or crop (the square in its middle, the same as --data.crop centre)."""
    window: tuple[float, float] | None = None
    """LOW HIGH: of images deeper than 8 bits (16-bit, floats, DICOM) LOW and below becomes 0, HIGH and above 255, and
    what is between linear, in the units of the files. By default such are refused, but for floats from 0 to 1 and DICOM
    files that name a window."""
    colour: Colour = "auto"
    """grey or rgb: read all images as one kind (grey by luma); by default as they are, which must be all grey or all
    colour."""
    background: str | None = None
    """white, black or #rrggbb: what shows through transparent images; by default such are refused."""
    skip_broken: int = 0
    """Leave out up to this many images that cannot be decoded; their number is told, and counts as public."""
    limit: int | None = None
    """Keep only this many training images, always the same ones, and at most as many test images. Where persons are
    named, the images of so many persons."""
    labels: bool = True
    """False leaves unread what the images are of, so that they need no labels: all are of one class, images are made of
    no class in particular, and no classifier can judge them."""

    def how(self) -> Fit | None:
        """How images come into their size; ValueError for flags that do not go together."""
        return chosen_fit(self.fit, self.crop, "data.", self.size is not None)

    def persons(self) -> Persons:
        """How persons are named; ValueError for flags that do not go together, and what is no pattern."""
        return Persons.of(self.person_column, self.person_pattern)


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images: images_NHWC uint8 (N, H, W, C), C 1 or 3; labels_N int64 in [0, len(class_names))."""

    images_NHWC: np.ndarray
    labels_N: np.ndarray
    class_names: tuple[str, ...]
    persons_N: np.ndarray | None = None
    """Whose image each is, int64 in [0, units), everybody with one at least; None: each image is a unit of its own."""
    absent_U: np.ndarray | None = None
    """Which units take no part, bool (units,): to every question of `privacy` they are as if blank, and count as ever
    in what is public (an audit's canaries whose coin said so). None: all take part."""

    def __post_init__(self) -> None:
        assert self.images_NHWC.dtype == np.uint8 and self.images_NHWC.ndim == 4, self.images_NHWC.shape
        assert self.images_NHWC.shape[3] in (1, 3), self.images_NHWC.shape
        assert self.labels_N.dtype == np.int64 and self.labels_N.shape == self.images_NHWC.shape[:1]
        assert len(self) == 0 or (self.labels_N.min() >= 0 and self.labels_N.max() < self.classes)
        if (persons := self.persons_N) is not None:
            assert persons.dtype == np.int64 and persons.shape == self.labels_N.shape
            assert len(self) == 0 or (persons.min() == 0 and np.bincount(persons).all())
        if self.absent_U is not None:
            assert self.absent_U.dtype == bool and self.absent_U.shape == (self.units,), self.absent_U.shape

    def __len__(self) -> int:
        return len(self.images_NHWC)

    def __repr__(self) -> str:
        """Not the pixels: what is printed may end in a log."""
        height, width, channels = self.images_NHWC.shape[1:]
        return f"Images({len(self):,} of {height} x {width} x {channels}, {self.classes} classes, {self.units:,} units)"

    @functools.cached_property
    def units(self) -> int:
        """How many there are of what the promise is about: persons, or images where no persons are named."""
        return len(self) if self.persons_N is None else int(self.persons_N.max(initial=-1)) + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        height, width, channels = self.images_NHWC.shape[1:]
        return height, width, channels

    @property
    def classes(self) -> int:
        """Number of classes, those without an image here included."""
        return len(self.class_names)

    def select(self, indices: Any) -> Images:
        """The images at `indices` (integers, a slice or a mask), with the same classes; persons are numbered anew."""
        persons_N, units_U = None, indices
        if self.persons_N is not None:
            units_U, persons_N = np.unique(self.persons_N[indices], return_inverse=True)
        absent_U = None if self.absent_U is None else self.absent_U[units_U]
        return Images(taken(self.images_NHWC, indices), self.labels_N[indices], self.class_names, persons_N, absent_U)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over shape, class names, labels, persons where they are named, and pixels, in this order of
        images."""
        digest = hashlib.sha256(json.dumps([self.images_NHWC.shape, self.class_names]).encode())
        digest.update(np.ascontiguousarray(self.labels_N, dtype="<i8").data)
        if self.persons_N is not None:
            digest.update(np.ascontiguousarray(self.persons_N, dtype="<i8").data)
        # In parts, because public images stay in a file until they are asked for.
        for at in range(0, len(self), 4096):
            digest.update(np.ascontiguousarray(self.images_NHWC[at : at + 4096]).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """The splits of one data set; all have the same image shape and classes."""

    name: str
    train: Images
    test: Images
    val: Images | None
    source_fingerprint: str | None = None
    """Of the data set whose images these are, where a seed divided them anew."""
    naming: str | None = None
    """How the source could declare names of its classes, where it knows them only as the labels of its images."""
    told: str = ""
    """How the source was understood, and what of it was left out."""
    warned: tuple[str, ...] = ()
    """What a user must know of it."""
    own: bool = False
    """Whether these are a user's: neither a set by name nor made by raysyn."""

    @functools.cached_property
    def copies(self) -> Copies:
        """What is there several times."""
        return find_copies(self.train.images_NHWC, self.test.images_NHWC, self.train.persons_N)

    def empty_classes(self) -> tuple[str, ...]:
        """Names of the classes without a training image."""
        return tuple(self.train.class_names[label] for label in empty(self.train.labels_N, self.train.classes))

    def check_classes(self, setting: str, mend: str) -> Dataset:
        """Itself; ValueError where `setting` has left a class without a training image that no source has declared, so
        that nobody could say what its synthetic images are."""
        check_gap(self.naming, self.train.labels_N, self.train.classes, setting, mend)
        return self

    def fingerprint(self) -> str:
        """Which images these are, and which of them are for training: the fingerprints of the splits."""
        return " ".join(part.fingerprint() for part in (self.train, self.test, self.val) if part is not None)


def load(config: DataConfig) -> Dataset:
    """The data set that `config` names: train and test, and val where the source has one.

    A size rescales each image as `picture.fitted` does. Deeper colour is cut to 8 bits. The pixels of many images lie
    in a file without a name (`mapped`). Raises ValueError, one sentence with field, value and mend, for what a user can
    mend.
    """
    source, labels, class_names = opened(config)
    done, fit, beyond = dict[str, Images](), config.how(), 0
    kept, left_out = kept_of(source, labels, class_names, config)
    for split, keep in kept.items():
        shape = done["train"].shape if done else None
        pixels = pixels_of(source, source.splits[split], keep, config.size, fit, shape)
        check_seen(brightest(pixels), f"{source.label}: {split}")
        whose_N = source.splits[split].persons_N
        of_N = None if whose_N is None else persons.renumbered(whose_N[keep])
        whole = Images(pixels, labels[split][keep], class_names, of_N)
        done[split] = bounded(whole, config.most_per_person)
        beyond += len(whole) - len(done[split])
    check_gap(naming_of(source), done["train"].labels_N, len(class_names), *left_out_by(config))
    named = persons.told(done["train"].persons_N) if done["train"].persons_N is not None else ""
    bound = f"{beyond:,} beyond {config.most_per_person:,} of a person left out" if beyond else ""
    done_to_them = [one for one in (source.reading.told(), left_out, bound, named) if one]
    told = "; ".join([source.told or "published", *done_to_them]) if done_to_them else source.told
    return Dataset(
        source.name, done["train"], done["test"], done.get("val"), naming=naming_of(source), told=told,
        warned=(*source.reading.warned(), *source.warned), own=config.path is not None and not source.released,
    )  # fmt: skip


def bounded(images: Images, most: int | None) -> Images:
    """At most so many images of each person, chosen by hashes of their pixels, if a bound is given."""
    if most is None or images.persons_N is None or np.bincount(images.persons_N).max(initial=0) <= most:
        return images
    return images.select(first_of_each(images.persons_N, list(map(digest, images.images_NHWC)), most))


def public_facts(config: DataConfig) -> tuple[int, tuple[int, int, int], int]:
    """(number of training images, shape, classes) of what `config` names; ValueError as `load`, for all that can be
    known from one picture, which alone is decoded: but for `skip_broken`, since how many are left only all can tell."""
    return facts_and_units(config)[0]


def facts_and_units(config: DataConfig) -> tuple[tuple[int, tuple[int, int, int], int], int, str]:
    """The same, how many persons these images are of, and "person"; of no persons, how many there are, and "image"."""
    source, labels, class_names = opened(config)
    keep = kept_of(source, labels, class_names, config)[0]["train"]
    first = pixels_of(source, source.splits["train"], keep[:1], config.size, config.how(), None)
    height, width, channels = first.shape[1:]
    whose_N = source.splits["train"].persons_N
    each = np.ones(len(keep), np.int64) if whose_N is None else np.bincount(persons.renumbered(whose_N[keep]))
    n, units = int(np.minimum(each, config.most_per_person or len(keep)).sum()), len(each)
    return (n, (height, width, channels), len(class_names)), units, "image" if whose_N is None else "person"
