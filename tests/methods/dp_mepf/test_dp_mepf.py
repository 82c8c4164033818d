"""The whole pipeline on real digits and built-in letters: its plan, its release, its promise, and that stopping it
changes nothing."""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stopped_runs import continues_to_the_same_bytes, released
from what_is_said import honest, spoken_by
from what_leaves import (
    PROMISE,
    WITH_PUBLIC_IMAGES,
    WITH_PUBLIC_NETWORKS,
    Left,
    made_of_paid_answers,
    pinned,
)
from whole_run import drawn_again, whole_run

from raysyn.attacks.membership import fingerprint
from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.data.images import Images
from raysyn.data.streams import PublicConfig
from raysyn.methods import ends, perceiving, synthesis
from raysyn.methods.dp_mepf import model
from raysyn.methods.dp_mepf import pipeline as dp_mepf
from raysyn.methods.dp_mepf.config import Config
from raysyn.methods.dp_mepf.outlook import features_like
from raysyn.methods.dp_mepf.presets import PRESETS
from raysyn.methods.machines import On
from raysyn.metrics.utility import EvalConfig
from raysyn.models.semantic import SemanticNetConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries import perceptual
from raysyn.privacy.queries.perceptual import MEANS, SQUARES, FeatureMomentsConfig
from raysyn.runs.storage import load_saved
from raysyn.screen.flags import assigned
from raysyn.train.embedding import MatchConfig
from raysyn.train.semantic import QueryConfig

TINY = Config(
    data=data.DataConfig(limit=300),
    public=PublicConfig(limit=300),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    query=QueryConfig(network=SemanticNetConfig(name="resnet14", width=2), epochs=1, batch_size=50, flip=False),
    network=UpsamplerConfig(latent=4, hidden=8, channels=4),
    training=MatchConfig(iterations=20, batch_size=20),
    synthetic=60,
    tuned_on="digits",
    chosen_among="3 runs by hand",
    eval=EvalConfig(classifiers=("logreg",), epochs=1, floor=False, feature_epochs=1, precision_recall_images=50),
)
QUICK = replace(TINY, eval=replace(TINY.eval, classifiers=(), feature_epochs=0))
"""The same release, hardly judged."""

pytestmark = pytest.mark.usefixtures("letters")


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        patch.setattr(perceiving, "SHARD", 130)
        yield


def run(config: Config, out: Path, compute: type[Compute] = Local, text: io.StringIO | None = None) -> Any:
    about = replace(config, eval=TINY.eval, release=TINY.release)
    return whole_run(dp_mepf, config, out, On(address="here"), about=about, compute=compute, text=text)


