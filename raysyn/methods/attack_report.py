"""What a membership attack found, as sections of a report: accuracy beside leakage, ROC curves, every variant."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from raysyn.attacks.verdict import LOW_RATES
from raysyn.figures import Line, chart
from raysyn.report import Section

RED, BLUE, GREY = "#d1242f", "#1f6feb", "#8a97a6"
COLOURS = (RED, BLUE, "#1a7f37", "#8250df")


def attack_sections(results: Mapping[str, Any], heading: str) -> list[Section]:
    """From what `attacks.membership.attack` found; `heading` is that of the first table."""
    attacks = dict(results["attacks"])
    shadows = attacks.pop("shadow_models")
    parts = [_trade_off(results["tested"], attacks, heading), _roc(attacks), _variants(attacks)]
    return parts + ([_targets(shadows)] if shadows else [])


def _trade_off(tested: Mapping[str, float], attacks: Mapping[str, Any], heading: str) -> Section:
    rows = []
    for name, found in attacks.items():
        area = found["variants"][found["best"]]["auc"]
        rows.append(
            (
                name,
                f"{100 * tested[name]:.2f}",
                f"{100 * area['value']:.2f} ({100 * area['low']:.2f} to {100 * area['high']:.2f})",
                f"{100 * found['aop']:.2f}",
                found["best"],
            )
        )
    return Section(
        title=heading,
        text="Accuracy on real test images; area under the ROC curve of the most effective LiRA variant, 50 being "
        "chance, with its 95 % interval; accuracy over privacy, AOP = accuracy / (2 · max(AUC, ½))².",
        rows=[("Model", "Accuracy, %", "AUC, %", "AOP, %", "Variant"), *rows],
    )


def _roc(attacks: Mapping[str, Any]) -> Section:
    curves = {"chance": Line([1e-4, 1], [1e-4, 1], "--", GREY)}
    for (name, found), colour in zip(attacks.items(), itertools.cycle(COLOURS), strict=False):
        best = found["variants"][found["best"]]["roc"]
        curves[name] = Line(best["fpr"], best["tpr"], "-", colour)
    return Section(
        title="ROC of the attacks",
        text="The most effective variant on each model, on logarithmic axes: a leak shows at the left end.",
        picture=chart(curves, x="false positive rate", y="true positive rate", log=True),
        alt="ROC curves of the attacks",
    )


def _variants(attacks: Mapping[str, Any]) -> Section:
    rates = [f"TPR at {100 * rate:g} % FPR, %" for rate in LOW_RATES]
    rows = []
    for name, attacked in attacks.items():
        for variant, found in attacked["variants"].items():
            low = [found["tpr"][f"{rate:g}"] for rate in LOW_RATES]
            rows.append(
                (
                    f"{name}, {variant}",
                    f"{100 * found['auc']['value']:.2f}",
                    f"{100 * found['balanced_accuracy']:.2f}",
                    *(f"{100 * one['value']:.2f} ({100 * one['low']:.2f} to {100 * one['high']:.2f})" for one in low),
                )
            )
    return Section(
        title="Every variant of the attack",
        rows=[("Model, variant", "AUC, %", "Balanced accuracy, %", *rates), *rows],
    )


def _targets(shadows: Mapping[str, Any]) -> Section:
    rows = [
        (variant, f"{100 * one['auc_mean']:.2f} ± {100 * one['auc_std']:.2f}", f"{100 * one['auc_high']:.2f}")
        for variant, one in shadows.items()
    ]
    return Section(
        title="The same attack on each shadow model",
        text="One target is one draw: this is how the area varies when every shadow model in turn is the target and "
        "all others help the attacker.",
        rows=[("Variant", "AUC, %, mean ± std", "Highest"), *rows],
    )
