"""Noisy expectation-maximisation: what an image or a person changes at most, what noise there is, what all steps cost,
and that a mixture is made of noisy answers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from raysyn.data.images import Images
from raysyn.data.projection import Layout, Projection
from raysyn.privacy import units
from raysyn.privacy.cost import Cost, epsilon
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import mixture
from raysyn.privacy.queries.mixture import Mixture, MixtureConfig

KEY = bytes(range(32))
LATENT, COMPONENTS, CLASSES = 4, 3, 3
CONFIG = MixtureConfig(iterations=3)
BOUND = math.sqrt(0.5**2 + 1 + 2**2)
"""By hand: a constant of 0.5, latents of norm 1, squares of norm 2 at most."""


def private(persons: bool = False, absent: Sequence[int] = ()) -> Images:
    """Black, white, a board and noise, in two of three classes; persons have several of both."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 1), np.uint8)
    pixels[0], pixels[1], pixels[2] = 0, 255, 255 * (np.indices((6, 5, 1)).sum(axis=0) % 2)
    whose = np.array([0] * 7 + [1] * 5 + [2] * 3 + [3, 4, 5, 6, 7]) if persons else None
    found = Images(pixels, np.arange(20) % 2, ("a", "b", "c"), whose)
    out = np.zeros(found.units, bool)
    out[list(absent)] = True
    return replace(found, absent_U=out if len(absent) else None)


def projection(scale: float = 1.0) -> Projection:
    """`scale`: how far beyond the norm that it cuts off images lie."""
    layout, random = Layout(frequencies=9, classes=CLASSES, label_weight=2.0), np.random.default_rng(1)
    directions_DL = scale * random.standard_normal((9 + CLASSES, LATENT))
    return Projection(layout=layout, centre_D=random.standard_normal(12), directions_DL=directions_DL, largest=1.5)


def at(case: str) -> Mixture:
    """A mixture as noise may make it."""
    random = np.random.default_rng(2)
    means, variances = random.uniform(-1, 1, (COMPONENTS, LATENT)), random.uniform(1e-3, 1, (COMPONENTS, LATENT))
    return {
        "usual": Mixture(np.array([0.2, 0.5, 0.3]), means, variances),
        "sharp": Mixture(np.array([0.2, 0.5, 0.3]), means, np.full((COMPONENTS, LATENT), 1e-9)),
        "all alike": Mixture(np.full(COMPONENTS, 1 / COMPONENTS), means[[0, 0, 0]], variances[[0, 0, 0]]),
        "one alone": Mixture(np.array([1 - 2e-300, 1e-300, 1e-300]), means, variances),
    }[case]


def price(images: Images, noise: float, steps: int = 3) -> Cost:
    return units.priced(MixtureConfig(iterations=steps).cost(noise), images)


def summed(images: Images, of: Projection, seen: Mixture) -> np.ndarray:
    """As the answer leaves, but for noise that is as good as none."""
    latents = of.latents(images.images_NHWC, images.labels_N) / of.largest
    size = (COMPONENTS, 1 + 2 * LATENT)
    parts = list(mixture.statistics(latents, units.weights(images), seen))
    found = mixture.noisy_statistics(images, price(images, 1e-12, 1), Stream(KEY, "m"), size, lambda *_: parts)
    return found.value[0]


@pytest.mark.parametrize("persons", [False, True])
@pytest.mark.parametrize("case", ["usual", "sharp", "all alike", "one alone"])
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_removing_any_unit_moves_a_step_by_no_more_than_is_accounted(case: str, persons: bool, scale: float) -> None:
    """Every unit in turn, for mixtures as odd as they come, for images near the centre and far beyond the norm."""
    of, seen = projection(scale), at(case)
    whole = summed(private(persons), of, seen)
    moves = [
        np.linalg.norm(whole - summed(private(persons, [gone]), of, seen)) for gone in range(private(persons).units)
    ]
    assert max(moves) <= BOUND * (1 + 1e-9) and min(moves) > 0.01
    # Squares of several numbers are shorter than the bound, which only one number reaches: so are constants alone.
    assert max(moves) > (0.9 if scale > 1 else 0.25) * (1 if case != "all alike" else 3**-0.5)


def test_the_bound_is_reached_by_an_image_of_one_number_and_one_component() -> None:
    of = Projection(
        layout=Layout(frequencies=1, classes=3, label_weight=1.0), centre_D=np.zeros(4),
        directions_DL=np.diag([1.0, 0, 0, 0]), largest=1.0,
    )  # fmt: skip
    means = np.zeros((COMPONENTS, LATENT))
    means[:, 0] = 1, -1, -1
    white = Images(np.full((1, 6, 5, 1), 255, np.uint8), np.array([0]), ("a", "b", "c"))
    found = summed(white, of, Mixture(np.full(3, 1 / 3), means, np.full((COMPONENTS, LATENT), 0.01)))
    assert np.linalg.norm(found) == pytest.approx(BOUND, rel=1e-9) == mixture.sensitivity()


