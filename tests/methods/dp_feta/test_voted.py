"""`--central.kind evolution`: what it costs, what is asked, that stopping changes nothing, what does not go with it."""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_dp_feta
import torch
from exact_curves import gaussian_epsilon
from what_is_said import honest
from what_leaves import PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.data import images as data
from raysyn.methods import catalogue, ends, evolving, synthesis
from raysyn.methods.candidates import painter_of
from raysyn.methods.candidates_config import SourceConfig
from raysyn.methods.dp_feta import model
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.methods.dp_feta.config import Config, ExperimentConfig, plan
from raysyn.methods.dp_feta.experiments import PARTS, asked
from raysyn.methods.misfits import drowned, drowned_votes
from raysyn.privacy.cost import Budget, epsilon
from raysyn.privacy.ledger import Ledger
from raysyn.privacy.queries import votes as query
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.votes import VOTES, VotesConfig
from raysyn.runs.storage import load_saved
from raysyn.screen import cli
from raysyn.train.loop import LoopConfig

CENTRAL = CentralConfig(kind="evolution", draws=45)
TINY = replace(
    test_dp_feta.TINY, central=CENTRAL,
    source=SourceConfig(height=0.95, pen=0.2), votes=VotesConfig(rounds=3, candidates=8, blur=0.5),
    warmup=LoopConfig(iterations=2, batch_size=16),
    eval=replace(test_dp_feta.TINY.eval, classifiers=(), feature_epochs=0),
)  # fmt: skip
"""Hardly judged."""


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        patch.setattr(evolving, "SHARD", 120)
        yield


