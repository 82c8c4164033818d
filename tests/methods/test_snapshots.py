"""Samples over training: moments of one network drawn with one noise, which change nothing that is released."""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from whole_run import whole_run

from raysyn.data.fourier import FourierConfig
from raysyn.data.images import DataConfig
from raysyn.methods import snapshots
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.methods.dp_feta.config import Config
from raysyn.methods.dp_feta.frequency_config import FrequencyConfig
from raysyn.methods.dp_feta.outlook import stages
from raysyn.methods.machines import On
from raysyn.methods.privimage import pipeline as privimage
from raysyn.methods.privimage.config import Config as PrivImage
from raysyn.metrics.utility import EvalConfig
from raysyn.models.unet import UNetConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.report.verify import main as verify
from raysyn.runs.storage import load_saved
from raysyn.train.embedding import MatchConfig
from raysyn.train.loop import LoopConfig
from raysyn.train.samplers import SamplerConfig

TINY = Config(
    data=DataConfig(limit=200),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    network=UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(), patch=2, positions=True),
    central=CentralConfig(count=10, downscale=1),
    warmup=LoopConfig(iterations=3, batch_size=16),
    finetune=SGDConfig(batch_size=40, epochs=1.2, learning_rate=1e-2),
    sampler=SamplerConfig(steps=2),
    synthetic=20,
    eval=EvalConfig(classifiers=(), feature_epochs=0, distances=0),
)
SECOND = FrequencyConfig(
    noise_multiplier=6.0, features=FourierConfig(count=64), network=UpsamplerConfig(latent=4, hidden=8, channels=4),
    training=MatchConfig(iterations=2, batch_size=20), draws=20, warmup=LoopConfig(iterations=2, batch_size=16),
)  # fmt: skip
DPDM = PrivImage(
    pretraining="none", data=TINY.data, budget=TINY.budget, network=TINY.network, finetune=TINY.finetune,
    sampler=TINY.sampler, synthetic=20, eval=TINY.eval,
)  # fmt: skip
SPEED = On(sgd=SGDSpeed(engine="bookkeeping", micro_batch=32, channels_last=True))
TITLE = "<h2>Samples over training</h2>"


def run(config: Config, out: Path) -> Any:
    return whole_run(dp_feta, config, out, SPEED, about=TINY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("snapshots") / "run"
    run(TINY, out)
    return out


def part(page: str) -> str:
    """The section of the page."""
    assert page.count(TITLE) == 1
    return page.partition(TITLE)[2].partition("</section>")[0]


def test_a_row_for_each_moment_says_its_step_and_what_was_spent_and_nothing_of_it_leaves(whole: Path) -> None:
    found = load_saved(whole / "internal/stages/snapshots-4.pt")
    shown = part((whole / "internal/report.html").read_text())
    told = re.findall(r'<td class="words">(.+?): ε ([\d.]+)</td>', shown)
    assert [words for words, _ in told] == [
        "before the first step", *(f"after {step} of 6 steps" for step in found["steps"][1:])
    ]  # fmt: skip
    spent = [float(epsilon) for _, epsilon in told]
    assert spent[0] > 0 and spent == sorted(spent) and len(set(spent)) == len(spent) and spent[-1] == 8.0
    drawn = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in re.findall(r"base64,([^\"]+)", shown)]
    assert len(drawn) == len(told) == 5 and not np.array_equal(drawn[0], drawn[-1])
    # Kept and drawn inside alone.
    assert sorted(path.stem for path in (whole / "internal/kept").iterdir()) == [f"finetune-{n}" for n in (0, 2, 3, 4)]
    files = {path.name for path in (whole / "release").rglob("*") if path.is_file()}
    assert files == {
        "README.md", "certificate.html", "certificate.json", "croissant.json", "disclosure.json", "samples.png",
        "synthetic.parquet",
    }  # fmt: skip


def test_the_last_row_is_drawn_from_what_is_released_with_the_noise_of_all(whole: Path) -> None:
    found = load_saved(whole / "internal/stages/snapshots-4.pt")
    prepared = dp_feta.prepare(TINY)
    private, labels = prepared.dataset.train, snapshots.shown(10)
    network = dp_feta.new_denoiser(TINY, private)
    shared = (network, TINY.sampler, labels, private.shape, TINY.seed)
    tuned = load_saved(whole / "internal/stages/finetune.pt")
    warm = load_saved(whole / "internal/stages/warmup.pt")
    assert torch.equal(snapshots.draw_moment(tuned["ema"], shared), found["images"][-1])
    kept = load_saved(whole / "internal/kept/finetune-0.pt")
    assert kept.keys() == warm["model"].keys()
    assert torch.equal(snapshots.draw_moment(kept, shared), found["images"][0])


