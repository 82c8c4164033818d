"""`--frequency.*`, DP-FETA-Pro: its price, what it asks, that stopping changes nothing, and what goes not with it."""

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
from opacus.accountants import RDPAccountant
from stopped_runs import released
from test_dp_feta import StopsAt
from what_is_said import honest
from what_leaves import PROMISE, Left, made_of_paid_answers, pinned
from whole_run import attacked, drawn_again, whole_run

from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.data.fourier import FourierConfig
from raysyn.methods import catalogue, ends, synthesis
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.methods.dp_feta.config import Config, ExperimentConfig, embedding_of, name_of, plan
from raysyn.methods.dp_feta.experiments import PARTS, asked
from raysyn.methods.dp_feta.frequency_config import FrequencyConfig
from raysyn.methods.dp_feta.outlook import needs
from raysyn.methods.dp_feta.presets import PRESETS
from raysyn.methods.dp_feta.report import story
from raysyn.methods.embedded import resemblance
from raysyn.methods.misfits import drowned_embedding, noise_of_embedding
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy.cost import Budget, epsilon
from raysyn.privacy.ledger import Ledger
from raysyn.privacy.mechanisms import Embedded
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.embedding import EmbeddingConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.runs.storage import load_saved
from raysyn.screen import cli
from raysyn.train.augment import AugmentConfig
from raysyn.train.embedding import MatchConfig
from raysyn.train.loop import LoopConfig

SECOND = FrequencyConfig(
    noise_multiplier=6.0, features=FourierConfig(count=64), network=UpsamplerConfig(latent=4, hidden=8, channels=4),
    training=MatchConfig(iterations=20, batch_size=20), draws=40, warmup=LoopConfig(iterations=6, batch_size=16),
)  # fmt: skip
TINY = replace(
    test_dp_feta.TINY, frequency=SECOND, warmup=LoopConfig(iterations=2, batch_size=16),
    eval=replace(test_dp_feta.TINY.eval, classifiers=(), feature_epochs=0),
)  # fmt: skip
"""Hardly judged."""
BEFORE = ["central", "embedding", "finetune"]


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        yield


def run(config: Config, out: Path, compute: type[Compute] = Local) -> Any:
    return whole_run(dp_feta, config, out, test_dp_feta.SPEED, about=TINY, compute=compute)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    run(TINY, out)
    return out


@pytest.mark.parametrize("central", [True, False])
def test_the_price_of_all_parts_is_that_of_one_gaussian_answer_where_everybody_takes_part(central: bool) -> None:
    """1 / noise^2 adds up, and of their sum the exact curve gives epsilon."""
    config = replace(
        TINY, budget=Budget(epsilon=3.0, delta=1e-5), finetune=SGDConfig(batch_size=3_000, epochs=7.0),
        central=CentralConfig(count=20 * central, sampling_rate=1.0, noise_multiplier=9.0),
    )  # fmt: skip
    planned = plan(config, 3_000, 10)
    assert list(planned.stages) == BEFORE[not central :]
    inverse = 2 / 81 * central + 1 / 36 + 7 / planned.noise("finetune") ** 2
    assert gaussian_epsilon(math.sqrt(inverse), 1e-5) == pytest.approx(3.0, rel=0.01)
    assert 0.99 * 3 < epsilon(list(planned.stages.values()), 1e-5, "prv") <= 3.0
    assert planned.noise("finetune") > plan(replace(config, frequency=FrequencyConfig()), 3_000, 10).noise("finetune")


def test_the_price_of_samples_is_what_opacus_says() -> None:
    config = replace(TINY, budget=Budget(epsilon=2.0, delta=1e-5, accountant="rdp"))
    planned = plan(config, 3_000, 10)
    accountant = RDPAccountant()
    tuned = planned.stages["finetune"]
    accountant.history = [(5.0, 0.1, 2), (6.0, 1.0, 1), (planned.noise("finetune"), tuned.sampling_rate, tuned.steps)]
    assert accountant.get_epsilon(1e-5) == pytest.approx(2.0, rel=0.01)


def test_a_run_says_what_it_asked_and_what_it_is(whole: Path) -> None:
    report = json.loads((whole / "internal/report.json").read_text())
    certificate = json.loads((whole / "release/certificate.json").read_text())
    assert [row["stage"] for row in certificate["ledger"]] == BEFORE
    assert [row["mechanism"] for row in certificate["ledger"]][:2] == ["noisy class means", "noisy mean embedding"]
    assert certificate["ledger"][1]["noise_multiplier"] == 6.0
    assert report["method"] == certificate["made_by"]["method"] == "dp_feta_pro"
    assert 0.99 * 8 < certificate["epsilon"] <= 8.0
    assert {*BEFORE, "warmup", "generator", "generated", "frequency", "synthesise"} <= set(report["timings"])
    left = Left(whole, TINY, data.load(TINY.data))
    pinned(left, PROMISE)
    honest(left)


