"""DP-ImgSyn on real digits and built-in letters: plan, alignment, release, promise."""

from __future__ import annotations

import functools
import hashlib
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
import torch
from what_is_said import honest, spoken_by
from what_leaves import PROMISE, WITH_RELEASED_PUBLIC_IMAGES, Left, made_of_paid_answers, pinned
from whole_run import attacked, whole_run

from raysyn.compute import worker
from raysyn.data import images as data
from raysyn.data.public import comparison, load_public
from raysyn.data.streams import PublicConfig
from raysyn.methods import soft_students
from raysyn.methods.dp_imgsyn import experiments, units
from raysyn.methods.dp_imgsyn import pipeline as dp_imgsyn
from raysyn.methods.dp_imgsyn.config import Config, ExperimentConfig, new_teacher, plan
from raysyn.methods.dp_imgsyn.plane import above, draw_plane, inside
from raysyn.methods.dp_imgsyn.presets import PRESETS
from raysyn.methods.dp_imgsyn.report import compared as told_of
from raysyn.methods.machines import On
from raysyn.metrics.dissimilarity import DissimilarityConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.models.students import NAMES, student
from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.layer_statistics import StatisticsConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.runs.storage import load_saved
from raysyn.train import alignment
from raysyn.train.alignment import AlignmentConfig
from raysyn.train.distillation import DistillationConfig, distill, divergence
from raysyn.train.norm_inputs import norm_inputs

TINY = Config(
    data=data.DataConfig(limit=240),
    public=PublicConfig(limit=300),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    teacher=TeacherConfig(width=4),
    training=SGDConfig(batch_size=40, epochs=0.5, noise_multiplicity=1),
    statistics=StatisticsConfig(epochs=2.0, batch_size=60, share=0.3),
    alignment=AlignmentConfig(iterations=2, batch_size=20),
    synthetic=60,
    students=NAMES,
    distillation=DistillationConfig(epochs=1, batch_size=30, width=0.125),
    dissimilarity=DissimilarityConfig(images=40, epochs=1),
    eval=EvalConfig(classifiers=(), feature_epochs=1, precision_recall_images=50),
)
WHOLE = replace(
    TINY, eval=replace(TINY.eval, classifiers=("logreg",)), tuned_on="digits", chosen_among="3 runs by hand"
)  # fmt: skip
UNJUDGED = replace(TINY.eval, feature_epochs=0)
"""For what a run sells and releases."""
SPEED = On(sgd=SGDSpeed(engine="bookkeeping", micro_batch=20, channels_last=True))


pytestmark = pytest.mark.usefixtures("letters")


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dp_imgsyn, "SHARD", 100)
        # Drawn of made-up points, for one seed: two tests look at the same ones.
        patch.setattr(dp_imgsyn, "draw_plane", drawn)
        yield


drawn = functools.cache(draw_plane)


def run(config: Config, out: Path) -> dict[str, Any]:
    """The report of a run, which another configuration continues too."""
    whole_run(dp_imgsyn, config, out, SPEED)
    return json.loads((out / "internal" / "report.json").read_text())


