"""`raysyn attack`: shadow runs of a finished run's method, all of which stay inside."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typed import said

import raysyn
from raysyn import attacking
from raysyn.attacked_run import attacked
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods import catalogue, shadowing
from raysyn.methods.knowledge_recycling.config import split
from raysyn.methods.whose import source_of
from raysyn.report.run_page import FOUND
from raysyn.runs.folder import REPORT_JSON
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.versions import version
from raysyn.screen.console import Console
from raysyn.screen.flags import flags_of

HERE = ("--on.address", "here")
INSIDE = "internal/shadow_runs/internal"


def files(folder: Path) -> dict[str, str]:
    """{name: SHA-256} of everything in it."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a user's images, entered in their account."""
    place = tmp_path_factory.mktemp("attack")
    shadowing.written(load(DataConfig(limit=120)), place)
    run(place, eval={"classifiers": (), "feature_epochs": 0})
    return place / "run"


def run(place: Path, **more: Any) -> None:
    raysyn.run(
        "noisy_means", data={"path": place / "images.npz"}, epsilon=50, out=str(place / "run"), synthetic=60,
        quiet=True, on={"address": "here"}, **more,
    )  # fmt: skip


def outside(page: str) -> tuple[str, str]:
    """What of a run's page is not about attackers."""
    begin, end = FOUND
    return page.partition(begin)[0], page.partition(end)[2]


