"""Which classes classifiers recognise and which they take for others: counted from their answers to test images.

Intervals hold 95 % and tell of the test images alone: other images would have answered otherwise. What another seed
of a classifier, or another release, would have changed is not in them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z = 1.959964
"""Standard deviations of a normal distribution around its mean that hold 95 % of it."""
MOST_CONFUSED = 20
"""Classes up to which confusion is told cell by cell."""
NEAR = 0.1
"""How far beyond one in so many classes an interval may reach that still shows guessing: so far at most, and no further
than twice that share."""
COMMON = 10
"""Mistakes that are named, the most frequent first."""
Whose = NDArray[np.int64] | None
"""Whose each test image is; None where no persons are named, and each counts by itself."""
Answers = Mapping[str, NDArray[np.int64]]
"""What each classifier called each test image, (C, N), by what they were trained on: synthetic, real, floor."""


def by_class(
    said: Answers, labels_N: NDArray[np.int64], class_names: tuple[str, ...], whose_N: Whose = None
) -> dict[str, Any]:
    """Class by class, over all classifiers of `said`, of which `synthetic` is one source.

    Returns lists in the order of the classes, None for one without a test image: {test_images, accuracy, accuracy_low,
    accuracy_high and accuracy_<source> of the others}, where accuracy is the share of a class's test images that are
    called so, a mean over classifiers; `failed`: [{class, index, why, real_too}] with `why` a list of `chance` (the
    interval reaches guessing, one in so many classes, and little beyond), `few` (it holds that, and much more) and
    `floor` (worse than from the floor's images, image by image), and whether what learned from real images is at chance
    there too (None where nothing did); `mistakes`:
    [{class, taken_for, share}], the most frequent; `confusion`: by source, how often an image of the row's class was
    called the column's, all classifiers together, left out for more than MOST_CONFUSED classes.
    """
    classes = len(class_names)
    right = {source: (some == labels_N).mean(0) for source, some in said.items()}
    of_class = [np.flatnonzero(labels_N == label) for label in range(classes)]
    found: dict[str, Any] = {"test_images": [len(some) for some in of_class]}
    whose = [None if whose_N is None else whose_N[some] for some in of_class]
    limits = [
        share_of(right["synthetic"][some], persons_N) if len(some) else None
        for some, persons_N in zip(of_class, whose, strict=True)
    ]
    for source, reached_N in right.items():
        field = "accuracy" if source == "synthetic" else f"accuracy_{NAMES.get(source, source)}"
        found[field] = [float(reached_N[some].mean()) if len(some) else None for some in of_class]
    found["accuracy_low"] = [None if one is None else one[0] for one in limits]
    found["accuracy_high"] = [None if one is None else one[1] for one in limits]
    found["failed"] = [
        {
            "class": class_names[label],
            "index": label,
            "why": why,
            "real_too": _guesses(right["real"][some], classes, whose[label]) if "real" in right else None,
        }
        for label, some in enumerate(of_class)
        if (why := _failures(right, some, classes, limits[label], whose[label]))
    ]
    counted = {source: confusion(some, labels_N, classes) for source, some in said.items()}
    found["mistakes"] = _mistakes(counted["synthetic"], class_names)
    if classes <= MOST_CONFUSED:
        found["confusion"] = {source: counts.tolist() for source, counts in counted.items()}
    return found


NAMES = {"real": "real_data"}
"""What a source is called in the names of fields, where otherwise than here."""


def _failures(
    right: Mapping[str, NDArray[np.float64]], some: NDArray[np.int64], classes: int,
    within: tuple[float, float] | None, whose_N: Whose,
) -> list[str]:  # fmt: skip
    if within is None:
        return []
    why = [] if within[0] > 1 / classes else ["chance"] if within[1] <= _at_chance(classes) else ["few"]
    if "floor" in right and difference(right["synthetic"][some], right["floor"][some], whose_N)["high"] < 0:
        why.append("floor")
    return why


def _guesses(right_N: NDArray[np.float64], classes: int, whose_N: Whose) -> bool:
    """Whether these test images, of which there are some, show that they are guessed."""
    low, high = share_of(right_N, whose_N)
    return low <= 1 / classes and high <= _at_chance(classes)


def _at_chance(classes: int) -> float:
    """Share of a class up to which it is called guessed. What lies beyond it is not excluded by test images whose
    interval reaches there, however few of them were named rightly."""
    return min(2 / classes, 1 / classes + NEAR)


def confusion(said_CN: NDArray[np.int64], labels_N: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(K, K): how often an image of the row's class was called the column's, by all C classifiers together."""
    cells = labels_N * classes + said_CN
    return np.bincount(cells.ravel(), minlength=classes**2).reshape(classes, classes)


def _mistakes(counts_KK: NDArray[np.int64], class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The most frequent of all, each as a share of its class's images."""
    wrong_KK = counts_KK / np.maximum(counts_KK.sum(1, keepdims=True), 1)
    np.fill_diagonal(wrong_KK, 0)
    order = np.argsort(-wrong_KK, axis=None, kind="stable")[:COMMON]
    pairs = [divmod(int(cell), len(class_names)) for cell in order]
    return [
        {"class": class_names[row], "taken_for": class_names[column], "share": float(wrong_KK[row, column])}
        for row, column in pairs
        if wrong_KK[row, column] > 0
    ]


def share_of(right_N: NDArray[np.float64], whose_N: Whose = None) -> tuple[float, float]:
    """Wilson's interval of the mean of `right`, in [0, 1], over test images, or persons with all their images."""
    return wilson(float(right_N.mean()), len(right_N) / alike(right_N, whose_N))


def alike(values_N: NDArray[np.float64], whose_N: Whose) -> float:
    """How many times as large the variance of a mean is as that of independent images, as several are one person's.

    Each person left out in turn, for one with many images draws the mean to itself, and by Student's law, for persons
    may be few; at most so that all images count as one. Where nothing varies all images of a person are taken for the
    same.
    """
    if whose_N is None:
        return 1.0
    _, who_N, images_P = np.unique(whose_N, return_inverse=True, return_counts=True)
    persons, count = len(images_P), len(values_N)
    if persons in (1, count):
        return float(count if persons == 1 else 1)
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy import stats

    few = float(stats.t.ppf(0.975, persons - 1) / Z) ** 2
    apart_N = values_N - values_N.mean()
    if not (alone := float(np.square(apart_N).sum())):
        return min(few * float(np.square(images_P).sum()) / count, count)
    together_P = np.bincount(who_N, apart_N) / (1 - images_P / count)
    together = float(np.square(together_P).sum()) * (persons - 1) / persons
    return min(few * max(1.0, together / alone), count)


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's interval (1927) of a proportion of `count`; also of a mean of several classifiers' proportions on the
    same images, which varies no more than one of them."""
    spread = Z**2 / count
    centre = (share + spread / 2) / (1 + spread)
    reach = Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def difference(right_N: NDArray[np.float64], other_N: NDArray[np.float64], whose_N: Whose = None) -> dict[str, float]:
    """{value, low, high} of mean(right) - mean(other), both in [0, 1] and of the same test images.

    Image by image, for what is hard for one is hard for the other: Agresti and Min (2005), whose two further images
    (half of one in each cell of the table of pairs) keep the interval from vanishing where all agree; wider by what
    images of one person have in common, see `alike`.
    """
    apart_N, count = right_N - other_N, len(right_N) + 2
    mean = apart_N.sum() / count
    deviation = math.sqrt(((np.square(apart_N).sum() + 1) / count - mean**2) / count * alike(apart_N, whose_N))
    limits = max(-1.0, mean - Z * deviation), min(1.0, mean + Z * deviation)
    return {"value": float(apart_N.mean()), "low": float(limits[0]), "high": float(limits[1])}
