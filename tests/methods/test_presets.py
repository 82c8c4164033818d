"""Trap 14, a label that lies: every preset of every private method is what its name says."""

from __future__ import annotations

import operator
from dataclasses import fields, replace
from typing import Any

import pytest

from raysyn.methods import catalogue
from raysyn.methods.dp_feta.presets import PRESETS as DP_FETA
from raysyn.methods.dp_imgsyn import config as dp_imgsyn
from raysyn.methods.dp_imgsyn.presets import PRESETS as DP_IMGSYN
from raysyn.methods.dp_kernel import pipeline as dp_kernel
from raysyn.methods.dp_kernel.presets import PRESETS as DP_KERNEL
from raysyn.methods.dp_mepf.presets import PRESETS as DP_MEPF
from raysyn.methods.dp_merf.presets import PRESETS as DP_MERF
from raysyn.methods.dp_ntk.presets import PRESETS as DP_NTK
from raysyn.methods.dp_prototypes.presets import PRESETS as DP_PROTOTYPES
from raysyn.methods.evolution.presets import PRESETS as EVOLUTION
from raysyn.methods.noisy_means.presets import PRESETS as NOISY_MEANS
from raysyn.methods.p3gm import config as p3gm
from raysyn.methods.p3gm.presets import PRESETS as P3GM
from raysyn.methods.pigan import pipeline as pigan
from raysyn.methods.pigan.presets import PRESETS as PIGAN
from raysyn.methods.privimage import config as privimage
from raysyn.methods.privimage.presets import PRESETS as PRIVIMAGE
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries import embedding, moments, perceptual, votes
from raysyn.report.disclosure import OWN_MECHANISMS

FAMILIES: dict[str, dict[str, Any]] = {
    "noisy_means": NOISY_MEANS, "dp_feta": DP_FETA, "privimage": PRIVIMAGE, "dp_imgsyn": DP_IMGSYN, "pigan": PIGAN,
    "evolution": EVOLUTION, "dp_merf": DP_MERF, "dp_ntk": DP_NTK, "dp_mepf": DP_MEPF, "dp_kernel": DP_KERNEL,
    "dp_prototypes": DP_PROTOTYPES,
    "p3gm": P3GM,
}  # fmt: skip
ALL = [(family, name) for family, presets in FAMILIES.items() for name in presets]
SOURCES: dict[str, tuple[str | None, int | None, int, int]] = {
    # What a preset's name calls its images: data.name, data.size, training images as published, and classes.
    "quick": ("digits", None, 1_498, 10),
    "mnist": ("mnist", None, 60_000, 10),
    "fashion_mnist": ("fashion_mnist", None, 60_000, 10),
    "cifar10": ("cifar10", None, 50_000, 10),
    "pneumoniamnist": ("pneumoniamnist", None, 4_708, 2),
    "celeba": (None, 32, 182_637, 2),
    "camelyon": (None, 32, 302_436, 2),
    "celeba32": (None, 32, 202_599, 1),
    "celeba64": (None, 64, 202_599, 1),
    "celeba_hair": (None, 64, 162_770, 3),
    "celeba_gender": (None, 64, 162_770, 2),
    "imagenette": (None, 224, 9_469, 10),
}
MARKS = ("gan", "mean", "mode", "p_dpdm", "privimage", "pro")


def read(name: str) -> tuple[str, float | None, set[str]]:
    """The images, the epsilon and the marks that a preset's name speaks of; nothing is left over."""
    rest = name.removeprefix("paper-").removeprefix("cpu-").split("-")
    epsilons = [float(part.removeprefix("eps")) for part in rest if part.startswith("eps")]
    images, marks = rest[0], {part for part in rest[1:] if not part.startswith("eps")}
    assert images in SOURCES and marks <= set(MARKS) and len(epsilons) <= 1, name
    return images, (epsilons or [None])[0], marks


def test_presets_of_every_method_that_promises_something_are_looked_at() -> None:
    assert set(FAMILIES) == {one.name for one in catalogue.METHODS if one.guarantee != "none"}


