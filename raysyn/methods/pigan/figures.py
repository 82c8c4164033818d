"""PIGAN's figures: attacks and fidelity over the weight of the penalty (1, 5) and against each other (2, 7), scores of
discriminators (3), images of the parts (4), of every weight (6) and of equally private GANs (8, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysyn.attacks.gan_attacks import BINS
from raysyn.methods.pigan.config import NAMES
from raysyn.methods.pigan.measures import ATTACKS, STAND_IN, Group, Result, at_hand, axis, chance, mean, measured
from raysyn.methods.pigan.variants import Variant
from raysyn.report.figures import COLOURS, Gallery, Line, Panel, charts, galleries
from raysyn.report.pictures import mosaic, png_uri
from raysyn.report.report import Section

PARTING = (
    "Share of a side per score: where the curves of members and others part, the discriminator knows its own members."
)
SCORE, SHARE = "score: probability of being real", "share of a side, %"
FIRST_SPLIT = " Of the first split."
OVER_LAMBDA = {
    "figure 1": ("white-box", "MC-set", "accuracy, %", "intra-FID"),
    "figure 5": ("total variation", "MC-single", "FID", "inception score"),
}
TRADE_OFFS = {
    "figure 2": [(attack, name) for name in ("accuracy, %", "intra-FID") for attack in ("white-box", "MC-set")],
    "figure 7": [
        ("white-box", "inception score"), ("MC-single", "accuracy, %"), ("MC-set", "FID"), ("MC-single", "intra-FID"),
    ],
}  # fmt: skip


def against_lambda(group: Group) -> list[Section]:
    """Figures 1 and 5: attacks and fidelity over the weight; the GAN without a penalty, and chance, are levels."""
    (_, plain), *rest = group
    swept = sorted(rest, key=lambda pair: pair[0].penalty.weight)
    weights = [variant.penalty.weight for variant, _ in swept]
    ends, parts = [weights[0], weights[-1]], []
    for figure, wanted in OVER_LAMBDA.items():
        names, lost = _there(group, wanted)
        panels = []
        for name in names:
            lines = {
                "PIGAN": Line(weights, [mean(found, name) for _, found in swept], "o-", COLOURS[0]),
                "GAN": Line(ends, [mean(plain, name)] * 2, "--", COLOURS[1]),
            }
            if name in ATTACKS:
                lines["chance"] = Line(ends, [chance(name, plain)[0]] * 2, ":", COLOURS[2])
            panels.append(Panel(lines, "λ", axis(name)))
        told = ", ".join(map(axis, names))
        parts.append(
            Section(
                title=f"PIGAN by the weight of its penalty ({figure} of the paper)", text=lost,
                picture=charts(panels), alt=f"over the weight: {told}",
            )
        )  # fmt: skip
    return parts


def trade_offs(group: Group) -> list[Section]:
    """Figures 2 and 7: what fidelity each GAN gives for its resistance, every point named by its λ or ε."""
    parts = []
    for figure, pairs in TRADE_OFFS.items():
        names, lost = _there(group, [name for _, name in pairs])
        panels = [
            Panel(_curves(group, attack, at_hand(group, name)), axis(attack), axis(at_hand(group, name)))
            for attack, name in pairs
            if at_hand(group, name) in names
        ]
        if panels:
            told = "; ".join(f"{panel.y} over {panel.x}" for panel in panels)
            parts.append(
                Section(
                    title=f"Fidelity for resistance ({figure} of the paper)",
                    text="A point is one GAN, by its λ (PIGAN, PrivGAN) or ε (DPGAN). " + lost,
                    picture=charts(panels), alt=told,
                )
            )  # fmt: skip
    return parts


def _there(group: Group, wanted: Sequence[str]) -> tuple[list[str], str]:
    """Of the measures wanted those at hand, each once, and a sentence about the others."""
    named = dict.fromkeys(at_hand(group, name) for name in wanted)
    there = [name for name in named if measured(group, name)]
    lost = [name for name in named if name not in there]
    told = [f"Not measured: {', '.join(map(axis, lost))}."] if lost else []
    if any(STAND_IN in name for name in there):
        told.append("FID is not measured; in its place, the distance on features of a CNN trained here.")
    return there, " ".join(told)


def _curves(group: Group, attack: str, name: str) -> dict[str, Line]:
    lines = {}
    for model in dict.fromkeys(variant.model for variant, _ in group):
        points = sorted(
            (mean(found, attack), mean(found, name), _setting(variant))
            for variant, found in group if variant.model == model
        )  # fmt: skip
        x, y, labels = zip(*points, strict=True)
        lines[NAMES[model]] = Line(x, y, "o-", labels=labels)
    return lines


def _setting(variant: Variant) -> str:
    """What tells a GAN from others of its kind."""
    if variant.model == "gan":
        return ""
    return variant.price if variant.model == "dpgan" else f"λ {variant.penalty.weight:g}"


def scores_of(title: str, variants: Group, text: str = "") -> Section:
    """Figure 3: scores of members and others, of the discriminator, or under the code, where they differ most."""
    several = len(variants) > 1
    panels = [
        Panel(_histograms(found[0]), SCORE, SHARE, variant.title if several else "") for variant, found in variants
    ]
    told = ", ".join(variant.title for variant, _ in variants)
    return Section(
        title=title, text=text + (FIRST_SPLIT if any(len(found) > 1 for _, found in variants) else ""),
        picture=charts(panels), alt=f"histograms of the scores that discriminators give members and others: {told}",
    )  # fmt: skip


def parts_of(variant: Variant, found: Sequence[Result]) -> Section:
    """Figure 4: images of each part from the same noise, and the scores of members and others under its code."""
    pixels = found[0]["by_code"].numpy()
    columns = {f"c = {code + 1}": Gallery(_sheet(own), _histograms(found[0], code)) for code, own in enumerate(pixels)}
    return Section(
        title=f"Parts of {variant.title} (figure 4 of the paper)",
        text="Generated from the same noise under each code c, a column per class; below, the discriminator's scores "
        "of members and others under that code." + (FIRST_SPLIT if len(found) > 1 else ""),
        picture=galleries(columns, x=SCORE, y=SHARE),
        alt=f"images of {variant.title} under each code, and its discriminator's scores",
    )


def images_by_weight(group: Group) -> Section:
    """Figure 6: images of the GAN and of PIGAN with every weight."""
    return Section(
        title="Images by the weight of the penalty (figure 6 of the paper)",
        text="The first ones of the first split, a column per class.",
        picture=galleries({variant.title: Gallery(_images(found[0]), {}) for variant, found in group}),
        alt="images generated by " + ", ".join(variant.title for variant, _ in group),
    )


def side_by_side(group: Group) -> Section:
    """Figures 8 and 9: images and discriminator scores of GANs of nearly equal white-box accuracy, beside a GAN's."""
    return Section(
        title="Images and discriminator scores at equal white-box accuracy (figures 8 and 9 of the paper)",
        text="The GAN, and the GANs of table 1: the first images of the first split, a column per class; below, scores "
        "of members and others.",
        picture=galleries(
            {variant.title: Gallery(_images(found[0]), _histograms(found[0])) for variant, found in group},
            x=SCORE, y=SHARE,
        ),
        alt="images and scores of " + ", ".join(variant.title for variant, _ in group),
    )  # fmt: skip


def grid(variant: Variant, result: Result) -> Section:
    """Images of one GAN."""
    return Section(
        title=f"Images of {variant.title}",
        text="The first ones of the first split, a column per class.",
        picture=png_uri(_images(result)),
        alt=f"images generated by {variant.title}",
    )


def _histograms(result: Mapping[str, Any], code: int | None = None) -> dict[str, Line]:
    """Scores of members and others under `code`, by default the one where they differ most."""
    centres, told = ((np.arange(BINS) + 0.5) / BINS).tolist(), result["total_variation"]
    at, lines = told["at"] if code is None else code, {}
    for side, colour in zip(("members", "others"), COLOURS, strict=False):
        shares = 100 * np.array(told["histograms"][side][at])
        lines[side] = Line(centres, shares.tolist(), colour=colour)
    return lines


def _images(result: Result) -> np.ndarray:
    return _sheet(result["samples"].numpy())


def _sheet(pixels_NHWC: np.ndarray) -> np.ndarray:
    """Eight rows; classes come in turn: a column per class."""
    return mosaic(pixels_NHWC, len(pixels_NHWC) // 8, max(1, round(40 / pixels_NHWC.shape[1])), 2)
