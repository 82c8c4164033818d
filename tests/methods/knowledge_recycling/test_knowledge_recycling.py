"""Knowledge Recycling in one process, on a little of the real digits."""

from __future__ import annotations

import io
import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from what_is_said import honest, spoken_by
from what_leaves import NO_PROMISE, Left, pinned
from whole_run import drawn_again, whole_run

from raysyn.attacks.shadows import AttackConfig, ShadowSpeed
from raysyn.compute.local import Local
from raysyn.data.images import DataConfig, Images, load
from raysyn.data.sources import NAMES
from raysyn.methods.class_shares import turns
from raysyn.methods.declared import ClassesConfig
from raysyn.methods.knowledge_recycling import pipeline as kr
from raysyn.methods.knowledge_recycling import report as shown_by
from raysyn.methods.knowledge_recycling.config import Config, On, TuningConfig
from raysyn.methods.knowledge_recycling.presets import PRESETS
from raysyn.methods.synthesis import Drawing, NoNumbers, soft_labels
from raysyn.models.biggan import BigGANConfig, Generator
from raysyn.models.resnet import ResNetConfig
from raysyn.report.release_config import ReleaseConfig
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import load_saved
from raysyn.screen.console import Console
from raysyn.train import gan, students
from raysyn.train.gan import GANConfig
from raysyn.train.recipe import RecipeConfig

TINY = Config(
    data=DataConfig(limit=200),
    classifier=ResNetConfig(blocks=1, width=4),
    recipe=RecipeConfig(epochs=4, batch_size=32, learning_rate=0.1),
    search_epochs=3,
    network=BigGANConfig(channels=4, depth=1, latent=8, embedding=8),
    gan=GANConfig(epochs=4, batch_size=32, discriminator_steps=1, checkpoint_every=2, learning_rate=2e-3, ema=0.9),
    tuning=TuningConfig(trials=2, cardinality_scale=(1, 2), first_verdict=1),
    attack=AttackConfig(shadow_models=4, design="half", images=60, queries=3),
    synthetic=40,
    tuned_on="digits",
    chosen_among="3 runs by hand",
)


def run(config: Config, out: Path, text: io.StringIO | None = None, test: Images | None = None) -> Any:
    """The attack is no part of a run's identity."""
    about, machines = replace(config, attack=AttackConfig()), On(shadows=ShadowSpeed(stack=2))
    return whole_run(kr, config, out, machines, about=about, text=text, test=test)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, str]:
    out, text = tmp_path_factory.mktemp("kr") / "run", io.StringIO()
    return run(TINY, out, text), out, text.getvalue()


