"""`jobs/leaderboard.py`: runs beside each other, continued and extended. Its units need no Ray."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from queue import Queue
from threading import Thread
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from running import environment, here, refusal, run

from raysyn.command import main as raysyn_main
from raysyn.command import read as read_command
from raysyn.compute.doorway import unit_failure
from raysyn.compute.told import Sentence
from raysyn.data.images import DataConfig, load
from raysyn.methods import catalogue
from raysyn.methods.dp_feta.presets import PRESETS as PRESETS_OF_FETA
from raysyn.methods.leaderboard import running
from raysyn.methods.leaderboard.config import Config, Run, runs
from raysyn.methods.leaderboard.judging import Verdict, dataset_of
from raysyn.methods.leaderboard.page import _promise, console_rows, page, runs_text
from raysyn.methods.leaderboard.pipeline import Board, _reports, checked
from raysyn.methods.leaderboard.pipeline import run as run_board
from raysyn.methods.leaderboard.presets import PRESETS
from raysyn.methods.leaderboard.room import check_room
from raysyn.methods.leaderboard.rows import as_judged, by_chance, by_soft_labels, other_features, spread, table
from raysyn.methods.leaderboard.running import heard, run_job
from raysyn.methods.leaderboard.same import known_as
from raysyn.methods.varied import alternatives, short_name, words_of
from raysyn.metrics.utility import EvalConfig, judge
from raysyn.privacy import account as entered
from raysyn.privacy.admission import admit
from raysyn.privacy.cost import ADD_REMOVE, Cost
from raysyn.privacy.queries.moments import MEANS, SPREAD
from raysyn.privacy.sketch import Sketch
from raysyn.report.accounts import told
from raysyn.report.pictures import png_bytes
from raysyn.report.release import read_images
from raysyn.report.report import main as report_main
from raysyn.runs.account_book import beside
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import REACH, Store
from raysyn.screen import cli
from raysyn.screen.console import Console
from raysyn.screen.ended import Ended
from raysyn.screen.words import rounded_up

JOB, PYTHON = "leaderboard", sys.executable
METHODS = {one.name: one for one in catalogue.METHODS}
TINY = (
    "--data.limit 300 --network.width 8 --network.multipliers 1 --network.patch 2 --central.count 10 "
    "--warmup.iterations 3 --finetune.batch-size 32 --finetune.epochs 0.6 --sampler.steps 3 --synthetic 300 "
    "--snapshots 0 --eval.epochs 1 --eval.classifiers logreg mlp --eval.feature-epochs 1 --eval.distances 0 "
    "--on.sgd.engine bookkeeping --on.sgd.micro-batch 32 --on.sgd.channels-last True"
)


def in_this_process(command: list[str], *_: Any) -> subprocess.CompletedProcess[str]:
    """A run of the leaderboard's; one in a process of its own imports for seconds. Others below are in such a one."""
    assert command[:4] == [PYTHON, "-P", "-m", "raysyn"]
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        status = raysyn_main(command[4:])
    return subprocess.CompletedProcess(command, status, out.getvalue(), errors.getvalue())


@pytest.mark.timeout(300)
def test_runs_are_compared_and_more_settings_add_to_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "followed", in_this_process)
    flags = ["quick", "--methods", "dp_feta", "--epsilons", "5", "--out", tmp_path / "board", "--on.address", "here"]
    judges = ["--judges.classifiers", "logreg", "--judges.epochs", "1", "--columns", "precision", "precisoin"]
    more = [f"--more={TINY}", *judges, "--seeds", "3"]
    status, shown, said = here(JOB, *flags, *more, "--vary", "--central.count 10")
    assert (status, said) == (0, "") and "table.html" in shown, said
    told = (
        f"no run has (did you mean precision?); raysyn report {tmp_path / 'board'} --columns precisoin lists all that"
    )
    assert f"Left out: columns has precisoin, a figure that {told}" in " ".join(shown.split())
    assert report_main([str(tmp_path / "board"), "--columns", "precisoin"]) == 2
    assert "fidelity.precision" in capsys.readouterr().err
    inside = tmp_path / "board" / "internal"
    # The flags for all say 10 too: it is the run without --vary.
    folder = inside / "runs" / "dp_feta-quick-eps5-seed3"
    first = folder / "internal" / "report.json"
    (row,) = csv.DictReader((inside / "table.csv").read_text().splitlines())
    report = json.loads(first.read_text())
    reached = [one["accuracy"] for one in report["metrics"]["utility"].values()]
    assert len(reached) == 2 and float(row["mean_classifier"]) == pytest.approx(sum(reached) / 2)
    assert float(row["best_classifier"]) == max(reached) and row["runs"] == "1" and row["mean_classifier_std"] == ""
    mean, guessing = report["metrics"]["utility_mean"], report["metrics"]["utility_guessing"]
    beside = [mean["accuracy_floor"], mean["accuracy_real_data"], guessing["largest_class"], guessing["chance"]]
    assert [float(row[name]) for name in ("floor", "real_images", "largest_class", "chance")] == beside
    faithful = report["metrics"]["fidelity"]
    assert float(row["frechet_distance"]) == faithful["frechet_distance_cnn_features"] and row["fid"] == ""
    assert float(row["fidelity.precision"]) == faithful["precision"]
    assert float(row["epsilon"]) == report["privacy"]["epsilon"] <= 5 and row["guarantee"] == "dp"
    # Judged anew, by another recipe than its own: what it released, the floor of its budget, and real images.
    dataset = load(DataConfig(limit=300))
    logreg = EvalConfig(classifiers=("logreg",), epochs=1)
    for source, images in {
        "mean": read_images((folder / "release/synthetic.parquet").read_bytes()), "real_images": dataset.train
    }.items():  # fmt: skip
        alone = judge(("logreg", "synthetic"), {"synthetic": images, "test": dataset.test, "config": logreg, "seed": 0})
        assert float(row[f"judged_{source}"]) == alone["accuracy"], source
    assert 0 < float(row["judged_floor"]) <= 1 and row["judged_logreg"] == row["judged_mean"]
    before = first.stat().st_mtime_ns
    assert not of_leaderboard_in(inside / "runs"), "one run is no choice"
    assert row["releases_together"] == "1" and float(row["epsilon_together"]) == pytest.approx(float(row["epsilon"]))
    status, shown, said = here(JOB, *flags, *more, "--vary=--central.count 10 0")
    assert status == 0, said
    again, row = csv.DictReader((inside / "table.csv").read_text().splitlines())
    assert (again["method"], again["differs_in"]) == ("dp_feta", "central.count 10")
    assert (row["method"], row["command"], row["differs_in"]) == ("dpdm", "dp_feta", "central.count 0")
    assert (row["judged_floor"], row["judged_real_images"]) == (again["judged_floor"], again["judged_real_images"])
    assert row["runs"] == "1" and first.stat().st_mtime_ns == before
    page = (inside / "table.html").read_text()
    assert "central.count 0<" in page and "chosen among 2" in page
    links = re.findall('href="([^"]*)"', page)
    assert len(links) == 4 and all((inside / link).is_file() for link in links)
    assert all(told in shown for told in ("dpdm", "real images", "central.count 0", " precision "))
    # The earlier run, which is not run again, was chosen among more by now; and both cost more than one.
    assert (
        of_leaderboard_in(inside / "runs") == ["chosen among 2 runs of a leaderboard, by accuracy on real images"] * 2
    )
    told = f"All 2 private releases of digits together: epsilon {rounded_up(float(row['epsilon_together']))} at delta"
    assert told in page and told in " ".join(shown.split()) and row["releases_together"] == "2"
    assert 1.05 * float(row["epsilon"]) < float(row["epsilon_together"]) < 2 * float(row["epsilon"])
    assert os.stat(inside).st_mode & 0o077 == 0
    assert "more = " in refusal(JOB, *flags, "--seeds", "3")
    assert json.loads((inside / "run.json").read_text())["config"] == {"more": TINY}, "as in folders that there are"
    assert "holds runs of dp_feta with --more dp_feta:''" in refusal(
        JOB, *flags, *more, "--more", "dp_feta:--synthetic 90"
    )


