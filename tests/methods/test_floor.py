"""The floor: noisy class means of the same budget beside a run's images, in the report and nowhere else.

Noisy means themselves are judged here beside another answer to the very same questions: what must never share noise.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_noisy_means import TINY
from whole_run import whole_run

from raysyn.data.images import Images
from raysyn.methods import floor, synthesis
from raysyn.methods.distances import attack_by_distances
from raysyn.methods.machines import On
from raysyn.methods.noisy_means import pipeline as noisy_means
from raysyn.methods.pigan.config import Config as Pigan
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream
from raysyn.runs.folder import RunFolder
from raysyn.runs.sealing import seal
from raysyn.runs.storage import load_saved

JUDGED = replace(TINY, eval=replace(TINY.eval, floor=True, feature_epochs=1, nearest=9))


@dataclass(frozen=True)
class Whole:
    """A run, and (stage, kind, step, purpose) of all that it drew."""

    out: Path
    draws: list[tuple[str, str, int, str]]

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.out / "internal/report.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    draws: list[tuple[str, str, int, str]] = []
    key = Stream._key

    def drawn(self: Stream, kind: str, step: int, purpose: str, index: int = 0) -> bytes:
        draws.append((self.stage, kind, step, purpose))
        return key(self, kind, step, purpose, index)

    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "_key", drawn)
        whole_run(noisy_means, JUDGED, out, On(address="here"), about="floor")
    yield Whole(out, draws)


def test_every_classifier_is_trained_on_the_floor_too(whole: Whole) -> None:
    metrics = whole.report["metrics"]
    reached = metrics["utility"]["logreg"]["accuracy_floor"]
    assert 0 <= reached <= 1 and metrics["utility_mean"]["accuracy_floor"] == reached
    assert metrics["utility_images"]["floor"] == 60 and metrics["utility_guessing"]["chance"] == 0.1
    assert 0.1 <= metrics["utility_guessing"]["largest_class"] < 0.2
    assert {"floor", "utility"} <= set(whole.report["timings"])


def test_the_report_says_how_far_above_the_floor_the_images_are(whole: Whole) -> None:
    page = (whole.out / "internal/report.html").read_text()
    assert "the floor, noisy class means of the same budget" in page and "Trained on<br>the floor" in page
    assert "largest" in page


def test_no_noise_is_shared_with_what_is_released(whole: Whole) -> None:
    """Each draw once; the floor's in stages of their own, which no ledger names."""
    assert len(set(whole.draws)) == len(whole.draws)
    paid = {json.loads(line)["stage"] for line in (whole.out / "internal/ledger.jsonl").read_text().splitlines()}
    assert {stage for stage, *_ in whole.draws} == paid | {"floor/means", "floor/spread"} and paid == {
        "means",
        "spread",
    }


def test_nothing_of_the_floor_is_released(whole: Whole) -> None:
    made = load_saved(whole.out / "internal/stages/floor-60.pt")["images"].numpy()
    released = load_saved(whole.out / "internal/stages/synthesise.pt").numpy()
    assert made.shape == released.shape and not np.any(np.all(made == released, axis=(1, 2, 3)))
    certificate = json.loads((whole.out / "release/certificate.json").read_text())
    assert [row["stage"] for row in certificate["ledger"]] == ["means", "spread"] and "floor" not in str(certificate)


PICTURES = ("nearest.png", "closest.png")
"""That have private images in them."""


@pytest.mark.parametrize("name", PICTURES)
def test_nearest_private_images_are_drawn_inside_alone(name: str, whole: Whole) -> None:
    """Four pairs in a row, each a synthetic image and the private one that is nearest to it, the closest first."""
    picture = Image.open(io.BytesIO((whole.out / "internal" / name).read_bytes()))
    assert picture.size[0] == 4 * (2 * 8 * 8 + 6) + 6 and (whole.out / "internal" / name).stat().st_mode & 0o077 == 0
    told = whole.report["metrics"]["fidelity"]
    assert told["nearest_pairs"] == "internal/nearest.png" and told["nearest_pair"] > 0 and "nearest" not in told
    private = noisy_means.prepare(JUDGED).dataset.train.images_NHWC[:, ::1, ::1, 0]
    tiles = np.asarray(picture)[..., 0]
    for pair in range(3):
        top, left = 6 + pair // 4 * 70, 6 + pair % 4 * 134 + 64
        shown = tiles[top : top + 64 : 8, left : left + 64 : 8]
        assert np.any(np.all(private == shown, axis=(1, 2)))
    assert not (whole.out / "release" / name).exists()