def test_none_are_drawn_where_none_are_asked_for_and_the_release_is_the_same(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (whole / "internal/secret").read_bytes()
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])
    run(replace(TINY, snapshots=0), tmp_path / "run")
    assert TITLE not in (tmp_path / "run/internal/report.html").read_text()
    assert not (tmp_path / "run/internal/kept").exists()
    for name in ("synthetic.parquet", "samples.png", "certificate.json"):
        assert (tmp_path / "run/release" / name).read_bytes() == (whole / "release" / name).read_bytes(), name


def test_moments_that_were_not_kept_are_left_out_of_a_run_judged_anew(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    run(replace(TINY, snapshots=3), tmp_path / "run")
    assert load_saved(tmp_path / "run/internal/stages/snapshots-3.pt")["steps"] == [0, 2, 4, 6]
    shutil.rmtree(tmp_path / "run/internal/kept")
    run(replace(TINY, snapshots=6), tmp_path / "run")
    assert load_saved(tmp_path / "run/internal/stages/snapshots-6.pt")["steps"] == [6]
    assert part((tmp_path / "run/internal/report.html").read_text()).count("<tr>") == 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"central": replace(TINY.central, count=0)}, id="no central images"),
        pytest.param({"warmup": replace(TINY.warmup, iterations=0)}, id="no first warm-up", marks=pytest.mark.slow),
    ],
)
def test_a_second_warm_up_alone_has_taught_it_before_the_first_step(changes: dict[str, Any], tmp_path: Path) -> None:
    config = replace(TINY, frequency=SECOND, **changes)
    whole_run(dp_feta, config, tmp_path / "run", SPEED, about=config)
    found = load_saved(tmp_path / "run/internal/stages/snapshots-4.pt")
    assert found["steps"] == [0, 2, 3, 4, 6]
    assert "before the first step: ε" in part((tmp_path / "run/internal/report.html").read_text())


@pytest.mark.parametrize(("pipeline", "config"), [(dp_feta, TINY), (privimage, DPDM)], ids=["dp_feta", "privimage"])
def test_a_failure_in_them_leaves_the_release_written(
    pipeline: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "draw_moment", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        whole_run(pipeline, config, tmp_path / "run", SPEED, about=config)
    assert verify([str(tmp_path / "run/release")]) == 0
    assert not (tmp_path / "run/internal/report.json").exists()
    monkeypatch.undo()
    whole_run(pipeline, config, tmp_path / "run", SPEED, about=config)
    assert TITLE in (tmp_path / "run/internal/report.html").read_text()


def test_noise_of_an_untaught_network_is_not_shown(tmp_path: Path) -> None:
    config = replace(TINY, central=replace(TINY.central, count=0))
    whole_run(dp_feta, config, tmp_path / "run", SPEED, about=config)
    found = load_saved(tmp_path / "run/internal/stages/snapshots-4.pt")
    assert found["steps"] == [2, 3, 4, 6]


@pytest.mark.parametrize(("classes", "across"), [(1, 10), (2, 10), (3, 9), (7, 7), (10, 10), (100, 10)])
def test_a_row_has_its_classes_in_turn_in_columns(classes: int, across: int) -> None:
    labels = snapshots.shown(classes).reshape(snapshots.LINES, across)
    assert (labels[0] == labels[1]).all() and set(labels[0]) == set(range(min(classes, across)))


def test_a_slow_sampler_is_cut_short_and_the_outlook_counts_its_calls() -> None:
    slow = replace(TINY, sampler=SamplerConfig(name="edm", steps=1000, churn=10.0))
    assert snapshots.sampler_of(slow) == replace(slow.sampler, steps=snapshots.STEPS)
    assert snapshots.sampler_of(TINY) == TINY.sampler
    # 20 images of 20, at a twentieth of the calls or so, for each of five moments.
    (stage,) = snapshots.outlook(slow, 10, 100.0)
    assert stage.seconds == pytest.approx(5 * 100 * 99 / 1999, rel=0.02) and stage.longest == stage.seconds / 5
    assert snapshots.outlook(replace(slow, snapshots=0), 10, 100.0) == []
    assert "snapshots" in [stage.name for stage in stages(TINY, dp_feta.prepare(TINY), SPEED)]


@pytest.mark.parametrize("count", [-1, 51])
def test_moments_that_cannot_be_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"snapshots is {count}: give 0, which draws none, to 50"):
        replace(TINY, snapshots=count)
    with pytest.raises(ValueError, match=f"snapshots is {count}"):
        PrivImage(snapshots=count)


@pytest.mark.parametrize("changes", [{"generator": "gan"}, {"private": False}])
def test_a_flag_that_nothing_reads_is_told(changes: dict[str, Any]) -> None:
    assert "snapshots" in PrivImage(**changes).unread() and "snapshots" not in PrivImage().unread()