def of_leaderboard_in(runs: Path) -> list[str]:
    """What the certificates of a leaderboard's runs say of it."""
    found = [json.loads(path.read_text()) for path in sorted(runs.glob("*/release/certificate.json"))]
    return [choice for one in found for choice in one["uncharged_choices"] if "leaderboard" in choice]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_methods_at_two_seeds(tmp_path: Path) -> None:
    done = run(JOB, "quick", "--epsilons", "10", "--out", "board", cwd=tmp_path, timeout_s=3600)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "board" / "internal" / "table.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == list(PRESETS["quick"].methods)
    assert all(row["runs"] == "2" and float(row["mean_classifier"]) > 0.5 for row in rows)
    assert [row["guarantee"] for row in rows] == ["dp"] * 11 + ["none"] * 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--methods", "dp_merf", "--presets", "cpu-cifar10"), "which dp_merf does not have: it has quick, cpu-mnist"),
        (
            ("--methods", "p3gm", "dp_merf", "--presets", "quick", "cpu-cifar10"),
            "which none of p3gm, dp_merf has",
        ),
        (("--seeds", "1", "1"), "seeds is (1, 1)"),
        (("--epsilons", "0"), "epsilons is (0.0,)"),
        (("--epsilons", "nan"), "epsilons is (nan,)"),
        (("--epsilons", "1", "1"), "epsilons is (1.0, 1.0)"),
        (("--more=--dry-run",), "--dry-run is what the leaderboard itself decides"),
        (("--more=--data.path 'a",), "mend its quotes"),
        (("--more=--out elsewhere",), "--out is what the leaderboard itself decides"),
        (("--more=--chosen-among nobody",), "--chosen-among is what the leaderboard itself decides"),
        (("--on.address", "here", "--on.workers", "2"), "on.workers is 2"),
        (("--judges.epochs", "0"), "judges.epochs is 0"),
        # Every run's own flags, before the first of them.
        (
            ("--more", "--data.pth x"),
            "run noisy_means-quick-eps1-seed0: --data.pth is no flag of noisy_means quick (did",
        ),
        (
            ("--methods", "noisy_means", "--more=--data.no-labels"),
            "run noisy_means-quick-eps1-seed0: its images are of one class, which is every classifier's answer to "
            "each: give --judges.classifiers with no name",
        ),
        (("--more", "--data.path /nowhere"), "run noisy_means-quick-eps1-seed0: data.path='/nowhere'"),
        (
            ("--methods", "noisy_means", "privimage", "--more", "privimage:--public.pth x"),
            "run privimage-quick-eps1-seed0: --public.pth is no flag of privimage quick",
        ),
        (
            ("--methods", "dp_feta", "--vary", "--central.count 5 -1"),
            "run dp_feta-quick-central.count--1-eps1-seed0: central.count is -1",
        ),
        (("--methods", "dp_feta", "--more", "privimage:--public.path x"), "privimage is not among the methods"),
        (("--more", "dp_feta:--epsilon 3"), "--epsilon is what the leaderboard itself decides"),
        (("--more", "dp_feta:--budget.epsilon 3"), "--budget.epsilon is what the leaderboard itself decides"),
        (("--budget.total", "10"), "budget.account and budget.total are of single runs"),
        (("--vary=--central.count",), "give one flag with its values"),
        (("--vary", "--central.count 1 --central.kind mode"), "give one flag with its values"),
        (("--vary", "--central.count 1 1"), "give each value once"),
        (("--vary", "--seed 1 2"), "--seed is what the leaderboard itself decides"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, "quick", "--out", tmp_path / "board", *flags)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few images of two classes, with persons in their names."""
    root = tmp_path_factory.mktemp("own") / "scans"
    for number in range(60):
        pixels = np.full((8, 8), number, np.uint8)
        split = "test" if number % 3 == 0 else "train"
        place = root / split / "ab"[number % 2] / f"{split}{number // 2}-{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png_bytes(pixels[..., None]))
    return root


@pytest.mark.parametrize(
    ("flags", "earlier", "words"),
    [
        # Each alone has room: 2 of epsilon 1 and 2 of epsilon 2.
        (
            "--budget.total 2.5",
            False,
            "budget.total is 2.5 at delta .*, of which earlier runs have spent or reserved 0,",
        ),
        ("", True, "and the 4 runs still to begin or to go on come to .*, .*: there is room for about"),
        ("--budget.new-total 2.6 --budget.reason more", True, "fewer runs or smaller --epsilons, or raise the total"),
        ("--data.person-pattern (t[a-z]*[0-9]*)-", True, "the images of these runs, and this one promises to persons"),
        ("--budget.total 30", False, None),
        ("--budget.new-total 30 --budget.reason more", True, None),
        ("--budget.account none --budget.reason away", True, None),
        ("", False, None),
    ],
)
def test_runs_that_exceed_the_total_together_are_refused_before_the_first(
    scans: Path, tmp_path: Path, flags: str, earlier: bool, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysyn.methods.leaderboard.outlook.run_seconds", lambda unit, config: 60.0)
    book = beside(str(scans))
    book.path.unlink(missing_ok=True)
    if earlier:
        cost = Cost(mechanism="query", noise_multiplier=4.0, sampling_rate=1.0, steps=1)
        run = entered.Run(
            run="r", method="m", preset="p", folder="/r", time="t", adjacency=ADD_REMOVE, units=40, images=40,
            shape=(8, 8, 1), guarantee="dp", delta=1e-3, reserved={"one": cost}, sketch=Sketch.of([b"1"], b""),
        )  # fmt: skip
        book.add(lambda _: [dataclasses.asdict(entered.Total(total=2.5, delta=1e-3, time="t")), run.line()])
    before = book.path.read_bytes() if earlier else b""
    asked = [
        "quick", "--methods", "noisy_means", "--epsilons", "1", "2", "--seeds", "0", "1", "--dry-run", "--out",
        str(tmp_path / "board"), f"--more=--data.path {scans} --budget.delta 3e-4 {flags}", "--judges.classifiers",
    ]  # fmt: skip
    if words is None:
        status, shown, said = here(JOB, *asked)
        assert (status, said) == (0, "") and shown.count("noisy_means-quick-eps") == 4
    else:
        assert re.search(words, refusal(JOB, *asked))
    assert not (tmp_path / "board").exists() and (book.path.read_bytes() if book.exists() else b"") == before


@pytest.mark.parametrize("methods", [("knowledge_recycling", "noisy_means"), ("noisy_means", "knowledge_recycling")])
def test_a_total_is_written_once_before_the_first_run(scans: Path, tmp_path: Path, methods: tuple[str, ...]) -> None:
    """Whichever run begins first: one without a guarantee has no delta for it, and finds it there."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    book, out = beside(str(scans)), str(tmp_path / "board")
    book.path.unlink(missing_ok=True)
    words = f"--data.path {scans} --budget.total 30"
    config = Config(methods=methods, epsilons=(1.0,), seeds=(0,), more=(words, "noisy_means:--budget.delta 3e-4"))
    commands = checked(runs(config), read_command, out, judged=False)
    (room,) = rooms = check_room(runs(config), commands, out)
    assert not book.exists()
    with RunFolder.open(out, method="leaderboard", preset="quick", config={}, data_fingerprint="") as folder:
        board = Board(config, runs(config), {}, SimpleNamespace(map=stop), folder, Console(), commands, rooms)  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run_board(board)
    there = book.read()
    assert there is not None and [(one.total, one.delta) for one in there.totals] == [(30.0, 3e-4)]
    assert told(str(scans))["totals"][0]["total"] == 30.0
    for one, asked, _ in room.runs:
        assert [line["run"] for line in admit(there, one, asked)] == [one.run]


