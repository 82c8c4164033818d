"""The images an attack is about: members and non-members that differ in nothing but membership, as far as one can see.

An attack that is handed cats as members and dogs as non-members tells cats from dogs. So both sides get the same mix of
classes, by leaving images out, and no image lies on both sides or twice on one. Where persons are named they are drawn
and left out as a whole, each as one of the class that most of their images are of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks.whose import Whose
from raysyn.data.by_person import in_order, side_by_side
from raysyn.data.images import Images
from raysyn.data.mapped import concatenated

FEWEST = 2
"""Images (or persons) that each side needs."""
NEARLY = 0.9
# Why an image is left out.
SHARED, COPIES = "the same image lies on both sides", "a copy of another image of its side"
LONELY, MIX = "the other side has none of its class", "both sides shall have one mix of classes"
Counts = NDArray[np.int64]


class Pool(NamedTuple):
    """Members first; persons are numbered as they come."""

    images: Images
    members_N: np.ndarray
    left_out: dict[str, dict[str, int]]
    """{"members", "others": {reason: images}}, of all that there were."""
    rows_N: NDArray[np.int64]
    """Which image of its side each is."""


def make_pool(members: Images, others: Images, most: int | None, seed: int) -> Pool:
    """What can be compared of both sides, at most `most` images (or persons) of each, drawn without replacement.

    Raises ValueError where hardly anything is left.
    """
    sides = (members, others)
    single, copies = zip(*_distinct(members, others), strict=True)
    whose = [_whose(side, rows) for side, rows in zip(sides, single, strict=True)]
    labels = [one.classes(side.labels_N[rows]) for one, side, rows in zip(whose, sides, single, strict=True)]
    there = [np.bincount(side, minlength=members.classes) for side in labels]
    both = (there[0] > 0) & (there[1] > 0)
    wanted = matched(np.where(both, there[0], 0), np.where(both, there[1], 0), most)
    if (least := min(int(counts.sum()) for counts in wanted)) < FEWEST:
        what = f" {least} persons" if "person" in {one.word for one in whose} else f" {least}"
        raise ValueError(
            f"attack: of {len(members):,} training and {len(others):,} test images only{what} of a side can be "
            "compared, since both need the same classes and no image may lie on both: give test images of the classes "
            "in training that are no training images"
        )
    chosen, kept, left_out = [], [], {}
    for index, (name, side) in enumerate(zip(("members", "others"), sides, strict=True)):
        drawn_U = np.isin(np.arange(len(labels[index])), _drawn(labels[index], wanted[index], [seed, index]))
        rows = single[index][whose[index].images_of(drawn_U)]
        chosen.append(side.select(rows))
        kept.append(rows)
        lonely = int(whose[index].images_of(~both[labels[index]]).sum())
        reason = MIX if most is None or most >= len(drawn_U) else f"{MIX}, and attack.images asks for fewer"
        left_out[name] = {**copies[index], LONELY: lonely, reason: len(single[index]) - lonely - len(rows)}
    persons_N = side_by_side(*((side.persons_N, len(side)) for side in chosen))
    images = Images(
        concatenated([side.images_NHWC for side in chosen]),
        np.concatenate([side.labels_N for side in chosen]),
        members.class_names,
        None if persons_N is None else in_order(persons_N),
    )
    return Pool(images, np.arange(len(images)) < len(chosen[0]), left_out, np.concatenate(kept))


def matched(members_K: Counts, others_K: Counts, most: int | None = None) -> tuple[Counts, Counts]:
    """How many images of each class to keep on each side, so that the mix is the same up to rounding.

    Every class that both sides have keeps at least one image on each; of more classes than images the most frequent.

    There are r members to each non-member, in every class. A large r keeps the members' own mix, which is what the
    target learned from and its shadow models then learn from too; so it is the largest one that leaves nearly the
    certainty of the best: the variance of the area under the ROC curve falls with members * others / (both).
    Of ratios that leave the same certainty it is the one with more non-members, who resolve low false-positive rates.
    """
    there = (members_K > 0) & (others_K > 0)
    if not there.any():
        return np.zeros_like(members_K), np.zeros_like(others_K)
    sides = [np.where(there, members_K, 0.0), np.where(there, others_K, 0.0)]
    if most is not None:
        sides = [side * min(1.0, most / side.sum()) for side in sides]
    members, others = sides
    ratios = np.unique(members[there] / others[there])
    # Between two of these ratios the certainty is monotone, so that the best is among them.
    certain = ratios / (1 + ratios) * [np.minimum(others, members / ratio).sum() for ratio in ratios]
    chosen = certain[certain >= NEARLY * certain.max()][-1]
    ratio = ratios[np.isclose(certain, chosen, rtol=1e-9, atol=0)][0]
    shares = np.minimum(others, members / ratio)
    # The scarcer side is rounded first, for an image more or less is more of it.
    if ratio >= 1:
        few = _rounded(shares, others_K, most)
        return _both(_rounded(few * ratio, members_K, most), few)
    few = _rounded(shares * ratio, members_K, most)
    return _both(few, _rounded(few / ratio, others_K, most))


def _both(members_K: Counts, others_K: Counts) -> tuple[Counts, Counts]:
    """Without classes for which `most` left a side no place."""
    there = (members_K > 0) & (others_K > 0)
    return np.where(there, members_K, 0), np.where(there, others_K, 0)


def _rounded(shares_K: NDArray[np.float64], most_K: Counts, most: int | None) -> Counts:
    """Whole numbers that add up to the sum rounded down, by largest remainders, after one for each share above 0, the
    largest ones first; never above `most_K`, nor in all above `most`."""
    if most is not None:
        # Where a scarce class was rounded up, what goes with it may be too many.
        shares_K = shares_K * min(1.0, most / shares_K.sum())
    wanted = int((shares_K > 0).sum())
    # A hair more, lest 3 be counted as 2.9999999.
    total = max(int(np.floor(shares_K.sum() + 1e-9)), wanted if most is None else min(wanted, most))
    first = np.argsort(-shares_K, kind="stable")[: min(total, wanted)]
    whole = np.zeros(len(shares_K))
    whole[first] = np.maximum(1, np.floor(shares_K + 1e-9)[first])
    while whole.sum() > total:
        # What one class got beyond its share is taken from those that lose least by it.
        whole[np.argmax(np.where(whole > 1, whole - shares_K, -np.inf))] -= 1
    rest = shares_K - whole
    whole[np.argsort(-rest, kind="stable")[: int(total - whole.sum())]] += 1
    return np.minimum(whole, most_K).astype(np.int64)


def _whose(side: Images, rows: NDArray[np.int64]) -> Whose:
    """Whose these images of a side are, by who comes first: of one image each, as without names."""
    return Whose(None if side.persons_N is None else in_order(side.persons_N[rows]))


def _drawn(labels_U: Counts, wanted_K: Counts, key: list[int]) -> NDArray[np.int64]:
    """Places of `wanted_K` random images (or persons) of each class."""
    order = np.random.default_rng(key).permutation(len(labels_U))
    parts = [order[labels_U[order] == label][:count] for label, count in enumerate(wanted_K)]
    return np.concatenate(parts)


def _distinct(members: Images, others: Images) -> Iterator[tuple[NDArray[np.int64], dict[str, int]]]:
    """For each side the places of images that are once in it and not on the other, and how many are not."""
    each = [prints(side) for side in (members, others)]
    for own, other in (each, each[::-1]):
        shared = np.isin(own, other)
        first = np.zeros(len(own), bool)
        first[np.unique(own, return_index=True)[1]] = True
        yield (
            np.flatnonzero(first & ~shared),
            {SHARED: int(shared.sum()), COPIES: int((~first & ~shared).sum())},
        )


def prints(images: Images) -> NDArray[np.bytes_]:
    """16 bytes for each image's pixels."""
    found = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images.images_NHWC]
    return np.array(found, "S32")
