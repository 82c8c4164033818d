"""What a report begins with: how many images, what promise, how useful, and whether that is good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysyn.report.classes import failed
from raysyn.report.tables import in_words, percent
from raysyn.screen.words import rounded_up

FLOOR_WITHOUT_PROMISE = 10.0
"""Epsilon of the floor beside a run that promises nothing."""
SAME = 0.01
"""Accuracies that differ by less are told as the same."""


def verdict(content: Mapping[str, Any], n_synthetic: int) -> str:
    """One sentence: how many images, what promise, how useful."""
    privacy, utility = content["privacy"], content["metrics"].get("utility") or {}
    promise = "with no differential privacy guarantee"
    if privacy["guarantee"] == "dp":
        promise = f"({rounded_up(privacy['epsilon'])}, {rounded_up(privacy['delta'])})-differentially private"
    sentence = f"{n_synthetic:,} synthetic images, {promise}"
    key = "cnn" if "cnn" in utility else next(iter(utility), None)
    mean = content["metrics"].get("utility_mean") or {}
    if key is None or utility[key]["accuracy"] is None:
        return sentence + "."
    shown, who, same = utility[key], f"{_a(in_words(key))} trained on them reaches", f"the same {in_words(key)}"
    spread = ""
    if len(utility) > 1 and "accuracy" in mean:
        # As a plan foretells it: one of several is the best of them, or the worst.
        each = [one["accuracy"] for one in utility.values()]
        shown, who, same = mean, f"{len(utility)} classifiers trained on them reach", "the same"
        spread = f" in the mean ({percent(min(each)).removesuffix(' %')} to {percent(max(each))})"
    sentence += f"; {who} {percent(shown['accuracy'])}{spread} on real test images"
    if (real := shown.get("accuracy_real_data")) is not None:
        images = content["metrics"].get("utility_images") or {}
        count = f"{images['real']:,}" if "real" in images else "the"
        sentence += f", {same} trained on {count} real images {percent(real)}"
    return f"{sentence}. {usefulness(content)}".strip()


def _a(classifier: str) -> str:
    """With its article, as it is spoken."""
    return f"{'an' if classifier.startswith(('MLP', 'a', 'e', 'i', 'o', 'u')) else 'a'} {classifier}"


def usefulness(content: Mapping[str, Any]) -> str:
    """How good that is, in a few sentences: beside guessing, beside the floor, and which classes failed. Empty where
    none of it is known."""
    metrics = content["metrics"]
    guessing, mean = metrics.get("utility_guessing"), metrics.get("utility_mean") or {}
    if not guessing or "accuracy" not in mean:
        return ""
    reached, floor, told = mean["accuracy"], mean.get("accuracy_floor"), []
    several = len(metrics.get("utility") or ()) != 1
    so_far = f"The mean over classifiers, {percent(reached)}, is" if several else "That is"
    lowest = (metrics.get("utility_interval") or {}).get("low", reached)
    if min(reached - SAME, lowest) <= max(guessing.values()):
        always = f"always answering with the largest class ({percent(guessing['largest_class'])})"
        known = "no better than" if reached <= max(guessing.values()) + SAME else "not surely better than"
        told.append(f"{so_far} {known} {always}.")
    if floor is not None:
        promised = content["privacy"]["guarantee"] == "dp"
        budget = "of the same budget" if promised else f"at epsilon {FLOOR_WITHOUT_PROMISE:g}"
        what = f"the floor, noisy class means {budget} ({percent(floor)})"
        advised = content.get("method") != "noisy_means"
        told.append(f"{so_far} {_above(reached - floor, metrics.get('utility_above_floor'), what, advised)}")
    return " ".join([*told, failed(metrics.get("utility_classes"))]).strip()


def _above(above: float, known: Mapping[str, float] | None, what: str, advised: bool) -> str:
    """The rest of a sentence: by how much an accuracy is above the floor, which is called `what`, and, if it is below
    and shall be `advised`, what to do."""
    if abs(above) <= SAME:
        return f"no better than {what}."
    points = f"{abs(100 * above):.1f} points {'above' if above > 0 else 'below'} {what}"
    if known is not None and known["low"] <= 0 <= known["high"]:
        within = f"{100 * known['low']:+.1f} to {100 * known['high']:+.1f}"
        return f"{points}, which may be chance (95 % interval {within} points)."
    if above > 0 or not advised:
        return f"{points}."
    # Whoever follows this has looked at private test images, and releases twice if this run is released too.
    return (
        f"{points}: use noisy_means instead of it, another release, whose epsilon adds, and say so with --chosen-among "
        '"2 methods".'
    )
