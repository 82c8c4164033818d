"""`raysyn auto`, whole: a tiny run without Ray, what it says first, what it refuses, and the same in Python."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typed import said

import raysyn
from raysyn import own_data
from raysyn.data.images import DataConfig, load, public_facts
from raysyn.data.streams import PublicConfig
from raysyn.methods.auto import picks, settings
from raysyn.methods.auto.config import Config
from raysyn.methods.auto.table import markdown
from raysyn.report.pictures import png_bytes
from raysyn.screen.console import Console

DOCS = Path(__file__).resolve().parents[1] / "docs"
TINY = ("--epsilon", "10", "--data.limit", "200", "--on.address", "here")
PRICELESS = "internal/ledger.jsonl"


def test_a_tiny_run_says_first_what_to_expect_and_is_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LEAST", 300)
    monkeypatch.setitem(settings.JUDGING, "epochs", 2)
    out = str(tmp_path / "run")
    told = said(capsys, "auto", "digits", *TINY, "--out", out)
    order = ["200 images of 8 x 8 pixels, grey, 10 classes", "Picked: noisy_means", "Why: ", "Outside of what was",
             "Expected: ", "Always answering with your largest class", "The same as: raysyn noisy_means", "Plan for",
             "Outlook", "ε 10 spent in all", "synthetic images, (10, "]  # fmt: skip
    places = [told.find(part) for part in order]
    assert -1 not in places and places == sorted(places), told
    report = raysyn.load(out).report
    assert report["method"] == "noisy_means" and set(report["metrics"]["utility"]) >= {"cnn", "mlp", "logreg"}
    assert raysyn.load(out).certificate["epsilon"] <= 10
    paid = (tmp_path / "run" / PRICELESS).read_bytes()

    # The same command, and the command that it says is the same, go on where it stopped.
    assert "found finished" in said(capsys, "auto", "digits", *TINY, "--out", out)
    (same,) = re.findall(r"The same as: raysyn (.*)", told)
    assert "found finished" in said(capsys, *shlex.split(same), "--on.address", "here")
    assert (tmp_path / "run" / PRICELESS).read_bytes() == paid

    # What would be another run is refused.
    told = said(capsys, "auto", "digits", *TINY, "--epsilon", "3", "--out", out, status=2)
    assert "holds" in told and told.count("\n") == 1, told


def test_a_dry_run_begins_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = said(capsys, "auto", "digits", *TINY, "--dry-run")
    assert "Picked: noisy_means" in told and "Outlook" in told and "auto: digits, in runs/auto-digits" in told
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_refused_before_images_are_read(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for out, fault in ((tmp_path, "holds no run"), (tmp_path / "thesis.txt", "is a file; choose a new folder")):
        with pytest.raises(ValueError, match=fault):
            own_data.pick("digits", ["--epsilon", "3", "--data.limit", "50", "--out", str(out)])


def test_a_run_that_was_begun_goes_on_whatever_would_be_picked_now(tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "internal").mkdir(parents=True)
    (out / "internal/run.json").write_text(json.dumps({"method": "dp_feta"}))
    picked = own_data.pick("digits", [*TINY, "--out", str(out)])
    assert picked.entry.name == "dp_feta" and picked.command.config.budget.epsilon == 10
    (out / "internal/run.json").write_text(json.dumps({"method": "pigan"}))
    with pytest.raises(ValueError, match=r"holds a run of pigan, which auto never begins: give another folder"):
        own_data.pick("digits", [*TINY, "--out", str(out)])


def test_a_method_that_is_named_gets_the_settings_that_fit(tmp_path: Path) -> None:
    picked = own_data.pick("digits", [*TINY, "--out", str(tmp_path / "run"), "--method", "dp_kernel"])
    assert picked.entry.name == "dp_kernel" and picked.command.config.rounds.batch_size == 20
    assert "--method" not in picked.words
    (tmp_path / "run/internal").mkdir(parents=True)
    (tmp_path / "run/internal/run.json").write_text(json.dumps({"method": "dp_feta"}))
    with pytest.raises(ValueError, match="method is dp_kernel, but the folder holds a run of dp_feta"):
        own_data.pick("digits", [*TINY, "--out", str(tmp_path / "run"), "--method", "dp_kernel"])


def test_flags_reach_the_run(tmp_path: Path) -> None:
    kept = ["--budget.account", str(tmp_path / "kept it"), "--budget.total=20"]
    words = [
        *TINY,
        *kept,
        "--delta",
        "1e-6",
        "--seed",
        "3",
        "--data.size",
        "16",
        "--seal",
        "--out",
        str(tmp_path / "a run"),
    ]
    command = own_data.pick("digits", words).command
    assert (command.account.account, command.account.total) == (str(tmp_path / "kept it"), 20.0)
    assert (command.config.budget.delta, command.config.seed, command.config.data.size) == (1e-6, 3, 16)
    assert (command.config.data.limit, command.out, command.seal) == (200, str(tmp_path / "a run"), True)
    assert command.machines.address == "here"
    assert own_data.pick("digits", [*words, "--synthetic", "70"]).command.config.synthetic == 70
    said = ["--tuned-on", "my scans", "--chosen-among=3 runs"]
    config = own_data.pick("digits", [*words, *said]).command.config
    assert config.tuned_on.endswith("; my scans") and config.chosen_among == "3 runs"
    more = "--classes.noisy-counts 20 --release.layout folder webdataset --release.network --release.license mit"
    config = own_data.pick("digits", [*words, *more.split()]).command.config
    assert config.classes.noisy_counts == 20 and config.release.license == "mit"
    assert config.release.layout == ("folder", "webdataset") and config.release.network


def test_a_method_picked_by_results_on_these_very_images_is_declared(tmp_path: Path) -> None:
    """The table that `auto` picks by has accuracies on real test images of some sets."""
    pixels, labels = np.random.default_rng(0).integers(0, 256, (300, 8, 8), np.uint8), np.arange(300) % 2
    for name in ("fashion_mnist", "scans"):
        np.savez(tmp_path / f"{name}.npz", train_images=pixels, train_labels=labels, test_images=pixels,
                 test_labels=labels)  # fmt: skip
    words = ["--epsilon=3", "--budget.account=none", "--out", str(tmp_path / "run")]

    def declared(name: str, *more: str) -> str:
        return str(own_data.pick(str(tmp_path / f"{name}.npz"), [*words, *more]).command.config.tuned_on)

    by_table = "; fashion_mnist, by whose results among others raysyn auto picks a method"
    assert declared("fashion_mnist").endswith(by_table)
    assert declared("fashion_mnist", "--tuned-on=mine").endswith(f"; mine{by_table}")
    assert by_table not in declared("fashion_mnist", "--method=dp_merf") + declared("scans")


def test_of_one_class_nobody_is_asked_which_it_is(tmp_path: Path) -> None:
    """A method would refuse the classifiers that others are judged by."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 8, 8), np.uint8)
    one = np.zeros(300, np.int64)
    np.savez(tmp_path / "scans.npz", train_images=pixels, train_labels=one, test_images=pixels, test_labels=one)
    words = ["--epsilon=3", "--budget.account=none", "--out", str(tmp_path / "run")]
    picked = own_data.pick(str(tmp_path / "scans.npz"), words)
    assert picked.command.config.eval.classifiers == () and "--eval.classifiers" in picked.words
    picked.entry.method().prepare(picked.command.config)