@pytest.mark.parametrize(
    ("name", "judge", "told"),
    [
        ("closest.png", lambda setting, made: attack_by_distances(setting, made, 0), {}),
        # Where the attack had too few to go by, or nothing was released to show.
        ("closest.png", lambda setting, made: attack_by_distances(setting, made, 5), {"distances": {"reason": "few"}}),
        ("nearest.png", lambda setting, made: synthesis.draw_nearest(setting, made, None), {}),
    ],
)
def test_a_run_judged_anew_without_a_picture_keeps_none_of_before(
    name: str, judge: Any, told: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"private images")
    nobody = Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), ("a",))
    folder = SimpleNamespace(internal=tmp_path, stage=lambda *_: [{"found": None, "reason": "few"}])
    setting = SimpleNamespace(
        folder=folder, dataset=SimpleNamespace(train=nobody, test=nobody), config=SimpleNamespace(seed=0),
        console=SimpleNamespace(stage=lambda *_: None),
    )  # fmt: skip
    assert judge(setting, nobody) == told and not (tmp_path / name).exists()


def test_sealing_erases_it(whole: Whole) -> None:
    """Last: the run has no secret after it."""
    with RunFolder.open(
        whole.out, method="noisy_means", preset="tiny", config={"as": repr("floor")},
        data_fingerprint=noisy_means.prepare(JUDGED).dataset.train.fingerprint(),
    ) as folder:  # fmt: skip
        seal(folder, {"eval": {"floor": True}})
    assert sorted(path.name for path in (whole.out / "internal/stages").iterdir()) == ["means.pt", "spread.pt"]
    assert not any((whole.out / "internal" / name).exists() for name in PICTURES)


class Asking:
    """As much of a setting as `floor_images` looks at."""

    def __init__(self, folder: RunFolder, budget: Budget) -> None:
        self.folder, self.config, self.said = folder, JUDGED, list[str]()
        self.dataset, self.console = noisy_means.prepare(JUDGED).dataset, self
        self.asked = budget

    def stage(self, name: str, detail: str) -> None:
        self.said.append(detail)


def test_a_budget_too_small_for_it_fails_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor, "budget", lambda setting: setting.asked)
    with RunFolder.open(tmp_path / "run", method="m", preset="", config={}, data_fingerprint="") as folder:
        asking: Any = Asking(folder, Budget(epsilon=1e-6, delta=1e-9, accountant="rdp"))
        assert floor.floor_images(asking, 20) is None and "left out" in asking.said[0]
        asking.asked = Budget(epsilon=8.0, accountant="rdp")
        made = floor.floor_images(asking, 21)
        assert made is not None and len(made) == 21 and np.bincount(made.labels_N).tolist() == [3] + [2] * 9
        # Stored: another budget changes nothing any more.
        monkeypatch.setattr(floor, "make", None)
        again = floor.floor_images(asking, 21)
        assert again is not None and np.array_equal(again.images_NHWC, made.images_NHWC)


def test_its_budget_is_that_of_the_run(whole: Whole) -> None:
    prepared = noisy_means.prepare(JUDGED)
    plan: Plan = prepared.plan
    parts = (JUDGED, prepared.dataset, None, None, None, None)
    private = floor.PrivateSetting(*parts, plan=plan, ledger=None)  # type: ignore[arg-type]
    assert floor.budget(private) == Budget(epsilon=8.0, delta=plan.delta, accountant="rdp")
    assert floor.budget(floor.Setting(*parts)) == Budget(epsilon=10.0)  # type: ignore[arg-type]
    few = replace(prepared.dataset, train=prepared.dataset.train.select(slice(20)))
    assert floor.budget(floor.Setting(JUDGED, few, *parts[2:])).delta == pytest.approx(0.01 / 20)  # type: ignore[arg-type]


def test_pigan_has_none_and_says_so() -> None:
    assert not Pigan().eval.floor
    with pytest.raises(ValueError, match=r"^eval\.floor is True, but pigan .*: leave it out$"):
        Pigan(eval=replace(Pigan().eval, floor=True))
    with pytest.raises(ValueError, match=r"^eval\.nearest is 3, but pigan .*: leave it out$"):
        Pigan(eval=replace(Pigan().eval, nearest=3))
