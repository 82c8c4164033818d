"""Noisy functions: what an image or person changes at most, that noise is drawn as it is proved, what it costs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from raysyn.compute.worker import Alone
from raysyn.data.images import Images
from raysyn.data.rbf import Kernel, KernelConfig, as_vectors
from raysyn.privacy import units
from raysyn.privacy.cost import Budget, Cost
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.queries import functions
from raysyn.privacy.queries.functions import FUNCTIONS, Answer, RoundsConfig, fit, one_round, path_gradients, shares

pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="dp-accounting is not installed")

STREAM = Stream(bytes(range(32)), "functions")
SCALES = KernelConfig(length_scales=(0.3, 0.8))
EVERYBODY = RoundsConfig(count=1, batch_size=12)


def price(noise_multiplier: float, rate: float = 1.0, steps: int = 1) -> Cost:
    return Cost(mechanism="test", noise_multiplier=noise_multiplier, sampling_rate=rate, steps=steps)


QUIET = price(1e-12)


def pictures(shape: tuple[int, int, int] = (2, 2, 1), persons: bool = False) -> Images:
    """Black, white and noise, in two of three classes, the last one empty; persons have several of both."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    pixels[0], pixels[1] = 0, 255
    whose = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4]) if persons else None
    return Images(pixels, np.arange(12) % 2, ("a", "b", "c"), whose)