def test_a_folder_that_is_called_as_a_set_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    sentence = r"^digits is a set that raysyn knows by name, and a folder here: give \./digits for that"
    with pytest.raises(ValueError, match=sentence):
        own_data.pick("digits", ["--epsilon=3"])


def test_no_more_public_images_are_released_than_there_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, many in (("own", 400), ("public", 300)):
        pixels, labels = rng.integers(0, 256, (many, 8, 8, 3), dtype=np.uint8), np.arange(many) % 4
        np.savez(
            tmp_path / f"{name}.npz", train_images=pixels[:-100], train_labels=labels[:-100],
            test_images=pixels[-100:], test_labels=labels[-100:],
        )  # fmt: skip
    words = f"--epsilon 3 --on.address here --public.path {tmp_path}/public.npz --out {tmp_path}/run".split()
    picked = own_data.pick(str(tmp_path / "own.npz"), words)
    assert picked.entry.name == "dp_prototypes" and picked.command.config.synthetic == 200
    assert "--synthetic" in picked.words and picked.words[picked.words.index("--synthetic") + 1] == "200"
    few = own_data.pick(str(tmp_path / "own.npz"), [*words, "--public.limit", "150"])
    assert few.command.config.synthetic == 150
    assert own_data.pick(str(tmp_path / "own.npz"), [*words, "--synthetic", "60"]).command.config.synthetic == 60


