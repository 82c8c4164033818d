"""The whole pipeline on real digits: what it releases, that stopping it changes nothing, and what its sources draw."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from what_is_said import honest, spoken_by
from what_leaves import PROMISE, WITH_RELEASED_PUBLIC_IMAGES, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.data.public import Public
from raysyn.data.streams import PublicConfig
from raysyn.methods import ends, evolving, synthesis
from raysyn.methods.candidates import Letters, LetterSource, PublicSource, Warped
from raysyn.methods.evolution import pipeline as evolution
from raysyn.methods.evolution.config import Config, SourceConfig
from raysyn.methods.evolution.presets import PRESETS
from raysyn.methods.evolving import Breeding, shares, unvoted
from raysyn.methods.machines import On
from raysyn.methods.warps import GENES, drawn, varied
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Ledger
from raysyn.privacy.queries.votes import VOTES, VotesConfig, plan
from raysyn.runs.storage import load_saved

TINY = Config(
    data=data.DataConfig(limit=300),
    budget=Budget(epsilon=20.0, accountant="rdp"),
    votes=VotesConfig(rounds=3, candidates=12, blur=0.5),
    source=SourceConfig(height=0.95, pen=0.2),
    synthetic=60,
    tuned_on="digits",
    chosen_among="3 runs by hand",
    eval=EvalConfig(classifiers=("logreg",), epochs=1, floor=False, feature_epochs=1, precision_recall_images=50),
)
QUICK = replace(TINY, eval=replace(TINY.eval, classifiers=(), feature_epochs=0))
"""The same release, hardly judged."""
PUBLIC = replace(QUICK, source=SourceConfig(kind="public", neighbours=5), public=PublicConfig(limit=200))


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    """Several shards and chunks, so that continuing has both to repeat and to skip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        patch.setattr(evolving, "SHARD", 120)
        yield


def run(config: Config, out: Path, compute: type[Compute] = Local, text: io.StringIO | None = None) -> Any:
    about = replace(config, eval=TINY.eval, release=TINY.release)
    return whole_run(evolution, config, out, On(address="here"), about=about, compute=compute, text=text)


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
    ((stage, steps, rate),) = [(row["stage"], row["steps"], row["sampling_rate"]) for row in ledger(whole)]
    assert (stage, steps, rate) == ("votes", 3, 1.0)
    assert 0.99 * 20 < certificate["epsilon"] == report["privacy"]["epsilon"] <= 20.0
    labels = pq.read_table(whole / "release/synthetic.parquet")["label"].to_numpy()
    assert np.bincount(labels).tolist() == [6] * 10
    assert load_saved(whole / "internal/stages/votes.pt")["noisy"].shape == (3, 10, 12)


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(whole: Path) -> None:
    left = Left(whole, TINY, data.load(TINY.data))
    pinned(left, PROMISE)
    assert honest(left) >= spoken_by(ends)


def test_more_images_can_be_drawn_from_the_answers_alone(whole: Path) -> None:
    assert set(drawn_again(evolution.METHOD, TINY, whole)) == {"votes/population/genes", "votes/population/shares"}


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(evolution.METHOD, TINY, whole)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


def with_secret_of(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = (whole / "internal/secret").read_bytes()
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])


class StopsInSecondRound(Local):
    """A machine that dies once a shard of the second round is durable."""

    def __init__(self, storage: Path) -> None:
        super().__init__(storage, self.watch)

    def watch(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if stage == "votes-2" and 0 < done < total:
            raise KeyboardInterrupt


def test_trap_11_and_30_a_run_that_is_stopped_in_a_round_goes_on_there_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then again when all rounds are paid for and not yet stored."""
    with_secret_of(whole, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(QUICK, tmp_path / "run", StopsInSecondRound)
    assert not (tmp_path / "run/internal/ledger.jsonl").exists()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/internal/units").rglob("*.pt")}
    assert {path.parent.name for path in done} == {"votes-1", "votes-2"}
    pay = Ledger.pay

    def paid(self: Ledger, stage: str, release: Any) -> Any:
        pay(self, stage, release)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "pay", paid)
        run(QUICK, tmp_path / "run")
    run(QUICK, tmp_path / "run")
    assert released(tmp_path / "run") == released(whole) and ledger(tmp_path / "run") == ledger(whole)
    assert all(path.stat().st_mtime_ns == when for path, when in done.items()), "no shard is counted again"


def test_public_images_evolve_and_the_release_needs_none_of_them(tmp_path: Path, letters: None) -> None:
    run(PUBLIC, tmp_path / "run")
    public = evolution.prepare(PUBLIC).more
    pinned(Left(tmp_path / "run", PUBLIC, data.load(PUBLIC.data), public), PROMISE | WITH_RELEASED_PUBLIC_IMAGES)
    assert "votes/population/pictures" in drawn_again(evolution.METHOD, PUBLIC, tmp_path / "run")
    certificate = json.loads((tmp_path / "run/release/certificate.json").read_text())
    assert any("public images were compared" in one for one in certificate["uncharged_choices"])


def test_one_private_image_among_the_public_ones_is_refused(tmp_path: Path, letters: None) -> None:
    """A candidate is a public image, turned and shifted a little, and that one's own votes would have it released."""
    private = data.load(PUBLIC.data).train.images_NHWC
    own = np.concatenate([np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8), private[5:6]])
    labels = np.arange(len(own)) % 2
    np.savez(tmp_path / "both.npz", train_images=own, train_labels=labels, test_images=own, test_labels=labels)
    config = replace(PUBLIC, public=replace(PUBLIC.public, path=(str(tmp_path / "both.npz"),)))
    with pytest.raises(ValueError, match=r"^public\.path has sensitive images in it, pixel by pixel"):
        evolution.prepare(config)


