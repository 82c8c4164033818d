"""Who takes part in each step, and the random streams that every private answer draws its noise from.

A run draws one 32-byte secret from the operating system; all else here is a pure function of it. A step that
is run again after a crash, or is cut differently over ranks, therefore releases the same bytes again, and is
paid once. Whoever holds the secret can subtract the noise: it belongs in the run's `internal/` folder.
"""

from __future__ import annotations

import hmac
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SECRET_BYTES = 32
AT_ONCE = 1 << 15
"""Pairs of normal numbers drawn together, few enough for a core's cache."""
SMALL = 1 << 32
"""Words of a radius below it, one of four thousand millions, get further bits. Without them no number lay beyond 8.6,
so that an answer beyond could come of nothing but a record that is there: a promise broken where epsilon is large or
delta tiny."""
MORE_WORDS, MORE_START = 15, 1 << 100
"""How many at most, and where the key's stream has them: beyond whatever else is taken from it."""
FILLED_AT_ONCE = 1 << 17
"""Words drawn together where nothing but AES is done."""


@dataclass(frozen=True)
class Stream:
    """Random numbers that are a pure function of (secret, stage, step, purpose).

    Guarantee: the bits are the AES-256-CTR key stream under the key HMAC-SHA256(secret, stage | step |
    purpose), so draws of two different (stage, step, purpose) are independent as far as AES and HMAC are
    pseudo-random. Use one purpose for one draw: the same purpose again, even with another `n`, repeats bits.

    Limit: normals are float64 numbers from Box-Muller, not exact discrete Gaussians. Attacks that read the
    low-order bits of floating-point noise (Mironov 2012; Jin et al. 2022) are not ruled out, here as in other
    DP-SGD libraries; the accounting treats the noise as real-valued, and as if it had no end. It ends at 37.7, which
    matters where one record moves an answer by some thirty standard deviations: noise multipliers below 0.05. Bytes
    may differ between CPU types, and on a GPU, whose sine and logarithm differ in the last bit.
    """

    secret: bytes = field(repr=False)
    stage: str

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"secret has {len(self.secret)} bytes: draw one by secrets.token_bytes({SECRET_BYTES})")

    def uniform(self, step: int, purpose: str, n: int) -> NDArray[np.float64]:
        """`n` float64 numbers in the open interval (0, 1), evenly spaced odd multiples of 2**-53."""
        return _to_unit(_words(self._key("uniform", step, purpose), n))

    def normal(self, step: int, purpose: str, n: int) -> NDArray[np.float64]:
        """`n` independent float64 standard normal numbers (Box-Muller; none lies beyond 37.7)."""
        half = (n + 1) // 2
        both, key = np.empty(2 * half), self._key("normal", step, purpose)
        for start in range(0, half, AT_ONCE):
            count = min(AT_ONCE, half - start)
            words, angle = _words(key, count, start), _to_unit(_words(key, count, half + start))
            radius = _to_unit(words)
            for place, part in _tails(key, words, start):
                radius[place] = part
            np.log(radius, out=radius)
            np.sqrt(np.multiply(radius, -2.0, out=radius), out=radius)
            angle *= 2.0 * np.pi
            np.multiply(radius, np.cos(angle), out=both[start : start + count])
            np.multiply(radius, np.sin(angle, out=angle), out=both[half + start : half + start + count])
        return both[:n]

    def fill(self, step: int, purpose: str, words: NDArray[np.uint64], threads: int = 1) -> list[tuple[int, float]]:
        """Fill `words` with the bits that `normal` makes as many numbers of: the first half of them is for radii, the
        second for angles. For whoever does the rest elsewhere (see `noise_on_gpu`). Of radii that have further bits the
        places, and what they are as parts of 1."""
        key, zeros = self._key("normal", step, purpose), bytes(8 * min(FILLED_AT_ONCE, len(words)))

        def draw(start: int) -> None:
            part = words[start : start + FILLED_AT_ONCE]
            _cipher(key, start // 2).update_into(zeros[: part.nbytes], part.view(np.uint8).data)

        with ThreadPoolExecutor(threads) as pool:  # AES does not hold Python's lock
            list(pool.map(draw, range(0, len(words), FILLED_AT_ONCE)))
        if sys.byteorder == "big":
            words.byteswap(inplace=True)
        return _tails(key, words[: len(words) // 2], 0)

    def seed(self, step: int, purpose: str, index: int) -> int:
        """One integer in [0, 2**63), for instance the seed of record `index`'s augmentation at this step."""
        return int.from_bytes(self._key("seed", step, purpose, index)[:8], "big") >> 1

    def _key(self, kind: str, step: int, purpose: str, index: int = 0) -> bytes:
        # The kind keeps uniform("x") and normal("x") apart; the length before each part keeps ("ab", "c") and
        # ("a", "bc") apart.
        parts = (part.encode() for part in ("raysyn 1", kind, self.stage, str(step), purpose, str(index)))
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self.secret, message, "sha256")


def _words(key: bytes, n: int, start: int = 0) -> NDArray[np.uint64]:
    """Words `start` to `start + n` of the stream under a key; two make a block."""
    # Little-endian by name, so that another byte order draws the same numbers.
    return np.frombuffer(_cipher(key, start // 2).update(bytes(8 * (n + start % 2))), dtype="<u8")[start % 2 :]


def _cipher(key: bytes, block: int) -> Any:
    """The stream under a key, from a block on."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    # Counting from 0 is sound here because each key encrypts one message only.
    return Cipher(algorithms.AES(key), modes.CTR(block.to_bytes(16, "big"))).encryptor()


def _to_unit(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    # 52 random bits and a half: exact in float64 and never 0 or 1, so that a logarithm is always finite.
    unit = (words >> np.uint64(12)).astype(np.float64)
    unit += 0.5
    unit *= 2.0**-52
    return unit


def _tails(key: bytes, words: NDArray[np.uint64], start: int) -> list[tuple[int, float]]:
    """Of the words of radii `start` and those that follow, the smallest: their places among them, and what they are as
    parts of 1, to all of a float64's bits."""
    places = np.flatnonzero(words < SMALL).tolist()
    return [(place, _tail(key, int(words[place]), start + place)) for place in places]


def _tail(key: bytes, word: int, at: int) -> float:
    """What follows `word` behind the point, in further words until one has begun with enough."""
    bits, used = word, 64
    for more in _words(key, MORE_WORDS, MORE_START + (MORE_WORDS + 1) * at).tolist():
        bits, used = bits << 64 | more, used + 64
        if bits >> 64:
            break
    # Beyond them all, a half: never 0, so that a logarithm is finite.
    return math.ldexp(bits + 0.5, -used)


def participants(stream: Stream, step: int, n: int, sampling_rate: float) -> NDArray[np.int64]:
    """Sorted int64 indices of the records that take part in `step`: each joins with `sampling_rate`.

    This is Poisson sampling, which the accountant of `cost.py` assumes; the number of indices is binomial and
    may be 0, and such a step still has to add its noise. The mask depends on nothing but the stream, the step
    and n, so ranks agree on it without talking.
    """
    if not 0.0 < sampling_rate <= 1.0:
        raise ValueError(f"sampling_rate is {sampling_rate}: give a rate in (0, 1]")
    return np.flatnonzero(stream.uniform(step, "participants", n) < sampling_rate)
