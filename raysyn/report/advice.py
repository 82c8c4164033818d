"""What would help: rules over public facts and a run's own figures. Each has its evidence, in docs/report.md and in the
sentence itself; what nobody measured is not advised."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from raysyn.privacy.sgd_config import DP_SGD
from raysyn.report.classes import NAMED
from raysyn.report.tables import in_words
from raysyn.screen.words import shortened

GAINS = ((50, (3, 19, 28)), (100, (6, 17, 30)), (300, (1, 7, 20)), (1000, (-1, 3, 15)), (math.inf, (0, 2, 5)))
"""Of epsilon times images per class, below so much: points that three times as much of either gave noisy class means,
the least, the middle and the most (benchmarks/what_helps.py, one seed)."""
ENOUGH = 1000.0
"""From here on noise is not what is missing."""
DROWNED = 300.0
"""Below, two classes of the same images were far closer to real ones than all."""
FEW_STEPS = 100
"""Of DP-SGD; `methods.misfits` warns of the same before the run."""
FAR, WIDE = 0.10, 0.10
"""Shares: a gap to real images that is worth another method, an interval that few test images leave."""
NEAR = 0.02
"""A gap to real images that is none."""
OPEN = 0.10
"""An end of the gap's interval beyond which these test images do not tell whether there is one."""
BETWEEN_RELEASES, BETWEEN_GOOD_RELEASES = 0.10, 0.04
"""Shares by which two releases of one mechanism differ in 19 of 20 cases, from a standard deviation of 3.5 and of 1.5
points: where epsilon times images per class was 100 to 167, and where it was 1,000."""
MANY, MUCH = 10_000, 10.0
"""Images and an ε with which public ones gained nothing."""
LETTERS = "glyphs"
WITHOUT_PUBLIC = {
    "noisy_means", "dpdm", "dp_feta", "dp_feta_pro", "dp_feta_frequency", "dp_feta_gaussian", "dp_feta_gaussian_pro",
    "dp_feta_evolution", "dp_feta_evolution_pro",
}  # fmt: skip
"""Methods, by the names of their runs, that look at no public images."""


class Advice(NamedTuple):
    """What to do, and why one may believe that it helps."""

    what: str
    why: str


def advice(content: Mapping[str, Any]) -> list[Advice]:
    """The rules that this report.json asks for; where nothing was measured, none but of copies."""
    metrics = content["metrics"]
    copied, mean = [*_copied(metrics)], metrics.get("utility_mean") or {}
    if "accuracy" not in mean:
        return copied
    real, below = mean.get("accuracy_real_data"), metrics.get("utility_below_real")
    gap = None if real is None else real - mean["accuracy"]
    found = [*copied, *_steps(content), *_letters(content)]
    if content["privacy"]["guarantee"] == "dp":
        told = None if gap is None else _gap(gap, below, content["dataset"]["n_test"])
        found += [*_budget(content, gap), *_other_method(content, gap)] if told is None else [told]
    return [*found, *_not_from_real_ones(metrics), *_seeds(content), *_test_images(content)]


def _gap(gap: float, below: Mapping[str, float] | None, tests: int) -> Advice | None:
    """What is said where real images taught no more, or where nobody can tell; None where they surely did."""
    if gap <= NEAR and (below is None or below["high"] <= OPEN):
        more, at_most = f"{100 * gap:.1f} points" if gap >= 0.0005 else "nothing", ""
        if below is not None and below["high"] > 0:
            at_most = f" (at most {100 * below['high']:.1f}, by a 95 % interval)"
        return Advice("Not more ε", f"From real images classifiers learned {more} more{at_most}.")
    if below is None or below["low"] > 0:
        return None
    return Advice(
        "Whether more ε would help cannot be told",
        f"These {tests:,} test images leave the gap to real images open from {100 * below['low']:+.1f} to "
        f"{100 * below['high']:+.1f} points (95 %): more of them would tell.",
    )


def scale(content: Mapping[str, Any]) -> float:
    """Epsilon times private images (or persons) per class: what noisy means are good for depends on it, whichever of
    them it is."""
    privacy, dataset = content["privacy"], content["dataset"]
    epsilon = privacy.get("epsilon_budget") or privacy["epsilon"]
    return float(epsilon * dataset.get("n_persons", dataset["n_train"]) / len(dataset["classes"]))


def _copied(metrics: Mapping[str, Any]) -> Iterator[Advice]:
    if count := metrics.get("released_equal_to_private"):
        equal = "image that equals" if count == 1 else "images that equal"
        yield Advice(
            f"Before anything leaves: look at the {count:,} released {equal} a private one",
            "Pixel by pixel. Blank images, and those of very few pixels or shades, may do so by chance; any others "
            "were handed on, which no promise made of noise would have done.",
        )