def somewhere(classes: int, count: int, pixels: int, seed: int = 0) -> Tensor:
    """Points in general position."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.uniform(-1, 1, (classes, count, pixels)))


def kernel(a_P: Tensor, b_P: Tensor, lengths: tuple[float, ...]) -> Tensor:
    return torch.stack([torch.exp(-(a_P - b_P).square().sum() / (2 * one**2)) for one in lengths]).mean()


def by_autograd(points_BP: Tensor, lengths: tuple[float, ...]) -> Tensor:
    """Covariance of all partial derivatives, (B * P, B * P), each by differentiating the kernel twice."""
    twice = torch.func.jacrev(torch.func.jacrev(lambda a_P, b_P: kernel(a_P, b_P, lengths), 0), 1)
    beside = torch.func.vmap(torch.func.vmap(twice, (None, 0)), (0, None))
    found_BBPP: Tensor = beside(points_BP, points_BP)
    return found_BBPP.transpose(1, 2).reshape(points_BP.numel(), -1)


def asked(private: Images, points_KBP: Tensor, config: RoundsConfig, cost: Cost = QUIET, step: int = 0) -> Answer:
    of = Kernel.of(SCALES, private.shape)
    return one_round(private, points_KBP, of, config, units.priced(cost, private), STREAM, step)


@pytest.mark.parametrize("count_share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(2, 2, 1), (1, 2, 3)])
@pytest.mark.parametrize("persons", [False, True])
def test_trap_03_and_16_who_comes_or_goes_moves_the_whitened_sums_by_at_most_the_sensitivity(
    count_share: float, shape: tuple[int, int, int], persons: bool
) -> None:
    """Everybody by brute force, in units of the noise that is needed: by a covariance that is differentiated. Some are
    moved by nearly all of it, as points lie about them."""
    private, config = pictures(shape, persons), replace(EVERYBODY, count_share=count_share)
    private = replace(private, class_names=("a", "b", "c"))
    points_KBP = somewhere(3, 14, math.prod(shape))
    roots = [torch.linalg.cholesky(by_autograd(one, Kernel.of(SCALES, shape).lengths)) for one in points_KBP]

    def whitened(some: Images) -> np.ndarray:
        everybody = replace(config, batch_size=some.units)
        gradients_KBP, shares_K = asked(some, points_KBP, everybody)
        white = [
            torch.linalg.solve_triangular(root, one.reshape(-1, 1), upper=False)[:, 0]
            for root, one in zip(roots, gradients_KBP, strict=True)
        ]
        return some.units * np.concatenate([*white, count_share * shares_K.numpy()[: 3 if count_share else 0]])

    whole, moved = whitened(private), []
    for gone in range(private.units):
        kept = np.arange(len(private)) if private.persons_N is None else private.persons_N
        left = private.select(kept != gone)
        if left.persons_N is not None:
            left = replace(left, persons_N=np.unique(left.persons_N, return_inverse=True)[1])
        moved.append(float(np.linalg.norm(whole - whitened(left))))
    assert max(moved) <= config.sensitivity * (1 + 1e-9)
    assert max(moved) > 0.7 * config.sensitivity


@pytest.mark.parametrize(("count", "pixels"), [(2, 1), (2, 5), (4, 6), (6, 4), (5, 4)])
def test_a_path_has_the_covariance_that_is_differentiated(count: int, pixels: int) -> None:
    """The draw is linear in its normal numbers: with each of them alone its matrix is seen, which is a square root of
    the covariance, whether points are more or fewer than directions."""
    points_KBP, of = somewhere(2, count, pixels), Kernel(lengths=(0.4, 1.1))
    size, columns = count * pixels, []
    for one in torch.eye(size, dtype=torch.float64):
        columns.append(path_gradients(points_KBP, of, one.view(1, count, pixels).repeat(2, 1, 1)).view(2, size))
    roots_KDD = torch.stack(columns, 2)
    for root, at_BP in zip(roots_KDD, points_KBP, strict=True):
        torch.testing.assert_close(root @ root.T, by_autograd(at_BP, of.lengths), rtol=1e-8, atol=1e-8)


def test_points_that_are_the_same_get_the_same_path() -> None:
    """But for the jitter, which is added for them."""
    points_KBP = somewhere(1, 3, 4)
    points_KBP[:, 2] = points_KBP[:, 1]
    drawn = path_gradients(points_KBP, Kernel(lengths=(1.0,)), torch.randn(1, 3, 4, dtype=torch.float64))
    torch.testing.assert_close(drawn[:, 1], drawn[:, 2], atol=1e-3, rtol=0)
    assert not torch.equal(drawn[:, 1], drawn[:, 2]) and (drawn[:, 0] - drawn[:, 1]).abs().max() > 0.1


def test_noise_that_cannot_be_drawn_stops_the_run() -> None:
    with pytest.raises(RuntimeError, match="the noise of a round cannot be drawn"):
        functions.root(-torch.eye(3, dtype=torch.float64)[None], 1.0)
    nowhere = torch.full((1, 3, 4), math.nan, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="the noise of a round cannot be drawn"):
        path_gradients(nowhere, Kernel(lengths=(1.0,)), torch.zeros(1, 3, 4, dtype=torch.float64))


@pytest.mark.parametrize("persons", [False, True])
@pytest.mark.parametrize("gone", [(), (0, 3)])
def test_trap_03_each_round_sums_its_own_sample_and_divides_by_the_expected_number(
    gone: tuple[int, ...], persons: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By brute force over who takes part and is there, in rounds of many and of few; what is added as noise is the same
    whoever is there."""
    monkeypatch.setattr(functions, "BLOCK", 2)
    private, rate, of = pictures(persons=persons), 0.45, Kernel.of(SCALES, (2, 2, 1))
    absent_U = np.isin(np.arange(private.units), gone)
    private, nobody = replace(private, absent_U=absent_U), replace(private, absent_U=np.ones_like(absent_U))
    whose_N = np.arange(12) if private.persons_N is None else private.persons_N
    points_KBP, vectors, many = somewhere(3, 4, 4), as_vectors(private.images_NHWC), set[int]()
    for step in range(6):
        taking = participants(STREAM, step, private.units, rate)
        many.add(len(taking))
        wanted, counts_K = torch.zeros_like(points_KBP), np.zeros(3)
        for x_P, label, unit in zip(vectors, private.labels_N, whose_N, strict=True):
            if unit not in taking or unit in gone:
                continue
            part = 1 / np.count_nonzero(whose_N == unit)
            counts_K[label] += part
            for b, at_P in enumerate(points_KBP[label]):
                wanted[label, b] += part * torch.func.grad(kernel)(at_P, x_P, of.lengths)
        found = asked(private, points_KBP, EVERYBODY, price(1e-12, rate), step)
        expected = rate * private.units
        torch.testing.assert_close(found.gradients_KBP, wanted / expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.shares_K, counts_K / expected, atol=1e-9)
        loud = asked(private, points_KBP, EVERYBODY, price(2.0, rate), step)
        alone = asked(nobody, points_KBP, EVERYBODY, price(2.0, rate), step)
        for one, two, three in zip(loud, found, alone, strict=True):
            torch.testing.assert_close(one - two, three, rtol=1e-8, atol=1e-8)
    assert len(many) > 1, "another number in some rounds"


