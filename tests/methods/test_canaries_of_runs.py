"""The audit of a run by units that a coin left out: who they are, what the run says of them, and when it fails."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from whole_run import whole_run

from raysyn.command import main
from raysyn.data import images as data
from raysyn.data.images import Dataset, Images
from raysyn.draw_source import source
from raysyn.methods import canaries, canary_attack, catalogue, ends
from raysyn.methods.canaries import AuditConfig
from raysyn.methods.canary_attack import Refuted
from raysyn.methods.machines import On
from raysyn.methods.noisy_means import pipeline as noisy_means
from raysyn.methods.noisy_means.config import Config
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy import units
from raysyn.privacy.cost import Budget
from raysyn.privacy.poisson import Stream
from raysyn.report.verify import verify
from raysyn.runs.folder import RunFolder
from raysyn.screen import cli

SECRET = bytes(range(32))
JUDGED = EvalConfig(classifiers=(), floor=False, feature_epochs=0)
TINY = Config(data=data.DataConfig(limit=300), budget=Budget(epsilon=8.0, accountant="rdp"), synthetic=60, eval=JUDGED)
PLAN: Any = object()


def pictures(n: int, persons: bool = False, classes: int = 3) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 6, 6, 1), dtype=np.uint8)
    names = tuple("abcdef"[:classes])
    return Images(pixels, np.arange(n) % classes, names, np.arange(n) // 2 if persons else None)


def asking(canaries: int | None, kind: Any = "natural") -> Any:
    return SimpleNamespace(audit=AuditConfig(canaries=canaries, kind=kind))


@pytest.mark.parametrize(
    ("config", "able", "plan", "private", "count"),
    [
        (asking(None), True, PLAN, pictures(4999), 0),
        (asking(None), True, PLAN, pictures(6000), 60),
        (asking(None), True, PLAN, pictures(6000, persons=True), 0),
        (asking(None), False, PLAN, pictures(6000), 0),
        (asking(None), True, None, pictures(6000), 0),
        (asking(0), True, PLAN, pictures(6000), 0),
        (asking(30), True, PLAN, pictures(100), 30),
        (asking(None, "noise"), True, PLAN, pictures(6000), 60),
        (SimpleNamespace(), True, PLAN, pictures(6000), 0),
    ],
)
def test_how_many_a_run_has(config: Any, able: bool, plan: Any, private: Images, count: int) -> None:
    assert canaries.asked(config, able, "m", plan, private) == count


@pytest.mark.parametrize(
    ("config", "able", "plan", "private", "said"),
    [
        (asking(30), False, PLAN, pictures(90), "audit.canaries is 30, but m cannot leave single images out by a coin"),
        (asking(30), True, None, pictures(90), "audit.canaries is 30, but nothing is promised here"),
        (asking(91), True, PLAN, pictures(90), "audit.canaries is 91, but there are 90 images: give fewer"),
        (asking(46), True, PLAN, pictures(90, True), "audit.canaries is 46, but there are 45 persons: give fewer"),
        (asking(None, "noise"), True, PLAN, pictures(90), "audit.kind is noise, but of fewer than 5,000 images"),
        (asking(None, "blank"), False, PLAN, pictures(90), "audit.kind is blank, but m cannot leave"),
        (asking(30, "mislabelled"), True, PLAN, pictures(90, classes=1), "audit.kind is mislabelled, but there is one"),
    ],
)
def test_what_cannot_be_is_refused(config: Any, able: bool, plan: Any, private: Images, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        canaries.asked(config, able, "m", plan, private)


@pytest.mark.parametrize("few", [-1, 1, 19])
def test_too_few_to_show_anything_are_refused(few: int) -> None:
    with pytest.raises(ValueError, match=f"^audit.canaries is {few}: give at least 20, as fewer show nothing, or 0$"):
        AuditConfig(canaries=few)


def test_a_kind_of_no_canaries_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^audit.kind is noise, but audit.canaries is 0: give a number of them"):
        AuditConfig(canaries=0, kind="noise")


@pytest.mark.parametrize("name", [one.name for one in catalogue.METHODS if one.guarantee != "none"])
def test_quick_presets_have_none_by_themselves(name: str) -> None:
    presets = catalogue.find(name).presets()
    assert {one for one, config in presets.items() if config.audit.canaries == 0} == {
        one for one in presets if one.startswith("quick")
    }


@pytest.mark.parametrize("persons", [False, True])
def test_coins_are_the_secrets_and_change_nothing_that_is_public(persons: bool) -> None:
    dataset = Dataset("d", pictures(200, persons), pictures(20), None)
    (first, again, other) = (canaries.drawn(40, asking(40), dataset, key) for key in (SECRET, SECRET, bytes(32)))
    assert first is not None and again is not None and other is not None
    for name in ("units_M", "there_M"):
        assert np.array_equal(getattr(first.canaries, name), getattr(again.canaries, name))
        assert not np.array_equal(getattr(first.canaries, name), getattr(other.canaries, name))
    train = first.dataset.train
    assert train.absent_U is not None and train.absent_U.sum() == 40 - first.canaries.there_M.sum()
    assert first.original is dataset and (train.units, len(train)) == (dataset.train.units, 200)
    assert first.made.images_NHWC is dataset.train.images_NHWC
    out = units.images_of(replace(train, absent_U=None), np.flatnonzero(train.absent_U))
    assert not train.images_NHWC[out].any() and (len(out) == 2 * train.absent_U.sum() if persons else len(out))
    there = np.setdiff1d(np.arange(200), out)
    assert np.array_equal(train.images_NHWC[there], dataset.train.images_NHWC[there])
    assert canaries.drawn(0, asking(0), dataset, SECRET) is None


@pytest.mark.parametrize("kind", ["mislabelled", "noise", "blank"])
def test_strange_canaries_are_each_unlike_the_others_and_nobody_else_is_changed(kind: Any) -> None:
    private, stream, places = pictures(60), Stream(SECRET, "audit"), np.array([3, 17, 40, 59])
    made = canaries.strange(private, places, kind, stream)
    others = np.setdiff1d(np.arange(60), places)
    for name in ("images_NHWC", "labels_N"):
        assert np.array_equal(getattr(made, name)[others], getattr(private, name)[others])
    assert np.array_equal(private.images_NHWC, pictures(60).images_NHWC), "the images that were loaded stay"
    if kind == "mislabelled":
        assert (made.labels_N[places] != private.labels_N[places]).all()
        assert np.array_equal(made.images_NHWC, private.images_NHWC)
        return
    assert np.array_equal(made.labels_N, private.labels_N)
    assert len({picture.tobytes() for picture in made.images_NHWC[places]}) == 4
    shades = [len(np.unique(picture)) for picture in made.images_NHWC[places]]
    assert max(shades) == 2 if kind == "blank" else min(shades) > 20
    fewer = canaries.strange(private, places[1:], kind, stream)
    assert np.array_equal(fewer.images_NHWC[places[1:]], made.images_NHWC[places[1:]])


def test_the_plan_says_how_many_and_what_they_cost() -> None:
    said = canaries.told(60, asking(60), pictures(6000))
    assert (
        said.startswith("Audit: 60 of the 6,000 images are canaries.")
        and "learns from 0.5 % of the images less." in said
    )
    strange = canaries.told(60, asking(60, "noise"), pictures(6000))
    assert "it learns from as many as pictures of noise" in strange


def run(out: Path, *, tried: int = 60, text: io.StringIO | None = None, **changes: Any) -> Any:
    config = replace(TINY, **changes)
    return whole_run(noisy_means, config, out, On(address="here"), tried=tried, text=text)


def bytes_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "release").iterdir())}


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audited") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "secret", SECRET)
        run(out)
    return out


def test_the_report_says_what_is_shown_beside_what_is_claimed_and_the_release_nothing(
    audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = json.loads((audited / "internal/report.json").read_text())
    about = report["attacks"]["audit"]
    records = [one for one in report["attacks"]["found"] if one["attack"].startswith("Canaries, ")]
    assert (about["canaries"], about["kind"], about["unit"]) == (60, "natural", "image") and not about["refuted"]
    assert about["epsilon_claimed"] == report["privacy"]["epsilon"] and about["sentence"].startswith("claimed ε at ")
    assert [one["attack"] for one in records] == ["Canaries, nearest in pixels", "Canaries, nearest in features"]
    for one in records:
        assert one["members"] + one["others"] == 60 and one["members"] == about["in"]
        assert one["sees"] == "released images" and one["epsilon"]["value"] == about["by_attack"][
            one["attack"].removeprefix("Canaries, ")
        ]["epsilon"]  # fmt: skip
    assert "audit" in report["timings"] and "Audit by canaries" in (audited / "internal/report.html").read_text()
    monkeypatch.setattr(RunFolder, "secret", SECRET)
    run(tmp_path / "plain", tried=0)
    without = bytes_of(tmp_path / "plain")
    assert without.keys() == bytes_of(audited).keys()
    certificates = [json.loads(files["certificate.json"]) for files in (without, bytes_of(audited))]
    told = [{key: value for key, value in one.items() if key != "files"} for one in certificates]
    assert told[0].keys() == told[1].keys() and b"canar" not in b"".join(bytes_of(audited).values())
    assert without["synthetic.parquet"] != bytes_of(audited)["synthetic.parquet"]


def test_who_is_out_is_in_nothing_that_leaves(audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other pictures in the place of all canaries that are out: the whole release stays, bit by bit."""
    raw = data.load(TINY.data)
    own = canaries.drawn(60, asking(60), raw, SECRET)
    assert own is not None and own.dataset.train.absent_U is not None
    pixels = raw.train.images_NHWC.copy()
    pixels[own.dataset.train.absent_U] = 255 - pixels[own.dataset.train.absent_U]
    other = replace(raw, train=replace(raw.train, images_NHWC=pixels))
    monkeypatch.setattr(ends, "load", lambda config: other)
    monkeypatch.setattr(RunFolder, "secret", SECRET)
    run(tmp_path / "run")
    assert bytes_of(tmp_path / "run")["synthetic.parquet"] == bytes_of(audited)["synthetic.parquet"]


