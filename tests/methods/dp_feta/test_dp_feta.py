"""The whole pipeline on real digits: its plan, its release, its promise, and that stopping it changes nothing."""

import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from what_is_said import honest, spoken_by
from what_leaves import PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, whole_run

from raysyn.compute.doorway import Compute, digest
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.methods import ends, experiment_units, synthesis
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.methods.dp_feta.config import Config, ExperimentConfig, new_denoiser, plan
from raysyn.methods.dp_feta.model import Diffusion
from raysyn.methods.dp_feta.pipeline import prepare
from raysyn.methods.dp_feta.presets import PRESETS
from raysyn.methods.machines import On
from raysyn.methods.sweep import UNCHARGED
from raysyn.metrics.utility import EvalConfig
from raysyn.models.unet import UNetConfig
from raysyn.models.warm_start import OF_ALL_CLASSES
from raysyn.privacy import sgd, sgd_config
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Ledger
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import load_saved
from raysyn.screen.console import Console
from raysyn.train.augment import AugmentConfig
from raysyn.train.diffusion import NoiseConfig
from raysyn.train.loop import LoopConfig
from raysyn.train.samplers import SamplerConfig

TINY = Config(
    data=data.DataConfig(limit=300),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    network=UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(), patch=2, positions=True),
    central=CentralConfig(count=20, downscale=1),
    warmup=LoopConfig(iterations=6, batch_size=16),
    finetune=SGDConfig(batch_size=30, epochs=1.2, noise_multiplicity=2),
    sampler=SamplerConfig(steps=3),
    synthetic=60,
    tuned_on="digits",
    chosen_among="3 runs by hand",
    eval=EvalConfig(classifiers=("logreg",), epochs=1, feature_epochs=1, precision_recall_images=50, distances=40),
)
SPEED = On(sgd=SGDSpeed(engine="bookkeeping", micro_batch=32, channels_last=True))


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    """Several chunks of synthesis, and steps between checkpoints, so that continuing has both to repeat and to skip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        patch.setattr(sgd_config, "MARKS", 3)
        yield


@contextmanager
def nothing_is_changed() -> Iterator[None]:
    """Fails where an operation would change an image before a step of a warm-up."""

    def unchanged(self: AugmentConfig, images_BHWC: Tensor, seeds: Sequence[int]) -> Tensor:
        assert not self.operations
        return images_BHWC

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AugmentConfig, "__call__", unchanged)
        yield


def run(config: Config, out: Path, compute: type[Compute] = Local) -> Any:
    return whole_run(dp_feta, config, out, SPEED, about=config, compute=compute)


def unjudged(out: Path, compute: type[Compute] = Local) -> Any:
    """The same run as TINY's, whose release nobody measures: that is a third of its time."""
    config = replace(TINY, eval=replace(TINY.eval, classifiers=(), feature_epochs=0))
    return whole_run(dp_feta, config, out, SPEED, about=TINY, compute=compute)


@pytest.mark.parametrize(
    ("count", "noise_multiplier"), [(0, 12.8), (50, 13.2), (500, 16.1), (750, 19.1), (1000, 24.4), (1250, 40.0)]
)
def test_plan_gives_table_v_of_the_paper(count: int, noise_multiplier: float) -> None:
    preset = PRESETS["paper-mnist-eps1"]
    config = replace(preset, central=replace(preset.central, count=count))
    planned = plan(config, 60_000, 10)
    assert planned.stages["finetune"].noise_multiplier == pytest.approx(noise_multiplier, rel=0.04)
    assert ("central" in planned.stages) == (count > 0)


def test_prv_leaves_more_budget_than_rdp() -> None:
    preset = PRESETS["paper-mnist-eps1"]
    planned = plan(replace(preset, budget=replace(preset.budget, accountant="prv")), 60_000, 10)
    assert planned.stages["finetune"].noise_multiplier == pytest.approx(12.2, rel=0.04)


