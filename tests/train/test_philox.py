"""Counter-based random numbers: the published answers, and normal numbers that hang on their key alone."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from raysyn.train import philox

LOW = 0xFFFFFFFF


def key(low: int, high: int) -> torch.Tensor:
    whole = high << 32 | low
    return torch.tensor([whole - (1 << 64) if whole >> 63 else whole])


@pytest.mark.parametrize(
    ("halves", "counter", "answer"),
    [
        ((0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        # Random123's second and third vector have all four words of the counter set; these are its generator's answers
        # to a counter in the lower half, from a slow version in Python's whole numbers.
        ((0xA4093822, 0x299F31D0), 0x85A308D3243F6A88, None),
        ((LOW, LOW), (1 << 63) - 1, None),
    ],
)
def test_words_are_those_of_philox(halves: tuple[int, int], counter: int, answer: tuple[int, ...] | None) -> None:
    counter &= (1 << 63) - 1
    found = tuple(philox.words(key(*halves), torch.tensor([counter]))[0, 0].tolist())
    assert found == slow([counter & LOW, counter >> 32, 0, 0], list(halves))
    assert answer is None or found == answer


def slow(x: list[int], k: list[int]) -> tuple[int, ...]:
    """Salmon et al. 2011, one round after the other."""
    for _ in range(10):
        first, second = x[0] * 0xD2511F53, x[2] * 0xCD9E8D57
        x = [(second >> 32) ^ x[1] ^ k[0], second & LOW, (first >> 32) ^ x[3] ^ k[1], first & LOW]
        k = [(k[0] + 0x9E3779B9) & LOW, (k[1] + 0xBB67AE85) & LOW]
    return tuple(x)


def test_the_slow_version_has_the_published_answers() -> None:
    assert slow([LOW] * 4, [LOW] * 2) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    counter = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    assert slow(counter, [0xA4093822, 0x299F31D0]) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def test_numbers_are_normal_and_a_row_hangs_on_its_key_alone() -> None:
    keys = torch.tensor([5, 1 << 62, 0, 7])
    rows = philox.normals(keys, 100_001)
    assert rows.shape == (4, 100_001) and rows.dtype == torch.float32 and torch.isfinite(rows).all()
    for row in rows:  # fixed numbers: the level only says how odd they would have to be
        assert stats.kstest(row.numpy(), "norm").pvalue > 1e-3
    assert (torch.corrcoef(rows) - torch.eye(4)).abs().max() < 0.02
    torch.testing.assert_close(philox.normals(keys[2:], 100_001), rows[2:], rtol=0, atol=0)
    torch.testing.assert_close(philox.normals(keys, 10), rows[:, :10], rtol=0, atol=0)