@pytest.fixture(scope="module")
def whole(letters: None, small_shards: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dp_imgsyn") / "run"
    run(WHOLE, out)
    return out


def held_to(config: Config, out: Path) -> set[str]:
    """The release of a run holds what it may, and says what is so: its sentences."""
    prepared = dp_imgsyn.prepare(config)
    dataset, public = prepared.dataset, prepared.more.own
    left = Left(out, config, dataset, public)
    pinned(left, PROMISE if public is None else PROMISE | WITH_RELEASED_PUBLIC_IMAGES, soft=True)
    return honest(left)


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(whole: Path) -> None:
    """But for the one about experiments, which stands where these are tested."""
    (experiments_too,) = spoken_by(dp_imgsyn) - held_to(WHOLE, whole)
    assert experiments_too.startswith("the experiments train further teachers and students")


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(dp_imgsyn.METHOD, WHOLE, whole)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What students stand beside changes nothing that is released.
    alone = replace(WHOLE, real_students=False, eval=replace(WHOLE.eval, floor=False))
    made_of_paid_answers(run, dp_imgsyn, alone, whole, tmp_path / "run", monkeypatch)


def test_one_private_image_among_the_public_ones_is_refused(tmp_path: Path) -> None:
    """In words that count none of them."""
    private, letters = data.load(TINY.data).train, load_public(TINY.public, (8, 8, 1)).train

    def beside(copied: np.ndarray) -> Config:
        pixels = np.concatenate([letters.images_NHWC[:], copied])
        labels, path = np.arange(len(pixels)) % 3, tmp_path / f"{hashlib.sha256(copied.tobytes()).hexdigest()}.npz"
        np.savez(path, train_images=pixels, train_labels=labels, test_images=pixels, test_labels=labels)
        return replace(TINY, public=PublicConfig(path=(str(path),)))

    with pytest.raises(ValueError, match=r"^public\.path has sensitive images in it, pixel by pixel") as refused:
        dp_imgsyn.prepare(beside(private.images_NHWC[5:6]))
    assert not re.search(r"\b(1|240)\b", str(refused.value))
    # Another crop passes, and so do images of one colour.
    public = dp_imgsyn.prepare(beside(np.roll(private.images_NHWC[5:6], 1, axis=2))).more.own
    assert public is not None and public.shared == 0
    dp_imgsyn.prepare(beside(np.zeros((1, 8, 8, 1), np.uint8)))


def test_a_run_pays_for_its_teacher_and_its_statistics_and_releases_soft_labels(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    report = json.loads((tmp_path / "internal" / "report.json").read_text())
    assert [entry["stage"] for entry in report["privacy"]["ledger"]] == ["teacher", "statistics"]
    assert report["privacy"]["guarantee"] == "dp" and report["privacy"]["epsilon"] <= 8
    assert (
        report["metrics"]["utility"].keys() == {*NAMES, "logreg"} and 0 <= report["metrics"]["teacher"]["accuracy"] <= 1
    )
    assert all(report["metrics"]["utility"][name]["width"] == 0.125 for name in NAMES)
    students_stand_beside_the_others(report["metrics"])
    assert report["metrics"]["fidelity"]["frechet_distance_cnn_features"] > 0
    far = report["metrics"]["distance_to_nearest_private_image"]
    assert far["pixels"].keys() == far["features"].keys() == {"released", "held_out", "before"}
    table = pq.read_table(tmp_path / "release" / "synthetic.parquet")
    assert table.num_rows == 60
    stored = load_saved(tmp_path / "internal" / "stages" / "align.pt")
    assert torch.allclose(stored["soft"].sum(1), torch.ones(60), atol=1e-5)
    # The soft labels are the teacher's answer to the very pixels that are released.
    teacher = new_teacher(TINY, data.load(TINY.data).train)
    teacher.load_state_dict(load_saved(tmp_path / "internal" / "stages" / "teacher.pt")["ema"])
    # In the same batches and memory layout: a group whose values hardly vary makes much of a rounding.
    teacher.eval().to(memory_format=torch.channels_last)
    pixels = stored["images"].permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        told = torch.cat([teacher(part).softmax(1) for part in pixels.split(TINY.alignment.batch_size)])
    assert len(pixels) % TINY.alignment.batch_size == 0
    assert torch.allclose(told, stored["soft"], atol=1e-4)
    html = (tmp_path / "internal" / "report.html").read_text()
    for words in ("Alignment", "look like private ones", "asked of the teacher", "classifiers trained on them reach"):
        assert words in html, words
    # Finished stages, and with them the noise and the release, are found again.
    before = (tmp_path / "release" / "synthetic.parquet").read_bytes()
    for stage in ("align", "statistics"):
        (tmp_path / "internal" / "stages" / f"{stage}.pt").unlink()
    assert run(WHOLE, tmp_path)["privacy"]["ledger"] == report["privacy"]["ledger"]
    assert (tmp_path / "release" / "synthetic.parquet").read_bytes() == before


def students_stand_beside_the_others(metrics: dict[str, Any]) -> None:
    """Guessing, the floor, real images of equal number, and each class, over students and classifiers alike."""
    every = metrics["utility"].values()
    for field in ("accuracy", "accuracy_real_data", "accuracy_floor"):
        assert metrics["utility_mean"][field] == pytest.approx(sum(one[field] for one in every) / len(every))
    # Students learn from as many real images, classifiers from all, so that there is no one number of those.
    assert metrics["utility_images"] == {"synthetic": 60, "floor": 60}
    assert metrics["utility_guessing"]["chance"] == 0.1 and metrics["utility_above_floor"].keys() == {
        "value", "low", "high"
    }  # fmt: skip
    told = metrics["utility_classes"]
    assert {source: sum(map(sum, counts)) for source, counts in told["confusion"].items()} == dict.fromkeys(
        ("synthetic", "real", "floor"), len(every) * sum(told["test_images"])
    )


@pytest.mark.parametrize("start", [pytest.param("gaussian", marks=pytest.mark.slow), "low-pass"])
def test_noise_is_a_start_too(start: Any, tmp_path: Path) -> None:
    """Of which there is as much as one wants: more than private images, too."""
    config = replace(TINY, alignment=replace(TINY.alignment, start=start), students=(), synthetic=None)
    config = replace(config, dissimilarity=replace(TINY.dissimilarity, images=0), eval=UNJUDGED)
    if start == "gaussian":
        run(config, tmp_path / "as many")
        assert pq.read_table(tmp_path / "as many/release/synthetic.parquet").num_rows == 240
    assert run(replace(config, synthetic=300), tmp_path / "more")["metrics"]["utility"] == {}
    assert pq.read_table(tmp_path / "more/release/synthetic.parquet").num_rows == 300


@pytest.mark.slow
def test_experiments_compare_syntheses_and_release_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tables at once; asking for more later trains only what is missing."""
    asked = ExperimentConfig(
        iterations=(0, 2), public=("digits",), epsilons=(4.0,), students=True, losses=True, factors=(0.1,),
        starts=True, kernel_sizes=(3,), plane=True,
    )  # fmt: skip
    config = replace(TINY, students=("vgg11", "shufflenet_v2"), dissimilarity=replace(TINY.dissimilarity, images=0))
    # What students stand beside can be left out.
    config = replace(config, real_students=False, eval=replace(config.eval, floor=False))
    # Digits are private here: any other set will do.
    with pytest.raises(ValueError, match="the sensitive images themselves"):
        run(replace(config, experiment=asked), tmp_path / "refused")
    own = tmp_path / "letters.npz"
    pixels, labels = np.random.default_rng(0).integers(0, 256, (80, 8, 8), np.uint8), np.arange(80) % 4
    np.savez(own, train_images=pixels, train_labels=labels, test_images=pixels[:9], test_labels=labels[:9])
    alone = run(config, tmp_path / "run")
    released = (tmp_path / "run/release/synthetic.parquet").read_bytes()

    # No stream of noise is used twice: neither by two budgets nor by teacher and statistics.
    streams = list[tuple[str, int]]()
    drawn = Stream.normal

    def noted(self: Stream, step: int, what: str, *size: Any) -> Any:
        streams.append((f"{self.stage} {what}", step))
        return drawn(self, step, what, *size)

    monkeypatch.setattr(Stream, "normal", noted)
    report = run(replace(config, experiment=replace(asked, public=(str(own),))), tmp_path / "run")
    assert len(set(streams)) == len(streams) > 4
    assert "accuracy_floor" not in report["metrics"]["utility_mean"]
    assert report["metrics"]["utility"]["shufflenet_v2"]["accuracy_real_data"] is None
    tables = report["metrics"]["experiments"]
    assert {name: len(group) for name, group in tables.items()} == {
        "iterations": 2, "public": 8, "students": 8, "losses": 10, "weights": 8, "starts": 6,
    }  # fmt: skip
    assert report["metrics"]["teachers"].keys() == {"8", "4"}
    # The run's own synthesis is among them, and comes to the same.
    assert tables["iterations"][1]["repeats"] == [alone["metrics"]["utility"]["vgg11"]["accuracy"]]
    assert report["privacy"]["ledger"] == alone["privacy"]["ledger"]
    assert (tmp_path / "run/release/synthetic.parquet").read_bytes() == released
    html = (tmp_path / "run/internal/report.html").read_text()
    for words in ("table 1", "figure 4", "table 2", "table 4", "table 8", "table 6", "tables 9 and 11", "figure 5"):
        assert f"{words} of the paper" in html, words
    # Teachers of the experiments take their own time, and the comparison with public images is told of.
    assert report["timings"]["teacher"] == alone["timings"]["teacher"]
    noise = replace(config, alignment=replace(config.alignment, start="gaussian"))
    told = comparison(experiments.MOST_SHARED)
    assert told not in dp_imgsyn.uncharged(noise)
    assert told in dp_imgsyn.uncharged(replace(noise, experiment=ExperimentConfig(losses=True)))
    shown = replace(config, experiment=replace(asked, public=(str(own),)))
    assert any(one.startswith("the experiments train further teachers") for one in held_to(shown, tmp_path / "run"))
    # No variant is trained twice, and no two that differ share a result: the other student adds one per set and budget.
    done = len(list((tmp_path / "run/internal/units/experiments").iterdir()))
    assert done == 28 + 4
    # Nor does the order in which public sets are named matter.
    prints = {0: "a", 1: "b", 2: "c"}
    keys = [
        {experiments.unit_key(other, (one, 0), {**prints, **order}, 60) for one in experiments.asked(other)["public"]}
        for names, order in ((("x.npz", "y.npz"), {}), (("y.npz", "x.npz"), {1: "c", 2: "b"}))
        for other in [replace(config, experiment=ExperimentConfig(public=names))]
    ]
    assert keys[0] == keys[1] and len(keys[0]) == 6
    # Another public set under the same name is another synthesis; so is another repeat.
    np.savez(own, train_images=255 - pixels, train_labels=labels, test_images=pixels[:9], test_labels=labels[:9])
    once_more = ExperimentConfig(public=(str(own),), repeats=2)
    run(replace(config, experiment=once_more), tmp_path / "run")
    assert len(list((tmp_path / "run/internal/units/experiments").iterdir())) == done + 2 + 4


def test_further_public_sets_are_read_as_the_runs_own() -> None:
    own = PublicConfig(
        path=("a/",), fit="pad", window=(0, 9), background="white", skip_broken=3, limit=7, label_column="x"
    )
    config = replace(PRESETS["quick"], public=own, experiment=ExperimentConfig(public=("b/", "c.npz", "digits")))
    assert experiments.public_sets(config) == [
        own,
        PublicConfig(name=(), path=("b/",), fit="pad", window=(0, 9), background="white", skip_broken=3),
        # Arrays are neither transparent nor broken; those of sets by name have 8 bits.
        PublicConfig(name=(), path=("c.npz",), fit="pad", window=(0, 9)),
        PublicConfig(name=("digits",), fit="pad"),
    ]


def test_a_student_does_not_begin_where_its_teacher_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same weights and the same width it would have an easy task."""
    begun = list[torch.nn.Module]()
    monkeypatch.setattr(soft_students, "distill", lambda network, *_: begun.append(network))
    private = data.load(TINY.data).train
    soft = np.full((len(private), 10), 0.1, np.float32)
    own = replace(TINY, teacher=TeacherConfig(width=8))
    soft_students.teach_student("resnet18", (private, soft, private, own.distillation, own.seed))
    teacher = new_teacher(own, private).state_dict()
    for name, weight in begun[0].named_parameters():
        if weight.ndim == 4:
            assert not torch.equal(weight, teacher[name]), name


@pytest.mark.slow
def test_points_of_a_plane_come_to_where_their_teacher_has_learned() -> None:
    points = drawn(0, None)
    teacher, student = (inside((points[name] > 0.5).numpy()) for name in ("teacher", "student"))
    assert (student == teacher).mean() > 0.9
    middle = (torch.arange(50) + 0.5) / 50
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    truth = above(torch.stack((x.flatten(), y.flatten()), 1)).view(50, 50).numpy()
    assert (teacher == truth).mean() > 0.95

    def far_out(points: torch.Tensor) -> float:
        return float(((points - 0.5).abs() - 0.5).clamp(min=0).mean())

    assert far_out(points["aligned"]) < far_out(points["public"])


def test_alignment_brings_the_layer_statistics_near() -> None:
    """Towards those of other images; without the feature loss it does not."""
    torch.manual_seed(0)
    teacher = Teacher(TeacherConfig(width=4), (8, 8, 1), 5).eval()
    theirs, ours = torch.rand(200, 1, 8, 8) * 2 - 1, torch.full((40, 1, 8, 8), -0.8)
    with norm_inputs(teacher) as seen, torch.no_grad():
        teacher(theirs)
    wanted = [(h.mean((0, 2, 3)), h.var((0, 2, 3), correction=0)) for h in seen]
    labels = alignment.targets(40, 5)
    assert torch.bincount(labels).tolist() == [8] * 5
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    config = AlignmentConfig(iterations=20)
    aligned, told = alignment.align(teacher, ours + 0.1 * torch.randn_like(ours), labels, wanted, config)
    soft, last = alignment.label(teacher, aligned, labels, wanted, config)
    assert len(told) == 20 and last["feature"] < 0.2 * told[0]["feature"] and last["total"] < told[0]["total"]
    assert torch.allclose(soft, teacher(aligned).softmax(1))
    assert aligned.shape == ours.shape and not aligned.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    _, without = alignment.align(teacher, ours, labels, wanted, replace(config, feature=0.0))
    assert without[-1]["feature"] > 5 * told[-1]["feature"]
    same, none = alignment.align(teacher, ours, labels, wanted, replace(config, iterations=0))
    assert torch.equal(same, ours) and none == []
    # Figures that are no numbers end it, before anything is released.
    with torch.no_grad():
        teacher.head.bias[0] = torch.nan
    for steps in (0, 2):
        with pytest.raises(RuntimeError, match=r"lower alignment\.learning_rate"):
            x, _ = alignment.align(teacher, ours, labels, wanted, replace(config, iterations=steps))
            alignment.label(teacher, x, labels, wanted, config)
    with pytest.raises(ValueError, match=r"alignment\.learning_rate inf"):
        replace(config, learning_rate=torch.inf)


def test_a_step_of_the_alignment_is_adams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps by hand: rate 0.1, decays 0.5 and 0.99 (A.1.2)."""
    monkeypatch.setattr(
        alignment, "losses", lambda _, x, labels, wanted: ({"l2": (x - 3).pow(4).sum()}, torch.zeros(1))
    )
    config = AlignmentConfig(iterations=2, l2=1.0, inside=False)
    start = torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])
    aligned, _ = alignment.align(torch.nn.Identity(), start, torch.zeros(1), [], config)
    x, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t in (1, 2):
        slope = 4 * (x - 3) ** 3
        m, v = 0.5 * m + 0.5 * slope, 0.99 * v + 0.01 * slope**2
        x = x - 0.1 * (m / (1 - 0.5**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-8)
    assert torch.allclose(aligned, x, atol=1e-6)
    kept, _ = alignment.align(
        torch.nn.Identity(), start / 5, torch.zeros(1), [], replace(config, iterations=9, inside=True)
    )
    assert float(kept.max()) == 1.0, "pushed towards 3, kept where released images are"


@pytest.mark.parametrize("last", [True, False])
def test_moments_and_their_slope_are_those_of_var_mean(last: bool) -> None:
    torch.manual_seed(0)
    h = torch.randn(3, 4, 5, 6) + torch.arange(4.0).view(4, 1, 1)
    h = h.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()
    a, b = torch.randn(4), torch.randn(4)
    mean, squares = alignment.Moments.apply(h)
    variance, theirs = torch.var_mean(h, (0, 2, 3), correction=0)
    assert torch.allclose(mean, theirs, atol=1e-6) and torch.allclose(squares - mean.square(), variance, atol=1e-5)
    (ours,) = torch.autograd.grad((a * mean + b * (squares - mean.square())).sum(), h)
    (slow,) = torch.autograd.grad((a * theirs + b * variance).sum(), h)
    assert torch.allclose(ours, slow, atol=1e-6)


def test_students_learn_at_the_papers_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equations 6 and 7: the student's logits are divided by T, the labels are what they are."""
    monkeypatch.setattr(worker, "has_bf16", lambda device: False)
    torch.manual_seed(0)
    images, soft = torch.randn(6, 1, 2, 2), torch.rand(6, 4).softmax(1)
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4))
    for temperature in (1.0, 100.0):
        q = (student(images) / temperature).softmax(1)
        by_hand = (soft * (soft.log() - q.log())).sum(1).mean()
        assert torch.allclose(divergence(student, images, soft, temperature), by_hand, atol=1e-6)


