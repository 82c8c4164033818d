"""A data set as its files hold it, before it is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from raysyn.data.reading import PLAIN, Reading
from raysyn.data.several import Classes, Several, check_one, mend
from raysyn.data.stored import Stored

SPLITS = ("train", "val", "test")
USUAL_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What folders and files of splits are called, in small letters."""
ONE_CLASS = "image"
"""Name of the class that all images are of where labels are forgotten."""


@dataclass(frozen=True)
class Split:
    """One split, undecoded: `pictures` are HWC arrays, bytes of image files, their paths, or members of an archive."""

    pictures: Sequence[Any] | np.ndarray | Stored
    labels_N: np.ndarray
    places: Sequence[str] | Callable[[int], str]
    """What to call picture i in an error."""
    persons_N: np.ndarray | None = None
    """Whose picture each is, int64, a number for each person of all splits; None where nobody is named."""
    names: Callable[[], Iterable[str]] | None = None
    """The paths of all pictures, from the folder of their split, archive or table; None where files have no names."""

    def place(self, index: int) -> str:
        return self.places(index) if callable(self.places) else self.places[index]


@dataclass(frozen=True)
class Source:
    """What a reader found; `label` opens error sentences, `class_names` is None where unknown, and then `naming` says
    how they could be declared."""

    name: str
    label: str
    class_names: Sequence[str] | None
    splits: dict[str, Split]
    naming: str = ""
    lacks: str = "has no test images"
    """What is said of it where it has none."""
    of_labels: bool = False
    """Whether classes are those of the labels that are there, though they have names."""
    told: str = ""
    """How it was understood, and what of it was left out."""
    released: bool = False
    """Whether raysyn made it: then all its images are for training."""
    reading: Reading = PLAIN
    """How its pictures become 8-bit grey or colour."""
    warned: tuple[str, ...] = ()
    """What a user must know of it."""
    persons: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """{name: number} of whoever is named."""

    def without_labels(self) -> Source:
        """The same images, all of one class."""
        splits = {
            name: replace(split, labels_N=np.zeros(len(split.pictures), np.int64))
            for name, split in self.splits.items()
        }
        return replace(self, splits=splits, class_names=(ONE_CLASS,), of_labels=False)


def from_arrays(
    name: str,
    label: str,
    arrays: dict[str, tuple[np.ndarray, np.ndarray]],
    class_names: Sequence[str] | None,
    several: Several | None = None,
    group: str = "data",
) -> Source:
    """Of {split: (images, labels)}; what is for private images alone is a mend in the `group` of their flags only."""
    splits, width = {}, max((labels.shape[1] for _, labels in arrays.values() if labels.ndim == 2), default=1)
    classes = None if several is None or width == 1 else _classes(several, width, class_names, label)
    if classes is None:
        check_one(several, label)
    for split, (images, labels) in arrays.items():
        where = f"{label}: {split}"
        pixels = images[..., None] if images.ndim == 3 else images
        if pixels.dtype.kind not in "uif" or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise ValueError(
                f"{where} images are {images.dtype} of shape {images.shape}; "
                "they must be numbers, such as uint8, of shape (N, H, W) or (N, H, W, 1 or 3)"
            )
        own = labels.shape[1] if labels.ndim == 2 else 1
        if classes is not None:
            if own != width:
                raise ValueError(f"{where} has {own} labels per image, but another split {width}; give all the same")
            labels = classes.of_rows(labels, where)
        elif own > 1:
            one_hot = np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()
            how = (
                " (of one-hot rows, the place of the 1)"
                if one_hot
                else f", or {mend(f'{group}.' if group else '')}" * (group != "public")
            )
            raise ValueError(f"{where} has {own} labels per image; give one each{how}")
        if labels.size != len(pixels):
            raise ValueError(f"{where} has {len(pixels)} images but {labels.size} labels; give one each")
        splits[split] = Split(pixels, labels.reshape(-1), f"{split} image {{}}".format)
    if classes is not None:
        return Source(name, label, classes.names, splits, told=classes.told())
    return Source(name, label, class_names, splits, "an array class_names, a string per class")


def _classes(several: Several, width: int, names: Sequence[str] | None, label: str) -> Classes:
    """Of rows of `width` labels, which have names or else numbers."""
    if names is not None and len(names) != width:
        raise ValueError(f"{label} has {width} labels per image but names {len(names)}; name each of them")
    return several.among([str(number) for number in range(width)] if names is None else names, label)
