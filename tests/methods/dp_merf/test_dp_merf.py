"""The whole pipeline on real digits: its plan, its release, its promise, and that stopping it changes nothing."""

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
from raysyn.data.fourier import FourierConfig
from raysyn.draw_source import Source
from raysyn.methods import ends, synthesis
from raysyn.methods.dp_merf import pipeline as dp_merf
from raysyn.methods.dp_merf.config import Config
from raysyn.methods.embedded import class_embeddings
from raysyn.methods.machines import On
from raysyn.metrics.utility import EvalConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries import embedding
from raysyn.privacy.queries.embedding import EmbeddingConfig
from raysyn.runs.storage import load_saved
from raysyn.train.embedding import MatchConfig

TINY = Config(
    data=data.DataConfig(limit=300),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    features=FourierConfig(count=64),
    network=UpsamplerConfig(latent=4, hidden=8, channels=4),
    training=MatchConfig(iterations=20, batch_size=20),
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
    return whole_run(dp_merf, config, out, On(address="here"), about=about, compute=compute, text=text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(TINY, out / "run")
    return out / "run"


def test_report_and_certificate_keep_the_contract(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    (row,) = report["privacy"]["ledger"]
    assert (row["stage"], row["sampling_rate"], row["steps"]) == ("embedding", 1.0, 1)
    assert 0.99 * 8 < certificate["epsilon"] == report["privacy"]["epsilon"] <= 8.0
    stages = {"embedding", "generator", "synthesise", "utility", "fidelity", "distances"}
    assert set(report["timings"]) == stages


def test_more_images_can_be_drawn_from_the_generator_alone(whole: Path) -> None:
    tensors = drawn_again(dp_merf.METHOD, TINY, whole)
    assert all(name.startswith("generator/model/") for name in tensors), "the answer stays inside"


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(dp_merf.METHOD, TINY, whole)


def test_draw_reads_the_generator_that_no_ledger_has_a_row_of_and_nothing_else_unpaid(whole: Path) -> None:
    """It is made of the paid answer alone, and its method says so."""
    signed = json.loads((whole / "release/certificate.json").read_text())
    method = dp_merf.METHOD
    assert method.drawing is not None and method.network is not None
    shown = {"run": str(whole), "method": "dp_merf", "config": TINY, "signed": signed, "fault": ""}
    told: dict[str, Any] = {**shown, "drawing": method.drawing}
    assert "model" in Source(**told, made=method.network.made).answer("generator")
    for stage, made in (("generator", ()), ("synthesise", method.network.made)):
        with pytest.raises(ValueError, match=f"whose ledger has no {stage}: nothing may be drawn from it"):
            Source(**told, made=made).answer(stage)


def test_trap_11_and_30_a_stopped_run_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    continues_to_the_same_bytes(partial(run, QUICK), (embedding.EMBEDDING,), whole, tmp_path / "run", monkeypatch)


def test_trap_05_two_runs_of_one_config_differ(whole: Path, tmp_path: Path) -> None:
    run(QUICK, tmp_path / "other")
    answers = [load_saved(out / "internal/stages/embedding.pt").numpy() for out in (whole, tmp_path / "other")]
    assert not np.any(answers[0] == answers[1]) and released(tmp_path / "other") != released(whole)


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(whole: Path) -> None:
    left = Left(whole, TINY, data.load(TINY.data))
    pinned(left, PROMISE)
    assert honest(left) >= spoken_by(ends)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_means_are_those_of_classes_as_large_as_they_are_told_to_be(share: float) -> None:
    """Of 900 and 100 images, told apart by their noisy counts; without these each is half."""
    config = replace(TINY, embedding=EmbeddingConfig(count_share=share))
    plan = embedding.plan(Budget(epsilon=50.0, delta=1e-4), 1000)
    sums = np.array([900.0, 100.0])[:, None] * np.array([0.5, -0.5, *[share] * bool(share)])
    means = class_embeddings(sums, config.embedding, plan, 1000)
    wanted = np.array([[0.5, -0.5]] * 2) * (1 if share else np.array([[1.8], [0.2]]))
    np.testing.assert_allclose(means, wanted, rtol=0.02)