def test_steps_are_chosen_by_what_was_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    falling = [10.0, 5.0, 2.0, 1.5, 1.0]
    assert alignment.enough_steps(falling, falling, 0.0) == 3
    assert alignment.enough_steps([10.0, 11.0, 12.0], [1.0] * 3, 0.0) == 0
    assert alignment.enough_steps([3.0], [3.0], 0.0) == 0
    # No further than down to the noise, of the distance alone.
    for noise, steps in ((4.9, 2), (5.0, 1), (9.9, 1), (10.0, 0), (1e9, 0), (1.2, 3)):
        assert alignment.enough_steps(falling, falling, noise) == steps, noise
    assert alignment.enough_steps(falling, [4.0, 3.0, 2.0, 1.0, 0.0], 3.5) == 1
    chosen = replace(TINY.alignment, iterations=None)
    config = replace(TINY, alignment=chosen, students=(), dissimilarity=replace(TINY.dissimilarity, images=0))
    config = replace(config, eval=UNJUDGED)
    assert units.MOST_STEPS == 50
    monkeypatch.setattr(units, "MOST_STEPS", 15)
    noises = []

    def spied(losses: list[float], distances: list[float], noise: float) -> int:
        noises.append(noise)
        return alignment.enough_steps(losses, distances, noise)

    monkeypatch.setattr(dp_imgsyn, "enough_steps", spied)
    run(config, tmp_path / "run")
    stages = tmp_path / "run" / "internal" / "stages"
    tried = load_saved(stages / "steps.pt")["losses"].mean(0)
    steps = load_saved(stages / "align.pt")["losses"].shape[1] - 1
    # Where noise explains the images as they are, further steps could change nothing, and are not tried.
    assert len(tried) == 1 and noises[0] >= tried[0, 0] > 0
    assert steps == alignment.enough_steps(tried[:, -1].tolist(), tried[:, 0].tolist(), noises[0]) == 0
    made_of_paid_answers(run, dp_imgsyn, config, tmp_path / "run", tmp_path / "other", monkeypatch)
    monkeypatch.setattr(dp_imgsyn.Layers, "noise_alone", lambda *_: 1e-9)
    run(config, tmp_path / "exact")
    stages = tmp_path / "exact" / "internal" / "stages"
    tried = load_saved(stages / "steps.pt")["losses"].mean(0)
    steps = load_saved(stages / "align.pt")["losses"].shape[1] - 1
    assert len(tried) == 16 and noises[-1] == 1e-9
    assert steps == alignment.enough_steps(tried[:, -1].tolist(), tried[:, 0].tolist(), 1e-9) > 0


