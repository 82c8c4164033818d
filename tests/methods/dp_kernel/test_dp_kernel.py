"""The whole pipeline on real digits: its plan, its release, its promise, and that stopping it changes nothing."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from stopped_runs import continues_to_the_same_bytes, released
from what_is_said import honest, spoken_by
from what_leaves import PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.methods import ends, synthesis
from raysyn.methods.dp_kernel import pipeline as dp_kernel
from raysyn.methods.dp_kernel.config import Config
from raysyn.methods.machines import On
from raysyn.metrics.utility import EvalConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries.functions import FUNCTIONS, RoundsConfig
from raysyn.runs.storage import load_saved
from raysyn.train.pulled import PullConfig

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
    continues_to_the_same_bytes(partial(run, QUICK), (FUNCTIONS,), whole, tmp_path / "run", monkeypatch)


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
