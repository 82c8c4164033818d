"""The whole pipeline on real digits: its plan, its release, its promise, and that stopping it changes nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stopped_runs import released
from torch import Tensor
from what_is_said import honest, spoken_by
from what_leaves import PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.data.images import Images
from raysyn.methods import ends, synthesis
from raysyn.methods.machines import On
from raysyn.methods.p3gm import model
from raysyn.methods.p3gm import pipeline as p3gm
from raysyn.methods.p3gm.config import Config, PCAConfig, check_size, layout_of, new_network, task_of
from raysyn.metrics.utility import EvalConfig
from raysyn.models.phased import Phased, PhasedConfig, new_phased
from raysyn.privacy import sgd_config
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Ledger
from raysyn.privacy.queries.mixture import MixtureConfig
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.runs.storage import load_saved
from raysyn.train.loop import LoopConfig

TINY = Config(
    data=data.DataConfig(limit=300),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    mixture=MixtureConfig(iterations=2),
    network=PhasedConfig(latent=5, hidden=8),
    warmup=LoopConfig(iterations=6, batch_size=16),
    finetune=SGDConfig(batch_size=30, epochs=0.6, noise_multiplicity=2, ema=0.0),
    synthetic=60,
    tuned_on="digits",
    chosen_among="3 runs by hand",
    eval=EvalConfig(classifiers=("logreg",), epochs=1, floor=False, feature_epochs=1, precision_recall_images=50),
)
QUICK = replace(TINY, eval=replace(TINY.eval, classifiers=(), feature_epochs=0))
"""The same release, hardly judged."""
SPEED = On(address="here", sgd=SGDSpeed(engine="bookkeeping", micro_batch=32, channels_last=True))
STAGES = ("means", "spread", "mixture", "finetune")


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        patch.setattr(model, "DRAWS", 40)
        patch.setattr(sgd_config, "MARKS", 3)
        yield


def run(config: Config, out: Path, compute: type[Compute] = Local) -> Any:
    about = replace(config, eval=TINY.eval, release=TINY.release)
    return whole_run(p3gm, config, out, SPEED, about=about, compute=compute)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(TINY, out / "run")
    return out / "run"


def test_report_and_certificate_keep_the_contract(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    rows = {row["stage"]: row for row in report["privacy"]["ledger"]}
    assert tuple(rows) == STAGES
    assert (rows["mixture"]["sampling_rate"], rows["mixture"]["steps"]) == (1.0, 2)
    assert (rows["finetune"]["sampling_rate"], rows["finetune"]["steps"]) == (0.1, 6)
    assert 0.99 * 8 < certificate["epsilon"] == report["privacy"]["epsilon"] <= 8.0
    assert set(report["timings"]) == {*STAGES, "warmup", "synthesise", "utility", "fidelity", "distances"}


def test_more_images_can_be_drawn_from_the_network_alone(whole: Path) -> None:
    tensors = drawn_again(p3gm.METHOD, TINY, whole)
    assert all(name.startswith("finetune/ema/") for name in tensors)


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(p3gm.METHOD, TINY, whole)


def test_trap_11_and_30_a_stopped_run_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped as each answer is paid for and not yet stored, and in the midst of DP-SGD."""
    secret, pay, out = (whole / "internal/secret").read_bytes(), Ledger.pay, tmp_path / "run"
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])

    class StopsInTraining(Local):
        def __init__(self, storage: Path) -> None:
            super().__init__(storage, self.watch)

        def watch(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
            if (stage, done) == ("finetune", 3):
                raise KeyboardInterrupt

    for stage in STAGES:

        def paid(self: Ledger, name: str, release: Any, stopped: str = stage) -> Any:
            value = pay(self, name, release)
            if name == stopped:
                raise KeyboardInterrupt
            return value

        if stage == "finetune":
            monkeypatch.setattr("time.monotonic", iter(range(10**6)).__next__)
            with pytest.raises(KeyboardInterrupt):
                run(QUICK, out, StopsInTraining)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Ledger, "pay", paid)
            run(QUICK, out)
    run(QUICK, out)
    assert released(out) == released(whole)
    assert len((out / "internal/ledger.jsonl").read_text().splitlines()) == len(STAGES)