def test_the_losses_are_those_of_the_equations() -> None:
    torch.manual_seed(0)
    teacher = Teacher(TeacherConfig(width=4), (8, 8, 2), 3).eval()
    x, y = torch.randn(6, 2, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    with norm_inputs(teacher) as seen, torch.no_grad():
        logits = teacher(x)
    wanted = [(torch.zeros(h.shape[1]), torch.ones(h.shape[1])) for h in seen]
    with torch.no_grad():
        found, said = alignment.losses(teacher, x, y, wanted)
    assert torch.equal(said, logits)
    feature = sum(
        float((h[:, c].mean() - 0) ** 2 + (h[:, c].var(correction=0) - 1) ** 2) for h in seen for c in range(h.shape[1])
    )
    variation = sum(
        float(((x[n, c, i, j + 1] - x[n, c, i, j]) ** 2 + (x[n, c, i + 1, j] - x[n, c, i, j]) ** 2) ** 0.5)
        for n in range(6) for c in range(2) for i in range(7) for j in range(7)
    )  # fmt: skip
    assert float(found["feature"]) == pytest.approx(feature, rel=1e-4)
    assert float(found["total_variation"]) == pytest.approx(variation, rel=1e-4)
    assert float(found["l2"]) == pytest.approx(float((x**2).sum()), rel=1e-5)
    assert float(found["classification"]) == pytest.approx(float(-logits.log_softmax(1)[range(6), y].mean()), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "shape",
    [pytest.param((8, 8, 1), marks=pytest.mark.slow), (28, 28, 1), pytest.param((32, 32, 3), marks=pytest.mark.slow)],
)
def test_all_students_learn_soft_labels_of_small_images(name: Any, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    pixels = rng.integers(0, 60, (40, *shape), np.uint8) + (150 * labels[:, None, None, None]).astype(np.uint8)
    soft = np.where(labels[:, None] == np.arange(2), 0.9, 0.1)
    config = DistillationConfig(epochs=8, batch_size=20, learning_rate=0.02, temperature=1.0, width=0.125)
    told: list[float] = []
    network = distill(
        student(name, shape, 2, 0.125), pixels, soft, config, 0, torch.device("cpu"), lambda _, loss: told.append(loss)
    )
    assert len(told) == 8 and told[-1] < told[0] and not network.training
    assert config.rate(0) == 0.02 and config.rate(7) == pytest.approx(2e-4)


# Table 5, copied apart: epochs, batch size, rate and clip of the training; epochs and batch size of the statistics; the
# training's noise.
TABLE_5 = {
    "mnist-eps1": (4, 128, 0.01, 1.0, 2, 64, 0.8),
    "mnist-eps10": (14, 128, 0.01, 1.0, 2, 64, 0.5),
    "fashion_mnist-eps1": (30, 50, 0.01, 1.2, 2, 64, 1.0),
    "fashion_mnist-eps10": (20, 128, 0.01, 1.2, 2, 64, 0.5),
    "celeba_hair-eps1": (18, 128, 0.001, 1.0, 5, 128, 0.8),
    "celeba_hair-eps10": (22, 128, 0.001, 1.0, 3, 128, 0.45),
    "celeba_gender-eps1": (18, 128, 0.001, 1.0, 4, 128, 0.8),
    "celeba_gender-eps10": (22, 128, 0.001, 1.0, 4, 128, 0.5),
    "cifar10-eps10": (12, 128, 0.001, 1.0, 5, 128, 0.5),
    "imagenette-eps105": (57, 8, 0.001, 1.0, 3, 8, 0.3),
}


@pytest.mark.parametrize("name", TABLE_5)
def test_the_papers_presets_are_its_table_5(name: str) -> None:
    config = PRESETS[f"paper-{name}"]
    training, asked = config.training, config.statistics
    assert TABLE_5[name][:-1] == (
        training.epochs, training.batch_size, training.learning_rate, training.max_grad_norm,
        asked.epochs, asked.batch_size,
    )  # fmt: skip
    assert training.optimizer == "sgd" and training.ema == training.beta1 == 0 and training.noise_multiplicity == 1


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "paper-mnist-eps1" else pytest.mark.slow)
        for name in PRESETS
        if name.startswith("paper")
    ],
)
def test_the_papers_presets_spend_their_budget(name: str) -> None:
    config = PRESETS[name]
    assert config.budget.epsilon == float(name.rpartition("eps")[2])
    assert config.made_for is not None
    planned = plan(config, config.made_for)
    assert 0.99 * config.budget.epsilon < planned.epsilon() <= config.budget.epsilon
    if (row := TABLE_5.get(name.removeprefix("paper-"))) is not None:
        assert planned.stages["teacher"].noise_multiplier == pytest.approx(row[-1], rel=0.075)
    assert planned.stages["statistics"].sampling_rate < 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"synthetic": 301}, "301, but there are 300 public images"),
        ({"public": PublicConfig(name=("digits",))}, "the sensitive images themselves"),
        ({"training": replace(TINY.training, batch_size=1000)}, r"training\.batch_size is 1000: .* --training\.batch-"),
        ({"statistics": StatisticsConfig(batch_size=1000)}, r"statistics\.batch_size is 1000"),
        ({"experiment": ExperimentConfig(kernel_sizes=(3, 17))}, r"experiment\.kernel_sizes is 17"),
        ({"alignment": AlignmentConfig(start="low-pass", kernel_size=17)}, r"alignment\.kernel_size is 17"),
        ({"budget": Budget(epsilon=1e-9, accountant="rdp")}, r"budget\.epsilon is 1e-09 with 0.3"),
        ({"experiment": ExperimentConfig(epsilons=(1e-9,))}, r"experiment\.epsilons is 1e-09 with 0.3"),
    ],
)
def test_bad_settings_cost_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dp_imgsyn.prepare(replace(TINY, **changes))
    with pytest.raises(ValueError, match="students is"):
        replace(TINY, students=("resnet18", "resnet18"))
    with pytest.raises(ValueError, match=r"alignment\.start is 'white'"):
        AlignmentConfig(start="white")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet18", (64, 64, 3)), ("resnet34", (28, 28, 1)), ("resnet34", (224, 224, 3))]
)
def test_teachers_and_students_take_large_images(name: Any, shape: tuple[int, int, int]) -> None:
    images = torch.zeros(2, shape[2], *shape[:2])
    teacher = Teacher(TeacherConfig(name=name, width=4), shape, 3).eval()
    assert teacher(images).shape == (2, 3)
    with norm_inputs(teacher) as seen, torch.no_grad():
        teacher(images)
    # The stem's, two per block, and one in each of three shortcuts.
    assert len(seen) == 1 + 2 * {"resnet18": 8, "resnet34": 16}[name] + 3
    assert all(student(kind, shape, 3, 0.125).eval()(images).shape == (2, 3) for kind in NAMES)