def test_its_page_shows_the_images_of_the_generator_beside_central_ones(whole: Path) -> None:
    page = (whole / "internal/report.html").read_text()
    order = [
        "noisy mean images",
        "noisy mean of 64 random features",
        "on 40 images of that generator",
        "steps of DP-SGD",
    ]
    assert sorted(order, key=page.index) == order
    assert page.count('alt="central images of class') == page.count('alt="generated images of class') == 10
    assert "Generated from an embedding" in page
    none, private = replace(TINY, frequency=FrequencyConfig()), data.load(TINY.data).train
    plain = story(none, plan(none, 300, 10), private)
    assert not [sentence for sentence in plain if "random features" in sentence]


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    """By the very waves that were asked with: another seed's would see nothing."""
    attacked(dp_feta.METHOD, TINY, whole)
    private = data.load(TINY.data).train
    assert dp_feta.METHOD.mechanisms is not None and dp_feta.METHOD.knows is not None

    def stored(stage: str) -> Any:
        return load_saved(whole / f"internal/stages/{stage}.pt")

    nobody = private.select([])
    mechanism = dp_feta.METHOD.mechanisms(TINY, nobody, stored)["embedding"]
    assert mechanism == Embedded(EmbeddingConfig(), SECOND.features, 0)
    known = dp_feta.METHOD.knows(TINY, nobody, stored, private)
    assert known is not None
    own = resemblance(embedding_of(TINY), stored("embedding").numpy(), private)
    torch.testing.assert_close(known[:, -1:], own.double())


