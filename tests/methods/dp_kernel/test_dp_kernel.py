"""The whole pipeline on real digits: its plan, its release, its promise, and that stopping it changes nothing."""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stopped_runs import continues_to_the_same_bytes, released
from what_is_said import honest, spoken_by
from what_leaves import PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.compute.worker import Alone
from raysyn.data import images as data
from raysyn.data.rbf import Kernel, KernelConfig
from raysyn.methods import ends, synthesis
from raysyn.methods.dp_kernel import outlook
from raysyn.methods.dp_kernel import pipeline as dp_kernel
from raysyn.methods.dp_kernel.config import Config
from raysyn.methods.machines import On
from raysyn.metrics.utility import EvalConfig
from raysyn.models.upsampler import Upsampler, UpsamplerConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries import functions
from raysyn.privacy.queries.functions import FUNCTIONS, RoundsConfig
from raysyn.runs.storage import load_saved
from raysyn.train.pulled import PullConfig, Pulled, descent

TINY = Config(
    data=data.DataConfig(limit=300),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    rounds=RoundsConfig(count=6, batch_size=60),
    network=UpsamplerConfig(latent=4, hidden=8, channels=4),
    training=PullConfig(crowd=3),
    synthetic=60,
    tuned_on="digits",
    chosen_among="3 runs by hand",
    eval=EvalConfig(classifiers=("logreg",), epochs=1, floor=False, feature_epochs=1, precision_recall_images=50),
)
QUICK = replace(TINY, eval=replace(TINY.eval, classifiers=(), feature_epochs=0))
"""The same release, hardly judged."""


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        yield