@pytest.fixture(scope="module")
def whole(letters: None, _small_pieces: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(TINY, out / "run")
    return out / "run"


def test_report_and_certificate_keep_the_contract(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    rows = [(row["stage"], row["sampling_rate"], row["steps"]) for row in report["privacy"]["ledger"]]
    assert rows == [(MEANS, 1.0, 1), (SQUARES, 1.0, 1)]
    assert 0.99 * 8 < certificate["epsilon"] == report["privacy"]["epsilon"] <= 8.0
    stages = {"query", MEANS, SQUARES, "generator", "synthesise", "utility", "fidelity", "distances"}
    assert set(report["timings"]) == stages


def test_more_images_can_be_drawn_from_the_generator_alone(whole: Path) -> None:
    tensors = drawn_again(dp_mepf.METHOD, TINY, whole)
    assert all(name.startswith("generator/model/") for name in tensors), "the answers stay inside"


def test_trap_11_and_30_a_stopped_run_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    continues_to_the_same_bytes(partial(run, QUICK), (MEANS, SQUARES), whole, tmp_path / "run", monkeypatch)


def test_trap_05_two_runs_of_one_config_differ(whole: Path, tmp_path: Path) -> None:
    """Of means alone, the second."""
    config = replace(QUICK, moments=FeatureMomentsConfig(squares_share=0.0))
    run(config, tmp_path / "other")
    answers = [load_saved(out / "internal/stages/means.pt").numpy() for out in (whole, tmp_path / "other")]
    assert not np.any(answers[0] == answers[1]) and released(tmp_path / "other") != released(whole)
    assert not (tmp_path / "other/internal/stages/squares.pt").exists()


def held_to(config: Config, out: Path) -> set[str]:
    """The release of a run holds what it may, and says what is so: its sentences."""
    prepared = dp_mepf.prepare(config)
    left = Left(out, config, prepared.dataset, prepared.more)
    pinned(left, PROMISE | (WITH_PUBLIC_IMAGES if prepared.more is not None else WITH_PUBLIC_NETWORKS))
    return honest(left)


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a classifier that was given, of however many classes, where no public image is read; its file holds
    another by the time the certificate is written."""
    used, learned = TINY.query.network.build(1, 7).state_dict(), dp_mepf.learned
    torch.save(used, tmp_path / "net.pt")

    def changed(*args: Any) -> Any:
        torch.save(used | {"head.bias": torch.ones(7)}, tmp_path / "net.pt")
        return learned(*args)

    given = replace(TINY, query=replace(TINY.query, checkpoint=str(tmp_path / "net.pt")))
    monkeypatch.setattr(dp_mepf, "learned", changed)
    run(given, tmp_path / "run")
    (told,) = json.loads((tmp_path / "run/release/certificate.json").read_text())["public_networks"]
    assert told == {"name": "net.pt", "sha256": fingerprint(used)}
    torch.save(used, tmp_path / "net.pt")
    assert held_to(TINY, whole) | held_to(given, tmp_path / "run") >= spoken_by(dp_mepf)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the classifier, which is trained again."""
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


@pytest.mark.parametrize("wrong", ["missing", "another", "no weights"])
def test_a_classifier_that_does_not_fit_is_refused_before_anything_is_spent(wrong: str, tmp_path: Path) -> None:
    if wrong == "another":
        torch.save(TINY.query.network.build(3, 7).state_dict(), tmp_path / "net.pt")
    elif wrong == "no weights":
        torch.save({"head.weight": torch.zeros(3)}, tmp_path / "net.pt")
    query = replace(TINY.query, checkpoint=str(tmp_path / "net.pt"))
    with pytest.raises(ValueError, match=r"^query\.checkpoint=.* holds no weights") as refused:
        dp_mepf.prepare(replace(TINY, query=query))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("features.0.weight", math.nan, "not finite, as features.0.weight"),
        ("features.1.running_var", math.inf, "not finite, as features.1.running_var"),
        ("head.bias", math.nan, "not finite, as head.bias"),
        ("features.1.running_var", -1.0, "sees what is not finite"),
        ("norm", 0.0, "sees nothing"),
    ],
)
def test_a_classifier_that_sees_nothing_is_refused_before_anything_is_spent(
    name: str, value: float, says: str, tmp_path: Path
) -> None:
    """One whose training went wrong, or that has learned to be silent."""
    weights = TINY.query.network.build(1, 7).state_dict()
    for key in weights:
        if key == name or (name == "norm" and not key.endswith(("running_mean", "running_var"))):
            weights[key].fill_(value)
    torch.save(weights, tmp_path / "net.pt")
    query = replace(TINY.query, checkpoint=str(tmp_path / "net.pt"))
    with pytest.raises(ValueError, match=rf"^query\.checkpoint=.*{says}") as refused:
        dp_mepf.prepare(replace(TINY, query=query))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "flag",
    [
        "query.epochs 50", "query.batch-size 7", "query.learning-rate 0.7", "query.momentum 0.7",
        "query.weight-decay 0.7", "query.flip", "public.limit 70",
    ],
)  # fmt: skip
def test_how_a_classifier_is_taught_is_not_said_of_one_that_is_given(flag: str) -> None:
    name, words = flag.split()[0], ["--query.checkpoint", "net.pt", *f"--{flag}".split()]
    with pytest.raises(ValueError, match=rf"^--{name} is not read with --query\.checkpoint: leave it out$"):
        assigned(PRESETS["cpu-mnist"], words, "")
    network = ["--query.network.width", "4", "--query.network.side", "32"]
    assert assigned(PRESETS["cpu-mnist"], [*words[:2], *network], "").query.network.side == 32


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_moments_are_those_of_classes_as_large_as_they_are_told_to_be(share: float) -> None:
    """Of 900 and 100 images, told apart by their noisy counts; without these each is half."""
    config = replace(TINY, moments=FeatureMomentsConfig(count_share=share))
    plan = perceptual.plan(config.moments, Budget(epsilon=50.0, delta=1e-4), 1000)
    sizes = np.array([900.0, 100.0])[:, None]
    answers = {MEANS: sizes * np.array([0.5, *[share] * bool(share)]), SQUARES: sizes * np.array([0.25])}
    means = model.class_moments(answers, config, plan, 1000)
    wanted = np.array([[0.5, 0.25]] * 2) * (1 if share else np.array([[1.8], [0.2]]))
    np.testing.assert_allclose(means, wanted, rtol=0.02)