def test_more_images_can_be_drawn_and_a_release_holds_no_more_than_the_network(whole: Path) -> None:
    tensors = drawn_again(dp_feta.METHOD, TINY, whole)
    assert all(name.startswith("finetune/ema/") for name in tensors), "answer and generator stay inside"


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generator, its images and both warm-ups too are made of these."""
    made_of_paid_answers(run, ends, TINY, whole, tmp_path / "run", monkeypatch)


def test_trap_11_and_30_a_run_that_is_stopped_in_each_new_stage_continues_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, pay = (whole / "internal/secret").read_bytes(), Ledger.pay
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])

    def paid(self: Ledger, stage: str, release: Any) -> Any:
        value = pay(self, stage, release)
        if stage == "embedding":
            raise KeyboardInterrupt
        return value

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "pay", paid)
        run(TINY, tmp_path / "run")
    # Progress is shown at most a few times a second; here every step counts.
    monkeypatch.setattr("time.monotonic", iter(range(10**6)).__next__)
    for where in (("generator", 10), ("generated", 1), ("frequency", 3), ("finetune", 5)):
        monkeypatch.setattr(StopsAt, "where", where)
        with pytest.raises(KeyboardInterrupt):
            run(TINY, tmp_path / "run", StopsAt)
        assert not (tmp_path / f"run/internal/stages/{where[0]}.pt").exists(), where
    run(TINY, tmp_path / "run")
    assert released(tmp_path / "run") == released(whole)
    assert test_dp_feta._ledger(tmp_path / "run") == test_dp_feta._ledger(whole)


def test_both_warm_ups_change_the_network_in_their_order(whole: Path) -> None:
    """The second goes on from the first, and DP-SGD from the second."""
    stages = [load_saved(whole / f"internal/stages/{name}.pt")["model"] for name in ("warmup", "frequency")]
    assert not all(torch.equal(one, stages[1][name]) for name, one in stages[0].items())
    images = load_saved(whole / "internal/stages/generated.pt")
    assert images.shape == (40, 8, 8, 1) and images.dtype == torch.uint8


@pytest.mark.slow
def test_one_class_persons_and_no_central_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without labels there is one class; of a person all images are one part of a sum."""
    load = data.load

    def of_persons(config: Any) -> Any:
        found = load(config)
        named = replace(found.train, persons_N=np.arange(len(found.train)) // 2)
        return replace(found, train=named)

    monkeypatch.setattr(ends, "load", of_persons)
    config = replace(
        TINY, data=replace(TINY.data, labels=False), central=replace(TINY.central, count=0),
        budget=replace(TINY.budget, delta=1e-3),
    )  # fmt: skip
    report = run(config, tmp_path / "run")
    assert [row["stage"] for row in report.privacy["ledger"]] == ["embedding", "finetune"]
    assert report.method == "dp_feta_frequency" and "person" in report.privacy["ledger"][0]["adjacency"]
    assert len(load_saved(tmp_path / "run/internal/stages/embedding.pt")) == 1


@pytest.mark.parametrize(
    ("central", "second", "name"),
    [
        (CentralConfig(), False, "dp_feta"), (CentralConfig(), True, "dp_feta_pro"),
        (CentralConfig(count=0), False, "dpdm"), (CentralConfig(count=0), True, "dp_feta_frequency"),
        (CentralConfig(kind="gaussian"), False, "dp_feta_gaussian"),
        (CentralConfig(kind="gaussian"), True, "dp_feta_gaussian_pro"),
        (CentralConfig(kind="gaussian", count=0), True, "dp_feta_frequency"),
    ],
)  # fmt: skip
def test_each_combination_has_its_name(central: CentralConfig, second: bool, name: str) -> None:
    found = Config(
        central=central, frequency=SECOND if second else FrequencyConfig(), augment=AugmentConfig(operations=0),
        budget=Budget(accountant="rdp"),
    )  # fmt: skip
    assert name_of(found) == name
    assert ("embedding" in plan(found, 60_000, 10).stages) is second
    assert ("frequency" in PARTS.before(found)) is second


def test_whether_a_second_warm_up_is_asked_for_is_all_that_a_preset_without_it_has() -> None:
    for name, config in PRESETS.items():
        assert config.frequency == FrequencyConfig() or "pro" in name


def test_parts_are_compared_beside_each_other() -> None:
    config = replace(TINY, experiment=ExperimentConfig(kinds=("mode",)))
    (group,) = asked(config).values()
    titles = ["dpdm", "dp_feta, 20 mean images", "dp_feta_frequency", "dp_feta_pro, 20 mean images"]
    assert [one.title for one in group.variants] == [*titles, "dp_feta_pro, 20 mode images"]
    dpdm, first, second, own, mode = (one.config for one in group.variants)
    assert list(plan(dpdm, 300, 10).stages) == ["finetune"] and "embedding" not in plan(first, 300, 10).stages
    made = {"embedding", "generator", "generated"}
    for other in (second, mode):
        assert made <= PARTS.reads.shared(other, own), "one answer for all that ask the same"
    assert not made & PARTS.reads.shared(first, own) and "frequency" not in PARTS.reads.shared(mode, own)
    few = replace(TINY, finetune=replace(TINY.finetune, layers="embedding"), experiment=config.experiment)
    layers = {one.method: one.config.finetune.layers for one in next(iter(asked(few).values())).variants}
    assert (layers["dpdm"], layers["dp_feta"], layers["dp_feta_frequency"]) == ("all", "embedding", "embedding")
    # Without steps of the first warm-up nothing has learned before DP-SGD but by the second.
    (group,) = asked(replace(few, warmup=LoopConfig(iterations=0))).values()
    layers = {one.method: one.config.finetune.layers for one in group.variants}
    assert (layers["dp_feta"], layers["dp_feta_pro"]) == ("all", "embedding")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"noise_multiplier": 0.0}, r"^frequency\.noise_multiplier is 0\.0: give a number above 0"),
        ({"noise_multiplier": math.nan}, r"^frequency\.noise_multiplier is nan: "),
        ({"draws": 0}, r"^frequency\.draws is 0, .*: give at least 1"),
        ({"warmup": LoopConfig(iterations=0)}, r"^frequency\.warmup\.iterations is 0, .*: give at least 1"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(SECOND, **changes)


def test_what_goes_not_with_the_images_or_the_budget_is_refused_before_the_work() -> None:
    with pytest.raises(ValueError, match=r"^frequency\.draws is 9, but there are 10 classes, .*: give at least 10$"):
        dp_feta.prepare(replace(TINY, frequency=replace(SECOND, draws=9)))
    with pytest.raises(ValueError, match=r"^budget\.epsilon is 8, but the queries .* noisy mean embedding .*: raise"):
        dp_feta.prepare(replace(TINY, frequency=replace(SECOND, noise_multiplier=0.2)))
    few = replace(TINY.finetune, layers="embedding")
    dp_feta.prepare(replace(TINY, central=replace(TINY.central, count=0), finetune=few))


@pytest.mark.parametrize(
    ("preset", "words", "said"),
    [
        ("quick", "--frequency.noise-multiplier 5 --frequency.draws 500", None),
        ("quick", "--frequency.draws 500", r"^--frequency\.draws belongs to the second warm-up, .*: leave it out$"),
        ("quick", "--frequency.features.count 64", r"^--frequency\.features\.count belongs to .*: leave it out$"),
        ("quick", "--frequency.warmup.iterations 5", r"^--frequency\.warmup\.iterations belongs to "),
        ("quick-pro", "--frequency.noise-multiplier None --frequency.embedding.count-share 0.2",
         r"^--frequency\.embedding\.count-share belongs to "),
        ("quick-pro", "--frequency.features.count 3", r"^frequency\.features\.count is 3: give an even number"),
        ("quick-pro", "--frequency.network.latent 0", r"^frequency\.network\.latent is 0: give at least 1"),
        ("quick-pro", "--frequency.training.decay 2", r"^frequency\.training\.decay is 2"),
    ],
)  # fmt: skip
def test_a_flag_that_nothing_reads_is_refused_and_a_bad_one_is_named_in_full(
    preset: str, words: str, said: str | None
) -> None:
    entry = catalogue.find("dp_feta")

    def read() -> Any:
        return cli.read(entry.presets(), [preset, *words.split()], machines=entry.machines(), prog="dp_feta", seal=True)

    if said is None:
        assert name_of(read().config) == "dp_feta_pro"
        return
    with pytest.raises(ValueError, match=said):
        read()


def test_noise_that_hides_the_embedding_is_told_with_a_multiplier_that_the_budget_bears() -> None:
    """By hand: noise of 6 times root 1.01, over 30 images of each class, in as many directions as there are features,
    or, where that is less, pixels."""
    private = data.load(TINY.data).train
    for features, directions in ((30, 30), (64, 64), (2_000, 64)):
        asked_for = replace(embedding_of(TINY), features=FourierConfig(count=features))
        found = noise_of_embedding(6.0, asked_for, private)
        assert found == pytest.approx(math.sqrt(directions) * 6 * math.sqrt(1.01) / 30)
    asked_for = embedding_of(TINY)

    def doubts(budget: Budget, multiplier: float = 6.0) -> list[str]:
        config = replace(TINY, budget=budget, frequency=replace(SECOND, noise_multiplier=multiplier))
        return drowned_embedding(plan(config, len(private), 10), asked_for, private, budget)

    ten = Budget(epsilon=10.0)
    (said,) = doubts(ten)
    assert "each class is of about 30 images, and its noise is 161 % of the length of features" in said
    given = float(said.rpartition("--frequency.noise-multiplier ")[2].partition(",")[0])
    assert doubts(ten, given) == []
    assert any("the embedding would be mostly noise" in told for told in dp_feta.prepare(TINY).doubts)
    (said,) = doubts(Budget(epsilon=1.0))
    assert said.endswith("none for a fifth of ε 1 is clear: leave out --frequency.noise-multiplier")
    none = replace(TINY, frequency=FrequencyConfig())
    assert drowned_embedding(plan(none, len(private), 10), asked_for, private, none.budget) == []


@pytest.mark.parametrize("name", [name for name in PRESETS if "pro" in name and "fashion" not in name])
def test_presets_are_clear_at_the_size_that_they_are_for(name: str) -> None:
    config, side = PRESETS[name], 32 if "cifar" in name else 8 if "quick" in name else 28
    n, channels = config.made_for or {"quick-pro": 1_498}.get(name, 60_000), 3 if "cifar" in name else 1
    blank = np.broadcast_to(np.zeros(1, np.uint8), (n, side, side, channels))
    private = data.Images(blank, np.arange(n) % 10, tuple("0123456789"))
    assert drowned_embedding(plan(config, n, 10), embedding_of(config), private, config.budget) == []


def test_memory_counts_its_features_and_its_images() -> None:
    config, private = PRESETS["paper-cifar10-pro-eps1"], data.load(TINY.data).train

    def held(second: FrequencyConfig) -> dict[str, int]:
        found = needs(replace(config, frequency=second), (32, 32, 3), test_dp_feta.SPEED, private=private)
        return {one.stage: one.bytes for one in found}

    usual, none = held(config.frequency), held(FrequencyConfig())
    waves, images = 4 * 3_072 * 10_000, 60_000 * 3_072
    assert usual["embedding"] > 2 * waves and usual["generator"] > waves and usual["generated"] > 2 * images
    assert usual["frequency"] > 2 * images and not {"embedding", "generator", "generated", "frequency"} & set(none)
    more = held(replace(config.frequency, draws=120_000))
    assert more["frequency"] - usual["frequency"] == more["generated"] - usual["generated"] == 2 * images