def test_noise_has_the_size_that_is_paid_for_and_none_is_used_twice() -> None:
    """Nobody is there, and half take part. Chi-square and Kolmogorov-Smirnov at level 1e-6, of gradients and of counts
    each alone, correlations of classes, steps and counts within 6 standard errors."""
    private = replace(pictures(), absent_U=np.ones(12, bool))
    points_KBP, share = somewhere(3, 6, 4), 0.7
    config, scale = replace(EVERYBODY, count_share=share), 3.0 * math.sqrt(1 + share**2)
    root = [torch.linalg.cholesky(by_autograd(one, Kernel.of(SCALES, (2, 2, 1)).lengths)) for one in points_KBP]
    seen = []
    for step in range(400):
        gradients_KBP, shares_K = asked(private, points_KBP, config, price(3.0, 0.5), step)
        white = [torch.linalg.solve(one, two.reshape(-1)) for one, two in zip(root, gradients_KBP, strict=True)]
        seen.append(torch.cat([*white, share * shares_K]).numpy() * (0.5 * 12) / scale)
    noise = np.stack(seen)
    for some in (noise[:, :-3], noise[:, -3:]):
        low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], some.size)
        assert low < float((some**2).sum()) < high and stats.kstest(some.ravel(), "norm").pvalue > 1e-6
    for among in (noise, noise.T):
        assert np.abs(np.corrcoef(among.T)[np.triu_indices(among.shape[1], 1)]).max() < 6 / math.sqrt(len(among))


def test_counts_tell_how_large_classes_are_and_are_shrunk_where_they_are_noise() -> None:
    config = RoundsConfig(count=100, batch_size=100, count_share=0.1)
    told_K = torch.tensor([90.0, 10.0], dtype=torch.float64)
    clear = shares(told_K, 100, 1000, config, price(0.1, 0.1, 100))
    np.testing.assert_allclose(clear, [0.9, 0.1], atol=0.02)
    drowned = shares(told_K, 100, 1000, config, price(1e4, 0.1, 100))
    np.testing.assert_allclose(drowned, [0.5, 0.5], atol=1e-9)
    none = shares(torch.zeros(4), 1, 1000, replace(config, count_share=0.0), price(1.0, 0.1, 100))
    np.testing.assert_array_equal(none, [0.25] * 4)


@pytest.mark.parametrize(("n", "wanted"), [(60_000, 1.0), (1_500, 10.0)])
def test_golden_price_by_another_accountant(n: int, wanted: float) -> None:
    """dp-accounting's loss distribution of subsampled Gaussian answers, of whoever comes or goes: no more than is
    promised, hardly less."""
    config = RoundsConfig(count=100, batch_size=300)
    found = Plan.within(Budget(epsilon=wanted), n, FUNCTIONS, config.cost(n))
    cost = found.stages[FUNCTIONS]
    assert (cost.sampling_rate, cost.steps) == (300 / n, 100)
    one = pld.from_gaussian_mechanism(
        found.noise(FUNCTIONS), sampling_prob=cost.sampling_rate, value_discretization_interval=1e-4
    )
    golden = one.self_compose(cost.steps).get_epsilon_for_delta(found.delta)
    assert 0.98 * wanted <= golden <= wanted * (1 + 2e-3)


