"""PIGAN's results as tables 1 to 3 and that of parameters, and the order of all its figures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from raysyn.attacks.found import WEIGHTS
from raysyn.data.images import Images
from raysyn.methods.class_shares import mix_of
from raysyn.methods.pigan import figures
from raysyn.methods.pigan.config import Config
from raysyn.methods.pigan.measures import (
    ATTACKS,
    IN_PERCENT,
    STAND_IN,
    Group,
    Result,
    chance,
    columns,
    form,
    mean,
    reached,
    spread,
)
from raysyn.methods.pigan.variants import Variant, equal
from raysyn.report.report import Section
from raysyn.report.tables import NAMES as NAMES_OF_CLASSIFIERS
from raysyn.report.tables import percent

TITLES = {
    "lambdas": "Weight of the penalty",
    "parts": "Number of parts (table 2 of the paper)",
    "compare": "GAN, PIGAN, PrivGAN and DPGAN",
    "fewer_epochs": "Training efficiency: PIGAN with fewer epochs",
    "fewer_images": "Training efficiency: PIGAN with fewer images",
}
TABLE_1 = "At equal white-box accuracy (table 1 of the paper)"
NEAREST = "Of each kind the one whose white-box accuracy is nearest to that of {}. "


def attacked(released: Result, units: int) -> str:
    """The console's sentence about the attacks."""
    value, _, low, high = reached("white-box", released)
    more = f"; {units} GANs attacked in all" if units > 1 else ""
    return f"white-box accuracy {value:.1f} % (by chance {low:.1f} to {high:.1f} %){more}"


def useful(released: Result, real: Mapping[str, float]) -> str:
    """The console's sentence about accuracy."""
    name = next(iter(real))
    return f"{name} reaches {percent(released['accuracy'][name])}, trained on the members {percent(real[name])}"


def metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """What joins the `metrics` of report.json: mean and spread of every experiment, what the mean would be by chance,
    and the sizes of the GANs."""
    return {
        "experiments": {
            name: [
                {
                    "title": variant.title,
                    "splits": len(found),
                    **{column: spread(values) for column, values in columns(found).items()},
                    "chance": {attack: dict(zip(("value", "low", "high"), chance(attack, found), strict=True))
                               for attack in ATTACKS},
                }
                for variant, found in group
            ]
            for name, group in results["experiments"].items()
        },
        "parameters": results["parameters"],
    }  # fmt: skip


def attacks(results: Mapping[str, Any], members: Images, others: Images) -> dict[str, Any]:
    """The `attacks` section of report.json: those on the released GAN, and the white-box one as a record."""
    released = results["released"]
    told = {name: _without_draws(released[name]) for name in ("white_box", "total_variation", "monte_carlo")}
    value, _, low, high = reached("white-box", released)
    unit = "image" if members.persons_N is None else "person"
    record = dict.fromkeys(("auc", "advantage", "tpr", "epsilon", "roc")) | {
        "attack": "White-box", "sees": WEIGHTS, "unit": unit, "members": members.units, "others": others.units,
        "note": f"of the {members.units:,} {unit}s that the discriminator finds the most real, {value:.1f} % are "
        f"members (by chance {low:.1f} to {high:.1f} %).",
    }  # fmt: skip
    return {**told, "found": [record]}


def _without_draws(found: Any) -> Any:
    """The draws of chance are for intervals of means, not for readers."""
    if not isinstance(found, Mapping):
        return found
    return {name: _without_draws(inner) for name, inner in found.items() if name != "draws"}


def story(config: Config, members: Images, others: Images, results: Mapping[str, Any]) -> list[str]:
    """One plain sentence per stage."""
    monte_carlo, variant = config.monte_carlo, results["variant"]
    told = [f"Trained a {variant.title} for {config.gan.epochs:,} epochs on {len(members):,} images, the members."]
    if variant.kind != "gan" and variant.penalty.weight:
        told.append(
            f"Its penalty: a classifier pre-trained for {config.penalty.pretrain_epochs} epochs to tell "
            f"{config.penalty.parts} parts of the members apart, and trained on generated images after epoch "
            f"{config.penalty.delay(variant.kind)}."
        )
    told += [
        f"Drew {config.synthetic:,} images, {mix_of(config)}.",
        f"Attacked it with the {len(others):,} other images: by its discriminator (white-box, total variation), and by "
        f"{monte_carlo.fakes:,} generated images near {monte_carlo.suspects} suspects of each side, "
        f"{monte_carlo.repeats} times (Monte Carlo).",
    ]
    if members.persons_N is not None:
        told.append(
            f"All attacks are about persons, {members.units:,} members and {others.units:,} others: a score is the "
            "mean over a person's images."
        )
    compared = {variant.key() for group in results["experiments"].values() for variant, _ in group}
    if compared:
        told.append(
            f"For comparison, trained and attacked {len(compared)} GANs on {config.experiment.splits} "
            f"split{'s' if config.experiment.splits > 1 else ''} into members and others."
        )
    return told


def sections(config: Config, results: Mapping[str, Any]) -> list[Section]:
    """What this pipeline's report shows beyond that of others."""
    variant, released, groups = results["variant"], results["released"], results["experiments"]
    own = [(variant, [released])]
    parts = [_attacks(variant, released), figures.scores_of("Discriminator scores", own, figures.PARTING)]
    pictured: Group = []
    for name, group in groups.items():
        parts += _table(TITLES[name], group)
        if name == "lambdas":
            parts += _weights(group)
            pictured = [*pictured, *group]
        if name == "compare":
            nearest = _equal(group, equal(config))
            parts += figures.trade_offs(group)
            parts += _table(TABLE_1, nearest, NEAREST.format(nearest[0][0].title))
            beside = [pair for pair in group if pair[0].model == "gan"] + nearest
            parts.append(figures.side_by_side(beside))
            pictured = [*pictured, *beside]
        if name in ("fewer_epochs", "fewer_images"):
            parts += _nearest_pair(group, "a" if name == "fewer_epochs" else "b")
    parts.append(_sizes(config, results["parameters"]))
    shown = {variant.key() for variant, _ in pictured}
    everyone = {variant.key(): (variant, found[0]) for group in groups.values() for variant, found in group}
    return parts + [figures.grid(*one) for key, one in everyone.items() if key not in shown]


