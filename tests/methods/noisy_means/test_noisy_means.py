"""The whole pipeline on real digits: its plan, its release, its promise, and that stopping it changes nothing."""

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from what_is_said import honest, spoken_by
from what_leaves import PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.methods import ends, synthesis
from raysyn.methods.class_shares import of_counts, turns
from raysyn.methods.declared import ClassesConfig
from raysyn.methods.machines import On
from raysyn.methods.noisy_means import pipeline as noisy_means
from raysyn.methods.noisy_means.config import Config
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Ledger
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.report.release_config import ReleaseConfig
from raysyn.report.verify import verify
from raysyn.runs.storage import load_saved

TINY = Config(
    data=data.DataConfig(limit=300),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    synthetic=60,
    tuned_on="digits",
    chosen_among="3 runs by hand",
    eval=EvalConfig(classifiers=("logreg",), epochs=1, floor=False, feature_epochs=1, precision_recall_images=50),
)
QUICK = replace(TINY, eval=replace(TINY.eval, classifiers=(), feature_epochs=0))
"""The same release, hardly judged."""


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    """Several chunks of synthesis, so that continuing has both to repeat and to skip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        yield


def run(config: Config, out: Path, compute: type[Compute] = Local, text: io.StringIO | None = None) -> Any:
    about = replace(config, eval=TINY.eval, release=TINY.release)
    return whole_run(noisy_means, config, out, On(address="here"), about=about, compute=compute, text=text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(TINY, out / "run")
    return out / "run"


def released(out: Path) -> dict[str, bytes]:
    return {name: (out / "release" / name).read_bytes() for name in ("synthetic.parquet", "samples.png")}


def ledger(out: Path) -> list[dict[str, Any]]:
    lines = (out / "internal/ledger.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "time"} for line in lines]


def test_report_and_certificate_keep_the_contract(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    assert [row["stage"] for row in report["privacy"]["ledger"]] == ["means", "spread"]
    assert all((row["sampling_rate"], row["steps"]) == (1.0, 1) for row in report["privacy"]["ledger"])
    assert 0.99 * 8 < certificate["epsilon"] == report["privacy"]["epsilon"] <= 8.0
    assert not {"metrics", "utility", "fidelity", "attacks", "timings"} & set(certificate)
    assert set(report["timings"]) == {"means", "spread", "synthesise", "utility", "fidelity", "distances"}
    (record,) = report["attacks"]["found"]
    assert record["attack"] == "Nearest released image" and record["epsilon"]["delta"] == certificate["delta"]
    assert set(report["attacks"]["distances"]["closer"]) == {"pixels", "features"}
    page = (whole / "internal/report.html").read_text()
    assert "What attackers found" in page
    # The closest pairs lie beside the page, for their owner alone, and are no part of it.
    picture, told = whole / "internal/closest.png", report["attacks"]["distances"]["closest"]
    assert picture.stat().st_mode & 0o077 == 0 and Image.open(io.BytesIO(picture.read_bytes())).size == (
        4 * (2 * 8 * 8 + 6) + 6,
        2 * (8 * 8 + 6) + 6,
    )
    assert len(told["distances"]) == 8 and told["file"] == "internal/closest.png"
    # Where it is erased, words stand there.
    assert 'data="closest.png">closest.png, which holds private images, is not beside' in page
    assert base64.b64encode(picture.read_bytes()).decode() not in page
    assert not any("What attackers" in path.read_text(errors="ignore") for path in (whole / "release").iterdir())


def test_more_images_can_be_drawn_from_the_answers_alone(whole: Path) -> None:
    drawn_again(noisy_means.METHOD, TINY, whole)


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(noisy_means.METHOD, TINY, whole)


def test_noisy_counts_are_a_stage_that_is_paid_for_and_decide_how_often_a_class_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(QUICK, classes=ClassesConfig(noisy_counts=20.0))
    run(config, tmp_path / "run", text=(text := io.StringIO()))
    said = [line.strip() for line in text.getvalue().splitlines() if re.search("so far|spent in all", line)]
    assert [re.search(r"(\d)/\d", line)[1] for line in said] == ["1", "2", "3"], said  # type: ignore[index]
    assert [line.endswith("spent in all") for line in said] == [False, False, True], said
    assert [row["stage"] for row in ledger(tmp_path / "run")] == ["means", "spread", "counts"]
    certificate = json.loads((tmp_path / "run/release/certificate.json").read_text())
    assert certificate["epsilon"] <= 8.0 and certificate["ledger"][-1]["noise_multiplier"] == 20.0
    labels = pq.read_table(tmp_path / "run/release/synthetic.parquet")["label"].to_numpy()
    noisy = load_saved(tmp_path / "run/internal/stages/counts.pt").numpy()
    np.testing.assert_array_equal(labels, turns(60, 10, of_counts(noisy)))
    assert not np.array_equal(labels, turns(60, 10))
    assert "counts" in drawn_again(noisy_means.METHOD, config, tmp_path / "run")
    assert len(attacked(noisy_means.METHOD, config, tmp_path / "run")) == 3
    made_of_paid_answers(run, ends, config, tmp_path / "run", tmp_path / "again", monkeypatch)


def test_a_finished_run_is_written_anew_in_other_files(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    before = released(whole)
    place = tmp_path / "run/release/folder/train"
    written = ReleaseConfig(layout=("folder", "webdataset"), license="cc0-1.0")
    run(replace(TINY, release=written), tmp_path / "run")
    assert released(tmp_path / "run") == before and len(list(place.rglob("*.png"))) == 60
    assert all(check.holds for check in verify(tmp_path / "run/release"))
    first = sorted((place / "0").iterdir())[0]
    run(TINY, tmp_path / "run")
    assert not first.exists() and not (tmp_path / "run/release/manifest.json").exists()
    assert released(tmp_path / "run") == before and ledger(tmp_path / "run") == ledger(whole)


def test_it_is_its_own_floor_and_has_none_beside_it(whole: Path) -> None:
    metrics = json.loads((whole / "internal/report.json").read_text())["metrics"]
    assert "accuracy_floor" not in metrics["utility"]["logreg"] and metrics["utility_guessing"]["chance"] == 0.1
    assert not list((whole / "internal/stages").glob("floor*"))
    assert "floor" not in (whole / "internal/report.html").read_text().replace("eval.floor", "")
    assert all(not preset.eval.floor for preset in noisy_means_presets().values()) and not Config().eval.floor


def noisy_means_presets() -> dict[str, Config]:
    from raysyn.methods.noisy_means.presets import PRESETS

    return PRESETS


def test_labels_are_equal_and_not_those_of_the_private_images(whole: Path) -> None:
    labels = pq.read_table(whole / "release/synthetic.parquet")["label"].to_numpy()
    assert np.bincount(labels).tolist() == [6] * 10
    counts = np.bincount(data.load(TINY.data).train.labels_N)
    assert len(set(counts)) > 1, "the private classes differ in size"
    # The answers that stay in internal/ and may be handed on tell counts with noise only.
    means = load_saved(whole / "internal/stages/means.pt").numpy()
    assert not np.any(np.isclose(means[:, -1] / (0.1 * 4), counts, rtol=0, atol=1e-9))


def test_trap_5_two_runs_of_one_config_differ_and_one_secret_gives_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(QUICK, tmp_path / "other")
    assert not np.array_equal(*(load_saved(out / "internal/stages/means.pt") for out in (whole, tmp_path / "other")))
    assert released(tmp_path / "other") != released(whole)
    with_secret_of(whole, monkeypatch)
    run(QUICK, tmp_path / "same")
    assert released(tmp_path / "same") == released(whole)


def with_secret_of(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = (whole / "internal/secret").read_bytes()
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])


class StopsInSynthesis(Local):
    """A machine that dies once two chunks of images are durable."""

    def __init__(self, storage: Path) -> None:
        super().__init__(storage, self.watch)

    def watch(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if (stage, done) == ("synthesise", 2):
            raise KeyboardInterrupt


def test_trap_11_and_30_a_stopped_run_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped when the first answer is paid for and not yet stored, and again while images are drawn."""
    with_secret_of(whole, monkeypatch)
    pay = Ledger.pay

    def paid(self: Ledger, stage: str, release: Any) -> Any:
        pay(self, stage, release)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "pay", paid)
        run(QUICK, tmp_path / "run")
    monkeypatch.setattr("time.monotonic", iter(range(10**6)).__next__)
    with pytest.raises(KeyboardInterrupt):
        run(QUICK, tmp_path / "run", StopsInSynthesis)
    run(QUICK, tmp_path / "run")
    assert released(tmp_path / "run") == released(whole) and ledger(tmp_path / "run") == ledger(whole)


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(whole: Path) -> None:
    left = Left(whole, TINY, data.load(TINY.data))
    pinned(left, PROMISE)
    assert honest(left) >= spoken_by(ends)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