def test_classes_that_are_no_writing_are_refused_in_one_sentence(tmp_path: Path) -> None:
    arrays = {f"{part}_{what}": value for part in ("train", "test") for what, value in (
        ("images", np.random.default_rng(0).integers(0, 256, (120, 8, 8), np.uint8)), ("labels", np.arange(120) % 2)
    )}  # fmt: skip
    np.savez(tmp_path / "set.npz", class_names=np.array(["coat", "7"]), **arrays)
    config = replace(QUICK, data=data.DataConfig(path=str(tmp_path / "set.npz")))
    with pytest.raises(ValueError, match=r"^source\.kind is letters, but the class coat is no character"):
        evolution.prepare(config)


def test_votes_that_noise_drowns_are_said_beforehand() -> None:
    few = replace(QUICK, budget=Budget(epsilon=0.1), votes=VotesConfig(rounds=10))
    assert any("votes would be mostly noise" in one for one in evolution.prepare(few).doubts)
    assert not evolution.prepare(QUICK).doubts


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(variation=()), "source.variation is"), (dict(final=1.5), "source.final 1.5"),
        (dict(bend=-1.0), "source.bend is -1"), (dict(pen=0.0), "source.pen is 0"), (dict(pool=1), "source.pool is 1"),
    ],
)  # fmt: skip
def test_bad_settings_cost_one_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SourceConfig(**settings)


@pytest.mark.parametrize("epsilon", [1, 10])
def test_the_papers_presets_are_sim_pes_schedule_and_ask_for_one_vote(epsilon: int) -> None:
    config = PRESETS[f"paper-mnist-eps{epsilon}"]
    noise = plan(config.votes, config.budget, 60_000).noise(VOTES)
    assert config.votes.rounds == 4 and 10 * config.votes.counted(60_000, 10, noise) == 60_000
    assert config.votes.threshold * noise == pytest.approx(1.0, rel=0.01)
    assert [config.source.strength(step) for step in range(1, 5)] == [0.8, 0.4, 0.2, 0.2]


def a_generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_variation_is_nothing_at_0_anew_at_1_and_keeps_how_candidates_are_distributed() -> None:
    genes = drawn(torch.arange(4000) % 7, a_generator())
    assert torch.equal(varied(genes, 0.0, a_generator()), genes)
    for strength in (0.5, 1.0):
        found = varied(genes, strength, torch.Generator().manual_seed(1))
        assert torch.equal(found[:, 0], genes[:, 0]) and abs(float(found[:, 1:].std()) - 1) < 0.02
        alike = np.corrcoef(found[:, 1:].ravel(), genes[:, 1:].ravel())[0, 1]
        assert abs(alike - (1 - strength**2) ** 0.5) < 0.02


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (20, 33, 3)])
def test_characters_have_ink_inside_and_follow_their_genes(shape: tuple[int, int, int]) -> None:
    neutral = torch.zeros(2, GENES)
    neutral[1, 5] = 3.0  # shifted to the right
    painter = Letters("1", SourceConfig(shift=0.1), shape)
    straight, moved = painter(neutral, torch.zeros(2, dtype=torch.int64)).float().numpy()
    assert straight.shape == shape and straight.max() > 150 and straight[0].max() < 100
    columns = np.arange(shape[1])
    centres = [(one[..., 0].sum(0) * columns).sum() / one[..., 0].sum() for one in (straight, moved)]
    assert centres[1] - centres[0] == pytest.approx(0.3 * shape[1] / 2, rel=0.2)
    light = Letters("1", SourceConfig(ground="light"), shape)(neutral[:1], torch.zeros(1, dtype=torch.int64))
    dark = Letters("1", SourceConfig(), shape)(neutral[:1], torch.zeros(1, dtype=torch.int64))
    assert int((light.int() + dark.int() - 255).abs().max()) <= 1