def test_an_attack_stays_inside_continues_and_grows(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, made, run_shadow = files(finished / "release"), list[int](), shadowing.run_shadow
    page_before = (finished / "internal/report.html").read_text()
    # Left by one that was stopped, and is not continued.
    left = finished / INSIDE / "shadows/000099/images.npz"

    def stopped(run: int, shared: Any) -> Any:
        made.append(run)
        if len(made) == 4:
            raise OSError("the machine was taken away")
        return run_shadow(run, shared)

    monkeypatch.setattr(shadowing, "run_shadow", stopped)
    with pytest.raises(RuntimeError, match="taken away"):
        raysyn.attack(str(finished), shadow_runs=6, quiet=True, on={"address": "here"})
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half of the images")
    assert "8 shadow runs" in said(capsys, "attack", str(finished), "--shadow-runs", "8", *HERE)
    # The one that failed, and two more than before.
    assert made == [0, 1, 2, 3, 4, 5, 3, 6, 7]

    report = json.loads((finished / "internal/report.json").read_text())
    found = [one for one in report["attacks"]["found"] if "shadow runs" in one["attack"]]
    assert len(found) < len(report["attacks"]["found"]), "what other attacks found stays"
    assert [one["attack"] for one in found] == ["8 shadow runs", "this run, by 8 shadow runs"]
    assert found[0]["targets"] == 8 and found[0]["epsilon"]["delta"] == report["privacy"]["delta"]
    assert found[0]["epsilon"]["value"] <= report["privacy"]["epsilon"], "no attack shows more than is promised"
    # Nothing of a shadow run is left but what is said of images, and what has left is as it was.
    inside = finished / INSIDE
    assert files(finished / "release") == before
    names = {path.name for path in inside.rglob("*") if path.is_file()}
    assert not {name for name in names if name.endswith((".npz", ".png")) or "synthetic" in name or "certif" in name}
    units = list((inside / "units/shadow-runs").iterdir())
    assert len(units) == 8 and not (inside / "shadows").exists()
    assert inside.stat().st_mode & 0o777 == 0o700
    table = pq.read_table(inside / "exposed.parquet").to_pydict()
    assert table["index"] == list(range(report["dataset"]["n_train"])) and max(table["percentile_runs"]) <= 100

    # The run's own page has it, everything else of that page is as it was, and a run that is judged anew keeps it.
    page = (finished / "internal/report.html").read_text()
    assert page.count("this run, by 8 shadow runs") >= 2 and "No attack was run" not in page
    assert outside(page) == outside(page_before)
    run(finished.parent, eval={"classifiers": (), "feature_epochs": 0, "floor": False, "distances": 20})
    report = json.loads((finished / "internal/report.json").read_text())
    assert [one for one in report["attacks"]["found"] if "shadow runs" in one["attack"]] == found
    assert (finished / "internal/report.html").read_text().count("this run, by 8 shadow runs") >= 2
    assert files(finished / "release") == before

    # The account knows that the images were looked at, once, and no run more.
    source = finished.parent / "images.npz"
    account = raysyn.account(str(source))
    (row,) = account["runs"]
    assert [look for look in row["looks"] if "random halves" in look] == [row["looks"][-1]]
    told = said(capsys, "report", str(finished))
    assert "attack advantage" in told and "shown ε" in told
    records = raysyn.attack(str(finished), shadow_runs=8, quiet=True, on={"address": "here"})
    assert len(made) == 9 and records == found, "nothing is left to do"
    # Wherever the account lies: what is not told is said.
    moved = source.rename(source.with_name("moved.npz"))
    book = next(source.parent.glob("images.npz.account*"))
    elsewhere = book.rename(source.with_name("elsewhere.jsonl"))
    words = ["attack", str(finished), "--shadow-runs", "8", "--data.path", str(moved), *HERE]
    assert "holds nothing of this attack: name it with --account" in " ".join(said(capsys, *words).split())
    assert "WARNING" not in said(capsys, *words, "--account", str(elsewhere))
    moved.rename(source)
    elsewhere.rename(book)


@pytest.mark.parametrize(
    ("kind", "left_out"), [("blank", "all canaries"), pytest.param("natural", "who is out", marks=pytest.mark.slow)]
)
def test_canaries_that_were_not_learned_from_are_no_members(kind: Any, left_out: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    raysyn.run(
        "noisy_means", data={"limit": 120}, epsilon=50, out=out, synthetic=60, quiet=True, on={"address": "here"},
        audit={"canaries": 40, "kind": kind}, eval={"classifiers": (), "feature_epochs": 0, "floor": False},
    )  # fmt: skip
    one = attacked(out, None)
    assert one.left_out_U is not None and one.dataset.train.absent_U is None
    assert one.left_out_U.sum() == 40 if left_out == "all canaries" else 5 < one.left_out_U.sum() < 35
    records = raysyn.attack(out, shadow_runs=6, quiet=True, on={"address": "here"})
    assert [one["members"] for one in records] == [60, 120 - int(attacked(out, None).left_out_U.sum())]
    (tmp_path / "run/internal/secret").unlink()
    with pytest.raises(ValueError, match="who of its canaries took part is erased"):
        attacked(out, None)


def test_another_run_is_not_taken_for_it_and_a_dry_run_writes_nothing(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "attack"
    told = said(capsys, "attack", str(finished), "--dry-run", "--out", str(out), *HERE)
    assert "random halves of 120 images, each with ε" in told and "stays inside" in told and not out.exists()
    assert raysyn.attack(str(finished), out=str(out), dry_run=True, quiet=True) == []


@pytest.mark.parametrize(("sealed", "elsewhere"), [(True, False), (True, True), (False, False)])
def test_of_a_sealed_run_it_says_that_private_material_comes_into_it_again_unless_it_goes_elsewhere(
    sealed: bool, elsewhere: bool, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = attacked(str(finished), None)
    about = {**one.about, "sealed": {} if not sealed else {"time": "then"}}
    monkeypatch.setattr(attacking, "attacked", lambda *_: replace(one, about=about))
    flags, text = attacking.Flags(out=str(tmp_path / "out") if elsewhere else None, dry_run=True), io.StringIO()
    with ExitStack() as stack, pytest.raises(SystemExit):
        attacking.begin(str(finished), flags, stack.enter_context(Console(text)), attacking._connect, stack)
    shown = " ".join(text.getvalue().split())
    assert ("The run is sealed, and this puts private material into it again" in shown) == (sealed and not elsewhere)


@pytest.mark.parametrize("change", [{}, {"eval": {"classifiers": ["mlp"]}, "made_for": "x"}, {"synthetic": 61}])
def test_an_attack_goes_on_in_a_folder_that_told_how_the_run_was_judged(
    change: dict[str, Any], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As folders once did."""
    out, flags = tmp_path / "attack", attacking.Flags(out=str(tmp_path / "attack"))
    monkeypatch.setattr(attacking, "join", lambda *_: None)

    def begun() -> None:
        with ExitStack() as stack:
            console = stack.enter_context(Console(io.StringIO()))
            attacking.begin(str(finished), flags, console, attacking._connect, stack)

    begun()
    noted = out / "internal/run.json"
    about = json.loads(noted.read_text())
    about["config"] |= json.loads(json.dumps(asdict(attacked(str(finished), None).config), default=str)) | change
    noted.write_text(json.dumps(about))
    if "synthetic" in change:
        with pytest.raises(ValueError, match="holds a run with synthetic = 61, this one has synthetic = 60; choose"):
            begun()
    else:
        begun()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("RUN --shadow-runs 5", "shadow_runs is 5"),
        ("RUN --shadow-runs 4", "shadow_runs is 4"),
        ("RUN --out RUN/release/attack", "in a release"),
        ("RUN --data.path OTHER", "are not those that"),
        ("RUN --out=", "out is empty"),
        ("RUN --epsilon 3", "--epsilon is no flag"),
        ("NOWHERE", "holds no finished run"),
        ("--shadow-runs 8", "attack has no run"),
        ("RUN --data.path NOWHERE", "say with --data.path where the images are now that"),
        ("", "attack has no run"),
    ],
)
def test_what_cannot_be_attacked_is_refused(
    words: str, sentence: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shadowing.written(load(DataConfig(limit=150)), tmp_path)
    places = {"RUN": str(finished), "OTHER": str(other), "NOWHERE": str(tmp_path / "nowhere")}
    given = words.split()
    for name, place in places.items():
        given = [word.replace(name, place) for word in given]
    before = files(finished)
    assert sentence in said(capsys, "attack", *given, status=2)
    assert files(finished) == before


@pytest.mark.parametrize("name", [one.name for one in catalogue.METHODS])
def test_a_shadow_run_measures_nothing_and_keeps_every_setting_that_shapes_its_release(name: str) -> None:
    method = catalogue.find(name).method()
    for config in catalogue.find(name).presets().values():
        bare = shadowing.bare(method, config, "half.npz", 1e-6 if hasattr(config, "budget") else None)
        assert bare.data == DataConfig(name=None, path="half.npz")
        if hasattr(bare, "eval"):
            assert not bare.eval.classifiers and not bare.eval.feature_epochs
        changes = {
            flag.name.partition(".")[0]
            for was, flag in zip(flags_of(config), flags_of(bare), strict=True)
            if was.value != flag.value and flag.name != "budget.delta"
        }
        own = {"data", "release", "audit", "made-for", "chosen-among", "experiment", *method.unmeasured(config)}
        judged = {one.replace("_", "-") for one in (*method.judged_by, *own)}
        assert changes <= judged | {"eval"}, changes - judged


def test_the_file_of_a_half_is_read_as_the_half(tmp_path: Path) -> None:
    digits = load(DataConfig(limit=60))
    persons_N = np.repeat(np.arange(30), 2)
    train = Images(digits.train.images_NHWC, digits.train.labels_N, digits.train.class_names, persons_N)
    some = train.select(np.isin(persons_N, (1, 4, 5)))
    file = shadowing.written(replace(digits, train=some), tmp_path / "place")
    read = load(DataConfig(name=None, path=str(file)))
    assert read.train.fingerprint() == some.fingerprint() and len(read.test) == len(digits.test)
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_on_ray_a_driver_that_is_stopped_goes_on_with_what_there_is(finished: Path, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own["PYTHONPATH"] = str(Path(raysyn.__file__).parents[1])
    out = tmp_path / "attack"
    words = ["attack", str(finished), "--shadow-runs", "12", "--out", str(out), "--on.workers", "2"]
    units = out / "internal/units/shadow-runs"
    first = subprocess.Popen([sys.executable, "-m", "raysyn", *words], env=own, stdout=subprocess.PIPE)
    until = time.monotonic() + 120
    while len(list(units.glob("*.pt"))) < 2 and time.monotonic() < until and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode == 143
    there = {one.name: one.stat().st_mtime_ns for one in units.glob("*.pt")}
    assert 2 <= len(there) < 12
    then = subprocess.run([sys.executable, "-m", "raysyn", *words], env=own, capture_output=True, text=True)
    assert then.returncode == 0, then.stderr
    assert "12 shadow runs" in then.stdout
    assert there.items() <= {one.name: one.stat().st_mtime_ns for one in units.glob("*.pt")}.items()
    assert not any((out / "internal/shadows").iterdir())


def test_what_a_run_sets_apart_to_choose_by_is_no_member_of_any_shadow_run(tmp_path: Path) -> None:
    """Knowledge Recycling holds out a share of its training images, where there is no validation split."""
    digits = load(DataConfig(limit=120))
    persons_N = np.repeat(np.arange(60), 2)
    named = Images(digits.train.images_NHWC, digits.train.labels_N, digits.train.class_names, persons_N)
    file = shadowing.written(replace(digits, train=named), tmp_path)
    entry = catalogue.find("knowledge_recycling")
    method, config = entry.method(), entry.presets()["quick"]
    config = replace(config, data=DataConfig(name=None, path=str(file)))
    whole = method.prepare(config).dataset
    real = split(config, whole)
    run = tmp_path / "run"
    about = {
        "method": "knowledge_recycling", "preset": "quick", "raysyn": version(), "config": source_of(method.run),
        "data_fingerprint": whole.fingerprint(),
    }  # fmt: skip
    for name, content in ((RUN_JSON, about), (REPORT_JSON, {"config": asdict(config)})):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(json.dumps(content, default=list))
    one = attacked(str(run), None)
    assert one.dataset.train.fingerprint() == real.train.fingerprint() and len(real.train) < 120
    assert one.dataset.val is not None and one.dataset.val.fingerprint() == real.valid.fingerprint()
    assert np.array_equal(whole.train.images_NHWC[one.places_N], real.train.images_NHWC)
    assert one.persons_N is not None and np.array_equal(one.persons_N, whole.train.persons_N[one.places_N])
    # A shadow run learns from its half of these, and from nobody who is asked about but has no coin.
    shadows = shadowing.Shadows("knowledge_recycling", "quick", config, one.dataset, "", 0, str(tmp_path))
    half = shadowing.half_of(shadows, 0)
    read = load(DataConfig(name=None, path=str(shadowing.written(half, tmp_path / "half"))))
    learned = split(shadowing.bare(method, config, "half.npz", None), read)
    assert learned.train.fingerprint() == half.train.fingerprint()
    assert learned.valid.fingerprint() == read.val.fingerprint() and len(learned.valid) == len(real.valid)


NOT_SHOWN = {"dp_merf", "dp_mepf", "dp_ntk", "evolution", "pigan"}
"""Methods whose network is made of an answer, or beside a discriminator, that stays inside: attacks look at that."""


@pytest.mark.parametrize("name", [one.name for one in catalogue.METHODS])
def test_what_a_released_network_shows_is_told_as_released(name: str) -> None:
    entry = catalogue.find(name)
    method, config = entry.method(), entry.presets()["quick"]
    always = name == "knowledge_recycling"
    assert bool(range(9)[method.shown(config)]) == always, "the student is in every release"
    if method.network is None or method.knows is None:
        return
    told = method.shown(replace(config, release=replace(config.release, network=True)))
    assert bool(range(9)[told]) == (name not in NOT_SHOWN) and (not always or told == slice(2))
