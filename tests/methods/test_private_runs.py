"""What the mechanisms are given in whole runs of every private method: the secret, the price, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from blank_runs import METHODS, BlankRun, Method, blank_run
from scipy import stats

from raysyn.data.images import Images

ONE, OTHER = bytes(range(32)), bytes(range(100, 132))


@dataclass(frozen=True)
class Runs:
    """Four runs of one method; each of the last three differs from the first in one thing."""

    method: Method
    first: BlankRun
    other_secret: BlankRun
    other_seed: BlankRun
    other_images: BlankRun


def others(images: Images) -> Images:
    """As many of the same shape and classes, and nothing else alike: noise, nearly all of one class."""
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, images.images_NHWC.shape, np.uint8)
    labels = np.minimum(np.arange(len(images), dtype=np.int64), images.classes - 1)
    return Images(pixels, labels, images.class_names)


LIKE_ANOTHER = ("dp_feta_gaussian", "dp_feta_evolution", "dp_feta_pro", "privimage_gan")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LIKE_ANOTHER)) for name in METHODS],
)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, letters: None) -> Iterator[Runs]:
    method, out = METHODS[request.param], tmp_path_factory.mktemp(request.param)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Runs(
        method,
        blank_run(method, out / "first", ONE),
        blank_run(method, out / "secret", OTHER),
        blank_run(method, out / "seed", ONE, seed=1),
        blank_run(method, out / "images", ONE, change=others),
    )
    torch.set_num_threads(threads)


def test_trap_5_every_stream_holds_the_secret_of_its_run_folder(runs: Runs) -> None:
    for run, secret in ((runs.first, ONE), (runs.other_secret, OTHER), (runs.other_seed, ONE)):
        assert run.secret == secret
        assert run.streams == {(secret, row["stage"]) for row in run.ledger}


def test_trap_5_and_7_no_two_draws_share_their_bits(runs: Runs) -> None:
    """Not by two stages, steps, purposes or images; and every step that is paid for has a sample and noise of its
    own."""
    draws = runs.first.draws
    assert [draw for draw, times in Counter(draws).items() if times > 1] == []
    assert [row["stage"] for row in runs.first.ledger] and {row["stage"] for row in runs.first.ledger} == {
        stage for stage, *_ in draws
    }
    for row in runs.first.ledger:
        mine = [draw[1:] for draw in draws if draw[0] == row["stage"]]
        steps = list(range(row["steps"]))
        assert sorted({step for kind, step, *_ in mine if kind == "normal"}) == steps, row["stage"]
        if row["sampling_rate"] < 1:
            taking = [step for kind, step, purpose, _ in mine if (kind, purpose) == ("uniform", "participants")]
            assert taking == steps, row["stage"]


def test_every_answer_has_the_noise_that_the_ledger_says(runs: Runs) -> None:
    """Nothing is contributed, so the noisy sums of two runs, as they are read, are normal with a standard deviation of
    noise multiplier times sensitivity: chi-square at level 1e-6 and Kolmogorov-Smirnov at 1e-6 for each stage."""
    assert {row["stage"] for row in runs.first.ledger} == set(runs.method.sensitivities) == set(runs.first.sold)
    for row in runs.first.ledger:
        stage = row["stage"]
        size = row["noise_multiplier"] * runs.method.sensitivities[stage]
        noise = np.concatenate([run.noise(stage) for run in (runs.first, runs.other_secret)]) / size
        low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], len(noise))
        assert len(noise) >= 600, stage
        assert low < float(noise @ noise) < high, (stage, len(noise), float(noise.std()))
        assert stats.kstest(noise, "norm").pvalue > 1e-6, stage


def test_trap_5_noise_follows_the_secret_and_not_the_seed(runs: Runs) -> None:
    """Another --seed, the same noise at every stage; another secret, noise that has nothing to do with it (correlation
    within 5 standard errors: wrong once in 1.7 million)."""
    for stage in runs.method.sensitivities:
        noise = runs.first.noise(stage)
        np.testing.assert_allclose(runs.other_seed.noise(stage), noise, rtol=1e-4, atol=1e-5, err_msg=stage)
        apart = np.corrcoef(noise, runs.other_secret.noise(stage))[0, 1]
        assert abs(apart) < 5 / len(noise) ** 0.5, stage
    released = [run.released[0].images_NHWC for run in (runs.first, runs.other_secret)]
    assert not np.array_equal(*released)


def test_images_that_add_nothing_leave_no_trace(runs: Runs) -> None:
    """All that is not summed under noise is the same whatever the private images and their classes are: what is sold,
    the release, and its certificate."""
    first, other = runs.first, runs.other_images
    for stage in runs.method.sensitivities:
        assert np.array_equal(other.noise(stage), first.noise(stage)), stage
    (images, promise, more), (others_images, others_promise, others_more) = first.released, other.released
    assert np.array_equal(others_images.images_NHWC, images.images_NHWC)
    assert np.array_equal(others_images.labels_N, images.labels_N)
    assert others_promise == promise
    assert more.keys() == others_more.keys() and all(
        np.array_equal(value, others_more[name]) for name, value in more.items()
    )


def test_a_generator_does_not_learn_how_many_took_part(runs: Runs) -> None:
    """Its batches are those of the settings, under other samples, too."""
    for run in (runs.first, runs.other_secret):
        assert set(run.turns) == ({runs.method.turn} if runs.method.turn else set())
