"""PIGAN and its rivals in one process, on a little of the real digits."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from what_is_said import honest, spoken_by
from what_leaves import NO_PROMISE, PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.attacks import gan_attacks
from raysyn.attacks.gan_attacks import MonteCarloConfig
from raysyn.audits import own_network
from raysyn.data.images import DataConfig, Images
from raysyn.data.sources import NAMES
from raysyn.methods.class_shares import of_counts, turns
from raysyn.methods.declared import ClassesConfig
from raysyn.methods.machines import On
from raysyn.methods.pigan import experiments, figures, variants
from raysyn.methods.pigan import pipeline as pigan
from raysyn.methods.pigan.config import JUDGED_BY, Config, ExperimentConfig
from raysyn.methods.pigan.measures import parameters
from raysyn.methods.pigan.presets import PRESETS
from raysyn.metrics import inception
from raysyn.metrics.utility import EvalConfig
from raysyn.models.dcgan import DCGANConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.mechanisms import Learned
from raysyn.privacy.trial import Choice, SGDSpeed
from raysyn.report import figures as report_figures
from raysyn.report.release import read_images
from raysyn.runs.storage import load_saved
from raysyn.screen.flags import assigned
from raysyn.train.conditional_gans import AdversarialConfig, PenaltyConfig

TINY = Config(
    data=DataConfig(limit=400),
    network=DCGANConfig(width=0.125, latent=8),
    gan=AdversarialConfig(epochs=2, batch_size=32, learning_rate=2e-3),
    penalty=PenaltyConfig(pretrain_epochs=1, delay_epochs=1, privgan_delay_epochs=1),
    budget=Budget(epsilon=20.0, delta=1e-4, accountant="rdp"),
    synthetic=60,
    monte_carlo=MonteCarloConfig(fakes=200, suspects=20, components=10, repeats=5),
    eval=EvalConfig(classifiers=("logreg",), epochs=1, floor=False, feature_epochs=1, precision_recall_images=50),
)
DPGAN = replace(
    TINY, model="dpgan", eval=replace(TINY.eval, classifiers=("logreg", "mlp")), tuned_on="digits",
    chosen_among="3 runs by hand",
)  # fmt: skip
EVERYTHING = ExperimentConfig(
    lambdas=(0.0, 10.0), parts=(2, 3), compare=True, privgan_lambdas=(1.0,), epsilons=(20.0,), fewer_epochs=1,
    fewer_images=0.75, splits=2,
)  # fmt: skip


def run(config: Config, out: Path, text: io.StringIO | None = None) -> Any:
    """What judges a run is no part of its identity."""
    about = replace(config, **{name: getattr(Config(), name) for name in JUDGED_BY})
    machines = On(sgd=SGDSpeed(engine="bookkeeping", micro_batch=16, channels_last=True))
    return whole_run(pigan, config, out, machines, about=about, text=text)


LOOKS_AT_CHARTS = True  # those of `finished`


@pytest.fixture(autouse=True, scope="module")
def few_simulations() -> Iterator[None]:
    """Of what the Monte Carlo attack reaches by chance; the attacks' own tests make all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan_attacks, "SIMULATIONS", 50)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, str]:
    out, text = tmp_path_factory.mktemp("pigan") / "run", io.StringIO()
    return run(replace(TINY, experiment=EVERYTHING), out, text), out, text.getvalue()