def test_without_spread_every_image_is_the_mean_of_its_class(tmp_path: Path) -> None:
    config = replace(QUICK, moments=MomentsConfig(spread_frequencies=0))
    report = run(config, tmp_path / "run")
    assert [row["stage"] for row in report.privacy["ledger"]] == ["means"] and report.privacy["epsilon"] > 0.99 * 8
    table = pq.read_table(tmp_path / "run/release/synthetic.parquet").to_pydict()
    assert all(len({image for image, of in zip(table["image"], table["label"], strict=True) if of == one}) == 1
               for one in range(10))  # fmt: skip
    pinned(Left(tmp_path / "run", config, data.load(config.data)), PROMISE)


@pytest.mark.parametrize("own", [True, False])
def test_colour_of_an_odd_size_and_an_empty_class(own: bool, tmp_path: Path) -> None:
    """Two classes of one colour each come back in it; one that is declared and has no image is answered too."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    pixels = rng.integers(0, 60, (300, 9, 11, 3), dtype=np.uint8)
    pixels[np.arange(300), :, :, 2 * labels] += 180
    arrays = {f"{part}_{what}": value for part in ("train", "test")
              for what, value in (("images", pixels), ("labels", labels))}  # fmt: skip
    np.savez(tmp_path / "set.npz", class_names=np.array(["red", "blue", "none"]), **arrays)
    config = replace(
        QUICK, data=data.DataConfig(path=str(tmp_path / "set.npz")), budget=Budget(epsilon=100.0, accountant="rdp"),
        moments=MomentsConfig(spread_per_class=own, spread_frequencies=8),
    )  # fmt: skip
    report = run(config, tmp_path / "run")
    assert report.dataset["classes"] == ("red", "blue", "none")
    made = load_saved(tmp_path / "run/internal/stages/synthesise.pt").numpy()
    assert made.shape == (60, 9, 11, 3)
    for label in (0, 1):
        colours = made[label::3].mean(axis=(0, 1, 2))
        assert colours.argmax() == 2 * label and colours.max() > 150 and np.sort(colours)[1] < 90
