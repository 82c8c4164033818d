"""A dry run tells the time of every stage that a run's report will name, and their sum."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysyn.data.images import Images
from raysyn.methods import catalogue, outlook
from raysyn.methods.leaderboard import outlook as of_leaderboard
from raysyn.methods.leaderboard.config import Config as LeaderboardConfig
from raysyn.methods.leaderboard.config import On as LeaderboardOn
from raysyn.methods.leaderboard.config import Run, runs
from raysyn.methods.leaderboard.outlook import show_outlook
from raysyn.methods.machines import On
from raysyn.methods.needs import private_need
from raysyn.methods.outlook import Stage
from raysyn.models.unet import UNet, UNetConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.report.verify import verify
from raysyn.screen import cli
from raysyn.screen.console import Console, duration
from raysyn.train import outlook as timing
from raysyn.train.diffusion import DiffusionTask

JUDGED = "--eval.epochs 1 --eval.classifiers logreg --eval.feature-epochs 1 "
AUDITED = "--audit.canaries 40 "
SGD = "--on.sgd.engine bookkeeping --on.sgd.micro-batch 32 --on.sgd.channels-last True "
TINY = {
    "noisy_means": "quick --data.limit 300 --synthetic 100 --classes.noisy-counts 5 " + JUDGED + AUDITED,
    "evolution": "quick --data.limit 300 --synthetic 100 --votes.candidates 10 " + JUDGED + AUDITED,
    "dp_merf": "quick --data.limit 300 --features.count 100 --training.iterations 5 --synthetic 100 "
    "--classes.noisy-counts 5 " + JUDGED + AUDITED,
    "dp_ntk": "quick --data.limit 300 --features.widths 5 --training.iterations 5 --synthetic 100 "
    "--classes.noisy-counts 5 " + JUDGED + AUDITED,
    "dp_mepf": "quick --data.limit 300 --public.limit 300 --query.network.width 2 --query.epochs 1 --synthetic 100 "
    "--training.iterations 5 --classes.noisy-counts 5 " + JUDGED + AUDITED,
    "dp_kernel": "quick --data.limit 300 --rounds.count 5 --rounds.batch-size 60 --synthetic 100 "
    "--classes.noisy-counts 5 " + JUDGED + AUDITED,
    "p3gm": "quick --data.limit 300 --network.hidden 8 --mixture.iterations 2 --warmup.iterations 5 "
    "--finetune.batch-size 32 --finetune.epochs 1 --synthetic 100 --classes.noisy-counts 5 " + JUDGED + AUDITED + SGD,
    "dp_feta": "quick --data.limit 300 --network.width 8 --network.multipliers 1 --network.patch 2 --central.count 10 "
    "--warmup.iterations 5 --finetune.batch-size 32 --finetune.epochs 1 --sampler.steps 3 --synthetic 100 "
    + JUDGED + AUDITED + SGD,
    "dp_feta gaussian": "quick --data.limit 300 --network.width 8 --network.multipliers 1 --network.patch 2 "
    "--central.kind gaussian --central.draws 50 --warmup.iterations 5 --finetune.batch-size 32 --finetune.epochs 1 "
    "--sampler.steps 3 --synthetic 100 --classes.noisy-counts 5 " + JUDGED + AUDITED + SGD,
    "dp_feta evolution": "quick --data.limit 300 --network.width 8 --network.multipliers 1 --network.patch 2 "
    "--central.kind evolution --central.draws 50 --votes.rounds 2 --votes.candidates 8 --warmup.iterations 5 "
    "--finetune.batch-size 32 --finetune.epochs 1 --sampler.steps 3 --synthetic 100 " + JUDGED + AUDITED + SGD,
    "dp_feta pro": "quick-pro --data.limit 300 --network.width 8 --network.multipliers 1 --network.patch 2 "
    "--central.count 10 --warmup.iterations 5 --frequency.features.count 100 --frequency.training.iterations 5 "
    "--frequency.draws 50 --frequency.warmup.iterations 5 --finetune.batch-size 32 --finetune.epochs 1 "
    "--sampler.steps 3 --synthetic 100 " + JUDGED + AUDITED + SGD,
    "privimage": "quick --data.limit 300 --public.limit 600 --query.network.width 4 --query.epochs 1 --network.width 8 "
    "--network.multipliers 1 --network.patch 2 --pretrain.iterations 5 --finetune.batch-size 32 --finetune.epochs 1 "
    "--central.count 10 --warmup.iterations 5 --sampler.steps 3 --synthetic 100 " + JUDGED + AUDITED + SGD,
    "privimage gan": "quick-gan --data.limit 300 --public.limit 600 --query.network.width 4 --query.epochs 1 "
    "--gan.network.channels 2 --gan.network.depth 1 --gan.discriminator.channels 2 --gan.pretrain.iterations 4 "
    "--finetune.batch-size 32 --finetune.epochs 1 --synthetic 100 --classes.noisy-counts 5 " + JUDGED + AUDITED + SGD,
    "dp_imgsyn": "quick --data.limit 300 --public.limit 300 --teacher.width 4 --training.batch-size 60 "
    "--training.epochs 1 --alignment.batch-size 20 --synthetic 100 --students shufflenet_v2 --distillation.epochs 1 "
    "--dissimilarity.images 50 --dissimilarity.epochs 1 --experiment.iterations 0 1 "
    + JUDGED + AUDITED + SGD,
    "dp_prototypes": "quick --data.limit 300 --public.limit 300 --query.network.width 2 --query.epochs 1 "
    "--synthetic 100 --students shufflenet_v2 --distillation.epochs 1 --dissimilarity.images 50 "
    "--dissimilarity.epochs 1 " + JUDGED + AUDITED,
    "knowledge_recycling": "quick --data.limit 200 --classifier.blocks 1 --classifier.width 4 --recipe.epochs 2 "
    "--recipe.batch-size 32 --search-epochs 2 --network.channels 4 --network.latent 8 --network.embedding 8 "
    "--gan.epochs 2 --gan.checkpoint-every 1 --compare-labels soft hard --tuning.trials 2 --tuning.first-verdict 1 "
    "--attack.shadow-models 4 --attack.images 60",
    "pigan": "quick --data.limit 400 --network.width 0.125 --gan.epochs 4 --gan.batch-size 32 "
    "--penalty.pretrain-epochs 1 --penalty.delay-epochs 2 --synthetic 100 --monte-carlo.fakes 300 "
    "--monte-carlo.suspects 20 --monte-carlo.components 10 --monte-carlo.repeats 5 --experiment.lambdas "
    "--eval.precision-recall-images 50 " + JUDGED,
    "pigan experiments": "quick --data.limit 400 --network.width 0.125 --gan.epochs 4 --gan.batch-size 32 "
    "--penalty.pretrain-epochs 1 --penalty.delay-epochs 2 --penalty.privgan-delay-epochs 2 --synthetic 100 "
    "--monte-carlo.fakes 300 --monte-carlo.suspects 20 --monte-carlo.components 10 --monte-carlo.repeats 5 "
    "--eval.precision-recall-images 50 --experiment.compare --experiment.lambdas 2 --experiment.privgan-lambdas 1 "
    "--experiment.epsilons 20 " + JUDGED,
    "pigan dpgan": "quick --data.limit 400 --model dpgan --network.width 0.125 --gan.epochs 1 --gan.batch-size 64 "
    "--synthetic 100 --monte-carlo.fakes 300 --monte-carlo.suspects 20 --monte-carlo.components 10 "
    "--monte-carlo.repeats 5 --experiment.lambdas --classes.noisy-counts 5 --eval.precision-recall-images 50 " + JUDGED
    + AUDITED,
    "lira": "quick --data.limit 100 --classifier.blocks 1 --classifier.width 4 --recipe.epochs 2 "
    "--attack.shadow-models 4 --attack.images 60",
}  # fmt: skip
"""Small runs with all stages that there are."""

pytestmark = pytest.mark.usefixtures("letters")


def command(case: str, out: Path, *more: str) -> tuple[catalogue.Entry, Any]:
    entry = catalogue.find(case.split()[0])
    flags = [*TINY[case].split(), "--out", str(out), *more]
    told = cli.parse(entry.presets(), flags, entry.summary, machines=entry.machines(), prog=case, seal=entry.seal)
    return entry, told


def rows(shown: str) -> dict[str, list[str]]:
    """{stage: cells} of the last table."""
    lines = [line.strip() for line in shown.splitlines() if line.strip()[:1] in ("│", "|")]
    cells = [[cell.strip() for cell in re.split("[│|]", line[1:-1])] for line in lines]
    return {name: more for name, *more in cells}


def planned(case: str, out: Path, *more: str) -> tuple[Sequence[Stage], str]:
    """The stages that a dry run tells of, and all that it shows of them."""
    entry, told = command(case, out, *more)
    method, shown = entry.method(), StringIO()
    with Console(shown) as console:
        stages = method.outlook(console, told.config, method.prepare(told.config), told.machines)
    return stages, shown.getvalue()


def timed(case: str, out: Path) -> set[str]:
    """Names of the stages that report.json times, of a run in this process."""
    from raysyn.verbs import connect

    entry, told = command(case, out, "--on.address", "here")
    with ExitStack() as stack:
        console, method = stack.enter_context(Console(said := StringIO())), entry.method()
        method.run(method.begin(told, console, connect, stack))
    # What the console counts is what comes, in its order.
    counted = [(int(at), int(of)) for at, of in re.findall(r"^\S (\d+)/(\d+) ", said.getvalue(), re.MULTILINE)]
    assert counted and [at for at, _ in counted] == list(range(1, len(counted) + 1)), said.getvalue()
    assert {of for _, of in counted} == {len(counted)}, said.getvalue()
    # What it released is whole.
    if (out / "release").exists():
        assert not [check for check in verify(out / "release") if not check.holds]
    return set(json.loads((out / "internal/report.json").read_text())["timings"])


LONG = (
    "dp_feta gaussian", "dp_feta evolution", "dp_feta pro", "privimage", "privimage gan", "dp_imgsyn",
    "knowledge_recycling", "pigan experiments", "pigan dpgan",
)  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [pytest.param(one, marks=[pytest.mark.slow] * (one in LONG)) for one in TINY])
def test_every_stage_that_a_report_times_is_in_the_outlook(case: str, tmp_path: Path) -> None:
    stages, shown = planned(case, tmp_path / "run")
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names) and names[0] == outlook.START_UP
    assert timed(case, tmp_path / "run") == set(names) - {outlook.START_UP}
    assert list(rows(shown))[-len(names) - 1 :] == [*names, outlook.ALL]


@pytest.mark.parametrize("case", ["dp_feta", "pigan", "lira"])
@pytest.mark.parametrize("count", [1, 3])
def test_all_is_the_sum_for_one_worker_and_for_those_there_are(case: str, count: int, tmp_path: Path) -> None:
    stages, shown = planned(case, tmp_path / "run", "--on.workers", str(count))
    assert all(0 <= stage.longest <= stage.seconds * 1.001 < 3600 for stage in stages)
    told = rows(shown)[outlook.ALL]
    assert told[0] == duration(sum(stage.seconds for stage in stages))
    assert told[1:] == ([duration(sum(stage.with_workers(3) for stage in stages))] if count == 3 else [])
    assert "on top" not in shown and "hours" not in shown


def test_workers_share_all_but_the_longest_part() -> None:
    assert Stage("train", 12.0).with_workers(3) == 4
    assert outlook.alone("plan", 12.0).with_workers(3) == 12
    assert outlook.units("units", [6.0, 3.0, 3.0]).with_workers(3) == 6
    assert outlook.units("nothing", []).with_workers(3) == 0


@pytest.mark.parametrize(
    ("machines", "count"),
    [(On(address="here"), 1), (On(workers=7), 7), (On(address="auto"), None), (On(address="auto", workers=5), 5)],
)
def test_the_workers_are_those_of_the_flags_or_unknown(machines: On, count: int | None) -> None:
    assert outlook.workers(machines) == count
    shown = StringIO()
    with Console(shown) as console:
        outlook.show(console, [Stage("train", 70.0)], machines, title="Outlook")
    assert ("not known here" in shown.getvalue()) == (count is None)
    assert (f"{count} workers" in shown.getvalue()) == ((count or 1) > 1)
    assert rows(shown.getvalue())["train"][0] == "1 min 10 s"


def test_what_other_programs_do_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing.torch.cuda, "is_available", lambda: False)
    assert timing.seconds(lambda: time.sleep(0.05), repeats=1) < 0.04


@pytest.mark.slow
def test_the_alignment_is_counted_with_likely_steps_and_at_most_is_said(tmp_path: Path) -> None:
    stages, shown = planned("dp_imgsyn", tmp_path / "run")
    assert "at most 50" in shown and {"steps", "align"} <= {stage.name for stage in stages}
    stages, shown = planned("dp_imgsyn", tmp_path / "run", "--alignment.iterations", "2", "--experiment.plane")
    assert "at most" not in shown and "steps" not in {stage.name for stage in stages}
    # Takes too long for a test that runs it.
    assert stages[-1].name == "plane"


def leaderboard(config: LeaderboardConfig) -> str:
    shown = StringIO()
    with Console(shown) as console:
        units = runs(config)
        show_outlook(console, units, dict.fromkeys(one.name for one in units), config.judges, LeaderboardOn(workers=2))
    return shown.getvalue()


def test_a_leaderboard_tells_the_time_of_each_run_and_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def spent(unit: Run, _: object) -> float | str:
        measured.append(unit.name)
        return 600.0 if unit.method == "dp_feta" else "no such file"

    monkeypatch.setattr(of_leaderboard, "run_seconds", spent)
    shown = leaderboard(LeaderboardConfig(methods=("dp_feta",), epsilons=(1.0, 10.0), seeds=(0, 1)))
    assert len(measured) == 1 and shown.count("dp_feta-quick-eps") == 4
    assert rows(shown)["all"] == ["40 min 00 s"] and "On 2 at a time: 20 min 00 s" in shown
    shown = leaderboard(LeaderboardConfig(methods=("dp_feta", "pigan"), epsilons=(1.0,), seeds=(0,)))
    assert rows(shown)["all"] == ["10 min 00 s, and what is not known"]
    assert rows(shown)["pigan-quick-seed0"] == ["-"] and "pigan quick is not estimated: no such file" in shown
    measured.clear()
    shown = leaderboard(LeaderboardConfig(methods=("dp_feta",), vary=("--central.count 0 10",)))
    assert [name.partition("-eps")[0] for name in measured] == [f"dp_feta-quick-central.count-{one}" for one in (0, 10)]
    assert rows(shown)["all"] == ["1 h 20 min"] and "cnn, mlp, logreg" in shown


def test_a_run_of_a_leaderboard_is_measured_by_its_methods_outlook(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalogue.find("lira")
    monkeypatch.setattr(of_leaderboard.catalogue, "find", lambda name: entry)
    spent = of_leaderboard.run_seconds(Run("lira", "quick", None, 0), entry.presets()["quick"])
    assert isinstance(spent, float) and 1 < spent < 3600


@pytest.mark.parametrize(("copies", "told"), [(1, "images at a time"), (4, "images at a time, 4 inputs")])
def test_the_memory_line_speaks_of_images(copies: int, told: str) -> None:
    shape, config = (8, 8, 1), SGDConfig(batch_size=32, epochs=1, noise_multiplicity=copies)
    network = UNetConfig(width=8, multipliers=(1,), blocks=1, attention=())
    need = private_need(
        lambda: UNet(network, 1, (8, 8), 2), DiffusionTask(classes=2), shape, config, On(address="here"), copies
    )
    assert need.of.partition(" ")[2].startswith(told) and "rows" not in need.of


def test_noise_is_measured_with_in_place_of_the_private_images() -> None:
    private = Images(np.full((9, 8, 8, 1), 7, np.uint8), np.zeros(9, np.int64), ("a", "b"))
    made = outlook.made_up(private, 40)
    assert made.shape == private.shape and made.class_names == ("a", "b") and set(made.labels_N) == {0, 1}
    assert made.images_NHWC.std() > 50
