"""What a report begins with: how many images, what promise, how useful, and whether that is good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysyn.report.release import rounded_up
from raysyn.report.tables import in_words, percent

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
    # The paper's classifier leads where it was trained; the best one is in the table.
    key = "cnn" if "cnn" in utility else next(iter(utility), None)
    if key is None or utility[key]["accuracy"] is None:
        return sentence + "."
    sentence += f"; a {in_words(key)} trained on them reaches {percent(utility[key]['accuracy'])} on real test images"
    real = utility[key].get("accuracy_real_data")
    if real is not None:
        images = content["metrics"].get("utility_images")
        count = f"{images['real']:,}" if images else "the"
        sentence += f", the same {in_words(key)} trained on {count} real images {percent(real)}"
    return f"{sentence}. {usefulness(content)}".strip()


def usefulness(content: Mapping[str, Any]) -> str:
    """How good that is, in a sentence or two: beside guessing, and beside the floor. Empty where neither is known."""
    metrics = content["metrics"]
    guessing, mean = metrics.get("utility_guessing"), metrics.get("utility_mean") or {}
    if not guessing or "accuracy" not in mean:
        return ""
    reached, floor, told = mean["accuracy"], mean.get("accuracy_floor"), []
    so_far = f"The mean over classifiers, {percent(reached)}, is"
    if reached <= max(guessing.values()) + SAME:
        always = f"always answering with the largest class ({percent(guessing['largest_class'])})"
        told.append(f"{so_far} no better than {always}.")
    if floor is not None:
        promised = content["privacy"]["guarantee"] == "dp"
        budget = "of the same budget" if promised else f"at epsilon {FLOOR_WITHOUT_PROMISE:g}"
        above, what = reached - floor, f"the floor, noisy class means {budget} ({percent(floor)})"
        if abs(above) <= SAME:
            told.append(f"{so_far} no better than {what}.")
        elif above > 0:
            told.append(f"{so_far} {100 * above:.1f} points above {what}.")
        else:
            # Whoever follows this has looked at private test images, and releases twice if this run is released too.
            told.append(
                f"{so_far} {-100 * above:.1f} points below {what}: use noisy_means instead of it, and say so with "
                '--chosen-among "2 methods".'
            )
    return " ".join(told)