def test_a_whole_run_leaves_release_and_report(finished: tuple[Any, Path, str]) -> None:
    _, out, text = finished
    assert "NO differential privacy guarantee" in (out / "release" / "certificate.json").read_text().splitlines()[0]
    content = json.loads((out / "internal" / "report.json").read_text())
    assert content["privacy"]["guarantee"] == "none" and content["method"] == "pigan"
    assert content["dataset"]["n_train"] == 70 and content["dataset"]["n_test"] == 629
    assert set(content["attacks"]) == {"white_box", "total_variation", "monte_carlo", "found", "distances"}
    white, near = content["attacks"]["found"]
    assert white["attack"] == "White-box" and white["epsilon"] is None and near["attack"] == "Nearest released image"
    assert content["attacks"]["white_box"]["chance"]["value"] == pytest.approx(70 / 699)
    assert content["metrics"]["fidelity"]["intra_frechet_distance_cnn_features"] > 0
    told = content["metrics"]["experiments"]
    assert [one["title"] for one in told["lambdas"]] == ["GAN", "PIGAN, λ 0", "PIGAN, λ 10"]
    assert [one["title"] for one in told["parts"]] == ["PIGAN, λ 1", "PIGAN, λ 1, N 3"]
    assert [one["title"] for one in told["compare"]] == [
        "GAN", "PIGAN, λ 0", "PIGAN, λ 10", "PIGAN, λ 1", "PrivGAN, λ 1", "DPGAN, ε 20"
    ]  # fmt: skip
    assert [one["title"] for one in told["fewer_epochs"]] == [
        "PIGAN, λ 0, 1 epochs", "PIGAN, λ 10, 1 epochs", "PrivGAN, λ 1"
    ]  # fmt: skip
    assert told["fewer_images"][1]["title"] == "PIGAN, λ 10, 75 % of the members"
    for group in told.values():
        for one in group:
            assert one["splits"] == 2 and one["white-box"]["std"] is not None
            # The same for all, also those with fewer members.
            assert one["chance"]["white-box"]["value"] == pytest.approx(10, abs=0.1)
            assert 0 <= one["white-box"]["mean"] <= 100 and one["accuracy, %"]["mean"] is not None
    assert pq.read_table(out / "release" / "synthetic.parquet").num_rows == 60
    html = (out / "internal" / "report.html").read_text()
    for words in ("table 1", "table 2", "table 3 a", "table 3 b", "By chance", "Not measured: inception score"):
        assert words in html, words
    for figure in (
        "figure 1",
        "figure 2",
        "figure 3",
        "figure 4",
        "figure 5",
        "figure 6",
        "figure 7",
        "figures 8 and 9",
    ):
        assert html.count(f"({figure} of the paper)</h2>") == 1, figure
    assert "Images of PIGAN, λ 1, N 3" in html and "Images of PIGAN, λ 0<" not in html, "each GAN's images once"
    assert "nearest to that of PIGAN, λ 1." in html
    for stage in ("generator", "synthesise", "experiments", "utility"):
        assert f" {stage} " in text, stage


def test_tables_are_means_and_spreads_of_units(finished: tuple[Any, Path, str]) -> None:
    _, out, _ = finished
    told = json.loads((out / "internal" / "report.json").read_text())["metrics"]["experiments"]["lambdas"][0]
    config = replace(TINY, experiment=EVERYTHING)
    plain = variants.asked(config)["lambdas"][0]
    keys = [experiments.judging_key(config, (plain, index)) for index in range(2)]
    units = [load_saved(out / "internal" / "units" / "attacks" / f"{key}.pt") for key in keys]
    found = [100 * unit["white_box"]["accuracy"] for unit in units]
    assert told["white-box"] == {"mean": pytest.approx(np.mean(found)), "std": pytest.approx(np.std(found, ddof=1))}
    found = [unit["monte_carlo"]["set"]["accuracy"] for unit in units]
    assert told["MC-set"]["mean"] == pytest.approx(100 * np.mean(found))


def pictures(html: str) -> dict[str, str]:
    """The charts of a report as SVG text, by the title of their section."""
    found = re.findall(r"<h2>([^<]*)</h2>(?:(?!</section>).)*svg[+]xml;base64,([^\"]*)", html, re.DOTALL)
    return {title: base64.b64decode(picture).decode() for title, picture in found}


def test_points_of_the_trade_offs_are_named(finished: tuple[Any, Path, str]) -> None:
    """Every GAN of the comparison by its λ or ε, on every panel; the GAN has neither."""
    _, out, _ = finished
    drawn = pictures((out / "internal" / "report.html").read_text())
    for figure, panels in (("figure 2", 4), ("figure 7", 3)):  # no inception score without weights
        (picture,) = (svg for title, svg in drawn.items() if f"({figure} of" in title)
        names = re.findall(r">([λε] [\d.]+)</text>", picture)
        assert sorted(names) == sorted(panels * ["λ 0", "λ 10", "λ 1", "λ 1", "ε 20"]), figure


