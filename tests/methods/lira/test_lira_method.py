"""LiRA against a classifier that the user brings, in one process, on a little of the real digits."""

from __future__ import annotations

import html
import io
import json
import linecache
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from whole_run import whole_run

from raysyn.attacks import quantiles
from raysyn.attacks.shadows import AttackConfig, ShadowSpeed, confidences
from raysyn.attacks.teaching import teach
from raysyn.attacks.verdict import auc
from raysyn.compute.local import Local
from raysyn.compute.worker import Alone
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods import catalogue
from raysyn.methods.lira import pipeline as lira
from raysyn.methods.lira.config import Config, TargetConfig
from raysyn.methods.lira.target import check_network
from raysyn.methods.machines import OnAttacked
from raysyn.models.resnet import ResNetConfig
from raysyn.train.classifier import accuracy
from raysyn.train.recipe import RecipeConfig

TINY = Config(
    data=DataConfig(limit=120),
    classifier=ResNetConfig(blocks=1, width=4),
    recipe=RecipeConfig(epochs=25, batch_size=20, learning_rate=0.1, trivial_augment=False, mixup=0.0),
    attack=AttackConfig(shadow_models=8, design="half"),
)
USERS = """
import torch
from torch import nn

def network(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 48), nn.ReLU(), nn.Linear(48, classes))

def normed(channels, classes):
    return nn.Sequential(nn.BatchNorm2d(channels), network(channels, classes))

def features(channels, classes):
    return nn.Flatten()

def nothing(channels, classes):
    return None

def softmax(channels, classes):
    return nn.Sequential(network(channels, classes), nn.Softmax(1))

def one(channels, classes, made=network(1, 10)):
    return made

def seeded(channels, classes):
    torch.manual_seed(0)
    return network(channels, classes)

class Viewing(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.first, self.last = nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(256, classes)

    def forward(self, x):
        assert x.is_contiguous()
        return self.last(torch.relu(self.first(x)).view(-1, 4 * 64))

class Pair(nn.Flatten):
    def forward(self, x):
        return super().forward(x)[:, :10] if len(x) == 2 else 1 / 0

def pair(channels, classes):
    return nn.Sequential(Pair(), nn.Linear(10, classes))
"""


