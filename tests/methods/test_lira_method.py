"""LiRA against a classifier that the user brings, in one process, on a little of the real digits."""

from __future__ import annotations

import io
import json
import linecache
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from raysyn.attacks.shadows import AttackConfig
from raysyn.console import Console
from raysyn.data import DataConfig
from raysyn.local import Local
from raysyn.methods import lira
from raysyn.methods.common import OnAttacked, Setting
from raysyn.models.resnet import ResNetConfig
from raysyn.runs import RunFolder
from raysyn.train.recipe import RecipeConfig

TINY = lira.Config(
    data=DataConfig(limit=120),
    classifier=ResNetConfig(blocks=1, width=4),
    recipe=RecipeConfig(epochs=25, batch_size=20, learning_rate=0.1, trivial_augment=False, mixup=0.0),
    attack=AttackConfig(shadow_models=8, design="half", queries=2),
)
USERS = """
from torch import nn

def network(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 48), nn.ReLU(), nn.Linear(48, classes))

def features(channels, classes):
    return nn.Flatten()

def nothing(channels, classes):
    return None
"""


def run(config: lira.Config, out: Path) -> dict[str, Any]:
    dataset, facts = lira.prepare(config)
    opened = RunFolder.open(out, method="lira", preset="tiny", config=facts, data_fingerprint="x")
    with opened as folder, Console(io.StringIO()) as console:
        lira.run(Setting(config, dataset, Local(folder.internal), folder, console, OnAttacked()))
    return json.loads((out / "internal" / "report.json").read_text())


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's."""
    (tmp_path / "users_networks.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_networks", raising=False)
    return "users_networks"


def with_target(**fields: str) -> lira.Config:
    return replace(TINY, target=lira.TargetConfig(**fields))


def test_a_classifier_trained_here_is_attacked(tmp_path: Path) -> None:
    content = run(TINY, tmp_path / "run")
    assert set(content["attacks"]) == {"target", "shadow_models"} and len(content["attacks"]["target"]["variants"]) == 4
    assert content["privacy"]["guarantee"] == "none"
    page = (tmp_path / "run/internal/report.html").read_text()
    assert "Trained the attacked classifier on the 120 training images" in page and "LiRA with 8 shadow models" in page
    assert "Samples" not in page and "Its images may reveal" not in page
    assert not (tmp_path / "run/release").exists()


def test_a_users_network_that_memorised_is_caught_and_a_stranger_is_not(tmp_path: Path, users: str) -> None:
    """The same network, once trained on the data set's training images, once on its test images instead."""
    config = with_target(model=f"{users}:network")
    dataset, _ = lira.prepare(config)
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


def test_a_released_student_is_a_checkpoint(tmp_path: Path) -> None:
    network = TINY.classifier.build(1, 10)
    torch.save({"weights": network.state_dict(), "network": {"width": 4}, "classes": []}, tmp_path / "student.pt")
    read = lira.read_weights(str(tmp_path / "student.pt"), TINY.classifier.build(1, 10))
    assert torch.equal(read["head.weight"], network.state_dict()["head.weight"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"checkpoint": "no-such.pt"}, "target.checkpoint no-such.pt does not exist"),
        ({"model": "nowhere:f"}, "model is nowhere:f, which cannot be imported"),
        ({"model": "users_networks"}, "give module:function"),
        ({"model": "users_networks:features"}, r"answers 2 images with \(2, 64\): return logits \(2, 10\)"),
        ({"model": "users_networks:nothing"}, "returned a NoneType"),
    ],
)
def test_what_does_not_fit_costs_one_sentence(users: str, fields: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lira.prepare(with_target(**fields))


def test_another_network_under_the_same_name_is_another_run(users: str) -> None:
    config = with_target(model=f"{users}:network")
    _, before = lira.prepare(config)
    path = Path(sys.modules[users].__file__ or "")
    path.write_text(USERS.replace("48", "49"))
    del sys.modules[users]
    linecache.clearcache()
    _, after = lira.prepare(config)
    assert before["network"] != after["network"]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(ResNetConfig(blocks=1, width=8).build(1, 10).state_dict(), tmp_path / "wide.pt")
    (tmp_path / "text.pt").write_text("not tensors")
    for name, words in (("wide.pt", "does not fit the network"), ("text.pt", "no file of tensors")):
        with pytest.raises(ValueError, match=words):
            lira.prepare(with_target(checkpoint=str(tmp_path / name)))
    with pytest.raises(ValueError, match=r"attack\.shadow_models is 0"):
        replace(TINY, attack=AttackConfig(shadow_models=0))