def test_a_whole_run_leaves_release_and_report(finished: tuple[Any, Path, str]) -> None:
    _, out, text = finished
    certificate = (out / "release" / "certificate.json").read_text()
    assert "NO differential privacy guarantee" in certificate.splitlines()[0]
    content = json.loads((out / "internal" / "report.json").read_text())
    assert content["privacy"]["guarantee"] == "none" and content["privacy"]["epsilon"] is None
    assert len(content["privacy"]["uncharged_choices"]) == 5
    metrics = content["metrics"]
    assert set(metrics["cas_by_checkpoint"]) == {"2", "4"}
    assert set(metrics["cas_by_labels"]) == {"soft", "hard", "agree", "confident"}
    assert set(metrics["table_1"]) == {
        "standard_deviation", "regeneration_rate", "cardinality_scale", "delta_cas"
    }  # fmt: skip
    assert metrics["table_1"]["delta_cas"] >= 0
    stands_beside_the_others(metrics)
    assert len(metrics["tuning"]) == 2
    for name in ("teacher", "student"):
        assert len(content["attacks"][name]["variants"]) == 7
    released = pq.read_table(out / "release" / "synthetic.parquet")
    assert released.num_rows == 40
    soft = np.array(released["soft_label"].to_pylist())
    assert soft.shape == (40, 10) and np.allclose(soft.sum(1), 1, atol=1e-5)
    # Labels are what was asked for, whatever the teacher says, which is told.
    asked_N = np.array(released["label"].to_pylist())
    assert asked_N.tolist() == list(range(10)) * 4
    agreed = (soft.argmax(1) == asked_N).mean()
    assert agreed < 1 and f"The teacher sees the class that was asked for in {100 * agreed:.0f} % of them." in text
    student = torch.load(out / "release" / "student.pt", weights_only=True)
    assert student["shape"] == [8, 8, 1] and student["network"] == {"blocks": 1, "width": 4}
    html = (out / "internal" / "report.html").read_text()
    assert html.count("data:image/svg+xml") == 3 and "table 2 of the paper" in html
    assert "not adaptive" in html and "raysyn attack RUN --shadow-runs N" in html
    table, dataset = pq.read_table(out / "internal" / "attacked.parquet").to_pydict(), load(TINY.data)
    known = {image.tobytes() for image in kr.split(TINY, dataset).train.images_NHWC}
    for split, index in zip(table["split"], table["index"], strict=True):
        image = getattr(dataset, split).images_NHWC[index]
        assert split == "test" or image.tobytes() in known
    assert "Images are asked of the generator, for the students and for the release, equally many per class" in html
    for stage in (
        "teacher",
        "generator",
        "checkpoints",
        "labels",
        "tuning",
        "student",
        "synthesise",
        "floor",
        "utility",
        "attack",
    ):
        assert f" {stage} " in text, stage


def stands_beside_the_others(metrics: dict[str, Any]) -> None:
    """The student beside its teacher, the floor and guessing; what the attack asked of both is the same."""
    student, dataset = metrics["utility"]["resnet14"], load(TINY.data)
    assert student.keys() == {"accuracy", "accuracy_real_data", "accuracy_floor"}
    assert metrics["utility_mean"] == student and metrics["utility_guessing"]["chance"] == 0.1
    known = len(kr.split(TINY, dataset).train)
    assert metrics["utility_images"] == {"synthetic": 40, "real": known, "floor": known}
    assert metrics["utility_classes"]["test_images"] == np.bincount(dataset.test.labels_N).tolist()