def test_low_pass_noise_is_gaussian_noise_after_a_blur() -> None:
    config = AlignmentConfig(start="low-pass", kernel_size=3)
    plain = alignment.noise(replace(config, start="gaussian"), 2000, (8, 8, 1), 5)
    blurred = alignment.noise(config, 2000, (8, 8, 1), 5)
    weights = torch.exp(-torch.tensor([-1.0, 0.0, 1.0]).square() / 2 / (0.15 * 3 + 0.35) ** 2)
    kernel = torch.outer(weights, weights) / weights.sum() ** 2
    by_hand = torch.nn.functional.conv2d(plain, kernel[None, None])
    assert torch.allclose(blurred[:, :, 1:-1, 1:-1], by_hand, atol=1e-5)
    # 128,000 numbers: five standard errors.
    assert abs(float(plain.std()) - 1) < 5 / (2 * 128_000) ** 0.5


def test_public_sets_are_called_by_their_files_unless_two_are_called_the_same() -> None:
    def called(*paths: tuple[str, ...]) -> list[str]:
        return experiments.called([PublicConfig(path=one) if one else PublicConfig() for one in paths])

    assert called((), ("/mnt/x/a.parquet",), ("b", "c/d.npz")) == ["glyphs", "a.parquet", "b and d.npz"]
    assert called(("x/a.parquet",), ("y/a.parquet",)) == ["x/a.parquet", "y/a.parquet"]


