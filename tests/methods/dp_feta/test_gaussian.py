"""`--central.kind gaussian`: what it costs, what is asked, that stopping changes nothing, and what goes not with it."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_dp_feta
from scipy import optimize, stats
from what_is_said import honest
from what_leaves import PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.data import images as data
from raysyn.methods import asking, catalogue, ends, synthesis
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.methods.dp_feta.config import Config, ExperimentConfig, plan
from raysyn.methods.dp_feta.experiments import PARTS, asked
from raysyn.methods.dp_feta.presets import PRESETS
from raysyn.methods.misfits import drowned, drowned_means
from raysyn.methods.privimage.config import Config as PrivImage
from raysyn.methods.sweep import unlike
from raysyn.privacy.cost import Budget, epsilon
from raysyn.privacy.ledger import Ledger
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.central import DRAWN, CentralConfig, Kind
from raysyn.privacy.queries.moments import MEANS, SPREAD
from raysyn.runs.storage import load_saved
from raysyn.screen import cli
from raysyn.train.augment import AugmentConfig
from raysyn.train.loop import LoopConfig

CENTRAL = CentralConfig(kind="gaussian", draws=45)
TINY = replace(
    test_dp_feta.TINY, central=CENTRAL,
    warmup=LoopConfig(iterations=2, batch_size=16),
    eval=replace(test_dp_feta.TINY.eval, classifiers=(), feature_epochs=0),
)  # fmt: skip
"""Hardly judged."""


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
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


def told_delta(mu: float, eps: float) -> float:
    """Of a Gaussian answer of sensitivity mu and noise 1, exactly (Balle and Wang 2018, theorem 8)."""
    return float(stats.norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * stats.norm.cdf(-mu / 2 - eps / mu))


@pytest.mark.parametrize(("eps", "share"), [(3.0, 0.5), pytest.param(1.0, 0.8, marks=pytest.mark.slow)])
def test_the_price_is_that_of_gaussian_answers_of_that_share_and_of_what_is_left(eps: float, share: float) -> None:
    """mu^2 of Gaussian answers adds up: that of all of the budget comes from the exact curve, a half of its share is
    each answer's. What DP-SGD adds is the accountant's to say."""
    config = replace(TINY, budget=Budget(epsilon=eps), central=replace(CENTRAL, share=share))
    planned = plan(config, 3_000, 10)
    whole = optimize.brentq(lambda mu: told_delta(mu, eps) - planned.delta, 0.01, 5.0)
    assert list(planned.stages) == [MEANS, SPREAD, "finetune"]
    for stage in (MEANS, SPREAD):
        price = planned.stages[stage]
        assert (price.sampling_rate, price.steps) == (1.0, 1)
        assert planned.noise(stage) == pytest.approx(1 / (whole * math.sqrt(share / 2)), rel=0.01), stage
    both = epsilon([planned.stages[stage] for stage in (MEANS, SPREAD)], planned.delta, "prv")
    exact = optimize.brentq(lambda e: told_delta(whole * math.sqrt(share), e) - planned.delta, 0.01, eps)
    assert both == pytest.approx(exact, rel=0.01)
    assert 0.99 * eps < epsilon(list(planned.stages.values()), planned.delta, "prv") <= eps
    none = plan(replace(config, central=replace(CENTRAL, count=0)), 3_000, 10)
    assert none.noise("finetune") < planned.noise("finetune")


def test_a_run_says_what_it_asked_and_what_it_is(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    assert [row["stage"] for row in certificate["ledger"]] == [MEANS, SPREAD, "finetune"]
    mechanisms = [row["mechanism"] for row in certificate["ledger"]]
    assert mechanisms[:2] == ["noisy class means", "noisy spread within classes"]
    assert report["method"] == certificate["made_by"]["method"] == "dp_feta_gaussian"
    assert 0.99 * 8 < certificate["epsilon"] <= 8.0
    assert {MEANS, SPREAD, "warmup", "finetune", "synthesise"} <= set(report["timings"])
    page = (whole / "internal/report.html").read_text()
    assert "Asked for the noisy mean of each of the 10 classes" in page and "Drew 45 images from the Gaussian" in page
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


def test_trap_11_and_30_a_run_that_is_stopped_between_its_questions_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (whole / "internal/secret").read_bytes()
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])
    pay = Ledger.pay

    def paid(self: Ledger, stage: str, release: Any) -> Any:
        if stage == SPREAD:
            raise KeyboardInterrupt
        return pay(self, stage, release)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "pay", paid)
        run(TINY, tmp_path / "run")
    assert [path.stem for path in (tmp_path / "run/internal/stages").iterdir()] == [MEANS]
    run(TINY, tmp_path / "run")
    for name in ("release/synthetic.parquet", "release/samples.png"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_experiments_at_another_budget_ask_anew_with_noise_of_their_own(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of another budget is another noise, so that no answer may be shared between the two."""
    streams, drawn = list[tuple[bytes, str]](), Stream.normal

    def noted(self: Stream, step: int, what: str, *size: Any) -> Any:
        streams.append((self.secret, f"{self.stage}/{what} {step}"))
        return drawn(self, step, what, *size)

    monkeypatch.setattr(Stream, "normal", noted)
    report = run(replace(TINY, experiment=ExperimentConfig(epsilons=(4.0,))), whole)
    (table,) = report.metrics["experiments"].values()
    titles = [f"{name}, ε {eps}" for name in ("dpdm", "dp_feta_gaussian, 45 draws") for eps in (4, 8)]
    assert [one["title"] for one in table] == titles
    noise = [one["noise_multiplier"] for one in table]
    assert noise[2] > noise[3] > noise[1] and noise[2] > noise[0]
    assert len(set(streams)) == len(streams)
    asking_now = {secret for secret, what in streams if what.startswith(f"{MEANS}/")}
    assert len(asking_now) == 1 and (whole / "internal/secret").read_bytes() not in asking_now