class Still:
    """Asks in the same places, and notes what it is told."""

    def __init__(self, at_KBP: Tensor) -> None:
        self.at_KBP, self.told, self.checked = at_KBP, list[tuple[Answer, Tensor]](), list[int]()

    def join(self, worker: Any) -> None: ...

    def points(self, step: int) -> Tensor:
        return self.at_KBP

    def learn(self, step: int, answer: Answer, shares_K: Tensor) -> None:
        self.told.append((answer, shares_K))

    def check(self, step: int) -> None:
        self.checked.append(step)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def released(self) -> dict[str, Tensor]:
        return {"last": self.told[-1][0].gradients_KBP}


def test_all_rounds_are_answered_once_each_with_the_sample_that_is_priced() -> None:
    private, config = pictures(), RoundsConfig(count=40, batch_size=3, count_share=1.0)
    cost, still = replace(config.cost(12), noise_multiplier=1e-9), Still(somewhere(3, 2, 4))
    answer = fit(Alone(), still, private, SCALES, config, cost, bytes(32), epsilon_at=float)
    assert answer.cost == cost and answer.value["history"][-1] == {"step": 40, "epsilon": 40.0}
    joined_TK = torch.stack([one.shares_K for one, _ in still.told]) * 3
    assert still.checked[-1] == 40, "what is released was looked at"
    assert len(joined_TK) == 40 and len(joined_TK.unique(dim=0)) > 3
    many = float(joined_TK.sum())
    assert many == pytest.approx(120, abs=5 * math.sqrt(40 * 12 * 0.25 * 0.75))
    np.testing.assert_allclose(joined_TK, joined_TK.round(), atol=1e-6)


@pytest.mark.parametrize(
    ("cost", "says"),
    [
        (price(1.0, 0.5, 40), "cost is for rate 0.5 and 40 rounds, but these settings on 12 images take rate 0.25"),
        (price(1.0, 0.25, 41), "cost is for rate 0.25 and 41 rounds"),
        (RoundsConfig(count=40, batch_size=3).cost(12), "noise_multiplier is not set"),
    ],
)
def test_a_price_of_other_rounds_is_refused(cost: Cost, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit(
            Alone(),
            Still(somewhere(3, 2, 4)),
            pictures(),
            SCALES,
            RoundsConfig(count=40, batch_size=3),
            cost,
            bytes(32),
        )


def test_a_price_for_images_is_not_one_for_persons() -> None:
    config = RoundsConfig(count=2, batch_size=5)
    cost = replace(config.cost(5), noise_multiplier=1.0)
    with pytest.raises(ValueError, match="need 'add/remove one person"):
        fit(Alone(), Still(somewhere(3, 2, 4)), pictures(persons=True), SCALES, config, cost, bytes(32))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RoundsConfig(count_share=-0.1), r"rounds\.count_share is -0\.1: give 0 to 1"),
        (lambda: RoundsConfig(count_share=1.5), r"rounds\.count_share is 1\.5: give 0 to 1"),
        (lambda: RoundsConfig(count_share=math.nan), r"rounds\.count_share is nan"),
        (lambda: RoundsConfig(count=0), r"rounds\.count is 0"),
        (lambda: RoundsConfig(batch_size=20).cost(12), r"rounds\.batch_size is 20: give 1 to 12"),
        (lambda: KernelConfig(length_scales=()), r"kernel\.length_scales is \(\): give numbers"),
        (lambda: KernelConfig(length_scales=(0.001,)), r"kernel\.length_scales is \(0\.001,\)"),
        (lambda: KernelConfig(length_scales=(1.0, 50.0)), r"kernel\.length_scales is \(1\.0, 50\.0\)"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        make()
    assert "\n" not in str(refused.value)
