"""What a membership attack found, as sections of a report: accuracy beside leakage, ROC curves, every variant."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from raysyn.attacks import quantiles
from raysyn.attacks.control import differs
from raysyn.attacks.rmia import USUAL_A
from raysyn.attacks.variants import Loss, Rmia
from raysyn.attacks.verdict import LOW_RATES, PRIORS
from raysyn.report.attackers import within
from raysyn.report.figures import Line, chart
from raysyn.report.report import Section

RED, BLUE, GREY = "#d1242f", "#1f6feb", "#8a97a6"
COLOURS = (RED, BLUE, "#1a7f37", "#8250df")
CHOSEN_AFTER = (
    "the figures called most effective are those of LiRA's variant that was best on these very images, which "
    "flatters it; the headline is that of a variant named before"
)
"""For the report's list of choices made by looking."""
BY_PERSON = (
    "The attack is about persons, each with all images: members are persons, and a person's score joins what each of "
    "their images says, where some have more images than others on the scale of what shadow models say that never saw "
    "persons with so many. A person counts for the class that most of their images are of. "
)


def with_records(results: Mapping[str, Any], *more: Mapping[str, Any]) -> dict[str, Any]:
    """The `attacks` of report.json, from what `attacks.membership.attack` found, beside records of other attacks."""
    # Results that an earlier version stored have no records.
    return {**results["attacks"], "found": [*results.get("found", ()), *more]}


def attack_sections(results: Mapping[str, Any], heading: str) -> list[Section]:
    """From what `attacks.membership.attack` found; `heading` is that of the first table."""
    attacks = dict(results["attacks"])
    shadows = attacks.pop("shadow_models")
    parts = [_trade_off(results["tested"], attacks, heading), _roc(attacks), _low_rates(attacks), _variants(attacks)]
    parts += [_views(attacks, shadows)] + ([_targets(shadows)] if shadows else [])
    return [*parts, _pool(attacks)]


def headline_sentence(found: Mapping[str, Any], shadow_models: int, accuracy: float) -> str:
    """One attack in a few sentences, chance beside it."""
    told, others, unit = found["headline"], _of_headline(found)["others"], unit_of(found)
    null, with_all = told["null"], " (with all their images)" if unit == "person" else ""
    low = "; ".join(f"at {100 * rate:g} % {caught(told['tpr'][f'{rate:g}'], others)}" for rate in LOW_RATES)
    return (
        f"{attack_words(told['variant'], shadow_models)} ranks a training "
        f"{unit}{with_all} above another one with probability {within(told['auc'], 1)}; were membership dealt out at "
        f"random within classes, with {within(null, 1, 'mean')}, which excludes chance alone; control models that "
        f"never saw the {unit} give {within(told['control'], 1)}. Members caught, in percent, by rate of false "
        f"alarms: {low}. The classifier's accuracy on real test images is {100 * accuracy:.1f} %."
    )


def attack_words(variant: str, shadow_models: int) -> str:
    """The headline's attack, as a sentence begins with it."""
    if variant == str(Loss()):
        return "One threshold on the loss (no shadow models, named beforehand)"
    name, _, kind = variant.partition(", ") if variant.startswith("RMIA") else ("LiRA", "", variant)
    return f"{name} with {shadow_models} shadow models ({kind}, named beforehand)"


def unit_of(found: Mapping[str, Any]) -> str:
    """What one attack asked about: images, or persons."""
    return "person" if "persons" in found["pool"]["members"] else "image"


def side_warnings(attacks: Mapping[str, Any]) -> list[str]:
    """The warning where an attack tells the sides apart though nothing is remembered; attacks share one control."""
    targets = [found for name, found in attacks.items() if name != "shadow_models"]
    if not targets or not differs(control := targets[0]["headline"]["control"]):
        return []
    unit, pool = unit_of(targets[0]), targets[0]["pool"]
    each = ""
    if unit == "person":
        members, others = (f"{pool[side]['kept'] / pool[side]['persons']:.1f}" for side in ("members", "others"))
        each = f"; they have {members} and {others} images each, which --data.most-per-person 1 makes equal"
    return [
        f"members and non-members differ by more than membership, for the attack reads {within(control, 1)} on "
        f"control models that never saw these {unit}s: the headline is no measure of memory; give {unit}s of one "
        f"source, divided at random into training and test {unit}s{each}"
    ]