@pytest.mark.parametrize("name", PRESETS)
def test_trap_14_a_preset_is_what_its_name_says(name: str) -> None:
    config = PRESETS[name]
    name = name.replace("-pro", "")
    n = {"celeba": 182_637, "camelyon": 302_436, "quick": 1_498, "cifar10": 50_000}.get(
        name.split("-")[1] if "-" in name else name, 60_000
    )
    spent = plan(config, n, 2 if n > 60_000 else 10).epsilon()
    assert 0.99 * config.budget.epsilon <= spent <= config.budget.epsilon * (1 + 1e-6)
    source, _, epsilon = name.removeprefix("paper-").removeprefix("cpu-").partition("-eps")
    if epsilon:
        assert config.budget.epsilon == float(epsilon) and config.budget.accountant == "rdp"
    assert config.data.name == {"quick": "digits", "celeba": None, "camelyon": None}.get(source, source)


def test_a_paper_preset_without_its_images_says_what_to_give() -> None:
    with pytest.raises(ValueError, match=r"data\.path"):
        dp_feta.prepare(PRESETS["paper-celeba-eps1"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(TINY, out / "run")
    return out / "run"


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(dp_feta.METHOD, TINY, whole)


def test_report_and_certificate_keep_the_contract(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    assert [row["stage"] for row in report["privacy"]["ledger"]] == ["central", "finetune"]
    assert 0 < report["privacy"]["epsilon"] <= 8.0
    assert certificate["epsilon"] == report["privacy"]["epsilon"]
    assert {"accuracy", "accuracy_real_data"} <= set(report["metrics"]["utility"]["logreg"])
    assert not {"metrics", "utility", "fidelity", "attacks", "timings"} & set(certificate)
    stages = {"central", "warmup", "finetune", "synthesise", "floor", "utility", "fidelity", "distances"}
    assert set(report["timings"]) >= stages


def test_the_floor_stands_beside_it(whole: Path) -> None:
    """One epoch on so few images teaches nothing, but the report has all of it."""
    metrics = json.loads((whole / "internal/report.json").read_text())["metrics"]
    assert 0 < metrics["utility"]["logreg"]["accuracy_floor"] == metrics["utility_mean"]["accuracy_floor"] < 1
    assert metrics["utility_images"] == {"synthetic": 60, "real": 300, "floor": 60}
    assert "the floor, noisy class means of the same budget" in (whole / "internal/report.html").read_text()
    assert "floor" not in (whole / "release/certificate.json").read_text()


def test_release_has_every_class_equally(whole: Path) -> None:
    labels = pq.read_table(whole / "release/synthetic.parquet")["label"].to_numpy()
    assert np.bincount(labels).tolist() == [6] * 10


def test_trap_5_two_runs_of_one_config_differ(whole: Path, tmp_path: Path) -> None:
    unjudged(tmp_path / "again")
    first, second = (folder / "release/synthetic.parquet" for folder in (whole, tmp_path / "again"))
    assert first.read_bytes() != second.read_bytes()


class StopsAt(Local):
    """A machine that dies at one place: in a stage, once `calls` saves or units of it are durable."""

    where: tuple[str, int] = ("", 0)

    def __init__(self, storage: Path) -> None:
        super().__init__(storage, self.watch)

    def watch(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if (stage, done) == self.where:
            raise KeyboardInterrupt


@pytest.mark.parametrize("where", [("warmup", 3), ("finetune", 5), ("finetune", 12), ("synthesise", 2)])
def test_trap_11_and_30_a_stopped_run_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, where: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret of the undisturbed run is given to the stopped one; all noise derives from it."""
    secret = (whole / "internal/secret").read_bytes()
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])
    # Progress is shown at most a few times a second; here every step counts.
    monkeypatch.setattr("time.monotonic", iter(range(10**6)).__next__)
    monkeypatch.setattr(StopsAt, "where", where)
    with pytest.raises(KeyboardInterrupt):
        unjudged(tmp_path / "run", StopsAt)
    unjudged(tmp_path / "run")
    for name in ("release/synthetic.parquet", "release/samples.png"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name
    assert _ledger(tmp_path / "run") == _ledger(whole)
    drawn, again = (load_saved(out / "internal/stages/snapshots-4.pt") for out in (whole, tmp_path / "run"))
    assert drawn["steps"] == again["steps"] == [0, 4, 8, 12]
    for one, other in zip(drawn["images"], again["images"], strict=True):
        assert torch.equal(one, other)


def _ledger(out: Path) -> list[dict]:
    lines = (out / "internal/ledger.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "time"} for line in lines]


def test_trap_10_an_answer_without_its_ledger_entry_is_not_certified(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run/internal/ledger.jsonl").write_text("")
    with pytest.raises(ValueError, match="has no entry for central, finetune"):
        run(TINY, tmp_path / "run")


def test_trap_13_and_21_choices_on_private_results_are_in_report_and_certificate(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    choices = report["privacy"]["uncharged_choices"]
    # Of one classifier none is the best.
    several = ends.uncharged(replace(TINY, eval=replace(TINY.eval, classifiers=("mlp", "logreg"))))
    assert [any("on real test images" in choice for choice in one) for one in (choices, several)] == [False, True]
    assert any("tuned while looking" in choice and "digits" in choice for choice in choices)
    assert certificate["uncharged_choices"] == choices


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(whole: Path) -> None:
    left = Left(whole, TINY, data.load(TINY.data))
    pinned(left, PROMISE)
    assert honest(left) >= spoken_by(ends)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


def test_a_finished_run_is_not_done_again(whole: Path) -> None:
    before = (whole / "internal/ledger.jsonl").read_bytes()
    release = (whole / "release/synthetic.parquet").read_bytes()
    run(TINY, whole)
    assert (whole / "internal/ledger.jsonl").read_bytes() == before
    assert (whole / "release/synthetic.parquet").read_bytes() == release


def test_no_central_images_is_dpdm(tmp_path: Path) -> None:
    config = replace(TINY, central=replace(TINY.central, count=0))
    report = run(config, tmp_path / "run")
    assert [row["stage"] for row in report.privacy["ledger"]] == ["finetune"] and report.method == "dpdm"
    left = Left(tmp_path / "run", config, data.load(config.data))
    pinned(left, PROMISE)
    honest(left)


@pytest.mark.slow
def test_experiments_compare_whole_runs_and_release_none_of_them(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for more later trains only what is missing; a second sampler draws for fidelity alone."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    before = json.loads((out / "internal/report.json").read_text())
    # No stream of noise is used twice, neither by two runs nor by a run and the released one.
    streams, drawn = list[tuple[bytes, str, int]](), Stream.normal

    def noted(self: Stream, step: int, what: str, *size: Any) -> Any:
        streams.append((self.secret, f"{self.stage} {what}", step))
        return drawn(self, step, what, *size)

    monkeypatch.setattr(Stream, "normal", noted)
    drawn_by, generate = list[tuple[int, str]](), synthesis.generate

    def by(denoiser: Any, sampler: SamplerConfig, labels: Any, *rest: Any) -> Any:
        drawn_by.append((len(labels), sampler.name))
        return generate(denoiser, sampler, labels, *rest)

    monkeypatch.setattr(synthesis, "generate", by)
    judgements, judged = list[int](), experiment_units.judged
    monkeypatch.setattr(experiment_units, "judged", lambda *told: judgements.append(1) or judged(*told))
    whole_weights, load = list[bool](), Diffusion.load

    def loading(self: Diffusion, weights: Any) -> None:
        whole_weights.append(set(weights) == set(self.denoiser.state_dict()))
        load(self, weights)

    monkeypatch.setattr(Diffusion, "load", loading)
    asked = ExperimentConfig(kinds=("mode",), stages=True, along=1, along_images=20)
    config = replace(TINY, experiment=asked, sampler_fid=SamplerConfig(name="edm", steps=2, churn=1.0))
    report = whole_run(dp_feta, config, out, SPEED, about=TINY)
    assert len(set(streams)) == len(streams) > 3 * 12
    assert whole_weights == 3 * 2 * [True], "at each point no more is kept than is drawn from"
    points = {path.stem.split("-", 1)[1] for path in out.glob("internal/units/experiments-trained/*.pt")}
    assert points == {digest(1, 20, config.sampler_fid)}, "points drawn in another way are other ones"
    assert len(judgements) == 4, "two further runs and two before fine-tuning; the run itself is not judged again"
    # Points of three runs are drawn as the images of FID: chunks of 20. So are the run's own 60, those of two further
    # ones, and of two models before fine-tuning, of which all but the run's own are also drawn as they are released.
    assert Counter(drawn_by) == {(20, "edm"): 3 * 2 + 5 * 3, (20, "dpmpp"): 4 * 3}
    assert (out / "internal/secret").read_bytes() not in {secret for secret, *_ in streams}, "nothing is asked again"

    (table,) = report.metrics["experiments"].values()
    titles = ["dpdm", "dp_feta, 20 mean images", "dp_feta, 20 mode images"]
    assert [one["title"] for one in table] == titles and [one["method"] for one in table] == ["dpdm"] + 2 * ["dp_feta"]
    dpdm, own, mode = table
    assert dpdm["noise_multiplier"] < own["noise_multiplier"] == pytest.approx(mode["noise_multiplier"])
    assert own["accuracy"]["logreg"] == report.metrics["utility"]["logreg"]["accuracy"], "it is not judged again"
    assert own["frechet_distance_cnn_features"] == report.metrics["fidelity"]["frechet_distance_cnn_features"]
    assert all([point["step"] for point in one["along"]] == [0, 12] for one in table)
    assert "before_fine_tuning" not in dpdm, "it has seen nothing by then"
    assert all(0 < one["before_fine_tuning"]["loss"] < 10 for one in (own, mode))

    # Nothing of it leaves but the sentence that there were some; the second draw stays inside too.
    assert report.privacy["ledger"] == before["privacy"]["ledger"]
    for name in ("release/synthetic.parquet", "release/samples.png"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    certificate = json.loads((out / "release/certificate.json").read_text())
    assert set(certificate["uncharged_choices"]) - set(before["privacy"]["uncharged_choices"]) == {UNCHARGED}
    assert "edm, 2 steps" in report.metrics["fidelity"]["sampler"]
    assert report.metrics["fidelity"] != before["metrics"]["fidelity"]
    html = (out / "internal/report.html").read_text()
    for words in (
        "Kinds of central images",
        "Before fine-tuning",
        "along the fine-tuning",
        "(this run)",
        "nobody pays",
    ):
        assert words in html, words

    more = replace(config, experiment=replace(asked, counts=(40,), epsilons=(4.0,)))
    streams.clear()
    report = whole_run(dp_feta, more, out, SPEED, about=TINY)
    _, _, table = (out / "internal/report.html").read_text().partition("Before fine-tuning")
    assert table.index("20 mean images") < table.index("40 mean images"), "in the order that was asked for"
    # Of half the budget are two further runs, one of them with central images that are there already; one has 40.
    assert sum(what == "finetune noise" for _, what, _ in streams) == 3 * TINY.finetune.cost(300).steps
    assert len({secret for secret, what, _ in streams if what.startswith("central")}) == 1
    assert len(set(streams)) == len(streams)
    tables = report.metrics["experiments"]
    assert {name: len(group) for name, group in tables.items()} == {"counts": 3, "epsilons": 5, "kinds": 3}
    stand = [one["accuracy"] for group in tables.values() for one in group if one["title"].startswith(own["title"])]
    assert stand == 3 * [own["accuracy"]], "the run itself stands in every table"
    same = [one for one in tables["kinds"] if one["title"] == mode["title"]]
    assert same == [mode]


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"counts": (-1,)}, r"experiment\.counts is \(-1,\)"), ({"epsilons": (0.0,)}, r"experiment\.epsilons"),
    ({"along": -1}, r"experiment\.along is -1"),
])  # fmt: skip
def test_experiments_that_cannot_be_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ExperimentConfig(**changes)


@pytest.mark.parametrize("asked", [{"kinds": ("mean", "mode")}, {"augment": (0, 2)}])
def test_dpdm_is_not_compared_with_itself(asked: dict[str, Any]) -> None:
    none = replace(TINY.central, count=0)
    with pytest.raises(ValueError, match=rf"experiment\.{next(iter(asked))} is .*, but central\.count is 0"):
        replace(TINY, central=none, experiment=ExperimentConfig(**asked))
    assert replace(TINY, central=none, experiment=ExperimentConfig(counts=(20,))).experiment.asks()


def test_a_run_to_compare_that_its_budget_cannot_pay_is_named_before_the_work() -> None:
    config = replace(TINY, experiment=ExperimentConfig(epsilons=(0.01,)))
    with pytest.raises(ValueError, match=r"^experiment, dp_feta, 20 mean images, ε 0\.01: "):
        dp_feta.prepare(config)


def test_a_second_sampler_is_about_images_that_are_not_released() -> None:
    sampler = SamplerConfig(steps=2)
    with pytest.raises(ValueError, match=r"sampler_fid\.guidance is 1"):
        replace(TINY, sampler_fid=replace(sampler, guidance=1.0), noise=NoiseConfig(label_dropout=0.0))
    for name in ("mnist", "fashion_mnist"):
        assert PRESETS[f"paper-{name}-eps10"].sampler_fid != PRESETS[f"paper-{name}-eps10"].sampler


def test_colour_and_unconditional_and_an_empty_class(tmp_path: Path) -> None:
    """RGB images of an odd size, one class without images in the subset: everything still answers."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 9, 11, 3), dtype=np.uint8)
    train = data.Images(images, np.arange(40) % 2, ("a", "b", "none of these"))
    test = train.select(np.arange(10))
    central = replace(TINY.central, count=6, kind="mode", downscale=None, conditional=False)
    config = replace(TINY, budget=replace(TINY.budget, delta=1e-3), central=central, synthetic=60)
    planned = plan(config, len(train), train.classes)
    with (
        RunFolder.open(
            tmp_path / "run", method="dp_feta", preset="", config={}, data_fingerprint=train.fingerprint()
        ) as folder,
        Console(io.StringIO()) as console,
    ):
        dataset = data.Dataset("noise", train, test, None)
        parts = (config, dataset, Local(folder.internal), folder, console, SPEED)
        setting = PrivateSetting(*parts, plan=planned, ledger=Ledger(planned, folder.ledger))
        assert dp_feta.run(setting).dataset["classes"] == ("a", "b", "none of these")


@pytest.mark.parametrize(("conditional", "share"), [(True, 1.0), (False, OF_ALL_CLASSES)])
def test_a_warm_up_that_says_nothing_of_classes_is_kept_in_part(
    conditional: bool, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else DP-SGD would hardly tell classes apart (raysyn.models.warm_start)."""
    started = list[dict[str, torch.Tensor]]()

    def caught(*args: Any, **more: Any) -> Any:
        started.append({name: value.clone() for name, value in args[1].state_dict().items()})
        raise InterruptedError

    monkeypatch.setattr(sgd, "train", caught)
    config = replace(TINY, central=replace(TINY.central, conditional=conditional))
    with pytest.raises(InterruptedError):
        run(config, tmp_path / "run")
    fresh = new_denoiser(config, data.load(config.data).train).state_dict()
    taught = load_saved(tmp_path / "run/internal/stages/warmup.pt")["model"]
    for name, value in started[0].items():
        assert torch.allclose(value, fresh[name] + share * (taught[name] - fresh[name]), atol=1e-6), name
        assert share < 1 or torch.equal(value, taught[name])
    assert not all(torch.equal(value, taught[name]) for name, value in fresh.items())


@pytest.mark.parametrize(("changes", "words"), [
    ({"central": replace(TINY.central, count=0)}, r"central\.count is 0"),
    ({"warmup": replace(TINY.warmup, iterations=0)}, r"warmup\.iterations is 0"),
    ({"central": replace(TINY.central, conditional=False)}, "central.conditional is False with 10 classes"),
])  # fmt: skip
def test_few_weights_are_for_a_network_that_has_learned(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        prepare(replace(TINY, finetune=replace(TINY.finetune, layers="embedding"), **changes))
