"""The whole pipeline on real digits and built-in letters: plan, labels, what is released, promise, and that stopping it
changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from stopped_runs import released
from what_is_said import honest, spoken_by
from what_leaves import PROMISE, WITH_PUBLIC_NETWORKS, WITH_RELEASED_PUBLIC_IMAGES, Left, made_of_paid_answers, pinned
from whole_run import attacked, whole_run

from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.data.images import Images
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig
from raysyn.methods import catalogue, perceiving
from raysyn.methods.dp_mepf import pipeline as dp_mepf
from raysyn.methods.dp_prototypes import model
from raysyn.methods.dp_prototypes import pipeline as dp_prototypes
from raysyn.methods.dp_prototypes.config import Config, PrototypesConfig
from raysyn.methods.dp_prototypes.model import chosen, log_shares, soft_labels, standing
from raysyn.methods.machines import On
from raysyn.methods.privimage import pipeline as privimage
from raysyn.methods.public_classifier import check_shift, new_query
from raysyn.metrics.dissimilarity import DissimilarityConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.models.semantic import SemanticNetConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Ledger
from raysyn.privacy.queries import perceptual
from raysyn.privacy.queries.perceptual import MEANS
from raysyn.report.release import read_images
from raysyn.runs.storage import load_saved
from raysyn.train.distillation import DistillationConfig
from raysyn.train.semantic import QueryConfig

TINY = Config(
    data=data.DataConfig(limit=300),
    public=PublicConfig(limit=300),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    query=QueryConfig(network=SemanticNetConfig(name="resnet14", width=2), epochs=1, batch_size=50, flip=False),
    synthetic=60,
    distillation=DistillationConfig(epochs=1, batch_size=30, width=0.125),
    dissimilarity=DissimilarityConfig(images=20, epochs=1),
    tuned_on="digits",
    chosen_among="3 runs by hand",
    eval=EvalConfig(classifiers=("logreg",), epochs=1, floor=False, feature_epochs=1, precision_recall_images=50),
)
QUICK = replace(
    TINY, students=(), dissimilarity=replace(TINY.dissimilarity, images=0),
    eval=replace(TINY.eval, classifiers=(), feature_epochs=0),
)  # fmt: skip
"""The same release, hardly judged."""

pytestmark = pytest.mark.usefixtures("letters")


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(perceiving, "SHARD", 130)
        patch.setattr(model, "SHARD", 130)
        yield


def run(config: Config, out: Path, compute: type[Compute] = Local) -> Any:
    judged = {name: getattr(TINY, name) for name in ("eval", "students", "dissimilarity")}
    return whole_run(dp_prototypes, config, out, On(address="here"), about=replace(config, **judged), compute=compute)


@pytest.fixture(scope="module")
def whole(letters: None, _small_pieces: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dp_prototypes") / "run"
    run(TINY, out)
    return out


def test_report_and_certificate_keep_the_contract(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    assert [(row["stage"], row["sampling_rate"], row["steps"]) for row in report["privacy"]["ledger"]] == [
        (MEANS, 1, 1)
    ]
    assert 0.99 * 8 < certificate["epsilon"] == report["privacy"]["epsilon"] <= 8.0
    assert report["metrics"]["utility"].keys() == {"resnet18", "logreg"}
    assert 0 <= report["metrics"]["prototypes"]["accuracy"] <= 1
    far = report["metrics"]["distance_to_nearest_private_image"]
    assert far["pixels"].keys() == far["features"].keys() == {"released", "held_out", "before"}
    page = (whole / "internal/report.html").read_text()
    assert all(words in page for words in ("The prototypes", "public, at random", "look like private ones"))


def test_what_is_released_are_public_images_under_their_likeliest_label(whole: Path) -> None:
    public = {one.tobytes() for one in load_public(TINY.public, (8, 8, 1)).train.images_NHWC[:]}
    images = read_images((whole / "release/synthetic.parquet").read_bytes())
    soft = np.array(pq.read_table(whole / "release/synthetic.parquet")["soft_label"].to_pylist())
    assert len(images) == 60 and all(one.tobytes() in public for one in images.images_NHWC)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-5)
    assert np.array_equal(soft.argmax(1), images.labels_N)


def test_labels_follow_from_the_noisy_sums_that_were_paid_for(whole: Path) -> None:
    """By hand: cosines of whitened features, centred by class, divided by their spread and the temperature."""
    stages = whole / "internal/stages"
    space, sums = load_saved(stages / "space.pt"), load_saved(stages / "means.pt").numpy()
    network = TINY.query.network.build(1, len(load_public(TINY.public, (8, 8, 1)).train.class_names))
    network.load_state_dict(load_saved(stages / "query.pt")["weights"])
    pixels = torch.tensor(load_public(TINY.public, (8, 8, 1)).train.images_NHWC[:]).movedim(-1, 1).float() / 127.5 - 1
    with torch.inference_mode():
        seen = (network.eval().features(pixels).double() - space["centre"]) @ space["directions"]
    units = (seen / seen.norm(dim=1, keepdim=True)).numpy()
    scores = units @ (sums / np.linalg.norm(sums, axis=1, keepdims=True)).T
    stored = load_saved(stages / "label.pt").numpy()
    np.testing.assert_allclose(stored, scores, atol=1e-4)
    logits = (scores - scores.mean(0)) / scores.std(0).mean() / TINY.prototypes.temperature
    odds = np.exp(logits - logits.max(1, keepdims=True))
    found = soft_labels(stored, TINY, np.zeros(10), standing(stored))
    np.testing.assert_allclose(found, odds / odds.sum(1, keepdims=True), atol=5e-3)


def test_the_surest_of_each_class_in_turn_are_chosen_once_each() -> None:
    rng = np.random.default_rng(0)
    soft = rng.dirichlet([0.2] * 3, 50).astype(np.float32)
    taken = chosen(soft, 12, "surest", 0)
    assert len(np.unique(taken)) == 12
    for label in range(3):
        best = np.argsort(-soft[:, label])
        # Those that another class took before it are left out.
        assert set(best[:2]) <= set(taken)
    assert sorted(chosen(soft, 50, "surest", 0)) == list(range(50)) == sorted(chosen(soft, 50, "random", 0))
    assert not np.array_equal(np.sort(chosen(soft, 12, "random", 0)), np.sort(taken))


def test_a_class_of_many_images_is_the_likelier_by_its_noisy_count() -> None:
    config = replace(TINY, prototypes=PrototypesConfig(prior=True, count_share=0.3, choice="random"))
    plan = perceptual.plan(config.prototypes.asked(), Budget(epsilon=50.0, delta=1e-4), 1000)
    answers = {MEANS: np.array([[5.0, 900 * 0.3], [5.0, 100 * 0.3]])}
    shares = log_shares(answers, config, plan, 1000)
    assert np.exp(shares[0] - shares[1]) == pytest.approx(9, rel=0.05)
    scores = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    asked, unasked = (soft_labels(scores, config, one, standing(scores))[:, 0].mean() for one in (shares, np.zeros(2)))
    assert asked > 0.6 > 0.55 > unasked
    assert not log_shares(answers, TINY, plan, 1000).any()


def test_a_run_with_the_prior_reads_its_counts_and_its_features_apart(tmp_path: Path) -> None:
    """The last number of each class is its count, and all before it are the prototype."""
    asked = PrototypesConfig(prior=True, count_share=0.5, choice="random", temperature=1.0)
    config = replace(QUICK, prototypes=asked)
    run(config, tmp_path / "run")
    stages = tmp_path / "run/internal/stages"
    sums, space = load_saved(stages / "means.pt").numpy(), load_saved(stages / "space.pt")
    assert sums.shape == (10, space["directions"].shape[1] + 1)
    scores = load_saved(stages / "label.pt").numpy()
    shares = log_shares({MEANS: sums}, config, perceptual.plan(asked.asked(), config.budget, 300), 300)
    assert np.ptp(shares) > 0.01
    logits = (scores - scores.mean(0)) / scores.std(0).mean() + shares
    odds = np.exp(logits - logits.max(1, keepdims=True))
    odds /= odds.sum(1, keepdims=True)
    released = np.array(pq.read_table(tmp_path / "run/release/synthetic.parquet")["soft_label"].to_pylist())
    near = np.abs(released[:, None] - odds[None]).max(2).min(1)
    assert np.median(near) < 0.02 and near.max() < 0.1


def test_trap_11_and_30_a_stopped_run_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped when the answer is paid for and not yet stored, and again when public images are to be chosen."""
    secret, pay, out = (whole / "internal/secret").read_bytes(), Ledger.pay, tmp_path / "run"
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])

    def paid(self: Ledger, stage: str, release: Any) -> Any:
        pay(self, stage, release)
        raise KeyboardInterrupt

    def stopped(*args: Any) -> Any:
        raise KeyboardInterrupt

    for where, name, stop in ((Ledger, "pay", paid), (dp_prototypes, "chosen", stopped)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(where, name, stop)
            run(QUICK, out)
    run(QUICK, out)
    assert released(out) == released(whole)
    assert len((out / "internal/ledger.jsonl").read_text().splitlines()) == 1


def test_trap_05_two_runs_of_one_config_differ(whole: Path, tmp_path: Path) -> None:
    run(QUICK, tmp_path / "other")
    answers = [load_saved(out / "internal/stages/means.pt").numpy() for out in (whole, tmp_path / "other")]
    assert not np.any(answers[0] == answers[1]) and released(tmp_path / "other") != released(whole)


def held_to(config: Config, out: Path) -> set[str]:
    """The release of a run holds what it may, and says what is so: its sentences."""
    prepared = dp_prototypes.prepare(config)
    left = Left(out, config, prepared.dataset, prepared.more)
    given = WITH_PUBLIC_NETWORKS if config.query.checkpoint is not None else frozenset()
    pinned(left, PROMISE | WITH_RELEASED_PUBLIC_IMAGES | given, soft=True)
    return honest(left)


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(whole: Path, tmp_path: Path) -> None:
    """Also with a classifier that was given, of however many classes."""
    torch.save(TINY.query.network.build(1, 7).state_dict(), tmp_path / "net.pt")
    given = replace(TINY, query=replace(TINY.query, checkpoint=str(tmp_path / "net.pt")))
    run(given, tmp_path / "run")
    assert not (tmp_path / "run/internal/stages/query.pt").exists()
    assert held_to(TINY, whole) | held_to(given, tmp_path / "run") >= spoken_by(dp_prototypes)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the classifier, which is trained again."""
    alone = replace(TINY, real_students=False)
    made_of_paid_answers(run, dp_prototypes, alone, whole, tmp_path / "run", monkeypatch)


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(dp_prototypes.METHOD, TINY, whole)


def beside(images: np.ndarray, labels: np.ndarray, path: Path) -> Config:
    np.savez(path, train_images=images, train_labels=labels, test_images=images[:9], test_labels=labels[:9])
    return replace(TINY, public=PublicConfig(path=(str(path),)))


def test_one_private_image_among_the_public_ones_is_refused(tmp_path: Path) -> None:
    private, letters = data.load(TINY.data).train, load_public(TINY.public, (8, 8, 1)).train.images_NHWC[:]
    pixels = np.concatenate([letters, private.images_NHWC[5:6]])
    with pytest.raises(ValueError, match=r"^public\.path has sensitive images in it, pixel by pixel"):
        dp_prototypes.prepare(beside(pixels, np.arange(len(pixels)) % 3, tmp_path / "both.npz"))


@pytest.mark.parametrize(
    ("changes", "classes", "says"),
    [
        ({"synthetic": 301}, 3, "^synthetic is 301, but there are 300 public images of"),
        ({}, 1, "^public has images of one class alone"),
    ],
)
def test_public_images_that_cannot_be_are_refused_in_one_sentence(
    changes: dict[str, Any], classes: int, says: str, tmp_path: Path
) -> None:
    letters = load_public(TINY.public, (8, 8, 1)).train.images_NHWC[:]
    config = beside(letters, np.arange(len(letters)) % classes, tmp_path / "letters.npz")
    with pytest.raises(ValueError, match=says) as refused:
        dp_prototypes.prepare(replace(config, **changes))
    assert "\n" not in str(refused.value)


def test_of_a_classifier_that_sees_no_classes_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taught(setting: Any, public: Any) -> Any:
        network = new_query(setting.config, public)
        for parameter in network.parameters():
            parameter.data.zero_()
        return network, []

    monkeypatch.setattr(dp_prototypes, "train_query", taught)
    with pytest.raises(model.SeesNoClasses, match=r"^the classifier sees no difference between public classes"):
        run(QUICK, tmp_path / "run")
    assert not (tmp_path / "run/internal/ledger.jsonl").exists() or not (
        (tmp_path / "run/internal/ledger.jsonl").read_text()
    )


@pytest.mark.parametrize(("epsilon", "warned"), [(10.0, False), (0.05, True)])
def test_prototypes_that_drown_in_noise_are_warned_of(epsilon: float, warned: bool) -> None:
    config = replace(TINY, budget=Budget(epsilon=epsilon, delta=1e-4))
    private = Images(np.zeros((300, 8, 8, 1), np.uint8), np.zeros(300, np.int64), tuple("abc"))
    plan = perceptual.plan(config.prototypes.asked(), config.budget, 300)
    told = dp_prototypes.drowned(config, private, plan, load_public(TINY.public, (8, 8, 1)))
    assert bool(told) == warned and all("would be mostly noise" in one for one in told)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"prior": True},
            r"^prototypes\.prior is True, but prototypes\.choice is surest, .*give --prototypes\.choice random$",
        ),
        (
            {"prior": True, "choice": "random", "count_share": 0.0},
            r"^prototypes\.prior is True, but .*count_share is 0",
        ),
    ],
)
def test_a_prior_needs_counts_and_a_choice_that_it_changes(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PrototypesConfig(**changes)


def test_counts_are_asked_for_where_they_are_read() -> None:
    counted = PrototypesConfig(prior=True, choice="random")
    assert (PrototypesConfig().asked().count_share, counted.asked().count_share) == (0.0, 0.1)
    assert "prototypes.count_share" in TINY.unread()
    assert "prototypes.count_share" not in replace(TINY, prototypes=counted).unread()


def test_images_are_moved_no_further_than_their_edges_reach() -> None:
    for shift, checkpoint, fits in ((7, None, True), (8, None, False), (8, "given.pt", True)):
        query = replace(TINY.query, shift=shift, checkpoint=checkpoint)
        with nullcontext() if fits else pytest.raises(ValueError, match=r"^query\.shift is 8, but .* 8 pixels a side"):
            check_shift(query, (9, 8, 1))


@pytest.mark.parametrize("method", [dp_mepf, dp_prototypes, privimage], ids=lambda one: one.__name__.split(".")[2])
def test_an_image_moved_too_far_is_refused_before_public_images_are_read(
    method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, "load_beside", lambda *_: pytest.fail("public images were read"))
    quick = catalogue.find(method.__name__.split(".")[2]).presets()["quick"]
    with pytest.raises(ValueError, match=r"^query\.shift is 8, but .* give at most 7"):
        method.prepare(replace(quick, query=replace(quick.query, shift=8)))


def test_a_given_classifier_that_sees_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    network = new_query(TINY, load_public(TINY.public, (8, 8, 1)))
    first = next(parameter for parameter in network.parameters() if parameter.ndim == 4)
    first.data.fill_(torch.finfo(torch.float32).max)
    torch.save(network.state_dict(), tmp_path / "given.pt")
    config = replace(TINY, query=replace(TINY.query, checkpoint=str(tmp_path / "given.pt")))
    with pytest.raises(ValueError, match=r"sees what is not finite in a made-up image of noise"):
        dp_prototypes.prepare(config)


def test_images_of_one_class_are_refused_before_anything_is_spent() -> None:
    """What is chosen for sureness would not depend on the answer."""
    with pytest.raises(ValueError, match=r"^all training images are of one class, so that nothing is learned"):
        dp_prototypes.prepare(replace(TINY, data=replace(TINY.data, labels=False)))