def _trade_off(tested: Mapping[str, float], attacks: Mapping[str, Any], heading: str) -> Section:
    rows = []
    for name, found in attacks.items():
        told = found["headline"]
        rows.append(
            (
                name,
                f"{100 * tested[name]:.2f}",
                within(told["auc"]),
                within(told["null"], key="mean"),
                within(told["control"]),
                f"{100 * found['aop']:.2f}",
                f"{100 * found['best_auc']:.2f}",
                f"{100 * found['best_aop']:.2f}",
                found["best"],
            )
        )
    ((variant, unit),) = {(found["headline"]["variant"], unit_of(found)) for found in attacks.values()}
    head = ("Model", "Accuracy, %", "AUC, %", "By chance, %", "Nothing remembered, %", "AOP, %")
    best = ("Most effective: AUC, %", "its AOP, %", "its variant")
    return Section(
        title=heading,
        text="Accuracy on real test images; area under the ROC curve of the attack "
        f"({variant if ' variance' not in variant else f'LiRA, {variant}'}), which was named before the "
        f"outcome, on {unit}s, with its 95 % interval; the same where membership is dealt out at random within each "
        "class, which excludes chance and nothing else; the same attack on control models, trained alike on one half "
        "of the members each, when it tells the half that they never saw from the non-members: what it reads where "
        "nothing is remembered, 50 if the sides differ in nothing but membership; accuracy over privacy, AOP = "
        "accuracy / (2 · max(AUC, ½))². LiRA's most effective variant, as Knowledge Recycling reports it, is picked on "
        "these images and flatters the attack.",
        warnings=side_warnings(attacks),
        rows=[(*head, *best), *rows],
    )


def _roc(attacks: Mapping[str, Any]) -> Section:
    fewest = min(_of_headline(found)["others"] for found in attacks.values())
    lowest = min(1e-3, 1 / fewest)
    curves = {"chance": Line([lowest, 1], [lowest, 1], "--", GREY)}
    for (name, found), colour in zip(attacks.items(), itertools.cycle(COLOURS), strict=False):
        told = _of_headline(found)
        curves[name] = Line(told["roc"]["fpr"], told["roc"]["tpr"], "-", colour, resolution=1 / told["others"])
    return Section(
        title="ROC of the attacks",
        text=f"The headline's variant on each model, on logarithmic axes: a leak shows at the left end. {fewest:,} "
        f"non-members resolve false positive rates from {100 / fewest:.2g} % on; the dotted line further left is what "
        "is caught without any false alarm among them.",
        picture=chart(curves, x="false positive rate", y="true positive rate", log=True, lowest=lowest),
        alt="ROC curves of the attacks",
    )


def _low_rates(attacks: Mapping[str, Any]) -> Section:
    """The headline where false alarms are rare, and what an accusation is worth then."""
    rows = []
    for name, found in attacks.items():
        others = _of_headline(found)["others"]
        for rate in LOW_RATES:
            one = found["headline"]["tpr"][f"{rate:g}"]
            each = (precision(one, others, prior) for prior in PRIORS)
            rows.append((name, f"{100 * rate:g}", caught(one, others), *each))
        bound = one["bound"]
        rows.append(
            (
                name,
                f"no false alarm among {others:,} (a true rate of up to {100 * bound['false_positive_rate']:.2g})",
                within(bound),
                *(f"at least {100 * bound['ppv'][f'{prior:g}']:.2g}" for prior in PRIORS),
            )
        )
    head = ("Model", "False positive rate, %", "Members caught, %")
    return Section(
        title="Where false alarms are rare",
        text="Members caught by the headline's variant, and how many of those it accuses would be members if one "
        f"{unit_of(found)} in a hundred were, one in ten, and every second one (which flatters an attacker who has no "
        "list of suspects). The 95 % intervals are those of the threshold that this share of all "
        "non-members passes, of which the non-members here tell only roughly: few of them, and an interval from near "
        "0, mean that more are needed.",
        rows=[(*head, *(f"Precision at {100 * prior:g} % prior, %" for prior in PRIORS)), *rows],
    )


def caught(one: Mapping[str, Any], others: int) -> str:
    """True positives at a low rate, as a table says it."""
    if one["measurable"]:
        return within(one)
    return f"not measurable with {others:,} non-members; {within(one['bound'])} without a false alarm"


def precision(one: Mapping[str, Any], others: int, prior: float) -> str:
    """The precision at a low rate, as a table says it."""
    found, least = one["ppv"][f"{prior:g}"], one["bound"]["ppv"][f"{prior:g}"]
    if found["value"] is None:
        return f"not measurable with {others:,} non-members; at least {100 * least:.2g} without a false alarm"
    return within(found)


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
                    f"{100 * found['control']['value']:.2f}",
                    f"{100 * found['balanced_accuracy']:.2f}",
                    *(caught(one, found["others"]) for one in low),
                )
            )
    found = next(iter(attacks.values()))
    regressed = found["variants"].get(quantiles.NAME)
    head = ("Model, variant", "AUC, %", "Nothing remembered, %", "Balanced accuracy at its best threshold, %", *rates)
    return Section(
        title="Every variant of the attack",
        text="LiRA's four, RMIA's two from the answers of the same shadow models (offline with a = "
        f"{found['rmia_a']:g}, chosen on shadow models where there are enough), and the loss alone, which needs "
        f"none. {_regression(regressed)} The headline's was named before, and no other was put in its place for having "
        "come out better: to be led by another one, name it beforehand with --attack.headline. A balanced accuracy is "
        "of the threshold that is best on these very scores, which flatters it: where nothing is remembered, too, it "
        "is above 50 %, of a hundred images a side some 54.",
        rows=[head, *rows],
    )