@pytest.mark.parametrize(
    ("epsilon", "share", "warned"),
    [
        (10.0, 0.5, []), (0.5, 0.5, ["mean features", "mean squares of features"]), (0.5, 0.0, ["mean features"]),
        (10.0, 0.01, ["mean squares of features"]), (10.0, 0.99, ["mean features"]),
    ],
)  # fmt: skip
def test_features_that_drown_in_noise_are_warned_of(epsilon: float, share: float, warned: list[str]) -> None:
    """Each answer by its own noise."""
    moments = FeatureMomentsConfig(squares_share=share)
    config = replace(TINY, budget=Budget(epsilon=epsilon, delta=1e-4), moments=moments)
    private = Images(np.zeros((900, 8, 8, 1), np.uint8), np.zeros(900, np.int64), tuple("abcdefghi"))
    told = dp_mepf.drowned(config, private, perceptual.plan(config.moments, config.budget, 900))
    assert [one.partition(" would be mostly noise")[0] for one in told] == warned
    assert all(("--moments.squares-share" in one) == (share > 0) for one in told)


@pytest.mark.parametrize("side", [8, 33, 64])
@pytest.mark.parametrize("name", ["cpu-mnist", "cpu-cifar10"])
def test_what_is_finer_than_two_pixels_is_seen_in_images_of_every_size(name: str, side: int) -> None:
    """A chess board, of which nothing is left where pixels are averaged."""
    config, channels = PRESETS[name], 3
    torch.manual_seed(0)
    features = features_like(config, Images(np.zeros((0, side, side, channels), np.uint8), np.zeros(0, np.int64), ()))
    board = torch.from_numpy(np.indices((side, side)).sum(0) % 2 - 0.5).float()
    grey = torch.full((1, channels, side, side), 0.5)
    grey, chess = (features(images) for images in (grey, grey + 0.25 * board))
    assert torch.linalg.vector_norm(chess - grey) > 0.1


def test_every_preset_sees_images_as_large_as_they_are() -> None:
    assert all(config.query.network.side is None for config in (Config(), *PRESETS.values()))


@pytest.mark.parametrize(("shape", "side", "warned"), [
    ((8, 8), None, False), ((64, 64), None, False), ((32, 32), 32, False), ((32, 33), 32, True), ((64, 64), 32, True),
])  # fmt: skip
def test_detail_that_the_classifier_does_not_see_is_warned_of(
    shape: tuple[int, int], side: int | None, warned: bool
) -> None:
    network = replace(TINY.query.network, side=side)
    like = Images(np.zeros((1, *shape, 1), np.uint8), np.zeros(1, np.int64), ("a",))
    told = dp_mepf.blurred(replace(TINY, query=replace(TINY.query, network=network)), like)
    assert bool(told) == warned and all("learns nothing of their detail" in one for one in told)


@pytest.mark.parametrize(
    ("name", "rate", "batch", "steps"),
    [("mnist", 1e-5, 100, 100_000), ("fashion_mnist", 1e-4, 100, 100_000), ("cifar10", 1e-3, 128, 200_000)],
)
def test_the_papers_presets_learn_as_the_published_commands(name: str, rate: float, batch: int, steps: int) -> None:
    """github.com/ParkLabML/DP-MEPF, code/README.md and code/old_code/README.md, private runs."""
    for epsilon in (1, 10):
        told = PRESETS[f"paper-{name}-eps{epsilon}"].training
        assert (told.learning_rate, told.batch_size, told.iterations) == (rate, batch, steps)


def test_the_papers_presets_ask_for_public_images_of_the_users_own() -> None:
    for name, config in PRESETS.items():
        assert (config.public.name == ()) == name.startswith("paper-")
