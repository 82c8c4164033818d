"""PrivImage and its baselines on real digits and built-in letters: plan, selection, release, promise."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn import manifold
from sklearn.manifold import TSNE
from what_is_said import honest, spoken_by
from what_leaves import (
    NO_PROMISE,
    PROMISE,
    WITH_PUBLIC_IMAGES,
    WITH_PUBLIC_NETWORKS,
    Left,
    made_of_paid_answers,
    pinned,
)
from whole_run import attacked, drawn_again, whole_run

from raysyn.attacks.membership import fingerprint
from raysyn.data import images as data
from raysyn.data.images import Images
from raysyn.data.public import Public, in_both, load_public
from raysyn.data.streams import PublicConfig
from raysyn.methods import catalogue
from raysyn.methods.machines import On
from raysyn.methods.misfits import wide_clip
from raysyn.methods.privimage import pipeline as privimage
from raysyn.methods.privimage import stages
from raysyn.methods.privimage.config import Config, ExperimentConfig, plan
from raysyn.methods.privimage.experiments import asked, selecting, wide
from raysyn.methods.privimage.gan_config import GANModelConfig, GANPretrainConfig
from raysyn.methods.privimage.models import new_denoiser, new_gan
from raysyn.methods.privimage.presets import PRESETS
from raysyn.methods.privimage.report import similarity
from raysyn.methods.public_classifier import new_query
from raysyn.metrics.utility import EvalConfig
from raysyn.models.biggan import BigGANConfig
from raysyn.models.private_discriminator import PrivateDiscriminatorConfig
from raysyn.models.semantic import SemanticNetConfig
from raysyn.models.unet import UNetConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries import semantic as semantic_query
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.runs.storage import load_saved
from raysyn.screen import cli
from raysyn.train import gan, semantic
from raysyn.train.loop import LoopConfig
from raysyn.train.samplers import SamplerConfig
from raysyn.train.semantic import QueryConfig

TINY = Config(
    data=data.DataConfig(limit=300),
    public=PublicConfig(limit=400),
    budget=Budget(epsilon=8.0, accountant="rdp"),
    query=QueryConfig(network=SemanticNetConfig(name="resnet14", width=4), epochs=2, batch_size=50, flip=False),
    semantic=SemanticConfig(k=2, noise_multiplier=20.0),
    network=UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(), patch=2, positions=True),
    pretrain=LoopConfig(iterations=4, batch_size=16),
    gan=GANModelConfig(
        network=BigGANConfig(channels=2, depth=1, latent=6, embedding=4),
        discriminator=PrivateDiscriminatorConfig(channels=2),
        pretrain=GANPretrainConfig(iterations=4, batch_size=32, discriminator_steps=2, ema=0.9),
        discriminator_steps=2,
    ),
    warmup=LoopConfig(iterations=3, batch_size=16),
    finetune=SGDConfig(batch_size=30, epochs=0.6, noise_multiplicity=2),
    sampler=SamplerConfig(steps=3),
    synthetic=60,
    tuned_on="digits",
    chosen_among="3 runs by hand",
    eval=EvalConfig(classifiers=("logreg",), epochs=1, feature_epochs=1, precision_recall_images=50, distances=40),
)
UNJUDGED = replace(TINY.eval, classifiers=(), feature_epochs=0)
"""For what a run sells and releases: judging it is a third of its time."""
README = Path(privimage.__file__).with_name("README.md")
SPEED = On(sgd=SGDSpeed(engine="bookkeeping", micro_batch=32, channels_last=True))


pytestmark = pytest.mark.usefixtures("letters")


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "SHARD", 130)
        yield


def run(config: Config, out: Path) -> dict[str, Any]:
    """The report of a run, which another configuration continues too."""
    whole_run(privimage, config, out, SPEED)
    return json.loads((out / "internal" / "report.json").read_text())


@pytest.fixture(scope="module")
def whole(letters: None, small_shards: None, flat_pictures: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With t-SNE as it is, but for its length."""
    out = tmp_path_factory.mktemp("privimage") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifold, "TSNE", partial(TSNE, max_iter=250))
        run(TINY, out)
    return out


