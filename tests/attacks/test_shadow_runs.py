"""Attacks on whole methods by shadow runs: what leaks is found, and what does not is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from raysyn.attacks import over_targets, released, shadow_runs
from raysyn.attacks.found import RELEASED
from raysyn.attacks.released import SIGNALS, centred, signals, space_of
from raysyn.attacks.verdict import PRIORS, clopper_pearson, ppv
from raysyn.attacks.whose import Whose
from raysyn.data.images import Images

RUNS = 8
CLASSES = ("a", "b")


def images(n: int, seed: int = 0, persons: np.ndarray | None = None) -> Images:
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(2, size=n)
    outline = np.random.default_rng(1).integers(60, 200, (2, 6, 6, 1))[labels_N]
    pixels = np.clip(outline + rng.normal(0, 30, (n, 6, 6, 1)), 0, 255).astype(np.uint8)
    return Images(pixels, labels_N, CLASSES, persons)


Release = Callable[[Images, int], Images]
"""A method: what it releases of images, by a seed."""


def memoriser(private: Images, seed: int) -> Images:
    return private


def ignorant(private: Images, seed: int) -> Images:
    return images(60, 1000 + seed)


def noisy_mean(std: float) -> Release:
    """The mean of each class with Gaussian noise: what one image adds is at most 1 / n."""

    def release(private: Images, seed: int) -> Images:
        rng = np.random.default_rng([seed, 7])
        means = [private.images_NHWC[private.labels_N == label].astype(float).mean(0) for label in range(2)]
        noisy = np.stack(means) + rng.normal(0, std, (2, 6, 6, 1))
        return Images(np.clip(noisy, 0, 255).round().astype(np.uint8), np.arange(2), CLASSES)

    return release


def asked(method: Release, train: Images, test: Images, seed: int) -> tuple[shadow_runs.Asked, shadow_runs.Crowd]:
    """What all shadow runs of a method say of everybody, and itself on all training images."""
    everybody = Images(
        np.concatenate((train.images_NHWC, test.images_NHWC)), np.concatenate((train.labels_N, test.labels_N)), CLASSES
    )  # fmt: skip
    space, inside_MN = space_of(everybody), shadow_runs.design(RUNS, train, seed)
    releases = [method(train.select(inside_N), 100 * seed + run) for run, inside_N in enumerate(inside_MN)]
    releases.append(method(train, 100 * seed + 99))
    told = [centred(signals(one, everybody, space).double().numpy(), everybody.labels_N) for one in releases]
    return shadow_runs.Asked(np.stack(told[:-1]), told[-1]), shadow_runs.Crowd(train, test, inside_MN, seed)


def found(method: Release, seed: int = 0, n: int = 60) -> list[dict]:
    return shadow_runs.records(*_with_none(asked(method, images(n, seed), images(n, seed + 500), seed)), 1e-5)[0]


def _with_none(given: tuple[shadow_runs.Asked, shadow_runs.Crowd]) -> tuple:
    return given[0], None, given[1]


def test_a_memoriser_is_caught_as_a_method_and_as_a_run() -> None:
    on_each, on_this = found(memoriser)
    assert on_each["targets"] == RUNS and on_each["sees"] == RELEASED and "this run" in on_this["attack"]
    for one in (on_each, on_this):
        assert one["auc"]["value"] > 0.95 and one["advantage"]["value"] > 0.8, one["advantage"]
    assert on_each["advantage"]["low"] > 0.7 and on_each["epsilon"]["value"] > 1.5
    assert abs(on_each["members"] + on_each["others"] - 60) <= 1


def test_what_does_not_depend_on_the_images_is_at_chance_as_often_as_said() -> None:
    """Of intervals that hold with 95 % about 1 in 20 may exclude chance, half of them above."""
    told = [found(ignorant, seed, n=30) for seed in range(40)]
    for at in range(2):
        above = [one[at]["auc"]["low"] > 0.5 for one in told]
        below = [one[at]["auc"]["high"] < 0.5 for one in told]
        assert sum(above) + sum(below) <= 6, (at, sum(above), sum(below))
        assert sum(one[at]["advantage"]["low"] > 0 for one in told) <= 4
        assert sum(one[at]["epsilon"]["value"] > 0 for one in told) <= 4
    areas = [one[0]["auc"]["value"] for one in told]
    assert abs(np.mean(areas) - 0.5) < 4 * np.std(areas) / np.sqrt(len(areas))


@pytest.mark.parametrize("variant", range(2))
def test_a_run_whose_noise_all_images_share_is_no_proof(variant: int) -> None:
    """Noise in a few directions moves all scores of a run together: of independent trials there would be far fewer."""
    wrong, narrow = 0, 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        inside_MU = shadow_runs.design(RUNS, images(80), seed)
        along = np.einsum("uf,mfq->muq", rng.normal(size=(80, 2)), rng.normal(size=(RUNS, 2, 3)))
        scores = shadow_runs.each_as_target(along, inside_MU, shadow_runs.VARIANTS[variant])
        told = over_targets.record("x", RELEASED, scores, inside_MU)
        wrong += told["auc"]["low"] > 0.5 or told["auc"]["high"] < 0.5
        narrow += told["epsilon"]["value"] > 0
    assert wrong <= 4 and narrow <= 2, (wrong, narrow)


@pytest.mark.parametrize(("units", "measurable"), [(150, False), (240, True)])
def test_a_low_rate_wants_enough_others_of_one_target_and_others_choose_its_threshold(
    units: int, measurable: bool
) -> None:
    """At 1 %: 75 others of a target are too few, of 8 targets together there would be enough."""
    inside_MU = shadow_runs.design(RUNS, images(units), 0)
    scores = np.random.default_rng(1).normal(size=inside_MU.shape) + 9.0 * inside_MU
    told = over_targets.record("x", RELEASED, scores, inside_MU)["tpr"]["0.01"]
    bound = told["bound"]
    assert told["measurable"] is measurable and bound["low"] <= bound["value"] <= bound["high"]
    if measurable:
        assert told["low"] <= told["value"] and told["value"] > 0.8
    else:
        assert told["value"] is told["ppv"]["0.5"]["value"] is None
    # What an accusation is worth is said of these very rates.
    for prior in PRIORS:
        each = {key: None if told[key] is None else ppv(told[key], 0.01, prior) for key in ("value", "low", "high")}
        assert told["ppv"][f"{prior:g}"] == each
        assert bound["ppv"][f"{prior:g}"] == ppv(bound["low"], bound["false_positive_rate"], prior)
    # One target whose others lie where nobody's do moves no threshold of its own.
    odd = np.where(inside_MU, np.arange(units) / units, 0.5)
    odd[0] = np.where(inside_MU[0], 0.9, np.arange(units) / (2 * units))
    assert over_targets.record("x", RELEASED, odd, inside_MU)["tpr"]["0.01"]["measurable"] is measurable


def test_without_a_false_alarm_is_said_of_each_target_by_itself() -> None:
    """A non-member on top of one target hides nobody of another; and where none is caught, no more is ruled out than by
    the images of one target, which have its luck together."""
    inside_MU = shadow_runs.design(RUNS, images(200), 0)
    scores = np.random.default_rng(1).normal(size=inside_MU.shape)
    scores[(np.arange(200) % 10 == 0) & inside_MU] = 9.0
    marked = (np.arange(200) % 10 == 0) & inside_MU
    least = (marked.sum(1) / inside_MU.sum(1)).mean()
    bound = over_targets.record("x", RELEASED, scores, inside_MU)["tpr"]["0.001"]["bound"]
    assert least <= bound["value"] < least + 0.02 and bound["low"] <= least <= bound["high"]
    assert bound["false_positive_rate"] == clopper_pearson(0, int((~inside_MU).sum(1).min())).high
    scores[0, np.flatnonzero(~inside_MU[0])[0]] = 10.0
    fewer = over_targets.record("x", RELEASED, scores, inside_MU)["tpr"]["0.001"]["bound"]["value"]
    assert bound["value"] * (1 - 1.3 / RUNS) < fewer < bound["value"]
    scores[~inside_MU] += 20.0
    none = over_targets.record("x", RELEASED, scores, inside_MU)["tpr"]["0.001"]["bound"]
    assert (none["value"], none["low"]) == (0.0, 0.0)
    assert none["high"] == clopper_pearson(0, int(inside_MU.sum(1).min())).high


def test_a_small_noise_shows_and_a_large_one_does_not() -> None:
    little, much = (found(noisy_mean(std), n=100)[0] for std in (0.5, 200.0))
    assert little["auc"]["low"] > 0.55 and little["advantage"]["low"] > 0.05
    assert much["auc"]["low"] < 0.5 < much["auc"]["high"] and much["epsilon"]["value"] < 0.2


@pytest.mark.parametrize("signal", range(len(SIGNALS)))
def test_each_signal_alone_sees_a_memoriser(signal: int) -> None:
    given, crowd = asked(memoriser, images(60), images(30, 9), 0)
    scores = shadow_runs.each_as_target(
        given.shadows_MNQ[:, :60, signal : signal + 1], crowd.inside_MN, shadow_runs.VARIANTS[0]
    )
    assert over_targets.record("x", RELEASED, scores, crowd.inside_MN)["auc"]["low"] > 0.6


def test_persons_are_in_or_out_as_a_whole_and_scored_together() -> None:
    persons_N = np.repeat(np.arange(20), np.tile((1, 3), 10))
    train = images(40, 3, persons_N)
    inside_MN = shadow_runs.design(RUNS, train, 0)
    for person in range(20):
        assert len(np.unique(inside_MN[:, persons_N == person], axis=1).T) == 1
    assert (inside_MN[::2] ^ inside_MN[1::2]).all(), "a pair shares all out"
    signals_MUQ = shadow_runs.of_units(np.ones((2, 40, 1)), Whose.of(train))
    np.testing.assert_allclose(signals_MUQ[0, :4, 0], [1, np.sqrt(3), 1, np.sqrt(3)])
    given = shadow_runs.Asked(inside_MN[:, :, None] + np.zeros((1, 1, 2)), np.ones((40, 2)))
    test = images(20, 4)
    given = shadow_runs.Asked(
        np.concatenate((given.shadows_MNQ, np.zeros((RUNS, 20, 2))), 1),
        np.concatenate((given.target_NQ, np.zeros((20, 2)))),
    )
    told, each = shadow_runs.records(given, None, shadow_runs.Crowd(train, test, inside_MN, 0), None)
    assert told[0]["unit"] == told[1]["unit"] == "person" and told[0]["members"] + told[0]["others"] == 20
    assert told[0]["auc"]["value"] == 1 and told[1]["auc"]["value"] == 1
    assert len(each["runs"]) == 40 and (each["runs"] == 1).all()


def test_weights_are_seen_beside_the_images() -> None:
    given, crowd = asked(ignorant, images(60), images(30, 9), 0)
    rng = np.random.default_rng(0)
    seen = np.concatenate((crowd.inside_MN, np.zeros((RUNS, 30), bool)), 1)[:, :, None]
    weights = shadow_runs.Asked(seen + 0.1 * rng.normal(size=seen.shape), (np.arange(90) < 60)[:, None] * 1.0)
    told, _ = shadow_runs.records(given, weights, crowd, None)
    assert [one["sees"] for one in told] == [RELEASED] * 2 + ["weights (never released)"] * 2
    assert told[2]["auc"]["low"] > 0.9 > told[0]["auc"]["value"]


def test_weights_that_are_released_are_told_from_those_that_are_not() -> None:
    """Of two measures the first sees who was in, the second sees nothing."""
    given, crowd = asked(ignorant, images(60), images(30, 9), 0)
    rng = np.random.default_rng(0)
    seen = np.concatenate((crowd.inside_MN, np.zeros((RUNS, 30), bool)), 1)[:, :, None]
    both = np.concatenate((seen + 0.1 * rng.normal(size=seen.shape), rng.normal(size=seen.shape)), 2)
    weights = shadow_runs.Asked(both, np.stack(((np.arange(90) < 60) * 1.0, rng.normal(size=90)), 1))
    for shown, sees, leaks in (
        (slice(0), ["weights (never released)"], [True]),
        (slice(1), ["weights (of the release)", "weights (never released)"], [True, True]),
        (slice(1, 2), ["weights (of the release)", "weights (never released)"], [False, True]),
        (slice(2), ["weights (of the release)"], [True]),
    ):
        told, _ = shadow_runs.records(given, weights, crowd, None, shown)
        assert [one["sees"] for one in told[::2]] == [RELEASED, *sees]
        assert len({one["attack"] for one in told}) == len(told)
        assert [one["auc"]["low"] > 0.9 for one in told[2::2]] == leaks


@pytest.mark.parametrize("runs", [0, 4, 7])
def test_runs_that_make_no_pairs_are_refused(runs: int) -> None:
    with pytest.raises(ValueError, match=f"shadow_runs is {runs}"):
        shadow_runs.check_runs(runs)


def test_more_runs_keep_those_that_there_are() -> None:
    few, many = (shadow_runs.design(runs, images(30), 5) for runs in (6, 12))
    np.testing.assert_array_equal(few, many[:6])


def test_large_images_and_a_class_without_a_release_are_asked_about() -> None:
    rng = np.random.default_rng(0)
    some = Images(rng.integers(0, 256, (12, 40, 50, 3), dtype=np.uint8), np.arange(12) % 2, CLASSES)
    only = some.select(some.labels_N == 0)
    told = signals(only, some, space_of(some))
    assert told.shape == (12, len(SIGNALS)) and torch.isfinite(told).all()
    assert (told[some.labels_N == 0, 0] > told[some.labels_N == 1, 0].max()).all()


@pytest.mark.parametrize("count", [20, 300])
def test_directions_are_told_without_all_images_as_numbers_at_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of fewer images than pixels by another way, and one copy."""
    asked, held = images(count), list[int]()
    flat_ND = asked.images_NHWC.reshape(count, -1).astype(np.float64) / 255
    whole = released._flat
    monkeypatch.setattr(released, "PART", 17)
    monkeypatch.setattr(released, "_flat", lambda pixels: (held.append(len(pixels)), whole(pixels))[1])
    space = released.space_of(asked)
    assert held == ([20] if count < flat_ND.shape[1] else [])
    np.testing.assert_allclose(space.mean_D, flat_ND.mean(0), atol=1e-6)
    # In these directions images are as wide as in any other, and do not vary together.
    seen_NF = (flat_ND - flat_ND.mean(0)) @ space.scaled_DF.double().numpy()
    np.testing.assert_allclose(np.cov(seen_NF.T), np.eye(seen_NF.shape[1]), atol=1e-4)
    wanted = np.linalg.eigvalsh(np.cov(flat_ND.T))[::-1][: space.scaled_DF.shape[1]]
    np.testing.assert_allclose(space.scaled_DF.double().norm(dim=0) ** -2, wanted, rtol=1e-4)