def test_figure_1_shows_the_teachers_best_epoch_and_says_that_the_last_one_stays(
    finished: tuple[Any, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = finished
    teacher = load_saved(out / "internal" / "stages" / "teacher.pt")
    by_epoch, told = teacher["valid_by_epoch"], json.loads((out / "internal/report.json").read_text())["metrics"]
    assert len(by_epoch) == TINY.recipe.epochs and by_epoch[-1] == teacher["valid_accuracy"]
    best = told["validation"]["teacher_best"]
    assert best["accuracy"] == max(by_epoch) == by_epoch[best["epoch"] - 1]
    assert told["validation"]["teacher"] == teacher["valid_accuracy"]
    # A teacher that was better before its last epoch.
    by_score = [{"params": {"checkpoint": epoch}, "score": 0.5} for epoch in (2, 4)]
    results = {"checkpoints": by_score, "default": by_score[0], "chosen": by_score[0], "teacher": 0.75,
               "teacher_by_epoch": [0.25, 0.875, 0.75]}  # fmt: skip
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(shown_by, "chart", lambda lines, **_: drawn.update(lines))
    shown = shown_by._figure_1(results)
    assert drawn["teacher's best epoch"].y == [87.5, 87.5]
    assert "87.50 % after epoch 2 of 3" in shown.text and "that of the last epoch (75.00 %)" in shown.text


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(finished: tuple[Any, Path, str]) -> None:
    left = Left(finished[1], TINY, load(TINY.data))
    pinned(left, NO_PROMISE, soft=True, student=True)
    assert honest(left) >= spoken_by(kr)


def test_more_images_are_drawn_by_the_chosen_generator_and_labelled_by_the_teacher(
    finished: tuple[Any, Path, str],
) -> None:
    tensors = drawn_again(kr.METHOD, TINY, finished[1])
    assert {"/".join(name.split("/")[:2]) for name in tensors} == {
        "teacher/weights", "generator-chosen/weights", "generator-chosen/deviation"
    }  # fmt: skip
    told = json.loads((finished[1] / "internal/report.json").read_text())["metrics"]["table_1"]
    assert tensors["generator-chosen/deviation"].item() == told["standard_deviation"]


@pytest.mark.parametrize(("stage", "lost"), [
    ("teacher", math.nan), ("teacher", math.inf), ("generator-chosen", math.nan), ("generator-chosen", math.inf),
    ("generator-chosen", 0.0), ("generator-chosen", -1.0),
])  # fmt: skip
def test_a_teacher_or_a_deviation_that_is_no_number_draws_nothing(
    stage: str, lost: float, finished: tuple[Any, Path, str]
) -> None:
    stored = {name: load_saved(finished[1] / f"internal/stages/{name}.pt") for name in ("teacher", "generator-chosen")}
    changed = stored[stage]["deviation"] if stage != "teacher" else next(iter(stored[stage]["weights"].values()))
    changed.view(-1)[0] = lost
    assert kr.METHOD.drawing is not None
    with pytest.raises(ValueError, match=rf"^{stage} has .* (is no number above 0|are no numbers \(NaN or endless\))$"):
        kr.METHOD.drawing(TINY, load(TINY.data).train.select(slice(0, 0)), 200, stored.__getitem__)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_soft_labels_that_are_no_numbers_are_not_released(value: float, tmp_path: Path) -> None:
    images = Images(np.zeros((3, 8, 8, 1), np.uint8), np.zeros(3, np.int64), ("a", "b"))
    drawing = Drawing(gan.draw, value, "told", endless)
    with RunFolder.open(tmp_path, method="m", preset="p", config={}, data_fingerprint="f") as folder:
        place = Local(folder.internal), folder, Console(io.StringIO())
        # A sentence of the command's, and a ValueError of the Python door's.
        with pytest.raises(NoNumbers, match=r"^the teacher's soft labels are no numbers"):
            soft_labels(*place, drawing, images)
        assert soft_labels(*place, drawing._replace(label=None), images) is None


def endless(images_NHWC: np.ndarray, value: float) -> torch.Tensor:
    return torch.tensor([[0.5, 0.5], [0.5, value], [1.0, 0.0]])


@pytest.mark.parametrize(("shares", "told"), [
    ((), "equally many per class"), (tuple("1" * 10), "of each class as was stated"),
])  # fmt: skip
@pytest.mark.parametrize("handed_on", [False, True])
def test_what_classes_are_asked_makes_a_run_and_a_teacher_that_leaves_is_warned_of(
    shares: tuple[str, ...], told: str, handed_on: bool
) -> None:
    prepared = kr.prepare(
        replace(TINY, classes=ClassesConfig(shares=shares), release=ReleaseConfig(network=handed_on))
    )  # fmt: skip
    assert prepared.facts == {"classes_asked": told}
    assert prepared.doubts == ([kr.TEACHER_LEAVES] if handed_on else [])


def test_more_shadow_models_later_reuse_those_that_exist(finished: tuple[Any, Path, str]) -> None:
    _, out, _ = finished
    (sweep,) = (path for path in (out / "internal" / "units").glob("shadows-*") if "trial" not in path.name)
    before = {path.name: path.read_bytes() for path in sweep.iterdir()}
    report = run(replace(TINY, attack=replace(TINY.attack, shadow_models=6, queries=1)), out)
    after = {path.name: path.read_bytes() for path in sweep.iterdir()}
    assert len(before) == 4 and len(after) == 6 and before.items() <= after.items()
    assert report.attacks["teacher"]["variants"]


def test_trap_12_selection_cannot_see_the_test_images(finished: tuple[Any, Path, str], tmp_path: Path) -> None:
    """What trains and selects is given a `Lesson`, whose `Real` has no test images; and with others, wrongly labelled,
    nothing that was chosen or released changes."""
    assert students.Real._fields == ("train", "valid")
    assert "test" not in {field.name for field in fields(students.Lesson)}
    report, out, _ = finished
    there = kr.prepare(TINY).dataset.test
    noise = np.random.default_rng(0).integers(0, 256, there.images_NHWC.shape, dtype=np.uint8)
    wrong = Images(noise, (there.labels_N + 1) % 10, there.class_names)
    other = run(replace(TINY, floor=False, attack=replace(TINY.attack, shadow_models=0)), tmp_path / "run", test=wrong)
    for name in ("validation", "cas_by_checkpoint", "cas_by_labels", "table_1", "tuning"):
        assert other.metrics[name] == report.metrics[name], name
    for file in ("synthetic.parquet", "student.pt"):
        assert (tmp_path / "run/release" / file).read_bytes() == (out / "release" / file).read_bytes(), file
    assert other.metrics["utility"] != report.metrics["utility"]


def test_shares_that_are_stated_are_those_of_every_set_and_defaults_outside_the_ranges_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixes: list[np.ndarray] = []
    real = students.recycle
    monkeypatch.setattr(students, "recycle", lambda *args: (mixes.append(args[2]), real(*args))[1])
    shares, digits = (1.0, *[0.5] * 8, 5.0), load(TINY.data)
    # Forty persons with five images each: how many images are released by default tells of the persons alone.
    named = replace(digits, train=replace(digits.train, persons_N=np.arange(len(digits.train)) // 5))
    monkeypatch.setattr(kr, "load", lambda _: named)
    tuning = replace(TINY.tuning, standard_deviation=(1.5, 2.5))
    short = {"recipe": replace(TINY.recipe, epochs=2), "search_epochs": 2, "gan": replace(TINY.gan, epochs=2)}
    config = replace(
        TINY, tuning=tuning, compare_labels=("soft",), attack=replace(TINY.attack, shadow_models=0),
        classes=ClassesConfig(shares=tuple(map(str, shares))), synthetic=None, **short,
    )  # fmt: skip
    report = run(config, tmp_path / "run")
    # Students of the checkpoints, of the tuning, and the final one; and the release.
    assert len(mixes) >= 4
    for mix_K in mixes:
        np.testing.assert_allclose(mix_K, np.array(shares) / 10)
    released = pq.read_table(tmp_path / "run/release/synthetic.parquet")["label"].to_pylist()
    known = kr.split(config, named).train.units
    assert known < 40 and len(released) == known * report.metrics["table_1"]["cardinality_scale"]
    assert released == turns(len(released), 10, shares).tolist()
    assert all(1.5 <= trial["standard_deviation"] <= 2.5 for trial in report.metrics["tuning"])
    assert report.metrics["cas_by_labels"] == {"soft": max(report.metrics["cas_by_checkpoint"].values())}


@pytest.mark.parametrize("labels", ["soft", "hard", "agree", "confident"])
def test_labels_are_what_their_kind_promises(labels: str) -> None:
    """A teacher that always says class 1, with probability 0.8, of two classes."""

    class Teacher(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = torch.nn.Parameter(torch.tensor([0.2, 0.8]).log())

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(images), 2)

    torch.manual_seed(0)
    generator = Generator(TINY.network, (8, 8, 1), 2, spectral=False)
    mix = np.array([0.25, 0.75])
    config = students.RecyclingConfig(labels=labels, confidence=0.7)  # type: ignore[arg-type]
    made = students.recycle(generator, Teacher(), mix, 200, config, [0])
    assert made.images_NHWC.shape == (200, 8, 8, 1) and made.targets_NK.shape == (200, 2)
    if labels == "soft":
        assert torch.allclose(made.targets_NK, torch.tensor([0.2, 0.8]))
    elif labels == "hard":
        # As is asked for: three in four, give or take four standard deviations.
        assert abs(made.targets_NK[:, 1].mean() - 0.75) < 4 * (0.75 * 0.25 / 200) ** 0.5
    else:
        assert made.targets_NK[:, 1].eq(1).all(), "only what the teacher agrees with"
    again = students.recycle(generator, Teacher(), mix, 200, config, [0])
    assert torch.equal(made.images_NHWC, again.images_NHWC)
    if labels == "confident":
        with pytest.raises(students.NothingPassed, match="'confident'"):
            students.recycle(generator, Teacher(), mix, 200, replace(config, confidence=0.9), [0])


def test_sets_are_regenerated_as_often_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    real = students.recycle
    monkeypatch.setattr(students, "recycle", lambda *args: (drawn.append((*args[2], args[5])), real(*args))[1])
    images = Images(np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 7 // 6, ("a", "b"))
    compute = Local(tmp_path)
    compute.train(gan.fit, TINY.network, images, TINY.gan, 0, name="generator")
    lesson = students.Lesson(
        real=students.Real(images, images), classifier=TINY.classifier, network=TINY.network,
        recipe=replace(TINY.recipe, epochs=7), shares=(3, 1),
    )  # fmt: skip
    lesson = replace(lesson, teacher=lesson.new_classifier().state_dict())
    params = {"checkpoint": 4, "regeneration_rate": 3, "cardinality_scale": 2}
    compute.train(students.fit_student, params, lesson, name="student")
    # In the shares that are stated, or equal ones; never as often as there are real images.
    assert drawn == [(0.75, 0.25, [0, 5, index]) for index in range(3)]
    assert replace(lesson, shares=None).mix().tolist() == [0.5, 0.5]


def test_every_set_of_the_paper_has_a_preset() -> None:
    names = {preset.removeprefix("paper-") for preset in PRESETS if preset.startswith("paper-")}
    assert len(names) == 9 and names <= set(NAMES)
    paper = PRESETS["paper-cifar10"]
    assert paper.recipe.epochs == 500 and paper.search_epochs == 100 and paper.attack.shadow_models == 256
    assert paper.gan.kept() == list(range(5, 501, 5)) and paper.tuning.trials == 50 and paper.data.size == 32
    assert paper.recycling == students.RecyclingConfig() and paper.attack.design == "split"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"tuning": {"cardinality_scale": (3, 1)}}, "tuning.cardinality_scale is 3 to 1"),
        ({"recycling": {"standard_deviation": 0.0}}, "recycling.standard_deviation is 0"),
        ({"attack": {"shadow_models": 1}}, "attack.shadow_models is 1"),
        ({"attack": {"queries": 19}}, "attack.queries is 19"),
    ],
)
def test_a_wrong_setting_is_named(flags: dict[str, dict[str, Any]], words: str) -> None:
    kinds = {"tuning": TuningConfig, "recycling": students.RecyclingConfig, "attack": AttackConfig}
    ((group, values),) = flags.items()
    with pytest.raises(ValueError, match=words):
        kinds[group](**values)  # type: ignore[operator]


def test_images_that_cannot_be_doubled_to_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--data\.size 8 or --data\.size 10"):
        kr.prepare(replace(TINY, data=DataConfig(name="digits", size=9)))


def test_a_generator_that_would_make_no_step_is_refused() -> None:
    config = replace(
        TINY, gan=replace(TINY.gan, epochs=1, checkpoint_every=1, batch_size=10_000, discriminator_steps=4)
    )
    with pytest.raises(ValueError, match=r"^gan\.epochs is 1, of \d+ images 1 steps .* the generator would make none"):
        kr.prepare(config)