@pytest.mark.parametrize(("family", "name"), ALL)
def test_trap_14_a_preset_has_the_budget_the_images_and_the_parts_of_its_name(family: str, name: str) -> None:
    config, (images, epsilon, marks) = FAMILIES[family][name], read(name)
    assert (config.data.name, config.data.size) == SOURCES[images][:2]
    # Where a name says nothing, it is the budget that README and help speak of.
    assert config.budget.epsilon == (10.0 if epsilon is None else epsilon)
    # Of all published deltas, none is more than 1/n; the default is less.
    assert config.budget.delta is None or config.budget.delta <= 1e-4
    if family == "privimage":
        assert config.private and config.generator == ("gan" if "gan" in marks else "diffusion")
        assert config.pretraining == ("all" if "p_dpdm" in marks else "selected")
        assert (config.central.count > 0) == bool(marks & {"mean", "mode"})
        assert not config.central.count or config.central.kind in marks
    elif family == "dp_feta":
        assert config.frequency.asked == ("pro" in marks) and config.central.count > 0
    elif family == "pigan":
        assert config.model == "pigan", "no preset promises what its name does not"
        assert replace(config, model="dpgan").budget == config.budget
    if name.startswith("paper") and family != "dp_imgsyn":
        assert family == "pigan" or config.budget.accountant == "rdp"


TESTS = {"digits": 299, "mnist": 10_000, "fashion_mnist": 10_000, "cifar10": 10_000}


def planned(family: str, config: Any, n: int, classes: int) -> Plan:
    if family == "pigan":
        # Members are a share of the images that are loaded, training and test.
        tests = TESTS[config.data.name]
        loaded = min(n, config.data.limit or n) + min(tests, config.data.limit or tests)
        return pigan.plan(replace(config, model="dpgan"), round(config.member_share * loaded))
    if family == "noisy_means":
        return moments.plan(config.moments, config.budget, n, classes, (28, 28, 1))
    if family == "evolution":
        return votes.plan(config.votes, config.budget, n)
    if family in ("dp_merf", "dp_ntk"):
        return embedding.plan(config.budget, n)
    if family == "dp_mepf":
        return perceptual.plan(config.moments, config.budget, n)
    if family == "dp_prototypes":
        return perceptual.plan(config.prototypes.asked(), config.budget, n)
    if family == "dp_kernel":
        return dp_kernel.plan(config, n)
    if family == "p3gm":
        return p3gm.plan(config, n)
    if family == "dp_imgsyn":
        return dp_imgsyn.plan(config, n)
    return privimage.plan(config, n, classes)


# Those of DP-FETA and the papers' of DP-ImgSyn are priced beside their other tests.
PRICED = [
    (family, name) for family, name in ALL if family != "dp_feta" and (family, name[:5]) != ("dp_imgsyn", "paper")
]
FAST = {
    ("noisy_means", "quick"),
    ("evolution", "quick"),
    ("privimage", "paper-celeba64-gan-eps5"),
    ("privimage", "paper-mnist-eps1-privimage-mode"),
    ("pigan", "quick"),
}


@pytest.mark.parametrize(
    ("family", "name"), [pytest.param(*case, marks=[] if case in FAST else pytest.mark.slow) for case in PRICED]
)
def test_trap_14_a_preset_spends_the_epsilon_of_its_name(family: str, name: str) -> None:
    """By the sizes that data sets are published with, no more and hardly less."""
    images, epsilon, _ = read(name)
    _, _, n, classes = SOURCES[images]
    spent = planned(family, FAMILIES[family][name], n, classes).epsilon()
    wanted = 10.0 if epsilon is None else epsilon
    assert 0.99 * wanted <= spent <= wanted * (1 + 1e-6)


@pytest.mark.parametrize(("family", "name"), [one for one in PRICED if one in FAST or one[1] == "quick"])
def test_every_mechanism_of_raysyns_own_is_known_as_such(family: str, name: str) -> None:
    _, _, n, classes = SOURCES[read(name)[0]]
    plan = planned(family, FAMILIES[family][name], n, classes)
    assert {cost.mechanism for cost in plan.stages.values()} <= OWN_MECHANISMS


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_told_as_unread_is_a_setting_or_a_group_of_them(family: str) -> None:
    """Another name would refuse nothing, and the setting would be given in vain."""
    for preset in FAMILIES[family].values():
        for group in (preset, *(getattr(preset, field.name) for field in fields(preset))):
            for name in group.unread() if hasattr(group, "unread") else ():
                operator.attrgetter(name)(group)
