"""What PIGAN's experiments measured: what attacks reach on a GAN and by chance, how faithful its images are, its size;
over splits, their mean and spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from raysyn.attacks.gan_attacks import chance_of_mean
from raysyn.data.images import Images
from raysyn.methods.pigan.config import NAMES, Config
from raysyn.methods.pigan.variants import Variant
from raysyn.train import paired_networks

Result = Mapping[str, Any]
"""What `judge_unit` answers."""
Group = Sequence[tuple[Variant, Sequence[Result]]]
"""An experiment: GANs with their results, one per split."""
ATTACKS: dict[str, Callable[[Result], Mapping[str, Any]]] = {
    "white-box": lambda result: result["white_box"],
    "total variation": lambda result: result["total_variation"],
    "MC-set": lambda result: result["monte_carlo"]["set"],
    "MC-single": lambda result: result["monte_carlo"]["single"],
}
IN_PERCENT = ("white-box", "MC-set", "MC-single")
STAND_IN = "distance*"


def reached(attack: str, result: Result) -> tuple[float, float, float, float]:
    """What one attack reached, and what it would by chance: (value, chance, low, high), shares in percent."""
    found = ATTACKS[attack](result)
    value, scale = (found["accuracy"], 100) if attack in IN_PERCENT else (found["distance"], 1)
    chance = found["chance"]
    return scale * value, scale * chance["value"], scale * chance["low"], scale * chance["high"]


def scores(result: Result) -> dict[str, float | None]:
    """The fidelity of one GAN's images, by name; None for what was not measured."""
    faithful, useful = result["fidelity"], list(result["accuracy"].values())
    return {
        # What was judged without Inception weights by an earlier raysyn has no such entry.
        "inception score": faithful.get("inception_score_ten_splits", {}).get("value"),
        "FID": faithful["fid"]["value"],
        "intra-FID": faithful["intra_fid"]["value"],
        STAND_IN: faithful["frechet_distance_cnn_features"],
        f"intra-{STAND_IN}": faithful["intra_frechet_distance_cnn_features"],
        "accuracy, %": 100 * useful[0] if useful else None,
    }


def columns(found: Sequence[Result]) -> dict[str, list[float | None]]:
    """All figures of one variant, a list over splits each."""
    attacked: dict[str, list[float | None]] = {name: [reached(name, one)[0] for one in found] for name in ATTACKS}
    each = [scores(one) for one in found]
    measured = {name: [one[name] for one in each] for name in each[0]}
    # Of classes that are missing there is no distance, and the mean of the other splits would flatter.
    for name, values in measured.items():
        if name.startswith("intra-") and None in values:
            measured[name] = [None] * len(values)
    return attacked | measured


def chance(attack: str, found: Sequence[Result]) -> tuple[float, float, float]:
    """What the mean over splits reaches by chance, and in which interval 95 times of 100; shares in percent."""
    told, scale = chance_of_mean([ATTACKS[attack](one)["chance"] for one in found]), 100 if attack in IN_PERCENT else 1
    return scale * told["value"], scale * told["low"], scale * told["high"]


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "std": None}
    return {"mean": float(np.mean(known)), "std": float(np.std(known, ddof=1)) if len(known) > 1 else None}


def mean(found: Sequence[Result], name: str) -> float:
    value = spread(columns(found)[name])["mean"]
    assert value is not None, f"no figure for {name}"
    return value


def measured(group: Group, name: str) -> bool:
    """Whether every GAN of the group has a figure of this name."""
    return all(spread(columns(found)[name])["mean"] is not None for _, found in group)


def at_hand(group: Group, name: str) -> str:
    """The name of what is measured instead of a distance that needs Inception weights, where there are none."""
    stand_in = {"FID": STAND_IN, "intra-FID": f"intra-{STAND_IN}"}
    return name if name not in stand_in or measured(group, name) else stand_in[name]


def axis(name: str) -> str:
    if name in IN_PERCENT:
        return f"{name} accuracy, %"
    return name.replace("*", " (not FID)")


def form(name: str) -> str:
    """How a column's numbers are written."""
    if name in IN_PERCENT or "%" in name:
        return ".1f"
    return ".3f" if name in ATTACKS else ".3g"


def parameters(config: Config, like: Images) -> dict[str, dict[str, int]]:
    """{GAN: {trainable, with_statistics}}: how many numbers all its networks hold (5.2.5), without and with the running
    statistics of normalisation; DPGAN is as large as GAN."""
    found = {}
    for kind in ("gan", "pigan", "privgan"):
        networks = paired_networks.new_networks(kind, config.network, like.shape, like.classes, config.penalty.parts, 0)
        trainable = sum(one.numel() for one in networks.parameters())
        statistics = sum(one.numel() for one in networks.buffers())
        found[NAMES[kind]] = {"trainable": trainable, "with_statistics": trainable + statistics}
    return found