def run(config: Config, out: Path, text: io.StringIO | None = None) -> dict[str, Any]:
    whole_run(lira, config, out, OnAttacked(shadows=ShadowSpeed(stack=2)), text=text)
    return json.loads((out / "internal" / "report.json").read_text())


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's, in the folder that the command starts in."""
    (tmp_path / "users_networks.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "users_networks"
    sys.modules.pop("users_networks", None)


def with_target(**fields: Any) -> Config:
    return replace(TINY, target=TargetConfig(**fields))


def test_a_classifier_trained_here_is_attacked(tmp_path: Path) -> None:
    said = io.StringIO()
    asked = replace(TINY.attack, show_exposed=5)
    content = run(replace(TINY, recipe=replace(TINY.recipe, epochs=12), attack=asked), tmp_path / "run", said)
    text = " ".join(said.getvalue().split())
    # What was found is said once, at the end.
    found = html.unescape((tmp_path / "run/internal/report.html").read_text())
    verdict = found.partition('<p class="verdict none">')[2].partition("</p>")[0]
    assert verdict.startswith("LiRA with 8 shadow models ") and text.count(" ".join(verdict.split())) == 1
    assert set(content["attacks"]) == {"target", "shadow_models", "found"}
    assert len(content["attacks"]["target"]["variants"]) == 8
    record, regressed = content["attacks"]["found"]
    own = content["attacks"]["target"]["variants"][quantiles.NAME]
    assert {name: regressed[name] for name in ("auc", "members", "others")} == {
        name: own[name] for name in ("auc", "members", "others")
    }
    assert record["auc"] == content["attacks"]["target"]["headline"]["auc"] and "the target" in record["attack"]
    assert content["privacy"]["guarantee"] == "none"
    page = (tmp_path / "run/internal/report.html").read_text()
    assert all(one["attack"] in page for one in (record, regressed)), "What attackers found"
    assert "Trained the attacked classifier on the 120 training images" in page and "LiRA with 8 shadow models" in page
    assert "Samples" not in page and "Its images may reveal" not in page
    target = content["attacks"]["target"]
    assert target["headline"]["variant"] == "online, global variance", "of 8 models, whatever came out best"
    others = target["pool"]["others"]["kept"]
    for words in ("How many views help", "Images compared", "both sides shall have one mix of classes"):
        assert words in page, words
    assert f"not measurable with {others} non-members" in page and others < 100
    assert f"at 0.1 % not measurable with {others} non-members" in text and "dealt out at random" in text
    assert "which excludes chance alone; control models that never saw the image give 0." in text
    assert "Nothing remembered, %" in page
    assert target["headline"]["tpr"]["0.001"]["value"] is None
    assert not (tmp_path / "run/release").exists()
    spread = ("how it varies over shadow models is not measured", "RMIA offline with a = 0.3")
    for words in ("RMIA, online", "loss, one threshold for all", "Precision at 50 % prior, %", *spread):
        assert words in page, words
    assert target["variants"]["RMIA, offline"]["auc"]["value"] > 0.5 and target["best"].endswith("variance")
    one_by_one(tmp_path / "run", target)


def one_by_one(out: Path, target: dict[str, Any]) -> None:
    """The table says of every image what it is, and what the headline's variant found; the page says no place."""
    table, dataset = pq.read_table(out / "internal/attacked.parquet").to_pydict(), load(TINY.data)
    sides = {"train": dataset.train, "test": dataset.test}
    for split, index, label in zip(table["split"], table["index"], table["label"], strict=True):
        assert label == sides[split].class_names[sides[split].labels_N[index]]
    score_N, members_N = np.array(table["score"]), np.array(table["member"])
    assert (members_N == (np.array(table["split"]) == "train")).all()
    assert members_N.sum() == target["pool"]["members"]["kept"]
    assert auc(score_N[members_N], score_N[~members_N]).value == pytest.approx(target["headline"]["auc"]["value"])
    for score, member, rank, percentile in zip(score_N, members_N, table["rank"], table["percentile"], strict=True):
        assert rank == 1 + (score_N > score).sum()
        others_N = score_N[~members_N]
        below = (others_N < score).sum() + ((others_N == score).sum() - (not member)) / 2
        assert percentile == pytest.approx(100 * below / (len(others_N) - (not member)))
    for name in ("attacked.parquet", "exposed.png"):
        assert (out / "internal" / name).stat().st_mode & 0o777 == 0o600
    page = (out / "internal/report.html").read_text()
    assert "Which images are most exposed" in page and "The 5 that the attack is surest of" in page


OWN = """
import torch
from torch import nn

calls = []

def fit(images, labels, classes, seed, device):
    calls.append((len(images), seed))
    flat, wanted = images.flatten(1), nn.functional.one_hot(labels, classes).float()
    weight = torch.linalg.solve(flat.T @ flat + 1e-2 * torch.eye(flat.shape[1]), flat.T @ wanted)
    return lambda x: torch.sigmoid(6 * x.flatten(1) @ weight)
"""


def test_a_training_of_the_users_teaches_every_model_once(tmp_path: Path, users: str) -> None:
    """Target, shadow and control models alike, each by images and seed of its own; none by another source."""
    (tmp_path / "users_fit.py").write_text(OWN)
    config = replace(TINY, data=DataConfig(limit=80), recipe_function="users_fit:fit")
    out, attack = tmp_path / "run", replace(TINY.attack, shadow_models=4)
    config = replace(config, attack=attack)
    said = io.StringIO()
    content = run(config, out, said)
    own = sys.modules.pop("users_fit")
    pool, checked = content["attacks"]["target"]["pool"], own.calls[0][0]
    members, others = (pool[side]["kept"] for side in ("members", "others"))
    assert own.calls[:2] == [(checked, 0)] * 2 and own.calls[2] == (80, config.seed)
    assert [size for size, _ in own.calls[3:7]] == pytest.approx([(members + others) / 2] * 4, abs=1)
    assert sum(size for size, _ in own.calls[7:]) == members and len(own.calls) == 9
    assert len({seed for _, seed in own.calls[2:]}) == 7
    assert content["attacks"]["target"]["headline"]["auc"]["low"] > 0.5, "it remembers 80 images in 64 pixels"
    (doubt,) = content["metrics"]["warnings"]
    assert doubt.startswith("all answers of the classifier to 80 training images lie between 0 and 1")
    assert f"WARNING: {doubt}." in " ".join(said.getvalue().split())
    assert doubt in html.unescape((out / "internal/report.html").read_text())
    run(replace(config, attack=replace(attack, headline="loss")), out)
    own = sys.modules.pop("users_fit")
    assert own.calls == [], "not even to try it, which this process has done"
    (tmp_path / "users_fit.py").write_text(OWN.replace("6 * x", "7 * x"))
    with pytest.raises(ValueError, match="recipe_source"):
        run(config, out)
    del sys.modules["users_fit"]


def written(out: Path) -> dict[str, int]:
    """When each shadow model was stored."""
    units = out / "internal/units"
    found = {
        str(path): path.stat().st_mtime_ns for kind in ("shadows", "control") for path in units.glob(f"{kind}-*/*.pt")
    }
    assert any("control-" in path for path in found)
    return found


def test_other_questions_train_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views and headline are asked anew of the networks that are there: none is trained, and the answers differ."""
    config = replace(TINY, data=DataConfig(limit=80), recipe=replace(TINY.recipe, epochs=3, flip=True, shift=1))
    first = run(config, tmp_path / "run")["attacks"]["target"]
    before = written(tmp_path / "run")
    assert first["headline"]["views"] == len(first["views"]) == 18

    def trained(*_: Any) -> None:
        raise AssertionError("a network was trained again")

    monkeypatch.setattr("raysyn.attacks.teaching.fit", trained)
    areas = {first["auc"]}
    for asked in ({"queries": 1}, {"queries": 2}, {"queries": 7}, {"headline": "rmia-offline"}):
        told = run(replace(config, attack=replace(config.attack, **asked)), tmp_path / "run")["attacks"]["target"]
        areas.add(told["auc"])
        assert told["headline"]["views"] == asked.get("queries", 18)
        assert told["headline"]["by_views"] == first["headline"]["by_views"] or "headline" in asked
    assert len(areas) == 5
    page = (tmp_path / "run/internal/report.html").read_text()
    assert "RMIA with 8 shadow models (offline, named beforehand) ranks" in page
    assert written(tmp_path / "run") == before
    # Pictures of training images are made when they are asked for, and then alone.
    assert not (tmp_path / "run/internal/exposed.png").exists()
    assert (tmp_path / "run/internal/attacked.parquet").exists()


def test_a_classifier_from_elsewhere_is_asked_one_view_unless_told(tmp_path: Path, users: str) -> None:
    """A checkpoint was trained nobody knows how; a network of the user's that is trained here is asked its recipe's."""
    config = replace(with_target(model=f"{users}:network"), recipe=replace(TINY.recipe, epochs=2, flip=True))
    assert run(config, tmp_path / "here")["attacks"]["target"]["headline"]["views"] == 2
    torch.save(config.architecture().build(1, 10).state_dict(), tmp_path / "net.pt")
    config = replace(config, target=replace(config.target, checkpoint=str(tmp_path / "net.pt")))
    assert run(config, tmp_path / "run")["attacks"]["target"]["headline"]["views"] == 1
    told = replace(config, attack=replace(config.attack, queries=2))
    assert run(told, tmp_path / "run")["attacks"]["target"]["headline"]["views"] == 2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("normalised", [{}, {"mean": (0.4,), "std": (0.2,)}])
def test_a_users_network_may_take_images_apart_as_pytorch_lays_them(
    users: str, channels: int, together: int, normalised: dict[str, Any]
) -> None:
    """In what is tried, in training and where it is asked: `view` is refused where channels lie last."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 8, 8, channels), dtype=np.uint8)
    images = Images(noise, np.arange(20) % 2, ("a", "b"))
    network = with_target(model=f"{users}:Viewing", **normalised).architecture(images)
    check_network(network.build(channels, 2), images, "mine", None)
    recipe, seeds = replace(TINY.recipe, epochs=1), list(range(together))
    for one in teach(Alone(), network, recipe, together * [images], 20, seeds, seeds):
        confidences(one, images, recipe.views())
        accuracy(one, images)


@pytest.mark.slow
def test_a_users_network_that_memorised_is_caught_and_a_stranger_is_not(tmp_path: Path, users: str) -> None:
    """The same network, once trained on the data set's training images, once on its test images instead."""
    config = with_target(model=f"{users}:network")
    dataset = lira.prepare(config).dataset
    torch.manual_seed(1)
    found = {}
    for name, images in (("member", dataset.train), ("stranger", dataset.test)):
        weights = Local(tmp_path / name).train(
            lira.fit_target, config.architecture(), images, config.recipe, 0, name="own"
        )
        torch.save({"state_dict": weights} if name == "member" else weights, tmp_path / f"{name}.pt")
        whole = replace(config, target=replace(config.target, checkpoint=str(tmp_path / f"{name}.pt")))
        found[name] = run(whole, tmp_path / f"run-{name}")["attacks"]["target"]["variants"]["online, global variance"]
    assert found["member"]["auc"]["low"] > 0.5 > found["stranger"]["auc"]["high"]


@pytest.mark.slow
def test_a_forgotten_normalisation_is_warned_of_and_the_right_one_is_not(tmp_path: Path, users: str) -> None:
    """A target that learned from normalised images, attacked without and with what it was normalised by."""
    right = with_target(model=f"{users}:normed", mean=(0.9,), std=(0.1,), checkpoint=str(tmp_path / "net.pt"))
    recipe = replace(TINY.recipe, learning_rate=0.05)
    right = replace(right, recipe=recipe, attack=AttackConfig(shadow_models=4, design="half"))
    dataset = load(right.data)
    weights = Local(tmp_path / "own").train(
        lira.fit_target, right.architecture(), dataset.train, right.recipe, 0, name="own"
    )
    # As its owner has it: the network's own names, without the normalisation.
    own = {name.removeprefix("network."): value for name, value in weights.items() if name.startswith("network.")}
    torch.save(own, tmp_path / "net.pt")
    found = {}
    for name, target in (("right", right.target), ("forgotten", replace(right.target, mean=None, std=None))):
        found[name] = run(replace(right, target=target), tmp_path / name)["metrics"]
    assert found["right"]["likeness"]["target"]["seen"]["value"] > 0.95 and found["right"]["warnings"] == []
    (said,) = found["forgotten"]["warnings"]
    assert "--target.mean and --target.std" in said and "more than 10 points apart" in said
    page = (tmp_path / "forgotten/internal/report.html").read_text()
    assert f"Warning: {said}." in html.unescape(page) and "shadow models, median" in page
    assert "Warning:" not in (tmp_path / "right/internal/report.html").read_text()


def test_what_is_doubtful_is_said_before_any_training_and_never_when_nothing_is(tmp_path: Path, users: str) -> None:
    network = with_target(model=f"{users}:network").architecture().build(1, 10)
    torch.save(network.state_dict(), tmp_path / "untrained.pt")
    for fields, words in (
        ({}, []),
        ({"checkpoint": "untrained.pt"}, ["if its answers were dealt out at random"]),
        ({"model": f"{users}:seeded"}, ["returns the same weights at each call"]),
    ):
        said = lira.prepare(with_target(**{"model": f"{users}:network", **fields})).doubts
        assert len(said) == len(words) and all(word in one for word, one in zip(words, said, strict=True)), said


def test_a_normalisation_is_given_whole_and_in_units_of_pixel_values_from_0_to_1() -> None:
    for fields, words in (
        ({"mean": (0.5,)}, r"target\.mean is given without target\.std"),
        ({"std": (0.5,)}, r"target\.std is given without target\.mean"),
        ({"mean": (123.7, 116.3, 103.5), "std": (0.2, 0.2, 0.2)}, r"target\.mean is 123\.7 116\.3 103\.5, but"),
        ({"mean": (0.5,), "std": (58.4,)}, r"target\.std is 58\.4, but .* dividing by 255"),
        ({"mean": (0.5,), "std": (0.0,)}, r"target\.std is 0, .* give above 0 to 1"),
        ({"mean": (float("nan"),), "std": (0.5,)}, r"target\.mean is nan"),
    ):
        with pytest.raises(ValueError, match=words):
            with_target(**fields)


def test_a_released_student_is_a_checkpoint(tmp_path: Path) -> None:
    network = TINY.classifier.build(1, 10)
    torch.save({"weights": network.state_dict(), "network": {"width": 4}, "classes": []}, tmp_path / "student.pt")
    read = lira.read_weights(str(tmp_path / "student.pt"), TINY.classifier.build(1, 10))
    assert torch.equal(read["head.weight"], network.state_dict()["head.weight"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"checkpoint": "no-such.pt"}, "target.checkpoint no-such.pt does not exist"),
        ({"model": "nowhere:f"}, r"target\.model nowhere:f: there is no nowhere\.py in /"),
        ({"model": "users_networks:softmax"}, "target.model users_networks:softmax answers with probabilities"),
        ({"model": "users_networks:one"}, "target.model users_networks:one returns the same network twice"),
        ({"model": "users_networks:network", "mean": (0.1, 0.2), "std": (0.3,)}, "the images have 1 channels"),
        ({"model": "users_networks"}, "give module:function"),
        ({"model": "users_networks:features"}, r"answers 2 images with \(2, 64\): return logits \(2, 10\)"),
        ({"model": "users_networks:nothing"}, "returned something of type NoneType"),
        ({"model": "users_networks:pair"}, "pair cannot take images of 8 x 8 x 1: .* ZeroDivisionError"),
    ],
)
def test_what_does_not_fit_costs_one_sentence(users: str, fields: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lira.prepare(with_target(**fields))


def test_another_network_under_the_same_name_is_another_run(users: str) -> None:
    config = with_target(model=f"{users}:network")
    before = lira.prepare(config).facts
    path = Path(sys.modules[users].__file__ or "")
    path.write_text(USERS.replace("48", "49"))
    del sys.modules[users]
    linecache.clearcache()
    after = lira.prepare(config).facts
    assert before["network"] != after["network"]


def test_a_run_goes_on_only_with_what_its_network_imports_as_it_was(tmp_path: Path, users: str) -> None:
    (tmp_path / "users_sizes.py").write_text("WIDTH = 48")
    source = "from users_sizes import WIDTH\n" + USERS.replace("48", "WIDTH")
    (tmp_path / f"{users}.py").write_text(source)
    config = with_target(model=f"{users}:network")
    prepared = lira.prepare(config)
    dataset, before = prepared.dataset, prepared.facts
    first = repr(config.architecture(dataset.train))
    (tmp_path / "users_sizes.py").write_text("WIDTH = 480")
    del sys.modules[users], sys.modules["users_sizes"]
    after = lira.prepare(config).facts
    assert before["network"] != after["network"], "another run"
    assert repr(config.architecture(dataset.train)) != first, "other shadow models"
    del sys.modules["users_sizes"]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(ResNetConfig(blocks=1, width=8).build(1, 10).state_dict(), tmp_path / "wide.pt")
    (tmp_path / "text.pt").write_text("not tensors")
    for name, words in (("wide.pt", "does not fit the network"), ("text.pt", "no file of tensors")):
        with pytest.raises(ValueError, match=words):
            lira.prepare(with_target(checkpoint=str(tmp_path / name)))
    with pytest.raises(ValueError, match=r"attack\.shadow_models is 0"):
        replace(TINY, attack=AttackConfig(shadow_models=0))


@pytest.mark.parametrize("method", ["lira", "knowledge_recycling"])
def test_more_views_than_the_recipe_gives_are_refused_in_prepare(method: str) -> None:
    """Averaged were fewer otherwise, and nobody told."""
    entry = catalogue.find(method)
    preset, prepare = entry.presets()["quick"], entry.method().prepare
    given = len(preset.recipe.views())
    attack = replace(preset.attack, queries=given)
    prepare(replace(preset, attack=attack))
    with pytest.raises(ValueError, match=rf"attack\.queries is {given + 1}, .* --recipe\.flip .* --recipe\.shift"):
        prepare(replace(preset, attack=replace(attack, queries=given + 1)))