def run(config: Config, out: Path, compute: type[Compute] = Local, text: io.StringIO | None = None) -> Any:
    about = replace(config, eval=TINY.eval, release=TINY.release)
    return whole_run(dp_kernel, config, out, On(address="here"), about=about, compute=compute, text=text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(TINY, out / "run")
    return out / "run"


def test_report_and_certificate_keep_the_contract(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    (row,) = report["privacy"]["ledger"]
    assert (row["stage"], row["sampling_rate"], row["steps"]) == ("functions", 60 / 300, 6)
    assert 0.99 * 8 < certificate["epsilon"] == report["privacy"]["epsilon"] <= 8.0
    stages = {"functions", "synthesise", "utility", "fidelity", "distances"}
    assert set(report["timings"]) == stages


def test_more_images_can_be_drawn_from_the_generator_alone(whole: Path) -> None:
    tensors = drawn_again(dp_kernel.METHOD, TINY, whole)
    assert all(name.startswith("functions/model/") for name in tensors)


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(dp_kernel.METHOD, TINY, whole)


def test_trap_11_and_30_a_stopped_run_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    continues_to_the_same_bytes(partial(run, QUICK), (), whole, tmp_path / "run", monkeypatch, (FUNCTIONS,))


def test_trap_05_two_runs_of_one_config_differ(whole: Path, tmp_path: Path) -> None:
    run(QUICK, tmp_path / "other")
    first, other = (load_saved(out / "internal/stages/functions.pt")["model"] for out in (whole, tmp_path / "other"))
    assert not torch.any(first["dense.0.weight"] == other["dense.0.weight"]) and released(
        tmp_path / "other"
    ) != released(whole)


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(whole: Path) -> None:
    left = Left(whole, TINY, data.load(TINY.data))
    pinned(left, PROMISE)
    assert honest(left) >= spoken_by(ends)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


def taught(training: PullConfig, rounds: int, *, shape: tuple[int, int, int] = (8, 8, 1), classes: int = 2) -> Pulled:
    torch.manual_seed(0)
    made = Upsampler(UpsamplerConfig(latent=4, hidden=8, channels=4), shape, classes)
    pupil = Pulled(made, KernelConfig(), training, rounds, 0)
    pupil.join(Alone())
    return pupil


def test_the_generator_comes_to_where_a_function_is_high() -> None:
    """Two classes of one picture each, hardly any noise: its images come nearer than they began, each to its own."""
    grey = np.array([40, 215], np.uint8)[np.arange(200) % 2]
    private = data.Images(
        np.broadcast_to(grey[:, None, None, None], (200, 8, 8, 1)).copy(), np.arange(200) % 2, ("a", "b")
    )
    config = RoundsConfig(count=150, batch_size=100)
    pupil = taught(PullConfig(crowd=4, ema=0.0, learning_rate=0.05), config.count)
    before = pupil.points(0).mean((1, 2))
    cost = replace(config.cost(200), noise_multiplier=1e-3)
    functions.fit(Alone(), pupil, private, KernelConfig(), config, cost, bytes(32))
    after = pupil.points(0).mean((1, 2))
    wanted = torch.tensor([40, 215]) * (2 / 255) - 1
    assert ((after - wanted).abs() < 0.5 * (before - wanted).abs()).all(), (before, after)


def test_descent_is_that_of_the_squared_distance() -> None:
    """By differentiating it: pairs of generated images, each twice, and the function at each."""
    random = np.random.default_rng(0)
    points = torch.from_numpy(random.uniform(-1, 1, (2, 3, 4))).requires_grad_()
    towards, shares_K = torch.from_numpy(random.normal(size=(2, 3, 4))), torch.tensor([0.3, 0.7], dtype=torch.float64)
    of = Kernel(lengths=(0.5, 1.5))
    pairs_KBB = of.weighted((points[:, :, None] - points[:, None]).square().sum(3), 0)
    together_K = (pairs_KBB.sum((1, 2)) - 3) / (3 * 2)
    loss = (shares_K**2 * together_K - 2 * shares_K * (points * towards).sum((1, 2)) / 3).sum()
    loss.backward()
    assert points.grad is not None
    torch.testing.assert_close(descent(points.detach(), towards, shares_K, of), points.grad)


def test_likeness_has_an_order_far_from_everything() -> None:
    """Where the kernel itself is rounded to 0; near, it is its logarithm."""
    of, squared = Kernel(lengths=(0.5, 1.5)), torch.tensor([[1.0, 4.0], [8e3, 9e3], [1e4, 2e4]], dtype=torch.float64)
    found_N, plain_N = of.log_mean(squared), of.weighted(squared, 0).mean(1)
    assert plain_N[0] > 0 and found_N[0] == pytest.approx(math.log(plain_N[0])) and not plain_N[1:].any()
    assert found_N[0] > found_N[1] > found_N[2] > -math.inf


def test_the_outlook_counts_images_where_persons_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """12 images of 5 persons: a sample of so many persons is of 12/5 as many images, and beyond those that are tried a
    round is taken to last longer by as much."""
    pixels, whose = np.zeros((12, 8, 8, 1), np.uint8), np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4])
    single = data.Images(pixels, np.arange(12) % 2, ("a", "b"))
    config, measured = replace(TINY, rounds=RoundsConfig(count=7, batch_size=5)), list[int]()
    assert outlook.usual_sample(config, single) == 5
    assert outlook.usual_sample(config, replace(single, persons_N=whose)) == 12

    def of_a_second(clock: Any, pupil: Any, few: data.Images, *_: Any) -> None:
        measured.append(len(few))
        clock.times.extend([0.0, 1.0])

    monkeypatch.setattr(outlook, "fit", of_a_second)
    monkeypatch.setattr(outlook, "TRIED", 6)
    assert outlook.learning_seconds(config, single) == 7.0
    assert outlook.learning_seconds(config, replace(single, persons_N=whose)) == 14.0 and measured == [5, 6]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_is_no_finite_number_is_not_released(ema: float) -> None:
    """In the last round too: `fit` looks at each mark and at the end."""
    pupil = taught(PullConfig(ema=ema), 1)
    pupil.check(1)
    before = {name: value.clone() for name, value in pupil.generator.state_dict().items()}
    pupil.check(1)
    assert all(torch.equal(value, before[name]) for name, value in pupil.generator.state_dict().items())
    weights = pupil.weights()
    weights["dense.1.running_mean"].fill_(float("nan"))
    with pytest.raises(RuntimeError, match=r"round 7 ended with no finite numbers: lower training\.learning_rate"):
        pupil.check(7)
    weights["dense.1.running_mean"].fill_(3e38)
    weights["dense.1.running_var"].fill_(0.0)
    weights["dense.1.weight"].fill_(-3e38)
    with pytest.raises(RuntimeError, match="no finite numbers"):
        pupil.check(7)


@pytest.mark.parametrize(("side", "colours", "labels"), [(8, 3, True), (13, 1, True), (16, 3, False)])
def test_images_of_any_kind_are_learned_from(side: int, colours: int, labels: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, side, side, colours), dtype=np.uint8)
    names = ("a", "b", "c") if labels else ("all",)
    private = data.Images(pixels, np.arange(60) % len(names), names)
    config = RoundsConfig(count=2, batch_size=20)
    pupil = taught(PullConfig(crowd=2), 2, shape=private.shape, classes=len(names))
    cost = replace(config.cost(60), noise_multiplier=1.0)
    answer = functions.fit(Alone(), pupil, private, KernelConfig(), config, cost, bytes(32))
    assert all(bool(value.isfinite().all()) for value in answer.value["model"].values())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PullConfig(crowd=1), r"training\.crowd is 1: give 2 to 64"),
        (lambda: PullConfig(crowd=65), r"training\.crowd is 65"),
        (lambda: PullConfig(optimizer="sgd"), r"training\.optimizer is 'sgd'"),  # type: ignore[arg-type]
        (lambda: PullConfig(learning_rate=0.0), r"training\.learning_rate is 0"),
        (lambda: PullConfig(final=0.0), r"training\.final is 0"),
        (lambda: PullConfig(ema=1.0), r"training\.ema 1"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        make()
    assert "\n" not in str(refused.value)