def test_kinds_are_compared_beside_each_other() -> None:
    """Each at the same budget and once, a Gaussian one without augmentation; what depends on the budget is told apart
    by it."""
    mean = replace(test_dp_feta.TINY, experiment=ExperimentConfig(kinds=("mean", "gaussian")))
    assert mean.augment.operations > 0
    (group,) = asked(mean).values()
    found = {one.title: one for one in group.variants}
    own = found["dp_feta, 20 mean images"].config
    gaussian = found["dp_feta_gaussian, 10,000 draws"].config
    assert gaussian.changes().operations == 0 < own.changes().operations and "dpdm" in found
    for experiment in (ExperimentConfig(kinds=("mean", "gaussian")), ExperimentConfig(epsilons=(1.0,))):
        (group,) = asked(replace(TINY, experiment=experiment)).values()
        titles = [one.title for one in unlike(group.variants, PARTS.reads)]
        assert len(set(titles)) == len(titles) > 1
    assert list(plan(gaussian, 300, 10).stages) == [MEANS, SPREAD, "finetune"]

    def at(config: Config, eps: float) -> Config:
        return replace(config, budget=replace(config.budget, epsilon=eps))

    reads = PARTS.reads
    for config, apart in ((own, False), (gaussian, True)):
        half = at(config, 4.0)
        assert (reads.begun(half) != reads.begun(config)) is apart
        assert (reads.questions(half) != reads.questions(config)) is apart
    assert not {MEANS, SPREAD} & reads.shared(at(gaussian, 4.0), gaussian)
    assert {MEANS, SPREAD} <= reads.shared(replace(gaussian, seed=5), gaussian)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"experiment": ExperimentConfig(counts=(20,))}, r"^experiment\.counts is \(20,\), .*: leave one of them out$"),
        ({"experiment": ExperimentConfig(augment=(0, 2))}, r"^experiment\.augment is \(0, 2\), "),
        ({"central": CentralConfig(), "experiment": ExperimentConfig(kinds=("gaussian",), counts=(20,))},
         r"^experiment\.counts is \(20,\), "),
    ],
)  # fmt: skip
def test_what_goes_not_with_it_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(TINY, **changes)


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("name", PRESETS)
def test_any_preset_takes_draws_which_are_never_augmented(name: str, kind: Kind) -> None:
    config = replace(PRESETS[name], central=replace(PRESETS[name].central, kind=kind))
    assert config.changes().operations == 0
    assert ("augment.operations" in config.unread()) == (config.augment.operations > 0)
    # Beside central images of another kind, which are.
    both = replace(config, experiment=ExperimentConfig(kinds=("mean",)))
    assert "augment.operations" not in both.unread()
    asked_for = replace(PRESETS[name], augment=AugmentConfig(operations=2))
    assert asked_for.changes().operations == 2 and "augment.operations" not in asked_for.unread()


