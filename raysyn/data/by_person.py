"""Arrays of whose images are whose: numbered, put side by side, and bounded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysyn.data.persons import renumbered


def in_order(persons_N: np.ndarray) -> np.ndarray:
    """The same persons as 0 to their number, in the order in which each comes first: of one image each, its place."""
    _, first, inverse_N = np.unique(persons_N, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse_N].astype(np.int64)


def side_by_side(*sides: tuple[np.ndarray | None, int]) -> np.ndarray | None:
    """Whose the images of several sides are, each given as its persons and its number of images: nobody is on two, and
    who has no name is somebody of their own. None where nobody is named at all."""
    if all(persons_N is None for persons_N, _ in sides):
        return None
    found, begun = [], 0
    for persons_N, images in sides:
        found.append(begun + (np.arange(images) if persons_N is None else renumbered(persons_N)))
        begun = max(begun, int(found[-1].max(initial=-1)) + 1)
    return np.concatenate(found)


def first_of_each(persons_N: np.ndarray, digests: Sequence[bytes], most: int) -> np.ndarray:
    """Sorted places of at most `most` images of each person: those with the smallest digests, of which each is of its
    image alone, so that who else is among the persons, and with how many images, changes nothing."""
    order = sorted(range(len(digests)), key=lambda at: (persons_N[at], digests[at]))
    count_U = np.bincount(persons_N)
    place_N = np.arange(len(order)) - np.repeat(np.cumsum(count_U) - count_U, count_U)
    return np.sort(np.array(order, np.int64)[place_N < most])