def test_figure_4_shows_both_parts_from_one_noise(finished: tuple[Any, Path, str]) -> None:
    _, out, _ = finished
    config = replace(TINY, experiment=EVERYTHING)
    for variant in variants.asked(config)["compare"]:
        unit = load_saved(out / f"internal/units/attacks/{experiments.judging_key(config, (variant, 0))}.pt")
        if variant.model != "pigan":
            assert unit["by_code"] is None
            continue
        first, second = unit["by_code"].float()
        assert unit["by_code"].shape == (2, 80, 8, 8, 1)
        # The same noise and class, another code: like one another, not the same.
        assert 0 < (first - second).abs().mean() < (first - first.flip(0)).abs().mean()
        lines = [figures._histograms(unit, code)["members"].y for code in range(2)]
        assert np.allclose(np.array(lines) / 100, unit["total_variation"]["histograms"]["members"])
    (picture,) = (
        svg for title, svg in pictures((out / "internal/report.html").read_text()).items() if "figure 4" in title
    )
    assert ">c = 1<" in picture and ">c = 2<" in picture and picture.count("<image ") == 2


def test_chance_of_an_experiment_is_that_of_its_mean(finished: tuple[Any, Path, str]) -> None:
    """Narrower than that of each split, by about the root of two; and its draws are for nobody to read."""
    _, out, _ = finished
    content = json.loads((out / "internal" / "report.json").read_text())
    alone = content["attacks"]["white_box"]["chance"]
    assert set(alone) == {"value", "low", "high"}
    mean = content["metrics"]["experiments"]["parts"][0]["chance"]["white-box"]
    assert (mean["high"] - mean["low"]) / 100 == pytest.approx((alone["high"] - alone["low"]) / 2**0.5, rel=0.15)
    html = (out / "internal" / "report.html").read_text()
    assert "where chance puts the mean over 2 splits 95 times of 100" in html and "draws" not in html


@pytest.mark.parametrize(("layout", "size", "channels", "counted"), [
    ("fashion_mnist", 28, 1, {"GAN": "2.24", "PIGAN": "2.98", "PrivGAN": "5.11"}),
    ("cifar10", 32, 3, {"GAN": "1.93", "PIGAN": "2.59", "PrivGAN": "4.39"}),
])  # fmt: skip
def test_gans_are_as_large_as_the_papers(layout: Any, size: int, channels: int, counted: dict[str, str]) -> None:
    """Section 5.2.5; on Fashion-MNIST, the paper counts running statistics among the parameters."""
    images = Images(np.zeros((1, size, size, channels), np.uint8), np.zeros(1, np.int64), tuple("0123456789"))
    config = replace(TINY, network=DCGANConfig(layout=layout), penalty=PenaltyConfig())
    found = parameters(config, images)
    assert {name: f"{one['with_statistics'] / 1e6:.2f}" for name, one in found.items()} == counted
    assert all(one["trainable"] <= one["with_statistics"] for one in found.values())


def test_weights_that_cannot_be_had_are_told_and_cost_no_training_once_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paper presets' default: the run ends with null and the reason; where there are weights, it is judged anew."""
    config = replace(TINY, eval=replace(TINY.eval, inception_weights=inception.TRY, classifiers=()))

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    text = io.StringIO()
    report = run(config, tmp_path / "run", text)
    fid = report.metrics["fidelity"]["fid"]
    assert fid["value"] is None and "no route to host" in fid["reason"]
    assert report.config["eval"]["inception_weights"] == "try-download"
    assert "FID and inception score are left out" in text.getvalue().partition("generator")[0], "before any work"
    trained = (tmp_path / "run/internal/stages/generator.pt").stat().st_mtime_ns

    def outputs(network: Any, images: Any) -> Any:
        pixels = torch.from_numpy(images.images_NHWC[:, ::4, ::4, 0].reshape(len(images), -1).copy()).float()
        return pixels, torch.full((len(images), 4), 0.25)

    monkeypatch.setattr(pigan, "inception_weights", lambda config: ({"any": torch.zeros(1)}, ""))
    monkeypatch.setattr(inception, "extractor", lambda weights, device: None)
    monkeypatch.setattr(inception, "outputs", outputs)
    text = io.StringIO()
    report = run(config, tmp_path / "run", text)
    assert report.metrics["fidelity"]["fid"]["value"] > 0 and "left out" not in text.getvalue()
    assert report.metrics["fidelity"]["inception_score_ten_splits"]["value"] == pytest.approx(1)
    assert (tmp_path / "run/internal/stages/generator.pt").stat().st_mtime_ns == trained


