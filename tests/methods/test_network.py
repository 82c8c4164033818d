"""What of a network may leave, and what is refused before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysyn.methods import catalogue, network
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import ClassesConfig
from raysyn.methods.releasing import drawn_from
from raysyn.privacy.ledger import Ledger, Plan
from raysyn.runs import may_leave
from raysyn.runs.folder import RunFolder

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
     {"sampler": {"steps": [1, "a\\b"]}}],
)  # fmt: skip
def test_settings_that_are_not_listed_do_not_leave(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^network\.json may not say"):
        may_leave.check_network({"settings": settings})


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
        (settings | {"seed": True}, replace(CONFIG, seed=True), "of another kind"),
    ):
        with pytest.raises(ValueError, match=said):
            network.check_read(NETWORK, {"settings": about}, config, "dp_feta")


def test_what_nobody_paid_for_does_not_leave(tmp_path: Path) -> None:
    plan = Plan(stages={}, delta=1e-5, accountant="rdp", epsilon_budget=1.0)
    with RunFolder.open(tmp_path, method="m", preset="p", config={}, data_fingerprint="f") as folder:
        parts: Any = (CONFIG, None, None, folder, None, None, None, NETWORK)
        setting = PrivateSetting(*parts, plan=plan, ledger=Ledger(plan, folder.ledger))
        with pytest.raises(ValueError, match="finetune was not paid for"):
            drawn_from(setting, "statement", "dp_feta")