@pytest.mark.parametrize("paid", [4, 3])
def test_what_runs_have_paid_is_not_refused_where_their_account_was_lost(
    scans: Path, tmp_path: Path, paid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysyn.methods.leaderboard.outlook.run_seconds", lambda unit, config: 60.0)
    beside(str(scans)).path.unlink(missing_ok=True)
    cost = Cost(mechanism="query", noise_multiplier=4.0, sampling_rate=1.0, steps=1)
    names = [f"noisy_means-quick-eps{epsilon}-seed{seed}" for epsilon in (1, 2) for seed in (0, 1)]
    for name in names[:paid]:
        ledger = tmp_path / "board/internal/runs" / name / "internal/ledger.jsonl"
        ledger.parent.mkdir(parents=True)
        entries = [{"stage": stage, **dataclasses.asdict(cost)} for stage in (MEANS, SPREAD)]
        ledger.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    asked = [
        "quick", "--methods", "noisy_means", "--epsilons", "1", "2", "--seeds", "0", "1", "--dry-run", "--out",
        str(tmp_path / "board"), f"--more=--data.path {scans} --budget.delta 3e-4 --budget.total 2.5",
        "--judges.classifiers",
    ]  # fmt: skip
    if paid == 4:
        assert here(JOB, *asked)[0] == 0
    else:
        assert "and the run still to begin or to go on comes to" in refusal(JOB, *asked)


def test_public_images_that_a_run_could_not_have_are_known_before_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysyn.methods.leaderboard.outlook.run_seconds", lambda unit, config: 60.0)
    gone, out = tmp_path / "gone.parquet", str(tmp_path / "board")
    few = ["quick", "--dry-run", "--epsilons", "1", "--seeds", "0", "--out", out, "--methods", "noisy_means"]
    asked = {
        "evolution": f"--source.kind public --public.path {gone}",
        "dp_mepf": f"--public.path {gone}",
        "dp_prototypes": f"--public.path {gone}",
        "dp_imgsyn": f"--public.path {gone}",
        "privimage": f"--public.path {gone}",
    }
    assert set(asked) == {name for name, one in METHODS.items() if hasattr(one.presets()["quick"], "public")}
    for method, flags in asked.items():
        said = refusal(JOB, *few, method, "--more", f"{method}:{flags}")
        assert re.search(rf"run {method}-quick-eps1-seed0: public\.path='\S+gone\.parquet' \S", said), said
    said = refusal(JOB, *few, "dp_imgsyn", "--more", f"dp_imgsyn:--experiment.public {gone}")
    assert "gone.parquet" in said
    # The sensitive images themselves; what no run reads is not looked for.
    assert "the sensitive images themselves" in refusal(JOB, *few, "dp_mepf", "--more", "dp_mepf:--public.name digits")
    unread = "evolution:--source.kind letters", "privimage:--pretraining none"
    status, _, said = here(
        JOB, *few, "evolution", "privimage", "--more", *(f"{one} --public.path {gone}" for one in unread)
    )
    assert (status, said) == (0, "")
    assert not (tmp_path / "board").exists()


def test_a_refused_run_ends_the_board_with_its_name_its_sentence_and_how_many_others_failed(
    tmp_path: Path,
) -> None:
    units = [Run("evolution", "quick", 1.0, seed) for seed in range(3)]
    command = "python -P -m raysyn evolution quick --seed"
    said = "Traceback\nRuntimeError: {}: exit status {}\nlooking\nerror: why?"
    refused, ended_early = said.format(command, 2), said.format(command, 1)
    crashed = ended_early.replace("error: ", "Traceback: ")

    def ended(failures: dict[int, str]) -> str:
        failure = unit_failure("runs", failures, 3)
        with pytest.raises((Ended, RuntimeError)) as told:
            _reports(Mock(map=Mock(side_effect=failure)), units, shared_by(tmp_path), Console(io.StringIO()))
        assert isinstance(told.value, Ended) or told.value is failure
        return str(told.value) if isinstance(told.value, Ended) else "unchanged"

    name = f"the run {units[1].name} was refused: why?\n"
    assert ended({1: refused}).startswith(f"{name}The runs that are done")
    assert ended({1: refused, 2: crashed}).startswith(f"{name}Further runs that failed: 1. The runs that are done")
    assert ended({1: ended_early}).startswith(f"the run {units[1].name} ended early: why?\nThe runs that are done")
    assert ended({1: crashed}) == ended({1: crashed, 2: refused}) == "unchanged"
    after = "Traceback (most recent call last):\nKeyError: 'x'"
    assert ended({1: f"{ended_early}\n{after}"}) == "unchanged"


def test_a_budget_that_is_too_small_is_told_in_the_boards_own_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("--methods", "dp_feta", "--epsilons", "0.1", "--seeds", "0")
    status, shown, _ = here(JOB, "quick", "--dry-run", "--out", tmp_path / "board", *few)
    told = shown.partition("dp_feta quick is not estimated: ")[2].partition("\n")[0]
    assert status == 0 and told.startswith("epsilons has 0.1, but the queries before DP-SGD spend")
    assert "raise --epsilons, or ask less" in told and "budget.epsilon" not in shown
    # A run by itself says the same, and takes no file beside it for a module of Python, nor for raysyn.
    monkeypatch.chdir(tmp_path)
    for name in ("random", "statistics", "zoneinfo", "secrets", "raysyn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user')")
    with pytest.raises(RuntimeError, match=r"exit status 2\n(.|\n)*raise --epsilons") as refused:
        run_job(Run("dp_feta", "quick", 0.1, 0), shared_by(tmp_path))
    assert "raise --budget.epsilon" not in str(refused.value) and "a file of the user" not in str(refused.value)
    # Of a method without one of these budgets its own flag is the board's, too.
    unpaid = Run("pigan", "quick", None, 0, more=("--model", "dpgan", "--budget.epsilon", "-1"))
    with pytest.raises(ValueError, match=r"^run pigan-quick-seed0: budget\.epsilon is -1"):
        checked([unpaid], read_command, str(tmp_path / "board"), judged=False)


def test_distances_by_features_of_differently_taught_networks_are_told_apart() -> None:
    def made(method: str, far: float | None, data: str = "digits", **judged: int | None) -> tuple[Run, dict[str, Any]]:
        metrics = {"fidelity": {"frechet_distance_cnn_features": far}}
        report = {"config": {"eval": judged}, "metrics": metrics, "dataset": {"name": data}}
        return Run(method, "quick", 1.0, 0), report

    def told(*runs: tuple[Run, dict[str, Any]]) -> list[str]:
        return other_features([one for one, _ in runs], [report for _, report in runs])

    same = made("dp_merf", 2.8, feature_epochs=10, images=None)
    assert not told(same, made("pigan", 2.9, feature_epochs=10, images=None), made("means", None, feature_epochs=1))
    assert not told(same, made("means", 0.003, "letters", feature_epochs=1))
    (sentence,) = told(same, same, made("means", 0.003, feature_epochs=1), made("p3gm", 1, feature_epochs=10, images=9))
    assert sentence.endswith(
        "compare within each of dp_merf (--eval.feature-epochs 10); means (--eval.feature-epochs 1); p3gm "
        "(--eval.feature-epochs 10, --eval.images 9)."
    )


def test_what_students_learn_from_soft_labels_stands_beside_what_the_shared_classifiers_do() -> None:
    def made(method: str, seed: int, epsilon: float = 1.0, **reached: float) -> tuple[Run, dict[str, Any]]:
        entries = {who: {"accuracy": share, "learned": "soft labels"} for who, share in reached.items()}
        return Run(method, "quick", epsilon, seed), {"metrics": {"utility": entries | {"logreg": {"accuracy": 0.99}}}}

    def told(*runs: tuple[Run, dict[str, Any]]) -> list[str]:
        return by_soft_labels([one for one, _ in runs], [report for _, report in runs])

    assert told(made("dp_merf", 0)) == []
    few, more = made("dp_imgsyn", 0, resnet18=0.5, vgg11=0.6), made("dp_imgsyn", 1, resnet18=0.7)
    (said,) = told(made("dp_merf", 0), few, more, made("dp_imgsyn", 0, epsilon=10.0, resnet18=0.8))
    assert "over its seeds: dp_imgsyn at ε 1 65.0 %, dp_imgsyn at ε 10 80.0 %. The" in said


def test_a_dry_run_names_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysyn.methods.leaderboard.outlook.run_seconds", lambda unit, config: 60.0)
    status, shown, _ = here(JOB, "quick", "--dry-run", "--out", tmp_path / "board")
    assert status == 0 and not (tmp_path / "board").exists()
    assert shown.splitlines()[0] == f"leaderboard quick, in {tmp_path / 'board'}"
    assert len(runs(PRESETS["quick"])) == 11 * 2 * 2 + 2 * 2
    assert all(shown.count(unit.name) == 1 for unit in runs(PRESETS["quick"])) and "48 min 00 s" in shown
    # Of one class, without classifiers. Whatever the first word of a value begins with, it is the flag's.
    of_one = ["--methods", "noisy_means", "--judges.classifiers", "--more", "--data.no-labels"]
    status, shown, said = here(JOB, "quick", "--dry-run", "--out", tmp_path / "board", *of_one)
    assert (status, said) == (0, "") and shown.count("noisy_means-quick-eps") == 4


def test_flags_vary_for_all_or_for_one_method() -> None:
    config = Config(
        methods=("dp_feta", "privimage", "pigan"), epsilons=(1.0,), seeds=(0,),
        vary=("privimage:--pretraining none all", "--eval.classifiers 'cnn mlp' logreg", "pigan:--eval.x --eval.no-x"),
        more=("--data.limit 300", "privimage:--public.path 'my letters'", "pigan:--budget.epsilon 3", "--synthetic 50"),
    )  # fmt: skip
    every = runs(config)
    names = [unit.name for unit in every]
    assert len(set(names)) == 2 + 2 * 2 + 2 * 2 and not any("/" in name or " " in name for name in names)
    assert names[1] == "dp_feta-quick-eval.classifiers-logreg-eps1-seed0"
    assert names[5] == "privimage-quick-eval.classifiers-logreg-pretraining-all-eps1-seed0"
    shared = ["quick", "--data.limit", "300", "--synthetic", "50"]
    assert every[0].words == [
        *shared, "--eval.classifiers", "cnn", "mlp", "--seed", "0", "--budget.epsilon", "1.0"
    ]  # fmt: skip
    assert every[5].words == [
        *shared, "--public.path", "my letters", "--eval.classifiers", "logreg", "--pretraining", "all", "--seed", "0",
        "--budget.epsilon", "1.0",
    ]  # fmt: skip
    assert every[-1].words == [
        *shared, "--budget.epsilon", "3", "--eval.classifiers", "logreg", "--eval.no-x", "--seed", "0"
    ]  # fmt: skip
    # All rows learn from all images, audited methods too, unless somebody asks for canaries.
    alone = ["--audit.canaries", "0"]

    def words(method: str, preset: str, **more: Any) -> list[str]:
        (run,) = runs(Config(methods=(method,), presets=(preset,), epsilons=(3.0,), seeds=(0,), **more))
        return run.words[: run.words.index("--seed")]

    assert words("dp_feta", "cpu-mnist") == ["cpu-mnist", *alone]
    assert words("pigan", "cpu-mnist", more=("--model dpgan",))[1:3] == alone
    assert words("dp_feta", "cpu-mnist", more=("--audit.canaries 100",)) == ["cpu-mnist", "--audit.canaries", "100"]
    assert dataclasses.replace(runs(Config(methods=("dp_feta",)))[0], method="elsewhere").words[0] == "quick"
    assert Run("dp_feta", "quick", 10.0, 1).name == "dp_feta-quick-eps10-seed1", "as in folders that there are"
    long = [short_name(("--data.path", f"{'/very' * 30}/{end}")) for end in ("a", "b")]
    assert long[0] != long[1] and len(long[0]) < 80


def test_a_value_that_the_preset_has_is_the_run_without_it(tmp_path: Path) -> None:
    def board(*vary: str, begun: tuple[str, ...] = ()) -> list[str]:
        config = Config(methods=("dp_feta",), epsilons=(1.0,), seeds=(0,), vary=vary)
        units = known_as(runs(config), read_command, str(tmp_path), begun)
        checked(units, read_command, str(tmp_path), judged=False)
        assert [unit.varied for unit in units] == [unit.varied for unit in runs(config)], "the table tells all"
        return [unit.name for unit in units]

    default = PRESETS_OF_FETA["quick"].central.count
    (plain,) = board()
    assert board(f"--central.count 3 {default}") == ["dp_feta-quick-central.count-3-eps1-seed0", plain]
    assert board(f"--central.count 3 {default}", "--central.kind mean mode")[2] == plain
    assert board("--central.kind mode")[0] in board(f"--central.count 3 {default}", "--central.kind mean mode")
    # One that was begun under its own name by an earlier raysyn goes on there: it is not paid for again.
    there = f"dp_feta-quick-central.count-{default}-eps1-seed0"
    assert board(f"--central.count 3 {default}", begun=(there,))[1] == there
    for vary in (f"--central.count {default} 0{default}", "--central.count 3 03"):
        with pytest.raises(
            ValueError, match=r"^vary has 'central.count \d+' and 'central.count 0\d+', which are the same"
        ):
            board(vary)


def test_each_method_runs_the_presets_that_it_has() -> None:
    config = Config(
        methods=("dp_merf", "evolution", "p3gm"),
        presets=("paper-mnist-eps1", "cpu-cifar10"),
        epsilons=(1.0,),
        seeds=(0,),
    )
    assert [(one.method, one.preset) for one in runs(config)] == [
        ("dp_merf", "paper-mnist-eps1"), ("evolution", "paper-mnist-eps1"), ("evolution", "cpu-cifar10"),
        ("p3gm", "paper-mnist-eps1"),
    ]  # fmt: skip
    assert config.without() == ["dp_merf has no cpu-cifar10: not run.", "p3gm has no cpu-cifar10: not run."]


def test_a_run_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    instead = stand_in(
        tmp_path, f"import os, time; open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(60)"
    )
    script = "import sys; from raysyn.methods.leaderboard.running import *; "
    script += f"sys.executable = {instead!r}; run_job(Run('dp_feta', 'quick', None, 0), {shared_by(tmp_path)!r})"
    worker = subprocess.Popen([sys.executable, "-c", script], env=environment())
    end = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert worker.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    child = Path("/proc") / (tmp_path / "pid").read_text()
    worker.kill()
    worker.wait()
    while child.exists() and child.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_run_that_the_system_killed_ran_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit, shared = Run("dp_feta", "quick", None, 0), shared_by(tmp_path)
    for signal, error in (("9", MemoryError), ("11", RuntimeError)):
        monkeypatch.setattr(sys, "executable", stand_in(tmp_path, f"import os; os.kill(os.getpid(), {signal})"))
        with pytest.raises(error, match="short of memory" if signal == "9" else "exit status -11"):
            run_job(unit, shared)


SAYS = """
import sys, time
print("Plan for digits: 1,498 private images\\n  finetune (3 of 9):  15/117 · ε 3.6\\n│ central │", flush=True)
while not __import__("os").path.exists(sys.argv[-1] + "-go-on"):
    time.sleep(0.01)
print("✓ 3/9 finetune      1 min", flush=True)
sys.exit("x" * 300_000)
"""
"""Also more to its standard error than a pipe holds."""


def test_what_runs_are_doing_stands_below_the_progress_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", stand_in(tmp_path, SAYS))
    monkeypatch.setattr(running, "EVERY_S", 0.01)
    units, shared = [Run("dp_feta", "quick", 1.0, seed) for seed in range(7)], shared_by(tmp_path)
    # Of an attempt that was killed, and of a run that is no longer asked for.
    words = {f"now/{unit.name}.pt": "stale" for unit in units[5:]} | {"now/other.pt": "x"}
    store, told, failed = Store(tmp_path), Queue[list[str]](), list[str]()
    for key, line in words.items():
        store[key] = line

    def wait_for(wanted: list[str]) -> None:
        while told.get(timeout=60) != wanted:
            pass

    def run(unit: Run) -> None:
        with pytest.raises(RuntimeError, match=r"exit status 1\nx{300000}") as error:
            run_job(unit, shared)
        failed.append(str(error.value))

    started = [Thread(target=run, args=(unit,)) for unit in units[:5]]
    with heard(str(tmp_path), units[:6], SimpleNamespace(below=told.put)):  # type: ignore[arg-type]
        started[0].start()
        under_way = "finetune (3 of 9): 15/117 · ε 3.6"
        wait_for([f"{units[0].name}: {under_way}"])
        for one in started[1:]:
            one.start()
        wait_for([*(f"{unit.name}: {under_way}" for unit in units[:4]), "and 1 more"])
        for unit in units[:5]:
            (tmp_path / "runs" / f"{unit.name}-go-on").parent.mkdir(exist_ok=True)
            (tmp_path / "runs" / f"{unit.name}-go-on").touch()
        for one in started:
            one.join()
        wait_for([])
    assert len(failed) == 5
    assert [store[f"now/{unit.name}.pt"] for unit in units] == [""] * 5 + ["stale"] * 2


def test_a_node_that_does_not_see_the_board_s_folder_pays_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", stand_in(tmp_path, f"open('{tmp_path}/paid', 'w')"))
    unit, shared = Run("dp_feta", "quick", None, 0), shared_by(tmp_path)
    for elsewhere in (shared | {"board": "another"}, shared | {"out": str(tmp_path / "own" / "internal")}):
        with pytest.raises(ValueError, match=r"is not what the driver sees on the node of process \d+: give one that"):
            run_job(unit, elsewhere)
    assert not (tmp_path / "paid").exists()
    # The node that sees it begins to pay.
    with pytest.raises(FileNotFoundError):
        run_job(unit, shared)
    assert (tmp_path / "paid").exists()


def shared_by(folder: Path) -> dict[str, str]:
    """What units are given by a board in `folder`."""
    Store(folder)[REACH] = "board"
    return {"out": str(folder), "board": "board", "among": ""}


def stand_in(folder: Path, source: str) -> str:
    """In place of Python: a program that does this, whatever command it is given."""
    program = folder / "python"
    program.write_text(f"#!{PYTHON}\n{source}\n")
    program.chmod(0o700)
    return str(program)


@pytest.mark.parametrize("name", PRESETS["quick"].methods)
def test_every_seed_of_a_method_runs_on_the_same_images(name: str) -> None:
    entry = catalogue.find(name)
    preset = entry.presets()["quick"]

    def images(seed: int, **other: int) -> str:
        config = dataclasses.replace(preset, seed=seed, data=dataclasses.replace(preset.data, **other))
        dataset = entry.method().prepare(config).dataset
        return dataset.source_fingerprint or dataset.fingerprint()

    assert images(0) == images(1) != images(0, limit=1400)
    # And is judged on those that its seed left out of its training.
    config = dataclasses.replace(preset, seed=1)
    own = entry.method().prepare(config).dataset
    unit = Run(name, "quick", None, 1)
    assert dataset_of(unit, config, own.fingerprint()).fingerprint() == own.fingerprint()
    with pytest.raises(ValueError, match="seed1 ran on other images than there are now"):
        dataset_of(unit, config, "others")


def test_the_images_of_a_run_are_those_that_its_seed_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = shared_by(tmp_path)
    monkeypatch.setattr(sys, "executable", stand_in(tmp_path, ""))
    for seed, source in enumerate(("all", None)):
        unit = Run("pigan", "quick", None, seed)
        more: dict[str, str] = {} if source is None else {"source_fingerprint": source}
        folder = RunFolder.open(
            tmp_path / "runs" / unit.name, method="m", preset="p", config={}, data_fingerprint="members others", **more
        )
        folder.close()
        (folder.internal / "report.json").write_text("{}")
        assert run_job(unit, shared) == {"data_fingerprint": source or "members others"}


REFUTED = {"refuted": True, "sentence": "it shows ε 9."}


@pytest.mark.parametrize(
    ("status", "last", "audit", "said"),
    [(1, "error: it shows ε 9.\n", REFUTED, None), (1, "it failed", REFUTED | {"refuted": False}, "exit status 1"),
     (1, "it failed", None, "exit status 1"), (2, "it failed", REFUTED, "exit status 2"),
     # As it is judged anew, after a report that says so: told on the way, and then something else went wrong.
     (1, "it failed", REFUTED, "exit status 1"), (1, "it shows ε 9.\nMemoryError", REFUTED, "exit status 1"),
     (1, "it shows ε 9.\nerror: what is to be written has no room", REFUTED, "exit status 1")],
)  # fmt: skip
def test_a_run_that_its_canaries_refute_is_a_row_and_one_that_failed_ends_the_board(
    status: int, last: str, audit: Any, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, unit = shared_by(tmp_path), Run("noisy_means", "quick", None, 0)
    ended = subprocess.CompletedProcess([], status, "", last)
    monkeypatch.setattr(running, "followed", lambda *_: ended)
    with RunFolder.open(
        tmp_path / "runs" / unit.name, method="m", preset="p", config={}, data_fingerprint="f"
    ) as folder:
        folder.report_json.write_text(json.dumps({"attacks": {"audit": audit} if audit else {}}))
    if said is None:
        assert run_job(unit, shared)["attacks"]["audit"] == audit
        return
    with pytest.raises(RuntimeError, match=said):
        run_job(unit, shared)
    folder.report_json.unlink()
    with pytest.raises(RuntimeError, match=said):
        run_job(unit, shared)


def test_a_board_goes_on_past_a_refuted_run_marks_its_row_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(refuted: bool) -> dict[str, Any]:
        return {
            "metrics": {"utility": {"cnn": {"accuracy": 0.5}}}, "dataset": {"name": "digits"}, "environment": {},
            "privacy": {"guarantee": "dp", "epsilon": 3.0, "delta": 1e-3, "adjacency": ADD_REMOVE, "ledger": []},
            "data_fingerprint": "abc", "timings": {}, "attacks": {"audit": {"refuted": refuted}},
        }  # fmt: skip

    config, text = Config(methods=("noisy_means", "dp_feta"), epsilons=(3.0,), seeds=(0,)), io.StringIO()
    config = dataclasses.replace(config, judges=dataclasses.replace(config.judges, classifiers=()))
    names = [one.name for one in runs(config)]
    answers = SimpleNamespace(map=lambda *_, **more: [report(name == names[0]) for name in names])
    with RunFolder.open(tmp_path / "board", method="leaderboard", preset="quick", config={}, data_fingerprint="") as at:
        board = Board(config, runs(config), {}, answers, at, Console(text))  # type: ignore[arg-type]
        assert cli.run_or_explain(lambda stack: board, run_board) == 1
    assert f"REFUTED by their canaries: {names[0]}. " in capsys.readouterr().err
    shown, rows = (at.internal / "table.html").read_text(), (at.internal / "table.csv").read_text()
    assert shown.count('<tr class="bad">') == 2 == shown.count(">3, REFUTED"), "in both tables one row"
    assert f'class="bad"><b>REFUTED by their canaries: {names[0]}. ' in shown
    assert [row["refuted"] for row in csv.DictReader(rows.splitlines())] == ["1", "0"]
    assert "3, REFUTED" in text.getvalue() and "table.html" in text.getvalue()


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("RuntimeError: raysyn evolution: exit status 2\nerror: why?", "was refused: why?"),
        ("Traceback (most recent call last):\n  a line\nKeyError: 'x'", "failed: KeyError: 'x'"),
        (Sentence("raysyn evolution: killed by the system"), "failed: raysyn evolution: killed by the system"),
    ],
    ids=["refused", "crashed", "killed"],
)
def test_a_table_is_made_of_the_runs_that_ended_where_another_failed_and_the_board_ends_with_1(
    why: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def status() -> int:
        """A crash is told by its traceback, which ends the command with 1 too."""
        try:
            return cli.run_or_explain(lambda stack: board, run_board)
        except RuntimeError as crash:
            assert str(crash).endswith(why) and why.startswith("Traceback")
            return 1

    config, text = Config(methods=("noisy_means", "dp_feta"), epsilons=(3.0,), seeds=(0,)), io.StringIO()
    config = dataclasses.replace(config, judges=dataclasses.replace(config.judges, classifiers=()))
    done, other = runs(config)
    report = {
        "metrics": {"utility": {"cnn": {"accuracy": 0.5}}}, "dataset": {"name": "digits"}, "environment": {},
        "privacy": {"guarantee": "dp", "epsilon": 3.0, "delta": 1e-3, "adjacency": ADD_REMOVE, "ledger": []},
        "data_fingerprint": "abc", "timings": {}, "attacks": {},
    }  # fmt: skip

    def reports(_: Any, units: Sequence[Run], **more: Any) -> list[dict[str, Any]]:
        if other in units:
            raise unit_failure("runs", {units.index(other): why}, 2)
        return [report for _ in units]

    with RunFolder.open(tmp_path / "board", method="leaderboard", preset="quick", config={}, data_fingerprint="") as at:
        board = Board(config, runs(config), {}, SimpleNamespace(map=reports), at, Console(text))  # type: ignore[arg-type]
        assert status() == 1, "none has ended"
        assert not (at.internal / "table.html").exists()
        with RunFolder.open(
            at.internal / "runs" / done.name, method="m", preset="p", config={}, data_fingerprint="f"
        ) as folder:
            folder.report_json.write_text(json.dumps(report))
        capsys.readouterr()
        assert status() == 1
    assert "1 of 2 runs have ended before, and are not made again." in text.getvalue()
    said = f"the run {other.name} {said}"
    assert "refused" not in said or f"error: {said}" in capsys.readouterr().err
    assert f"Not in the table: {other.name}" in text.getvalue()
    assert f"Not in the table: {other.name}. Why: {said}" in html.unescape((at.internal / "table.html").read_text())
    (row,) = csv.DictReader((at.internal / "table.csv").read_text().splitlines())
    assert row["command"] == "noisy_means"


def test_a_row_tells_the_spread_over_seeds_and_no_epsilon_where_there_is_none() -> None:
    def report(*reached: float) -> dict:
        return {
            "metrics": {"utility": {str(place): {"accuracy": one} for place, one in enumerate(reached)}},
            "privacy": {"guarantee": "none"}, "dataset": {"name": "digits"}, "environment": {},
            "data_fingerprint": "abc",
            "timings": {"a": {"wall_s": 1.0, "cpu_s": 2.0}, "b": {"wall_s": 3.0, "cpu_s": 5.0}},
        }  # fmt: skip

    units = [Run("pigan", "quick", None, seed) for seed in (0, 1)]
    (row,) = table(units, [report(0.5, 0.7), report(0.7, 0.9)])
    assert row["mean_classifier"] == pytest.approx(0.7) and row["mean_classifier_std"] == pytest.approx(0.02**0.5)
    assert row["best_classifier"] == pytest.approx(0.8) and row["epsilon"] is None and row["guarantee"] == "none"
    assert (row["wall_s"], row["cpu_s"]) == (4.0, 7.0) and row["floor"] is row["largest_class"] is None
    assert spread("x", []) == {"x": None, "x_std": None}
    judged = [
        Verdict({"mlp": 0.4, "cnn": 0.6}, {}, {"mlp": 0.9, "cnn": 0.9}),
        Verdict({"mlp": 0.6, "cnn": 0.8}, {}, {}),
    ]
    (row,) = table(units, [report(0.5), report(0.7)], judged, {"precision": [0.25, None]})
    assert row["judged_mean"] == pytest.approx(0.6) and row["judged_real_images"] == 0.9 and row["precision"] == 0.25
    assert row["judged_floor"] is None and row["judged_cnn"] == pytest.approx(0.7)
    text = runs_text(units, [report(0.5), report(0.7)], judged, [Run("lira", "quick", None, 2)])
    told = ("seed", "classifier", "accuracy", "floor", "real_images", "ended")
    assert [tuple(one[name] for name in told) for one in csv.DictReader(text.split())] == [
        ("0", "mlp", "0.4", "", "0.9", "yes"), ("0", "cnn", "0.6", "", "0.9", "yes"),
        ("1", "mlp", "0.6", "", "", "yes"),
        ("1", "cnn", "0.8", "", "", "yes"), ("2", "", "", "", "", "no"),
    ]  # fmt: skip
    (own, _) = csv.DictReader(runs_text(units, [report(0.5), report(0.7)], (), ()).split())
    assert (own["classifier"], own["accuracy"], own["floor"]) == ("0", "0.5", "")
    assert by_chance([row]) == [], "nobody knows how many test images there were"
    (said,) = by_chance([row | {"test_images": 299}, row | {"test_images": 10_000}])
    assert said.startswith("Of 299 real test images one accuracy has a standard error of about 2.9 points")  # 2.833
    shown = as_judged(report(0.5), judged[0])["metrics"]
    assert shown["utility_mean"] == {"accuracy": 0.5, "accuracy_real_data": 0.9} and shown["utility_interval"] is None
    assert as_judged(unjudged := report(0.5), Verdict({}, {}, {})) is unjudged
    # Also what changes nothing but speed, and is in no report's settings.
    promise = _promise(row | {"epsilon": 1.99951, "delta": 0.0005844})
    assert (promise["ε"], promise["δ"]) == (rounded_up(1.99951), rounded_up(0.0005844)) == ("2", "0.000585")
    varied = [dataclasses.replace(unit, varied=(("--on.sgd.engine", "loop"), ("--no-private",))) for unit in units]
    assert table(varied, [report(0.5), report(0.7)])[0]["differs_in"] == "on.sgd.engine loop, no-private"
    (told,) = console_rows([row])
    assert told["accuracy"] == "60.0 ± 14.1 %" and "floor" not in told and told["ε"] == "none"
    (told,) = console_rows([row | {"recall": None, "floor": 7.0}], ["precision", "recall", "floor"])
    assert told["precision"] == "0.25" and "recall" not in told, "no column without a figure"
    (told,) = console_rows(table(units, [report(0.5), report(0.7)]))
    assert told["mean of its own"] == "60.0 ± 14.1 %" and "accuracy" not in told
    shown = page([row], ["<Sentence>"], 2, ["precision"], None)
    assert "60.0 ± 14.1 %" in shown and "&lt;Sentence&gt;" in shown and '"n">floor' not in shown and "<img" not in shown
    with pytest.raises(ValueError, match="seed1 ran on other images"):
        table(units, [report(0.5), report(0.5) | {"data_fingerprint": "abd"}])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"methods": ("noisy_mean",)},
            r"^methods has noisy_mean, which is none \(did you mean noisy_means\?\): there are ",
        ),
        ({"presets": ("cpu-mnsit",)}, r"^presets has cpu-mnsit \(did you mean cpu-mnist\?\), which "),
        ({"presets": ("xxxxxxxx",)}, r"^presets has xxxxxxxx, which "),
    ],
)
def test_what_is_nearly_a_name_is_guessed(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Config(**{"methods": ("dp_feta",), "epsilons": (1.0,), "seeds": (0,)} | given)


def test_regular_expressions_come_through_as_they_are_typed() -> None:
    assert words_of("more", r"--data.person-pattern (P\d+)_ --public.path 'a b'") == [
        "--data.person-pattern", r"(P\d+)_", "--public.path", "a b",
    ]  # fmt: skip
    assert alternatives(r"--data.person-pattern '(\w+)_' (P\d)") == [
        ("--data.person-pattern", r"(\w+)_"), ("--data.person-pattern", r"(P\d)"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="which no shell could read"):
        words_of("more", "--a 'b")