def test_a_release_that_holds_its_private_images_is_refuted_and_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images of all who took part, released as they are: the report is written, and the command ends with 1."""

    def synthesise(setting: Any, drawing: Any) -> Images:
        private = setting.dataset.train
        chosen = private.select(np.flatnonzero(~private.absent_U))
        return Images(chosen.images_NHWC, chosen.labels_N, chosen.class_names)

    monkeypatch.setattr(noisy_means, "synthesise", synthesise)
    changes = {"budget": Budget(epsilon=1.0, accountant="rdp"), "synthetic": 300}
    text = io.StringIO()

    def work(_: object) -> None:
        run(tmp_path / "run", tried=200, text=text, **changes)

    assert cli.run_or_explain(lambda stack: None, work) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: REFUTED") and "Traceback" not in said
    about = json.loads((tmp_path / "run/internal/report.json").read_text())["attacks"]["audit"]
    assert about["refuted"] and about["epsilon_shown"] > 1 and "hand nothing of it on" in about["sentence"]
    assert "REFUTED" in text.getvalue() and "Release (REFUTED: must not leave)" in text.getvalue()
    page = (tmp_path / "run/internal/report.html").read_text()
    assert page.index('class="warning">By the canaries of this run: REFUTED: ') < page.index("<h2>Samples</h2>")
    assert 'warning">Warning: REFUTED: claimed ε at most ' in page
    with pytest.raises(Refuted, match=r"^REFUTED: "):
        run(tmp_path / "run", tried=200, **changes)  # what is found finished is refuted again
    # Whoever is handed the folder all the same finds it so.
    failed = {check.name: check.found for check in verify(tmp_path / "run/release") if not check.holds}
    assert failed == {"nothing else": "not covered: REFUTED.txt"}
    with pytest.raises(ValueError, match="refute its certificate: nothing may be drawn from it"):
        source(str(tmp_path / "run"))


def test_a_method_that_copies_training_images_past_every_question_is_refuted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads all that lies in the data set that it is given, and heeds no weights: who is out does not lie there."""

    def synthesise(setting: Any, drawing: Any) -> Images:
        given = setting.dataset.train
        return Images(given.images_NHWC, given.labels_N, given.class_names)

    monkeypatch.setattr(noisy_means, "synthesise", synthesise)
    with pytest.raises(Refuted, match=r"^REFUTED: "):
        run(tmp_path / "run", tried=200, budget=Budget(epsilon=1.0, accountant="rdp"), synthetic=300)