def test_persons_reach_the_run_and_delta_and_choice_are_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 8, 8), dtype=np.uint8)
    labels, whose = np.arange(300) % 2, np.arange(300) // 3
    np.savez(
        tmp_path / "set.npz", train_images=pixels[:240], train_labels=labels[:240], train_persons=whose[:240],
        test_images=pixels[240:], test_labels=labels[240:], test_persons=whose[240:],
    )  # fmt: skip
    # Of 80 persons, not of 240 images.
    with pytest.raises(ValueError, match="there are 80 persons"):
        own_data.pick(str(tmp_path / "set.npz"), ["--epsilon", "10", "--delta", "0.1", "--on.address", "here"])
    for index, (pixel, person) in enumerate(zip(pixels, whose, strict=True)):
        split = "train" if index < 240 else "test"
        (folder := tmp_path / "set" / split / "ant").mkdir(parents=True, exist_ok=True)
        (folder / f"p{person}_{index}.png").write_bytes(png_bytes(pixel[..., None]))
    # What it picks is as for 80 images.
    words = ["--epsilon", "10", "--delta", "1e-4", "--on.address", "here"]
    picked, each = own_data.pick(str(tmp_path / "set.npz"), words), pixels[np.unique(whose, return_index=True)[1]]
    picked.tell(Console())
    said = " ".join(capsys.readouterr().out.split())
    assert "240 images of 8 x 8 pixels, grey, 2 classes They are of 80 persons, each of whom counts as one im" in said
    np.savez(
        tmp_path / "one.npz", train_images=each[:80], train_labels=np.arange(80) % 2, test_images=each[80:],
        test_labels=np.arange(20) % 2,
    )  # fmt: skip
    assert own_data.pick(str(tmp_path / "one.npz"), words).choice == picked.choice
    # Of one image each, too.
    np.savez(tmp_path / "alone.npz", **np.load(tmp_path / "one.npz"), train_persons=whose[::3][:80],
             test_persons=whose[::3][80:])  # fmt: skip
    own_data.pick(str(tmp_path / "alone.npz"), words).tell(Console())
    assert "80 images of 8 x 8 pixels, grey, 2 classes They are of 80 persons" in " ".join(
        capsys.readouterr().out.split()
    )
    with pytest.raises(ValueError, match="there are 80 persons"):
        own_data.pick(str(tmp_path / "alone.npz"), ["--epsilon", "10", "--delta", "0.1", "--on.address", "here"])
    words += ["--data.person-pattern", r"(p\d+)_"]
    picked = own_data.pick(str(tmp_path / "set"), words)
    assert picked.command.config.data.person_pattern == r"(p\d+)_" and r"--data.person-pattern=(p\d+)_" in picked.words


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("auto", "auto has no source: begin with a file, folder or name of images"),
        ("auto --epsilon 3", "auto has no source: begin with a file, folder or name of images"),
        ("auto digits", "epsilon is not given, and a budget is spent once: say how much, such as --epsilon 3"),
        ("auto digits --epsilon 0", "epsilon is 0.0: give a finite number above 0"),
        ("auto digits --budget.epsilon 0", "epsilon is 0.0: give a finite number above 0"),
        ("auto digits --epsilon 3 --minutes nan", "minutes is nan: give a finite number above 0"),
        ("auto digits --epsilon 3 --minutes 0.001", "minutes is 0.001, but the quickest method takes about"),
        ("auto nothing.parquet --epsilon 3", "data.path='nothing.parquet' does not exist"),
        ("auto digits --epsilon 3 --data.limit 50", "the data has 50 images, too few for the default delta"),
        ("auto digits --epsilon 3 --minute 5", "--minute is no flag of auto (did you mean --minutes?)"),
        ("auto nothing.parquet --epsilon 3 --out=", "out is empty, as where a shell variable is not set: give a place"),
        ("auto digits quick --epsilon 3", "quick is no argument of auto"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    err = said(capsys, *words.split(), status=2)
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1, err
    assert list(tmp_path.iterdir()) == []


def test_python_picks_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given: dict[str, Any] = {"epsilon": 10, "data": {"limit": 200}, "on": {"address": "here"}}
    raysyn.auto("digits", **given, out=str(tmp_path / "run"), dry_run=True)
    assert "Picked: noisy_means" in capsys.readouterr().out and list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="epsilon is not given"):
        raysyn.auto("digits")


def test_public_facts_are_those_of_the_images() -> None:
    for config in (DataConfig(), DataConfig(limit=30), DataConfig(size=16)):
        train = load(config).train
        assert public_facts(config) == (len(train), train.shape, train.classes)