@pytest.mark.slow
def test_experiments_share_units_and_more_of_them_do_only_what_is_missing(
    finished: tuple[Any, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = finished
    # Charts, which the tests above look at, are a quarter of a run's time.
    monkeypatch.setattr(report_figures, "uri", lambda figure: "data:,")

    def units(kind: str) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (out / "internal" / "units" / kind).iterdir()}

    gans, judged = units("gans"), units("attacks")
    released = (out / "release" / "synthetic.parquet").read_bytes()
    # GAN, lambda 0, 10 and 1, 3 parts, PrivGAN, DPGAN, two of fewer epochs and of fewer images: twice; of the released
    # one, which is among them, the weights of split 0 are known.
    assert len(judged) == 2 * 11 and len(gans) == len(judged) - 1
    more = replace(EVERYTHING, lambdas=(0.0, 5.0, 10.0), compare=False, fewer_epochs=None, fewer_images=None)
    run(replace(TINY, experiment=more), out)
    assert len(units("gans")) == len(gans) + 2 and gans.items() <= units("gans").items()
    assert len(units("attacks")) == len(judged) + 2 and judged.items() <= units("attacks").items()
    # Nothing of them is released.
    assert (out / "release" / "synthetic.parquet").read_bytes() == released
    run(TINY, tmp_path / "alone")
    assert (tmp_path / "alone" / "release" / "synthetic.parquet").read_bytes() == released
    # Judged in another way, nothing is trained again.
    run(replace(TINY, experiment=more, monte_carlo=replace(TINY.monte_carlo, repeats=4)), out)
    assert len(units("gans")) == len(gans) + 2 and len(units("attacks")) > len(judged) + 2


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("dpgan") / "run"
    return run(DPGAN, out), out


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(
    finished: tuple[Any, Path, str], private: tuple[Any, Path]
) -> None:
    dataset = pigan.prepare(TINY).dataset
    own, theirs = Left(finished[1], replace(TINY, experiment=EVERYTHING), dataset), Left(private[1], DPGAN, dataset)
    pinned(own, NO_PROMISE)
    pinned(theirs, PROMISE)
    assert honest(own) | honest(theirs) >= spoken_by(pigan)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    private: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_paid_answers(run, pigan, DPGAN, private[1], tmp_path / "run", monkeypatch)


def test_all_that_was_paid_for_can_be_attacked(private: tuple[Any, Path]) -> None:
    attacked(pigan.METHOD, DPGAN, private[1])


def test_more_images_are_drawn_from_generators_alone(
    finished: tuple[Any, Path, str], private: tuple[Any, Path]
) -> None:
    for config, out in ((TINY, finished[1]), (DPGAN, private[1])):
        tensors = drawn_again(pigan.METHOD, config, out)
        assert tensors and all(name.startswith("generator/generators.") for name in tensors)
        # What is judged is what is released.
        weights, names = load_saved(out / "internal/stages/generator.pt"), pigan.prepare(config).dataset.train
        networks = experiments.loaded(config.network, variants.released(config), names, weights, torch.device("cpu"))
        released = read_images((out / "release/synthetic.parquet").read_bytes())
        judged = experiments.as_images(networks, turns(60, 10), names.class_names, config.seed)
        np.testing.assert_array_equal(judged.images_NHWC, released.images_NHWC)


def test_noisy_counts_leave_dpgan_their_share_and_what_is_judged_is_what_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(DPGAN, classes=ClassesConfig(noisy_counts=20.0), eval=replace(DPGAN.eval, classifiers=("logreg",)))
    judged, make = list[Images](), experiments.as_images
    monkeypatch.setattr(experiments, "as_images", lambda *told: judged.append(make(*told)) or judged[-1])
    report = run(config, tmp_path / "run", text := io.StringIO())
    spent = [(row["stage"], row["noise_multiplier"]) for row in report.privacy["ledger"]]
    assert [stage for stage, _ in spent] == ["generator", "counts"] and report.privacy["epsilon"] <= 20
    # They leave the generator less.
    assert spent[1][1] == 20.0 and spent[0][1] > pigan.plan(DPGAN, 70).noise("generator")
    counts = load_saved(tmp_path / "run/internal/stages/counts.pt").numpy()
    released = read_images((tmp_path / "run/release/synthetic.parquet").read_bytes())
    np.testing.assert_array_equal(released.labels_N, turns(60, 10, of_counts(counts)))
    assert not np.array_equal(released.labels_N, turns(60, 10))
    assert len(judged) == 1 and (judged[0].images_NHWC == released.images_NHWC).all()
    np.testing.assert_array_equal(judged[0].labels_N, released.labels_N)
    assert " counts " in text.getvalue()
    assert "counts" in drawn_again(pigan.METHOD, config, tmp_path / "run")
    assert len(attacked(pigan.METHOD, config, tmp_path / "run")) == 2
    made_of_paid_answers(run, pigan, config, tmp_path / "run", tmp_path / "again", monkeypatch)


def test_dpgan_pays_for_its_discriminator_and_promises_what_was_paid(private: tuple[Any, Path]) -> None:
    report, out = private
    assert report.privacy["guarantee"] == "dp" and report.privacy["epsilon"] <= 20
    (entry,) = report.privacy["ledger"]
    assert entry["mechanism"] == "DP-SGD" and entry["stage"] == "generator" and entry["noise_multiplier"] > 0
    assert entry["sampling_rate"] == pytest.approx(32 / 70) and entry["steps"] == 4  # twice all 70 members
    promise = json.loads((out / "release" / "certificate.json").read_text())
    assert promise["epsilon"] == report.privacy["epsilon"]


@pytest.mark.parametrize("kept", [True, False])
def test_an_audit_plays_dpgan_as_its_gradients_were_computed(kept: bool, private: tuple[Any, Path]) -> None:
    """Runs did not always keep it."""
    weights, like = load_saved(private[1] / "internal/stages/generator.pt"), pigan.prepare(DPGAN).dataset.train
    assert set(weights["engine"]) == {"engine", "micro_batch", "channels_last", "precision"}
    known = weights if kept else {name: one for name, one in weights.items() if name != "engine"}
    assert pigan.METHOD.mechanisms is not None
    learned = pigan.METHOD.mechanisms(DPGAN, like, lambda stage: known)["generator"]
    assert isinstance(learned, Learned) and learned.choice == (Choice(**weights["engine"]) if kept else None)
    assert own_network.moved("generator", learned, like).verdict == "holds"


@pytest.mark.parametrize("model", ["gan", "privgan"])
def test_the_rivals_promise_nothing(model: Any, tmp_path: Path) -> None:
    report = run(replace(TINY, model=model), tmp_path / "run")
    assert report.privacy["guarantee"] == "none" and report.privacy["ledger"] == []
    left = Left(tmp_path / "run", replace(TINY, model=model), pigan.prepare(TINY).dataset)
    pinned(left, NO_PROMISE)
    honest(left)


def test_splits_are_random_disjoint_and_whole() -> None:
    dataset = pigan.prepare(TINY).dataset
    seen = []
    for index in range(3):
        members, others = variants.split(TINY, dataset, index)
        assert (len(members), len(others)) == (70, 629)
        both = np.concatenate((members.images_NHWC, others.images_NHWC)).reshape(699, -1)
        seen.append((members.fingerprint(), np.sort(both, axis=0).tobytes()))
    assert len({members for members, _ in seen}) == 3 and len({both for _, both in seen}) == 1
    other = pigan.prepare(replace(TINY, seed=TINY.seed + 1)).dataset
    assert other.fingerprint() != dataset.fingerprint() and other.source_fingerprint == dataset.source_fingerprint
    own = replace(TINY, member_share=None)
    dataset = pigan.prepare(own).dataset
    assert (len(dataset.train), len(dataset.test)) == (400, 299)
    assert variants.split(own, dataset, 0) == (dataset.train, dataset.test)


def test_fewer_images_are_a_part_of_the_members() -> None:
    dataset = pigan.prepare(TINY).dataset
    own = variants.share_of(dataset.train, 0.75, 5)
    assert len(own) == 52
    members = {image.tobytes() for image in dataset.train.images_NHWC}
    assert all(image.tobytes() in members for image in own.images_NHWC)


@pytest.mark.parametrize("share", [1.0, 0.75])
@pytest.mark.parametrize("persons", [False, True])
@pytest.mark.parametrize("model", ["gan", "dpgan"])
def test_attacks_take_those_for_members_that_were_learned_from(
    model: Any, persons: bool, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Canaries that a coin left out are none, of whatever share."""
    found = pigan.prepare(TINY).dataset
    train = replace(found.train, persons_N=np.arange(70) // 2 if persons else None)
    train = replace(train, absent_U=np.arange(train.units) % 3 == 0)
    shared = {"config": TINY, "dataset": replace(found, train=train), "secret": bytes(32), "speed": SGDSpeed()}
    one = variants.released(TINY)
    unit = replace(one, model=model, share=share, gan=replace(one.gan, batch_size=8)), 0
    seen = list[Images]()

    def caught(_: Any, *args: Any, **more: Any) -> Any:
        seen.append(next(one for one in args if isinstance(one, Images)))
        raise InterruptedError

    monkeypatch.setattr(experiments.sgd if model == "dpgan" else experiments.gans, "fit", caught)
    monkeypatch.setattr(experiments.paired_networks, "discriminator_logits", caught)
    monkeypatch.setattr(experiments, "loaded", lambda *_: None)
    for work, given in ((experiments.train_unit, unit), (experiments.judge_unit, (unit, {}))):
        with pytest.raises(InterruptedError):
            work(given, shared)  # type: ignore[operator]
    learned, members = experiments.present(seen[0]), seen[1]
    assert members.absent_U is not None and not members.absent_U.any() and 0 < len(members) < share * 70
    np.testing.assert_array_equal(learned.images_NHWC, members.images_NHWC)


def test_no_two_private_trainings_share_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = pigan.prepare(TINY).dataset
    stages = []

    def caught(*args: Any, **more: Any) -> Any:
        stages.append(args[8])
        raise InterruptedError

    monkeypatch.setattr(experiments.sgd, "fit", caught)
    shared = {"config": TINY, "dataset": dataset, "loaded": dataset, "secret": bytes(32), "speed": SGDSpeed()}
    one = replace(variants.released(TINY), model="dpgan")
    for variant in (one, replace(one, budget=replace(one.budget, epsilon=3.0)), replace(one, max_grad_norm=2.0)):
        for index in range(2):
            with pytest.raises(InterruptedError):
                experiments.train_unit((variant, index), shared)
    assert len(set(stages)) == 6 and "generator" not in stages


def test_all_gans_of_an_experiment_have_titles_and_keys_of_their_own() -> None:
    for name, preset in PRESETS.items():
        every = {one.key(): one for group in variants.asked(preset).values() for one in group}
        assert len({one.title for one in every.values()}) == len(every), name
        assert len({experiments.training_key((one, 0)) for one in every.values()}) == len(every), name
    swept = replace(TINY, experiment=replace(EVERYTHING, epsilons=(1.0, 10.0), clips=(0.5, 2.0)))
    private = [one for one in variants.asked(swept)["compare"] if one.model == "dpgan"]
    assert [one.title for one in private] == [
        f"DPGAN, ε {epsilon}, clip {clip}" for epsilon in (1, 10) for clip in (0.5, 2)
    ]  # fmt: skip
    assert [one.sgd().max_grad_norm for one in private] == [0.5, 2.0] * 2
    assert len({experiments.training_key((one, 0)) for one in private}) == 4
    released = variants.released(replace(TINY, model="privgan", experiment=EVERYTHING))
    assert released.key() in {one.key() for one in variants.asked(replace(TINY, experiment=EVERYTHING))["compare"]}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"member_share": 1.0}, "member_share is 1.0"),
        ({"synthetic": 5}, "synthetic is 5"),
        ({"seed": -1}, "seed is -1"),
        ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0"),
        ({"member_share": None, "experiment": ExperimentConfig(splits=2)}, "experiment.splits is 2"),
        ({"experiment": ExperimentConfig(fewer_epochs=2)}, "experiment.fewer_epochs is 2"),
        ({"penalty": PenaltyConfig(parts=80)}, "penalty.parts is 80"),
        ({"experiment": ExperimentConfig(parts=(80,))}, "experiment.parts is 80"),
        ({"penalty": PenaltyConfig(delay_epochs=2)}, "penalty.delay_epochs is 2, but PIGAN, λ 1 trains for 2 epochs"),
        ({"model": "dpgan", "gan": AdversarialConfig(epochs=2)}, "gan.batch_size is 128, but there are 70 members"),
        ({"monte_carlo": MonteCarloConfig(suspects=90)}, "monte_carlo.suspects is 90"),
        (
            {"network": DCGANConfig(layout="cifar10"), "data": DataConfig(limit=400, size=28)},
            "cannot be halved 3 times",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pigan.prepare(replace(TINY, **wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"lambdas": (-1.0,)},
        {"parts": (1,)},
        {"epsilons": (0.0,)},
        {"clips": (0.0,)},
        {"splits": 0},
        {"fewer_images": 1.0},
    ],
)
def test_a_wrong_experiment_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"experiment\.{next(iter(wrong))} is"):
        ExperimentConfig(**wrong)


def test_presets_are_the_papers() -> None:
    assert set(PRESETS) == {"quick", "cpu-mnist", "cpu-fashion_mnist", "paper-fashion_mnist", "paper-cifar10"}
    fashion, cifar = PRESETS["paper-fashion_mnist"], PRESETS["paper-cifar10"]
    for preset in (fashion, cifar):
        assert preset.data.name in NAMES and preset.member_share == 0.1 and preset.experiment.splits == 10
        assert (preset.gan.batch_size, preset.gan.learning_rate, preset.gan.beta1) == (128, 2e-4, 0.5)
        assert preset.penalty.privgan_delay_epochs == 100 and preset.experiment.fewer_epochs == 100
        assert preset.penalty.pretrain_epochs == 50 and preset.budget.delta == 1e-4
        assert preset.monte_carlo == MonteCarloConfig() and preset.network.width == 1
        assert (preset.eval.epochs, preset.eval.learning_rate, preset.eval.beta1) == (50, 2e-4, 0.5)
    assert (fashion.gan.epochs, fashion.penalty.delay_epochs, fashion.synthetic) == (300, 200, 10_000)
    assert (cifar.gan.epochs, cifar.penalty.delay_epochs, cifar.synthetic) == (500, 400, 20_000)
    # Table 1's weights; table 2 is of Fashion-MNIST at a weight of 1, table 1 of CIFAR-10 at 30.
    assert (fashion.experiment.equal_lambda, cifar.experiment.equal_lambda) == (5, 30)
    assert (fashion.penalty.weight, fashion.experiment.parts) == (1, (2, 3, 4, 5, 6))
    assert (cifar.penalty.weight, cifar.experiment.parts) == (30, ())
    assert (fashion.gan.label_smoothing, cifar.gan.label_smoothing) == (0.0, 0.1)
    assert {name: preset.eval.inception_weights for name, preset in PRESETS.items()} == {
        "quick": None, "cpu-fashion_mnist": None, "cpu-mnist": None,
        "paper-fashion_mnist": inception.TRY, "paper-cifar10": inception.TRY,
    }  # fmt: skip


def test_who_asks_for_an_epsilon_does_not_get_a_gan_without() -> None:
    quick, compared = PRESETS["quick"], replace(PRESETS["quick"].experiment, compare=True)
    for words in (["--budget.epsilon", "1"], ["--max-grad-norm", "0.1"], ["--budget.delta", "1e-6"]):
        with pytest.raises(
            ValueError, match=r"^--\S+ belongs to --model dpgan, and a pigan has no differential privacy"
        ):
            assigned(quick, words, "raysyn pigan")
        assigned(replace(quick, model="dpgan"), words, "raysyn pigan")
    assigned(replace(quick, experiment=compared), ["--max-grad-norm", "0.1"], "raysyn pigan")


def test_further_splits_are_of_the_images_as_they_are() -> None:
    """Canaries, and who of them is absent, are the released GAN's, of the first split."""
    dataset = pigan.prepare(TINY).dataset
    given = replace(dataset, train=replace(dataset.train, images_NHWC=np.zeros_like(dataset.train.images_NHWC[:])))
    shared = {"config": TINY, "dataset": given, "loaded": dataset}
    assert not experiments.split_of(shared, 0)[0].images_NHWC.any()
    members, others = experiments.split_of(shared, 1)
    assert (
        members.images_NHWC.reshape(len(members), -1).any(1).all()
        and others.images_NHWC.reshape(len(others), -1).any(1).all()
    )