@pytest.mark.parametrize("seed", [0, 1])
def test_persons_are_guessed_about_with_all_their_images(seed: int) -> None:
    private = pictures(60, persons=True)
    shuffled = private.select(np.random.default_rng(seed).permutation(60))
    units_M = np.array([2, 7, 29])
    places, whose = canary_attack._some_of_each(shuffled, units_M)
    assert shuffled.persons_N is not None and np.array_equal(shuffled.persons_N[places], units_M[whose])
    assert np.bincount(whose).tolist() == [2, 2, 2]
    assert np.array_equal(np.sort(places), units.images_of(shuffled, units_M))


def test_of_a_person_with_very_many_images_some_are_looked_at() -> None:
    many = replace(pictures(90), persons_N=np.repeat([0, 1, 2], [70, 5, 15]))
    _, whose = canary_attack._some_of_each(many, np.array([0, 2]))
    assert np.bincount(whose).tolist() == [canary_attack.OF_ONE, 15]


def test_the_command_plans_canaries_keeps_them_and_refuses_the_folder_to_a_run_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["noisy_means", "quick", "--data.limit", "300", "--synthetic", "60", "--eval.classifiers", "logreg"]
    words += [
        "--eval.epochs",
        "1",
        "--eval.feature-epochs",
        "0",
        "--on.address",
        "here",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*words, "--audit.canaries", "60"]) == 0
    assert "Audit: 60 of the 300 images are canaries." in capsys.readouterr().out
    config = json.loads((tmp_path / "run/internal/run.json").read_text())["config"]
    assert config["audit"] == {"canaries": 60, "kind": "natural"}
    report = json.loads((tmp_path / "run/internal/report.json").read_text())
    assert report["attacks"]["audit"]["canaries"] == 60
    for other in (["--audit.canaries", "0"], [], ["--audit.canaries", "60", "--audit.kind", "noise"]):
        with pytest.raises(SystemExit) as ended:
            main([*words, *other])
        assert ended.value.code == 2 and "audit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("knowledge_recycling quick", "audit.canaries is 50, but knowledge_recycling cannot leave single images out"),
        ("pigan quick", "audit.canaries is 50, but nothing is promised here that a run could refute"),
        # All 50 may be out, of 449.
        (
            "pigan quick --model dpgan --dry-run --monte-carlo.suspects 420",
            "monte_carlo.suspects is 420, but there are 399 members",
        ),
    ],
)
def test_a_run_that_cannot_refuses_the_flag(
    words: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--audit.canaries", "50", "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_scores_that_are_no_numbers_end_no_run() -> None:
    """Such a canary is called out, whatever its coin said."""
    found = canary_attack.finite(np.array([np.nan, 2.0, np.inf, -3.0, -np.inf]))
    assert found.tolist() == [-3.0, 2.0, -3.0, -3.0, -3.0]
    assert canary_attack.finite(np.array([np.nan, np.inf])).tolist() == [0.0, 0.0]