def _budget(content: Mapping[str, Any], gap: float | None) -> Iterator[Advice]:
    here, classes = scale(content), len(content["dataset"]["classes"])
    lower = max([0, *(limit for limit, _ in GAINS if limit <= here)])
    upper, (least, middle, most) = next((limit, gains) for limit, gains in GAINS if here < limit)
    between = f"at least {lower:,}" if upper > ENOUGH else f"{lower:,} to {upper:,}"
    unit, was = "images", "that"
    if "n_persons" in content["dataset"]:
        # Noise is as large as what one unit can move; it was measured with images as units.
        unit, was = "persons", "ε times images per class, of a person each,"
    told = f"ε times {unit} per class is {here:,.0f}. Where {was} was {between}, three times as much of either"
    told += f" changed the accuracy by noisy class means by {least:+d} to {most:+d} points, {middle:+d} in the middle."
    if here < ENOUGH:
        yield Advice(f"More ε or more {unit}", told)
    elif gap is not None and gap > FAR:
        yield Advice("Not more ε", told)
    if here < DROWNED and classes > 2:
        yield Advice(
            "Fewer classes",
            "Of 1,000 images at ε 1, noisy class means of all 6 to 10 classes were 10 to 34 points behind real images, "
            "of two of these classes 1 to 3.",
        )


def _steps(content: Mapping[str, Any]) -> Iterator[Advice]:
    for row in content["privacy"]["ledger"]:
        if row["mechanism"].startswith(DP_SGD) and row["steps"] < FEW_STEPS:
            yield Advice(
                "More steps",
                f"The stage {in_words(row['stage'])} took {row['steps']} steps of DP-SGD. On 1,498 digits at ε 10 "
                "dp_feta reached 66 % with 12 steps, 67 with 35 and 77 with 117, each with more noise, for the budget "
                "was the same (real images 94).",
            )


def _letters(content: Mapping[str, Any]) -> Iterator[Advice]:
    config = content["config"]
    public = config.get("public") or {}
    unused = config.get("pretraining") == "none" or (config.get("alignment") or {}).get("start", "public") != "public"
    if LETTERS in (public.get("name") or ()) and not public.get("path") and not unused:
        yield Advice(
            "Public images that resemble yours",
            "The public images were built-in letters, which are there to try the command. With them students of "
            "dp_imgsyn on digits were 13 to 20 points below the floor (72.9 to 78.3 and 91.3 to 95.0 %, ε 10).",
        )


def _other_method(content: Mapping[str, Any], gap: float | None) -> Iterator[Advice]:
    """Of photographs alone: of grey images nothing was measured that public ones gained."""
    colour = content["dataset"]["shape"][2] == 3
    few = content["dataset"]["n_train"] < MANY or content["privacy"]["epsilon_budget"] < MUCH
    if content["method"] in WITHOUT_PUBLIC and gap is not None and gap > FAR and colour and few:
        yield Advice(
            "If these are photographs: public ones of a like kind, with dp_prototypes",
            "It releases public images, whose labels yours teach. With 20,000 of CIFAR-100 it was 13 and 10 points "
            "above noisy class means on 3,000 images of CIFAR-10 at ε 1 and 3, on 1,000 images 15 and 13, on 10,000 at "
            "ε 10 none; with public images of another kind it is far below.",
        )


def _not_from_real_ones(metrics: Mapping[str, Any]) -> Iterator[Advice]:
    failed = (metrics.get("utility_classes") or {}).get("failed", ())
    names = [shortened(one["class"]) for one in failed if one["real_too"] and "chance" in one["why"]]
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield Advice(
            f"More real images of {', '.join(names[:NAMED])}{more}",
            "What classifiers learn of these from real images is no better than guessing either, so that a release of "
            "the same images will hardly teach it.",
        )


def _seeds(content: Mapping[str, Any]) -> Iterator[Advice]:
    above = (content["metrics"].get("utility_above_floor") or {}).get("value")
    if above is None or content["privacy"]["guarantee"] != "dp" or abs(above) <= NEAR:
        return
    if abs(above) < (BETWEEN_RELEASES if scale(content) < DROWNED else BETWEEN_GOOD_RELEASES):
        yield Advice(
            f"Several seeds, before you call it {'better' if above > 0 else 'worse'} than the floor",
            "One release was compared with one. Five releases of noisy class means of the same 1,000 images lay 7 to 9 "
            "points apart at ε 1, and 4 at ε 10.",
        )


def _test_images(content: Mapping[str, Any]) -> Iterator[Advice]:
    within, count = content["metrics"].get("utility_interval"), content["dataset"]["n_test"]
    if within is not None and (width := within["high"] - within["low"]) > WIDE:
        yield Advice(
            "More test images",
            f"{count:,} leave the mean accuracy open by {100 * width:.0f} points (95 %); four times as many halve that "
            "(--data.test-share where there is no test split, else more images there).",
        )