def _regression(found: Mapping[str, Any] | None) -> str:
    """What the row of quantile regression is, or why there is none."""
    if found is None:
        return "Non-members are too few for quantile regression."
    return (
        "Quantile regression, which needs none either, asks how much surer the model is of an image than of others "
        f"like it that it never saw, which a small network learned from {found['fitted_on']:,} non-members' images; "
        f"they are not judged, so that this row has {found['others']:,} non-members. It is of one target: "
        "how it varies over shadow models is not measured."
    )


def _views(attacks: Mapping[str, Any], shadows: Mapping[str, Any]) -> Section:
    """How many views help."""
    first = next(iter(attacks.values()))
    views, told = first["views"], shadows.get(first["headline"]["variant"])
    head = ["Views", "The last of them", *(f"{name}: AUC, %; TPR at 1 % FPR, %" for name in attacks)]
    rows: list[list[str]] = []
    for index, view in enumerate(views):
        mark = " (averaged in the headline)" if index + 1 == first["headline"]["views"] else ""
        row = [f"{index + 1}{mark}", view]
        for found in attacks.values():
            one = found["headline"]["by_views"][index]
            row.append(f"{100 * one['auc']['value']:.2f}; {caught(one['tpr']['0.01'], _of_headline(found)['others'])}")
        if told:
            one = told["by_views"][index]
            row.append(f"{100 * one['auc_mean']:.2f}; {100 * one['tpr_mean']:.2f}")
        rows.append(row)
    if told:
        usual = f" (a = {USUAL_A:g})" if first["headline"]["variant"] == str(Rmia(online=False)) else ""
        head.append(f"shadow models{usual}, mean: AUC, %; TPR at 1 % FPR, %")
    return Section(
        title="How many views help",
        text="The headline's variant when the first view of each image is asked, the first two averaged, and so on. "
        "Only views that training by the recipe gives are asked; those that it seldom gives are not in the "
        "headline unless --attack.queries asks for them.",
        rows=[head, *rows],
    )


def _targets(shadows: Mapping[str, Any]) -> Section:
    rows = [
        (variant, f"{100 * one['auc_mean']:.2f} ± {100 * one['auc_std']:.2f}", f"{100 * one['auc_high']:.2f}")
        for variant, one in shadows.items()
    ]
    return Section(
        title="The same attack on each shadow model",
        text="One target is one draw: this is how the area varies when every shadow model in turn is the target and "
        f"all others help the attacker; RMIA offline with a = {USUAL_A:g}, for the a chosen on some of them would be "
        "flattered here.",
        rows=[("Variant", "AUC, %, mean ± std", "Highest"), *rows],
    )


def _pool(attacks: Mapping[str, Any]) -> Section:
    """Which images were compared, and which were not."""
    found = next(iter(attacks.values()))
    pool, persons = found["pool"], unit_of(found) == "person"
    names = {"members": "members (training images)", "others": "non-members (test images)"}
    rows = [
        (
            name,
            *([f"{pool[side]['persons']:,}"] if persons else []),
            f"{pool[side]['kept']:,}",
            *([f"{pool[side]['kept'] / pool[side]['persons']:.1f}"] if persons else []),
            "; ".join(f"{n:,}: {why}" for why, n in pool[side]["left_out"].items()) or "-",
        )
        for side, name in names.items()
    ]
    return Section(
        title="Images compared",
        text=(BY_PERSON if persons else "")
        + "Both sides have the same mix of classes and no image in common. Whatever else differs between training "
        "and test images (another hospital, another camera) may still pass for membership, to offline variants above "
        "all, whose shadow models learn from both: only images of one source, divided at random, rule that out. How "
        "much passes here is what the attack reads where nothing is remembered.",
        rows=[("Side", *(["Persons", "Images", "Images each"] if persons else ["Images"]), "Left out"), *rows],
    )


def _of_headline(found: Mapping[str, Any]) -> Mapping[str, Any]:
    verdict: Mapping[str, Any] = found["variants"][found["headline"]["variant"]]
    return verdict
