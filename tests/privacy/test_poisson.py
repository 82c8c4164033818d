"""Streams are pure and independent, and sampling is Poisson. Secrets are fixed, so these tests never flicker."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from raysyn.privacy import poisson
from raysyn.privacy.noise_on_gpu import Noise, normals
from raysyn.privacy.poisson import Stream, participants

A = Stream(bytes(range(32)), "finetune")
N = 200_000


# Not `st.text`, which looks through all characters for seconds.
TEXTS = st.lists(st.integers(0, 0xD7FF).map(chr), max_size=20).map("".join)


@settings(max_examples=25, deadline=None)
@given(step=st.integers(0, 2**40), purpose=TEXTS, n=st.integers(0, 65))
def test_draws_are_pure_functions(step: int, purpose: str, n: int) -> None:
    again = Stream(bytes(range(32)), "finetune")
    for kind in ("uniform", "normal"):
        first = getattr(A, kind)(step, purpose, n)
        assert first.dtype == np.float64 and first.shape == (n,) and np.isfinite(first).all()
        np.testing.assert_array_equal(first, getattr(again, kind)(step, purpose, n))
    assert A.seed(step, purpose, n) == again.seed(step, purpose, n)
    assert 0 <= A.seed(step, purpose, n) < 2**63


def test_known_bytes() -> None:
    """A change of these numbers would make continued runs release other noise: it needs a new run format."""
    np.testing.assert_allclose(A.uniform(3, "x", 2), [0.3948059618396004, 0.16855674868673465], rtol=0, atol=0)
    np.testing.assert_allclose(A.normal(3, "x", 2), [-1.768049371443635, 0.45413222163615047], rtol=1e-14)
    assert A.seed(3, "x", 5) == 3873058703082198566


def test_draws_follow_their_distributions() -> None:
    """Kolmogorov-Smirnov at level 1e-3 for the fixed secret; moments within 5 standard errors."""
    uniform, normal = A.uniform(0, "u", N), A.normal(0, "n", N)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert uniform.min() > 0 and uniform.max() < 1
    assert abs(normal.mean()) < 5 / N**0.5
    assert abs(normal.var() - 1) < 5 * (2 / N) ** 0.5
    assert abs(stats.kurtosis(normal)) < 5 * (24 / N) ** 0.5


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_draws_of_other_steps_stages_and_purposes_are_independent(kind: str) -> None:
    """Correlations stay below 5 standard errors: chance of failing 6e-7 each for a random secret."""
    others = {
        "step": getattr(A, kind)(2, "x", N),
        "purpose": getattr(A, kind)(1, "y", N),
        "stage": getattr(Stream(A.secret, "central"), kind)(1, "x", N),
        "shifted": np.roll(getattr(A, kind)(1, "x", N), 1),
        "halves": np.roll(getattr(A, kind)(1, "x", N), N // 2),
    }
    one = getattr(A, kind)(1, "x", N)
    for name, other in others.items():
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / N**0.5, name
    assert abs(np.corrcoef(A.uniform(1, "x", N), A.normal(1, "x", N))[0, 1]) < 5 / N**0.5


def test_names_do_not_run_together() -> None:
    draws = [
        Stream(A.secret, "ab").seed(1, "c", 0),
        Stream(A.secret, "a").seed(1, "bc", 0),
        Stream(A.secret, "a").seed(11, "c", 0),
        Stream(A.secret, "a").seed(1, "1c", 0),
    ]
    assert len(set(draws)) == len(draws)


def test_trap_01_participants_are_poisson() -> None:
    """Batch sizes are binomial (chi-square, level 1e-3), steps and records independent, records all alike."""
    n, rate, steps = 400, 0.05, 2_000
    masks = np.zeros((steps, n), bool)
    for step in range(steps):
        chosen = participants(A, step, n, rate)
        assert chosen.dtype == np.int64 and (np.diff(chosen) > 0).all()
        masks[step, chosen] = True
    sizes = masks.sum(axis=1)
    edges = stats.binom(n, rate).ppf(np.linspace(0.1, 0.9, 9))
    expected = np.diff([0, *stats.binom(n, rate).cdf(edges), 1]) * steps
    observed = np.bincount(np.searchsorted(edges, sizes), minlength=10)
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    assert stats.chisquare(masks.sum(axis=0)).pvalue > 1e-3
    assert abs(np.corrcoef(sizes[:-1], sizes[1:])[0, 1]) < 5 / steps**0.5


def test_trap_02_empty_batches_come_back_empty() -> None:
    sizes = [len(participants(A, step, 10, 0.01)) for step in range(200)]
    assert sizes.count(0) > 150
    assert len(participants(A, 0, 0, 0.5)) == 0


def test_full_sampling_takes_everyone_and_bad_rates_are_refused() -> None:
    np.testing.assert_array_equal(participants(A, 0, 7, 1.0), np.arange(7))
    for rate in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="sampling_rate"):
            participants(A, 0, 7, rate)


def test_trap_05_another_secret_gives_other_noise() -> None:
    other = Stream(bytes(31) + b"\1", "finetune")
    assert abs(np.corrcoef(A.normal(0, "noise", N), other.normal(0, "noise", N))[0, 1]) < 5 / N**0.5
    assert not np.array_equal(participants(A, 0, 1_000, 0.1), participants(other, 0, 1_000, 0.1))


def test_secrets_are_whole_and_unseen() -> None:
    assert repr(A.secret) not in repr(A)
    with pytest.raises(ValueError, match="secret"):
        Stream(b"short", "finetune")


def assert_normal(noise: NDArray[np.float64]) -> None:
    """About a million standard normal numbers in float64, each drawn once: of a right source, none of these lines fails
    more often than once in a million times."""
    n = len(noise)
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], n)
    assert low < float(noise @ noise) < high, "scale"
    assert abs(float(noise.mean())) < 5 / n**0.5, "mean"
    assert stats.kstest(noise, "norm").pvalue > 1e-6, "shape"
    for limit in (2.5, 3.0, 3.5, 4.0, 4.25):
        fewest, most = stats.binom.ppf([5e-7, 1 - 5e-7], n, 2 * stats.norm.sf(limit))
        assert fewest <= np.sum(np.abs(noise) > limit) <= most, f"tail beyond {limit}"
    # Of 5e11 pairs of numbers with some 50 random bits, one is equal in one of 2,000 such draws.
    assert n - len(np.unique(noise)) < 3, "repeated"
    # A float64 has 29 bits that float32 has no room for: they are all zero once in 5e8 numbers.
    assert np.mean(noise == noise.astype(np.float32)) < 1e-3, "float32"


@cache
def million() -> NDArray[np.float64]:
    return A.normal(0, "trap 20", 1_000_000)


def test_trap_20_noise_is_normal_down_to_its_last_bits_and_out_to_its_tails() -> None:
    assert_normal(million())


def test_trap_20_every_bit_of_a_uniform_number_is_random() -> None:
    """52 bits, of which noise is made, and a last one that is always set: each of the others is set in half of the
    numbers, to five standard errors."""
    whole = (A.uniform(0, "bits", N) * 2.0**53).astype(np.uint64)
    share = [float(np.mean((whole >> np.uint64(bit)) & np.uint64(1))) for bit in range(53)]
    assert share[0] == 1.0
    assert all(abs(one - 0.5) < 5 * 0.5 / N**0.5 for one in share[1:])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda noise: noise * 0.995, "scale"),
        (lambda noise: noise + 0.006, "mean"),
        (lambda noise: 3**0.5 * (2 * stats.norm.cdf(noise) - 1), "shape"),
        (lambda noise: noise * np.where(np.arange(len(noise)) % 2, 0.9, 1.19**0.5), "shape|tail"),
        (lambda noise: np.clip(noise, -4, 4), "tail"),
        (lambda noise: noise[np.abs(noise) < 4.2], "tail"),
        (lambda noise: np.tile(noise[: len(noise) // 2], 2), "repeated"),
        (lambda noise: noise.astype(np.float32).astype(np.float64), "repeated"),
        (lambda noise: np.unique(noise.astype(np.float32)).astype(np.float64), "float32"),
    ],
    ids=[
        "small",
        "shifted",
        "another law",
        "a mixture",
        "clipped",
        "cut",
        "drawn once for two",
        "float32",
        "float32 once",
    ],
)
def test_trap_20_wrong_noise_is_told(wrong: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        assert_normal(wrong(million()))


def test_trap_20_the_floating_point_limit_is_stated() -> None:
    """No claim beyond ordinary floating point: the certificate's list says so, and so does the noise's own text."""
    from raysyn.report.terms import ARITHMETIC

    assert "floating-point" in ARITHMETIC
    assert "Limit" in (Stream.__doc__ or "") and "floating-point" in (Stream.__doc__ or "")


@pytest.mark.parametrize("n", [1, 2, 5, 2 * poisson.AT_ONCE - 1, 2 * poisson.AT_ONCE, 4 * poisson.AT_ONCE + 3])
def test_noise_is_the_same_whatever_is_drawn_together(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(bytes(range(32)), "stage")
    want = stream.normal(3, "noise", n)
    monkeypatch.setattr(poisson, "AT_ONCE", n)
    assert np.array_equal(stream.normal(3, "noise", n), want)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 5, 16, 17, 31, 32, 33, 96])
def test_a_gpu_makes_the_same_noise_of_the_same_bits(n: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poisson, "FILLED_AT_ONCE", 16)
    words = np.empty(2 * ((n + 1) // 2), np.uint64)
    monkeypatch.setattr(poisson, "SMALL", 1 << 63)  # as if half of the radii were as small as those that are
    tails = A.fill(3, "noise", words, threads)
    assert len(tails) > n // 8 - 2
    made = normals(torch.from_numpy(words.view(np.int64)), tails)
    np.testing.assert_allclose(made[:n].numpy(), A.normal(3, "noise", n), rtol=1e-13, atol=1e-15)


def test_the_first_and_the_last_bits_make_finite_noise() -> None:
    """Without further bits the largest number is 8.6; none is infinite, nor of two signs at once."""
    bits = np.array([0, 2**64 - 1, 2**63, 2**12 - 1, 0, 2**64 - 1, 2**63 - 1, 2**63], np.uint64)
    radius, angle = poisson._to_unit(bits).reshape(2, -1)
    want = np.sqrt(-2 * np.log(radius)) * [np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)]
    made = normals(torch.from_numpy(bits.view(np.int64))).numpy()
    assert np.isfinite(made).all() and 8.5 < np.abs(made).max() < 8.7
    np.testing.assert_allclose(made, want.ravel(), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("zeros", [0, 1, 3, 20])
def test_the_smallest_radii_have_as_many_bits_as_it_takes(zeros: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against exact fractions; after so many words of zeros."""
    drawn = [0] * zeros + [3 << 40, 5]
    monkeypatch.setattr(poisson, "_words", lambda key, n, start: np.array(drawn, np.uint64)[:n])
    part = poisson._tail(b"", 7 if zeros == 0 else 0, 11)
    exact = sum(Fraction(word, 2 ** (64 * (at + 2))) for at, word in enumerate(drawn[:15]))
    exact += Fraction(7 if zeros == 0 else 0, 2**64)
    if zeros == 20:
        assert part == 2.0**-1025
    else:
        assert abs(Fraction(part) / exact - 1) < Fraction(1, 2**40)
    radius = (-2 * np.log(part)) ** 0.5
    assert radius == pytest.approx({0: 9.21, 1: 14.44, 3: 19.65, 20: 37.7}[zeros], abs=0.01)


