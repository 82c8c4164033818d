"""Which images a run was made of, so that another run on some of them is told: a few keyed hashes, in an account.

Of each image there is a hash under the account's random key, and of all hashes the smallest are kept. As hashes fall
like lots, these are a fair sample of the images; and as the same image always draws the same lot, two samples show how
much two runs share. It stays inside: who has key and image can tell whether the image is in the sample.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 1_024
"""Hashes kept: a share of 50 % is told to 1.6 points (standard deviation)."""
FEWEST = 16
"""Hashes that two samples must have in one range, for a share to be told."""
_TYPE = ">u8"


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

    @classmethod
    def of(cls, digests: Iterable[bytes], key: bytes) -> Sketch:
        """Of images by their digests (`data.copies.digest`); a copy counts once."""
        drawn = b"".join(hashlib.blake2b(one, key=key, digest_size=8).digest() for one in digests)
        found = np.unique(np.frombuffer(drawn, _TYPE)).astype(np.uint64)
        return cls(found[:SIZE], len(found))

    def share_in(self, other: Sketch) -> Shared | None:
        """Which share of these images are among the other ones too; None where the samples cannot tell."""
        # Up to the last one of a full sample it has every hash that its images drew.
        ends = [one.hashes[-1] for one in (self, other) if one.images > len(one.hashes)]
        mine = self.hashes[self.hashes <= min(ends)] if ends else self.hashes
        if len(mine) < max(1, min(FEWEST, self.images)):
            return None
        return Shared(float(np.isin(mine, other.hashes).mean()), len(mine), len(mine) == self.images)

    def to_text(self) -> str:
        """The hashes, for a line of the account."""
        return base64.b64encode(self.hashes.astype(_TYPE).tobytes()).decode()

    @classmethod
    def from_text(cls, text: str, images: int) -> Sketch:
        """What `to_text` wrote; ValueError for what it did not."""
        found = np.frombuffer(base64.b64decode(text, validate=True), _TYPE).astype(np.uint64)
        if len(found) != min(images, SIZE) or (found[1:] <= found[:-1]).any():
            raise ValueError(f"{len(found)} hashes of {images} images")
        return cls(found, images)