def held_to(config: Config, out: Path) -> set[str]:
    """The release of a run holds what it may, and says what is so: its sentences."""
    prepared = privimage.prepare(config)
    public = prepared.more
    left = Left(out, config, prepared.dataset, public)
    networks = WITH_PUBLIC_NETWORKS if config.query.checkpoint else frozenset()
    fields = (NO_PROMISE if prepared.plan is None else PROMISE) | networks
    pinned(left, fields if public is None else fields | WITH_PUBLIC_IMAGES)
    return honest(left)


def test_what_may_leave_is_pinned_and_each_sentence_of_it_is_so(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a classifier that was given holds another by the time the certificate is written."""
    used, again = TINY.query.network.build(1, 52).state_dict(), privimage.draw_again
    torch.save(used, tmp_path / "net.pt")

    def changed(*args: Any) -> Any:
        torch.save(used | {"head.bias": torch.ones(52)}, tmp_path / "net.pt")
        return again(*args)

    given = replace(TINY, query=replace(TINY.query, checkpoint=str(tmp_path / "net.pt")))
    monkeypatch.setattr(privimage, "draw_again", changed)
    run(given, tmp_path / "run")
    (told,) = json.loads((tmp_path / "run/release/certificate.json").read_text())["public_networks"]
    assert told == {"name": "net.pt", "sha256": fingerprint(used)}
    torch.save(used, tmp_path / "net.pt")
    assert held_to(TINY, whole) | held_to(given, tmp_path / "run") >= spoken_by(privimage)


def test_all_that_was_paid_for_can_be_attacked(whole: Path) -> None:
    attacked(privimage.METHOD, TINY, whole)


def test_nothing_after_the_paid_answers_looks_at_private_images(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_paid_answers(run, privimage, TINY, whole, tmp_path / "run", monkeypatch)


@pytest.mark.parametrize("pretraining", ["selected", "all"])
def test_a_few_private_images_among_the_public_ones_are_learned_from_as_such(pretraining: Any, tmp_path: Path) -> None:
    """Up to one in a hundred, pixel by pixel; one more is refused, in words that count none of them."""
    private, letters = data.load(TINY.data).train, load_public(PublicConfig(limit=500), (8, 8, 1)).train

    def beside(copied: np.ndarray) -> Config:
        pixels = np.concatenate([letters.images_NHWC[:], copied])
        labels = np.concatenate([letters.labels_N, np.arange(len(copied)) % 52])
        splits = {"train_images": pixels, "train_labels": labels, "test_images": pixels, "test_labels": labels}
        np.savez(tmp_path / f"{len(copied)}.npz", **splits)
        return replace(TINY, public=PublicConfig(path=(str(tmp_path / f"{len(copied)}.npz"),)), pretraining=pretraining)

    public = privimage.prepare(beside(private.images_NHWC[:3])).more
    assert public is not None and public.shared == 3 and len(public.train) == 503
    chosen = None if pretraining == "all" else np.arange(52)[None]
    learned = {one.tobytes() for one in stages.curriculum(private, public, chosen).images_NHWC[:]}
    assert {one.tobytes() for one in private.images_NHWC[:3]} <= learned
    assert any("3 of the sensitive images" in one for one in in_both(public)), (
        "counted in the report, which stays inside"
    )
    with pytest.raises(ValueError, match=r"^public\.path has more than 1 % of the sensitive images in it") as refused:
        privimage.prepare(beside(private.images_NHWC[:4]))
    assert not re.search(r"\b(4|300)\b", str(refused.value))
    # Another crop passes, and so do images of one colour.
    shifted = np.roll(private.images_NHWC[:9], 1, axis=2)
    public = privimage.prepare(beside(np.concatenate([shifted, np.zeros((9, 8, 8, 1), np.uint8)]))).more
    assert public is not None and public.shared == 0


def test_a_run_pays_for_its_query_and_its_fine_tuning(whole: Path) -> None:
    tmp_path, report = whole, json.loads((whole / "internal" / "report.json").read_text())
    assert [entry["stage"] for entry in report["privacy"]["ledger"]] == ["semantic", "finetune"]
    assert (
        report["privacy"]["guarantee"] == "dp" and report["privacy"]["epsilon"] <= 8 and report["method"] == "privimage"
    )
    assert pq.read_table(tmp_path / "release" / "synthetic.parquet").num_rows == 60
    html = (tmp_path / "internal" / "report.html").read_text()
    assert "Public classes selected" in html and "20 of 52 classes" in html
    # A strip for each sensitive class, and samples over training below.
    assert html.count('<td class="words">') == 10 + 5 and "Samples over training" in html
    promise = json.loads((tmp_path / "release" / "certificate.json").read_text())
    assert {entry["mechanism"] for entry in promise["ledger"]} == {"semantic histogram", "DP-SGD"}
    # The exact counts stay in the units of the fan-out; what the selection saw is noisy.
    noisy = load_saved(tmp_path / "internal" / "stages" / "semantic.pt").numpy()
    exact = sum(load_saved(path).numpy() for path in (tmp_path / "internal" / "units" / "semantic").glob("*.pt"))
    assert exact.sum() == 300 * 2 and exact.shape == noisy.shape == (10, 52)
    apart = (noisy - exact) / (20.0 * np.sqrt(2))
    assert 0.85 < apart.std() < 1.15  # 520 numbers: a wrong test fails once in a million
    assert not np.array_equal(noisy, np.round(noisy))


def test_continuing_pays_once_and_keeps_the_answer(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    first = json.loads((tmp_path / "internal" / "report.json").read_text())
    asked = tmp_path / "internal" / "stages" / "semantic.pt"
    noisy = load_saved(asked)
    before = (tmp_path / "release" / "synthetic.parquet").read_bytes()
    for forgotten in (asked, asked.with_name("synthesise.pt"), tmp_path / "internal" / "report.json"):
        forgotten.unlink()
    again = run(TINY, tmp_path)
    assert again["privacy"]["ledger"] == first["privacy"]["ledger"]
    assert torch.equal(load_saved(asked), noisy), "noise must not be drawn anew"
    assert (tmp_path / "release" / "synthetic.parquet").read_bytes() == before


ONE_CLASS = {
    "pretraining": "all", "data": replace(TINY.data, labels=False),
    "eval": replace(TINY.eval, classifiers=(), feature_epochs=0),
}  # fmt: skip


@contextmanager
def table_of_labels() -> Iterator[list[torch.Tensor]]:
    """Of a denoiser that a run in here is about to fine-tune: a row for each of its classes, and one for none."""
    tables = list[torch.Tensor]()

    class Watched(stages.MODELS["diffusion"]):  # type: ignore[misc,name-defined]
        def fine_tune(self) -> dict[str, Any]:
            tables.append(self.denoiser.label.weight.detach().clone())
            return super().fine_tune()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(stages.MODELS, "diffusion", Watched)
        yield tables


def begun_as_no_class(tables: list[torch.Tensor], own: int, rows: int) -> bool:
    """Whether the rows of private classes are those of no class, of a table with so many rows."""
    (table,) = tables
    assert len(table) == rows
    return torch.equal(table[:own], table[-1:].expand(own, -1))


def test_the_one_class_that_public_images_have_beside_their_own_begins_as_no_class(tmp_path: Path) -> None:
    with table_of_labels() as tables:
        run(replace(TINY, **ONE_CLASS), tmp_path)
    assert begun_as_no_class(tables, 1, 54)


AS_NO_CLASS = {"pdp_diffusion": (False, 63), "privimage": (True, 11)}
"""Of baselines: private classes begin alike after a selection for all of them together; differently where several
classes were taught, as a DP-SGD of few steps would hardly tell them apart again. And the rows of the table."""


@pytest.mark.parametrize(
    ("changes", "method", "stages"),
    [
        ({"pretraining": "none"}, "dpdm", ["finetune"]),
        pytest.param({"pretraining": "all"}, "pdp_diffusion", ["finetune"], marks=pytest.mark.slow),
        pytest.param(
            {"pretraining": "all", "central": CentralConfig(count=10), "central_use": "mixed"},
            "pdp_diffusion with mean",
            None,
            marks=pytest.mark.slow,
        ),
        ({"central": CentralConfig(count=10, kind="mode")}, "privimage with mode", ["semantic", "central", "finetune"]),
        pytest.param(
            {"semantic": SemanticConfig(k=3, noise_multiplier=20.0, conditional=False)},
            "privimage",
            None,
            marks=pytest.mark.slow,
        ),
        pytest.param({"generator": "gan"}, "privimage_gan", ["semantic", "finetune"], marks=pytest.mark.slow),
        pytest.param({"generator": "gan", "pretraining": "none"}, "dpgan", ["finetune"], marks=pytest.mark.slow),
        ({"generator": "gan", "pretraining": "all"}, "dpgan_pretrained", ["finetune"]),
    ],
)
def test_baselines_and_combinations(
    changes: dict[str, Any], method: str, stages: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, eval=UNJUDGED, **changes)
    with table_of_labels() as tables:
        report = run(config, tmp_path)
    if method in AS_NO_CLASS:
        alike, rows = AS_NO_CLASS[method]
        assert begun_as_no_class(tables, 10, rows) == alike
    held_to(config, tmp_path)
    if method == "privimage_gan":
        made_of_paid_answers(run, privimage, config, tmp_path, tmp_path / "other", monkeypatch)
    drawn_again(privimage.METHOD, config, tmp_path)
    attacked(privimage.METHOD, config, tmp_path)
    name = f"{method} central images" if " with " in method else method
    assert report["method"] == name and report["privacy"]["epsilon"] <= 8
    if stages is not None:
        assert [entry["stage"] for entry in report["privacy"]["ledger"]] == stages


@pytest.mark.parametrize("flag", ["learning-rate-warmup", "learning-rate-decay"])
def test_without_privacy_the_rate_is_constant_and_flags_about_that_are_refused(flag: str) -> None:
    entry = catalogue.find("privimage")
    presets, machines = entry.presets(), entry.machines()
    words = ["quick", f"--finetune.{flag}", "0.2"]
    assert cli.read(presets, words, machines=machines, prog="privimage")
    with pytest.raises(ValueError, match=f"finetune.{flag} belongs to DP-SGD, which --no-private does without"):
        cli.read(presets, [*words, "--no-private"], machines=machines, prog="privimage")


@pytest.mark.parametrize(("generator", "method"), [("diffusion", "privimage"), ("gan", "privimage_gan")])
def test_without_privacy_nothing_is_promised(generator: Any, method: str, tmp_path: Path) -> None:
    config = replace(TINY, private=False, generator=generator, eval=UNJUDGED)
    report = run(config, tmp_path)
    held_to(config, tmp_path)
    assert report["privacy"]["guarantee"] == "none" and report["method"] == f"{method} without privacy"
    promise = (tmp_path / "release" / "certificate.json").read_text()
    assert "no differential privacy" in promise.lower() or '"none"' in promise
    exact = load_saved(tmp_path / "internal" / "stages" / "semantic.pt").numpy()
    assert exact.sum() == 300 * 2
    assert not (tmp_path / "internal" / "ledger.jsonl").exists()


def test_words_tell_how_close_the_selection_is(tmp_path: Path) -> None:
    """Letters and digits are given vectors under which two letters mean the same as all digits."""
    words = [f"{digit} 1 0" for digit in range(10)] + [f"{letter} 0 1" for letter in "acdefghijklmnopqrstuvwxyz"]
    (tmp_path / "words.txt").write_text("\n".join([*words, "b 1 0"]))
    config = replace(TINY, word_vectors=str(tmp_path / "words.txt"))
    fidelity = run(config, tmp_path / "run")["metrics"]["fidelity"]
    whole = fidelity["semantic_distribution_similarity_whole_public_set"]
    private, public = data.load(config.data).train, load_public(config.public, (8, 8, 1))
    b = np.isin(public.train.labels_N, [public.train.class_names.index(name) for name in "bB"])
    assert whole["value"] == pytest.approx(b.mean()) and whole["reason"] is None
    chosen = np.array([[public.train.class_names.index("b"), public.train.class_names.index("c")]])
    ours = similarity(config, private, public, chosen)["semantic_distribution_similarity"]["value"]
    assert ours == pytest.approx(b[np.isin(public.train.labels_N, chosen)].mean()) and ours > 0.3
    assert "semantic distribution similarity" in (tmp_path / "run" / "internal" / "report.html").read_text()
    without = similarity(TINY, private, public, chosen)["semantic_distribution_similarity"]
    assert without["value"] is None and "--word-vectors" in without["reason"]


def test_selected_images_carry_the_label_of_the_row_that_chose_them() -> None:
    pixels, labels = np.zeros((40, 8, 8, 1), np.uint8), np.arange(40, dtype=np.int64) % 8
    pixels[:, 0, 0, 0] = labels
    names = tuple("abcdefgh")

    class Held:
        """Pixels that can be viewed, as those of a file."""

        dtype, ndim, shape = np.dtype(np.uint8), 4, (40, 8, 8, 1)

        def __init__(self, rows: np.ndarray) -> None:
            self.rows, self.shape = rows, (len(rows), 8, 8, 1)

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, indices: Any) -> np.ndarray:
            return pixels[self.rows[indices]]

        def view(self, indices: np.ndarray) -> Held:
            return Held(self.rows[indices])

    train = Images(Held(np.arange(40)), labels, names)  # type: ignore[arg-type]
    private = Images(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), ("zero", "one"))
    chosen = np.array([[5, 1], [7, 2]])
    images = stages.curriculum(private, Public("set", train, train), chosen)
    assert len(images) == 20 and images.class_names == ("zero", "one")
    for pixel, label in zip(images.images_NHWC[:][:, 0, 0, 0].tolist(), images.labels_N.tolist(), strict=True):
        assert pixel in chosen[label]
    images = stages.curriculum(private, Public("set", train, train), chosen[:1])
    assert set(images.images_NHWC[:][:, 0, 0, 0].tolist()) == {1, 5}
    images = stages.curriculum(private, Public("set", train, train), None)
    assert np.array_equal(images.labels_N, labels + 2) and images.classes == 10


@pytest.mark.parametrize("noise_multiplier", [20.0, 484.0])
def test_the_query_costs_fine_tuning_little(noise_multiplier: float) -> None:
    config = replace(TINY, semantic=SemanticConfig(noise_multiplier=noise_multiplier), budget=Budget(accountant="rdp"))
    planned = plan(config, 50_000, 10)
    assert list(planned.stages) == ["semantic", "finetune"] and 9.99 < planned.epsilon() <= 10
    alone = plan(replace(config, pretraining="all"), 50_000, 10).stages["finetune"].noise_multiplier
    ours = planned.stages["finetune"].noise_multiplier
    assert alone is not None and ours is not None and alone <= ours < 1.02 * alone


@pytest.mark.parametrize(
    ("name", "side", "sizes"),
    [("paper-cifar10-gan-eps10", 32, (9.42e6, 2.37e6)), ("paper-celeba64-gan-eps1", 64, (11.3e6, 19.6e6))],
)
def test_the_papers_gans_have_its_sizes(name: str, side: int, sizes: tuple[float, float]) -> None:
    """Table 6."""
    config, classes = PRESETS[name], 10 if "cifar" in name else 1
    like = Images(np.zeros((1, side, side, 3), np.uint8), np.zeros(1, np.int64), tuple("abcdefghij"[:classes]))
    for network, size in zip(new_gan(config, like), sizes, strict=True):
        assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(size, rel=0.01)


def test_images_of_no_class_are_made_and_judged_without_a_classifier(tmp_path: Path) -> None:
    """CelebA in the paper: unconditional, FID alone. Asked for classifiers, it says so before anything is spent."""
    config = replace(TINY, data=replace(TINY.data, labels=False), semantic=replace(TINY.semantic, conditional=False))
    with pytest.raises(ValueError, match=r"there is one class and nothing to classify: ask for none with --eval\."):
        privimage.prepare(config)
    config = replace(config, eval=replace(TINY.eval, classifiers=(), feature_epochs=0))
    (doubt,) = [said for said in privimage.prepare(config).doubts if said.startswith("with one class")]
    assert "--eval.inception-weights" in doubt
    report = run(config, tmp_path / "run")
    assert report["dataset"]["classes"] == ["image"] and report["metrics"]["utility"] == {}
    assert "plane" not in report["timings"] and "fid" in report["metrics"]["fidelity"]
    assert [row["stage"] for row in report["privacy"]["ledger"]] == ["semantic", "finetune"]
    assert pq.read_table(tmp_path / "run/release/synthetic.parquet")["label"].to_pylist() == [0] * 60


def test_a_given_classifier_is_taken_and_a_wrong_one_refused(tmp_path: Path) -> None:
    public = load_public(TINY.public, (8, 8, 1))
    network = TINY.query.network.build(1, 52)
    torch.save(network.state_dict(), tmp_path / "right.pt")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "wrong.pt")
    torch.save(network.state_dict() | {"head.bias": torch.full((52,), torch.nan)}, tmp_path / "nan.pt")
    query = replace(TINY.query, checkpoint=str(tmp_path / "right.pt"))
    taken = new_query(replace(TINY, query=query), public)
    assert all(torch.equal(value, taken.state_dict()[name]) for name, value in network.state_dict().items())
    for name in ("wrong.pt", "missing.pt", "nan.pt"):
        query = replace(TINY.query, checkpoint=str(tmp_path / name))
        with pytest.raises(ValueError, match=r"query\.checkpoint"):
            privimage.prepare(replace(TINY, query=query))


@pytest.mark.parametrize(("width", "size"), [(32, 1.75), (48, 3.94), (60, 6.15), (96, 15.71), (128, 27.91)])
def test_widths_of_figure_7_have_the_papers_sizes(width: int, size: float) -> None:
    """In millions: 1.8, 4.0, 6.1, 15.7 and 27.9 in the paper."""
    config = wide(PRESETS["paper-cifar10-eps10"], width)
    like = Images(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int64), tuple("abcdefghij"))
    found = sum(parameter.numel() for parameter in new_denoiser(config, like, 10).parameters())
    assert found / 1e6 == pytest.approx(size, abs=0.006)
    assert re.search(rf"experiment\.widths[ \d]* {width}\b.*figure 7", README.read_text())


@pytest.mark.parametrize(("name", "size"), [("cifar10", 1.75e6), ("celeba32", 1.80e6), ("celeba64", 2.00e6)])
def test_the_papers_diffusion_models_have_its_sizes(name: str, size: float) -> None:
    """Table 5."""
    config = PRESETS[f"paper-{name}-eps10"]
    classes, side = (10 if name == "cifar10" else 1), (64 if name == "celeba64" else 32)
    like = Images(np.zeros((1, side, side, 3), np.uint8), np.zeros(1, np.int64), tuple("abcdefghij"[:classes]))
    found = sum(parameter.numel() for parameter in new_denoiser(config, like, classes).parameters())
    assert found == pytest.approx(size, rel=0.01)


def test_a_gan_without_privacy_takes_the_steps_and_turns_of_its_private_twin(tmp_path: Path) -> None:
    taken: dict[str, Any] = {}
    fit = gan.fit

    def watched(worker: Any, network: Any, images: Any, config: Any, *more: Any) -> Any:
        taken[images.class_names[0] + str(len(images))] = config
        return fit(worker, network, images, config, *more)

    config = replace(TINY, private=False, generator="gan", pretraining="none", gan=replace(TINY.gan, ema=0.5))
    config = replace(config, eval=UNJUDGED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan, "fit", watched)
        run(config, tmp_path)
    (recipe,) = taken.values()
    assert recipe.epochs * recipe.epoch_steps == TINY.finetune.cost(300).steps
    assert (recipe.discriminator_steps, recipe.ema) == (TINY.gan.discriminator_steps, 0.5)


def test_a_given_classifier_is_part_of_the_run(tmp_path: Path) -> None:
    public = load_public(TINY.public, (8, 8, 1))
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        torch.save(TINY.query.network.build(1, 52).state_dict(), tmp_path / "net.pt")
        config = replace(TINY, query=replace(TINY.query, checkpoint=str(tmp_path / "net.pt")))
        found.append(privimage.facts(config, public))
    assert found[0] == found[1] != found[2] and found[0].keys() == {"public", "public_valid", "query"}
    assert any("query.checkpoint" in choice for choice in privimage.uncharged(config))
    assert privimage.facts(TINY, public).keys() == {"public", "public_valid"}


def test_classes_without_public_images_are_not_selected() -> None:
    few = replace(TINY, public=PublicConfig(limit=30), semantic=SemanticConfig(k=3, noise_multiplier=20.0))
    with pytest.raises(ValueError, match="but the public set has 25 classes"):
        privimage.prepare(few)
    noisy = np.array([[9.0, 8.0, 7.0, 1.0, 0.0], [9.0, 8.0, 0.0, 7.0, 1.0]])
    there = np.array([False, True, True, True, True])
    assert semantic_query.select_classes(noisy, 2, there).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"public": PublicConfig(name=("glyphs", "digits"))}, "the sensitive images themselves"),
        ({"generator": "gan", "gan": replace(TINY.gan, discriminator_steps=40)}, "the generator learns after every 40"),
        (
            {"central": CentralConfig(count=10, conditional=False), "central_use": "mixed"},
            "central.conditional is False",
        ),
        ({"semantic": SemanticConfig(k=6)}, "60 in all, but the public set has 52"),
        ({"private": False, "central": CentralConfig(count=10)}, "private is False"),
        ({"generator": "gan", "central": CentralConfig(count=10)}, "generator is gan"),
        ({"synthetic": 3}, "synthetic is 3"),
        *(
            ({"finetune": replace(TINY.finetune, layers="lora:2"), **untaught}, "a diffusion model that has learned")
            for untaught in (
                {"generator": "gan"},
                {"pretraining": "none"},
                {"pretrain": replace(TINY.pretrain, iterations=0)},
                {"pretraining": "none", "central": CentralConfig(count=10), "warmup": LoopConfig(iterations=0)},
            )
        ),
        (
            {
                "finetune": replace(TINY.finetune, layers="lora:2"),
                "central": CentralConfig(count=10, conditional=False),
            },
            "central.conditional is False with 10 classes",
        ),
        ({"semantic": SemanticConfig(noise_multiplier=0.1)}, "budget.epsilon"),
    ],
)
def test_bad_settings_cost_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        privimage.prepare(replace(TINY, **changes))


def test_bad_settings_are_found_before_public_images_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privimage, "load_beside", None)
    for changes in ({"budget": Budget(epsilon=1e-3)}, {"finetune": replace(TINY.finetune, batch_size=10**6)}):
        with pytest.raises(ValueError, match=r"budget\.epsilon|batch_size"):
            privimage.prepare(replace(TINY, **changes))


def test_experiments_compare_whole_runs_and_share_what_is_the_same(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another share of the public classes, asked for by two that are rounded to it, and no public images at all, beside
    the run itself."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)

    def never(*_: Any) -> Any:
        raise AssertionError("the classifier of public classes is that of the run itself")

    monkeypatch.setattr(semantic, "fit", never)
    config = replace(TINY, experiment=ExperimentConfig(ratios=(0.2, 0.05), pretraining=("none",)))
    report = run(config, tmp_path)
    tables = report["metrics"]["experiments"]
    assert {name: [one["title"] for one in group] for name, group in tables.items()} == {
        "pretraining": ["privimage", "dpdm"],
        "ratios": ["privimage, 0.192 of the classes", "privimage, 0.385 of the classes"],
    }
    fewer, own = tables["ratios"]
    assert own["accuracy"]["logreg"] == report["metrics"]["utility"]["logreg"]["accuracy"]
    assert fewer["facts"]["public images"] < own["facts"]["public images"] < 400
    best = max(one["accuracy"] for one in report["metrics"]["query"]["history"])
    assert own["facts"]["query's accuracy, %"] == pytest.approx(100 * best)
    assert (tmp_path / "release/synthetic.parquet").read_bytes() == (whole / "release/synthetic.parquet").read_bytes()
    assert "no public images" not in (tmp_path / "release/certificate.json").read_text()
    held_to(config, tmp_path)
    html = (tmp_path / "internal/report.html").read_text()
    assert "figure 7 of the paper" in html and "figure 9 of the paper" in html and "(this run)" in html


def test_layers_that_learn_are_compared_and_what_is_pre_trained_on_nothing_learns_as_a_whole() -> None:
    few = replace(TINY, finetune=replace(TINY.finetune, layers="embedding"))
    groups = asked(
        replace(few, experiment=ExperimentConfig(layers=("all", "lora:2"), pretraining=("all", "none"))), None,
        Images(np.zeros((2, 8, 8, 1), np.uint8), np.arange(2), ("a", "b")),
    )  # fmt: skip
    assert [one.title for one in groups["layers"].variants] == [
        f"privimage, {name} learning" for name in ("embedding", "all", "lora:2")
    ]
    assert [one.config.finetune.layers for one in groups["pretraining"].variants] == ["embedding", "embedding", "all"]
    assert ["(all weights learn)" in one.title for one in groups["pretraining"].variants] == [False, False, True]


@pytest.mark.parametrize(
    ("layers", "clip", "told"),
    [("all", 1.0, ""), ("attention", 0.5, ""), ("attention", 1.0, "lower it"), ("lora:4", 2.0, "at most 0.3")],
)
def test_a_clip_norm_for_all_weights_is_told_where_few_learn(layers: str, clip: float, told: str) -> None:
    doubts = wide_clip(SGDConfig(layers=layers, max_grad_norm=clip))
    assert len(doubts) == bool(told) and all(told in one for one in doubts)


def test_a_share_that_comes_to_all_public_classes_is_all_of_them() -> None:
    for ratio, k, what in ((0.05, 1, "selected"), (0.5, 2, "selected"), (0.9, 4, "all"), (1.0, 2, "all")):
        one = selecting(TINY, ratio, 40, 10)
        assert (one.pretraining, one.semantic.k if what == "selected" else k) == (what, k)
    assert selecting(TINY, 0.97, 52, 10).semantic.k == 5


def test_baselines_of_experiments_carry_their_own_names() -> None:
    experiment = ExperimentConfig(
        pretraining=("all", "none"), ratios=(1.0,), query_widths=(8,), noise=(5.0,), epsilons=(1.0,), limits=True
    )
    prepared = privimage.prepare(replace(TINY, generator="gan", experiment=experiment))
    groups = asked(replace(TINY, generator="gan", experiment=experiment), prepared.more, prepared.dataset.train)
    told = {name: [one.method for one in group.variants] for name, group in groups.items()}
    assert told["pretraining"] == ["privimage_gan", "dpgan_pretrained", "dpgan"]
    assert told["limits"] == ["privimage_gan", "privimage_gan without privacy"]
    assert told["ratios"] == ["privimage_gan", "dpgan_pretrained"], "1 is all public images, without a query"
    assert [one.x for one in groups["noise"].variants] == [5.0, 20.0]
    assert asked(TINY, prepared.more, prepared.dataset.train) == {}


@pytest.mark.parametrize(("changes", "experiment", "sentence"), [
    ({"generator": "gan"}, {"widths": (8,)}, "generator is gan"),
    ({"pretraining": "all"}, {"ratios": (0.1,)}, r"experiment\.ratios is about the semantic query"),
    ({"pretraining": "none"}, {"pretraining": ("all",)}, r"experiment\.pretraining is"),
    ({"private": False}, {"epsilons": (1.0,)}, "private is False"),
    ({"central": CentralConfig(count=20)}, {"limits": True}, r"experiment\.limits is .* central\.count is 20"),
    ({"generator": "gan"}, {"layers": ("lora:2",)}, "few weights are for a diffusion model that has learned"),
    ({}, {"layers": ("lora:0",)}, r"layers is 'lora:0': give all"),
    ({}, {"ratios": (1.5,)}, r"experiment\.ratios is"), ({}, {"noise": (0.0,)}, r"experiment\.noise is"),
])  # fmt: skip
def test_experiments_that_cannot_be_are_refused(
    changes: dict[str, Any], experiment: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(TINY, **changes, experiment=ExperimentConfig(**experiment))


def test_pre_training_without_a_step_of_the_generator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^gan\.pretrain\.iterations is 3, but gan\.pretrain\.discriminator_steps 4"):
        GANPretrainConfig(iterations=3, discriminator_steps=4)