def _weights(group: Group) -> list[Section]:
    """Figures 1 and 3 to 6."""
    parts = figures.against_lambda(group)
    parts.append(figures.scores_of("Discriminator scores (figure 3 of the paper)", group, figures.PARTING))
    free = [pair for pair in group if pair[0].model == "pigan" and not pair[0].penalty.weight]
    return [*parts, *(figures.parts_of(*pair) for pair in free), figures.images_by_weight(group)]


def _attacks(variant: Variant, released: Result) -> Section:
    rows = []
    for name in ATTACKS:
        value, level, low, high = (format(figure, form(name)) for figure in reached(name, released))
        rows.append((name + (", %" if name in IN_PERCENT else ""), value, f"{level} ({low} to {high})"))
    return Section(
        title=f"Membership inference against the released {variant.title}",
        text="Each attack beside what it would reach by chance, with the interval in which chance puts it 95 times of "
        "100. Total variation is an upper limit on attacks that use discriminator scores.",
        rows=[("Attack", "Reached", "By chance"), *rows],
    )


def _told(name: str, values: Sequence[float | None]) -> str:
    told, how = spread(values), form(name)
    if told["mean"] is None:
        return "-"
    middle = format(told["mean"], how)
    return middle if told["std"] is None else f"{middle} ± {told['std']:{how}}"


def _table(title: str, group: Group, text: str = "") -> list[Section]:
    """What attacks reach on each GAN of a group, and how faithful its images are."""
    each = [columns(found) for _, found in group]
    # A column that nobody has a figure in is left out.
    names = [name for name in each[0] if any(value is not None for one in each for value in one[name])]
    splits = len(group[0][1])
    over = "One split into members and others." if splits == 1 else f"Mean ± standard deviation over {splits} splits."
    mean_of = f"the mean over {splits} splits" if splits > 1 else "one split"
    text += f"{over} Below: what the attack reaches by chance, and where chance puts {mean_of} 95 times of 100."
    if any(variant.share < 1 for variant, _ in group):
        text += " GANs of fewer members are attacked with as few of the others, so that chance is the same."
    scored = over
    if judges := list(group[0][1][0]["accuracy"]):
        scored += (
            f" Accuracy: of a {NAMES_OF_CLASSIFIERS.get(judges[0], judges[0])} trained on generated images, with its "
            "best epoch on some of these held out, tested on the others."
        )
    if STAND_IN in names:
        scored += " * Fréchet distance on features of a CNN trained on images that the GAN did not learn from, not FID."
    return [
        Section(title=title, text=text, rows=_rows(group, each, [name for name in names if name in ATTACKS])),
        Section(
            title=f"{title}: fidelity",
            text=scored,
            rows=_rows(group, each, [name for name in names if name not in ATTACKS]),
        ),
    ]


def _rows(group: Group, each: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[tuple[str, ...]]:
    heads = [name + (", %" if name in IN_PERCENT else "") for name in names]
    rows = [("GAN", *heads)]
    for (variant, found), own in zip(group, each, strict=True):
        cells = [_told(name, own[name]) + (_bounds(name, found) if name in ATTACKS else "") for name in names]
        rows.append((variant.title, *cells))
    return rows


def _bounds(attack: str, found: Sequence[Result]) -> str:
    value, low, high = (format(one, form(attack)) for one in chance(attack, found))
    return f"\n{value} ({low} to {high})"


def _equal(group: Group, reference: Variant) -> list[tuple[Variant, Sequence[Result]]]:
    """One PIGAN, and of PrivGAN and DPGAN the setting whose white-box accuracy is nearest to its."""
    (own,) = ((variant, found) for variant, found in group if variant.key() == reference.key())
    level = mean(own[1], "white-box")
    nearest = [own]
    for model in ("privgan", "dpgan"):
        candidates = [pair for pair in group if pair[0].model == model]
        nearest.append(min(candidates, key=lambda pair: abs(mean(pair[1], "white-box") - level)))
    return nearest


def _sizes(config: Config, found: Mapping[str, Mapping[str, int]]) -> Section:
    rows = [("Millions of parameters", *found)]
    for title, kind in (("trainable", "trainable"), ("with running statistics", "with_statistics")):
        rows.append((title, *(f"{one[kind] / 1e6:.2f}" for one in found.values())))
    return Section(
        title="Parameters (section 5.2.5 of the paper)",
        text=f"Of all networks of each GAN, with {config.penalty.parts} parts; DPGAN is as large as GAN. The paper's "
        "counts are those with the running statistics of normalisation.",
        rows=rows,
    )


def _nearest_pair(group: Group, letter: str) -> list[Section]:
    """Table 3: the PIGAN with less and the PrivGAN with all whose white-box accuracies lie nearest."""
    pigans, privgans = ([pair for pair in group if pair[0].model == model] for model in ("pigan", "privgan"))
    pair = min(
        itertools.product(pigans, privgans),
        key=lambda both: abs(mean(both[0][1], "white-box") - mean(both[1][1], "white-box")),
    )
    text = "Of all settings tried the two whose white-box accuracies are nearest. "
    return _table(f"The same at equal white-box accuracy (table 3 {letter} of the paper)", list(pair), text)