def test_further_bits_leave_noise_as_it_was_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are bits of their own: further ones of the same number, of each number others, and of no other draw's."""
    plain = A.normal(3, "x", 1000)
    monkeypatch.setattr(poisson, "SMALL", 1 << 64 - 1)
    np.testing.assert_allclose(A.normal(3, "x", 1000), plain, rtol=1e-9, atol=1e-12)
    key, taken = A._key("normal", 3, "x"), list[tuple[int, int]]()
    words = poisson._words

    def noted(key: bytes, n: int, start: int = 0) -> np.ndarray:
        taken.append((start, start + n))
        return words(key, n, start)

    monkeypatch.setattr(poisson, "_words", noted)
    poisson._tails(key, words(key, 500), 0)
    taken.sort()
    assert len(taken) > 200 and taken[0][0] >= poisson.MORE_START
    assert all(before[1] <= after[0] for before, after in pairwise(taken))


def test_noise_ahead_is_each_step_s_own() -> None:
    """Also where a run begins in the middle, asks again, or goes back."""
    ahead = Noise(A, 101, 3.0, torch.device("cpu"))
    for step in (7, 8, 9, 9, 12, 3, 4, 4, 5):
        want = torch.from_numpy(A.normal(step, "noise", 101) * 3.0).float()
        torch.testing.assert_close(ahead(step), want, rtol=1e-6, atol=0)