def test_trap_05_two_runs_of_one_config_differ(whole: Path, tmp_path: Path) -> None:
    run(QUICK, tmp_path / "other")
    first, other = (load_saved(out / "internal/stages/mixture.pt") for out in (whole, tmp_path / "other"))
    # Some may be cut off at the same norm.
    assert (first["means_ML"] == other["means_ML"]).float().mean() < 0.5
    assert released(tmp_path / "other") != released(whole)


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(whole: Path) -> None:
    left = Left(whole, TINY, data.load(TINY.data))
    pinned(left, PROMISE)
    assert honest(left) >= spoken_by(ends)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


def test_what_is_fixed_does_not_learn(whole: Path) -> None:
    """Projection and prior are those of phase one to the last bit, after warm-up and DP-SGD; the rest is not."""
    fixed, tuned = (load_saved(whole / f"internal/stages/{stage}.pt") for stage in ("mixture", "finetune"))
    warm = load_saved(whole / "internal/stages/warmup.pt")["model"]
    for name, value in fixed.items():
        assert torch.equal(tuned["ema"][name], value) and torch.equal(warm[name], value), name
    learned = [name for name in tuned["ema"] if name not in fixed]
    assert len(learned) == 8 and not any(torch.equal(tuned["ema"][name], warm[name]) for name in learned)


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 8, 3)])
def test_directions_are_those_of_all_images_with_their_classes(shape: tuple[int, int, int]) -> None:
    """From means and spread without noise: those of the covariance of vectors, whose latents have variance 1."""
    random, classes = np.random.default_rng(0), 3
    labels = random.integers(classes, size=4000)
    low = random.random((classes, *shape))[labels] * random.random((4000, 1, 1, 1)) + 0.1 * random.random(
        (4000, *shape)
    )
    images = np.rint(low / low.max() * 255).astype(np.uint8)
    config = Config(network=PhasedConfig(latent=4), mixture=MixtureConfig(norm=50.0))
    layout = layout_of(config, shape, classes)
    rows = layout.vectors(images, labels)
    features = rows[:, :-classes]
    means = np.stack([features[labels == label].mean(0) for label in range(classes)])
    away = features - means[labels]
    shares = np.bincount(labels) / 4000
    of = model.directed(config, means, shares, away.T @ away / 4000, layout)
    latents = of.latents(images, labels)
    np.testing.assert_allclose(np.cov(latents.T, bias=True), np.eye(4), atol=1e-6)
    np.testing.assert_allclose(latents.mean(0), 0, atol=1e-9)
    largest = np.linalg.eigvalsh(np.cov(rows.T, bias=True))[::-1][:4]
    np.testing.assert_allclose(1 / (of.directions_DL**2).sum(0), largest, rtol=1e-6)


def test_lowest_frequencies_of_each_channel_have_a_spread() -> None:
    """The others vary between classes alone."""
    few = MomentsConfig(frequencies=4, spread_frequencies=1, spread_per_class=False)
    config = Config(network=PhasedConfig(latent=2), moments=few)
    layout = layout_of(config, (8, 8, 2), 2)
    of = model.directed(config, np.zeros((2, 8)), np.array([0.5, 0.5]), np.diag([4.0, 9.0]), layout)
    seen = np.abs(of.directions_DL) > 1e-12
    assert [np.flatnonzero(column).tolist() for column in seen.T] == [[4], [0]]