def test_images_of_one_class_are_refused_before_anything_is_priced() -> None:
    config = replace(TINY, data=replace(TINY.data, labels=False))
    with pytest.raises(ValueError, match=r"^all training images are of one class, so that nothing is learned") as error:
        dp_imgsyn.prepare(config)
    assert "\n" not in str(error.value)


def test_experiments_of_a_run_that_takes_no_step_compare_one() -> None:
    every = ExperimentConfig(public=("mnist",), losses=True, factors=(2.0,), starts=True, students=True)
    config = replace(TINY, experiment=every, alignment=replace(TINY.alignment, iterations=0))
    groups = experiments.asked(config)
    for name in ("losses", "weights"):
        assert {one.alignment.iterations for one in groups[name]} == {1}
    for name in ("public", "starts"):
        assert {one.alignment.iterations for one in groups[name]} == {0, 1}
    assert {one.alignment.iterations for one in groups["students"]} == {0}, "these learn from the release's like"
    assert {one.alignment.iterations for one in experiments.asked(replace(TINY, experiment=every))["losses"]} == {
        TINY.alignment.iterations
    }


def test_table_2_has_each_number_of_steps_on_each_public_set_and_tells_the_best() -> None:
    """The paper stops after 1 or 10 steps, by public set."""
    every = ExperimentConfig(public=("mnist",), epsilons=(4.0,), iterations=(1, 10))
    group = experiments.asked(replace(TINY, experiment=every, alignment=replace(TINY.alignment, iterations=3)))[
        "public"
    ]
    assert [(one.epsilon, one.public, one.alignment.iterations) for one in group] == [
        (epsilon, place, k) for epsilon in (TINY.budget.epsilon, 4.0) for place in (0, 1) for k in (0, 1, 3, 10)
    ]
    compared = [
        (one, [{"accuracy": 0.9 if at in (2, 4, 11, 15) else 0.1, "images": 5}]) for at, one in enumerate(group)
    ]
    (section,) = told_of({}, {"public": compared})
    names = [one.title.rpartition(", k = ")[0] for one in group[::4]]
    told = "; ".join(f"{name}: {k}" for name, k in zip(names, (3, 0, 10, 10), strict=True))
    assert f"k_opt, the best of those tried: {told}." in section.text and len(section.rows) == 17


def test_a_run_that_takes_no_step_says_so(tmp_path: Path) -> None:
    chosen = replace(TINY.alignment, iterations=0)
    config = replace(TINY, alignment=chosen, students=(), dissimilarity=replace(TINY.dissimilarity, images=0))
    run(replace(config, eval=UNJUDGED), tmp_path / "run")
    page = (tmp_path / "run/internal/report.html").read_text()
    assert "no step was taken towards these statistics" in page and "Alignment (figure 4" not in page
    signed = json.loads((tmp_path / "run/release/certificate.json").read_text())
    assert [one["released"] for one in signed["public_images"]] == ["unchanged"]
    card = (tmp_path / "run/release/README.md").read_text()
    assert "fitted in size, under labels that a program made" in card and "changed by a program" not in card


def test_a_run_begun_by_another_rule_for_its_steps_is_another_run() -> None:
    def facts(iterations: int | None) -> Any:
        return dp_imgsyn.prepare(replace(TINY, alignment=replace(TINY.alignment, iterations=iterations))).facts

    assert facts(None) == facts(2) | {"alignment.stop": "noise"}
