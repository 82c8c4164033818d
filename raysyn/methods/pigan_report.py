"""PIGAN's results as tables and figures: tables 1 to 3, figures 1 to 3 of the paper, sample grids."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raysyn.attacks.gan_attacks import BINS
from raysyn.figures import COLOURS, Line, chart
from raysyn.methods.pigan_experiments import NAMES, Variant, equal
from raysyn.release import mosaic, png_bytes
from raysyn.report import NAMES as NAMES_OF_CLASSIFIERS
from raysyn.report import Section, percent

if TYPE_CHECKING:
    from raysyn.methods.pigan import Config

Result = Mapping[str, Any]
"""What `judge_unit` answers."""
Group = Sequence[tuple[Variant, Sequence[Result]]]
"""An experiment: GANs with their results, one per split."""
TITLES = {
    "lambdas": "Weight of the penalty (figure 1 of the paper)",
    "parts": "Number of parts (table 2 of the paper)",
    "compare": "GAN, PIGAN, PrivGAN and DPGAN",
    "fewer_epochs": "Training efficiency: PIGAN with fewer epochs",
    "fewer_images": "Training efficiency: PIGAN with fewer images",
}
ATTACKS: dict[str, Callable[[Result], Mapping[str, Any]]] = {
    "white-box": lambda result: result["white_box"],
    "total variation": lambda result: result["total_variation"],
    "MC-set": lambda result: result["monte_carlo"]["set"],
    "MC-single": lambda result: result["monte_carlo"]["single"],
}
IN_PERCENT = ("white-box", "MC-set", "MC-single")
STAND_IN = "distance*"
PLOTTED = ("white-box", "MC-set")
PARTING = "Share of images per score: where the curves of members and others part, the discriminator knows its own."


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
        "inception score": faithful["inception_score"]["value"],
        "FID": faithful["fid"]["value"],
        "intra-FID": faithful["intra_fid"]["value"],
        STAND_IN: faithful["frechet_distance_cnn_features"],
        f"intra-{STAND_IN}": faithful["intra_frechet_distance_cnn_features"],
        "accuracy, %": 100 * useful[0] if useful else None,
    }


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
    """What joins the `metrics` of report.json: mean and spread of every experiment, and chance."""
    return {
        "experiments": {
            name: [
                {
                    "title": variant.title,
                    "splits": len(found),
                    **{column: _spread(values) for column, values in _columns(found).items()},
                    "chance": {attack: dict(zip(("value", "low", "high"), _chance(attack, found), strict=True))
                               for attack in ATTACKS},
                }
                for variant, found in group
            ]
            for name, group in results["experiments"].items()
        }
    }  # fmt: skip


def attacks(results: Mapping[str, Any]) -> dict[str, Any]:
    """The `attacks` section of report.json: those on the released GAN."""
    released = results["released"]
    return {name: released[name] for name in ("white_box", "total_variation", "monte_carlo")}


def story(config: Config, members: int, others: int, results: Mapping[str, Any]) -> list[str]:
    """One plain sentence per stage."""
    monte_carlo, variant = config.monte_carlo, results["variant"]
    told = [f"Trained a {variant.title} for {config.gan.epochs:,} epochs on {members:,} images, the members."]
    if variant.kind != "gan" and variant.penalty.weight:
        told.append(
            f"Its penalty: a classifier pre-trained for {config.penalty.pretrain_epochs} epochs to tell "
            f"{config.penalty.parts} parts of the members apart, and trained on generated images after epoch "
            f"{config.penalty.delay(variant.kind)}."
        )
    told += [
        f"Drew {config.synthetic:,} images, equally many per class.",
        f"Attacked it with the {others:,} other images: by its discriminator (white-box, total variation), and by "
        f"{monte_carlo.fakes:,} generated images near {monte_carlo.suspects} suspects of each side, "
        f"{monte_carlo.repeats} times (Monte Carlo).",
    ]
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
    parts = [_attacks(variant, released), _histograms("Discriminator scores", variant, [released], PARTING)]
    for name, group in groups.items():
        parts += _table(TITLES[name], group)
        if name == "lambdas":
            parts += _against_lambda(group)
            title = "Discriminator scores of {} (figure 3 of the paper)"
            parts += [_histograms(title.format(one.title), one, found) for one, found in group]
        if name == "compare":
            parts += _trade_off(group)
            parts += _equal(group, equal(config))
        if name in ("fewer_epochs", "fewer_images"):
            parts += _nearest_pair(group, "a" if name == "fewer_epochs" else "b")
    everyone = {variant.key(): (variant, found[0]) for group in groups.values() for variant, found in group}
    return parts + [_grid(variant, result) for variant, result in everyone.values()]


def _attacks(variant: Variant, released: Result) -> Section:
    rows = []
    for name in ATTACKS:
        value, chance, low, high = (format(figure, _form(name)) for figure in reached(name, released))
        rows.append((name + (", %" if name in IN_PERCENT else ""), value, f"{chance} ({low} to {high})"))
    return Section(
        title=f"Membership inference against the released {variant.title}",
        text="Each attack beside what it would reach by chance, with the interval in which chance puts it 95 times of "
        "100. Total variation is an upper limit on attacks that use discriminator scores.",
        rows=[("Attack", "Reached", "By chance"), *rows],
    )


def _columns(found: Sequence[Result]) -> dict[str, list[float | None]]:
    """All figures of one variant, a list over splits each."""
    columns: dict[str, list[float | None]] = {name: [reached(name, one)[0] for one in found] for name in ATTACKS}
    each = [scores(one) for one in found]
    return columns | {name: [one[name] for one in each] for name in each[0]}


def _chance(attack: str, found: Sequence[Result]) -> tuple[float, float, float]:
    """Chance value and bounds of one attack, means over splits."""
    value, low, high = np.mean([reached(attack, one)[1:] for one in found], axis=0)
    return float(value), float(low), float(high)


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "std": None}
    return {"mean": float(np.mean(known)), "std": float(np.std(known, ddof=1)) if len(known) > 1 else None}


def _told(name: str, values: Sequence[float | None]) -> str:
    spread, form = _spread(values), _form(name)
    if spread["mean"] is None:
        return "-"
    mean = format(spread["mean"], form)
    return mean if spread["std"] is None else f"{mean} ± {spread['std']:{form}}"


def _form(name: str) -> str:
    """How a column's numbers are written."""
    if name in IN_PERCENT or "%" in name:
        return ".1f"
    return ".3f" if name in ATTACKS else ".3g"