def test_the_choice_does_not_depend_on_pixels_or_labels(tmp_path: Path) -> None:
    """Two sets of the same number, shape and classes: black images of one class, and noise of all."""
    rng, told = np.random.default_rng(0), []
    for name, images, labels in [
        ("a", np.zeros((300, 28, 28), np.uint8), np.zeros(300, np.int64)),
        ("b", rng.integers(0, 256, (300, 28, 28)).astype(np.uint8), rng.integers(0, 3, 300)),
    ]:
        np.savez(tmp_path / f"{name}.npz", train_images=images, train_labels=labels, test_images=images[:50],
                 test_labels=labels[:50], class_names=np.array(["x", "y", "z"]))  # fmt: skip
        told.append(own_data.pick(str(tmp_path / f"{name}.npz"), ["--epsilon", "3", "--on.address", "here"]).choice)
    assert told[0] == told[1]


def test_the_page_shows_the_table() -> None:
    shown = re.search(r"<!-- measured -->\n(.*)\n<!-- /measured -->", (DOCS / "choose.md").read_text(), re.DOTALL)
    assert shown is not None and shown[1] == markdown(), "put what `python benchmarks/choose.py --table` prints there"


def test_the_page_shows_what_auto_picks_beside_the_best() -> None:
    shown = re.search(r"<!-- picks -->\n(.*)\n<!-- /picks -->", (DOCS / "choose.md").read_text(), re.DOTALL)
    assert shown is not None and shown[1] == picks.markdown(), "put what `benchmarks/choose.py --picks` prints there"


def test_auto_is_at_most_three_points_below_the_best_and_would_pick_the_same_of_sets_unseen() -> None:
    found = list(picks.picks())
    assert len(found) > 30 and {pick.floor.data for pick in found} == {"cifar10", "fashion_mnist", "medical_mnist"}
    for pick in found:
        assert pick.best.accuracy - pick.picked.accuracy <= 0.03, pick
        assert pick.picked.accuracy > pick.floor.largest_class, pick
        assert pick.unseen in ((None,) if pick.floor.channels == 3 else (pick.picked,)), pick


def test_how_images_are_read_reaches_the_run(tmp_path: Path) -> None:
    images, labels = np.zeros((300, 8, 8), np.uint16), np.arange(300) % 3
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    said = "--data.window -0.5 4095 --data.colour rgb --epsilon 10 --on.address here --out".split()
    picked = own_data.pick(str(tmp_path / "a.npz"), [*said, str(tmp_path / "run")])
    data = picked.command.config.data
    assert (data.window, data.colour, data.background, data.skip_broken) == ((-0.5, 4095), "rgb", None, 0)
    assert picked.case.facts.shape == (8, 8, 3) and "--data.window -0.5 4095.0" in " ".join(picked.words)
    public = PublicConfig(path=("x.tar",), window=(1, 2), background="#000000", skip_broken=3)
    words = own_data._public_words(Config(public=public))
    assert words == [
        *("--public.path", "x.tar", "--public.window", "1", "2"),
        *("--public.background=#000000", "--public.skip-broken=3"),
    ]


def test_which_labels_are_heeded_reaches_the_run(tmp_path: Path) -> None:
    images, labels = np.zeros((300, 8, 8), np.uint8), np.arange(900).reshape(300, 3) % 2
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    rest = ["--epsilon", "10", "--on.address", "here", "--out", str(tmp_path / "run")]
    heeded = ["--data.multi-label", "most-frequent", "--data.label-order", "2", "0"]
    picked = own_data.pick(str(tmp_path / "a.npz"), [*heeded, *rest])
    data = picked.command.config.data
    assert (data.multi_label, data.label_order, picked.case.facts.classes) == ("most-frequent", ("2", "0"), 3)
    picked = own_data.pick(str(tmp_path / "a.npz"), ["--data.no-labels", *rest])
    assert not picked.command.config.data.labels and picked.case.facts.classes == 1


def test_private_images_named_as_public_ones_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dp_prototypes` asks how many public images there are."""
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    images = np.random.default_rng(0).integers(0, 256, (1_000, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(1_000) % 10
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels, test_images=images[:50],
             test_labels=labels[:50])  # fmt: skip
    words = ["--epsilon", "3", "--public.path", str(tmp_path / "a.npz"), "--method", "dp_prototypes"]
    with pytest.raises(ValueError, match=r"^public\.path names .*, the sensitive images themselves"):
        own_data.pick(str(tmp_path / "a.npz"), [*words, "--on.address", "here"])
    assert not list((tmp_path / "cache").rglob("*.u8"))