def run(config: Config, out: Path) -> Any:
    return whole_run(dp_feta, config, out, test_dp_feta.SPEED, about=TINY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whose draws are changed by nothing, whatever is said of central images."""
    assert TINY.augment.operations
    out = tmp_path_factory.mktemp("whole") / "run"
    with test_dp_feta.nothing_is_changed():
        run(TINY, out)
    return out


@pytest.mark.parametrize(("share", "rounds"), [(0.5, 4), (0.2, 1)])
def test_all_rounds_together_have_their_share_and_dp_sgd_what_is_left(share: float, rounds: int) -> None:
    """By the exact curve: rounds of a noise are one Gaussian answer of sensitivity sqrt(rounds) / noise, and the whole
    budget would be one of sqrt(1 / share) times that."""
    config = replace(
        TINY, budget=Budget(epsilon=3.0), central=replace(CENTRAL, share=share), votes=VotesConfig(rounds=rounds)
    )
    planned = plan(config, 3_000, 10)
    assert list(planned.stages) == [VOTES, "finetune"]
    price = planned.stages[VOTES]
    assert (price.sampling_rate, price.steps) == (1.0, rounds)
    mu = math.sqrt(rounds) / planned.noise(VOTES)
    assert gaussian_epsilon(mu / math.sqrt(share), planned.delta) == pytest.approx(3.0, rel=0.01)
    assert 0.99 * 3 < epsilon(list(planned.stages.values()), planned.delta, "prv") <= 3


def test_a_run_says_what_it_asked_and_what_it_is(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    rows = [(row["stage"], row["mechanism"], row["steps"]) for row in certificate["ledger"]]
    assert rows[0] == (VOTES, "noisy votes for candidates", 3) and [row[0] for row in rows] == [VOTES, "finetune"]
    assert report["method"] == certificate["made_by"]["method"] == "dp_feta_evolution"
    assert 0.99 * 8 < certificate["epsilon"] <= 8.0
    assert {VOTES, "warmup", "finetune", "synthesise"} <= set(report["timings"])
    page = (whole / "internal/report.html").read_text()
    assert "voted 3 times for 8 characters of each class" in page and "Drew 45 variations of the last ones" in page
    left = Left(whole, TINY, data.load(TINY.data))
    pinned(left, PROMISE)
    honest(left)


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(dp_feta.METHOD, TINY, whole)


def test_more_images_can_be_drawn(whole: Path) -> None:
    drawn_again(dp_feta.METHOD, TINY, whole)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws and warm-up too are made of these."""
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


def test_trap_11_a_run_that_is_stopped_once_it_has_paid_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (whole / "internal/secret").read_bytes()
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])
    pay = Ledger.pay

    def paid(self: Ledger, stage: str, release: Any) -> Any:
        found = pay(self, stage, release)
        if stage == VOTES:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "pay", paid)
        run(TINY, tmp_path / "run")
    assert not list((tmp_path / "run/internal/stages").glob("votes.pt"))
    run(TINY, tmp_path / "run")
    for name in ("release/synthetic.parquet", "release/samples.png"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


def test_the_warm_up_learns_from_variations_of_what_was_voted_for(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equally many of each class, as the method evolution would draw them of these noisy votes."""
    learned = list[Any]()

    class Warmed(Exception):
        pass

    def warm_up(self: Any, images: Any) -> None:
        learned.append(images())
        raise Warmed

    monkeypatch.setattr(model.Diffusion, "warm_up", warm_up)
    with pytest.raises(Warmed):
        run(TINY, tmp_path / "run")
    population = load_saved(tmp_path / "run/internal/stages/votes.pt")["population"]
    shared = evolving.drawn_from(TINY, data.load(TINY.data).train, population)
    (images,) = learned
    assert np.bincount(images.labels_N).tolist() == [5] * 5 + [4] * 5
    seed = np.random.SeedSequence([TINY.seed, 0]).generate_state(1)[0]
    assert np.array_equal(evolving.draw_chunk((int(seed), images.labels_N), shared).numpy(), images.images_NHWC)


def test_kinds_are_compared_beside_each_other() -> None:
    mean = replace(test_dp_feta.TINY, experiment=ExperimentConfig(kinds=("mean", "evolution")))
    (group,) = asked(mean).values()
    found = {one.title: one.config for one in group.variants}
    voted = found["dp_feta_evolution, 10,000 draws"]
    assert voted.changes().operations == 0 and list(plan(voted, 300, 10).stages) == [VOTES, "finetune"]
    other = replace(voted, budget=replace(voted.budget, epsilon=4.0))
    assert VOTES not in PARTS.reads.shared(other, voted), "a share of another budget is another noise"
    assert VOTES not in PARTS.reads.shared(replace(voted, votes=VotesConfig(rounds=2)), voted)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"warmup": LoopConfig(iterations=0)}, r"^warmup\.iterations is 0, so that what central\.kind evolution"),
        ({"experiment": ExperimentConfig(counts=(20,))}, r"^experiment\.counts is \(20,\), .*: leave one of them out$"),
        ({"source": SourceConfig(kind="public")}, r"^source\.kind is public, but dp_feta warms up on letters alone"),
        ({"central": CentralConfig(), "source": SourceConfig(kind="public"),
          "experiment": ExperimentConfig(kinds=("evolution",))}, r"^source\.kind is public, "),
    ],
)  # fmt: skip
def test_what_goes_not_with_it_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(TINY, **changes)


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("--central.kind evolution --votes.rounds 2 --source.pen 0.2 --central.share 0.3", None),
        ("--experiment.kinds evolution --votes.rounds 2", None),
        ("--votes.rounds 2", "votes.rounds"),
        ("--central.count 0 --source.pen 0.2", "source.pen"),
        ("--central.kind gaussian --source.pen 0.2", "source.pen"),
        ("--central.kind evolution --source.pool 20", "source.pool"),
        ("--central.kind evolution --central.sampling-rate 0.5", "central.sampling-rate"),
    ],
)
def test_a_flag_that_nothing_reads_is_refused(words: str, refused: str | None) -> None:
    entry = catalogue.find("dp_feta")

    def read() -> Any:
        return cli.read(
            entry.presets(), ["quick", *words.split()], machines=entry.machines(), prog="dp_feta", seal=True
        )

    if refused is None:
        assert read().config.votes.rounds == 2
        return
    with pytest.raises(ValueError, match=rf"^--{refused} belongs to .*: leave it out$"):
        read()


def test_classes_that_are_no_writing_are_refused_before_anything_is_asked() -> None:
    config = replace(TINY, data=replace(TINY.data, labels=False))
    with pytest.raises(ValueError, match=r"is no character .*: give another --central\.kind$"):
        dp_feta.prepare(config)


def test_each_class_needs_a_draw_and_one_that_nobody_voted_for_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^central\.draws is 9, but there are 10 classes"):
        dp_feta.prepare(replace(TINY, central=replace(CENTRAL, draws=9)))
    text = io.StringIO()
    silent = replace(TINY, votes=replace(TINY.votes, threshold=1e6))
    whole_run(dp_feta, silent, tmp_path / "run", test_dp_feta.SPEED, text=text)
    assert "No candidate of class 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 had more" in " ".join(text.getvalue().split())


def test_an_attacker_sees_the_votes_too(whole: Path) -> None:
    """By hand: the noisy votes of the candidate that an image is nearest to, one column a round."""
    private = data.load(TINY.data).train.select(slice(0, 7))
    found = dp_feta.METHOD.knows(
        TINY, private, lambda stage: load_saved(whole / f"internal/stages/{stage}.pt"), private
    )
    votes = load_saved(whole / "internal/stages/votes.pt")
    painter = painter_of(TINY.source, private.class_names, private.shape, votes["rounds"])
    for step in range(3):
        for at, label in enumerate(private.labels_N.tolist()):
            candidates = painter(votes["rounds"]["genes"][step, label], torch.full((8,), label)).numpy()
            (nearest,) = query.nearest(private.images_NHWC[at : at + 1], candidates, 0.5)
            assert found[at, -3 + step] == pytest.approx(float(votes["noisy"][step, label, nearest]), rel=1e-6)


def test_noise_that_hides_the_votes_is_told() -> None:
    private = data.load(TINY.data).train
    config = replace(TINY, budget=Budget(epsilon=0.3))
    planned = plan(config, len(private), 10)
    assert drowned(config.central, private, config.budget) == []
    (said,) = drowned_votes(planned, config.votes, private, "--central.share or ")
    assert f"the noise is {planned.noise(VOTES):.1f}" in said and "a larger --central.share or --budget.epsilon" in said
    assert drowned_votes(plan(TINY, len(private), 10), TINY.votes, private) == []