def _table(title: str, group: Group, text: str = "") -> list[Section]:
    """What attacks reach on each GAN of a group, and how faithful its images are."""
    columns = [_columns(found) for _, found in group]
    # A column that nobody has a figure in is left out.
    names = [name for name in columns[0] if any(value is not None for one in columns for value in one[name])]
    splits = len(group[0][1])
    over = "One split into members and others." if splits == 1 else f"Mean ± standard deviation over {splits} splits."
    text += f"{over} Below: what the attack reaches by chance, and where chance puts a single split 95 times of 100."
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
        Section(title=title, text=text, rows=_rows(group, columns, [name for name in names if name in ATTACKS])),
        Section(
            title=f"{title}: fidelity",
            text=scored,
            rows=_rows(group, columns, [name for name in names if name not in ATTACKS]),
        ),
    ]


def _rows(group: Group, columns: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[tuple[str, ...]]:
    heads = [name + (", %" if name in IN_PERCENT else "") for name in names]
    rows = [("GAN", *heads)]
    for (variant, found), own in zip(group, columns, strict=True):
        cells = [_told(name, own[name]) + (_bounds(name, found) if name in ATTACKS else "") for name in names]
        rows.append((variant.title, *cells))
    return rows


def _bounds(attack: str, found: Sequence[Result]) -> str:
    value, low, high = (format(one, _form(attack)) for one in _chance(attack, found))
    return f"\n{value} ({low} to {high})"


def _fidelities(group: Group) -> list[str]:
    """What to plot privacy against: accuracy, and the distance within classes that there is."""
    measured = scores(group[0][1][0])
    distance = "intra-FID" if measured["intra-FID"] is not None else f"intra-{STAND_IN}"
    return [name for name in ("accuracy, %", distance) if measured[name] is not None]


def _mean(found: Sequence[Result], name: str) -> float:
    mean = _spread(_columns(found)[name])["mean"]
    assert mean is not None, f"no figure for {name}"
    return mean


def _axis(name: str) -> str:
    if name in IN_PERCENT:
        return f"{name} accuracy, %"
    return name.replace("*", " (not FID)")


def _against_lambda(group: Group) -> list[Section]:
    """Figure 1: attacks and fidelity over the weight; the GAN without a penalty, and chance, are levels."""
    (_, plain), *rest = group
    swept = sorted(rest, key=lambda pair: pair[0].penalty.weight)
    weights = [variant.penalty.weight for variant, _ in swept]
    ends = [weights[0], weights[-1]]
    parts = []
    for name in (*PLOTTED, *_fidelities(group)):
        lines = {
            "PIGAN": Line(weights, [_mean(found, name) for _, found in swept], "o-"),
            "GAN": Line(ends, [_mean(plain, name)] * 2, "--"),
        }
        if name in ATTACKS:
            lines["chance"] = Line(ends, [_chance(name, plain)[0]] * 2, ":")
        picture = chart(lines, x="λ", y=_axis(name))
        parts.append(Section(title=f"λ and {_axis(name)}", picture=picture, alt=f"{_axis(name)} over the weight"))
    return parts


def _trade_off(group: Group) -> list[Section]:
    """Figure 2: what fidelity each GAN gives for its resistance."""
    parts = []
    for attack in PLOTTED:
        for name in _fidelities(group):
            lines = {}
            for model in dict.fromkeys(variant.model for variant, _ in group):
                points = sorted(
                    (_mean(found, attack), _mean(found, name)) for variant, found in group if variant.model == model
                )
                lines[NAMES[model]] = Line([x for x, _ in points], [y for _, y in points], "o-")
            parts.append(
                Section(
                    title=f"{attack} and {_axis(name)} (figure 2 of the paper)",
                    picture=chart(lines, x=_axis(attack), y=_axis(name)),
                    alt=f"{_axis(name)} over {attack} accuracy",
                )
            )
    return parts


def _equal(group: Group, reference: Variant) -> list[Section]:
    """Table 1: of PrivGAN and DPGAN the setting whose white-box accuracy is nearest to that of one PIGAN."""
    (own,) = ((variant, found) for variant, found in group if variant.key() == reference.key())
    level = _mean(own[1], "white-box")
    nearest = [own]
    for model in ("privgan", "dpgan"):
        candidates = [pair for pair in group if pair[0].model == model]
        nearest.append(min(candidates, key=lambda pair: abs(_mean(pair[1], "white-box") - level)))
    text = f"Of each kind the one whose white-box accuracy is nearest to that of {reference.title}. "
    return _table("At equal white-box accuracy (table 1 of the paper)", nearest, text)


def _nearest_pair(group: Group, letter: str) -> list[Section]:
    """Table 3: the PIGAN with less and the PrivGAN with all whose white-box accuracies lie nearest."""
    pigans, privgans = ([pair for pair in group if pair[0].model == model] for model in ("pigan", "privgan"))
    pair = min(
        itertools.product(pigans, privgans),
        key=lambda both: abs(_mean(both[0][1], "white-box") - _mean(both[1][1], "white-box")),
    )
    text = "Of all settings tried the two whose white-box accuracies are nearest. "
    return _table(f"The same at equal white-box accuracy (table 3 {letter} of the paper)", list(pair), text)


def _histograms(title: str, variant: Variant, found: Sequence[Result], text: str = "") -> Section:
    """Figure 3: scores of members and others, of the discriminator, or under the code, where they differ most."""
    centres, told = ((np.arange(BINS) + 0.5) / BINS).tolist(), found[0]["total_variation"]
    lines = {}
    for side, colour in zip(("members", "others"), COLOURS, strict=False):
        shares = 100 * np.array(told["histograms"][side][told["at"]])
        lines[side] = Line(centres, shares.tolist(), colour=colour)
    return Section(
        title=title,
        text=text + (" Of the first split." if len(found) > 1 else ""),
        picture=chart(lines, x="score: probability of being real", y="images, %"),
        alt=f"histograms of the scores that the discriminator of {variant.title} gives members and others",
    )


def _grid(variant: Variant, result: Result) -> Section:
    pixels = result["samples"].numpy()
    # Classes come in turn: a column per class.
    png = png_bytes(mosaic(pixels, len(pixels) // 8, max(1, round(40 / pixels.shape[1])), 2))
    return Section(
        title=f"Images of {variant.title}",
        text="The first ones of the first split, a column per class.",
        picture="data:image/png;base64," + base64.b64encode(png).decode(),
        alt=f"images generated by {variant.title}",
    )
