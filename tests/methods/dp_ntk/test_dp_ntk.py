"""The whole pipeline on real digits: its plan, its release, its promise, its warnings, and that stopping it changes
nothing."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopped_runs import continues_to_the_same_bytes, released
from what_is_said import honest, spoken_by
from what_leaves import PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.data.images import Images
from raysyn.data.tangent import TangentConfig
from raysyn.methods import ends, synthesis
from raysyn.methods.dp_ntk import pipeline as dp_ntk
from raysyn.methods.dp_ntk.config import Config
from raysyn.methods.dp_ntk.presets import PRESETS
from raysyn.methods.machines import On
from raysyn.metrics.utility import EvalConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries import embedding
from raysyn.runs.storage import load_saved
from raysyn.train.embedding import MatchConfig

JUDGED = EvalConfig(classifiers=("logreg",), epochs=1, floor=False, feature_epochs=1, precision_recall_images=50)
TINY = Config(
    data=data.DataConfig(limit=300),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    features=TangentConfig(widths=(6, 4)),
    network=UpsamplerConfig(latent=4, hidden=8, channels=4),
    training=MatchConfig(iterations=20, batch_size=20),
    synthetic=60,
    tuned_on="digits",
    chosen_among="3 runs by hand",
    eval=JUDGED,
)
QUICK = replace(TINY, eval=replace(JUDGED, classifiers=(), feature_epochs=0))
"""The same release, hardly judged."""


@pytest.fixture(autouse=True, scope="module")
def _chunks_of_twenty() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        yield


def run(config: Config, out: Path, compute: type[Compute] = Local, text: io.StringIO | None = None) -> Any:
    about = replace(config, eval=JUDGED, release=TINY.release)
    return whole_run(dp_ntk, config, out, On(address="here"), about=about, compute=compute, text=text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = tmp_path_factory.mktemp("ntk") / "run"
    run(TINY, done)
    return done


def test_one_answer_is_paid_for_and_certified(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    assert [(row["stage"], row["steps"]) for row in report["privacy"]["ledger"]] == [("embedding", 1)]
    assert 0.99 * 8 < certificate["epsilon"] <= 8.0
    answer = load_saved(whole / "internal/stages/embedding.pt").numpy()
    assert answer.shape == (10, (64 + 1) * 6 + (6 + 1) * 4 + 4 + 1 + 1), "a number for each weight, and a count"
    drawn_again(dp_ntk.METHOD, TINY, whole)
    attacked(dp_ntk.METHOD, TINY, whole)


def test_trap_11_and_30_stopped_anywhere_it_ends_in_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    continues_to_the_same_bytes(partial(run, QUICK), (embedding.EMBEDDING,), whole, tmp_path / "run", monkeypatch)


def test_trap_05_noise_is_new_in_every_run_and_the_network_is_not(whole: Path, tmp_path: Path) -> None:
    run(QUICK, tmp_path / "other")
    answers = [load_saved(out / "internal/stages/embedding.pt").numpy() for out in (whole, tmp_path / "other")]
    assert not np.any(answers[0] == answers[1]) and released(tmp_path / "other") != released(whole)


def test_what_may_leave_is_pinned_and_honest(whole: Path) -> None:
    left = Left(whole, TINY, data.load(TINY.data))
    pinned(left, PROMISE)
    assert honest(left) >= spoken_by(ends)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


@pytest.mark.parametrize(("epsilon", "n", "warned"), [(1.0, 60_000, False), (0.05, 3_000, True)])
def test_the_plan_warns_where_a_generator_would_learn_noise(epsilon: float, n: int, warned: bool) -> None:
    """By the bound against the largest singular value of such noise, which is met within a tenth."""
    config, labels = PRESETS["cpu-mnist"], np.zeros(n, np.int64)
    nobody = Images(np.zeros((n, 28, 28, 1), np.uint8), labels, tuple("0123456789"))
    planned = embedding.plan(Budget(epsilon=epsilon), n)
    told = dp_ntk.drowned(config, nobody, planned)
    assert bool(told) == warned and all("mostly noise" in one for one in told)
    noise = np.random.default_rng(0).standard_normal((800, 785)) * planned.noise("embedding") / (n / 10)
    largest = float(np.linalg.norm(noise, 2))
    assert (largest >= dp_ntk.DROWNED) == warned
    if warned:
        said = float(told[0].partition("up to ")[2].split()[0])
        assert said == pytest.approx(largest, rel=0.1)


def test_presets_are_the_published_ones() -> None:
    """Networks, batches, steps and rates of the public code; noise by rdp, and no count of classes."""
    grey, colour = PRESETS["paper-mnist-eps1"], PRESETS["paper-cifar10-eps10"]
    assert (grey.features.widths, grey.training.batch_size, grey.network.latent) == ((800,), 5_000, 5)
    assert (colour.features.widths, colour.training.batch_size, colour.network.latent) == ((32, 256), 2_500, 60)
    for one in (grey, colour):
        assert (one.training.iterations, one.training.learning_rate, one.embedding.count_share) == (2_000, 0.009, 0.0)
        assert (one.features.outputs, one.synthetic, one.budget.accountant) == (10, 60_000, "rdp")