def network(latent: int = 3, size: int = 10) -> Phased:
    found, random = new_phased(PhasedConfig(latent=latent, hidden=6, components=2), size, 0), torch.Generator()
    random.manual_seed(1)
    found.fix({
        "centre_D": torch.randn(size, generator=random), "directions_DL": torch.randn(size, latent, generator=random),
        "largest": torch.tensor(1.5), "weights_M": torch.tensor([0.3, 0.7]),
        "means_ML": torch.randn(2, latent, generator=random),
        "variances_ML": torch.rand(2, latent, generator=random) + 0.5,
    })  # fmt: skip
    return found


def test_the_divergence_of_one_component_is_known_and_of_two_no_larger_than_their_mean() -> None:
    """Against torch's own, of Gaussians; Hershey and Olsen's approximation lies below the convex bound."""
    random = torch.Generator().manual_seed(2)
    net, means, logs = network(), torch.randn(5, 3, generator=random), torch.randn(5, 3, generator=random)

    def apart(component: int) -> Tensor:
        own = torch.distributions.Normal(means, (logs / 2).exp())
        mean, variance = net.get_buffer("means_ML")[component], net.get_buffer("variances_ML")[component]
        prior = torch.distributions.Normal(mean, variance.sqrt())
        return torch.distributions.kl_divergence(own, prior).sum(1)

    both = net.divergence(means, logs)
    assert torch.all(both <= 0.3 * apart(0) + 0.7 * apart(1) + 1e-5)
    net.fix({"weights_M": torch.tensor([1e-30, 1.0])})
    torch.testing.assert_close(net.divergence(means, logs), apart(1))


def test_draws_have_the_mixtures_weights_and_moments() -> None:
    net = network()
    assert torch.isclose(net.sample(500, torch.Generator().manual_seed(0)).norm(dim=1).max(), torch.tensor(1.5))
    net.fix({"largest": torch.tensor(1e9)})
    drawn = net.sample(40_000, torch.Generator().manual_seed(0))
    weights, means, variances = (net.get_buffer(name) for name in ("weights_M", "means_ML", "variances_ML"))
    mean = weights @ means
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.var(0), weights @ (variances + means**2) - mean**2, atol=0.05, rtol=0)


def test_the_network_projects_as_the_question_does() -> None:
    """Whoever asked for the mixture saw the same latents, to float rounding."""
    private = data.load(data.DataConfig(limit=300)).train
    net = new_network(TINY, private.shape, private.classes)
    random = torch.Generator().manual_seed(0)
    centre = torch.rand(net.get_buffer("centre_D").shape, generator=random)
    directions = torch.randn(net.get_buffer("directions_DL").shape, generator=random)
    net.fix({"centre_D": centre, "directions_DL": directions, "largest": torch.tensor(1e9)})
    task = task_of(TINY, private.shape, private.classes)
    rows = task.vectors(torch.tensor(private.images_NHWC), torch.tensor(private.labels_N))
    # Some are cut off, and some are not.
    net.fix({"largest": net.mean(rows).norm(dim=1).median()})
    of = model.projection_of(TINY, private, {name: value for name, value in net.state_dict().items()})
    np.testing.assert_allclose(net.mean(rows).numpy(), of.latents(private.images_NHWC, private.labels_N), atol=1e-4)


def test_an_example_is_drawn_by_its_seed_and_images_alone() -> None:
    task = task_of(TINY, (8, 8, 1), 10)
    random = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (4, 8, 8, 1), dtype=torch.uint8, generator=random)
    labels = torch.tensor([0, 3, 3, 9])
    vectors, noise = task.draw(pixels, labels, [5, 6, 7, 8], 3)
    assert vectors.shape == (4, 3, 74) and noise.shape == (4, 3, 5)
    assert vectors[1, 0, -10:].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    again, same = task.draw(pixels[2:3], labels[2:3], [7], 3)
    assert torch.equal(again[0], vectors[2]) and torch.equal(same[0], noise[2])
    own, _ = task.draw(pixels.reshape(2, 2, 8, 8, 1), labels.reshape(2, 2), [5, 6], 2)
    assert torch.equal(own.flatten(0, 1), vectors[:, 0])


