"""What of a network may leave, and what is refused before any work."""

from __future__ import annotations

import pickle
import re
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysyn import verify
from raysyn.data.images import Images
from raysyn.methods import catalogue, network
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import ClassesConfig
from raysyn.methods.releasing import drawn_from
from raysyn.privacy.ledger import Ledger, Plan
from raysyn.runs import may_leave
from raysyn.runs.folder import RunFolder
from raysyn.runs.versions import version

CONFIG = catalogue.find("dp_feta").presets()["quick"]
NETWORK = catalogue.find("dp_feta").method().network


def test_methods_that_draw_from_nothing_refuse_to_release_it() -> None:
    with pytest.raises(ValueError, match=r"^release\.network is True, but dp_imgsyn"):
        network.check(catalogue.find("dp_imgsyn").method().network, CONFIG, "dp_imgsyn")


def test_code_of_a_user_s_own_is_not_released() -> None:
    network.check(NETWORK, CONFIG, "dp_feta")
    own = replace(CONFIG, network=replace(CONFIG.network, factory="mine:build"))
    with pytest.raises(ValueError, match=r"network\.factory is mine:build"):
        network.check(NETWORK, own, "dp_feta")


@pytest.mark.parametrize(
    "settings",
    [{"data": {"path": "scans"}}, {"eval": {}}, {"network": {"factory": "/home/me/net.py"}}, {"network": {"x": b"?"}},
     {"sampler": {"steps": [1, "a\\b"]}},
     *({name: number} for name in ("seed", "synthetic") for number in ("JohnSmith", 1.5, True, None, [3], {"a": 1}))],
)  # fmt: skip
def test_settings_that_are_not_listed_do_not_leave(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^network\.json may not say"):
        may_leave.check_network({"settings": settings})


@pytest.mark.parametrize("name", ["method", "preset"])
@pytest.mark.parametrize("words", ["of Ann/Smith", "a\nb", "", "John Smith, born in 1950, " * 3])
def test_names_of_method_and_preset_are_a_few_plain_words(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^network\.json may not say {name} as"):
        may_leave.check_network({name: words})
    may_leave.check_network({name: "my own (2): quick-2.0"})


def test_names_of_classes_are_public_whatever_they_hold() -> None:
    shares = ClassesConfig(shares=("a/b=1", "c=2"))
    network.check(NETWORK, replace(CONFIG, classes=shares), "dp_feta")
    with pytest.raises(ValueError, match=r"^network\.json may not say accuracy"):
        may_leave.check_network({"accuracy": 0.9})


def test_what_a_handed_on_network_says_is_not_believed() -> None:
    settings = network._settings(NETWORK, CONFIG)
    network.check_read(NETWORK, {"settings": settings}, CONFIG, "dp_feta")
    own = replace(CONFIG, network=replace(CONFIG.network, factory="os:system"))
    told = {**settings, "network": {**settings["network"], "factory": "os:system"}}
    for about, config, said in (
        (told, own, r"names code, network\.factory os:system"),
        (settings | {"gan": {}}, CONFIG, "has other settings"),
        ({name: settings[name] for name in settings if name != "seed"}, CONFIG, "has other settings"),
        (settings | {"noise": [1]}, CONFIG, "of another kind"),
        (settings | {"seed": True}, replace(CONFIG, seed=True), "may not say seed"),
    ):
        with pytest.raises(ValueError, match=said):
            network.check_read(NETWORK, {"settings": about}, config, "dp_feta")


@dataclass(frozen=True, kw_only=True)
class Theirs(type(CONFIG)):  # type: ignore[misc]
    """Settings of a method that is not raysyn's."""


@pytest.mark.parametrize("sent", [False, True])
def test_a_setting_that_no_release_holds_is_never_its_default(sent: bool) -> None:
    """Here, and on a worker; of another package's method."""
    assert network.held_to(CONFIG, ("seed",)) is CONFIG
    held = network.held_to(Theirs(seed=7), ("seed", "sampler"))
    held = pickle.loads(pickle.dumps(held)) if sent else held
    assert held.seed == 7 and held.sampler.steps == Theirs().sampler.steps and isinstance(held, Theirs)
    for field in fields(Theirs()):
        with nullcontext() if field.name in ("seed", "sampler") else pytest.raises(ValueError) as refused:
            getattr(held, field.name)
        if refused is not None:
            assert str(refused.value).endswith(f"asks for the setting {field.name}: name it in Network.settings")


ABOUT = {"raysyn": version(), "method": "dp_feta", "preset": "quick"}
TEN: dict[str, Any] = {"public_facts": {"classes": list("0123456789")}}
COUNTED = TEN | {"ledger": [{"stage": "counts"}]}
HAVE_NETWORK = [one.name for one in catalogue.METHODS if one.method().network is not None]


def held_by(method: str, config: Any) -> list[str]:
    """Names of tensors that a run releases, one of each part."""
    if method == "noisy_means":
        return ["means", *(["spread"] if config.moments.spread_frequencies else [])]
    if method == "evolution":
        pictures = ["pictures"] if config.source.kind == "public" else []
        return [f"votes/population/{name}" for name in ("genes", "shares", *pictures)]
    if method in ("dp_merf", "dp_ntk", "dp_mepf"):
        return ["generator/model/dense.0.weight"]
    if method == "dp_kernel":
        return ["functions/model/dense.0.weight"]
    if method == "p3gm":
        return ["finetune/ema/decoder.0.weight"]
    if method == "privimage":
        return [f"finetune/{'partner' if config.generator == 'gan' else 'ema'}/stem.weight"]
    teacher = ["teacher/weights/stem.weight", "generator-chosen/weights/dense.weight", "generator-chosen/deviation"]
    names = {"dp_feta": ["finetune/ema/stem.weight"], "pigan": ["generator/generators.0.dense.weight"]}
    return {**names, "knowledge_recycling": teacher}[method]


@pytest.mark.parametrize(("changes", "settings", "said"), [
    ({}, {}, None), ({}, {"classes": {"shares": [f"{one}=1" for one in range(10)], "noisy_counts": None}}, None),
    ({"preset": "JohnSmith"}, {}, "the preset JohnSmith, which dp_feta does not have"),
    ({"method": "lira"}, {}, "of no run of lira"),
    ({"method": "knowledge_recycling"}, {}, "other settings"), ({"method": "dp_imgsyn"}, {}, "other settings"),
    ({}, {"gan": {"depth": 2}}, "other settings"), ({}, {"network": "JohnSmith"}, "of another kind"),
    ({}, {"network": {"JohnSmith": 1}}, "of another kind"), ({}, {"sampler": {"name": "JohnSmith"}}, "sampler.name"),
    ({}, {"network": {"width": "JohnSmith"}}, "network.width is"), ({}, {"seed": True}, "seed is True"),
    ({}, {"network": {"factory": "mine:build"}}, "names code"),
    ({}, {"classes": {"shares": ["John Smith=1"], "noisy_counts": None}}, "John Smith, which is no class"),
    ({}, {"classes": {"shares": ["1"] * 9, "noisy_counts": None}}, "has 9 numbers"),
    # Words that nobody here can judge are bounded by `may_leave` alone.
    ({"raysyn": "0.0.1"}, {"network": "JohnSmith"}, None), ({"method": "mine"}, {"network": "JohnSmith"}, None),
])  # fmt: skip
def test_what_verify_reads_of_a_network_is_what_its_method_writes(
    changes: dict[str, Any], settings: dict[str, Any], said: str | None
) -> None:
    plain = network._settings(NETWORK, CONFIG)
    merged = {
        name: {**plain[name], **value} if isinstance(value, dict) and name in plain else value
        for name, value in settings.items()
    }
    about = {**ABOUT, **changes, "settings": {**plain, **merged}}
    with nullcontext() if said is None else pytest.raises(ValueError, match=re.escape(said)):
        verify.check_network(about, TEN, held_by("dp_feta", CONFIG))


@pytest.mark.parametrize("method", HAVE_NETWORK)
def test_what_every_preset_writes_of_its_network_holds(method: str) -> None:
    entry = catalogue.find(method)
    for preset, config in entry.presets().items():
        settings = network._settings(entry.method().network, config)
        about = {**ABOUT, "method": method, "preset": preset, "settings": settings}
        verify.check_network(about, TEN, held_by(method, config))


@pytest.mark.parametrize("method", HAVE_NETWORK)
def test_tensors_that_no_run_of_the_method_writes_are_none_of_its_network(method: str) -> None:
    """By their names alone: whether somebody paid for them or, without a promise, nobody."""
    entry = catalogue.find(method)
    for config in entry.presets().values():
        held = held_by(method, config)
        stage = held[0].partition("/")[0]
        others = [[*held, more] for more in ("shadow/x", "counts", stage, f"{stage}/shadow") if more not in held]
        others += [[name for name in held if name != left] for left in held]
        for names in others:
            with pytest.raises(ValueError, match=r"^network\.safetensors (lacks|holds) "):
                network.check_held(entry.method().network, config, TEN, names)


@pytest.mark.parametrize("method", HAVE_NETWORK)
@pytest.mark.parametrize(("asked", "signed", "more", "said"), [
    (None, TEN, [], None), (20.0, COUNTED, ["counts"], None),
    (20.0, TEN, ["counts"], "has no row counts"), (20.0, TEN, [], "has no row counts"),
    (None, COUNTED, [], "has a row counts"), (20.0, COUNTED, [], "lacks 'counts'"),
])  # fmt: skip
def test_counts_are_drawn_by_where_the_ledger_has_them_and_nowhere_else(
    method: str, asked: float | None, signed: dict[str, Any], more: list[str], said: str | None
) -> None:
    entry = catalogue.find(method)
    config = replace(entry.presets()["quick"], classes=ClassesConfig(noisy_counts=asked))
    about = {**ABOUT, "method": method, "settings": network._settings(entry.method().network, config)}
    with nullcontext() if said is None else pytest.raises(ValueError, match=said):
        verify.check_network(about, signed, [*held_by(method, config), *more])


def test_what_nobody_paid_for_does_not_leave(tmp_path: Path) -> None:
    plan = Plan(stages={}, delta=1e-5, accountant="rdp", epsilon_budget=1.0)
    with RunFolder.open(tmp_path, method="m", preset="p", config={}, data_fingerprint="f") as folder:
        parts: Any = (CONFIG, None, None, folder, None, None, None, NETWORK)
        setting = PrivateSetting(*parts, plan=plan, ledger=Ledger(plan, folder.ledger))
        with pytest.raises(ValueError, match="finetune was not paid for"):
            drawn_from(setting, "statement", "dp_feta")


@pytest.mark.parametrize(("method", "preset", "changes"), [
    ("dp_feta", "quick", {"width": 4000}), ("privimage", "quick", {"width": 4000}),
    ("privimage", "quick-gan", {"channels": 2000}), ("privimage", "quick-gan", {"depth": 10**6}),
    ("pigan", "quick", {"latent": 10**5}), ("pigan", "quick", {"width": 30.0}),
    ("knowledge_recycling", "quick", {"channels": 2000}), ("knowledge_recycling", "quick", {"latent": 10**5}),
    ("knowledge_recycling", "quick", {"classifier": {"width": 4000}}),
    ("knowledge_recycling", "quick", {"classifier": {"blocks": 10**6}}),
])  # fmt: skip
def test_every_method_builds_for_what_is_stored(method: str, preset: str, changes: dict[str, Any]) -> None:
    entry = catalogue.find(method)
    config = entry.presets()[preset]
    if preset == "quick-gan":
        config = replace(config, gan=replace(config.gan, network=replace(config.gan.network, **changes)))
    elif "classifier" in changes:
        config = replace(config, classifier=replace(config.classifier, **changes["classifier"]))
    else:
        config = replace(config, network=replace(config.network, **changes))
    like = Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), tuple("0123456789"))
    few = torch.zeros(2)
    stored = {"ema": {"stem.weight": few}, "partner": {"dense.weight": few}, "generators.0.dense.weight": few}
    stored |= {"weights": {"dense.weight": few}, "deviation": torch.tensor(1.0)}
    drawing = entry.method().drawing
    assert drawing is not None
    with (
        network.built_for(lambda _: stored) as answer,
        pytest.raises(ValueError, match=r"^its settings make a network of more than [\d,]+ (numbers|layers), unlike"),
    ):
        drawing(config, like, 1000, answer)
    torch.nn.Sequential(*(torch.nn.Identity() for _ in range(2 * network.SOME_LAYERS)))  # nothing is counted any more