def test_bad_settings_are_refused() -> None:
    for name, value in (("share", 0.0), ("share", 1.0), ("draws", 0), ("conditional", False)):
        with pytest.raises(ValueError, match=rf"^central\.{name} is {value}"):
            replace(CENTRAL, **{name: value})
    with pytest.raises(ValueError, match=r"^central\.kind is gaussian, which asks for no central images"):
        CENTRAL.cost(10)
    with pytest.raises(ValueError, match=r"^central\.kind is gaussian, which dp_feta alone has"):
        PrivImage(central=replace(CENTRAL, count=0))


@pytest.mark.parametrize(
    ("method", "words", "refused"),
    [
        ("dp_feta", "--central.kind gaussian --central.share 0.3 --central.draws 500", None),
        ("dp_feta", "--central.kind gaussian --central.count 0", None),
        ("dp_feta", "--central.kind gaussian --central.count 30", "central.count"),
        ("dp_feta", "--central.kind gaussian --central.sampling-rate 0.5", "central.sampling-rate"),
        ("dp_feta", "--central.kind gaussian --central.noise-multiplier 3", "central.noise-multiplier"),
        ("dp_feta", "--central.kind gaussian --central.smooth", "central.smooth"),
        ("dp_feta", "--central.kind gaussian --central.count 30 --experiment.kinds mean", None),
        ("dp_feta", "--central.share 0.5", None),
        ("dp_feta", "--central.share 0.3", "central.share"),
        ("dp_feta", "--central.share 0.3 --experiment.kinds gaussian", None),
        ("privimage", "--central.draws 300", "central.draws"),
    ],
)
def test_a_flag_that_nothing_reads_is_refused(method: str, words: str, refused: str | None) -> None:
    entry = catalogue.find(method)

    def read() -> Any:
        return cli.read(entry.presets(), ["quick", *words.split()], machines=entry.machines(), prog=method, seal=True)

    if refused is None:
        assert read().config.central.kind in words + "mean"
        return
    with pytest.raises(ValueError, match=rf"^--{refused} belongs to .*: leave it out$"):
        read()


def test_noise_that_hides_the_means_is_told() -> None:
    """By hand: 64 of 64 frequencies of images of norm 4, times 1.005 for counts, over 30 images of each class."""
    private = data.load(TINY.data).train
    config = replace(TINY, budget=Budget(epsilon=0.5))
    planned = plan(config, len(private), 10)
    assert drowned(config.central, private, config.budget) == []
    (said,) = drowned_means(planned, private)
    noise = planned.noise(MEANS) * 4 * math.sqrt(1.01) / 30
    assert f"each is of about 30 images, and the noise in a pixel is {100 * noise:.0f} %" in said
    assert drowned_means(plan(TINY, len(private), 10), private) == []
    assert drowned_means(plan(PRESETS["quick"], len(private), 10), private) == []


@pytest.mark.slow
def test_images_of_one_class_have_one_gaussian(tmp_path: Path) -> None:
    config = replace(TINY, data=replace(TINY.data, labels=False))
    report = run(config, tmp_path / "run")
    assert [row["stage"] for row in report.privacy["ledger"]] == [MEANS, SPREAD, "finetune"]
    assert len(load_saved(tmp_path / "run/internal/stages/means.pt")) == 1


def test_both_questions_are_asked_in_one_place() -> None:
    """Whose sensitivity is tested in tests/privacy/test_moments.py: no method asks them otherwise."""
    places = [path for path in Path(asking.__file__).parent.rglob("*.py") if "moments.class_sums(" in path.read_text()]
    assert places == [Path(asking.__file__)]