def test_draws_are_those_of_their_class_in_order_and_then_the_nearest_that_are_left() -> None:
    scores = np.array([[3.0, 1.0], [0.0, 2.0], [2.0, 1.9], [5.0, 1.0], [2.0, 1.5]])
    assert model.named(scores, np.array([1, 0, 1, 0, 1])).tolist() == [1, 0, 4, 2, 3]
    assert model.named(scores, np.array([0, 0, 0, 0, 0])).tolist() == [0, 2, 3, 4, 1]
    assert model.named(scores[:, :1], np.array([0, 0])).tolist() == [0, 1]
    # Two labels at once have too few.
    others = np.array([[0, 0, 9], [1, 1, 9], [2, 2, 9], [0, 0, 8]], np.float64)
    assert model.named(others, np.array([0, 1, 0])).tolist() == [2, 3, 1]


def test_each_chunk_has_draws_of_its_own_seed() -> None:
    net, labels = network(size=6), np.zeros(4, np.int64)
    net.fix({"largest": torch.tensor(1e9)})
    first, other, again = (model.draw_chunk((seed, labels), (net, (2, 2, 1), 2)) for seed in (1, 2, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_one_class_colour_and_odd_sizes_are_drawn() -> None:
    for shape, classes in (((9, 7, 3), 2), ((16, 16, 1), 1)):
        config = replace(TINY, moments=MomentsConfig(frequencies=20, spread_frequencies=5, spread_per_class=False))
        net, labels = new_network(config, shape, classes), np.arange(10) % classes
        drawn = model.draw_chunk((0, labels), (net, shape, classes))
        assert drawn.shape == (10, *shape) and drawn.dtype == torch.uint8


def test_images_of_many_numbers_are_refused_with_how_many_there_may_be() -> None:
    photographs = Images(np.zeros((2, 64, 64, 3), np.uint8), np.array([0, 1]), ("a", "b"))
    everything = MomentsConfig(frequencies=4096, spread_per_class=False)
    with pytest.raises(
        ValueError, match=r"with 3 channels and 2 classes that is a covariance of 12,290 x 12,290.*1,364"
    ):
        check_size(Config(moments=everything), photographs)
    check_size(Config(moments=replace(everything, frequencies=1364)), photographs)
    check_size(Config(), photographs)


def test_questions_have_their_shares_of_the_budget() -> None:
    """Squares of inverse noise add up: 6 and 1 parts of the whole, which one answer would have alone."""
    planned = p3gm.plan(Config(pca=PCAConfig(share=0.6), finetune=SGDConfig(batch_size=240, epochs=2.0)), 10_000)
    squares = {
        stage: cost.steps / cost.noise_multiplier**2 for stage, cost in planned.stages.items() if cost.noise_multiplier
    }
    asked = squares["means"] + squares["spread"]
    assert asked / squares["mixture"] == pytest.approx(6, rel=1e-3)
    assert 0.99 * 10 < planned.epsilon() <= 10


def test_a_rare_class_is_drawn_again_and_no_image_has_two_labels() -> None:
    """A decoder that shows in its first number what it draws, and makes the second class of one draw in some 30."""
    net = new_phased(PhasedConfig(latent=1, hidden=2, components=1), 1 + 2, 0)

    def decode(latents_NL: Tensor) -> Tensor:
        rare = (latents_NL > 1.9).float()
        return torch.cat([latents_NL / 8, 1 - rare, rare], 1)

    net.decode = decode  # type: ignore[method-assign]
    net.fix({"largest": torch.tensor(1e9)})
    labels = np.array([1] * 12 + [0] * 3)
    kept = list[np.ndarray]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            model, "to_images", lambda made, shape: kept.append(made) or np.zeros((len(made), 1, 1, 1), np.uint8)
        )
        model.draw_chunk((3, labels), (net, (1, 1, 1), 2))
    (made,) = kept
    assert np.all((made[:, 0] * 8 > 1.9) == (labels == 1)) and len(np.unique(made[:, 0])) == 15
