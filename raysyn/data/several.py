"""Images that have several labels each, or none: one class of them, by a rule that looks at that image alone.

How often a label is there, or which combinations are, is private: counting them to find the most frequent label would
be a touch of the images that nobody pays for, and a class for each combination that occurs would tell of the one image
that has it. So the order of labels is what a user states, as publicly known, and classes are all combinations that
there could be of a few labels, whether they occur or not.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

MultiLabel = Literal["most-frequent", "combination"]
NONE = "none of them"
"""Class of the images that have none of the labels."""
UNLABELLED, OTHERS = "without any label", "with none but other labels"
"""What images of that class have."""
MOST_COMBINED = 6
"""Labels: 64 classes, of which each halves the images that a class has."""
CHEST = (
    *("infiltration", "effusion", "atelectasis", "nodule", "mass", "pneumothorax", "consolidation", "pleural"),
    *("cardiomegaly", "emphysema", "edema", "fibrosis", "pneumonia", "hernia"),
)
"""Labels of ChestMNIST, those of more images first, by the counts that NIH has published with ChestX-ray14: 19,894 of
infiltration to 227 of hernia."""


def mend(group: str) -> str:
    """What to do about them; `group` is what the flags begin with."""
    return f"say how several make a class with --{group}multi-label most-frequent (or combination)"


@dataclass(frozen=True)
class Several:
    """What a user says of them."""

    how: MultiLabel
    order: tuple[str, ...] = ()

    @staticmethod
    def of(how: MultiLabel | None, order: tuple[str, ...]) -> Several | None:
        """From two fields of `DataConfig`; ValueError for what does not go together."""
        if how is None and order:
            raise ValueError(
                f"data.label_order names {', '.join(order)}, but data.multi_label is not given: say how several labels "
                "make a class, or leave it out"
            )
        if twice := [name for name, count in Counter(order).items() if count > 1]:
            raise ValueError(f"data.label_order names {twice[0]!r} twice; name it once")
        return None if how is None else Several(how, order)

    def by_default(self, order: tuple[str, ...]) -> Several:
        """The same with a published order; of labels to combine there is none."""
        return Several(self.how, order) if self.how == "most-frequent" else self

    def among(self, names: Sequence[str] | None, label: str) -> Classes:
        """The classes of a source with labels of these names, None where it has not told any; ValueError, in a sentence
        that `label` opens, where the labels to heed are missing, not there, or too many."""
        order = self.order
        if not order and self.how == "combination" and names is not None:
            order = tuple(names)
        if not order:
            what = "to combine" if self.how == "combination" else "from the most frequent to the rarest"
            raise ValueError(
                f"{label}: data.multi_label={self.how!r} needs the labels {what}, as publicly known "
                "(--data.label-order A B C): counting the private ones would be a look at them that nobody pays for"
            )
        if names is not None and (strange := [name for name in order if name not in names]):
            raise ValueError(
                f"{label}: data.label_order names {strange[0]!r}, which is no label; it has {', '.join(names[:20])}"
            )
        _refuse_other_spellings(order, names or (), label)
        if self.how == "combination" and len(order) > MOST_COMBINED:
            raise ValueError(
                f"{label}: {len(order)} labels have {2 ** len(order):,} combinations; name up to {MOST_COMBINED} to "
                "combine with --data.label-order"
            )
        return Classes(self.how, tuple(order), None if names is None else tuple(names))


@dataclass(frozen=True)
class Classes:
    """One class for any labels of an image. Only those in `order` are heeded."""

    how: MultiLabel
    order: tuple[str, ...]
    known: tuple[str, ...] | None
    seen: set[str] = field(default_factory=set, compare=False, repr=False)
    """The labels that `of` was asked for."""
    without: Counter[str] = field(default_factory=Counter, compare=False, repr=False)
    """How many images without a label to heed there were, by what they have."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all classes, those without an image among them."""
        if self.how == "most-frequent":
            return (*self.order, NONE)
        return tuple(
            " + ".join(name for at, name in enumerate(self.order) if number >> at & 1) or NONE
            for number in range(2 ** len(self.order))
        )

    def number(self, labels: Collection[str]) -> int:
        """The class of an image with these labels: the first of the order that it has, or its combination."""
        has = [at for at, name in enumerate(self.order) if name in labels]
        if self.how == "most-frequent":
            return has[0] if has else len(self.order)
        return sum(1 << at for at in has)

    def of(self, found: Sequence[Any], place: str) -> int:
        """The same of what a list holds: names, or numbers of what is known by name. ValueError for another one."""
        words = [self._word(one) for one in found]
        if (strange := next((at for at, word in enumerate(words) if word is None), None)) is not None:
            fault = "none of those with names; mend it" if self.known else "no label: give words, or numbers from 0"
            raise ValueError(f"{place} has the label {found[strange]!r}, which is {fault}")
        # Of two labels such rows have nothing twice.
        if list(found) == [1, 0]:
            raise ValueError(
                f"{place} has the labels 1, 0, as a row of 0 and 1 has; give lists of labels, such as 0, 1"
            )
        if twice := next((word for word, count in Counter(words).items() if count > 1), None):
            raise ValueError(f"{place} has the label {twice!r} twice; give lists of labels, not rows of 0 and 1")
        has = {word for word in words if word is not None}
        self.seen.update(has)
        self._count(1, bool(has), not has.isdisjoint(self.order))
        return self.number(has)

    def _count(self, images: int, labelled: bool, heeded: bool) -> None:
        if not heeded:
            self.without[OTHERS if labelled else UNLABELLED] += images

    def unseen(self, label: str) -> tuple[str, ...]:
        """Once all images were asked for: a warning of each label to heed that none has, where a source has told no
        names to compare with. ValueError, in a sentence that `label` opens, where none is there, or images have one in
        another spelling."""
        if self.known is not None:
            return ()
        _refuse_other_spellings(self.order, self.seen, label)
        missing = [name for name in self.order if name not in self.seen]
        if missing and len(missing) == len(self.order):
            has = ", ".join(sorted(self.seen)[:20]) or "none at all"
            raise ValueError(
                f"{label}: no image has a label that data.label_order names ({', '.join(missing)}); they have {has}"
            )
        return tuple(_nowhere(name, sorted(self.seen.difference(self.order))) for name in missing)

    def _word(self, one: Any) -> str | None:
        if isinstance(one, str):
            return one if self.known is None or one in self.known else None
        if not isinstance(one, int) or one < 0:
            return None
        return str(one) if self.known is None else self.known[one] if one < len(self.known) else None

    def of_rows(self, labels_NL: np.ndarray, where: str) -> np.ndarray:
        """Classes (N) of rows of 0 and 1, a column for each label that is known."""
        assert self.known is not None and labels_NL.shape[1] == len(self.known)
        if not np.isin(labels_NL, (0, 1)).all():
            raise ValueError(f"{where} has labels other than 0 and 1 in a row; mend them")
        heeded_NK = labels_NL[:, [self.known.index(name) for name in self.order]].astype(bool)
        for labelled in (False, True):
            some_N = (labels_NL.any(axis=1) == labelled) & ~heeded_NK.any(axis=1)
            self._count(int(some_N.sum()), labelled, False)
        if self.how == "combination":
            return heeded_NK @ (1 << np.arange(len(self.order)))
        return np.where(heeded_NK.any(axis=1), heeded_NK.argmax(axis=1), len(self.order))

    def told(self) -> str:
        """How several labels became one class, and how many images had none to heed, once all were asked for."""
        order = ", ".join(self.order)
        rule = "that comes first in" if self.how == "most-frequent" else "of its combination of"
        counts = [f"{self.without[what]:,} {what}" for what in (UNLABELLED, OTHERS) if self.without[what]]
        none = f": {' and '.join(counts)}" if counts else ""
        return f"several labels per image, each of the class {rule} {order}, or {NONE}{none}"


