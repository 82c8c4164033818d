"""Which images a run was made of, so that another run on some of them is told: a few keyed hashes, in an account.

Of each image there is a hash under the account's random key, and of all hashes the smallest are kept. As hashes fall
like lots, these are a fair sample of the images; and as the same image always draws the same lot, two samples show how
much two runs share. Where images are named by persons, it is kept which of these are the same person's, so that two
runs that divide images of both into other persons are told. It stays inside: who has key and image can tell whether the
image is in the sample.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 1_024
"""Hashes kept: a share of 50 % is told to 1.6 points (standard deviation)."""
FEWEST = 16
"""Hashes that two samples must have in one range, for a share to be told."""
SEVERAL, PART, COMMON = 4, 1 / 10, 1 / 10
"""Of persons named otherwise: how many images must say so, at least and of those that can tell; and which share of the
images of the run that has fewer both must have."""
_TYPE, _PERSON = ">u8", ">i2"


class Shared(NamedTuple):
    """What two sketches tell of the images that two runs share."""

    share: float
    of: int
    """Images that were compared."""
    exact: bool
    """Whether these are all: else the share is that of a sample, where none need not be none."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """The smallest hashes of some images, different and in order."""

    hashes: NDArray[np.uint64]
    images: int
    """Different images that they are of."""
    persons: NDArray[np.int64] | None = None
    """Number of the person of each, in this sketch alone; below 0 where that is not one. None where nobody is named."""

    @classmethod
    def of(cls, digests: Iterable[bytes], key: bytes, whose: Sequence[int] | None = None) -> Sketch:
        """Of images by their digests (`data.copies.digest`), and of the persons whose these are, if they are named; a
        copy counts once."""
        drawn = b"".join(hashlib.blake2b(one, key=key, digest_size=8).digest() for one in digests)
        found, at = np.unique(np.frombuffer(drawn, _TYPE), return_index=True)
        found = found.astype(np.uint64)
        persons = None
        if whose is not None:
            named = np.asarray(whose, np.int64)[at[:SIZE]]
            persons = np.where(named < 0, -1, np.unique(named, return_inverse=True)[1])
        return cls(found[:SIZE], len(found), persons)

    def divides_otherwise(self, other: Sketch) -> bool:
        """Whether images that both have are divided into other persons there than here, as far as these samples tell.

        Take each person here for the person there with whom they have most images in common, nobody twice. An image
        of two who are not taken for each other says otherwise. One such may be chance, as a blank scan that two
        persons have, of whom each run has another one. So there must be SEVERAL, and PART of those that can tell: that
        are of somebody with a further common image, or as many as are expected to where the sample is thin. And the
        runs must have COMMON of the images of the smaller one in common: those of other people share blank ones alone.
        """
        if self.persons is None or other.persons is None:
            return False
        _, here, there = np.intersect1d(self.hashes, other.hashes, assume_unique=True, return_indices=True)
        pairs = np.stack([self.persons[here], other.persons[there]])
        pairs = pairs[:, (pairs >= 0).all(axis=0)]
        both, times = np.unique(pairs, axis=1, return_counts=True)
        if all(both.shape[1] == len(np.unique(one)) for one in both):
            return False
        otherwise = pairs.shape[1] - _matched(both, times)
        shared = [np.unique(one, return_inverse=True, return_counts=True)[1:] for one in pairs]
        telling = int(np.any([counts[at] > 1 for at, counts in shared], axis=0).sum())
        end, thin = self._compared(other)
        fewer = min(int((one.hashes <= end).sum()) for one in (self, other))
        return (
            otherwise >= max(SEVERAL, PART * max(telling, thin * pairs.shape[1])) and pairs.shape[1] >= COMMON * fewer
        )

    def _compared(self, other: Sketch) -> tuple[int, float]:
        """(the last hash up to which both samples have every image, which share of all images these are)."""
        # Up to the last one of a full sample it has every hash that its images drew.
        most = np.iinfo(np.uint64).max
        ends = [int(one.hashes[-1]) for one in (self, other) if one.images > len(one.hashes)]
        end = min(ends, default=int(most))
        return end, end / int(most)

    def share_in(self, other: Sketch) -> Shared | None:
        """Which share of these images are among the other ones too; None where the samples cannot tell."""
        mine = self.hashes[self.hashes <= self._compared(other)[0]]
        if len(mine) < max(1, min(FEWEST, self.images)):
            return None
        return Shared(float(np.isin(mine, other.hashes).mean()), len(mine), len(mine) == self.images)

    def to_text(self) -> str:
        """The hashes, for a line of the account."""
        return base64.b64encode(self.hashes.astype(_TYPE).tobytes()).decode()

    def persons_to_text(self) -> str | None:
        """The persons, for the same line."""
        return None if self.persons is None else base64.b64encode(self.persons.astype(_PERSON).tobytes()).decode()

    @classmethod
    def from_text(cls, text: str, images: int, persons: str | None = None) -> Sketch:
        """What `to_text` and `persons_to_text` wrote; ValueError for what they did not."""
        found = np.frombuffer(base64.b64decode(text, validate=True), _TYPE).astype(np.uint64)
        if len(found) != min(images, SIZE) or (found[1:] <= found[:-1]).any():
            raise ValueError(f"{len(found)} hashes of {images} images")
        if persons is None:
            return cls(found, images)
        named = np.frombuffer(base64.b64decode(persons, validate=True), _PERSON).astype(np.int64)
        if len(named) != len(found):
            raise ValueError(f"{len(named)} persons of {len(found)} hashes")
        return cls(found, images, named)


def _matched(both: NDArray[np.int64], times: NDArray[np.int64]) -> int:
    """How many images are of two persons who are taken for each other: `both` are pairs of one here and one there,
    `times` how many images each has; those with most first."""
    here, there, matched = set[int](), set[int](), 0
    for at in np.argsort(-times, kind="stable").tolist():
        one, other = both[:, at].tolist()
        if one not in here and other not in there:
            here.add(one)
            there.add(other)
            matched += int(times[at])
    return matched
