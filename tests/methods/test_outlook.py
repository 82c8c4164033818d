"""A dry run tells the time of every stage that a run's report will name, and their sum."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods import catalogue, outlook
from raysyn.methods.leaderboard import outlook as of_leaderboard
from raysyn.methods.leaderboard.config import Config as LeaderboardConfig
from raysyn.methods.leaderboard.config import On as LeaderboardOn
from raysyn.methods.leaderboard.config import Run, runs
from raysyn.methods.leaderboard.outlook import show_outlook
from raysyn.methods.machines import On
from raysyn.methods.needs import private_need
from raysyn.methods.outlook import Stage
from raysyn.methods.privimage import outlook as of_privimage
from raysyn.methods.privimage.presets import PRESETS as PRIVIMAGE
from raysyn.models.unet import UNet, UNetConfig
from raysyn.privacy import trial
from raysyn.privacy.ledger import Release
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.report.verify import verify
from raysyn.screen import cli
from raysyn.screen.console import Console, duration
from raysyn.train import outlook as timing
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.private_gan import PrivateGame

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


def leaderboard(config: LeaderboardConfig, there: set[str] = frozenset(), address: str = "local") -> str:
    shown = StringIO()
    with Console(shown) as console:
        units = runs(config)
        machines = LeaderboardOn(workers=None if address == "here" else 2, address=address)
        show_outlook(console, units, dict.fromkeys(one.name for one in units), config.judges, machines, there)
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
    # What has ended is not run again, and in this process one follows the other.
    config = LeaderboardConfig(methods=("dp_feta",), epsilons=(1.0, 10.0), seeds=(0, 1))
    shown = leaderboard(config, {"dp_feta-quick-eps1-seed0"}, "here")
    assert rows(shown)["all"] == ["30 min 00 s"] and rows(shown)["dp_feta-quick-eps1-seed0"] == ["has ended"]
    assert "at a time" not in shown
    measured.clear()
    leaderboard(config, {one.name for one in runs(config)})
    assert not measured
    shown = leaderboard(LeaderboardConfig(methods=("dp_feta",), epsilons=(1.0, 10.0), seeds=(0, 1)))
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


@pytest.mark.parametrize("each_s", [1e-4, 0.05, 2.0])
@pytest.mark.parametrize("copies", [1, 32])
@pytest.mark.parametrize("batch_size", [1, 2, 4096])
@pytest.mark.parametrize("given", [None, 8, 4096])
def test_a_private_step_is_priced_from_two_smaller_ones(
    given: int | None, batch_size: int, copies: int, each_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow images too: what a large batch takes was once the difference of two equal measurements, whatever came out;
    and an overhead of a step is paid once, the trial of a micro-batch in all its copies."""
    overhead_s, starting_s, tries, pixels = 0.3, 5.0, 16, 8 * 8
    measured = list[tuple[int, int]]()

    def fit(clock: timing.Stopwatch, model: Any, task: Any, some: Images, config: SGDConfig, cost: Any, secret: bytes,
            speed: SGDSpeed) -> Release[dict[str, Any]]:  # fmt: skip
        images, held = config.batch_size, config.noise_multiplicity
        measured.append((images, held))
        step_s = overhead_s + images * held * each_s
        micro = speed.micro_batch or min(images, trial.PIXELS_AT_ONCE["cpu"] // (held * pixels))
        tried_s = 0.0 if speed.engine != "auto" else tries * min(micro, images) * held * each_s
        clock.times = [starting_s + tried_s + step_s * done for done in (1, 2, 3, 4)]
        choice = trial.Choice(engine="loop", micro_batch=micro, channels_last=True, precision="float32")
        return Release({"engine": choice.as_dict()}, cost)

    monkeypatch.setattr(outlook, "sgd", SimpleNamespace(fit=fit))
    monkeypatch.setattr(outlook, "now", lambda: 0.0)
    monkeypatch.setattr(outlook, "gradient_seconds", lambda *_: each_s)
    like = outlook.made_up(Images(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, np.int64), ("a", "b")), 5000)
    config = SGDConfig(batch_size=batch_size, epochs=2, noise_multiplicity=copies)
    network = UNet(UNetConfig(width=8, multipliers=(1,), blocks=1, attention=()), 1, (8, 8), 2)
    found = outlook.private_seconds(network, DiffusionTask(classes=2), like, config, SGDSpeed(micro_batch=given))
    micro = min(batch_size, given or min(256, trial.PIXELS_AT_ONCE["cpu"] // (copies * pixels)))
    whole_s = overhead_s + batch_size * copies * each_s
    if batch_size == 1:  # of which no difference is known: the overhead counts in every copy
        whole_s = (overhead_s + measured[0][1] * each_s) * copies / measured[0][1]
    expected = config.cost(5000).steps * whole_s + starting_s + tries * micro * copies * each_s
    assert found == pytest.approx(expected)
    assert max(images * held for images, held in measured) * each_s <= max(outlook.STEP_S, 2 * each_s)


@pytest.mark.parametrize("ratio", [1, 2, 5])
def test_the_generator_is_priced_by_its_own_turns_and_batch(ratio: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the few steps that are measured of the discriminator it may have no turn, and there it plays with few."""
    asked = list[int]()

    def step(game: PrivateGame, worker: Any, model: Any, done: int) -> None:
        asked.append(game.config.batch_size)
        clock[0] += 0.5 * game.config.batch_size

    clock = [0.0]
    preset = PRIVIMAGE["quick-gan"]
    config = replace(preset, gan=replace(preset.gan, discriminator_steps=ratio))
    like = outlook.made_up(Images(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, np.int64), ("a", "b")), 1000)
    monkeypatch.setattr(of_privimage, "private_seconds", lambda *_: 7.0)
    monkeypatch.setattr(PrivateGame, "step", step)
    monkeypatch.setattr(timing, "now", lambda: clock[0])
    found = of_privimage.gan_seconds(config, like, None, SGDSpeed())
    steps, batch = config.finetune.cost(1000).steps, config.finetune.batch_size
    assert asked == [4, 4] and found["finetune"] == pytest.approx(7 + steps // ratio * batch * 0.5)


@pytest.mark.parametrize("private", [True, False])
def test_a_gan_is_measured_as_it_is(private: bool) -> None:
    config = replace(PRIVIMAGE["quick-gan"], private=private)
    like = outlook.made_up(Images(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, np.int64), ("a", "b")), 1000)
    found = of_privimage.gan_seconds(config, like, Public("letters", like, like), SGDSpeed())
    assert set(found) == {"pretrain", "finetune", "synthesise"} and all(spent > 0 for spent in found.values())


def test_a_measurement_is_of_as_many_images_as_a_moment_is_enough_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = [0.0], list[int]()
    monkeypatch.setattr(timing, "now", lambda: clock[0])

    def act(each_s: float, count: int) -> None:
        asked.append(count)
        clock[0] += each_s * count

    assert outlook.each_seconds(partial(act, 5.0), 64) == pytest.approx(5) and max(asked) == 4
    asked.clear()
    assert outlook.each_seconds(partial(act, 0.05), 64) == pytest.approx(0.05) and max(asked) in (11, 12)
    asked.clear()
    assert outlook.each_seconds(partial(act, 1e-4), 64) == pytest.approx(1e-4) and max(asked) == 64
    assert outlook.each_seconds(partial(act, 1e-4), 1) == pytest.approx(1e-4)

    def start(count: int) -> None:
        """On a GPU: what starting takes, however many there are."""
        asked.append(count)
        clock[0] += 0.05

    asked.clear()
    assert outlook.each_seconds(start, 64) == pytest.approx(0.05 / 48) and asked == [4, 4, 48, 48]


def test_noise_is_measured_with_in_place_of_the_private_images() -> None:
    private = Images(np.full((9, 8, 8, 1), 7, np.uint8), np.zeros(9, np.int64), ("a", "b"))
    made = outlook.made_up(private, 40)
    assert made.shape == private.shape and made.class_names == ("a", "b") and set(made.labels_N) == {0, 1}
    assert made.images_NHWC.std() > 50


@pytest.mark.parametrize(("most", "rounds"), [(100, 2), (295, 1)])
def test_the_attack_by_distances_is_of_all_images_of_whom_it_asks_about(
    most: int, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of persons with three images each; and once more for its control, where enough are left for one."""
    monkeypatch.setattr(outlook, "seconds", lambda _: 1e4)
    monkeypatch.setattr(outlook.pace, "classifier_seconds", lambda *_: 5.0)
    private = Images(np.zeros((900, 8, 8, 1), np.uint8), np.arange(900) % 2, ("a", "b"), np.arange(900) // 3)
    (stage,) = outlook.attacking(most, private, synthetic=50, test=600)
    pool = 3 * most + min(3 * most, 600)
    assert stage.seconds == 5 * rounds + (2 * rounds * pool * (2 * 50 + pool) + 50 * 900) / 2