def _refuse_other_spellings(order: Sequence[str], labels: Collection[str], label: str) -> None:
    """ValueError where some of `labels`, which are those of a source, would not be heeded for a capital letter or
    what stands between words."""
    others = {_spelled(name): name for name in sorted(set(labels).difference(order))}
    for name in order:
        if (there := others.get(_spelled(name))) is not None:
            mend = "give both one spelling, or name both" if name in labels else "spell it so"
            raise ValueError(f"{label}: data.label_order names {name!r}, and images have the label {there!r}; {mend}")


def _spelled(name: str) -> str:
    """What another spelling of the same label has too."""
    # What stands at an end is a part of it: HER2-, -1.
    return re.sub(r"(?<=\w)[\s_.,;/-]+(?=\w)", " ", unicodedata.normalize("NFKC", name).casefold().strip())


def _nowhere(name: str, others: list[str]) -> str:
    near = get_close_matches(name, others, 1, 0.75)
    meant = f" Was {near[0]!r} meant?" if near else ""
    return f"No image has the label {name!r}, which --data.label-order names: check how it is spelled.{meant}"


def check_one(several: Several | None, label: str) -> None:
    """ValueError where something is said of several labels, and there is one."""
    if several is not None:
        raise ValueError(f"data.multi_label={several.how!r} is given, but {label} has one label each; leave it out")