def test_public_images_without_genes_are_themselves_and_kept_ones_are_drawn_alike() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (50, 9, 7, 3), np.uint8)
    images = data.Images(pictures, np.zeros(50, np.int64), ("any",))
    source = PublicSource(Public("set", images, images), SourceConfig(kind="public", neighbours=4), 0)
    genes = torch.zeros(3, GENES)
    genes[:, 0] = torch.tensor([7.0, 3.0, 7.0])
    labels = torch.zeros(3, dtype=torch.int64)
    same = source.painter()(genes, labels).numpy()
    assert np.abs(same.astype(int) - pictures[[7, 3, 7]]).max() <= 1
    children = source.vary(genes.repeat(20, 1), 0, 1.0, a_generator())
    assert 2 <= len(children[::3, 0].unique()) <= 4, "of its nearest four"
    rows, more = source.kept(children)
    alone = Warped(more["pictures"].numpy(), SourceConfig(kind="public"))(rows, labels)
    assert torch.equal(alone, source.painter()(children, labels)) and len(more["pictures"]) < 50


def test_shares_follow_votes_above_the_threshold_and_never_fail() -> None:
    counts = np.array([[10.0, 4.0, 1.0, -5.0], [3.0, 1.0, -1.0, -2.0], [-1.0, -2.0, -3.0, -4.0]])
    np.testing.assert_allclose(shares(counts, 3.5), [[6.5 / 7, 0.5 / 7, 0, 0], [0.75, 0.25, 0, 0], [0.25] * 4])


def test_classes_whose_candidates_are_chosen_by_noise_are_told() -> None:
    """What the last round left of them, at a threshold of two deviations of 3."""
    private = SimpleNamespace(class_names=("a", "b", "c"))
    plan = SimpleNamespace(noise=lambda stage: 3.0)
    setting = SimpleNamespace(config=TINY, plan=plan, dataset=SimpleNamespace(train=private))
    quiet, loud = [[5.0, 6.0], [-9.0, 2.0], [0.0, 6.1]], [[99.0, 99.0]] * 3
    assert TINY.votes.threshold == 2.0
    (told,) = evolution.by_chance(setting, torch.tensor([loud, quiet]))  # type: ignore[arg-type]
    assert told.startswith("No candidate of class a, b had more noisy votes than --votes.threshold takes off")
    assert evolution.by_chance(setting, torch.tensor([quiet, loud])) == []  # type: ignore[arg-type]


def test_candidates_move_towards_what_is_voted_for() -> None:
    """Exact votes of one handwriting: the mean distance to the nearest candidate falls, round by round."""
    config = replace(TINY, votes=VotesConfig(candidates=40, threshold=0.0, blur=0.0))
    source = LetterSource(("7",), config.source, (12, 12, 1))
    hand = varied(drawn(torch.full((30,), 3), a_generator()) * 0.3 + 1.0, 0.0, a_generator())
    hand[:, 0] = 3
    wanted = source.painter()(hand, torch.zeros(30, dtype=torch.int64)).numpy()
    breeding, answered, far = Breeding(source, config, 1.0, (1, 40)), list[np.ndarray](), list[float]()
    for _ in range(4):
        candidates = breeding.images(answered)[0].astype(float)
        apart = ((wanted[:, None].astype(float) - candidates) ** 2).sum((2, 3, 4))
        far.append(float(np.sqrt(apart.min(1)).mean()))
        answered.append(np.bincount(apart.argmin(1), minlength=40)[None].astype(float))
    assert far[-1] < 0.85 * far[0], far


def test_what_an_attacker_would_look_at_is_the_noisy_count_of_the_nearest_candidate(whole: Path) -> None:
    stored, digits = load_saved(whole / "internal/stages/votes.pt"), data.load(TINY.data).train
    told = evolution.knows(TINY, digits.select([]), {"votes": stored}.__getitem__, digits)
    assert told.shape == (300, 3)
    painter, genes, noisy, blur = evolution.asked(TINY, digits, stored)
    few = digits.select(np.arange(40))
    np.testing.assert_array_equal(-unvoted(painter, genes, noisy, blur, few), told[:40])
    # Noise is small beside the votes: counts of those who voted add up to what was counted.
    assert all(told[:, step].mean() > noisy[step].mean() for step in range(3))