def test_who_takes_the_constants_for_more_than_they_are_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The brute force above would see squares that are not bounded as they are said to be."""
    monkeypatch.setattr(mixture, "SQUARES", 6.0)
    of = replace(projection(100.0), directions_DL=100 * np.eye(12, LATENT)[:, [0] * LATENT])
    one = replace(of, directions_DL=of.directions_DL * np.array([1.0, 0, 0, 0]))
    whole = summed(private(), one, at("usual"))
    moves = [np.linalg.norm(whole - summed(private(absent=[gone]), one, at("usual"))) for gone in range(20)]
    assert max(moves) > BOUND


def test_responsibilities_are_shares_of_each_row_alone() -> None:
    rows = np.random.default_rng(3).uniform(-0.5, 0.5, (40, LATENT))
    for case in ("usual", "sharp", "all alike", "one alone"):
        found = mixture.responsibilities(rows, at(case))
        assert (found >= 0).all() and found.sum(1) == pytest.approx(np.ones(40), abs=1e-12)
        np.testing.assert_array_equal(mixture.responsibilities(rows[7:8], at(case))[0], found[7])


def test_latents_are_of_each_image_alone_and_never_longer_than_is_said() -> None:
    images, of = private(), projection(3.0)
    whole = of.latents(images.images_NHWC, images.labels_N)
    assert np.linalg.norm(whole, axis=1).max() == pytest.approx(1.5) and len({*np.linalg.norm(whole, axis=1)}) > 1
    np.testing.assert_array_equal(of.latents(images.images_NHWC[5:6], images.labels_N[5:6])[0], whole[5])


def test_noise_is_drawn_anew_for_every_step_and_number_of_one_variance() -> None:
    """A wrong test fails once in a million."""
    images, size, drawn = private(), (COMPONENTS, 1 + 2 * LATENT), []
    parts = [np.full(size, 3.0)]
    for secret in range(20):
        stream = Stream(bytes([secret] * 32), "mixture")
        found = mixture.noisy_statistics(images, price(images, 2.0, 8), stream, size, lambda *_: parts)
        drawn.append(found.value - 3.0)
    noise = np.stack(drawn) / (2.0 * BOUND)
    law = stats.chi2(noise.size)
    assert law.ppf(5e-7) < float((noise**2).sum()) < law.ppf(1 - 5e-7)
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 5 / math.sqrt(noise[:, 0].size)
    assert len(np.unique(noise)) == noise.size


@pytest.mark.parametrize(("steps", "noise"), [(1, 4.0), (20, 40.0), (9, 1.5)])
def test_the_price_is_that_of_so_many_gaussian_answers(steps: int, noise: float) -> None:
    """By dp-accounting's privacy loss distributions (Google), and the exact curve of one answer with less noise."""
    pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="dp-accounting is not installed")
    ours = epsilon([MixtureConfig(iterations=steps).cost(noise)], 1e-5, "prv")
    golden = pld.from_gaussian_mechanism(noise / math.sqrt(steps)).get_epsilon_for_delta(1e-5)
    assert ours == pytest.approx(golden, rel=0.01) and ours >= golden * (1 - 1e-3)


def test_a_step_is_made_of_noisy_answers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `fitted` is given is what was answered, and what it is given back is what the next step is asked with."""
    images, seen, asked = private(), list[np.ndarray](), list[Mixture]()
    fit, sums = mixture.fitted, mixture.statistics
    monkeypatch.setattr(mixture, "fitted", lambda answer, *more: seen.append(answer) or fit(answer, *more))
    monkeypatch.setattr(mixture, "statistics", lambda rows, weights, of: asked.append(of) or sums(rows, weights, of))
    begin = mixture.first(COMPONENTS, LATENT, CONFIG, 0)
    cost = price(images, 2.0)
    found = mixture.asked(images, projection(), begin, CONFIG, cost, Stream(KEY, "mixture"))
    assert found.cost == cost and found.value.shape == (3, COMPONENTS, 1 + 2 * LATENT)
    assert [np.array_equal(one, answer) for one, answer in zip(seen, found.value, strict=False)] == [True, True]
    assert asked[0] is begin and len(asked) == 3
    np.testing.assert_array_equal(asked[2].means_ML, fit(found.value[1], 20, CONFIG.usual(LATENT)).means_ML)


def test_without_noise_it_finds_two_heaps() -> None:
    """Of latents around two places, one of which is twice as full."""
    random, config = np.random.default_rng(0), MixtureConfig(iterations=1)
    places, heaps = np.array([[0.4, 0.0, 0.2, 0.0], [-0.4, 0.1, 0.0, 0.0]]), np.repeat([0, 1], [2000, 1000])
    rows = places[heaps] + 0.05 * random.standard_normal((3000, LATENT))
    seen, usual = mixture.first(2, LATENT, config, 0), config.usual(LATENT)
    for _ in range(20):
        seen = mixture.fitted(sum(mixture.statistics(rows, np.ones(3000), seen)), 3000, usual)
    order = np.argsort(-seen.weights_M)
    assert seen.weights_M[order] == pytest.approx([2 / 3, 1 / 3], abs=0.01)
    np.testing.assert_allclose(seen.means_ML[order], places, atol=0.01)
    assert seen.variances_ML == pytest.approx(np.full((2, LATENT), max(0.05**2, mixture.LEAST * usual)), rel=0.15)


def test_an_answer_of_noise_alone_is_still_a_mixture() -> None:
    noise = 1e4 * np.random.default_rng(0).standard_normal((COMPONENTS, 1 + 2 * LATENT))
    seen = mixture.fitted(noise, 20, CONFIG.usual(LATENT))
    assert (seen.weights_M > 0).all() and seen.weights_M.sum() == pytest.approx(1)
    assert (seen.variances_ML > 0).all() and (np.abs(seen.means_ML) <= 1).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"iterations": 0}, r"mixture\.iterations is 0: give 1 to 1000"),
        ({"share": 0.0}, r"mixture\.share is 0\.0: give a share"),
        ({"norm": math.nan}, r"mixture\.norm is nan: give 0\.1 to 100"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        MixtureConfig(**settings)  # type: ignore[arg-type]
